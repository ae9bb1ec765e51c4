"""How loud a single pattern is, radius by radius: its noise follows its own counts, not those of the mean.

The variance of a pixel is taken as that of the mean pattern times Σ_l ρ_l h_l(r), with hat functions h_l on
circles half a ring apart. The levels ρ are read from the pattern's own order 0: the most likely ones under a
Gaussian prior about 1 that is smooth, but lets the bright disk and the dark field differ. So the noise of
every component is a known, linear function of order 0. What is left, |c|² minus its noise, then has the
variance of Gaussian noise (for Poisson counts (I - λ)² - I has mean 0 and variance 2λ²).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.harmonics.analyser import Analyser
from orbistem.harmonics.rings import hat_weights
from orbistem.plan import Plan

__all__ = ["RingNoise", "ring_noise"]

FINER = 2
"""Circles a ring."""
PRIOR_SD = 2.0
"""Expected departure of a level from 1: the dark field varies by its own size."""
PRIOR_RINGS = 3.0
"""Radii so many rings apart hardly know of each other."""
PRIOR_LOG = 0.7
"""Radii whose mean intensities differ by this factor (natural logarithm) hardly know of each other."""

MODEL_ERROR = 0.01
"""Part of a ring's counts that levels which vary along the radius only cannot draw (the rim of a disk)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RingNoise:
    """Noise of the harmonics, split by the circle that the electrons hit.

    Parameters
    ----------
    solve
        ρ - 1 = solve · (order 0 of a pattern about the mean), shape (circle, ring).
    error
        Covariance of what is not known of ρ, for a pattern like the mean, shape (circle, circle).
    same
        Noise of ring i from electrons at circles 2i - 2 … 2i + 2, shape (order, ring, 5).
    next
        Covariance of rings i and i + 1 from electrons at circles 2i … 2i + 2, shape (order, ring, 3).
    """

    solve: np.ndarray
    error: np.ndarray
    same: np.ndarray
    next: np.ndarray

    def split(self, vectors: np.ndarray, order: int) -> np.ndarray:
        """Covariance of components of one order from each circle: vectors (k, ring) → (circle, k, k)."""
        k, n_rings = vectors.shape
        n_circles = len(self.solve)
        parts = np.zeros((n_circles, k, k))
        for i in range(n_rings):
            own = np.outer(vectors[:, i], vectors[:, i])
            for step in range(-FINER, FINER + 1):
                if 0 <= FINER * i + step < n_circles:
                    parts[FINER * i + step] += self.same[order, i, step + FINER] * own
            if i + 1 < n_rings:
                both = np.outer(vectors[:, i], vectors[:, i + 1])
                both += both.T
                for step in range(FINER + 1):
                    parts[FINER * i + step] += self.next[order, i, step] * both
        return parts


def ring_noise(plan: Plan) -> RingNoise | None:
    """Split of a plan's noise; None where noise does not follow the counts (root, or no counts)."""
    if plan.gain is None or plan.whitening != "poisson":
        return None
    analyser = plan.analyser
    n_rings, n_orders = analyser.grid.n_rings, analyser.grid.n_orders
    variance = plan.clean_mean.ravel()[analyser.gather]
    hats = _hats(analyser)
    n_circles = hats.shape[1]
    response, reach = np.zeros((n_rings, n_circles)), np.zeros(n_rings)
    same = np.zeros((n_orders, n_rings, 2 * FINER + 1))
    over = np.zeros((n_orders, n_rings, FINER + 1))
    for i, left in enumerate(analyser.maps):
        if not left.n_orders:
            continue
        mine = slice(left.start, left.stop)
        response[i] = (left.matrix[:, 0] * variance[mine]) @ hats[mine]
        reach[i] = np.abs(left.matrix[:, 0]) @ variance[mine]
        squares = left.matrix**2
        for step in range(-FINER, FINER + 1):
            circle = FINER * i + step
            if 0 <= circle < n_circles:
                by_hat = variance[mine] * hats[mine, circle]
                same[: left.n_orders, i, step + FINER] = _per_order(squares, by_hat)
        if i + 1 == n_rings or not analyser.maps[i + 1].n_orders:
            continue
        right = analyser.maps[i + 1]
        start, stop = max(left.start, right.start), min(left.stop, right.stop)
        if stop <= start:
            continue
        both, columns = slice(start, stop), 2 * min(left.n_orders, right.n_orders) - 1
        product = left.matrix[start - left.start : stop - left.start, :columns]
        product = product * right.matrix[start - right.start : stop - right.start, :columns]
        for step in range(FINER + 1):
            by_hat = variance[both] * hats[both, FINER * i + step]
            over[: (columns + 1) // 2, i, step] = _per_order(product, by_hat)
    intensity = (variance @ hats) / np.maximum(hats.sum(axis=0), 1e-9)
    prior = _prior(intensity)
    known = response @ prior @ response.T + plan.noise[0] + np.diag((MODEL_ERROR * reach) ** 2)
    solve = prior @ response.T @ np.linalg.pinv(known, rcond=1e-9, hermitian=True)
    error = prior - solve @ response @ prior
    return RingNoise(solve=solve, error=error, same=same, next=over)


def _prior(intensity: np.ndarray) -> np.ndarray:
    """Covariance of the levels, shape (circle, circle)."""
    place = np.arange(len(intensity)) / FINER
    log = np.log(np.maximum(intensity, 1e-6 * max(float(intensity.max()), 1e-300)))
    apart = (place[:, None] - place) / PRIOR_RINGS
    unlike = (log[:, None] - log) / PRIOR_LOG
    prior: np.ndarray = PRIOR_SD**2 * np.exp(-(apart**2) / 2 - unlike**2 / 2)
    return prior


def _per_order(products: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Sum over pixels; for orders above 0 the mean of real and imaginary part."""
    sums = variance @ products
    return np.concatenate([sums[:1], (sums[1::2] + sums[2::2]) / 2])


def _hats(analyser: Analyser) -> np.ndarray:
    """Hat functions of the circles at the gathered pixels, (pixel, circle); the last stays 1 beyond it."""
    grid = analyser.grid
    radius = np.zeros(grid.detector_shape[0] * grid.detector_shape[1])
    for ring in grid.rings:
        radius[ring.pixels] = ring.radius_px
    spacing = float(grid.radii_px[1] - grid.radii_px[0]) / FINER
    circles = np.arange(FINER * grid.n_rings) * spacing
    within = np.minimum(radius[analyser.gather], circles[-1])
    return hat_weights(within, radii_px=circles, spacing_px=spacing)
