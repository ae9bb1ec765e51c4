"""The noise covariance G_m of the harmonics, for independent or correlated pixels.

    G_m = sum over pixels p, q of  B_p sqrt(v_p) rho(p - q) sqrt(v_q) conj(B_q)

with B the linear map from pixels to harmonics, v the pixel variances and rho the autocorrelation of the noise
(point spread of the detector, charge shared between pixels). Where that is a Gaussian spread, the covariance
of the pixels is known better, see `spread`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orbistem.errors import ShapeError
from orbistem.harmonics.analyser import Analyser
from orbistem.harmonics.spread import spread_covariance

CUT_OFF_SHARE = 0.02
"""A power spectrum that is negative by more than this share of its maximum is none of noise; a Gaussian point
spread of 1 px, whose autocorrelation is cut off at 3 px, reaches 0.007."""
FLOOR_POWER = 0.02
"""Power below which a spectrum is not believed, where independent pixels have 1."""
WIDER_PX = 2
SPECTRUM_PX = 64
"""Frequencies at which the power spectrum of an autocorrelation is looked at."""


def noise_covariance(
    analyser: Analyser,
    pixel_variance: np.ndarray,
    *,
    autocorrelation: np.ndarray | None = None,
    spread_px: float | None = None,
    mean: np.ndarray | None = None,
) -> np.ndarray:
    """Covariance of the harmonics per real degree of freedom.

    Parameters
    ----------
    analyser
        Map from pixels to harmonics.
    pixel_variance
        Variance of the pixels as they enter the map, shape (ky, kx).
    autocorrelation
        rho, shape (2 L + 1, 2 L + 1), 1 in the middle; None for independent pixels.
    spread_px
        Standard deviation of a Gaussian point spread; it takes the place of the autocorrelation.
    mean
        Expected electrons, (ky, kx); wanted with `spread_px`.

    Returns
    -------
    Shape (order, ring, ring), float64; for m > 0 the mean over real and imaginary part.
    """
    grid = analyser.grid
    if spread_px is not None and mean is not None:
        spread: Any = spread_covariance(mean, pixel_variance, spread_px, analyser.gather)
    elif autocorrelation is not None:
        spread = _correlation(analyser, pixel_variance, autocorrelation)
    else:
        return analyser.noise_covariance(pixel_variance)
    noise = np.zeros((grid.n_orders, grid.n_rings, grid.n_rings))
    for i, left in enumerate(analyser.maps):
        if not left.n_orders:
            continue
        smeared = spread[:, left.start : left.stop] @ left.matrix
        for j in range(i, grid.n_rings):
            right = analyser.maps[j]
            n_orders = min(left.n_orders, right.n_orders)
            if not n_orders:
                continue
            columns = 2 * n_orders - 1
            product = np.einsum(
                "kc,kc->c", smeared[right.start : right.stop, :columns], right.matrix[:, :columns]
            )
            noise[0, i, j] = product[0]
            noise[1:n_orders, i, j] = (product[1::2] + product[2::2]) / 2
            noise[:, j, i] = noise[:, i, j]
    return noise


def is_possible(autocorrelation: np.ndarray) -> bool:
    """Whether any noise can have this autocorrelation: its power spectrum is positive everywhere.

    Structure of the sample, mistaken for noise, is cut off at the largest lag and fails here.

    Parameters
    ----------
    autocorrelation
        Shape (2 L + 1, 2 L + 1), 1 in the middle.
    """
    rho = np.asarray(autocorrelation, dtype=np.float64)
    if not np.isfinite(rho).all():
        return False
    whole = np.zeros((SPECTRUM_PX, SPECTRUM_PX))
    lags = np.arange(rho.shape[0]) - rho.shape[0] // 2
    whole[np.ix_(lags, lags)] = rho
    return bool(np.fft.fft2(whole).real.min() > 0)


def nearest_possible(autocorrelation: np.ndarray) -> np.ndarray | None:
    """The autocorrelation that noise can have nearest to a measured one; None where none is near.

    A wide point spread is cut off at the largest lag that is measured; its power spectrum then is slightly
    negative where it should vanish. There the spectrum is raised to a floor, and the autocorrelation reaches
    `WIDER_PX` further. What is far from possible is structure of the sample, mistaken for noise.

    Parameters
    ----------
    autocorrelation
        Shape (2 L + 1, 2 L + 1), 1 in the middle.

    Returns
    -------
    The same where it is possible, else shape (2 L' + 1, 2 L' + 1) with L' = L + `WIDER_PX`, 1 in the middle.
    """
    if is_possible(autocorrelation):
        return autocorrelation
    rho = np.asarray(autocorrelation, dtype=np.float64)
    if not np.isfinite(rho).all():
        return None
    whole = np.zeros((SPECTRUM_PX, SPECTRUM_PX))
    lags = np.arange(rho.shape[0]) - rho.shape[0] // 2
    whole[np.ix_(lags, lags)] = rho
    power = np.fft.fft2(whole).real
    if power.min() < -CUT_OFF_SHARE * power.max():
        return None
    raised = np.fft.ifft2(np.maximum(power, FLOOR_POWER)).real
    wider = np.arange(rho.shape[0] + 2 * WIDER_PX) - rho.shape[0] // 2 - WIDER_PX
    part = raised[np.ix_(wider, wider)] / raised[0, 0]
    return np.asarray(part)


def _correlation(analyser: Analyser, pixel_variance: np.ndarray, autocorrelation: np.ndarray) -> Any:
    """Covariance of the gathered pixels, sparse, shape (pixel, pixel)."""
    from scipy.sparse import csr_array

    rho = np.asarray(autocorrelation, dtype=np.float64)
    if rho.ndim != 2 or rho.shape[0] % 2 == 0 or rho.shape[1] % 2 == 0:
        raise ShapeError(f"autocorrelation: want odd sides, got {rho.shape}; shift 0 is in the middle")
    ky, kx = analyser.grid.detector_shape
    place = np.full((ky, kx), -1)
    place.ravel()[analyser.gather] = np.arange(len(analyser.gather))
    y, x = np.divmod(analyser.gather, kx)
    root = np.sqrt(np.asarray(pixel_variance, dtype=np.float64).ravel()[analyser.gather])
    rows, columns, values = [], [], []
    for dy in range(-(rho.shape[0] // 2), rho.shape[0] // 2 + 1):
        for dx in range(-(rho.shape[1] // 2), rho.shape[1] // 2 + 1):
            to_y, to_x = y + dy, x + dx
            inside = np.flatnonzero((to_y >= 0) & (to_y < ky) & (to_x >= 0) & (to_x < kx))
            there = place[to_y[inside], to_x[inside]]
            both, there = inside[there >= 0], there[there >= 0]
            rows.append(both)
            columns.append(there)
            level = rho[dy + rho.shape[0] // 2, dx + rho.shape[1] // 2]
            values.append(level * root[both] * root[there])
    size = len(analyser.gather)
    indices = (np.concatenate(rows), np.concatenate(columns))
    return csr_array((np.concatenate(values), indices), shape=(size, size))
