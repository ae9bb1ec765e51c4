"""Patterns in components of unit noise and one angular order each: what the descriptors of symmetry read.

Per order the harmonics are projected on the radial functions of steerable PCA (C v = λ G v). Each has noise
of variance 1 for the mean pattern, and a weight (λ - 1)/λ, the share of it that is signal in this scan
(Wiener); what does not rise above the noise has none. Noise of a single pattern follows its own counts: the
noise of a ring is that of the mean pattern times the electrons of the ring over their mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orbistem.errors import ShapeError
from orbistem.harmonics.reduce import HarmonicsMoments
from orbistem.harmonics.steerable_pca import noise_edge, radial_functions

MIN_LEVEL = 0.05
"""A ring never counts as quieter than this share of the mean, however few counts it has."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Components:
    """Components of some patterns; order 0 is not among them.

    Parameters
    ----------
    values
        Complex, shape (n, k): signal plus noise; NaN where not measured.
    variance
        Noise of each pattern per real degree of freedom, shape (n, k): about 1.
    order
        Angular order of each component, shape (k,), above 0.
    weight
        Weight of each component in energies, shape (k,), 0 … 1.
    """

    values: np.ndarray
    variance: np.ndarray
    order: np.ndarray
    weight: np.ndarray

    def __post_init__(self) -> None:
        k = len(self.order)
        if self.values.ndim != 2 or self.values.shape[1] != k or self.variance.shape != self.values.shape:
            raise ShapeError(
                f"components: want values and variance (n, {k}), got {self.values.shape} and "
                f"{self.variance.shape}; one column per order"
            )

    def __len__(self) -> int:
        return len(self.values)

    def raw_energy(self) -> np.ndarray:
        """Weighted |c|² with the noise in it, shape (n, k)."""
        energy: np.ndarray = self.weight.astype(self.variance.dtype) * (
            self.values.real**2 + self.values.imag**2
        )
        return energy

    def energy(self) -> np.ndarray:
        """Weighted |c|² without the bias of the noise, shape (n, k): unbiased, so it may be negative."""
        energy: np.ndarray = self.raw_energy() - 2 * self.weight.astype(self.variance.dtype) * self.variance
        return energy

    def energy_variance(self) -> np.ndarray:
        """Variance of `energy`, shape (n, k): that of a non-central χ² with two degrees of freedom."""
        weight = self.weight.astype(self.variance.dtype)
        signal = np.maximum(self.energy(), 0)
        # Var |μ + ε|² = 4 s |μ|² + 4 s²
        spread: np.ndarray = 4 * weight * self.variance * (signal + weight * self.variance)
        return spread


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComponentBasis:
    """How harmonics become components.

    Parameters
    ----------
    order, weight
        As in `Components`, shape (k,).
    vectors
        Component = sum over rings of vectors · harmonics of its order, shape (k, ring).
    noise_share
        Part of a component's noise that comes from each ring, shape (k, ring); rows add up to 1.
    ring_level
        Order 0 of the mean pattern itself, shape (ring,), in the harmonics' units: a pattern's own level of
        noise in a ring is 1 + (its order 0) / ring_level. None where noise does not follow the counts.
    static
        Harmonics of the static background, shape (ring, order), taken off before anything else.
    """

    order: np.ndarray
    weight: np.ndarray
    vectors: np.ndarray
    noise_share: np.ndarray
    ring_level: np.ndarray | None
    static: np.ndarray

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.order)

    def components(self, harmonics: np.ndarray, *, noise_factor: np.ndarray | None = None) -> Components:
        """Components of harmonics.

        Parameters
        ----------
        harmonics
            Whitened, about the azimuthal mean, shape (n, ring, order), complex; order 0 with its mean in it,
            as ``coefficients.zarr`` holds them.
        noise_factor
            Further factor on the variance of the noise of each pattern, shape (n,): where patterns were
            scaled to one total, the scale.
        """
        harmonics = np.asarray(harmonics)
        if harmonics.ndim != 3 or harmonics.shape[1:] != self.static.shape:
            raise ShapeError(f"harmonics: want (n, *{self.static.shape}), got {harmonics.shape}; same plan")
        real = harmonics.real.dtype
        values = np.empty((len(harmonics), self.n_components), harmonics.dtype)
        offset = np.einsum("kj,jk->k", self.vectors, self.static[:, self.order])
        for m in np.unique(self.order):
            columns = np.flatnonzero(self.order == m)
            rings = np.flatnonzero(np.any(self.vectors[columns] != 0, axis=0))
            weights = self.vectors[np.ix_(columns, rings)].T.astype(real)
            values[:, columns] = harmonics[:, rings, m] @ weights
        values -= offset.astype(harmonics.dtype)
        variance = np.ones(values.shape, real)
        if self.ring_level is not None:
            level = np.where(self.ring_level > 0, self.ring_level, np.inf).astype(real)
            excess = np.maximum(harmonics[:, :, 0].real / level, MIN_LEVEL - 1)
            variance += excess @ self.noise_share.T.astype(real)
        if noise_factor is not None:
            variance *= np.asarray(noise_factor, real)[:, None]
        return Components(values=values, variance=variance, order=self.order, weight=self.weight)

    def of_blocks(
        self, blocks: Iterator[tuple[int, np.ndarray]], *, noise_factor: np.ndarray | None = None
    ) -> Iterator[tuple[slice, Components]]:
        """Components block by block, from (first position, harmonics) as of `CoefficientStore.blocks`."""
        for start, harmonics in blocks:
            part = slice(start, start + len(harmonics))
            factor = None if noise_factor is None else noise_factor[part]
            yield part, self.components(harmonics, noise_factor=factor)


