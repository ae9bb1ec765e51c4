"""Counts to units of their own noise: linear ("poisson") or by the root ("sqrt").

Linear whitening divides by the root of the *azimuthal mean* of the mean pattern, so the weight turns
with nothing and stays linear in the counts (the idea of Keenan & Kotula, Surf. Interface Anal. 36, 203
(2004), made isotropic). The root is Anscombe's transform 2 sqrt(I + 3/8) (Biometrika 35, 246 (1948)).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from orbistem.harmonics.rings import Polar

Whitening = Literal["poisson", "sqrt"]
ANSCOMBE_SHIFT = 3 / 8
ROOT_WORTH = 1.03
"""The root is chosen where it keeps this many times more information. With linear weights patterns add up,
and what is static can be taken off, so that turned patterns find their latents: where the root keeps 2 to 3 %
more (ZnS, SrTiO₃, MoS₂ at 10⁶) they miss them by 1.2 to 2.6 times as much with it. On the Siemens star,
where it keeps 3.2 % more, the root is better."""
WEIGHT_FLOOR = 1e-3
"""Azimuthal means below this share of the largest one are raised to it: far outside the pattern a
single stray count must not weigh more than the pattern itself."""


def azimuthal_mean(
    image: np.ndarray, polar: Polar, *, pixel_valid: np.ndarray, bin_px: float = 1.0
) -> np.ndarray:
    """Mean over the azimuth, evaluated at every pixel by linear interpolation between one-pixel bins.

    Parameters
    ----------
    image
        Shape (ky, kx); only valid pixels count.
    polar
        Coordinates of the pixels.
    pixel_valid
        Bool, shape (ky, kx).

    Returns
    -------
    Shape (ky, kx), float64.
    """
    radius = polar.radius_px / bin_px
    use = pixel_valid & np.isfinite(image)
    lower = np.floor(radius).astype(int)
    share = radius - lower
    n_bins = int(lower.max()) + 2
    total = np.zeros(n_bins)
    weight = np.zeros(n_bins)
    for bins, part in ((lower, 1 - share), (lower + 1, share)):
        total += np.bincount(bins[use], (part * image)[use], minlength=n_bins)
        weight += np.bincount(bins[use], part[use], minlength=n_bins)
    filled = weight > 1e-9
    if not filled.any():
        return np.zeros_like(image, dtype=np.float64)
    profile = np.interp(np.arange(n_bins), np.flatnonzero(filled), total[filled] / weight[filled])
    return np.asarray(profile[lower] * (1 - share) + profile[lower + 1] * share)


def linear_weight(mean_electrons: np.ndarray, polar: Polar, *, pixel_valid: np.ndarray) -> np.ndarray:
    """Weight 1/sqrt(azimuthal mean) of each pixel, shape (ky, kx); zero where pixels are invalid."""
    profile = azimuthal_mean(mean_electrons, polar, pixel_valid=pixel_valid)
    floor = WEIGHT_FLOOR * max(float(profile[pixel_valid].max(initial=0.0)), np.finfo(float).tiny)
    return np.where(pixel_valid, 1 / np.sqrt(np.maximum(profile, floor)), 0.0)


def root(electrons: np.ndarray) -> np.ndarray:
    """Anscombe root 2 sqrt(I + 3/8); negative counts are clipped here and only here."""
    return np.asarray(2 * np.sqrt(np.maximum(electrons + ANSCOMBE_SHIFT, 0)))


def root_inverse(mean_root: np.ndarray) -> np.ndarray:
    """Poisson means of which counts have this mean Anscombe root; below the lowest possible root 0.

    The exact unbiased inverse (Mäkitalo & Foi, IEEE Trans. Image Process. 20, 99 (2011)): a denoised root is
    a mean of roots, and the inverse of the root itself would be a quarter of an electron too low.
    """
    roots, levels = _root_table()
    return np.asarray(np.interp(mean_root, roots, levels) ** 2)


@cache
def _root_table() -> tuple[np.ndarray, np.ndarray]:
    """Mean roots, rising, and the root of the Poisson means: nearly a straight line, safe to interpolate."""
    level = np.concatenate([[0.0], np.geomspace(1e-4, 60, 200), np.geomspace(60.5, 1e12, 600)])
    return root_moments(level)[0], np.sqrt(level)


def root_moments(mean_electrons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact mean and variance of the Anscombe root of Poisson counts.

    Parameters
    ----------
    mean_electrons
        Poisson means, any shape.

    Returns
    -------
    Mean and variance, same shape; above 60 electrons by their asymptotic series.
    """
    from scipy.stats import poisson

    level = np.maximum(np.asarray(mean_electrons, dtype=np.float64), 0)
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 60, 200)])
    counts = np.arange(140)
    probability = poisson.pmf(counts, grid[:, None])
    roots = root(counts.astype(np.float64))
    first = probability @ roots
    second = probability @ roots**2
    small_mean = np.interp(level, grid, first)
    small_variance = np.interp(level, grid, second - first**2)
    safe = np.maximum(level, 1.0)
    large_mean = 2 * np.sqrt(safe + ANSCOMBE_SHIFT) - 1 / (4 * np.sqrt(safe))
    bright = level > 60
    return np.where(bright, large_mean, small_mean), np.where(bright, 1.0, small_variance)


