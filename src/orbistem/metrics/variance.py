"""How much of the signal is explained, and how much could be.

Signals are judged in linearly whitened pixels, whatever units a model works in: squared differences are
divided by the azimuthal mean f̄ of the static background. The caller gives the weight 1/f̄ (0 at invalid
pixels): the square of ``orbistem.harmonics.whitening.linear_weight``, which raises f̄ to 1e-3 of its maximum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orbistem.errors import InputError, ShapeError

BLOCK = 256  # patterns at a time: 8 MB of float64 at 64 × 64
LEAST_SHARE = 1e-9  # expected electrons in a pixel are at least this share of the brightest pixel's
ACTIVE_SHARE = 0.5  # a latent is active if its posterior sd is under this share of its spread


def explained_variance(true: np.ndarray, model: np.ndarray, static: np.ndarray, weight: np.ndarray) -> float:
    """1 − Σ weight (λ − model)² / Σ weight (λ − static)².

    Parameters
    ----------
    true
        (n, ky, kx) noise-free patterns λ, electrons; or held-out measured patterns where λ is unknown.
    model
        (n, ky, kx) the model's posterior-mean patterns, electrons.
    static
        (ky, kx) static background f, electrons.
    weight
        (ky, kx) 1/f̄; 0 at invalid pixels.

    Returns
    -------
    float
        1 = all, 0 = no better than the background; negative is worse. Positions whose model is NaN are
        left out.
    """
    if true.shape != model.shape or true.shape[1:] != static.shape or static.shape != weight.shape:
        raise ShapeError(
            f"patterns: want true and model (n, ky, kx), static and weight (ky, kx); got {true.shape}, "
            f"{model.shape}, {static.shape}, {weight.shape}; bring them to one detector"
        )
    valid, use = _valid(weight)
    background = static[valid].astype(np.float64)
    missed = total = 0.0
    for start in range(0, len(true), BLOCK):
        signal = true[start : start + BLOCK][:, valid].astype(np.float64)
        found = model[start : start + BLOCK][:, valid].astype(np.float64)
        good = np.isfinite(found).all(axis=1)
        missed += float((((signal - found)[good]) ** 2 @ use).sum())
        total += float((((signal - background)[good]) ** 2 @ use).sum())
    return _one_minus(missed, total)


def posterior_mean(counts: np.ndarray, library: np.ndarray) -> np.ndarray:
    """Mean over a library, weighted by the exact Poisson likelihood of each member, equal before.

    Parameters
    ----------
    counts
        (n, p) electrons in the valid pixels.
    library
        (m, p) expected electrons.

    Returns
    -------
    numpy.ndarray
        (n, p) float64.
    """
    return _posterior_mean(np.asarray(library, dtype=np.float64), _poisson(library), counts)


def oracle(
    counts: np.ndarray,
    library: np.ndarray,
    truth_index: np.ndarray,
    *,
    static: np.ndarray,
    weight: np.ndarray,
) -> float:
    """Explained variance of the best answer to one pattern: posterior mean, exact Poisson likelihood.

    Parameters
    ----------
    counts
        (n, ky, kx) electrons.
    library
        (m, ky, kx) all noise-free patterns that can occur, expected electrons.
    truth_index
        (n,) int: which member each pattern was drawn from.
    static, weight
        (ky, kx), as in `explained_variance`.

    Notes
    -----
    Memory: two float64 copies of the library's valid pixels and blocks of 256 patterns.
    """
    valid, use = _valid(weight)
    expected = library[:, valid].astype(np.float64)
    log_likelihood = _poisson(expected)
    return _library_score(
        expected, truth_index, static[valid], use, len(counts), lambda i: log_likelihood(counts[i][:, valid])
    )


def oracle_linear(
    coefficients: np.ndarray,
    library_coefficients: np.ndarray,
    library: np.ndarray,
    truth_index: np.ndarray,
    *,
    static: np.ndarray,
    weight: np.ndarray,
) -> float:
    """As `oracle`, for whoever sees only given coefficients with unit noise per real degree of freedom.

    Parameters
    ----------
    coefficients
        (n, K) whitened coefficients of the noisy patterns, real or complex.
    library_coefficients
        (m, K) the same for the noise-free patterns.
    library, truth_index, static, weight
        As in `oracle`; the variance is that of all valid pixels, whatever the coefficients span.
    """
    if coefficients.shape[1:] != library_coefficients.shape[1:] or len(library_coefficients) != len(library):
        raise ShapeError(
            f"coefficients: want (n, K) and ({len(library)}, K), got {coefficients.shape} and "
            f"{library_coefficients.shape}; analyse both with one basis"
        )
    valid, use = _valid(weight)
    means = _real(library_coefficients)
    offset = 0.5 * np.sum(means**2, axis=1)
    return _library_score(
        library[:, valid].astype(np.float64),
        truth_index,
        static[valid],
        use,
        len(coefficients),
        lambda i: _real(coefficients[i]) @ means.T - offset,
    )


def active_latents(z: np.ndarray, z_sd: np.ndarray) -> np.ndarray:
    """Which latents are alive, (D,) bool: rms posterior sd under half the spread over positions.

    Parameters
    ----------
    z, z_sd
        (n, D) posterior mean and sd; rows with NaN are left out.
    """
    if z.shape != z_sd.shape or z.ndim != 2:
        raise ShapeError(f"latents: want z and z_sd (n, latent_dim), got {z.shape} and {z_sd.shape}")
    good = np.isfinite(z).all(axis=1) & np.isfinite(z_sd).all(axis=1)
    if not good.any():
        return np.zeros(z.shape[1], dtype=bool)
    return np.asarray(np.sqrt(np.mean(z_sd[good] ** 2, axis=0)) < ACTIVE_SHARE * z[good].std(axis=0))


def active_units(z: np.ndarray, z_sd: np.ndarray) -> int:
    """Number of latents that are alive, see `active_latents`."""
    return int(active_latents(z, z_sd).sum())


def _valid(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    valid = weight > 0
    if not valid.any():
        raise InputError("weight: want at least one pixel above 0, got none; check the mask")
    return valid, weight[valid].astype(np.float64)


def _poisson(library: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Log likelihood (n, m) of counts (n, p), up to a constant per pattern."""
    library = np.asarray(library, dtype=np.float64)
    floor = LEAST_SHARE * max(float(library.max()), np.finfo(float).tiny)
    mean = np.maximum(library.mean(axis=0), floor)
    log_ratio = np.log(
        np.maximum(library, floor) / mean
    ).T  # relative to the mean: small terms, little cancellation
    totals = library.sum(axis=1)
    return lambda counts: counts.astype(np.float64) @ log_ratio - (totals - totals.mean())


