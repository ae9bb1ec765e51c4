"""What the reference itself varies by, where nothing says which site a position is.

Against the mean of the reference every site of a crystal, and every grain, is a difference. What patterns of
the reference differ by beyond their shot noise counts as noise then: broken is what differs by more.
"""

from __future__ import annotations

import numpy as np

from orbistem.symmetry.coarse import CoarseModes

__all__ = ["excess_covariance", "excess_variance"]

CHANCE_SD = 3.0


def excess_covariance(
    residual: np.ndarray, variance: np.ndarray, modes: CoarseModes, trusted: np.ndarray
) -> np.ndarray:
    """Covariance (mode, mode) of residuals beyond shot noise, order by order; 0 where chance explains it.

    Parameters
    ----------
    residual
        (n, mode) complex, detector frame.
    variance
        (n, mode) of shot noise per real degree of freedom.
    modes
        Orders, and what few electrons add.
    trusted
        (n,) bool, the reference.
    """
    n, n_modes = int(trusted.sum()), len(modes.order)
    found = np.zeros((n_modes, n_modes), complex)
    for m in np.unique(modes.order):
        at = np.flatnonzero(modes.order == m)
        inside = residual[np.ix_(trusted, at)]
        freedom = modes.freedoms[at]
        shot = variance[np.ix_(trusted, at)].mean(axis=0)
        excess = inside.conj().T @ inside / n - np.diag(shot * freedom)
        fourth = 0.0 if modes.cumulants is None else float(modes.cumulants.fourth[np.ix_(at, at)].sum())
        chance = np.sqrt((2 * shot**2 @ freedom + fourth) / max(n, 1))
        if np.trace(excess).real > CHANCE_SD * chance:
            size, axes = np.linalg.eigh(excess)
            found[np.ix_(at, at)] = (axes * np.maximum(size, 0)) @ axes.conj().T
    return found


def excess_variance(values: np.ndarray, variance: np.ndarray, trusted: np.ndarray) -> float:
    """Variance of real numbers (n,) in the reference beyond their noise; 0 where chance explains it."""
    shot = float(variance[trusted].mean())
    excess = float(np.mean(values[trusted] ** 2)) - shot
    return excess if excess > CHANCE_SD * np.sqrt(2 / max(int(trusted.sum()), 1)) * shot else 0.0
