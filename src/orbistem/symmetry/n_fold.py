"""How much of a pattern is n-fold: the share of its energy in angular orders that are multiples of n.

    n_fold(n) = Σ_{m ≡ 0 mod n} |c_m|² / Σ_{m > 0} |c_m|²

with the static background taken off and the energy of the noise subtracted; in weighted units of noise (see
`components`). 1: a turn by 2π/n changes nothing; chance gives about 1/n.
"""

from __future__ import annotations

import numpy as np

from orbistem.symmetry.components import Components
from orbistem.symmetry.descriptor import Descriptor, Variable
from orbistem.symmetry.ratio import Share, share_of

__all__ = ["FOLDS", "N_FOLD", "n_fold"]

FOLDS = (2, 3, 4, 6)
"""Rotation orders of a crystal."""


def n_fold(components: Components, *, folds: tuple[int, ...] = FOLDS) -> Share:
    """Share of n-fold energy of every pattern.

    Parameters
    ----------
    components
        Of n patterns.
    folds
        The rotation orders.

    Returns
    -------
    Share
        Shape (n, len(folds)); values in [0, 1], NaN where a pattern shows no signal above order 0.

    Examples
    --------
    >>> import numpy as np
    >>> order = np.array([2, 3, 6])
    >>> values = np.array([[10.0, 0, 20j]])
    >>> one = Components(values=values, variance=np.zeros((1, 3)), order=order, weight=np.ones(3))
    >>> n_fold(one).value
    array([[1. , 0.8, 0. , 0.8]])
    """
    member = np.stack([components.order % n == 0 for n in folds], axis=1).astype(np.float64)
    found = share_of(
        components.energy(),
        components.energy_variance(),
        member,
        null_variance=null_variance(components),
    )
    return Share(value=np.clip(found.value, 0, 1), sd=found.sd)


def null_variance(components: Components) -> np.ndarray:
    """Variance of the summed energy of patterns without signal, shape (n,)."""
    real = components.variance.dtype
    spread: np.ndarray = 4 * np.square(components.variance) @ np.square(components.weight).astype(real)
    return spread


def _maps(components: Components) -> tuple[np.ndarray, ...]:
    found = n_fold(components)
    return found.value, found.sd


N_FOLD = Descriptor(
    name="n_fold",
    variables=(
        Variable(
            name="n_fold",
            long_name="share of the pattern's energy that a turn by 360°/order keeps",
            dim="order",
            labels=FOLDS,
        ),
        Variable(name="n_fold_sd", long_name="standard error of n_fold", dim="order", labels=FOLDS),
    ),
    compute=_maps,
)
