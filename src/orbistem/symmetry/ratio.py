"""Standard errors of a share of energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_SIGNIFICANCE = 5.0
"""Energy less than so many standard errors above the noise has no share of anything: NaN."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Share:
    """A share and its standard error, equal shapes; NaN where a pattern shows no signal above order 0."""

    value: np.ndarray
    sd: np.ndarray


def share_of(
    energy: np.ndarray, variance: np.ndarray, factor: np.ndarray, *, null_variance: np.ndarray
) -> Share:
    """Σ factor · energy / Σ energy, with its standard error to first order.

    Parameters
    ----------
    energy, variance
        Independent, unbiased energies and their variances, shape (n, k).
    factor
        Shape (k, q): one column a share.
    null_variance
        Variance of Σ energy if there were nothing but noise, shape (n,).

    Returns
    -------
    Share
        Shape (n, q), not clipped.
    """
    real = energy.dtype
    total = energy.sum(axis=1)
    with np.errstate(invalid="ignore"):
        seen = total > MIN_SIGNIFICANCE * np.sqrt(null_variance)
    safe = np.where(seen, total, np.nan)[:, None]
    value = (energy @ factor.astype(real)) / safe
    # Var(N/D) = Σ Var(e) (f - r)² / D²
    first = variance @ np.square(factor).astype(real)
    second = variance @ factor.astype(real)
    spread = first - 2 * value * second + value**2 * variance.sum(axis=1)[:, None]
    return Share(value=value, sd=np.sqrt(np.maximum(spread, 0)) / safe)
