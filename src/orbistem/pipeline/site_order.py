"""The rotation order of the angle, held against what the pattern itself says of turns.

Where valleys of the angle's posterior are deep, a decoder that draws a site a little too symmetric makes
peaks that look alike. A turn that the pattern's own harmonics refute is none of its symmetries.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orbistem.models.protocol import Encoding
from orbistem.pipeline.descriptors import REFUTED, Descriptors

__all__ = ["REFUTED", "allowed_order", "with_allowed_order"]


def with_allowed_order(encoding: Encoding, descriptors: Descriptors) -> Encoding:
    """The same encoding, with no `angle_order` whose turn the pattern refutes."""
    for variable, p in descriptors.maps:
        if variable.name == "n_fold_p":
            order = allowed_order(np.asarray(encoding.angle_order), p, folds=variable.labels)
            return replace(encoding, angle_order=order)
    return encoding


def allowed_order(
    order: NDArray[np.floating], p: NDArray[np.floating], *, folds: tuple[int, ...]
) -> NDArray[np.floating]:
    """Largest divisor of each order whose turn is not refuted.

    Parameters
    ----------
    order
        (n,) rotation orders; 0: no preferred angle; NaN: not usable.
    p
        (n, fold) probability that noise alone breaks a turn by 2π/fold as much; NaN: not known.
    folds
        Of the columns of `p`; other orders are not judged.

    Returns
    -------
    Array (n,); 1 where every turn is refuted.
    """
    found = np.where(order > 1, 1.0, order)
    refuted = dict(zip(folds, (p < REFUTED).T, strict=True))
    whole = np.nan_to_num(order).astype(int)
    for n in np.unique(whole[whole > 1]):
        rows = np.flatnonzero(whole == n)
        for d in (d for d in range(2, n + 1) if n % d == 0):
            keeps = ~refuted[d][rows] if d in refuted else np.ones(len(rows), bool)
            found[rows[keeps]] = np.maximum(found[rows[keeps]], d)
    return found.astype(order.dtype)
