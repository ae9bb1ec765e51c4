"""Patterns stored in another order than the raster, or only some of it, put back in their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import OptionError
from orbistem.io.lazy import Recipe, as_lazy

__all__ = ["Placed", "Places", "find_places", "given_places", "put_in_place"]

MIN_FILLED = 0.25
"""Whole-numbered positions that fill less of their rectangle than this are a list, not a raster."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Places:
    """Which pattern belongs where.

    Attributes
    ----------
    index
        (y, x): number of the pattern in the file; -1 where there is none.
    origin
        (y, x) of the first row and column in the numbers of the list.
    """

    index: NDArray[np.int64]
    origin: tuple[int, int]

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(y, x): whether there is a pattern."""
        return np.asarray(self.index >= 0)

    @property
    def words(self) -> str:
        """A sentence."""
        y, x = self.index.shape
        n = int(self.measured.sum())
        return f"the list names places of a raster: {n} of {y * x} positions ({y} x {x}) have a pattern"


def find_places(positions: NDArray[np.float64]) -> Places | None:
    """Places of whole-numbered positions (n, 2) that fill a good part of a rectangle; None for any others."""
    if len(positions) < 4 or not (np.round(positions) == positions).all() or np.abs(positions).max() > 2**31:
        return None
    whole = positions.astype(np.int64)
    low, high = whole.min(axis=0), whole.max(axis=0)
    rows, columns = (int(size) for size in high - low + 1)
    if min(rows, columns) < 2 or rows * columns * MIN_FILLED > len(whole):
        return None
    index = np.full((rows, columns), -1, np.int64)
    index[tuple((whole - low).T)] = np.arange(len(whole))
    if int((index >= 0).sum()) != len(whole):  # two patterns in one place
        return None
    return Places(index=index, origin=(int(low[0]), int(low[1])))


def given_places(positions: NDArray[np.float64], shape: tuple[int, int]) -> Places:
    """Places on a raster of a given shape; whole numbers counted from 0.

    Raises
    ------
    OptionError
        The positions are no whole numbers, lie outside, or meet.
    """
    rows, columns = shape
    whole = np.round(positions).astype(np.int64)
    inside = (positions == whole).all(axis=1) & (whole >= 0).all(axis=1) & (whole < shape).all(axis=1)
    if not inside.all():
        bad = int(np.flatnonzero(~inside)[0])
        raise OptionError(
            f"positions: want whole numbers y, x inside {rows} x {columns} where --shape is given, got "
            f"{positions[bad].tolist()} in row {bad}; leave out --shape to keep the list, or correct it"
        )
    index = np.full(shape, -1, np.int64)
    index[tuple(whole.T)] = np.arange(len(whole))
    if int((index >= 0).sum()) != len(whole):
        raise OptionError(
            "positions: want one pattern in a place, got two in one; correct the list, or leave out --shape"
        )
    return Places(index=index, origin=(0, 0))


def put_in_place(patterns: Any, places: Places) -> Any:
    """Patterns (n, ky, kx), NumPy, Dask or a recipe, as (y, x, ky, kx); zero where there is none."""
    if isinstance(patterns, np.ndarray):
        return Placed(patterns, places.index)[:]
    if hasattr(patterns, "dask"):
        patterns = _Computed(patterns)
    return as_lazy(Placed(patterns, places.index))


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Recipe: a flat stack seen as a raster through a table of numbers; -1 reads as zero."""

    base: Recipe
    index: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x, ky, kx)."""
        return (*self.index.shape, *self.base.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stack."""
        return np.dtype(self.base.dtype)

    @property
    def ndim(self) -> int:
        """Always 4."""
        return 4

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part, neighbouring patterns of the file together."""
        keys = key if isinstance(key, tuple) else (key,)
        rows, columns, *detector = keys + (slice(None),) * (4 - len(keys))
        wanted = self.index[rows, columns]
        shape = tuple(
            len(range(*part.indices(n))) for part, n in zip(detector, self.base.shape[1:], strict=True)
        )
        frames = np.zeros((wanted.size, *shape), self.dtype)
        flat = wanted.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[flat[order] >= 0]
        for run in np.split(order, np.flatnonzero(np.diff(flat[order]) != 1) + 1):
            if len(run):
                start = int(flat[run[0]])
                frames[run] = self.base[(slice(start, start + len(run)), *detector)]
        return frames.reshape(*wanted.shape, *shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Computed:
    """A Dask array as a recipe."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = np.dtype(self.array.dtype)
        return kind

    @property
    def ndim(self) -> int:
        return int(self.array.ndim)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self.array[key].compute(scheduler="synchronous"))
