"""What few electrons do to sums over modes: their noise is Poisson's, not Gauss's.

One electron at pixel p adds φ_q(p) to mode q. So the joint cumulants of the modes of one pattern are
Σ_p f_p φ φ̄ …, f the expected counts (Campbell's theorem): the second are the noise covariance, and those of
fourth order widen a sum of squares Σ_q |c_q|² by Σ_p f_p (Σ_q |φ_q(p)|²)², which is the number of freedoms
squared over that of electrons where these fall evenly. Means of n patterns have 1/n³ of it, where the square
of their noise has 1/n².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.harmonics.analyser import Analyser

__all__ = ["ElectronCumulants", "electron_cumulants"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ElectronCumulants:
    """Of one pattern like the mean.

    Attributes
    ----------
    fourth
        (mode, mode): Σ_p f_p |φ_q(p)|² |φ_r(p)|², the covariance of |c_q|² and |c_r|² beyond Gaussian noise.
    mass_third
        (2,): third cumulants of the two numbers `CoarseModes.mass`, their skewness.
    """

    fourth: np.ndarray
    mass_third: np.ndarray


def electron_cumulants(
    analyser: Analyser, mean: np.ndarray, *, order: np.ndarray, vectors: np.ndarray, mass: np.ndarray
) -> ElectronCumulants:
    """Cumulants of modes that are linear in the counts of independent pixels.

    Parameters
    ----------
    analyser
        From electrons to harmonics, whitening included.
    mean
        Expected electrons, (ky, kx).
    order, vectors, mass
        As in `CoarseModes`.
    """
    electrons = np.maximum(np.asarray(mean, np.float64).ravel()[analyser.gather], 0)
    size = np.zeros((len(electrons), len(order)))
    mass_of = np.zeros((len(electrons), 2))
    for m in np.unique(order):
        columns = np.flatnonzero(order == m)
        adds = np.zeros((len(electrons), len(columns)), np.complex128)
        for j, ring in enumerate(analyser.maps):
            if ring.n_orders <= m:
                continue
            here = slice(ring.start, ring.stop)
            if m == 0:
                one = ring.matrix[:, 0].astype(np.complex128)
                mass_of[here] += np.outer(ring.matrix[:, 0], mass[:, j])
            else:
                one = ring.matrix[:, 2 * m - 1] + 1j * ring.matrix[:, 2 * m]
            adds[here] += np.outer(one, vectors[columns, j])
        size[:, columns] = np.abs(adds) ** 2
    return ElectronCumulants(fourth=(size * electrons[:, None]).T @ size, mass_third=electrons @ mass_of**3)
