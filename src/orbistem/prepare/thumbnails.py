"""A small picture of every pattern: enough to see which positions do not fit in among their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import ShapeError
from orbistem.scan import Block

Floats = NDArray[np.float64]
Pictures = NDArray[np.float32]

MAX_SIDE = 8
"""Bins along each side of a thumbnail."""
MAX_BYTES = 64 * 2**20
"""All thumbnails together; larger scans get coarser ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnails:
    """The reduction; any runner of `orbistem.stream` takes it. Its result has the shape (position, bin).

    Parameters
    ----------
    detector_shape
        (ky, kx).
    n_positions
        Of the whole scan.
    """

    detector_shape: tuple[int, int]
    n_positions: int

    @property
    def side(self) -> int:
        """Bins along each side of a thumbnail."""
        affordable = int(np.sqrt(MAX_BYTES / (4 * max(self.n_positions, 1))))
        return max(min(MAX_SIDE, affordable, *self.detector_shape), 1)

    def start(self) -> tuple[Pictures, ...]:
        """Return pictures of nothing."""
        return ()

    def add(self, state: tuple[Pictures, ...], block: Block) -> tuple[Pictures, ...]:
        """Return the pictures with those of one more block; NaN where a frame was not measured."""
        frames = np.asarray(block.frames)
        if frames.shape[1:] != self.detector_shape:
            raise ShapeError(f"frames: want (n, {self.detector_shape}), got {frames.shape}")
        if frames.dtype.kind == "f" and not np.isfinite(frames).all():
            frames = np.where(np.isfinite(frames), frames, 0)
        rows, columns = (np.linspace(0, n, self.side + 1).astype(int)[:-1] for n in self.detector_shape)
        wide = np.float64 if frames.dtype.kind == "f" else np.int64
        small = np.add.reduceat(frames, rows, axis=1, dtype=wide)
        small = np.add.reduceat(small, columns, axis=2)
        pictures = small.reshape(len(frames), -1).astype(np.float32)
        pictures[~np.asarray(block.measured, bool)] = np.nan
        return (*state, pictures)

    def merge(self, left: tuple[Pictures, ...], right: tuple[Pictures, ...]) -> tuple[Pictures, ...]:
        """Return the pictures of two runs of blocks."""
        return left + right

    def finish(self, state: tuple[Pictures, ...]) -> Pictures:
        """Return the pictures of all positions, (position, bin), in stored units."""
        return np.concatenate(state) if state else np.empty((0, self.side**2), np.float32)
