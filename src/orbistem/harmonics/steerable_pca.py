"""Generalised steerable PCA: per angular order, signal against the exact noise.

For each order, C v = λ G v with C the second moment of the harmonics and G their noise covariance
(real symmetric: averaging over mirrors costs nothing). Steerable PCA: Zhao, Shkolnisky & Singer,
IEEE Trans. Comput. Imaging 2, 1 (2016). Noise edge: Marchenko & Pastur (1967) with the fluctuation of
the largest noise eigenvalue of Johnstone, Ann. Statist. 29, 295 (2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRACY_WIDOM_MEAN, TRACY_WIDOM_SD = -1.2065, 1.2680
"""Mean and sd of the Tracy-Widom law for real data (Johnstone 2001)."""
FALSE_ALARM_SD = 4.0
"""The largest noise eigenvalue of all orders together stays below mean + 4 sd in 99 % of scans."""
RANK_TOLERANCE = 1e-6
NOTHING = 1e-10
"""An eigenvalue below this share of the largest is the rounding error of zero."""
BULK_LIMIT, MAX_DOUBT = 1.1, 1.5
"""Noise eigenvalues whose median is 10 % too low (correlated pixels) raise the edge by as much, at most so
far."""
MOVED_DOUBT = 2.0
"""The edge is raised by this where the pattern wanders and the camera is sharp: no interpolation can move a
rim narrower than a pixel, and what is left differs from place to place and looks like signal."""
SMOOTH_PX = 0.7
"""A spread of so many pixels (standard deviation) makes patterns that can be moved: nothing is raised then.
On the bad microscope of benchmarks/effects.py 29 kept coefficients together hold 4 units of such errors."""
FAINT_SIGNAL = 500.0
"""Signal of a pattern, in nats, below which shot noise outweighs what few latents cannot draw."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SteerableBasis:
    """Radial functions of unit noise, the strongest signal first.

    Parameters
    ----------
    order
        Angular order of each kept coefficient, shape (k,).
    vectors
        Weights over rings, shape (k, ring): coefficient = sum over rings of vectors · harmonics.
    eigenvalue
        Second moment per real degree of freedom in units of the noise, shape (k,).
    edge
        Noise edge of each order, shape (order,).
    spectrum
        All eigenvalues, (order, ring), NaN where an order has fewer.
    noise_level
        Median eigenvalue below the edge over its expectation: 1 for pure shot noise.
    n_above
        How many eigenvalues rise above the edge (kept may be fewer).
    """

    order: np.ndarray
    vectors: np.ndarray
    eigenvalue: np.ndarray
    edge: np.ndarray
    spectrum: np.ndarray
    noise_level: float
    n_above: int

    @property
    def n_kept(self) -> int:
        """Number of kept coefficients."""
        return len(self.order)

    @property
    def signal_nats(self) -> float:
        """Half the squared signal of a pattern in noise units, on average."""
        parts = np.where(np.asarray(self.order) > 0, 2.0, 1.0)
        return float(np.sum(parts * (np.asarray(self.eigenvalue) - 1)) / 2)

    def static_nats(self, mean: np.ndarray) -> float:
        """The part of `signal_nats` above order 0 that all patterns have; mean harmonics (ring, order)."""
        static = np.abs(np.einsum("kj,jk->k", self.vectors, mean[:, self.order])) ** 2
        return float(np.sum(static[np.asarray(self.order) > 0]) / 2)

    def coefficients(self, harmonics: np.ndarray) -> np.ndarray:
        """Project harmonics (n, ring, order) on the basis: (n, k), complex; order 0 is real."""
        harmonics = np.asarray(harmonics)
        picked = harmonics[:, :, self.order]
        vectors = self.vectors.astype(harmonics.real.dtype)
        kept: np.ndarray = np.einsum("njk,kj->nk", picked, vectors, optimize=True)
        return kept


def noise_edge(n_rings: int, n_samples: int, order: int) -> float:
    """Largest eigenvalue that noise alone reaches, per real degree of freedom.

    Parameters
    ----------
    n_rings
        Number of radial functions of the order.
    n_samples
        Number of patterns; an order above 0 has two real samples in each.
    order
        Angular order.
    """
    samples = n_samples if order == 0 else 2 * n_samples
    root_n, root_p = np.sqrt(max(samples - 1, 1)), np.sqrt(max(n_rings, 1))
    centre = (root_n + root_p) ** 2
    width = (root_n + root_p) * (1 / root_n + 1 / root_p) ** (1 / 3)
    return float((centre + (TRACY_WIDOM_MEAN + FALSE_ALARM_SD * TRACY_WIDOM_SD) * width) / samples)


