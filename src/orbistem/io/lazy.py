"""Arrays in files, read on demand.

Every lazy scan is a Dask array over a small *recipe*: an object that knows a path and how to read a part.
A recipe holds no open file, so it can be sent to another process, and a file is open only while it is read.
"""

from __future__ import annotations

import logging
import math
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import FormatError, OrbistemError, one_line
from orbistem.io.same_file import Mark, OneFile, gone, marks_of, where_is

__all__ = ["Folded", "FramesAt", "Guarded", "Joined", "Recipe", "Stored", "as_lazy"]

logger = logging.getLogger(__name__)

CHUNK_BYTES = 16 * 2**20
"""Size of one piece of a lazy array; whole storage chunks are kept together up to four times this."""


class Recipe(Protocol):
    """An array that is read when it is indexed with slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""
        ...

    @property
    def ndim(self) -> int:
        """Number of axes."""
        ...

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read a part: `key` holds slices of step 1."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """What recipes of an array in a file or a store of many begin with; each says how a part is read.

    Attributes
    ----------
    path
        Absolute, of the file or store.
    key
        Name of the array inside it.
    shape, dtype
        Of the whole.
    """

    path: str
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class FramesAt(OneFile, ABC):
    """What recipes of patterns that begin at any offsets of a file share; each says how one is read.

    Attributes
    ----------
    offsets
        (n,) int64, where each pattern begins.
    frame_shape, dtype
        Of one pattern.
    """

    offsets: NDArray[np.int64]
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, ky, kx)."""
        return (len(self.offsets), *self.frame_shape)

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read some patterns."""
        keys = key if isinstance(key, tuple) else (key,)
        chosen = np.arange(len(self.offsets))[keys[0]]
        frames = np.empty((len(chosen), *self.frame_shape), self.dtype)
        with open(self.path, "rb") as file:
            for frame, index in zip(frames, chosen, strict=True):
                file.seek(int(self.offsets[index]))
                content = self.read_one(file, int(index), frame.nbytes)
                frame[...] = np.frombuffer(content, self.dtype).reshape(self.frame_shape)
        return frames[(slice(None), *keys[1:])]

    @abstractmethod
    def read_one(self, file: BinaryIO, index: int, n_bytes: int) -> bytes:
        """The `n_bytes` of one pattern, from the place in the file where it begins."""

    def changed(self) -> FormatError:
        """What to raise where the file is not as it was."""
        return FormatError(f"{self.path} has changed since it was opened; open it again")


def as_lazy(recipe: Recipe, *, storage_chunks: tuple[int, ...] | None = None, along: int = 0) -> Any:
    """A Dask array over a recipe, in pieces of whole scan lines that hold whole storage chunks.

    Parameters
    ----------
    recipe
        Shape (n, ky, kx) or (y, x, ky, kx).
    storage_chunks
        Chunk shape in the file, if it has one.
    along
        Axis of the scan along which to cut; not the first where the file stores its axes in another order.
    """
    import dask.array as da

    if storage_chunks is not None and min(storage_chunks, default=0) < 1:
        storage_chunks = None  # a damaged file
    line_bytes = math.prod(recipe.shape) // recipe.shape[along] * recipe.dtype.itemsize
    unit = storage_chunks[along] if storage_chunks else 1
    if unit * line_bytes > 4 * CHUNK_BYTES:
        unit = 1
    lines = max(unit, CHUNK_BYTES // max(1, line_bytes) // unit * unit)
    chunks = tuple(min(lines, n) if axis == along else n for axis, n in enumerate(recipe.shape))
    meta = np.empty((0,) * recipe.ndim, dtype=recipe.dtype)
    return da.from_array(  # type: ignore[no-untyped-call]
        Guarded(recipe, marks_of(recipe)), chunks=chunks, name=False, inline_array=True, meta=meta
    )


@dataclass(frozen=True, slots=True, eq=False)
class Guarded:
    """A recipe whose failures are one sentence, whichever error a reader raises.

    Attributes
    ----------
    base
        The recipe.
    marks
        Of files that must be as they were when they were opened.
    """

    base: Recipe
    marks: tuple[Mark, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """As the recipe's."""
        return self.base.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As the recipe's."""
        return self.base.dtype

    @property
    def ndim(self) -> int:
        """As the recipe's."""
        return self.base.ndim

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read a part."""
        try:
            for mark in self.marks:
                mark.check()
            part = self.base[key]
            if part.dtype.newbyteorder("=") != self.dtype.newbyteorder("=") or part.shape != _shape_of(
                key, self.shape
            ):
                raise FormatError(f"{where_is(self.base)} has changed since it was opened; open it again")
            return part
        except MemoryError:
            raise
        except Exception as error:  # readers of damaged files raise every kind
            logger.debug("reading failed", exc_info=error)
            where = where_is(self.base)
            missing = _missing(where, error)
            if missing is not None:
                raise gone(missing) from error  # or not visible from this machine: no damage
            if isinstance(error, OrbistemError):
                raise
            raise FormatError(f"{where} is damaged ({one_line(error)}); copy it again") from error


def _missing(where: str, error: BaseException | None) -> str | None:
    """The file that is not there: the one that is read, or one that an error or its causes name."""
    while error is not None:
        named = getattr(error, "filename", None)
        if isinstance(error, FileNotFoundError) and isinstance(named, str) and not os.path.lexists(named):
            return named
        error = error.__cause__
    return where if os.path.isabs(where) and not os.path.lexists(where) else None


def _shape_of(key: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the part that slices cut out of an array of a given shape."""
    keys = key if isinstance(key, tuple) else (key,)
    keys += (slice(None),) * (len(shape) - len(keys))
    return tuple(len(range(*part.indices(n))) for part, n in zip(keys, shape, strict=True))