@dataclass(frozen=True, kw_only=True, slots=True)
class WhiteningChoice:
    """Which whitening keeps more of the information, and by how much.

    Parameters
    ----------
    chosen
        "poisson" or "sqrt".
    information_poisson, information_sqrt
        Share of the Fisher information of ideal pixel-by-pixel weights that each keeps, 0 … 1.
    why
        One sentence for the report.
    """

    chosen: Whitening
    information_poisson: float
    information_sqrt: float
    why: str


def choose_whitening(
    mean_electrons: np.ndarray,
    variance_electrons: np.ndarray,
    weight: np.ndarray,
    *,
    pixel_valid: np.ndarray,
    wanted: Literal["auto", "poisson", "sqrt"] = "auto",
    spread: bool = False,
) -> WhiteningChoice:
    """Choose between linear weights and the root by the information that each keeps.

    With V the variance of the signal over the scan (variance minus shot noise) and f the mean, a pixel
    read with weight w and noise n carries w V; a sum of many keeps (sum w V)² / sum(w² n V) of the
    ideal sum V/f. Linear: w = 1/f̄, n = f. Root: w = g², n = variance of the root / g², g its slope.

    Parameters
    ----------
    mean_electrons, variance_electrons
        Over the scan, shape (ky, kx).
    weight
        `linear_weight`.
    pixel_valid
        Bool, shape (ky, kx).
    wanted
        "auto" or the user's choice.
    spread
        One electron lights several pixels. Then what a pixel holds is no Poisson count, whose root has a
        constant noise, and "auto" takes linear weights.
    """
    mean = np.maximum(mean_electrons[pixel_valid], 0)
    signal = np.maximum(variance_electrons[pixel_valid] - mean, 0)
    if not signal.any():
        signal = mean
    floor = max(float(mean.max(initial=0)) * 1e-9, 1e-60)
    ideal = float(np.sum(signal / np.maximum(mean, floor)))
    square = weight[pixel_valid] ** 2
    poisson = _kept(square, mean, signal) / ideal
    step = 1e-3 * (mean + 1e-2)
    upper, variance = root_moments(mean + step)[0], root_moments(mean)[1]
    slope = (upper - root_moments(np.maximum(mean - step, 0))[0]) / (mean + step - np.maximum(mean - step, 0))
    slope2 = np.maximum(slope, 1e-12) ** 2
    sqrt = _kept(slope2, variance / slope2, signal) / ideal
    better: Whitening = "sqrt" if sqrt > ROOT_WORTH * poisson and not spread else "poisson"
    chosen = better if wanted == "auto" else wanted
    name = {"poisson": "linear weights", "sqrt": "the square root"}
    how = {"poisson": "chosen: patterns stay additive", "sqrt": "chosen because it keeps more"}[chosen]
    if spread:
        how = "chosen: one electron lights several pixels"
    if wanted != "auto":
        how = "given by the user"
    why = (
        f"whitening by {name[chosen]} ({how}): of the information in the counts, linear weights keep "
        f"{100 * poisson:.0f} %, the square root {100 * sqrt:.0f} %"
    )
    return WhiteningChoice(chosen=chosen, information_poisson=poisson, information_sqrt=sqrt, why=why)


def _kept(weight: np.ndarray, noise: np.ndarray, signal: np.ndarray) -> float:
    spread = float(np.sum(weight**2 * noise * signal))
    return float(np.sum(weight * signal)) ** 2 / spread if spread > 0 else 0.0
