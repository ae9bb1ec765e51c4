"""The statistics of pooled residuals that `broken` takes the largest of, and what noise makes of them.

Sums of squares of pooled modes, the centre of mass, the dark field (both ways: a vacancy has less noise), and
pooled sums of squares of single patterns. Each is a standard-normal score where nothing is broken; the law of
their maximum at one position is drawn from noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.symmetry.calibration import (
    MaximumLaw,
    chi_square_score,
    normal_ranks,
    standardise,
    unskewed,
)
from orbistem.symmetry.coarse import CoarseModes
from orbistem.symmetry.disorder import excess_covariance, excess_variance
from orbistem.symmetry.expected import Expected
from orbistem.symmetry.pooling import Pool

__all__ = ["SINGLE", "law_of_maximum", "pooled_scores"]

SMOOTH_ORDER = 2
MIN_NOISE = 0.05
DRAWS, DRAWN_AT_ONCE = 60_000, 5_000
SINGLE = "single patterns"
"""Name of the statistic that sees patterns differ, each in its own way."""


def pooled_scores(
    expected: Expected,
    rings: np.ndarray,
    modes: CoarseModes,
    pools: list[Pool],
    trusted: np.ndarray,
    *,
    turns: bool,
) -> dict[str, np.ndarray]:
    """Standard-normal scores (n,) by name and width, width after width.

    Parameters
    ----------
    expected
        Residuals, and how much noise is in them.
    rings
        (n, ring) order 0 of the harmonics about their mean.
    modes
        Their noise.
    pools
        One a width.
    trusted
        (n,) bool, the reference: centre and width of its scores replace 0 and 1 where chance does not explain
        them.
    turns
        Whether residuals are also pooled in each site's own frame.
    """
    n = len(expected.residual)
    freedom = modes.freedoms.astype(np.float64)
    variance = modes.variance(expected.rings, n)
    of_residual = variance * np.maximum(1 + expected.spread, MIN_NOISE)[:, None]
    detector = expected.residual * expected.phase.conj()
    energy = np.sum(np.abs(expected.residual) ** 2, axis=1)
    energy_mean, energy_variance = of_residual @ freedom, 2 * (of_residual**2 @ freedom)
    # by rank: with few electrons a sum of squares has tails far heavier than those of chi-square
    single = normal_ranks((energy - energy_mean) / np.sqrt(energy_variance), trusted)
    mass, mass_variance, crystal = _mass(expected, rings, modes, trusted)
    varies, mass_varies = np.zeros((len(freedom), len(freedom)), complex), 0.0
    if expected.waves is not None and expected.of_one_mean:
        varies = excess_covariance(detector, variance, modes, trusted)
        mass_varies = excess_variance(mass, mass_variance, trusted)
    skewed = 0.0 if modes.cumulants is None else float(modes.cumulants.mass_third[-1])
    found: dict[str, np.ndarray] = {}
    for pool in pools:
        left = expected.left(pool)
        noise = pool.variance(variance) * left[:, None]
        own, turned = pool.mean(expected.residual), pool.mean(detector)
        more = left / pool.effective  # of what varies from position to position is left in a pool
        spread = pool.variance(mass_variance[:, None])[:, 0] * left + pool.left_over(crystal[:, None])[:, 0]
        spread = spread + more * mass_varies
        noises = _Noise(variance=noise, varies=varies, share=more, kurtosis=pool.kurtosis, modes=modes)
        dark = pool.mean(mass[:, None])[:, 0] / np.sqrt(np.maximum(spread, np.finfo(float).tiny))
        raw = {
            "smooth": noises.sum_of_squares(turned, modes.order <= SMOOTH_ORDER),
            "own frame": noises.sum_of_squares(own, modes.order > 0),
            "detector frame": noises.sum_of_squares(turned, modes.order > 0),
            "centre of mass": _square(turned @ modes.shift, noises.along(modes.shift)),
            SINGLE: pool.mean(single[:, None])[:, 0] * np.sqrt(pool.effective),
            "dark field": unskewed(dark, skewed * pool.skewness),
        }
        if not turns:
            del raw["own frame"]
        if not modes.mass[-1].any():  # no ring is dark
            del raw["dark field"]
        independent = float(trusted.sum()) / float(np.median(pool.effective))
        fair = {name: standardise(score, trusted, independent=independent) for name, score in raw.items()}
        for name, score in _both_ways(fair).items():
            found[f"{name}, width {pool.width:.3g}"] = score
    return found


def _both_ways(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Signed scores both ways; a change of mass tells in two of them, together sooner than in each."""
    found = {name: score for name, score in scores.items() if name not in (SINGLE, "dark field")}
    for way, sign in (("more", 1), ("less", -1)):
        found[f"{SINGLE}, {way}"] = sign * scores[SINGLE]
        if "dark field" not in scores:
            continue
        found[f"dark field, {way}"] = sign * scores["dark field"]
        found[f"smooth and dark field, {way}"] = (scores["smooth"] + sign * scores["dark field"]) / np.sqrt(2)
    return found


