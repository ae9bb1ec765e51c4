"""Where a run is made: DIR.partial with a lock and a note of what is done, renamed to DIR at the end."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orbistem import __version__
from orbistem.durable import DirectoryLock, atomic_write_text, disk_error, recover, swap_directory
from orbistem.errors import OptionError, OrbistemError, OutputError

__all__ = ["Workplace", "is_our_run", "open_workplace"]

logger = logging.getLogger(__name__)

STATE_FOLDER = "unfinished"
"""Folder inside DIR.partial for what only an unfinished run needs; it is removed at the end."""
_NOTE = "state.json"
_NAMES = {
    STATE_FOLDER,
    "coefficients.zarr",
    "config.toml",
    "examples.nc",
    "maps.nc",
    "model",
    "report.html",
    "run.json",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What must agree before an interrupted run may go on."""

    checksum: str
    fingerprint: str
    version: str = __version__


@dataclass(frozen=True, kw_only=True, slots=True)
class Workplace:
    """A folder in which a run grows.

    Attributes
    ----------
    directory
        DIR.partial: everything in it becomes DIR.
    state
        Folder inside for checkpoints, removed in the end.
    identity
        Checksum of the input and of the configuration.
    done
        Names of the steps that are complete.
    """

    directory: Path
    state: Path
    identity: Identity
    done: tuple[str, ...] = ()

    def is_done(self, step: str) -> bool:
        """Whether an earlier, interrupted run has completed the step."""
        return step in self.done

    def finish_step(self, step: str) -> Workplace:
        """Note that a step is complete; all that it wrote must be on disk."""
        new = replace(self, done=(*self.done, step))
        new.write_note()
        return new

    def write_note(self) -> None:
        """Write what a later ``--resume`` must know."""
        note = {
            "orbistem": self.identity.version,
            "checksum": self.identity.checksum,
            "fingerprint": self.identity.fingerprint,
            "done": list(self.done),
        }
        atomic_write_text(self.state / _NOTE, json.dumps(note))


@contextmanager
def open_workplace(
    final: Path, *, checksum: str, fingerprint: str, resume: bool, overwrite: bool
) -> Iterator[Workplace]:
    """Yield a folder to work in; afterwards it takes the name `final`.

    Where the work raises, `final` stays as it was. Interrupted work (Ctrl-C) stays in DIR.partial for a later
    `resume`; after an error that would come again it is removed.

    Raises
    ------
    OutputError
        `final` is occupied, in use by another process, or the disk is full.
    OptionError
        `resume` where the unfinished run belongs to other data or another configuration.
    """
    final = final.absolute()
    identity = Identity(checksum=checksum, fingerprint=fingerprint)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, final) from error
    with DirectoryLock(final):
        recover(final)
        check_free(final, overwrite=overwrite)
        place = _enter(final.with_name(final.name + ".partial"), identity, resume=resume)
        try:
            yield place
            shutil.rmtree(place.state)
            swap_directory(place.directory, final)
        except OrbistemError:
            shutil.rmtree(place.directory, ignore_errors=True)
            raise
        except OSError as error:
            if not _disk_is_full(error):
                raise
            shutil.rmtree(place.directory, ignore_errors=True)
            raise disk_error(error, final) from error


def check_free(final: Path, *, overwrite: bool) -> None:
    """Refuse a place that is occupied.

    An empty folder counts as free; with `overwrite` a run of ours may be replaced, nothing else.
    """
    if not final.exists() and not final.is_symlink():
        return
    if final.is_dir() and not any(final.iterdir()):
        return
    if not is_our_run(final):
        raise OutputError(
            f"{final} exists and holds no run of orbistem, so it stays; choose another folder with -o"
        )
    if not overwrite:
        raise OutputError(
            f"{final} already holds a run; give --overwrite to replace it, or choose another folder with -o"
        )


def is_our_run(directory: Path) -> bool:
    """Whether a folder was made by `fit` or `transform`."""
    run = _read_note(directory / "run.json")
    versions = None if run is None else run.get("versions")
    return run is not None and "schema" in run and isinstance(versions, dict) and "orbistem" in versions


def _enter(partial: Path, identity: Identity, *, resume: bool) -> Workplace:
    state = partial / STATE_FOLDER
    note = _read_note(state / _NOTE)
    if partial.exists() and not _is_our_work(partial):
        raise OutputError(f"{partial} is in the way and is not ours; move it elsewhere")
    done: tuple[str, ...] = ()
    if resume and note is not None:
        _check_same(partial, note, identity)
        done = tuple(note.get("done", ()))
    elif partial.exists():
        if note is not None and note.get("done"):
            logger.warning(
                "an unfinished run in %s is given up; --resume would have gone on with it", partial
            )
        shutil.rmtree(partial)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, partial) from error
    place = Workplace(directory=partial, state=state, identity=identity, done=done)
    place.write_note()
    return place


def _is_our_work(partial: Path) -> bool:
    """Whether a folder holds nothing but what a run writes; names that begin with a dot are files aside."""
    return partial.is_dir() and all(
        entry.name in _NAMES or entry.name.startswith(".") for entry in partial.iterdir()
    )


def _check_same(partial: Path, note: dict[str, Any], identity: Identity) -> None:
    other = []
    if note.get("checksum") != identity.checksum:
        other.append("other data")
    if note.get("fingerprint") != identity.fingerprint:
        other.append("other options")
    if note.get("orbistem") != identity.version:
        other.append(f"orbistem {note.get('orbistem')}")
    if other:
        raise OptionError(
            f"resume: {partial} was begun with {' and '.join(other)}; give the same file and options as "
            "then, or leave out --resume to begin anew"
        )


def _read_note(path: Path) -> dict[str, Any] | None:
    if not path.is_file():  # reading a pipe may never end
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def _disk_is_full(error: OSError) -> bool:
    return "disk full" in str(disk_error(error, Path()))
