"""Whether a file is still the one that was opened: there, not shorter, with the same begin.

What is read on demand is read long after the file was opened, by what was found then. A recipe that opens
its file anew and finds shape and type in it (HDF5, Zarr 2) notices a change by itself; the others are watched
here. Neither the time nor the end of a file counts: a copy on another computer is the same file, and one that
is still being written only grows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orbistem.errors import FormatError, GoneError

__all__ = ["Mark", "OneFile", "gone", "marks_of", "where_is"]

BEGIN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Mark:
    """What a file was like when it was opened: its bytes, and a digest of the first 4096 of them."""

    path: str
    size: int
    begin: bytes

    @classmethod
    def of(cls, path: str) -> Mark | None:
        """The mark of a file; None where there is no file, as in a store of many."""
        if not os.path.isfile(path):
            return None
        return cls(path, os.path.getsize(path), _begin(path, BEGIN_BYTES))

    def check(self) -> None:
        """Refuse a file that is not the one that was opened.

        Raises
        ------
        GoneError, FormatError
            It is not there; it is another one, or shorter.
        """
        try:
            size = os.path.getsize(self.path)
            same = size >= self.size and _begin(self.path, min(BEGIN_BYTES, self.size)) == self.begin
        except FileNotFoundError as error:
            raise gone(self.path) from error
        if not same:
            raise FormatError(f"{self.path} has changed since it was opened; open it again")


@dataclass(frozen=True, slots=True, eq=False)
class OneFile:
    """What recipes begin with that read one file by what was found when it was opened.

    Attributes
    ----------
    path
        Absolute, of the file.
    """

    path: str

    @property
    def watched(self) -> tuple[str, ...]:
        """Files that must be as they were when they were opened."""
        return (self.path,)


def marks_of(recipe: Any) -> tuple[Mark, ...]:
    """Marks of those files of a recipe that it reads by what was found when they were opened."""
    files = dict.fromkeys(file for leaf in _leaves(recipe) for file in getattr(leaf, "watched", ()))
    return tuple(mark for mark in map(Mark.of, files) if mark is not None)


def where_is(recipe: Any) -> str:
    """Path of the file, store or folder that a recipe reads first; "the file" if there is none."""
    for leaf in _leaves(recipe):
        path = getattr(leaf, "path", None) or getattr(leaf, "folder", None)
        if path is not None:
            return str(path)
    return "the file"


def gone(path: str) -> GoneError:
    """What to raise where a file is no longer there."""
    return GoneError(f"{path} was opened and is no longer there; put it back, or open it where it lies now")


def _leaves(recipe: Any) -> Iterator[Any]:
    """The recipes that a recipe is made of which read files themselves."""
    parts = getattr(recipe, "parts", None) or (getattr(recipe, "base", None),)
    if parts == (None,):
        yield recipe
        return
    for part in parts:
        yield from _leaves(part)


def _begin(path: str, n_bytes: int) -> bytes:
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(n_bytes), digest_size=16).digest()
