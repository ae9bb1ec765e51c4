"""What each position's pattern should be: that of reference positions of equal latents, turned the same way.

A position's modes, turned into its own frame by -angle, are compared with those of the positions nearest in
the latents, by a linear fit around it. Neighbours in space do not count: a defect must not explain itself.
What does not turn with the site (edge of the aperture, gain) is found on the way as the mean of what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from orbistem.symmetry.pooling import Layout, Pool

__all__ = ["Expected", "expect"]

STATIC_STEPS = 3
LEAST_LEFT = 0.05
"""Of the noise of a pool: what a fit takes beyond is not known any more."""
CHUNK = 2048
RIDGE = 1e-2
EDGE_WEIGHT = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Expected:
    """Residuals and their noise.

    Attributes
    ----------
    residual
        (n, mode) complex, in the site's own frame: measured minus expected; 0 where unusable.
    phase
        (n, mode): multiplying by it turns detector frame → own frame.
    rings
        (n, ring): expected order 0 of the rings about their mean.
    spread
        (n,) noise that the expectation adds to one pattern's, over the latter; negative where a pattern took
        part in its own expectation.
    waves, wave_covariance, fitted
        (n, wave), (wave, wave) and (n,) bool: where the expectation is a fit of waves (a mean: one wave) to
        the positions `fitted`; else None.
    from_own_pattern
        Whether each position's own pattern said which site it is: then less or more scattering can pass for
        another site.
    of_one_mean
        Whether that is the same for all positions: the mean of the reference.
    """

    residual: np.ndarray
    phase: np.ndarray
    rings: np.ndarray
    spread: np.ndarray
    from_own_pattern: bool
    of_one_mean: bool = False
    waves: np.ndarray | None = None
    wave_covariance: np.ndarray | None = None
    fitted: np.ndarray | None = None

    def left(self, pool: Pool) -> np.ndarray:
        """Noise of a pooled residual over that of the pooled pattern, (n,).

        With p the weights of the pool, W the waves and C their covariance, the pooled residual
        p·(e − W C W₊ᴴ e), W₊ the waves on the fitted positions only, has the variance
        |p|² − 2 Re(pW C (pW₊)ᴴ) + pW C (pW)ᴴ.
        """
        if self.waves is None or self.wave_covariance is None or self.fitted is None:
            return np.ones(len(self.residual))
        pooled = pool.mean(self.waves)
        of_fit = 2 * pool.mean(self.waves * self.fitted[:, None]) - pooled
        took = np.einsum("nw,wv,nv->n", pooled, self.wave_covariance, of_fit.conj(), optimize=True).real
        return np.asarray(np.maximum(1 - took * pool.effective, LEAST_LEFT))


def expect(
    modes: np.ndarray,
    order: np.ndarray,
    rings: np.ndarray,
    *,
    latent: np.ndarray | None,
    angle: np.ndarray | None,
    reference: np.ndarray,
    layout: Layout,
    apart: float,
    neighbours: int,
) -> Expected:
    """Compare each position with the reference positions that are nearest in the latents.

    Parameters
    ----------
    modes
        (n, mode) complex, detector frame.
    order
        (mode,).
    rings
        (n, ring) order 0 of the harmonics about their mean.
    latent
        (n, D), in units of their posterior sd; None: all reference positions are equally near.
    angle
        (n,) rad; None: nothing turns.
    reference
        (n,) bool: positions that may serve as reference.
    layout
        Where the positions lie.
    apart
        Positions nearer than this in space are left out.
    neighbours
        Number of reference positions for each position.
    """
    n = len(modes)
    good = layout.usable
    values = np.where(good[:, None], modes, 0)
    turn = np.zeros(n) if angle is None else np.where(good, np.nan_to_num(angle), 0.0)
    phase = np.exp(1j * order[None, :] * turn[:, None]).astype(np.complex64)
    weights = _smoother(latent, reference & good, layout, apart=apart, neighbours=neighbours)
    trusted = reference & good
    static = np.zeros(modes.shape[1], complex)
    turning = (order > 0) & (angle is not None)
    for _ in range(STATIC_STEPS if turning.any() else 0):
        own = (values - static) * phase
        left = values - weights.apply(own) * phase.conj()
        static = np.where(turning, left[trusted].mean(axis=0), 0)
    own = np.where(good[:, None], (values - static) * phase, 0)
    residual = np.where(good[:, None], own - weights.apply(own), 0).astype(np.complex64)
    one_mean = weights.same is not None and angle is None
    return Expected(
        residual=residual,
        phase=phase,
        rings=weights.apply(np.where(good[:, None], rings, 0)),
        spread=weights.spread,
        from_own_pattern=True,
        of_one_mean=weights.same is not None,
        waves=np.ones((n, 1)) if one_mean else None,
        wave_covariance=np.full((1, 1), 1 / max(int(trusted.sum()), 1)) if one_mean else None,
        fitted=trusted if one_mean else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Smoother:
    """Weights over the reference positions: sparse rows (n, n) that add up to 1, or one row for all (n,)."""

    rows: Any
    same: np.ndarray | None = None

    def apply(self, values: np.ndarray) -> np.ndarray:
        if self.same is not None:
            return np.asarray(np.broadcast_to(self.same @ values, values.shape))
        return np.asarray(self.rows @ values)

    @property
    def spread(self) -> np.ndarray:
        """Sum of the squared weights, (n,)."""
        if self.same is not None:
            return np.full(len(self.same), float(self.same @ self.same))
        return np.asarray(self.rows.multiply(self.rows).sum(axis=1)).ravel()


def _smoother(
    latent: np.ndarray | None, reference: np.ndarray, layout: Layout, *, apart: float, neighbours: int
) -> _Smoother:
    from scipy.sparse import csr_array

    n = len(reference)
    rows_of = np.flatnonzero(reference)
    if latent is None or latent.shape[1] == 0 or len(rows_of) <= neighbours:
        return _Smoother(None, reference / max(len(rows_of), 1))
    from scipy.spatial import cKDTree

    z = np.asarray(latent, np.float64)
    able = layout.usable & np.isfinite(z).all(axis=1)
    z = np.where(able[:, None], z, 0)
    rows_of = rows_of[able[rows_of]]
    tree = cKDTree(z[rows_of])
    nearby = _most_nearby(layout, reference, apart)
    asked = min(len(rows_of), neighbours + nearby)
    indices, data, counts = [], [], []
    for start in range(0, n, CHUNK):
        part = slice(start, min(start + CHUNK, n))
        _, found = tree.query(z[part], k=asked)
        found = rows_of[found.reshape(-1, asked)]
        distance = np.linalg.norm(layout.positions[found] - layout.positions[part][:, None], axis=2)
        far = distance > apart
        take = far & (np.cumsum(far, axis=1) <= neighbours)
        weight = _local_linear(z[found] - z[part][:, None], take)
        indices.append(found[take])
        data.append(weight[take])
        counts.append(take.sum(axis=1))
    pointer = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return _Smoother(csr_array((np.concatenate(data), np.concatenate(indices), pointer), shape=(n, n)))


def _most_nearby(layout: Layout, reference: np.ndarray, apart: float) -> int:
    """How many reference positions lie at most within a distance of one position."""
    from scipy.spatial import cKDTree

    tree = cKDTree(layout.positions[reference])
    some = layout.positions[:: max(1, len(reference) // 256)]
    return int(np.max(tree.query_ball_point(some, apart, return_length=True))) + 1


def _local_linear(difference: np.ndarray, take: np.ndarray) -> np.ndarray:
    """Weights (n, k) of a linear fit about each point; 0 where `take` is False."""
    distance = np.linalg.norm(difference, axis=2)
    reach = np.max(np.where(take, distance, 0), axis=1, keepdims=True)
    kernel = np.where(take, np.maximum(1 - (distance / np.maximum(reach, 1e-12)) ** 2, 0) + EDGE_WEIGHT, 0)
    design = np.concatenate([np.ones((*take.shape, 1)), difference], axis=2)
    right = np.swapaxes(design * kernel[..., None], 1, 2)
    gram = right @ design
    slope = np.arange(1, design.shape[2])
    scale = np.trace(gram[:, 1:, 1:], axis1=1, axis2=2) / max(len(slope), 1)
    gram[:, slope, slope] += (RIDGE * scale + 1e-12)[:, None]
    gram[:, 0, 0] += 1e-12
    unit = np.zeros((len(gram), design.shape[2], 1))
    unit[:, 0] = 1
    weight = (np.swapaxes(np.linalg.solve(gram, unit), 1, 2) @ right)[:, 0]
    total = weight.sum(axis=1, keepdims=True)
    return np.asarray(np.where(np.abs(total) > 1e-6, weight / np.where(np.abs(total) > 1e-6, total, 1), 0))
