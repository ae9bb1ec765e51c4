"""What the other modules of this folder do to the disk, each a single act, portable."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from orbistem.errors import OutputError

__all__ = [
    "Step",
    "disk_error",
    "no_step",
    "remove",
    "rename",
    "require_replaceable",
    "sync_file",
    "sync_folder",
    "sync_tree",
]

Step = Callable[[str], None]
"""Called with the name of each point that was passed; tests end the process there."""

_RENAME_TRIES = 20  # Windows: a virus scanner or an indexer may hold a new file for a moment
_RENAME_WAIT_S = 0.05


def no_step(name: str) -> None:
    """Take note of nothing."""


def disk_error(error: OSError, path: Path) -> OutputError:
    """Turn an error of the operating system into one sentence that says what to do.

    Parameters
    ----------
    error : OSError
        Also one that HDF5 raises, which has its number only in the text.
    path : Path
        What was to be written.

    Returns
    -------
    OutputError
        The error itself if it already is one.
    """
    if isinstance(error, OutputError):
        return error
    text = str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "errno = 28" in text or "No space left" in text:
        return OutputError(f"disk full while writing {path}; free some space or write elsewhere")
    if error.errno == errno.EFBIG or "errno = 27" in text or "File too large" in text:
        return OutputError(f"{path} grows larger than the disk allows for one file; write elsewhere with -o")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"no permission to write {path}; choose another folder with -o")
    if error.errno == errno.ENOENT:
        return OutputError(f"cannot write {path}: a folder on the way is missing; make it first")
    return OutputError(f"cannot write {path}: {text}; choose another place, or see whether the disk is well")


def require_replaceable(path: Path) -> None:
    """Refuse to put a file or folder where something stands that is neither: a pipe, a socket, a device.

    Raises
    ------
    OutputError
        It is one of these; a link counts as what it leads to.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputError(
            f"{path} is neither a file nor a folder (a pipe or a device?), so it stays; give another name"
        )


def rename(source: Path, target: Path) -> None:
    """Give a file or folder its final name; patient where Windows says that it is in use."""
    for attempt in range(_RENAME_TRIES):
        try:
            source.replace(target)
        except PermissionError:
            if os.name != "nt" or attempt == _RENAME_TRIES - 1:
                raise
            time.sleep(_RENAME_WAIT_S)
        else:
            return


def remove(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a folder, if there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def sync_file(path: Path) -> None:
    """Force the content of a file to disk."""
    with path.open("r+b" if os.name == "nt" else "rb") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Force the names in a folder to disk."""
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals the rename itself
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(directory: Path) -> None:
    """Force every file and name below a folder to disk."""
    for folder, _, names in os.walk(directory):
        for name in names:
            sync_file(Path(folder, name))
        sync_folder(Path(folder))
