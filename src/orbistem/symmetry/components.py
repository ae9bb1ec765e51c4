"""Patterns in components of unit noise and one angular order each: what the descriptors of symmetry read.

Per order the harmonics are projected on the radial functions of steerable PCA (C v = λ G v). Each has noise
of variance 1 for the mean pattern, and a weight (λ - 1)/λ, the share of it that is signal in this scan
(Wiener), but no less than a tenth. Noise of a single pattern follows its own counts: the
noise of a ring is that of the mean pattern times the electrons of the ring over their mean (`ring_noise`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orbistem.errors import ShapeError
from orbistem.harmonics.reduce import HarmonicsMoments
from orbistem.harmonics.steerable_pca import noise_edge, radial_functions
from orbistem.plan import Plan
from orbistem.symmetry.ring_noise import ring_noise

CLASSES = 12
"""Orders modulo 12 decide between 2-, 3-, 4- and 6-fold."""
MIN_WEIGHT = 0.1
"""Weight of what does not rise above the noise in the scan as a whole: a single site may still show it.
Some hundred such components together add a few units to the variance of the energy."""
NEARER = 0.1
"""Tests look for departures with a tenth of the scan's energy: sites near a symmetry are what is in doubt."""
MIN_TEST_WEIGHT = 0.03


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
        Weight of each component in energies, shape (k,), above 0, at most 1.
    test_weight
        The same in tests of a symmetry, which ask for strong components first, shape (k,); None: `weight`.
    spread
        tr((W Σ)²) per real degree of freedom, W the weights of tests and Σ the noise covariance of the
        components, for orders ≡ 0 … 11 mod 12, shape (n, 12). None: noise of components is independent.
    doubt
        Covariance of tr(W Σ) of these classes, because Σ is not known exactly, shape (12, 12). None: it is.
    """

    values: np.ndarray
    variance: np.ndarray
    order: np.ndarray
    weight: np.ndarray
    test_weight: np.ndarray | None = None
    spread: np.ndarray | None = None
    doubt: np.ndarray | None = None

    def __post_init__(self) -> None:
        k = len(self.order)
        if self.values.ndim != 2 or self.values.shape[1] != k or self.variance.shape != self.values.shape:
            raise ShapeError(
                f"components: want values and variance (n, {k}), got {self.values.shape} and "
                f"{self.variance.shape}; one column per order"
            )

    def __len__(self) -> int:
        return len(self.values)

    def noise_spread(self) -> np.ndarray:
        """`spread`, or its value for independent noise, shape (n, 12)."""
        if self.spread is not None:
            return self.spread
        member = (self.order[:, None] % CLASSES == np.arange(CLASSES)).astype(self.variance.dtype)
        weight = (self.weight if self.test_weight is None else self.test_weight).astype(self.variance.dtype)
        squares: np.ndarray = np.square(weight * self.variance) @ member
        return squares

    def pooled(self) -> Components:
        """Mean of all patterns as one pattern, with its noise; rows that are not measured are left out."""
        good = np.isfinite(self.values).all(axis=1) & np.isfinite(self.variance).all(axis=1)
        n = max(int(good.sum()), 1)
        return Components(
            values=self.values[good].sum(axis=0, keepdims=True) / n,
            variance=self.variance[good].sum(axis=0, keepdims=True) / n**2,
            order=self.order,
            weight=self.weight,
            test_weight=self.test_weight,
            spread=None if self.spread is None else self.spread[good].sum(axis=0, keepdims=True) / n**3,
            doubt=None if self.doubt is None else self.doubt / n**2,  # as if all were wrong the same way
        )

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
    order, weight, test_weight
        As in `Components`, shape (k,).
    vectors
        Component = sum over rings of vectors · harmonics of its order, shape (k, ring).
    static
        Harmonics taken off before anything else, shape (ring, order): those of the static background; in
        order 0, which counts for the level of noise only, those of the mean pattern.
    levels
        Matrix from order 0 to the excess of the noise at each circle, shape (circle, ring), see `ring_noise`.
        None where noise does not follow the counts; then each component has unit noise.
    share
        Part of a component's noise that comes from each circle, shape (k, circle); rows add up to 1.
    spread
        `Components.spread` is a quadratic form of the levels with this matrix, shape (12, circle, circle).
    doubt
        As in `Components`.
    """

    order: np.ndarray
    weight: np.ndarray
    test_weight: np.ndarray
    vectors: np.ndarray
    static: np.ndarray
    levels: np.ndarray | None = None
    share: np.ndarray | None = None
    spread: np.ndarray | None = None
    doubt: np.ndarray | None = None

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
        by_order = np.ascontiguousarray(harmonics.transpose(2, 0, 1))
        for m in np.unique(self.order):
            columns = np.flatnonzero(self.order == m)
            rings = np.flatnonzero(np.any(self.vectors[columns] != 0, axis=0))
            weights = self.vectors[np.ix_(columns, rings)].T.astype(real)
            values[:, columns] = by_order[m][:, rings] @ weights
        values -= offset.astype(harmonics.dtype)
        variance, spread = np.ones(values.shape, real), None
        if self.levels is not None and self.share is not None and self.spread is not None:
            order0 = harmonics[:, :, 0].real - self.static[:, 0].real.astype(real)
            excess = order0 @ self.levels.T.astype(real)
            variance += excess @ self.share.T.astype(real)
            level = np.maximum(1 + excess, 0)
            spread = np.stack(
                [np.sum((level @ matrix.astype(real)) * level, axis=1) for matrix in self.spread], axis=1
            )
        if noise_factor is not None:
            factor = np.asarray(noise_factor, real)[:, None]
            variance *= factor
            spread = None if spread is None else spread * factor**2
        return Components(
            values=values,
            variance=variance,
            order=self.order,
            weight=self.weight,
            test_weight=self.test_weight,
            spread=spread,
            doubt=self.doubt,
        )

    def of_blocks(
        self, blocks: Iterator[tuple[int, np.ndarray]], *, noise_factor: np.ndarray | None = None
    ) -> Iterator[tuple[slice, Components]]:
        """Components block by block, from (first position, harmonics) as of `CoefficientStore.blocks`."""
        for start, harmonics in blocks:
            part = slice(start, start + len(harmonics))
            factor = None if noise_factor is None else noise_factor[part]
            yield part, self.components(harmonics, noise_factor=factor)


