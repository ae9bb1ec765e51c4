"""From sums of squares to standard-normal scores, and from several scores to one with a known false rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["MaximumLaw", "chi_square_score", "discoveries", "normal_ranks", "standardise", "unskewed"]

TAIL_P, NEAR_TAIL_P = 2e-4, 1e-2
"""Below the first, the law of the maximum goes on as the straight line through both in normal scores."""
LEAST_SKEWNESS = 1e-3
MAD_TO_SD = 1.4826
MIN_REFERENCE = 8
CHANCE_SD = 3.0
MEDIAN_SD, WIDTH_SD = 1.25, 1.17
"""Standard deviation of the median, and of the scaled median absolute deviation, of one normal score."""


def chi_square_score(value: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Standard-normal score of a sum of squares.

    The sum is taken for a multiple of chi-square with this mean and variance (Satterthwaite, Biometrics 2,
    110 (1946)) and made normal by its cube root (Wilson & Hilferty, PNAS 17, 684 (1931)).

    Parameters
    ----------
    value, mean, variance
        (n,), of the sum; mean and variance under noise alone.
    """
    mean = np.maximum(mean, np.finfo(float).tiny)
    spread = variance / (9 * mean**2)  # 2 / (9 ν), ν = 2 mean² / variance
    return np.asarray(
        (np.cbrt(np.maximum(value, 0) / mean) - (1 - spread)) / np.sqrt(np.maximum(spread, 1e-300))
    )


def unskewed(score: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """Standard-normal score of a number with mean 0, variance 1 and some skewness.

    It is taken for a chi-square, shifted and scaled (Pearson's type III), and made normal by the cube root
    (Wilson & Hilferty, PNAS 17, 684 (1931)).

    Parameters
    ----------
    score, skewness
        (n,).
    """
    small = np.abs(skewness) < LEAST_SKEWNESS
    safe = np.where(small, 1.0, skewness)
    root = np.cbrt(np.maximum(1 + safe * score / 2, 0))
    return np.asarray(np.where(small, score, (root - (1 - safe**2 / 36)) * 6 / safe))


def standardise(score: np.ndarray, reference: np.ndarray, *, independent: float) -> np.ndarray:
    """Allow for what the expectation leaves over of the crystal itself, as measured on the reference.

    The centre (median) and the width (median absolute deviation) of the reference replace 0 and 1 only where
    they differ by more than chance allows, and the width only where it is larger.

    Parameters
    ----------
    score
        (n,), standard normal under noise alone.
    reference
        (n,) bool.
    independent
        How many independent scores the reference holds.
    """
    inside = score[reference & np.isfinite(score)]
    if len(inside) < MIN_REFERENCE:
        return score
    chance = CHANCE_SD / np.sqrt(max(independent, 1.0))
    centre = float(np.median(inside))
    width = float(MAD_TO_SD * np.median(np.abs(inside - centre)))
    if abs(centre) <= MEDIAN_SD * chance:
        centre = 0.0
    if width <= 1 + WIDTH_SD * chance:
        width = 1.0
    return np.asarray((score - centre) / width)


def normal_ranks(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Standard-normal scores (n,) of values (n,) by their rank among those of the reference (n,) bool."""
    from scipy.special import ndtri

    inside = np.sort(values[reference & np.isfinite(values)])
    if not len(inside):
        return np.zeros(len(values))
    rank = (np.searchsorted(inside, values, "left") + np.searchsorted(inside, values, "right")) / 2
    return np.asarray(ndtri((rank + 0.5) / (len(inside) + 1)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MaximumLaw:
    """Law of the largest of several scores under noise alone: sorted draws."""

    drawn: np.ndarray

    def score(self, largest: np.ndarray) -> np.ndarray:
        """Standard-normal score Φ⁻¹(1 − p) of largest scores (n,); NaN stays."""
        from scipy.special import ndtri

        n = len(self.drawn)
        p = np.array([*np.geomspace(1 - 0.5 / n, 0.5, 40), *np.geomspace(0.5, TAIL_P, 120)[1:]])
        level = np.quantile(self.drawn, 1 - p)
        z = -ndtri(p)
        slope = (z[-1] - float(-ndtri(NEAR_TAIL_P))) / max(
            level[-1] - np.quantile(self.drawn, 1 - NEAR_TAIL_P), 1e-9
        )
        beyond = z[-1] + slope * (largest - level[-1])
        found = np.where(largest > level[-1], beyond, np.interp(largest, level, z))
        return np.where(np.isfinite(largest), found, np.nan)


def discoveries(score: np.ndarray, *, rate: float) -> tuple[np.ndarray, float]:
    """Which scores are discoveries at a false-discovery rate, and from which score on.

    Benjamini & Hochberg, J. R. Stat. Soc. B 57, 289 (1995); it holds for positively dependent scores too
    (Benjamini & Yekutieli, Ann. Stat. 29, 1165 (2001)), such as those of overlapping neighbourhoods.

    Parameters
    ----------
    score
        (n,) standard normal where nothing is broken; NaN is left out.
    rate
        Accepted share of false ones among the discoveries.

    Returns
    -------
    Flags (n,), and the threshold: infinite where nothing is found.
    """
    from scipy.special import ndtr

    finite = np.flatnonzero(np.isfinite(score))
    order = finite[np.argsort(-score[finite])]
    p = ndtr(-score[order])
    passed = np.flatnonzero(p <= rate * np.arange(1, len(p) + 1) / max(len(p), 1))
    flags = np.zeros(len(score), bool)
    if not len(passed):
        return flags, float("inf")
    flags[order[: passed[-1] + 1]] = True
    return flags, float(score[order[passed[-1]]])