@dataclass(frozen=True, slots=True)
class Folded:
    """A flat stack (n, ky, kx) seen as a grid (y, x, ky, kx); positions beyond the stack read as zero."""

    base: Recipe
    scan_shape: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x, ky, kx)."""
        return (*self.scan_shape, *self.base.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stack."""
        return self.base.dtype

    @property
    def ndim(self) -> int:
        """Always 4."""
        return 4

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read whole lines at once, or parts of lines one by one."""
        rows, columns, *detector = _slices(key, self.shape)
        width = self.scan_shape[1]
        if columns == slice(0, width):
            flat = self._flat(rows.start * width, rows.stop * width, detector)
            return flat.reshape(rows.stop - rows.start, width, *flat.shape[1:])
        lines = [
            self._flat(row * width + columns.start, row * width + columns.stop, detector)
            for row in range(rows.start, rows.stop)
        ]
        return np.stack(lines)

    def _flat(self, start: int, stop: int, detector: list[slice]) -> np.ndarray[Any, Any]:
        end = min(stop, self.base.shape[0])
        shape = tuple(part.stop - part.start for part in detector)
        if start >= end:
            return np.zeros((stop - start, *shape), dtype=self.dtype)
        frames = self.base[(slice(start, end), *detector)]
        if end == stop:
            return frames
        return np.concatenate([frames, np.zeros((stop - end, *shape), dtype=self.dtype)])


@dataclass(frozen=True, slots=True)
class Joined:
    """Several stacks of equal frames, one after the other along the first axis."""

    parts: tuple[Recipe, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(sum of n, ky, kx)."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the first stack."""
        return self.parts[0].dtype

    @property
    def ndim(self) -> int:
        """As the parts."""
        return self.parts[0].ndim

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read from those parts that the range touches."""
        first, *rest = _slices(key, self.shape)
        pieces, begin = [], 0
        for part in self.parts:
            start, stop = max(first.start - begin, 0), min(first.stop - begin, part.shape[0])
            if start < stop:
                pieces.append(part[(slice(start, stop), *rest)])
            begin += part.shape[0]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _slices(key: Any, shape: tuple[int, ...]) -> list[slice]:
    """Plain slices with start and stop for every axis; Dask asks with slices of step 1 only."""
    keys = key if isinstance(key, tuple) else (key,)
    keys = keys + (slice(None),) * (len(shape) - len(keys))
    bounds = [part.indices(size) for part, size in zip(keys, shape, strict=True)]
    return [slice(start, max(start, stop)) for start, stop, _ in bounds]
