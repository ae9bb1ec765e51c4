"""Invariants without training: sizes of the harmonics, or their selective bispectrum; each with PCA.

Exact without noise, since a turn multiplies a harmonic by a phase; the first loses how the orders are turned
against each other, the second keeps it. Whoever judges a learned model compares it with these.

- "harmonics": |c_m(j)| of every ring j and order m, c_0(j) as it is.
- "bispectrum": with one ring j_m for each order (the one with most signal),
  c_1(j_1) c_m(j_m) conj(c_{m+1}(j)) for all m and j, and c_1(j_1) conj(c_1(j)): the few products that the
  selective disk bispectrum needs (Myers and Miolane, arXiv:2511.19706, on Bessel functions). Each product is
  scaled to the size of one factor (cube or square root of its modulus), so that noise and signal stay
  comparable.

The angle comes from cross-correlation with a template: the mean, turned back, of those patterns of the fit
whose latents are near.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from orbistem.errors import InputError, OptionError
from orbistem.harmonics.basis_patterns import BasisPatterns, basis_patterns
from orbistem.harmonics.reduce import HarmonicsReduction
from orbistem.harmonics.steerable_pca import SteerableBasis, steerable_basis
from orbistem.models.alignment import align, align_scan, turn_back
from orbistem.models.pixels import PixelSpace, require_latents
from orbistem.models.protocol import NO_TRAINING, Encoding, TrainingReport
from orbistem.plan import Plan

Kind = Literal["harmonics", "bispectrum"]
NEIGHBOURS = 64
BANDWIDTH_SD = 1.5
"""Width of the kernel over latents, in standard deviations of their noise."""
NOISE_DRAWS = 4
LIBRARY_SIZE = 4096
MAX_KEPT = 128
BLOCK = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class InvariantsOptions:
    """Options of the invariants.

    Attributes
    ----------
    kind
        "harmonics" or "bispectrum".
    latent_dim
        Number of principal components.
    """

    kind: Kind = "harmonics"
    latent_dim: int = 3

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise OptionError(f"kind: want harmonics or bispectrum, got {self.kind!r}; choose one of them")
        if self.latent_dim < 1:
            raise OptionError(f"latent_dim: want 1 or more, got {self.latent_dim}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """What the fit has found.

    Attributes
    ----------
    offset
        (ring, order) mean harmonics: the static background.
    noise_sd
        (ring, order) of each harmonic per real degree of freedom; inf where a ring does not carry an order.
    pivot
        (order,) ring with most signal.
    centre, axes
        (feature,), (feature, latent): z = (feature − centre) · axes, in units of the noise of z.
    library_z, library
        (entry, latent), (entry, k): latents and coefficients, turned back, of patterns of the fit.
    """

    offset: np.ndarray
    noise_sd: np.ndarray
    pivot: np.ndarray
    centre: np.ndarray
    axes: np.ndarray
    library_z: np.ndarray
    library: np.ndarray


class InvariantsModel:
    """Principal components of invariants, angle by cross-correlation. Invariant under SO(2)."""

    def __init__(
        self, space: PixelSpace, basis: SteerableBasis, options: InvariantsOptions, parts: _Parts
    ) -> None:
        self._space, self._basis, self._options, self._parts = space, basis, options, parts

    @property
    def latent_dim(self) -> int:
        """Number of principal components."""
        return int(self._parts.axes.shape[1])

    @classmethod
    def fit(
        cls, frames: np.ndarray, *, plan: Plan, options: InvariantsOptions | None = None, seed: int = 0
    ) -> tuple[InvariantsModel, TrainingReport]:
        """Fit to patterns (n, ky, kx) as stored in the file.

        Parameters
        ----------
        plan
            Of the scan, with linear whitening.

        Raises
        ------
        InputError
            Nothing rises above the noise.
        """
        options = options or InvariantsOptions()
        if plan.whitening != "poisson":
            raise OptionError(f"plan: want whitening poisson, got {plan.whitening}; prepare with it")
        reduction = HarmonicsReduction(plan)
        harmonics = np.concatenate(
            [plan.harmonics(frames[i : i + BLOCK]) for i in range(0, len(frames), BLOCK)]
        )
        offset = harmonics.mean(axis=0, dtype=np.complex128)
        centred = harmonics - offset
        moments = reduction.finish(reduction.sums(centred))
        basis = steerable_basis(
            moments.second_moment,
            plan.noise,
            plan.grid.carried,
            n_samples=moments.n,
            max_kept=MAX_KEPT,
            scale_noise=plan.gain is None,
        )
        if not basis.n_kept:
            raise InputError("no pattern shape rises above the noise; record more electrons, or bin the scan")
        variance = np.einsum("mjj->jm", plan.noise) * (basis.noise_level if plan.gain is None else 1.0)
        noise_sd = np.where(plan.grid.carried & (variance > 0), np.sqrt(variance), np.inf)
        signal = np.mean(np.abs(centred) ** 2, axis=0) / noise_sd**2
        pivot = np.argmax(signal, axis=0)
        parts = _fit_axes(centred, noise_sd, pivot, options, np.random.default_rng([seed, 0]))
        rows = np.sort(np.random.default_rng([seed, 1]).permutation(len(frames))[:LIBRARY_SIZE])
        z = (_features(centred[rows], noise_sd, pivot, options.kind) - parts[0]) @ parts[1]
        kept = basis.coefficients(centred[rows]).astype(np.complex128)
        order = np.asarray(basis.order)
        angle = align_scan(kept, z, order, seed=seed)
        found = _Parts(
            offset=offset,
            noise_sd=noise_sd,
            pivot=pivot,
            centre=parts[0],
            axes=parts[1],
            library_z=z,
            library=turn_back(kept, angle, order).astype(np.complex64),
        )
        return cls(PixelSpace.of(plan, frames, scaling="noise"), basis, options, found), NO_TRAINING

    def encode(self, frames: np.ndarray) -> Encoding:
        """Latents, in units of their noise, and angle of patterns (n, ky, kx); see `PatternModel`."""
        z, angle, sd, order = (
            np.concatenate(one)
            for one in zip(
                *(self._encode(frames[i : i + BLOCK]) for i in range(0, len(frames), BLOCK)), strict=True
            )
        )
        return Encoding(
            z=z.astype(np.float32),
            z_sd=np.ones_like(z, np.float32),
            angle=angle.astype(np.float32),
            angle_sd=sd.astype(np.float32),
            angle_order=order.astype(np.int32),
            evidence=np.full(len(z), np.nan, np.float32),
            residual=self._space.residual(frames, self.decode(z, angle)),
        )

    def decode(self, z: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx): mean of the fit's patterns with near latents, turned by angles (n,)."""
        z = require_latents(z, self.latent_dim)
        turned = turn_back(self._templates(z), -np.asarray(angle), np.asarray(self._basis.order))
        pairs = np.stack([turned.real, turned.imag], axis=-1).astype(np.float32)
        return self._space.electrons(self._drawer.draw(pairs))

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx) that go with latents and angle of patterns."""
        found = self.encode(frames)
        return self.decode(found.z, found.angle)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values; see `StoredModel`."""
        arrays, values = self._space.state()
        basis = {
            f"basis.{n}": getattr(self._basis, n)
            for n in ("order", "vectors", "eigenvalue", "edge", "spectrum")
        }
        own = {f"own.{name}": getattr(self._parts, name) for name in _Parts.__dataclass_fields__}
        facts = {"noise_level": self._basis.noise_level, "n_above": self._basis.n_above}
        return arrays | basis | own, values | {"options": asdict(self._options), "basis": facts}

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> InvariantsModel:
        """Undo `state`."""
        basis = {name[6:]: array for name, array in arrays.items() if name.startswith("basis.")}
        own = {name[4:]: array for name, array in arrays.items() if name.startswith("own.")}
        return cls(
            PixelSpace.from_state(arrays, values),
            SteerableBasis(
                order=basis["order"],
                vectors=basis["vectors"],
                eigenvalue=basis["eigenvalue"],
                edge=basis["edge"],
                spectrum=basis["spectrum"],
                noise_level=float(values["basis"]["noise_level"]),
                n_above=int(values["basis"]["n_above"]),
            ),
            InvariantsOptions(**values["options"]),
            _Parts(**own),
        )

    @cached_property
    def _drawer(self) -> BasisPatterns:
        plan = self._space.plan
        return basis_patterns(plan.analyser, self._basis, weight=plan.weight)

    def _encode(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        parts = self._parts
        centred = self._space.plan.harmonics(frames) - parts.offset
        z = (_features(centred, parts.noise_sd, parts.pivot, self._options.kind) - parts.centre) @ parts.axes
        kept = self._basis.coefficients(centred)
        found = align(kept, self._templates(z), np.asarray(self._basis.order))
        return z, found.angle, found.sd, found.order

    def _templates(self, z: np.ndarray) -> np.ndarray:
        """Kernel mean (n, k) of the library at latents (n, d); a pattern is no template of itself."""
        from scipy.spatial import cKDTree

        count = min(NEIGHBOURS, len(self._parts.library_z))
        away, rows = cKDTree(self._parts.library_z).query(z, k=count)
        away, rows = away.reshape(len(z), -1), rows.reshape(len(z), -1)
        away = np.where(away < 1e-6, np.inf, away)
        nearest = away.min(axis=1, keepdims=True)
        nearest = np.where(np.isfinite(nearest), nearest, 0.0)
        weight = np.exp(-(away**2 - nearest**2) / (2 * BANDWIDTH_SD**2))
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        return np.asarray(np.einsum("nc,nck->nk", weight, self._parts.library[rows]))


def _fit_axes(
    centred: np.ndarray,
    noise_sd: np.ndarray,
    pivot: np.ndarray,
    options: InvariantsOptions,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean feature, and principal axes scaled so that noise has sd 1 along each (median over patterns)."""
    features = _features(centred, noise_sd, pivot, options.kind)
    centre = features.mean(axis=0)
    _, _, rows = np.linalg.svd(features - centre, full_matrices=False)
    axes = rows[: options.latent_dim].T
    z = features @ axes
    sd = np.where(np.isfinite(noise_sd), noise_sd, 0.0)
    squares = []
    for _ in range(NOISE_DRAWS):
        noise = sd * (rng.normal(size=centred.shape) + 1j * rng.normal(size=centred.shape))
        noise[:, :, 0] = noise[:, :, 0].real
        squares.append((_features(centred + noise, noise_sd, pivot, options.kind) @ axes - z) ** 2)
    level = np.sqrt(np.median(np.mean(squares, axis=0), axis=0))
    return centre, axes / np.maximum(level, np.finfo(float).tiny)


def _features(centred: np.ndarray, noise_sd: np.ndarray, pivot: np.ndarray, kind: Kind) -> np.ndarray:
    """Real invariants (n, feature) of harmonics (n, ring, order) about the background."""
    scaled = (centred / noise_sd).astype(np.complex128)
    carried = np.isfinite(noise_sd)
    plain = scaled[:, carried[:, 0], 0].real
    if kind == "harmonics":
        return np.concatenate([plain, np.abs(scaled[:, :, 1:][:, carried[:, 1:]])], axis=1)
    first = scaled[:, pivot[1], 1]
    parts = [plain, *_pairs(_rooted(first[:, None] * np.conj(scaled[:, carried[:, 1], 1]), 2))]
    for m in range(1, scaled.shape[2] - 1):
        both = first * scaled[:, pivot[m], m]
        product = both[:, None] * np.conj(scaled[:, carried[:, m + 1], m + 1])
        parts += _pairs(_rooted(product, 3))
    return np.concatenate(parts, axis=1)


def _rooted(product: np.ndarray, factors: int) -> np.ndarray:
    """A product with its modulus replaced by the modulus of the geometric mean of its factors."""
    size = np.abs(product)
    present = size > np.finfo(float).tiny
    scale = np.divide(size ** (1 / factors), size, out=np.zeros_like(size), where=present)
    return np.asarray(product * scale)


def _pairs(values: np.ndarray) -> list[np.ndarray]:
    return [values.real, values.imag]
