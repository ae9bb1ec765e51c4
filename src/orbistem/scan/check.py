"""What may become part of a scan: patterns, positions, flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from orbistem.errors import InputError, OptionError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_flags", "as_positions", "frozen", "require_patterns"]

T = TypeVar("T", bound=np.generic)


def as_positions(positions: Any) -> NDArray[np.float64]:
    """Check a list of positions: (n, 2) or more columns, y and x first; returns float64 (n, 2)."""
    array = np.asarray(positions)
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "iuf":
        raise OptionError(
            f"positions: want numbers (n, 2), y and x, got {array.dtype} {array.shape}; give two columns"
        )
    array = np.array(array[:, :2], dtype=np.float64)
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise OptionError(
            f"positions: want finite numbers, got {array[bad].tolist()} in row {bad}; correct the list"
        )
    return array


def require_patterns(shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse what is not a stack of two-dimensional real patterns, with one sentence."""
    kind = np.dtype(dtype).kind
    if kind not in "biuf":
        raise InputError(
            f"patterns: want real numbers, got {np.dtype(dtype)}; convert them, or choose another dataset"
        )
    if len(shape) not in (2, 3, 4):
        raise InputError(
            f"patterns: want (y, x, ky, kx) or (n, ky, kx), got {tuple(shape)}; "
            "choose another dataset with --dataset, or reshape it"
        )
    if 0 in shape:
        raise InputError(
            f"patterns: want no empty axis, got {tuple(shape)}; choose a file or dataset that holds patterns"
        )
    if min(shape[-2:]) < 2:
        raise InputError(
            f"patterns: want two-dimensional patterns of at least 2 x 2 pixels, got {tuple(shape)}; "
            "choose another dataset with --dataset, or give --shape Y,X,KY,KX"
        )


def as_flags(name: str, given: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read-only bool array of that shape, all True if nothing is given; a flat one is folded."""
    if given is None:
        return frozen(np.ones(shape, dtype=np.bool_))
    flags = np.asarray(given)
    if flags.shape not in (shape, (int(np.prod(shape)),)):
        raise ShapeError(f"{name}: want {shape}, got {flags.shape}; give one flag per element")
    return frozen(np.array(flags, dtype=np.bool_).reshape(shape))


def frozen(array: NDArray[T]) -> NDArray[T]:
    """Copy an array and make the copy read-only."""
    array = np.array(array)
    array.setflags(write=False)
    return array
