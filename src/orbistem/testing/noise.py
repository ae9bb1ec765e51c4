"""The law of unit noise, and draws of pure noise to test it with."""

from __future__ import annotations

import numpy as np

from orbistem.errors import ShapeError
from orbistem.harmonics.steerable_pca import SteerableBasis, steerable_basis
from orbistem.plan import Plan


def full_basis(plan: Plan) -> SteerableBasis:
    """Basis of everything that the harmonics of a plan hold, whatever carries signal."""
    loud = 10 * plan.noise
    return steerable_basis(loud, plan.noise, plan.grid.carried, n_samples=10**9, max_kept=10**6)


def signal_basis(plan: Plan, patterns: np.ndarray, *, n_samples: int) -> SteerableBasis:
    """Basis that a scan of `n_samples` noisy copies of some patterns would have in expectation.

    Parameters
    ----------
    plan
        Its mean, gain and weights.
    patterns
        Deviations from the plan's mean in electrons, noise-free, shape (n, ky, kx).
    n_samples
        Patterns of the scan: the more, the fainter the signal that is kept.
    """
    harmonics = _linear(plan, patterns)
    parts = np.concatenate([harmonics.real, harmonics.imag]).transpose(2, 1, 0)
    second = parts @ parts.transpose(0, 2, 1) / len(patterns)
    second[1:] /= 2
    carried = plan.grid.carried
    return steerable_basis(second + plan.noise, plan.noise, carried, n_samples=n_samples, max_kept=10**6)


def noise_values(
    plan: Plan, basis: SteerableBasis, *, rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of Poisson draws of a plan's mean pattern: pure noise.

    Parameters
    ----------
    plan
        Linear whitening (with the root the fourth cumulant is not exact).
    basis
        What is read from the draws.
    rng
        Source of the draws.
    n
        Number of draws.

    Returns
    -------
    Real values, shape (n, dof), and their exact fourth cumulants (dof,): real parts first, then the imaginary
    parts of all coefficients above order 0.
    """
    gain = plan.gain or 1.0
    counts = rng.poisson(plan.clean_mean, (n, *plan.detector_shape)).astype(np.float32)
    values = _real(
        basis.coefficients(plan.harmonics(counts * np.float32(gain) + np.float32(plan.offset))), basis
    )
    read = plan.analyser.gather
    response = _real(basis.coefficients(plan.analyser(np.eye(len(read)))), basis)
    return values, np.sum(response**4 * plan.clean_mean.ravel()[read][:, None], axis=0)


def _linear(plan: Plan, patterns: np.ndarray) -> np.ndarray:
    flat = np.asarray(patterns, np.float64).reshape(len(patterns), -1)
    return plan.analyser(flat[:, plan.analyser.gather])


def _real(coefficients: np.ndarray, basis: SteerableBasis) -> np.ndarray:
    parts = [coefficients.real, coefficients.imag[:, basis.order > 0]]
    return np.concatenate(parts, axis=1, dtype=np.float64)


def assert_unit_noise(
    values: np.ndarray,
    *,
    fourth_cumulant: np.ndarray | float | None = None,
    mean_tolerance: float = 0.02,
    limit_sd: float = 5.0,
) -> tuple[float, float]:
    """Check that noise has variance 1, on average and in each degree of freedom.

    Parameters
    ----------
    values
        Repeated draws of pure noise, real, shape (n, dof). Complex coefficients: real and imaginary part are
        two degrees of freedom.
    fourth_cumulant
        Fourth cumulant of each degree of freedom, shape (dof,): the variance of a sample variance is
        (2 + fourth cumulant) / n where the variance is 1. None: estimated from the draws.
    mean_tolerance
        Largest allowed difference of the mean variance from 1.
    limit_sd
        Largest allowed difference of one variance from 1, in its standard errors.

    Returns
    -------
    tuple of float
        Mean variance; worst difference in standard errors.
    """
    if values.ndim != 2 or np.iscomplexobj(values):
        raise ShapeError(
            f"values: want real (n, dof), got {values.dtype} {values.shape}; stack real and imaginary parts"
        )
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    deviation = values - values.mean(axis=0)
    variance = np.sum(deviation**2, axis=0) / (n - 1)
    if fourth_cumulant is None:
        fourth_cumulant = np.mean(deviation**4, axis=0) - 3 * variance**2
    standard_error = np.sqrt((2 + np.maximum(fourth_cumulant, 0)) / n)
    worst = float(np.max(np.abs(variance - 1) / standard_error))
    mean = float(variance.mean())
    if not abs(mean - 1) <= mean_tolerance:
        raise AssertionError(f"unit noise: want a mean variance of 1 ± {mean_tolerance:g}, got {mean:.4f}")
    if not worst <= limit_sd:
        raise AssertionError(
            f"unit noise: want each variance within {limit_sd:g} standard errors of 1, got {worst:.2f} "
            f"(variance {variance[np.argmax(np.abs(variance - 1) / standard_error)]:.3f})"
        )
    return mean, worst
