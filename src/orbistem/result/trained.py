"""A trained model with everything that its input needs: patterns in, latents out, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import OptionError, ShapeError, require_stack
from orbistem.groups import Group
from orbistem.harmonics.basis_patterns import BasisPatterns, basis_patterns
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.harmonics.whitening import root_moments
from orbistem.models.angle_zero import AngleZeroName, find_angle_zero, require_angle_zero
from orbistem.models.orbit import OrbitVAE
from orbistem.models.protocol import Encoding
from orbistem.models.readout import Readout
from orbistem.plan import Plan
from orbistem.prepare.tiles import scan_coordinates
from orbistem.result.trained_files import read_trained, write_trained
from orbistem.scan import Scan

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["TrainedModel", "join_encodings", "usable_frames"]

ENCODE_BLOCK = 4096
"""Patterns encoded at once."""
DRAW_BLOCK = 256
BLOCK_BYTES = 128 * 2**20

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainedModel:
    """Plan, basis and network of a fit.

    Attributes
    ----------
    plan
        From stored numbers to whitened harmonics.
    basis
        From harmonics to the kept coefficients.
    vae
        From coefficients to latents and angle.
    latent_order, latent_sign
        Which latent of the network stands first, second, ... and its sign: (D,) each. The most active one
        stands first; the sign makes its distribution lean to the positive side.
    background
        (K,) coefficients of a given vacuum pattern, subtracted first; None where the model learned it.
    readout
        Draws what the kept coefficients cannot; None where there were too few patterns to fit it.
    """

    plan: Plan
    basis: SteerableBasis
    vae: OrbitVAE
    latent_order: tuple[int, ...]
    latent_sign: tuple[float, ...]
    background: NDArray[np.complexfloating[Any, Any]] | None = None
    readout: Readout | None = None

    @property
    def latent_dim(self) -> int:
        """Number of latents."""
        return len(self.latent_order)

    def coefficients(
        self, frames: NDArray[Any], positions: NDArray[np.int64] | None = None
    ) -> NDArray[np.complex64]:
        """Kept coefficients (n, K), noise units, of patterns (n, ky, kx) as stored in the file.

        Where the pattern wanders, the flat `positions` (n,) in the fitted scan say where it lies; without
        them, all patterns lie at the plan's centre.
        """
        self._check(frames)
        harmonics = self.plan.harmonics(frames, positions)
        kept: NDArray[np.complex64] = self.basis.coefficients(harmonics).astype(np.complex64)
        return kept

    def expected_coefficients(self, electrons: NDArray[Any]) -> NDArray[np.complex64]:
        """Kept coefficients (n, K) of noise-free patterns: expected electrons (n, ky, kx)."""
        kept: NDArray[np.complex64] = self.basis.coefficients(self.plan.expected_harmonics(electrons)).astype(
            np.complex64
        )
        return kept

    def encode(self, source: Scan | ArrayLike) -> Encoding:
        """Latents and angle of patterns.

        Parameters
        ----------
        source
            A scan, or patterns (n, ky, kx) in the units of the fitted file. The patterns of a scan may wander
            as those of the fitted one did; patterns without a scan lie at the plan's centre.

        Returns
        -------
        Encoding
            One row a position, in flat scan order; NaN where the pattern is not usable.
        """
        kept, flags, start = [], [], 0
        model = self.for_scan(source) if isinstance(source, Scan) else self
        for frames, measured in _blocks(source):
            self._check(frames)
            places = np.arange(start, start + len(frames)) if isinstance(source, Scan) else None
            start += len(frames)
            usable = measured & usable_frames(frames, self.plan.pixel_valid)
            rows = np.zeros((len(frames), self.basis.n_kept), np.complex64)
            if usable.any():
                rows[usable] = model.coefficients(frames[usable], None if places is None else places[usable])
            kept.append(rows)
            flags.append(usable)
        return self.encode_coefficients(np.concatenate(kept), np.concatenate(flags))

    def for_scan(self, scan: Scan) -> Self:
        """The model with the plan for another scan, over which the pattern wanders alike."""
        if self.plan.descan_px is None:
            return self
        return dataclasses.replace(
            self, plan=self.plan.for_places(scan_coordinates(scan), of=scan.provenance.checksum)
        )

    def encode_coefficients(
        self, coefficients: NDArray[np.complexfloating[Any, Any]], usable: Bools | None = None
    ) -> Encoding:
        """Latents and angle of kept coefficients (n, K); rows that are not usable give NaN."""
        usable = np.ones(len(coefficients), np.bool_) if usable is None else usable
        rows = np.flatnonzero(usable)
        if not len(rows):
            return _nothing(len(coefficients), self.latent_dim)
        parts = []
        for start in range(0, len(rows), ENCODE_BLOCK):
            some = np.asarray(coefficients[rows[start : start + ENCODE_BLOCK]], np.complex64)
            parts.append(self.vae.encode(some if self.background is None else some - self.background))
        found = join_encodings(parts)
        order, sign = list(self.latent_order), np.asarray(self.latent_sign, np.float32)
        sorted_ = {"z": found.z[:, order] * sign, "z_sd": found.z_sd[:, order]}
        whole = {}
        for name in _present(found):
            values = np.asarray(sorted_.get(name, getattr(found, name)))
            kind = values.dtype if np.issubdtype(values.dtype, np.floating) else np.dtype(np.float32)
            spread = np.full((len(coefficients), *values.shape[1:]), np.nan, kind)
            spread[rows] = values
            whole[name] = spread if not usable.all() else values
        return Encoding(**whole)

    def _check(self, frames: NDArray[Any]) -> None:
        require_stack("patterns", frames)
        if frames.shape[1:] != tuple(self.plan.detector_shape):
            raise ShapeError(
                f"patterns: want (n, {self.plan.detector_shape[0]}, {self.plan.detector_shape[1]}) as in the "
                f"fit, got {frames.shape}; bin or crop them to the same detector"
            )

    def decode_coefficients(
        self, z: Floats, angle: Floats, handedness: Floats | None = None
    ) -> NDArray[np.complex64]:
        """Expected coefficients (n, K) of latents (n, D), mirrored where handed below 0, turned by angles."""
        z, angle = np.asarray(z, np.float32), np.asarray(angle, np.float32)
        if z.ndim != 2 or z.shape[1] != self.latent_dim or angle.shape != (len(z),):
            raise ShapeError(
                f"decode: want z (n, {self.latent_dim}) and angle (n,), got {z.shape} and {angle.shape}; "
                "pass what encode returned"
            )
        hand = () if handedness is None else (np.asarray(handedness),)
        kept = np.asarray(self.vae.decode(self._raw(z), angle, *hand))
        return (kept if self.background is None else kept + self.background).astype(np.complex64)

    def decode(self, z: Floats, angle: Floats, handedness: Floats | None = None) -> NDArray[np.float32]:
        """Expected electrons (n, ky, kx) on the detector of the fit.

        Parameters
        ----------
        z, angle
            (n, latent_dim) and (n,), as `encode` gives them; rows with NaN give NaN.
        handedness
            (n,), where `encode` gives it: templates are mirrored (ky → -ky) where it is below 0.
        """
        kept = self.decode_coefficients(z, angle, handedness)
        return self._blockwise(kept, np.asarray(z), np.asarray(angle), None, handedness)

    def predict(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """Expected electrons (n, ky, kx) of patterns: the posterior mean over latents and angle.

        Parameters
        ----------
        frames
            Patterns (n, ky, kx) as stored in the file: noisy in, denoised out.
        """
        found = self.encode(frames)
        return self._blockwise(
            self._posterior_mean(frames), found.z, found.angle, found.angle_sd, found.handedness
        )

    def own_turn(self, z: Floats, angle: Floats, handedness: Floats | None = None) -> NDArray[np.float64]:
        """Turn of patterns against the templates as training left them, (n,) rad.

        The angle itself where its zero is free. It varies smoothly with the latents, so that patterns of like
        latents, turned back by it, lie on each other.
        """
        turn = np.asarray(angle, np.float64)
        if self.vae.zero is None:
            return turn
        known = np.isfinite(turn) & np.isfinite(z).all(axis=1)
        hand = None if handedness is None else np.asarray(handedness)[known]
        free = np.full(turn.shape, np.nan)
        free[known] = turn[known] - self.vae.zero_of(self._raw(np.asarray(z)[known]), hand)
        return free

    def with_angle_zero(self, name: AngleZeroName) -> Self:
        """The same model with another zero of the angle.

        Parameters
        ----------
        name
            "polar": a site's angle is the direction in which its order 1 points; "free": as training left it.

        Raises
        ------
        OptionError
            The group has few angles, or no coefficient of order 1 rises above the noise.
        """
        require_angle_zero(name, Group.from_name(self.vae.group))
        zero = find_angle_zero(self.basis) if name == "polar" else None
        if name == "polar" and zero is None:
            raise OptionError(
                "angle_zero: want a coefficient of order 1 for a polar zero, got none above the noise; keep "
                "free"
            )
        return dataclasses.replace(self, vae=self.vae.with_zero(zero))

    def hidden(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """Features of latents (n, D) that the read-out uses: (n, hidden)."""
        return np.asarray(self.vae.features(self._raw(np.asarray(z, np.float32))))

    def whitened_draw(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """What the patterns' own kept coefficients draw, noise included, whitened: (n, ky, kx)."""
        kept = self.coefficients(frames)
        parts = [self._deviation(kept[i : i + DRAW_BLOCK]) for i in range(0, len(kept), DRAW_BLOCK)]
        return np.concatenate(parts)

    def _posterior_mean(self, frames: NDArray[Any]) -> NDArray[np.complex64]:
        given = 0 if self.background is None else self.background
        return np.asarray(self.vae.predict(self.coefficients(frames) - given) + given, np.complex64)

    def _raw(self, z: NDArray[Any]) -> NDArray[np.float32]:
        """Latents in the order and with the signs of the network."""
        raw = np.empty(z.shape, np.float32)
        raw[:, list(self.latent_order)] = z * np.asarray(self.latent_sign, np.float32)
        return raw

    def _deviation(self, coefficients: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.float32]:
        drawing = _drawing(self.plan, self.basis)
        apart = np.asarray(coefficients, np.complex64) - drawing.at_mean
        return np.asarray(drawing.drawer.draw(_as_pairs(apart)) + drawing.mean_deviation, np.float32)

    def _blockwise(
        self,
        coefficients: NDArray[Any],
        z: NDArray[Any],
        angle: NDArray[Any],
        angle_sd: NDArray[Any] | None,
        handedness: NDArray[Any] | None,
    ) -> NDArray[np.float32]:
        patterns = np.empty((len(coefficients), *self.plan.detector_shape), np.float32)
        for start in range(0, len(coefficients), DRAW_BLOCK):
            rows = slice(start, start + DRAW_BLOCK)
            deviation = self._deviation(coefficients[rows])
            if self.readout is not None:
                spread = None if angle_sd is None else np.asarray(angle_sd[rows], np.float64)
                mirrored = None if handedness is None else np.asarray(handedness)[rows] < 0
                hand = None if handedness is None else handedness[rows]
                turn = self.own_turn(z[rows], angle[rows], hand)
                deviation += self.readout.draw(self.hidden(z[rows]), turn, spread, mirrored)
            patterns[rows] = self.plan.unwhiten(deviation)
        return patterns

    def draw(self, coefficients: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.float32]:
        """Patterns in electrons (n, ky, kx) that have these kept coefficients and are else the mean."""
        patterns = np.empty((len(coefficients), *self.plan.detector_shape), np.float32)
        for start in range(0, len(coefficients), DRAW_BLOCK):
            rows = slice(start, start + DRAW_BLOCK)
            patterns[rows] = self.plan.unwhiten(self._deviation(coefficients[rows]))
        return patterns

    def save(self, folder: Path) -> None:
        """Write the model into a folder."""
        write_trained(self, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        return read_trained(cls, folder)


def usable_frames(frames: NDArray[Any], pixel_valid: Bools) -> Bools:
    """Which patterns (n, ky, kx) can be analysed: some finite pixels, not all equal; shape (n,)."""
    inside = frames[:, pixel_valid]
    if frames.dtype.kind != "f":
        return np.asarray(inside.max(axis=1) > inside.min(axis=1))
    inside = np.where(np.isfinite(inside), inside, np.nan)
    return np.asarray(np.fmax.reduce(inside, axis=1) > np.fmin.reduce(inside, axis=1))


def join_encodings(parts: list[Encoding]) -> Encoding:
    """One encoding of several, in their order."""
    return Encoding(
        **{
            name: np.concatenate([np.asarray(getattr(part, name)) for part in parts])
            for name in _present(parts[0])
        }
    )


def _present(encoding: Encoding) -> list[str]:
    """Names of what an encoding holds."""
    names = [entry.name for entry in dataclasses.fields(encoding)]
    return [name for name in names if getattr(encoding, name) is not None]


def _nothing(n: int, latent_dim: int) -> Encoding:
    names = [entry.name for entry in dataclasses.fields(Encoding) if entry.name != "handedness"]
    return Encoding(
        **{
            name: np.full((n, latent_dim) if name in ("z", "z_sd") else (n,), np.nan, np.float32)
            for name in names
        }
    )


def _blocks(source: Scan | ArrayLike) -> Iterator[tuple[NDArray[Any], Bools]]:
    if isinstance(source, Scan):
        for block in source.iter_blocks(source.choose_block_size(BLOCK_BYTES)):
            yield block.frames, np.asarray(block.measured)
        return
    frames = np.asarray(source)
    require_stack("patterns", frames)
    yield frames, np.ones(len(frames), np.bool_)


def _as_pairs(values: NDArray[Any]) -> NDArray[Any]:
    return np.stack([values.real, values.imag], axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class _Drawing:
    """The map to pixels; the mean pattern as coefficients (K,) and as whitened deviation (ky, kx)."""

    drawer: BasisPatterns
    at_mean: NDArray[np.complex64]
    mean_deviation: NDArray[np.float32]


@lru_cache(maxsize=2)
def _drawing(plan: Plan, basis: SteerableBasis) -> _Drawing:
    """Made once for models that differ in what is learned only."""
    expected = root_moments(plan.clean_mean)[0] if plan.whitening == "sqrt" else plan.clean_mean
    deviation = (expected - plan.background).reshape(1, -1)[:, plan.analyser.gather]
    harmonics = plan.analyser(deviation)
    if plan.order0_mean is not None:
        harmonics[:, :, 0] -= plan.order0_mean
    return _Drawing(
        drawer=basis_patterns(plan.analyser, basis, weight=plan.weight),
        at_mean=basis.coefficients(harmonics)[0].astype(np.complex64),
        mean_deviation=((expected - plan.background) * plan.weight).astype(np.float32),
    )
