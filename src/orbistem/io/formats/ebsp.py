"""Oxford Instruments .ebsp: patterns one after the other, each between a header and its beam position.

The layout, as kikuchipy's plugin ``oxford_binary`` documents it: a version (a negative number; version 0 has
none), a table with the offset of every pattern (0: not stored), then for each pattern 16 bytes (compressed or
not, rows, columns, bytes), the numbers, and from version 1 on two flags with the coordinates x and y.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import FormatError, OptionError
from orbistem.io.contract import Format, Found, Request
from orbistem.io.lazy import FramesAt
from orbistem.io.placed import find_places, put_in_place
from orbistem.scan import Axis

__all__ = ["FORMAT", "EbspArray"]

_HEAD_BYTES, _PLACE_BYTES = 16, 18
_MAX_PATTERNS = 100_000_000
_STEP_ERROR = 0.02
"""Share of a step by which a beam position may miss its place on the raster."""


@dataclass(frozen=True, slots=True, eq=False)
class EbspArray(FramesAt):
    """Recipe of patterns as they are."""

    def read_one(self, file: BinaryIO, index: int, n_bytes: int) -> bytes:
        """Plain numbers."""
        raw = file.read(n_bytes)
        if len(raw) != n_bytes:
            raise self.changed()
        return raw


def _read(path: Path, request: Request) -> Found:
    if request.dataset is not None:
        raise OptionError(f"dataset: {path.name} has no named arrays; leave --dataset out")
    size = path.stat().st_size
    content = np.memmap(path, np.uint8, mode="r")
    version, offsets = _table(content, size, path)
    stored = offsets[offsets > 0]
    heads = np.stack([content[stored + byte] for byte in range(_HEAD_BYTES)], axis=1).view("<i4")
    packed, rows, columns, n_bytes = (int(value) for value in heads[0])
    if (heads != heads[0]).any():
        raise FormatError(f"{path.name} holds patterns of different sizes; keep those of one size")
    if packed:
        raise FormatError(f"{path.name} holds compressed patterns; save them uncompressed")
    if rows < 2 or columns < 2 or n_bytes not in (rows * columns, 2 * rows * columns):
        raise FormatError(f"{path.name} has patterns of {rows} x {columns} in {n_bytes} bytes; copy it again")
    dtype = np.dtype("u1" if n_bytes == rows * columns else "<u2")
    if int(stored.max()) + _HEAD_BYTES + n_bytes > size:
        raise FormatError(f"{path.name} is cut off in the middle of a pattern; copy it again")
    recipe: Any = EbspArray(os.path.abspath(path), stored + _HEAD_BYTES, (rows, columns), dtype)
    about = [f"Oxford .ebsp, version {version}, {len(stored)} of {len(offsets)} patterns stored"]
    places = _beam_positions(content, stored + _HEAD_BYTES + n_bytes, n_bytes, size)
    if places is None:
        return Found(format="EBSD (Oxford .ebsp)", patterns=recipe, found=tuple(about))
    return _with_places(recipe, places, about)


def _table(content: NDArray[np.uint8], size: int, path: Path) -> tuple[int, NDArray[np.int64]]:
    """Version, and the offset of every pattern in the order of the map."""
    if size < 16:
        raise FormatError(f"{path.name} is cut off: {size} bytes; copy it again")
    (first,) = struct.unpack("<q", content[:8].tobytes())
    begin, version = (8, -first) if -100 < first < 0 else (0, 0)
    first_pattern = 0
    probe = np.frombuffer(content[begin : begin + 8 * min(4096, (size - begin) // 8)].tobytes(), "<i8")
    inside = probe[(probe >= begin + 8) & (probe < size)]
    if len(inside):
        first_pattern = int(inside.min())
    n = (first_pattern - begin) // 8
    if n < 1 or n > _MAX_PATTERNS or (first_pattern - begin) % 8:
        raise FormatError(f"{path.name} has no readable table of patterns; copy it again")
    offsets = np.frombuffer(content[begin : begin + 8 * n].tobytes(), "<i8").astype(np.int64)
    good = (offsets == 0) | ((offsets >= begin + 8 * n) & (offsets + _HEAD_BYTES <= size))
    if not good.all() or not offsets.any():
        raise FormatError(f"{path.name} has patterns that begin outside the file; copy it again")
    return version, offsets


def _beam_positions(
    content: NDArray[np.uint8], ends: NDArray[np.int64], n_bytes: int, size: int
) -> NDArray[np.float64] | None:
    """(n, 2) y and x; later versions move the block behind a pattern by some bytes."""
    gaps = np.diff(np.sort(np.append(ends - n_bytes - _HEAD_BYTES, size))) - n_bytes - _HEAD_BYTES
    room = int(gaps.min())
    for shift in range(room - _PLACE_BYTES + 1):
        raw = np.stack([content[ends + shift + byte] for byte in range(_PLACE_BYTES)], axis=1)
        if (raw[:, 0] == 1).all() and (raw[:, 9] == 1).all():
            x = np.ascontiguousarray(raw[:, 1:9]).view("<f8")[:, 0]
            y = np.ascontiguousarray(raw[:, 10:18]).view("<f8")[:, 0]
            if np.isfinite(x).all() and np.isfinite(y).all() and max(np.abs(x).max(), np.abs(y).max()) < 1e9:
                return np.stack([y, x], axis=1)
    return None


def _with_places(recipe: Any, positions: NDArray[np.float64], about: list[str]) -> Found:
    """On the raster that the beam positions lie on, or as a list of positions."""
    low = positions.min(axis=0)
    steps = [_step(positions[:, axis]) for axis in (0, 1)]
    whole = (positions - low) / steps
    on_raster = bool((np.abs(whole - np.round(whole)) < _STEP_ERROR).all())
    places = find_places(np.round(whole)) if on_raster else None
    words = "beam positions in µm behind every pattern"
    if places is None:
        found = (*about, f"positions from the {words}")
        return Found(
            format="EBSD (Oxford .ebsp)",
            patterns=recipe,
            positions=positions,
            position_units="µm",
            found=found,
        )
    axes = tuple(
        Axis(name=name, scale=float(step), offset=float(first), units="µm")
        for name, step, first in zip("yx", steps, low, strict=True)
    )
    return Found(
        format="EBSD (Oxford .ebsp)",
        patterns=put_in_place(recipe, places),
        scan_axes=axes,
        axes_known=True,
        measured=places.measured,
        found=(*about, f"{words}; {places.words}"),
    )


def _step(values: NDArray[np.float64]) -> float:
    """Smallest distance between different coordinates; 1 where all are equal."""
    apart = np.diff(np.unique(np.round(values, 6)))
    return float(apart.min()) if len(apart) else 1.0


FORMAT = Format(
    name="EBSD (Oxford .ebsp)",
    recognise=lambda look: not look.is_folder and look.suffix == ".ebsp" and not look.request.is_raw,
    read=_read,
)
