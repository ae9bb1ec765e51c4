"""A pattern in a few smooth modes of unit noise: low angular orders on a few broad rings.

What breaks a symmetry is spread thinly over a pattern, and what the model keeps is chosen for the crystal,
not for its defects. So all low orders are read, on rings broad enough that a pooled pattern shows each above
its noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import ShapeError
from orbistem.symmetry.few_counts import ElectronCumulants

__all__ = ["CoarseModes", "coarse_modes"]

RANK_TOLERANCE = 1e-6
MIN_LEVEL = 0.05
"""A ring never counts as quieter than this share of the mean, however few counts it has."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoarseModes:
    """How harmonics become modes.

    Attributes
    ----------
    order
        Angular order of each mode, (mode,).
    vectors
        (mode, ring): mode = sum over rings of vectors · harmonics of its order.
    noise_share
        (mode, ring): part of a mode's noise that comes from each ring; rows add up to 1.
    ring_level
        (ring,) order 0 of the mean pattern; the noise of a ring grows with 1 + (its order 0) / ring_level.
        None where noise does not follow the counts.
    mass
        (2, ring): weights of order 0 that tell best whether more or less is scattered, inside and outside the
        bright disc, with unit noise.
    mass_share
        (2, ring): the part of their noise that comes from each ring.
    mass_overlap
        (2, mode): correlation of their noise with that of each mode; 0 for orders above 0.
    shift
        (mode,): weights of the modes of order 1 that follow the centre of mass, of unit length; 0 for others.
    cumulants
        What few electrons add to Gaussian noise; None where noise does not follow the counts.
    """

    order: np.ndarray
    vectors: np.ndarray
    noise_share: np.ndarray
    ring_level: np.ndarray | None
    mass: np.ndarray
    mass_share: np.ndarray
    mass_overlap: np.ndarray
    shift: np.ndarray
    cumulants: ElectronCumulants | None = None

    @property
    def freedoms(self) -> np.ndarray:
        """Real degrees of freedom of each mode, (mode,): 1 for order 0, else 2."""
        return np.where(self.order > 0, 2, 1)

    def of(self, harmonics: np.ndarray) -> np.ndarray:
        """Modes (n, mode), complex64, of whitened harmonics (n, ring, order) about the mean of order 0."""
        harmonics = np.asarray(harmonics)
        if harmonics.ndim != 3 or harmonics.shape[1] != self.vectors.shape[1]:
            raise ShapeError(f"harmonics: want (n, {self.vectors.shape[1]}, order), got {harmonics.shape}")
        values = np.empty((len(harmonics), len(self.order)), np.complex64)
        for m in np.unique(self.order):
            columns = np.flatnonzero(self.order == m)
            values[:, columns] = harmonics[:, :, m] @ self.vectors[columns].T.astype(np.float32)
        return values

    def variance(self, rings: np.ndarray | None, n: int) -> np.ndarray:
        """Noise of each mode per real degree of freedom, (n, mode).

        Parameters
        ----------
        rings
            Expected order 0 of each ring about its mean, (n, ring); None: the mean pattern's.
        n
            Number of patterns.
        """
        return np.asarray(self._level(rings, n) @ self.noise_share.T)

    def mass_variance(self, rings: np.ndarray | None, n: int) -> np.ndarray:
        """The same for the two numbers of `mass`, (n, 2)."""
        return np.asarray(self._level(rings, n) @ self.mass_share.T)

    def _level(self, rings: np.ndarray | None, n: int) -> np.ndarray:
        """Noise of each ring over that of the mean pattern, (n, ring)."""
        if rings is None or self.ring_level is None:
            return np.ones((n, self.vectors.shape[1]))
        level = np.where(self.ring_level > 0, self.ring_level, np.inf)
        return np.asarray(np.maximum(1 + rings / level, MIN_LEVEL))


def coarse_modes(
    noise: np.ndarray,
    carried: np.ndarray,
    *,
    ring_level: np.ndarray | None,
    profile: np.ndarray,
    max_order: int = 8,
    n_rings: int = 8,
) -> CoarseModes:
    """Modes of unit noise.

    Parameters
    ----------
    noise
        Noise covariance per real degree of freedom, (order, ring, ring).
    carried
        Which rings carry which orders, (ring, order), bool.
    ring_level
        See `CoarseModes`.
    profile
        (ring,) order 0 of the mean pattern, whatever the whitening.
    max_order
        Highest angular order.
    n_rings
        About so many broad rings are made of all.
    """
    merge = max(1, round(noise.shape[1] / n_rings))
    orders, vectors, shares = [], [], []
    largest = float(np.abs(noise).max(initial=0.0))
    for m in range(min(max_order + 1, noise.shape[0])):
        rings = np.flatnonzero(carried[:, m])
        groups = [rings[i : i + merge] for i in range(0, len(rings), merge)]
        if not groups:
            continue
        sums = np.zeros((len(groups), noise.shape[1]))
        for row, group in zip(sums, groups, strict=True):
            row[group] = 1
        level, axes = np.linalg.eigh(sums @ noise[m] @ sums.T)
        sound = level > RANK_TOLERANCE * max(level[-1], largest)
        if not sound.any():  # only rings that never count
            continue
        unit = (axes[:, sound] / np.sqrt(level[sound])) @ axes[:, sound].T  # nearest to the rings themselves
        rows = unit @ sums if sound.all() else (axes[:, sound] / np.sqrt(level[sound])).T @ sums
        orders.append(np.full(len(rows), m))
        vectors.append(rows)
        shares.append(rows * (rows @ noise[m]))
    mass = _mass(noise[0], carried[:, 0], profile)
    order, rows = np.concatenate(orders), np.concatenate(vectors)
    return CoarseModes(
        order=order,
        vectors=rows,
        noise_share=np.concatenate(shares),
        ring_level=ring_level,
        mass=mass,
        mass_share=mass * (mass @ noise[0]),
        mass_overlap=np.where(order == 0, mass @ noise[0] @ rows.T, 0.0),
        shift=_shift(noise, order, rows, profile),
    )


def _shift(noise: np.ndarray, order: np.ndarray, rows: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """The centre of mass in modes of order 1.

    It is the sum over pixels of k (I − f) = r e^{iφ} √f̄ s, so ring j counts with r_j √f̄_j: up to a factor the
    order 0 of the mean pattern, since a ring's area grows with its radius.
    """
    if noise.shape[0] < 2:
        return np.zeros(len(order))
    weights = np.where(order == 1, rows @ noise[1] @ profile, 0.0)
    size = float(np.linalg.norm(weights))
    return weights / size if size > 0 else weights


def _mass(noise: np.ndarray, carried: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Matched filter for a pattern that grows in proportion, on the bright rings and on the dark ones."""
    area = np.diag(noise)  # of a ring, for whitened pixels
    density = np.where(carried, profile / np.where(area > 0, area, np.inf), 0)
    bright = density > density.max(initial=0) / 2
    rows = np.zeros((2, len(profile)))
    for row, use in zip(rows, (carried & bright, carried & ~bright), strict=True):
        index = np.flatnonzero(use)
        if not len(index):
            continue
        filter_ = np.linalg.lstsq(noise[np.ix_(index, index)], profile[index], rcond=RANK_TOLERANCE)[0]
        size = float(filter_ @ noise[np.ix_(index, index)] @ filter_)
        row[index] = filter_ / np.sqrt(size) if size > 0 else 0
    return rows
