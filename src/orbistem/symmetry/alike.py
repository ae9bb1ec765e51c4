"""Groups of patterns that are alike after rotation, for scans too small to train a model on.

Every two patterns are compared at all angles: the correlation of their harmonics is a trigonometric
polynomial of the angle, and its maximum says how alike they are. Groups come from average linkage (Sokal &
Michener, Univ. Kansas Sci. Bull. 38, 1409 (1958)); how many there are, from the mean silhouette (Rousseeuw,
J. Comput. Appl. Math. 20, 53 (1987)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import ShapeError

__all__ = ["Groups", "alike", "group_alike"]

Floats = NDArray[np.float64]

N_ANGLES = 360
MIN_SILHOUETTE = 0.25
"""Below it patterns do not fall into groups (Kaufman & Rousseeuw, Finding Groups in Data (1990), ch. 2)."""
MIN_PATTERNS = 4
MAX_PATTERNS = 256
"""All pairs are compared; larger scans are for a model."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Groups:
    """Groups of patterns.

    Attributes
    ----------
    label : (n,)
        Group of each pattern, from 1 on, the largest first; 0 where the pattern is not known.
    n_groups : int
    silhouette : float
        How clear the groups are, 0 … 1; NaN for one group.
    alike : (n, n)
        Correlation of every two patterns at the best angle.
    """

    label: NDArray[np.int64]
    n_groups: int
    silhouette: float
    alike: Floats


def alike(harmonics: NDArray[np.complexfloating]) -> Floats:
    """Correlation of every two patterns at the angle where it is largest, (n, n).

    Parameters
    ----------
    harmonics : (n, ring, order)
        Of unit noise, with √2 for orders above 0.
    """
    if harmonics.ndim != 3:
        raise ShapeError(
            f"harmonics: want (n, ring, order), got {harmonics.shape}; for one pass it as [None]"
        )
    n, _, n_orders = harmonics.shape
    turn = np.exp(2j * np.pi / N_ANGLES * np.outer(np.arange(n_orders), np.arange(N_ANGLES)))
    size = np.sqrt(np.sum(np.abs(harmonics) ** 2, axis=(1, 2)))
    found = np.empty((n, n))
    for i, one in enumerate(harmonics):
        product = np.einsum("jm,kjm->km", one.conj(), harmonics)
        found[i] = np.real(product @ turn).max(axis=1) / np.maximum(size[i] * size, np.finfo(float).tiny)
    return np.asarray((found + found.T) / 2)


def group_alike(harmonics: NDArray[np.complexfloating], noise: Floats) -> Groups:
    """Group patterns that are alike after rotation.

    Parameters
    ----------
    harmonics : (n, ring, order)
        About any origin; their mean over the patterns, which hides what differs, is taken off. Rows with NaN
        belong to no group.
    noise : (order, ring, ring)
        Covariance of their noise per real degree of freedom; only its diagonal is used.

    Returns
    -------
    Groups
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    known = np.isfinite(harmonics).all(axis=(1, 2))
    label = np.zeros(len(harmonics), np.int64)
    similarity = np.full((len(harmonics), len(harmonics)), np.nan)
    label[known] = 1
    n = int(known.sum())
    if not MIN_PATTERNS <= n <= MAX_PATTERNS:
        return Groups(label=label, n_groups=int(n > 0), silhouette=float("nan"), alike=similarity)
    level = np.einsum("mjj->jm", noise)
    weight = np.where(level > 0, 1 / np.sqrt(np.where(level > 0, level, 1.0)), 0.0)
    use = np.asarray(harmonics[known], np.complex128)
    similarity[np.ix_(known, known)] = found = alike((use - use.mean(axis=0)) * weight)
    distance = np.clip(1 - found, 0.0, None)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average")
    best, score = np.ones(n, np.int64), float("nan")
    for count in range(2, n // 2 + 1):
        cut = fcluster(tree, count, criterion="maxclust")
        if len(np.unique(cut)) < 2:
            continue
        mean = float(silhouette_score(distance, cut, metric="precomputed"))
        if mean >= MIN_SILHOUETTE and not mean <= score:
            best, score = np.asarray(cut, np.int64), mean
    names, first, sizes = np.unique(best, return_index=True, return_counts=True)
    for rank, index in enumerate(np.lexsort((first, -sizes)), start=1):
        label[np.flatnonzero(known)[best == names[index]]] = rank
    return Groups(label=label, n_groups=len(np.unique(best)), silhouette=score, alike=similarity)