def _posterior_mean(
    expected: np.ndarray, log_likelihood: Callable[[np.ndarray], np.ndarray], seen: np.ndarray
) -> np.ndarray:
    return np.asarray(_normalised(log_likelihood(seen)) @ expected)


def _normalised(log_weight: np.ndarray) -> np.ndarray:
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _library_score(
    expected: np.ndarray,
    truth_index: np.ndarray,
    static: np.ndarray,
    use: np.ndarray,
    n: int,
    log_likelihood: Callable[[slice], np.ndarray],
) -> float:
    truth_index = np.asarray(truth_index)
    if truth_index.shape != (n,):
        raise ShapeError(
            f"truth_index: want ({n},), got {truth_index.shape}; give one library index per pattern"
        )
    missed = total = 0.0
    for start in range(0, n, BLOCK):
        block = slice(start, min(start + BLOCK, n))
        signal = expected[truth_index[block]]
        found = _normalised(log_likelihood(block)) @ expected
        missed += float(((signal - found) ** 2 @ use).sum())
        total += float(((signal - static) ** 2 @ use).sum())
    return _one_minus(missed, total)


def _one_minus(missed: float, total: float) -> float:
    return 1.0 - missed / total if total > 0 else float("nan")


def _real(coefficients: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(coefficients):
        return np.concatenate([coefficients.real, coefficients.imag], axis=1).astype(np.float64)
    return np.asarray(coefficients, dtype=np.float64)
