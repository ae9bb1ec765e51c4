"""Single patterns of a scan, for pictures and for what is judged pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.plan import Plan
from orbistem.prepare.registration import fill_gaps, move, seen
from orbistem.prepare.tiles import scan_coordinates
from orbistem.scan import Scan

__all__ = ["read_at_rest", "read_frames"]

SPARSE = 16
"""Fewer than one position in so many are read one by one, more in blocks."""
BLOCK_BYTES = 64 * 2**20


def read_frames(scan: Scan, positions: NDArray[np.int64]) -> NDArray[Any]:
    """Patterns at ascending flat positions, (n, ky, kx)."""
    if scan.n_positions > SPARSE * len(positions):
        return np.concatenate([scan.block(int(at), int(at) + 1).frames for at in positions])
    parts = []
    for block in scan.iter_blocks(scan.choose_block_size(BLOCK_BYTES)):
        inside = positions[(positions >= block.start) & (positions < block.stop)]
        parts.append(block.frames[inside - block.start])
    return np.concatenate(parts)


def read_at_rest(scan: Scan, positions: NDArray[np.int64], plan: Plan) -> NDArray[Any]:
    """The same, each moved to the centre of the plan where the pattern wanders over the detector.

    They are moved by splines, which blurs their noise a little; pixels that were not measured are NaN. The
    coefficients are never read from such frames.
    """
    frames = read_frames(scan, positions)
    plan = plan.for_places(scan_coordinates(scan), of=scan.provenance.checksum)
    if plan.shift_px is None:
        return frames
    moved = np.empty(frames.shape, np.float32)
    for i, (frame, by) in enumerate(zip(frames, plan.shift_px[positions], strict=True)):
        known = plan.pixel_valid & np.isfinite(frame)
        at_rest = move(fill_gaps(np.asarray(frame, np.float64), known), -by)
        moved[i] = np.where(seen(known, by[None]), at_rest, np.nan)
    return moved
