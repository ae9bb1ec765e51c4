"""Whether the latent stays the same where only the rotation or the noise differs.

Every error is a root mean square distance over the *spread* √(2 · trace cov z): the distance of unrelated
positions. So 0 means identical and 1 means as different as any two positions. A latent that has collapsed
has no spread: the error is NaN there, not 0.
"""

from __future__ import annotations

import numpy as np

from orbistem.errors import ShapeError


def spread(z: np.ndarray) -> float:
    """Root mean square distance between two different positions, √(2 · trace cov z).

    Parameters
    ----------
    z
        (n, D) latents; rows with NaN are left out.
    """
    z = _rows(z, "z")
    z = z[np.isfinite(z).all(axis=1)]
    return float(np.sqrt(2 * z.var(axis=0, ddof=1).sum())) if len(z) > 1 else float("nan")


def fold_error(z: np.ndarray, pairs: np.ndarray) -> float:
    """Distance of symmetry-equivalent positions over that of unrelated ones.

    Parameters
    ----------
    z
        (n, D) latents.
    pairs
        (m, 2) int: rows of `z` that should be equal.

    Returns
    -------
    float
        0 = folded; exactly 1 if `pairs` holds all pairs of different positions. NaN without spread.

    Examples
    --------
    >>> fold_error(np.array([[0.0], [1.0], [3.0]]), np.array([[0, 1], [0, 2], [1, 2]]))
    1.0
    """
    z = _rows(z, "z")
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ShapeError(f"pairs: want (m, 2) indices, got {pairs.shape}; give one row per pair")
    return _ratio(z[pairs[:, 0]] - z[pairs[:, 1]], spread(z))


def repeat_error(z_a: np.ndarray, z_b: np.ndarray) -> float:
    """Distance between two noise draws of the same positions over the spread of both.

    Parameters
    ----------
    z_a, z_b
        (n, D): row i of both is the same position.
    """
    z_a, z_b = _rows(z_a, "z_a"), _rows(z_b, "z_b")
    if z_a.shape != z_b.shape:
        raise ShapeError(
            f"latents: want equal shapes, got {z_a.shape} and {z_b.shape}; pass the same positions twice"
        )
    both = np.sqrt((spread(z_a) ** 2 + spread(z_b) ** 2) / 2)
    return _ratio(z_a - z_b, float(both))


def rotation_error(z: np.ndarray, z_turned: np.ndarray) -> float:
    """Distance between patterns and their copies turned *in pixels*, over the spread of the former.

    Parameters
    ----------
    z, z_turned
        (n, D): latents of the patterns and of the turned patterns.
    """
    z, z_turned = _rows(z, "z"), _rows(z_turned, "z_turned")
    if z.shape != z_turned.shape:
        raise ShapeError(
            f"latents: want equal shapes, got {z.shape} and {z_turned.shape}; pass the same positions twice"
        )
    return _ratio(z - z_turned, spread(z))


def _rows(z: np.ndarray, name: str) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2:
        raise ShapeError(f"{name}: want (n, latent_dim), got {z.shape}; flatten the scan axes")
    return z


def _ratio(difference: np.ndarray, against: float) -> float:
    square = np.sum(difference**2, axis=1)
    square = square[np.isfinite(square)]
    if not len(square) or not against > 0:
        return float("nan")
    return float(np.sqrt(square.mean()) / against)