def _mass(
    expected: Expected, rings: np.ndarray, modes: CoarseModes, trusted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dark field minus the expected one, its noise, and what a crystal adds to it: (n,) each."""
    dark = modes.mass[-1]
    variance = modes.mass_variance(expected.rings, len(rings))[:, -1]
    mass, crystal = rings @ dark, expected.rings @ dark
    if not expected.from_own_pattern:
        return mass - crystal, variance, np.zeros_like(mass)
    return (
        mass - mass[trusted].mean(),
        variance,
        np.where(trusted, crystal - crystal[trusted].mean(), 0),
    )


def law_of_maximum(
    modes: CoarseModes, widths: tuple[float, ...], *, turns: bool, rng: np.random.Generator
) -> MaximumLaw:
    """Draw what pooled noise gives at one position: the same sums, over all widths together."""
    freedom = modes.freedoms.astype(np.float64)
    size = np.asarray(widths)
    alike = 2 * np.outer(size, size) / (size[:, None] ** 2 + size**2)  # of averages over Gaussians
    root = np.linalg.cholesky(alike + 1e-9 * np.eye(len(size)))
    overlap = modes.mass_overlap[-1]
    rest = np.sqrt(max(1 - float(overlap @ overlap), 0.0))
    smooth, wave = modes.order <= SMOOTH_ORDER, modes.order > 0

    def square_score(drawn: np.ndarray, use: np.ndarray) -> np.ndarray:
        weight = freedom[use]
        return chi_square_score(
            drawn[:, :, use].sum(axis=2), np.array(weight.sum()), np.array(2 * weight.sum())
        )

    largest = []
    for _ in range(DRAWS // DRAWN_AT_ONCE):
        shape = (DRAWN_AT_ONCE, len(size), len(freedom))
        real = np.einsum("vw,nwq->nvq", root, rng.standard_normal(shape))
        imaginary = np.einsum("vw,nwq->nvq", root, rng.standard_normal(shape))
        squares = real**2 + np.where(wave, imaginary**2, 0)
        other = rng.standard_normal((2, DRAWN_AT_ONCE, len(size))) @ root.T
        scores = {
            "smooth": square_score(squares, smooth),
            "detector frame": square_score(squares, wave),
            "centre of mass": _square(real @ modes.shift + 1j * (imaginary @ modes.shift), np.ones(1)),
            SINGLE: other[0],
        }
        if overlap.any():
            scores["dark field"] = real @ overlap + rest * other[1]
        if turns:
            apart = np.einsum("vw,nwq->nvq", root, rng.standard_normal(shape)) ** 2
            apart += np.einsum("vw,nwq->nvq", root, rng.standard_normal(shape)) ** 2
            scores["own frame"] = square_score(apart, wave)
        largest.append(np.max([score.max(axis=1) for score in _both_ways(scores).values()], axis=0))
    return MaximumLaw(drawn=np.concatenate(largest))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Noise:
    """Of pooled residuals.

    Attributes
    ----------
    variance
        (n, mode) of shot noise per real degree of freedom.
    varies
        (mode, mode) covariance of what patterns of the reference differ by.
    share
        (n,) part of it that is left in a pool.
    kurtosis
        (n,) see `Pool.kurtosis`.
    modes
        Degrees of freedom, and what few electrons add.
    """

    variance: np.ndarray
    varies: np.ndarray
    share: np.ndarray
    kurtosis: np.ndarray
    modes: CoarseModes

    def sum_of_squares(self, pooled: np.ndarray, use: np.ndarray) -> np.ndarray:
        """Score of Σ |pooled|² over some modes."""
        freedom = self.modes.freedoms[use].astype(np.float64)
        size = (np.abs(pooled[:, use]) ** 2).sum(axis=1)
        shot = self.variance[:, use] * freedom
        mean = shot.sum(axis=1)
        variance = 2 * (shot**2 @ (1 / freedom))
        if self.modes.cumulants is not None:
            alike = float(self.modes.cumulants.fourth[np.ix_(use, use)].sum()) / float(freedom.sum()) ** 2
            variance = variance + alike * self.kurtosis * mean**2
        if self.varies.any():  # Var Σ |c|² = tr C² for circular c, twice that for real ones
            part = self.varies[np.ix_(use, use)]
            own, squares = np.diag(part).real, np.sum(np.abs(part) ** 2, axis=1)
            mean = mean + self.share * own.sum()
            variance = variance + 4 * self.share * (shot @ (own / freedom))
            variance = variance + 2 * self.share**2 * float(squares @ (1 / freedom))
        return chi_square_score(size, mean, variance)

    def along(self, weights: np.ndarray) -> np.ndarray:
        """Variance (n,) of Σ weights · pooled per real degree of freedom, of modes that have two."""
        varies = float((weights @ self.varies @ weights).real)
        return np.asarray(self.variance @ weights**2 + self.share * varies / 2)


def _square(pooled: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Score of the size of one complex number; its noise is per real degree of freedom."""
    return chi_square_score(np.abs(pooled) ** 2, 2 * noise, 4 * noise**2)
