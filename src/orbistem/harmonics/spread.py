"""One electron that lights several pixels: a Gaussian point spread, and the noise that it makes.

A camera spreads each electron over its neighbours after it has arrived, so the noise of a pixel is that of
the electrons that arrive around it. With P the spread, n what arrives and g counts for each electron,

    s = g P n,    mean g P f,    covariance g² P diag(f) Pᵀ.

Beside a sharp edge that differs much from what a mere autocorrelation of neighbours says: there a dim pixel
has the noise of the bright ones that shine into it. The gain that makes a smooth pattern's variance equal to
its mean is g κ with κ = sum P² = 1 / (4 π s²) for a spread of s px, and in electrons of that gain

    covariance = P diag(v) Pᵀ / κ,    v = the mean pattern without its spread.

f is found from the mean by the iteration of Richardson (J. Opt. Soc. Am. 62, 55 (1972)) and Lucy (Astron. J.
79, 745 (1974)), which keeps it positive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["arriving", "spread_covariance", "spread_of", "spread_over", "variance_left"]

Floats = NDArray[np.float64]

FIT_SHARE = 0.1
"""An autocorrelation of which a Gaussian misses no more than this share, beside the middle, is taken for one
(root mean squares). Charge shared in a hybrid pixel detector is none: sharper, with wider tails."""
NARROWEST_PX, WIDEST_PX = 0.3, 1.6
"""A narrower spread leaves pixels independent; a wider one is not known from lags of up to 3 px."""
SHARPEN_STEPS, LEAST_STEPS, SHARPEN_PIXELS = 300, 60, 128**2
"""Steps of the iteration; larger frames than that many pixels get fewer. After 30 the noise of some
harmonics beside a sharp edge is still wrong by a factor of 1.9, after 60 by 1.5, after 300 no more than by
chance."""
REACH = 3.0
"""The kernel is cut off at so many standard deviations."""


def spread_of(autocorrelation: Floats) -> float | None:
    """Standard deviation, px, of the Gaussian spread behind a noise autocorrelation; None if it is none.

    Parameters
    ----------
    autocorrelation
        (2 L + 1, 2 L + 1), 1 in the middle. That of a wide Gaussian of s px is exp(-d² / 4 s²) at distance d.
    """
    from scipy.optimize import minimize_scalar

    rho = np.asarray(autocorrelation, np.float64)
    if not np.isfinite(rho).all():
        return None
    reach = rho.shape[0] // 2

    def misfit(sd_px: float) -> float:
        kernel = _kernel(sd_px)
        full = np.pad(np.correlate(kernel, kernel, "full"), reach)
        along = full[len(full) // 2 - reach : len(full) // 2 + reach + 1] / full.max()
        return float(((rho - np.outer(along, along)) ** 2).mean())

    found = minimize_scalar(misfit, bounds=(0.1, 2 * WIDEST_PX), method="bounded")
    sd_px = float(found.x)
    beside = float((rho**2).sum() - rho[reach, reach] ** 2) / rho.size
    good = NARROWEST_PX <= sd_px <= WIDEST_PX and found.fun <= FIT_SHARE**2 * beside
    return sd_px if good else None


def variance_left(spread_px: float) -> float:
    """Sum of the squared kernel κ: a spread leaves that share of the variance of a pixel, in (0, 1]."""
    return float((_kernel(spread_px) ** 2).sum()) ** 2


def spread_over(image: NDArray[Any], spread_px: float) -> NDArray[Any]:
    """An image (ky, kx), real or complex, spread by the Gaussian; nothing lies outside the frame."""
    from scipy.ndimage import gaussian_filter

    spread = gaussian_filter(image, spread_px, mode="constant", truncate=REACH)
    return np.asarray(spread)


def arriving(mean: Floats, spread_px: float) -> Floats:
    """The mean pattern without its spread, same total, never negative, (ky, kx)."""
    from scipy.ndimage import gaussian_filter

    measured = np.maximum(np.asarray(mean, np.float64), 0.0)
    floor = 1e-6 * max(float(measured.max()), np.finfo(float).tiny)
    found = before = measured + floor
    change = np.zeros_like(found)
    pace = 0.0
    steps = int(np.clip(SHARPEN_STEPS * SHARPEN_PIXELS / measured.size, LEAST_STEPS, SHARPEN_STEPS))
    for _ in range(steps):
        ahead = np.maximum(found + pace * (found - before), floor)
        drawn = np.maximum(gaussian_filter(ahead, spread_px, mode="nearest"), floor)
        before, found = found, ahead * gaussian_filter(measured / drawn, spread_px, mode="nearest")
        last, change = change, found - ahead
        size = float((last * last).sum())
        pace = min(max(float((last * change).sum()) / size, 0.0), 1.0) if size > 0 else 0.0
    return np.asarray(found)


def spread_covariance(mean: Floats, variance: Floats, spread_px: float, pixels: NDArray[np.intp]) -> Any:
    """Covariance of some pixels, a sparse array (pixel, pixel).

    Parameters
    ----------
    mean
        Expected electrons, (ky, kx).
    variance
        Variance of the pixels as they enter the harmonics, (ky, kx): the mean, or that of its root.
    spread_px
        Standard deviation of the spread.
    pixels
        Flat indices of the pixels, (pixel,).
    """
    from scipy.sparse import csr_array, diags_array

    ky, kx = mean.shape
    kernel = _kernel(spread_px)
    lag = np.arange(len(kernel)) - len(kernel) // 2
    y, x = np.divmod(pixels, kx)
    rows, columns, values = [], [], []
    for i, dy in enumerate(lag):
        for j, dx in enumerate(lag):
            rows.append(np.arange(len(pixels)))
            columns.append(np.clip(y + dy, 0, ky - 1) * kx + np.clip(x + dx, 0, kx - 1))
            values.append(np.full(len(pixels), kernel[i] * kernel[j]))
    size = (len(pixels), ky * kx)
    spread = csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=size)
    sharp = arriving(mean, spread_px).ravel()
    kappa = variance_left(spread_px)
    level = np.maximum(mean.ravel()[pixels], np.finfo(float).tiny)
    slope = np.sqrt(np.maximum(variance.ravel()[pixels], 0.0) / level)
    weighed = diags_array(slope) @ spread @ diags_array(np.sqrt(sharp / kappa))
    return weighed @ weighed.T


def _kernel(spread_px: float) -> Floats:
    """The Gaussian at whole pixels, sum 1."""
    reach = int(np.ceil(REACH * spread_px))
    lag = np.arange(-reach, reach + 1)
    kernel = np.exp(-(lag**2) / (2 * spread_px**2))
    return np.asarray(kernel / kernel.sum())
