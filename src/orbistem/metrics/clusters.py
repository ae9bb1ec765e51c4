"""Whether clusters of the latent agree with the true sites, and how many components the signal needs."""

from __future__ import annotations

import numpy as np

from orbistem.errors import ShapeError

KMEANS_STARTS = 10


def site_accuracy(z: np.ndarray, site: np.ndarray, *, seed: int = 0) -> float:
    """Share of positions in the right class: k-means on z, clusters matched to sites one to one (Hungarian).

    Parameters
    ----------
    z
        (n, D) latents; rows with NaN are left out.
    site
        (n,) int: true classes; there are as many clusters as classes.
    seed
        Seeds the starts of k-means.
    """
    from scipy.optimize import linear_sum_assignment

    labels, site = _clusters(z, site, seed)
    table = np.zeros((labels.max() + 1, site.max() + 1), dtype=int)
    np.add.at(table, (labels, site), 1)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(site))


def nmi(z: np.ndarray, site: np.ndarray, *, seed: int = 0) -> float:
    """Normalised mutual information (arithmetic mean) of k-means clusters of z and the true classes.

    Parameters
    ----------
    z, site, seed
        As in `site_accuracy`.
    """
    from sklearn.metrics import normalized_mutual_info_score

    labels, site = _clusters(z, site, seed)
    return float(normalized_mutual_info_score(site, labels))


def orbit_count(signal: np.ndarray, *, share: float = 0.95) -> int:
    """Number of principal components that hold `share` of the signal's variance.

    Parameters
    ----------
    signal
        (n, features): whitened patterns or latents. Rotated copies of one site count many times for patterns.
    """
    signal = np.asarray(signal, dtype=np.float64)
    if signal.ndim != 2:
        raise ShapeError(f"signal: want (n, features), got {signal.shape}; flatten patterns to rows")
    centred = signal - signal.mean(axis=0)
    power = np.linalg.svd(centred, compute_uv=False) ** 2
    if not power.sum() > 0:
        return 0
    return int(np.searchsorted(np.cumsum(power) / power.sum(), share - 1e-12) + 1)


def _clusters(z: np.ndarray, site: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import KMeans

    z, site = np.asarray(z, dtype=np.float64), np.asarray(site)
    if z.ndim != 2 or site.shape != z.shape[:1]:
        raise ShapeError(
            f"site: want z (n, latent_dim) and site (n,), got {z.shape}, {site.shape}; flatten them"
        )
    good = np.isfinite(z).all(axis=1)
    _, classes = np.unique(site[good], return_inverse=True)
    distinct = len(np.unique(z[good], axis=0))  # latents that are clusters themselves take few values
    n_clusters = min(int(classes.max()) + 1, distinct)
    model = KMeans(n_clusters=n_clusters, n_init=KMEANS_STARTS, random_state=seed)
    return np.asarray(model.fit_predict(z[good])), np.asarray(classes)
