"""Files and folders that are whole or absent, whatever moment the power fails.

A file is written beside its final name, forced to disk and renamed. A folder that replaces another one is
swapped in steps, noted in a small file ``<name>.swap``, so that `recover` can finish an interrupted swap.
"""

import errno
import hashlib
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orbistem.errors import OutputError

__all__ = [
    "DirectoryLock",
    "atomic_write_bytes",
    "atomic_write_text",
    "disk_error",
    "recover",
    "sha256_file",
    "sha256_tree",
    "swap_directory",
    "write_aside",
]

Step = Callable[[str], None]
"""Called with the name of each point that was passed; tests end the process there."""

_CHUNK_BYTES = 1 << 20
_RENAME_TRIES = 20  # Windows: a virus scanner or an indexer may hold a new file for a moment
_RENAME_WAIT_S = 0.05


def _no_step(name: str) -> None:
    return None


@contextmanager
def write_aside(final: Path, *, on_step: Step = _no_step) -> Iterator[Path]:
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
        If the disk is full or the folder cannot be written; `final` is then as it was.
    """
    final = Path(os.path.realpath(final))
    aside = final.with_name(f".{final.stem[:40]}.{os.getpid()}-{secrets.token_hex(4)}.partial{final.suffix}")
    try:
        yield aside
        on_step("written")
        if aside.is_dir():
            swap_directory(aside, final)
            return
        _sync_file(aside)
        on_step("synced")
        _rename(aside, final)
        on_step("renamed")
        _sync_folder(final.parent)
    except OSError as error:
        _remove(aside)
        raise disk_error(error, final) from error
    except BaseException:
        _remove(aside)
        raise


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the old one as it was."""
    with write_aside(path) as aside:
        aside.write_bytes(content)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file with line feeds as line ends, or leave the old one as it was."""
    atomic_write_bytes(path, text.encode("utf-8"))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_tree(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its relative path with ``/``, sorted."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256_file(path) for path in files}


def swap_directory(new: Path, final: Path, *, on_step: Step = _no_step) -> None:
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
        Called with "synced", "noted", "old aside", "new in place", "old removed"; for tests.

    Raises
    ------
    OutputError
        If ``<name>.old`` is occupied by something that is not ours, `new` is not a sibling, or the disk
        refuses.
    """
    if new.parent.resolve() != final.parent.resolve():
        raise OutputError(f"swap: want {new} beside {final}; put both into one folder")
    recover(final)
    try:
        _sync_tree(new)
        on_step("synced")
        if os.path.lexists(final):
            old = _old(final)
            if os.path.lexists(old):
                raise OutputError(
                    f"{old} is in the way of replacing {final}; move it elsewhere and try again"
                )
            atomic_write_text(_note(final), json.dumps({"new": new.name}))
            on_step("noted")
            _finish(new, final, on_step=on_step)
        else:
            _rename(new, final)
            on_step("new in place")
            _sync_folder(final.parent)
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
    note = _note(final)
    try:
        new = final.with_name(json.loads(note.read_text(encoding="utf-8"))["new"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{note} is not readable; if no other program made it, remove it") from error
    try:
        _finish(new, final, on_step=_no_step)
    except OSError as error:
        raise disk_error(error, final) from error
    return True


def _finish(new: Path, final: Path, *, on_step: Step) -> None:
    """Do what is left of a noted swap. Each step may be the first one, so it asks what is there."""
    old = _old(final)
    if os.path.lexists(final) and not os.path.lexists(old) and new.is_dir():
        _rename(final, old)
        _sync_folder(final.parent)
        on_step("old aside")
    if not os.path.lexists(final):
        # Without a new folder (somebody removed it) the old one comes back.
        source = new if new.is_dir() else old
        if os.path.lexists(source):
            _rename(source, final)
            _sync_folder(final.parent)
        on_step("new in place")
    _remove(old)
    on_step("old removed")
    _note(final).unlink(missing_ok=True)
    _sync_folder(final.parent)


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
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"no permission to write {path}; choose another folder with -o")
    if error.errno == errno.ENOENT:
        return OutputError(f"cannot write {path}: a folder on the way is missing; make it first")
    return OutputError(f"cannot write {path}: {text}; choose another place, or see whether the disk is well")


def _old(final: Path) -> Path:
    return final.with_name(final.name + ".old")


def _note(final: Path) -> Path:
    return final.with_name(final.name + ".swap")


def _rename(source: Path, target: Path) -> None:
    for attempt in range(_RENAME_TRIES):
        try:
            source.replace(target)
        except PermissionError:
            if os.name != "nt" or attempt == _RENAME_TRIES - 1:
                raise
            time.sleep(_RENAME_WAIT_S)
        else:
            return


def _remove(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a folder, if there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals the rename itself
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(directory: Path) -> None:
    for folder, _, names in os.walk(directory):
        for name in names:
            _sync_file(Path(folder, name))
        _sync_folder(Path(folder))


_LOCK_SETTLE_S = 10.0  # a lock file without content is younger than this only while its owner writes it


class DirectoryLock:
    """One process at a time may write a folder; a file ``<name>.lock`` beside it says who.

    The lock of a process that is gone (killed, power failure) is taken over. It lies beside the folder, so
    the folder can be renamed while it is held.

    Parameters
    ----------
    directory : Path
        The folder to protect; it need not exist, its parent must.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent, DirectoryLock(Path(parent, "run")) as lock:
    ...     lock.path.name
    'run.lock'
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory.with_name(directory.name + ".lock")
        self._token: str | None = None

    def __enter__(self) -> "DirectoryLock":
        """Take the lock.

        Raises
        ------
        OutputError
            If another living process holds it, or the folder cannot be written.
        """
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
        self.release()

    def acquire(self) -> None:
        """Take the lock, or raise `OutputError` at once where somebody else holds it."""
        if self._token is not None:
            raise OutputError(f"{self.path} is already held by this process; release it first")
        token = secrets.token_hex(8)
        owner = {"pid": os.getpid(), "born": _born(os.getpid()), "host": _host(), "token": token}
        for _ in range(3):
            try:
                handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                self._remove_if_stale()
                continue
            except OSError as error:
                raise disk_error(error, self.path) from error
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(owner, file)
            self._token = token
            return
        raise OutputError(f"{self.path} keeps changing: several programs want this folder; try again later")

    def release(self) -> None:
        """Give the lock back; does nothing where it is not held."""
        if self._token is not None and _read_lock(self.path).get("token") == self._token:
            self.path.unlink(missing_ok=True)
        self._token = None

    def _remove_if_stale(self) -> None:
        owner = _read_lock(self.path)
        try:
            age_s = time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return
        folder = self.path.with_suffix("")
        if not owner and age_s < _LOCK_SETTLE_S:
            raise OutputError(f"{folder} is in use by another program; wait, or choose another folder")
        if owner and owner.get("host") != _host():
            raise OutputError(
                f"{folder} is in use on computer {owner.get('host')}; wait for that run, "
                f"or remove {self.path} if it is over"
            )
        if owner and _born(owner.get("pid")) == owner.get("born"):
            raise OutputError(
                f"{folder} is in use by process {owner.get('pid')}; wait for it, or choose another folder"
            )
        # Two waiting processes may both find it stale: whoever moves it aside looks again at what it took.
        aside = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        if _read_lock(aside).get("token") == owner.get("token"):
            aside.unlink()
        else:
            with suppress(OSError):
                os.rename(aside, self.path)


def _read_lock(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _host() -> str:
    return platform.node()


def _born(pid: object) -> float | None:
    """Return when a process began, in seconds since 1970; None where there is none of that number."""
    import psutil

    if not isinstance(pid, int):
        return None
    try:
        return round(float(psutil.Process(pid).create_time()), 1)
    except (psutil.Error, ValueError):
        return None
