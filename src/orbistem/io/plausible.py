"""Whether a file can hold what it declares: shapes in damaged headers are refused before anything is done."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from orbistem.errors import FormatError

__all__ = ["require_plausible"]

MAX_PIXELS = 2**28
"""Four times the largest detector (16k x 16k): what has more is no diffraction pattern."""
SMALL_BYTES = 2**32
MAX_RATIO = 20_000
"""Bytes declared for each byte on disk, above `SMALL_BYTES`; compression reaches some thousands."""
MAX_POSITIONS = 10**9

MOST_BYTES = 10**30
"""Sizes are told up to here; a header may declare any number."""


def require_plausible(path: Path, patterns: Any) -> None:
    """Refuse a shape that no detector, scan or compression can explain.

    Parameters
    ----------
    path
        File or folder.
    patterns
        Anything with a shape and a type.

    Raises
    ------
    FormatError
        What was declared, what there is.
    """
    shape = tuple(int(size) for size in patterns.shape)
    if min(shape, default=0) < 0:
        raise FormatError(f"{path} declares the impossible shape {shape}; copy it again")
    if len(shape) < 2 or 0 in shape:
        return  # refused later, in other words
    by_size = sorted(shape)
    text = " x ".join(map(str, shape))
    if by_size[0] * by_size[1] > MAX_PIXELS or shape[-1] * shape[-2] > MAX_PIXELS:
        raise FormatError(f"{path} declares {text}: no detector has so many pixels; copy it again")
    if math.prod(shape[:-2]) > MAX_POSITIONS and math.prod(shape[2:]) > MAX_POSITIONS:
        raise FormatError(f"{path} declares {text}: no scan has so many positions; copy it again")
    declared = math.prod(shape) * patterns.dtype.itemsize
    if declared > SMALL_BYTES and declared > MAX_RATIO * (there := _bytes_of(path)):
        size_gb = min(declared, MOST_BYTES) / 1e9
        raise FormatError(
            f"{path} declares {text} ({size_gb:.3g} GB), there are {there} bytes; copy it again"
        )


def _bytes_of(path: Path) -> int:
    """Size of a folder, or of a file with the others that it may point to."""
    if not path.is_dir():
        beside = path.parent.glob(f"{path.stem.split('_master')[0]}*{path.suffix}")
        return path.stat().st_size + sum(one.stat().st_size for one in beside if one.is_file())
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
