"""Scans with known centre and counts, and their moments."""

import itertools

import numpy as np

from orbistem.prepare.moments import Moments, MomentsResult
from orbistem.scan import Block


def reduce_blocks(frames: np.ndarray, edges: tuple[int, ...] = ()) -> MomentsResult:
    """Moments of frames (n, ky, kx) cut at the edges."""
    reduction = Moments(detector_shape=frames.shape[1:])
    state = reduction.start()
    bounds = (0, *edges, len(frames))
    for start, stop in itertools.pairwise(bounds):
        part = frames[start:stop]
        block = Block(start=start, frames=part, measured=np.ones(len(part), bool))
        state = reduction.merge(state, reduction.add(reduction.start(), block))
    return reduction.finish(state)


def expected_counts(
    *,
    electrons: float,
    scan_shape: tuple[int, int] = (24, 20),
    detector_shape: tuple[int, int] = (32, 32),
    centre: tuple[float, float] = (15.5, 15.5),
    radius_px: float = 9.0,
) -> np.ndarray:
    """Expected electrons (n, ky, kx): a soft disk and a ring whose three maxima turn from place to place."""
    y, x = np.indices(detector_shape).astype(float)
    r = np.hypot(y - centre[0], x - centre[1])
    azimuth = np.arctan2(y - centre[0], x - centre[1])
    disk = 1 / (1 + np.exp(3 * (r - radius_px)))
    patterns = []
    for j, i in np.ndindex(scan_shape):
        phase = 2 * np.pi / 3 * ((2 * j / scan_shape[0] + i / scan_shape[1]) % 1)
        right = i >= scan_shape[1] // 2
        ring_px = 1.42 * radius_px * (0.88 if right else 1.0)
        ring = np.exp(-((r - ring_px) ** 2) / 2) * (1 + 0.9 * np.cos(3 * (azimuth - phase)))
        share = 0.2 if right else 0.35
        patterns.append((1 - share) * disk / disk.sum() + share * ring / ring.sum())
    return electrons * np.array(patterns)
