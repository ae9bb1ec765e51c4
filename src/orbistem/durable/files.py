"""Write a file beside its final name, force it to disk, rename it; and checksums of what was written."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orbistem.durable.disk import (
    Step,
    disk_error,
    no_step,
    remove,
    rename,
    require_replaceable,
    sync_file,
    sync_folder,
)
from orbistem.durable.lock import age_s, is_running
from orbistem.durable.swap import swap_directory
from orbistem.errors import OrbistemError

__all__ = [
    "atomic_write_bytes",
    "atomic_write_text",
    "is_dropping",
    "sha256_file",
    "sha256_tree",
    "write_aside",
]

_DROPPINGS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", ".directory"})
_CHUNK_BYTES = 1 << 20
LEFT_BEHIND_S = 86400.0
"""Age from which an unfinished file of a process that is gone is removed."""


@contextmanager
def write_aside(final: Path, *, on_step: Step = no_step) -> Iterator[Path]:
    """Yield a path beside `final`; what was written there takes the final name only if all went well.

    Parameters
    ----------
    final : Path
        Where the file (or folder, such as a Zarr store) shall be in the end. A link is followed.
    on_step : callable, optional
        Called with "written", "synced" and "renamed"; for tests.

    Yields
    ------
    Path
        A sibling of `final` with the same suffix, which does not exist yet.

    Raises
    ------
    OutputError
        If the disk is full, the folder cannot be written, or `final` is a pipe or a device; it is then as it
        was.
    """
    require_replaceable(final)
    final = Path(os.path.realpath(final))
    _remove_left_behind(final)
    aside = final.with_name(f".{final.stem[:40]}.{os.getpid()}-{secrets.token_hex(4)}.partial{final.suffix}")
    try:
        yield aside
        on_step("written")
        if aside.is_dir():
            swap_directory(aside, final)
            return
        sync_file(aside)
        on_step("synced")
        rename(aside, final)
        on_step("renamed")
        sync_folder(final.parent)
    except OrbistemError:  # a sentence already, although some are errors of the operating system, too
        remove(aside)
        raise
    except OSError as error:
        remove(aside)
        if error.filename is not None and Path(error.filename) not in (aside, *aside.parents):
            raise  # another file, such as the one that was being read
        raise disk_error(error, final) from error
    except RuntimeError as error:  # HDF5 closes a file that it could not write
        remove(aside)
        if "file write failed" in str(error):
            raise disk_error(OSError(str(error)), final) from error
        raise
    except BaseException:
        remove(aside)
        raise


def _remove_left_behind(final: Path) -> None:
    """Remove what writers of the same file left behind when they were killed, a day ago or more.

    A younger one may belong to a process of another computer that shares the folder.
    """
    name = re.compile(rf"\.{re.escape(final.stem[:40])}\.\d+-[0-9a-f]{{8}}\.partial{re.escape(final.suffix)}")
    try:
        found = [entry for entry in final.parent.iterdir() if name.fullmatch(entry.name)]
    except OSError:
        return
    for entry in found:
        pid = int(entry.name.rsplit(".partial", 1)[0].rsplit(".", 1)[1].split("-")[0])
        if age_s(entry) > LEFT_BEHIND_S and not is_running(pid):
            with suppress(OSError):
                remove(entry)


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the old one as it was."""
    with write_aside(path) as aside:
        aside.write_bytes(content)


def atomic_write_text(path: Path, text: str) -> None:
    r"""Write a whole UTF-8 file with line feeds as line ends, or leave the old one as it was.

    Bytes of file names that are no UTF-8 are written as ``\udcff``, which JSON reads back.
    """
    atomic_write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def is_dropping(name: str) -> bool:
    """Whether a file of this name is what file managers leave in folders that they show."""
    return name in _DROPPINGS or name.startswith("._")


def sha256_tree(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its relative path with ``/``, sorted.

    What file managers leave there does not count.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file() and not is_dropping(path.name))
    return {path.relative_to(directory).as_posix(): sha256_file(path) for path in files}