def component_basis(plan: Plan, moments: HarmonicsMoments, *, static: np.ndarray) -> ComponentBasis:
    """Radial functions of all orders above 0, with their weights.

    Parameters
    ----------
    plan
        Gives the noise.
    moments
        Of the harmonics of the scan.
    static
        Harmonics of the static background, shape (ring, order); see `orbistem.harmonics.background`.
    """
    static = np.array(static, np.complex128)
    static[:, 0] = moments.order0_mean
    noise, carried = plan.noise, plan.grid.carried
    split = ring_noise(plan)
    n_orders, n_rings = noise.shape[:2]
    order: list[int] = []
    n_circles = 0 if split is None else len(split.solve)
    weight, test_weight = [np.empty(0)], [np.empty(0)]
    vectors, share = [np.empty((0, n_rings))], [np.empty((0, n_circles))]
    spread, heard = np.zeros((CLASSES, n_circles, n_circles)), np.zeros((CLASSES, n_circles))
    loudest = float(np.abs(noise).max(initial=0.0))
    for m in range(1, n_orders):
        rings = np.flatnonzero(carried[:, m])
        if not len(rings):
            continue
        g = noise[m][np.ix_(rings, rings)]
        mean, still = moments.mean[rings, m], static[rings, m]
        # second moment about the static background: mean of Re (c - s)(c - s)ᴴ
        cross = np.outer(mean, still.conj())
        shift = (np.outer(still, still.conj()) - cross - cross.conj().T).real / 2
        second = moments.second_moment[m][np.ix_(rings, rings)] + shift
        values, radial = radial_functions(second, g, loudest=loudest)
        if not len(values):
            continue
        signal = np.where(values > noise_edge(len(values), moments.n, m), np.maximum(values - 1, 0), 0)
        whole = np.zeros((len(values), n_rings))
        whole[:, rings] = radial * np.where(radial.sum(axis=1) < 0, -1, 1)[:, None]  # more is positive
        order += [m] * len(values)
        weight.append(np.maximum(signal / (1 + signal), MIN_WEIGHT))
        test_weight.append(np.maximum(NEARER * signal / (1 + NEARER * signal), MIN_TEST_WEIGHT))
        vectors.append(whole)
        if split is not None:
            parts = split.split(whole, m)
            own = np.einsum("jkk->kj", parts)
            total = own.sum(axis=1)  # 1, but for the noise scale and for noise that pixels share
            share.append(own / total[:, None])
            heard[m % CLASSES] += test_weight[-1] @ share[-1]
            root = np.sqrt(test_weight[-1] / total)
            parts = (parts * root * root[:, None]).reshape(n_circles, -1)
            spread[m % CLASSES] += parts @ parts.T
    return ComponentBasis(
        order=np.array(order, dtype=int),
        weight=np.concatenate(weight),
        test_weight=np.concatenate(test_weight),
        vectors=np.concatenate(vectors),
        static=static,
        levels=None if split is None else split.solve,
        share=None if split is None else np.concatenate(share),
        spread=None if split is None else spread,
        doubt=None if split is None else heard @ split.error @ heard.T,
    )
