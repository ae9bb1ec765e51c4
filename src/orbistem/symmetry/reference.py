"""Which positions are taken for the perfect crystal."""

from __future__ import annotations

import numpy as np

__all__ = ["densest"]

NEIGHBOURS = 20
FAR = 10.0
"""A position is off the orbifold where its neighbours in the latents lie this many typical distances away.
Not fewer: leaving out what is merely noisy would bias the rest."""


def densest(latent: np.ndarray | None, usable: np.ndarray) -> np.ndarray:
    """Positions on the densest part of the latent space: the orbifold that most of a scan shows.

    Parameters
    ----------
    latent
        (n, D), NaN where unknown; None: nothing is known, and every usable position counts.
    usable
        (n,) bool.

    Returns
    -------
    (n,) bool.
    """
    chosen = np.array(usable, bool)
    if latent is None or latent.shape[1] == 0:
        return chosen
    from scipy.spatial import cKDTree

    rows = np.flatnonzero(chosen & np.isfinite(latent).all(axis=1))
    if len(rows) <= NEIGHBOURS:
        return chosen
    distance, _ = cKDTree(latent[rows]).query(latent[rows], k=NEIGHBOURS + 1)
    reach = distance[:, -1]
    chosen[:] = False
    chosen[rows[reach <= FAR * max(float(np.median(reach)), np.finfo(float).tiny)]] = True
    return chosen
