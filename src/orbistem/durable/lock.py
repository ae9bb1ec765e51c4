"""One process at a time may write a folder."""

import json
import os
import platform
import secrets
import time
from pathlib import Path

from orbistem.durable.disk import disk_error
from orbistem.errors import OutputError

__all__ = ["DirectoryLock"]

_TRIES = 100
_RETRY_S = 0.02
_BORN_S = 2.0  # the system's idea of when a process began moves a little with the clock
_SETTLE_S = 10.0  # a lock file without content is younger than this only while its owner writes it


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
        for _ in range(_TRIES):
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
        """Remove the lock of a process that is gone; raise where its owner may live."""
        # Only one of several waiting processes at a time, or a slow one would remove the lock that a quick
        # one has just taken over.
        guard = self.path.with_name(self.path.name + ".check")
        try:
            os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except (FileExistsError, PermissionError):  # Windows: PermissionError while another one removes it
            time.sleep(_RETRY_S)
            if age_s(guard) > _SETTLE_S:
                guard.unlink(missing_ok=True)
            return
        try:
            self._check_owner()
        finally:
            guard.unlink(missing_ok=True)

    def _check_owner(self) -> None:
        owner = _read_lock(self.path)
        if not self.path.exists():
            return
        folder = self.path.with_suffix("")
        if not owner and age_s(self.path) < _SETTLE_S:
            raise OutputError(f"{folder} is in use by another program; wait, or choose another folder")
        if owner and owner.get("host") != _host():
            raise OutputError(
                f"{folder} is in use on computer {owner.get('host')}; wait for that run, "
                f"or remove {self.path} if it is over"
            )
        if owner and _lives(owner):
            raise OutputError(
                f"{folder} is in use by process {owner.get('pid')}; wait for it, or choose another folder"
            )
        self.path.unlink(missing_ok=True)


def _read_lock(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _host() -> str:
    return platform.node()


def age_s(path: Path) -> float:
    """Seconds since a file was changed; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _lives(owner: dict[str, object]) -> bool:
    """Whether the owner's process runs; its number alone may have been given to another one since."""
    pid, born = owner.get("pid"), owner.get("born")
    if not isinstance(pid, int) or not isinstance(born, int | float):
        return False
    now = _born(pid)
    return now is not None and abs(now - born) <= _BORN_S


def _born(pid: int) -> float | None:
    """Return when a process began, in seconds since 1970; None where there is none of that number."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, ValueError):
        return None


def is_running(pid: int) -> bool:
    """Whether this computer has a process of that number."""
    return _born(pid) is not None
