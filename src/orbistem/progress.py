"""How long work tells that it advances. Only the command line draws bars; the library is silent."""

from typing import Protocol, runtime_checkable

__all__ = ["Progress", "Silent"]


@runtime_checkable
class Progress(Protocol):
    """What a step calls while it works: one ``start``, many ``advance``, one ``finish`` per task."""

    def start(self, task: str, total: int | None) -> None:
        """Begin a task of `total` equal parts; None where the number is unknown."""

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Report `n` more parts done; `note` is a few words about the present state, such as a loss."""

    def finish(self) -> None:
        """End the task, also where fewer parts than announced were needed."""


class Silent:
    """A `Progress` that shows nothing: the default everywhere in the library.

    Examples
    --------
    >>> isinstance(Silent(), Progress)
    True
    """

    __slots__ = ()

    def start(self, task: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
