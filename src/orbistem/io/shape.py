"""From a flat stack to a grid: which shapes fit, and how a given one is applied."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from orbistem.errors import OptionError
from orbistem.io.lazy import Folded, as_lazy

__all__ = ["check_shape", "describe_fits", "fold", "fold_lazily"]


def check_shape(shape: Any) -> tuple[int, ...] | None:
    """A shape of two, three or four whole numbers above zero."""
    if shape is None:
        return None
    try:
        sizes = tuple(int(size) for size in shape)
    except (TypeError, ValueError) as error:
        raise OptionError(f"shape: want Y,X,KY,KX, got {shape}; give whole numbers") from error
    if len(sizes) not in (2, 3, 4):
        raise OptionError(f"shape: want Y,X,KY,KX or N,KY,KX or Y,X, got {_text(sizes)}; give 2 to 4 numbers")
    if min(sizes) < 1:
        raise OptionError(
            f"shape: want numbers above 0, got {_text(sizes)}; give the true size of every axis"
        )
    return sizes


def describe_fits(n_frames: int, detector_shape: tuple[int, int]) -> str:
    """A sentence about the grids that `n_frames` would fill, or nearly fill, for the user to choose from."""
    ky, kx = detector_shape
    fits = _grids(n_frames)
    if fits:
        return (
            f"give --shape {fits[0][0]},{fits[0][1]},{ky},{kx} to fold them into lines "
            f"({n_frames} = {', '.join(f'{y} x {x}' for y, x in fits[:4])})"
        )
    near = [
        (grid, missing)
        for missing in range(1, 4)
        for grid in _grids(n_frames + missing)
        if missing < grid[1] and grid[0] <= 4 * grid[1]
    ]
    if not near:
        return "give --shape Y,X,KY,KX to fold them into lines"
    words = ", ".join(f"{y} x {x} less {missing}" for (y, x), missing in near[:4])
    (y, x), _ = near[0]
    return (
        f"{n_frames} fills no rectangle ({n_frames} = {words}); give --shape {y},{x},{ky},{kx} to fold them"
    )


def fold(patterns: Any, shape: tuple[int, ...]) -> tuple[Any, np.ndarray[Any, Any] | None, tuple[str, ...]]:
    """Give a stack the shape that was asked for.

    Parameters
    ----------
    patterns
        (n, ky, kx) or (y, x, ky, kx), NumPy or Dask.
    shape
        As `check_shape` returns it.

    Returns
    -------
    patterns, measured, sentences
        `measured` is None if every position has a pattern, else bool (y, x): up to one line less one pattern
        may be missing at the end; those read as zero.
    """
    scan_shape, n_missing, notes = _plan(patterns.shape, shape)
    ky, kx = patterns.shape[-2:]
    if tuple(patterns.shape[:-2]) == scan_shape:
        return patterns, None, notes
    flat = patterns if patterns.ndim == 3 else patterns.reshape(-1, ky, kx)
    if n_missing:
        flat = _padded(flat, n_missing)
    return flat.reshape(*scan_shape, ky, kx), _measured(scan_shape, n_missing), notes


def fold_lazily(
    recipe: Any, shape: tuple[int, ...], *, storage_chunks: tuple[int, ...] | None = None
) -> tuple[Any, np.ndarray[Any, Any] | None, tuple[str, ...]]:
    """As `fold` for a recipe of a stack (n, ky, kx): nothing is copied or rechunked."""
    scan_shape, n_missing, notes = _plan(recipe.shape, shape)
    if len(scan_shape) == 1:
        return as_lazy(recipe, storage_chunks=storage_chunks), None, notes
    lines = None if storage_chunks is None else (math.ceil(storage_chunks[0] / scan_shape[1]),)
    folded = Folded(recipe, (scan_shape[0], scan_shape[1]))
    return as_lazy(folded, storage_chunks=lines), _measured(scan_shape, n_missing), notes


def _plan(have: tuple[int, ...], want: tuple[int, ...]) -> tuple[tuple[int, ...], int, tuple[str, ...]]:
    """Scan shape, number of missing patterns at the end, sentences; or a refusal."""
    detector = tuple(int(size) for size in have[-2:])
    scan_shape = want if len(want) == 2 else want[:-2]
    if len(want) > 2 and want[-2:] != detector:
        raise OptionError(
            f"shape: want patterns of {detector[0]} x {detector[1]} as in the file, got {_text(want)}; "
            f"end it with {detector[0]},{detector[1]}"
        )
    n_have, n_want = math.prod(have[:-2]), math.prod(scan_shape)
    if n_want == n_have:
        return scan_shape, 0, ()
    missing = n_want - n_have
    if len(scan_shape) == 2 and 0 < missing < scan_shape[1]:
        return (
            scan_shape,
            missing,
            (
                f"the file holds {n_have} patterns, {missing} less than {scan_shape[0]} x {scan_shape[1]}; "
                "the last positions are not measured (NaN in the maps)",
            ),
        )
    raise OptionError(
        f"shape: want {n_have} positions as in the file, got {' x '.join(map(str, scan_shape))} = {n_want}; "
        f"{describe_fits(n_have, (detector[0], detector[1]))}"
    )


def _grids(n: int) -> list[tuple[int, int]]:
    """Rectangles (y, x) of n positions with sides of at least 2, nearest to a square first, y >= x."""
    sides = [side for side in range(2, math.isqrt(n) + 1) if n % side == 0]
    return [(n // side, side) for side in reversed(sides)]


def _measured(scan_shape: tuple[int, ...], n_missing: int) -> np.ndarray[Any, Any] | None:
    if not n_missing:
        return None
    n = math.prod(scan_shape)
    return (np.arange(n) < n - n_missing).reshape(scan_shape)


def _padded(flat: Any, n_missing: int) -> Any:
    zeros = np.zeros((n_missing, *flat.shape[1:]), dtype=flat.dtype)
    if isinstance(flat, np.ndarray):
        return np.concatenate([flat, zeros])
    import dask.array as da

    tail = da.from_array(zeros)  # type: ignore[no-untyped-call]
    return da.concatenate([flat, tail])  # type: ignore[no-untyped-call]


def _text(sizes: tuple[int, ...]) -> str:
    return ",".join(str(size) for size in sizes)