def steerable_basis(
    second_moment: np.ndarray,
    noise: np.ndarray,
    carried: np.ndarray,
    *,
    n_samples: int,
    max_kept: int,
    mean: np.ndarray | None = None,
    scale_noise: bool = False,
    doubt: float = 1.0,
) -> SteerableBasis:
    """Solve C v = λ G v in every order and keep what rises above the noise edge.

    Parameters
    ----------
    second_moment
        Mean over patterns of Re(c cᴴ), per real degree of freedom, shape (order, ring, ring).
    noise
        Noise covariance per real degree of freedom, shape (order, ring, ring).
    carried
        Which rings carry which orders, shape (ring, order), bool.
    n_samples
        Number of patterns behind `second_moment`.
    max_kept
        Keep at most this many, the largest eigenvalues first.
    mean
        Mean harmonics, shape (ring, order): coefficients that do not vary about it beyond the noise edge tell
        no pattern from another and are left out. Default zero above order 0.
    scale_noise
        Take the noise level from the bulk of the eigenvalues instead of trusting `noise` (data that
        are not counts).
    doubt
        Raise the noise edge by this factor at least.
    """
    n_orders, n_rings = second_moment.shape[:2]
    spectrum = np.full((n_orders, n_rings), np.nan)
    edge = np.full(n_orders, np.nan)
    found: list[tuple[int, np.ndarray, np.ndarray]] = []
    bulk = []
    loudest = float(np.abs(noise).max(initial=0.0))
    for m in range(n_orders):
        rings = np.flatnonzero(carried[:, m])
        if not len(rings):
            continue
        values, vectors = radial_functions(
            second_moment[m][np.ix_(rings, rings)], noise[m][np.ix_(rings, rings)], loudest=loudest
        )
        radial = np.zeros((len(values), n_rings))
        radial[:, rings] = vectors
        spectrum[m, : len(values)] = values
        edge[m] = noise_edge(len(values), n_samples, m)
        bulk.append(values[values < edge[m]])
        found.append((m, values, radial))
    noise_level = _noise_level(spectrum, edge, bulk, scale_noise=scale_noise)
    if scale_noise:
        edge = edge * noise_level
    # a bulk below 1 says that the noise covariance is not exact: it may underrate others by as much
    by_bulk = 1.0 if scale_noise else float(np.clip(1 / max(noise_level, 1e-9), 1.0, MAX_DOUBT))
    doubt = max(doubt, by_bulk if by_bulk > BULK_LIMIT else 1.0)
    static = np.zeros((n_rings, n_orders)) if mean is None else mean * (np.arange(n_orders) > 0)
    rows = [
        (value, m, vector)
        for m, values, radial in found
        for value, vector in zip(values, radial, strict=True)
        if value - np.abs(vector @ static[:, m]) ** 2 / 2 > edge[m] * doubt
    ]
    rows.sort(key=lambda row: -row[0])
    kept = rows[:max_kept]
    unit = np.sqrt(noise_level) if scale_noise else 1.0
    return SteerableBasis(
        order=np.array([m for _, m, _ in kept], dtype=int),
        vectors=np.array([v / unit for _, _, v in kept]).reshape(len(kept), n_rings),
        eigenvalue=np.array([value / unit**2 for value, _, _ in kept]),
        edge=edge / unit**2,
        spectrum=spectrum / unit**2,
        noise_level=noise_level,
        n_above=len(rows),
    )


def radial_functions(
    second_moment: np.ndarray, noise: np.ndarray, *, loudest: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Solve C v = λ G v for one order.

    Parameters
    ----------
    second_moment, noise
        C and G over the rings that carry the order, shape (ring, ring).
    loudest
        Largest noise variance of any order: a ring far below it has no counts, and no noise.

    Returns
    -------
    λ, the largest first, shape (k,), and the v as rows with vᵀ G v = 1, shape (k, ring). Combinations of
    rings without noise of their own are left out.
    """
    from scipy.linalg import eigh

    variance = np.diag(noise)
    # a ring that reads no pixel, or pixels that never count, has no noise
    heard = variance > RANK_TOLERANCE**2 * max(variance.max(initial=0.0), loudest)
    if not heard.any():
        return np.empty(0), np.empty((0, len(noise)))
    scale = np.sqrt(np.where(heard, variance, 1.0))
    level, axes = np.linalg.eigh(np.where(np.outer(heard, heard), noise, 0.0) / np.outer(scale, scale))
    sound = level > RANK_TOLERANCE * level[-1]
    whiten = (axes[:, sound] / np.sqrt(level[sound])).T / scale * heard
    values, vectors = eigh(whiten @ second_moment @ whiten.T)
    return values[::-1], vectors[:, ::-1].T @ whiten


def _noise_level(
    spectrum: np.ndarray, edge: np.ndarray, bulk: list[np.ndarray], *, scale_noise: bool
) -> float:
    """Median of the noise eigenvalues; where none lies below the edge, the lowest quarter of all."""
    below = np.concatenate(bulk) if bulk else np.empty(0)
    finite = spectrum[np.isfinite(spectrum)]
    if not scale_noise and len(below) >= 8:
        return float(np.median(below))
    # fewer patterns than coefficients leave eigenvalues of zero, which say nothing of the noise
    finite = finite[finite > NOTHING * finite.max(initial=0.0)]
    if not len(finite):
        return 1.0
    return float(np.median(np.sort(finite)[: max(1, len(finite) // 4)]))