def component_basis(
    moments: HarmonicsMoments,
    noise: np.ndarray,
    carried: np.ndarray,
    *,
    static: np.ndarray,
    ring_level: np.ndarray | None,
) -> ComponentBasis:
    """Radial functions of all orders above 0 that rise above the noise, with their weights.

    Parameters
    ----------
    moments
        Of the harmonics of the scan.
    noise
        Noise covariance per real degree of freedom, shape (order, ring, ring).
    carried
        Which rings carry which orders, shape (ring, order), bool.
    static
        Harmonics of the static background, shape (ring, order); see `orbistem.harmonics.background`.
    ring_level
        See `ComponentBasis`.
    """
    n_orders, n_rings = noise.shape[:2]
    order, weight, vectors, share = [], [], [], []
    for m in range(1, n_orders):
        rings = np.flatnonzero(carried[:, m])
        if not len(rings):
            continue
        g = noise[m][np.ix_(rings, rings)]
        mean, still = moments.mean[rings, m], static[rings, m]
        # second moment about the static background: mean of Re (c - s)(c - s)ᴴ
        cross = np.outer(mean, still.conj())
        shift = (np.outer(still, still.conj()) - cross - cross.conj().T).real / 2
        values, radial = radial_functions(moments.second_moment[m][np.ix_(rings, rings)] + shift, g)
        keep = values > noise_edge(len(values), moments.n, m)
        for value, vector in zip(values[keep], radial[keep], strict=True):
            whole, part = np.zeros(n_rings), np.zeros(n_rings)
            whole[rings] = vector
            part[rings] = vector * (g @ vector)
            order.append(m)
            weight.append((value - 1) / value)
            vectors.append(whole)
            share.append(part)
    k = len(order)
    return ComponentBasis(
        order=np.array(order, dtype=int),
        weight=np.array(weight, dtype=np.float64),
        vectors=np.array(vectors).reshape(k, n_rings),
        noise_share=np.array(share).reshape(k, n_rings),
        ring_level=ring_level,
        static=np.asarray(static, np.complex128),
    )
