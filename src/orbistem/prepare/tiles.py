"""Mean patterns of parts of the scan: what the patterns look like here and there, in one pass.

A scan is cut into tiles, rectangles of neighbouring positions. Their mean patterns are noisy copies of the
scan's mean; how they differ shows what changes slowly over the scan, above all where the pattern lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import ShapeError
from orbistem.scan import Block, Scan

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MAX_TILES_ALONG = 8
MIN_POSITIONS = 4
"""A tile holds at least so many positions."""
TILE_BYTES = 64 * 2**20
"""All mean patterns together; large detectors get fewer tiles, but at least 3 × 3."""


def scan_coordinates(scan: Scan) -> Floats:
    """Place of every position, (n_positions, 2): y and x, each from -1/2 to 1/2 across the scan."""
    if scan.positions is not None:
        where = np.asarray(scan.positions, np.float64)
        low, high = where.min(axis=0), where.max(axis=0)
    else:
        ny, nx = scan.scan_shape
        where = np.stack(np.divmod(np.arange(ny * nx), nx), axis=1).astype(np.float64)
        low, high = np.zeros(2), np.array([ny - 1.0, nx - 1.0])
    span = high - low
    return np.where(span > 0, (where - low) / np.where(span > 0, span, 1.0) - 0.5, 0.0)


def tile_of_positions(scan: Scan) -> NDArray[np.int64]:
    """Index of the tile that each position belongs to, (n_positions,); tiles are numbered from 0 on."""
    place = scan_coordinates(scan)
    pixels = int(np.prod(scan.detector_shape))
    along = int(np.sqrt(max(TILE_BYTES // (8 * pixels), 9)))
    sizes = scan.scan_shape if scan.positions is None else (len(place), len(place))
    along = min(along, MAX_TILES_ALONG, max(int(np.sqrt(len(place) / MIN_POSITIONS)), 1))
    counts = [min(MAX_TILES_ALONG if 1 in sizes else along, size) for size in sizes]
    cell = [np.minimum(((place[:, i] + 0.5) * counts[i]).astype(np.int64), counts[i] - 1) for i in (0, 1)]
    return np.unique(cell[0] * counts[1] + cell[1], return_inverse=True)[1].reshape(-1).astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TileMeans:
    """Mean patterns of the tiles.

    Attributes
    ----------
    mean
        (tile, ky, kx), stored units; NaN where a pixel was never finite.
    n
        (tile,) patterns behind each.
    place
        (tile, 2) mean place of these patterns in the scan, y and x from -1/2 to 1/2.
    spread
        (tile, 2, 2) covariance of their places.
    """

    mean: Floats
    n: NDArray[np.int64]
    place: Floats
    spread: Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TileSums:
    """Partial sums of the tiles that were met: patterns, missing pixels, moments of places."""

    n: dict[int, int]
    total: dict[int, Floats]
    missing: dict[int, Floats]
    place: dict[int, Floats]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tiles:
    """The reduction; any runner of `orbistem.stream` takes it.

    Parameters
    ----------
    detector_shape
        (ky, kx).
    tile
        (n_positions,), see `tile_of_positions`.
    place
        (n_positions, 2), see `scan_coordinates`.
    """

    detector_shape: tuple[int, int]
    tile: NDArray[np.int64]
    place: Floats

    @classmethod
    def of(cls, scan: Scan) -> Tiles:
        """The tiles of a scan."""
        return cls(
            detector_shape=scan.detector_shape, tile=tile_of_positions(scan), place=scan_coordinates(scan)
        )

    def start(self) -> TileSums:
        """Return sums of nothing."""
        return TileSums(n={}, total={}, missing={}, place={})

    def add(self, state: TileSums, block: Block) -> TileSums:
        """Return the sums with one more block."""
        frames = np.asarray(block.frames)
        if frames.shape[1:] != self.detector_shape:
            raise ShapeError(f"frames: want (n, {self.detector_shape}), got {frames.shape}")
        tile = self.tile[block.start : block.stop]
        edges = np.flatnonzero(np.diff(tile)) + 1
        for start, stop in zip([0, *edges], [*edges, len(frames)], strict=True):
            self._add_run(
                state, int(tile[start]), frames[start:stop], block.measured[start:stop], block.start + start
            )
        return state

    def _add_run(
        self, state: TileSums, tile: int, frames: NDArray[np.generic], measured: Bools, start: int
    ) -> None:
        """Add neighbouring frames of one tile."""
        flat = frames.reshape(len(frames), -1)
        some = flat[:, :: max(1, flat.shape[1] // 256)]
        use = np.asarray(measured, bool) & (np.isfinite(some).any(axis=1) if flat.dtype.kind == "f" else True)
        use &= np.nan_to_num(some.max(axis=1) != some.min(axis=1)).astype(bool)  # blank frames are constant
        if not use.any():
            return
        frames = frames[use]
        gone = None
        if frames.dtype.kind == "f":
            finite = np.isfinite(frames)
            if not finite.all():
                frames, gone = np.where(finite, frames, 0), (~finite).sum(axis=0, dtype=np.float64)
        _accumulate(state.total, tile, frames.sum(axis=0, dtype=np.float64))
        y, x = self.place[start : start + len(use)][use].T
        _accumulate(state.place, tile, np.array([y.sum(), x.sum(), y @ y, y @ x, x @ x]))
        if gone is not None:
            _accumulate(state.missing, tile, gone)
        state.n[tile] = state.n.get(tile, 0) + int(use.sum())

    def merge(self, left: TileSums, right: TileSums) -> TileSums:
        """Return the sums of two runs of blocks."""
        for tile, n in right.n.items():
            left.n[tile] = left.n.get(tile, 0) + n
        for name in ("total", "missing", "place"):
            for tile, values in getattr(right, name).items():
                _accumulate(getattr(left, name), tile, values)
        return left

    def finish(self, state: TileSums) -> TileMeans:
        """Return the mean patterns of all tiles that were met."""
        tiles = sorted(state.n)
        n = np.array([state.n[tile] for tile in tiles], np.int64)
        mean = np.zeros((len(tiles), *self.detector_shape))
        for i, tile in enumerate(tiles):
            count = state.n[tile] - state.missing.get(tile, np.zeros(self.detector_shape))
            mean[i] = np.where(count > 0, state.total[tile] / np.maximum(count, 1), np.nan)
        moments = np.array([state.place[tile] / state.n[tile] for tile in tiles]).reshape(len(tiles), 5)
        place = moments[:, :2]
        spread = moments[:, [2, 3, 3, 4]].reshape(-1, 2, 2) - place[:, :, None] * place[:, None, :]
        return TileMeans(mean=mean, n=n, place=place, spread=spread)


def _accumulate(sums: dict[int, Floats], tile: int, values: Floats) -> None:
    if tile in sums:
        sums[tile] += values
    else:
        sums[tile] = values
