"""How a grain is turned against a reference region: angles compare only where the latents are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import OptionError
from orbistem.models.protocol import Encoding
from orbistem.scan import Scan

__all__ = ["Orientation", "measure_orientation", "reference_positions", "with_hand"]

NEIGHBOURS = 5
"""Reference positions averaged for each position."""
CRYSTAL_ORDERS = (1, 2, 3, 4, 6)
HAND_APART = 2.0
"""Distance of the two hands from their middle, over the spread of the latents."""
AGREEMENT = 0.6
"""Resultant of n times the angle differences in the reference from which n is its rotation order."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Orientation:
    """Turn of every position against the reference, (n,) rad in [0, 2 pi / order); NaN where unknown."""

    angle: NDArray[np.float32]
    order: int


def reference_positions(scan: Scan, region: tuple[int, int, int, int]) -> NDArray[np.int64]:
    """Flat indices of the region y0, y1, x0, x1 of a scan."""
    if not scan.is_grid:
        raise OptionError("reference: want a grid of positions, got a list of them; leave out --reference")
    y0, y1, x0, x1 = region
    inside = np.zeros(scan.scan_shape, bool)
    inside[y0:y1, x0:x1] = True
    if not inside.any() or y1 > scan.scan_shape[0] or x1 > scan.scan_shape[1]:
        raise OptionError(
            f"reference: want a region inside {scan.scan_shape[0]} x {scan.scan_shape[1]} positions, got "
            f"{region}; correct it"
        )
    return np.flatnonzero(inside)


def measure_orientation(encoding: Encoding, reference: NDArray[np.int64]) -> Orientation:
    """orientation(q) = angle(q) - angle(p), p the reference positions nearest in the latents, of one hand.

    A crystal of rotation order n has n positions of equal latents and different angles, so the difference is
    known modulo 2 pi / n; n is found from the reference region itself.
    """
    from scipy.spatial import cKDTree

    z, angle = with_hand(np.asarray(encoding.z, np.float64), encoding), np.asarray(encoding.angle, np.float64)
    good = np.isfinite(z).all(axis=1) & np.isfinite(angle)
    reference = reference[good[reference] & (np.asarray(encoding.angle_order)[reference] > 0)]
    result = np.full(len(z), np.nan, np.float32)
    if len(reference) <= NEIGHBOURS:
        return Orientation(angle=result, order=1)
    tree = cKDTree(z[reference])
    _, near = tree.query(z[reference], k=NEIGHBOURS + 1)
    apart = angle[reference][:, None] - angle[reference][near[:, 1:]]
    order = _crystal_order(apart)
    _, near = tree.query(z[good], k=NEIGHBOURS)
    turn = np.exp(1j * order * (angle[good][:, None] - angle[reference][near])).mean(axis=1)
    period = 2 * np.pi / order
    result[good] = np.mod(np.angle(turn) / order, period)
    return Orientation(angle=result, order=order)


def with_hand(z: NDArray[np.float64], encoding: Encoding) -> NDArray[np.float64]:
    """Latents (n, D), with the handedness as one more where there is one, so that hands lie far apart."""
    if encoding.handedness is None:
        return z
    spread = float(np.sqrt(np.nansum(np.nanvar(z, axis=0)))) or 1.0
    return np.column_stack([z, HAND_APART * spread * np.asarray(encoding.handedness, np.float64)])


def _crystal_order(apart: NDArray[Any]) -> int:
    """Smallest n for which n times the angle differences agree; 1 if none does."""
    return next((n for n in CRYSTAL_ORDERS if abs(np.exp(1j * n * apart).mean()) > AGREEMENT), 1)
