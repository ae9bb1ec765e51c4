"""Replace a folder by a finished one. A note ``<name>.swap`` lets an interrupted swap be finished."""

import json
import os
from pathlib import Path

from orbistem.durable.disk import Step, disk_error, no_step, remove, rename, sync_file, sync_folder, sync_tree
from orbistem.errors import OutputError

__all__ = ["recover", "swap_directory"]

_NOTE_BEGINS = '{"new": "'
_MAX_NOTE_BYTES = 4096


def swap_directory(new: Path, final: Path, *, on_step: Step = no_step) -> None:
    """Put the finished folder `new` in the place of `final`.

    At every moment `final` is the old folder, the new one, or absent; in the last case `recover` puts the new
    one in place.

    Parameters
    ----------
    new : Path
        A finished folder beside `final`; nothing may write into it any more.
    final : Path
        Its place. A folder that is there steps aside to ``<name>.old`` and is removed in the end.
    on_step : callable, optional
        Called with "synced", "note written", "noted", "old aside", "new in place", "old removed"; for tests.

    Raises
    ------
    OutputError
        If ``<name>.old`` or ``<name>.swap`` is occupied by something that is not ours, `new` is not a
        sibling, or the disk refuses.
    """
    if new.parent.resolve() != final.parent.resolve():
        raise OutputError(f"swap: want {new} beside {final}; put both into one folder")
    recover(final)
    try:
        sync_tree(new)
        on_step("synced")
        if os.path.lexists(final):
            old = _old(final)
            if os.path.lexists(old):
                raise OutputError(
                    f"{old} is in the way of replacing {final}; move it elsewhere and try again"
                )
            if os.path.lexists(_note(final)):
                raise OutputError(
                    f"{_note(final)} is in the way of replacing {final}; move it elsewhere and try again"
                )
            _note(final).write_text(json.dumps({"new": new.name}), encoding="utf-8")
            on_step("note written")
            sync_file(_note(final))
            sync_folder(final.parent)
            on_step("noted")
            _finish(new, final, on_step=on_step)
        else:
            rename(new, final)
            on_step("new in place")
            sync_folder(final.parent)
    except OSError as error:
        raise disk_error(error, final) from error


def recover(final: Path) -> bool:
    """Finish a swap of `final` that was interrupted.

    Call it before reading or writing `final`. It touches nothing unless the note ``<name>.swap`` is there.

    Returns
    -------
    bool
        Whether there was something to finish.
    """
    final = Path(final).absolute()  # the folder that one is in is called "."
    if not final.name:
        return False  # the root of a disk
    note = _note(final)
    name = _noted(note)
    if name is None:
        return False
    if not name:
        if _old(final).exists() and not final.exists():
            raise OutputError(f"{note} is damaged; rename {_old(final)} to {final} and remove the note")
        note.unlink(missing_ok=True)  # killed while writing it: nothing had been moved yet
        return True
    new = final.with_name(name)
    try:
        _finish(new, final, on_step=no_step)
    except OSError as error:
        raise disk_error(error, final) from error
    return True


def _finish(new: Path, final: Path, *, on_step: Step) -> None:
    """Do what is left of a noted swap. Each step may be the first one, so it asks what is there."""
    old = _old(final)
    if os.path.lexists(final) and not os.path.lexists(old) and new.is_dir():
        rename(final, old)
        sync_folder(final.parent)
        on_step("old aside")
    if not os.path.lexists(final):
        # Without a new folder (somebody removed it) the old one comes back.
        source = new if new.is_dir() else old
        if os.path.lexists(source):
            rename(source, final)
            sync_folder(final.parent)
        on_step("new in place")
    remove(old)
    on_step("old removed")
    _note(final).unlink(missing_ok=True)
    sync_folder(final.parent)


def _noted(note: Path) -> str | None:
    """Name of the new folder; "" if the note was cut off while it was written, None if it is none of ours."""
    try:
        if not note.is_file() or note.stat().st_size > _MAX_NOTE_BYTES:
            return None
        text = note.read_text(encoding="utf-8")
    except (OSError, ValueError):  # no note, a name that cannot be one, or somebody's own file
        return None
    try:
        name = json.loads(text)["new"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "" if _NOTE_BEGINS.startswith(text) or text.startswith(_NOTE_BEGINS) else None
    is_name = isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name
    return name if is_name else None


def _old(final: Path) -> Path:
    return final.with_name(final.name + ".old")


def _note(final: Path) -> Path:
    return final.with_name(final.name + ".swap")
