"""What every command shares: where text goes, how the log is shown, how results are told to machines."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbistem.cli.progress import ConsoleProgress
from orbistem.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Session", "current", "emit_json", "open_session", "say"]

SCHEMA = 1
_LOGGER = "orbistem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """How this call of the program talks.

    Attributes
    ----------
    verbose
        0: problems; 1: what is done; 2: everything.
    quiet
        Errors only.
    as_json
        A summary for machines on stdout instead of sentences.
    """

    verbose: int = 0
    quiet: bool = False
    as_json: bool = False

    def progress(self) -> ConsoleProgress:
        """Progress on stderr."""
        return ConsoleProgress(stderr(), quiet=self.quiet)


_sessions: list[Session] = [Session()]
_handlers: list[logging.Handler] = []


def current() -> Session:
    """The session of this call."""
    return _sessions[-1]


def open_session(*, verbose: int, quiet: bool, as_json: bool, log_file: Path | None) -> Session:
    """Set up the log of this call; the library itself adds no handler."""
    session = Session(verbose=verbose, quiet=quiet, as_json=as_json)
    _sessions[:] = [session]
    logger = logging.getLogger(_LOGGER)
    for handler in _handlers:
        logger.removeHandler(handler)
        handler.close()
    level = logging.ERROR if quiet else {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    _handlers[:] = [_ConsoleHandler(level)]
    if log_file is not None:
        _handlers.append(_file_handler(log_file))
    for handler in _handlers:
        logger.addHandler(handler)
    if not logging.getLogger().handlers:  # other packages' remarks on damaged files are not for users
        logging.getLogger().addHandler(logging.NullHandler())
    logger.setLevel(min(handler.level for handler in _handlers))
    return session


def stderr() -> Console:
    """The console on stderr."""
    from rich.console import Console

    return Console(stderr=True)


def say(text: str) -> None:
    """A sentence on stdout, unless a machine reads it or the user wants quiet."""
    session = current()
    if not (session.quiet or session.as_json):
        print(text)


def emit_json(command: str, content: Mapping[str, Any]) -> None:
    """The summary for machines, on stdout, if asked for."""
    if current().as_json:
        from orbistem.result import plain

        named = plain({"schema": SCHEMA, "command": command} | dict(content))
        encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
        text = json.dumps(named, ensure_ascii=encoding != "utf8")
        sys.stdout.write(text + "\n")


class _ConsoleHandler(logging.Handler):
    """Log lines on stderr, as plain sentences."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        sys.stderr.write(f"orbistem: {self.format(record)}\n")


def _file_handler(path: Path) -> logging.Handler:
    try:
        if path.is_fifo():  # opening a pipe that nobody reads never ends
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"log file: {path} cannot be written ({error.strerror}); give another one"
        ) from error
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
