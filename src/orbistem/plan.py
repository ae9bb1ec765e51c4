"""The frozen, ordered steps from stored counts to whitened harmonics; fit, transform and encode replay them.

counts → electrons: (counts - offset) / gain; missing pixels take their expected value
       → optionally, every pattern scaled to the same total
       → deviation from the azimuthal mean, linearly whitened or by the root
       → harmonics (ring, order), the mean of order 0 subtracted
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from orbistem.errors import InputError, OptionError, ShapeError, require_stack
from orbistem.harmonics.analyser import Analyser, make_analyser
from orbistem.harmonics.circular import CircularGrid, make_grid
from orbistem.harmonics.electrons import ElectronReader, reference_total
from orbistem.harmonics.noise import noise_covariance
from orbistem.harmonics.rings import RingOptions, polar_coordinates
from orbistem.harmonics.whitening import (
    ANSCOMBE_SHIFT,
    Whitening,
    azimuthal_mean,
    linear_weight,
    root,
    root_moments,
)

__all__ = ["Normalise", "Plan", "reference_total"]

Normalise = Literal["none", "total"]

CHUNK_VALUES = 2**20
"""Pixels worked on at once: 4 MB of float32 stay near the processor."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, weakref_slot=True)
class Plan:
    """Everything that turns a frame into whitened harmonics.

    Parameters
    ----------
    mean
        Mean pattern of the scan in electrons, shape (ky, kx); after normalisation where that is asked for.
        Values at invalid pixels do not matter.
    pixel_valid
        Bool, shape (ky, kx); False at dead, hot, masked or covered pixels.
    centre_px
        Pattern centre (y, x), pixel centres at integers.
    pixel_scale
        Relative pitch of a pixel along y and x.
    gain
        Counts per electron; None where the data are not counts: then 1 is used and `noise_scale` says how
        large the noise is.
    offset
        Counts without any electron.
    normalise
        "total": scale every pattern to `reference_total` electrons.
    reference_total
        Electrons over the valid pixels; see the function `reference_total`. None: the total of `mean`.
    whitening
        "poisson" (linear) or "sqrt".
    rings
        How finely the pattern is cut into rings and orders.
    noise_scale
        Variance of the noise over that of Poisson counts: 1, or from the bulk of the eigenvalues.
    autocorrelation
        Noise autocorrelation over pixels, shape (2 L + 1, 2 L + 1), 1 in the middle; None: independent.
    order0_mean
        Mean of order 0 over the scan, shape (ring,): the origin of the coefficients. None: not known yet.
    """

    mean: np.ndarray
    pixel_valid: np.ndarray
    centre_px: tuple[float, float]
    pixel_scale: tuple[float, float] = (1.0, 1.0)
    gain: float | None = None
    offset: float = 0.0
    normalise: Normalise = "none"
    reference_total: float | None = None
    whitening: Whitening = "poisson"
    rings: RingOptions = field(default_factory=RingOptions)
    noise_scale: float = 1.0
    autocorrelation: np.ndarray | None = None
    order0_mean: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.mean.ndim != 2:
            raise ShapeError(
                f"mean: want one pattern (ky, kx), got {self.mean.shape}; average the scan first"
            )
        if self.pixel_valid.shape != self.mean.shape or self.pixel_valid.dtype != np.bool_:
            raise ShapeError(
                f"pixel_valid: want bool {self.mean.shape}, got {self.pixel_valid.dtype} "
                f"{self.pixel_valid.shape}; give one flag per detector pixel"
            )
        if self.gain is not None and not (np.isfinite(self.gain) and self.gain > 0):
            raise OptionError(
                f"gain: want counts per electron above 0, got {self.gain}; leave it out if unknown"
            )
        if self.normalise not in ("none", "total"):
            raise OptionError(f"normalise: want none or total, got {self.normalise}; give one of them")
        if self.whitening not in ("poisson", "sqrt"):
            raise OptionError(f"whitening: want poisson or sqrt, got {self.whitening}; give one of them")
        if not self.noise_scale > 0:
            raise OptionError(f"noise_scale: want a number above 0, got {self.noise_scale}; use 1 for counts")
        if self.reference_total is not None and not self.reference_total > 0:
            raise OptionError(
                f"reference_total: want electrons above 0, got {self.reference_total}; or leave it out"
            )
        use = self.pixel_valid & np.isfinite(self.mean)
        if not use.any() or not float(self.mean[use].sum()) > 0:
            raise InputError(
                "want a mean pattern with signal, got none; check --dataset, the mask and the offset"
            )

    @property
    def detector_shape(self) -> tuple[int, int]:
        """(ky, kx)."""
        return int(self.mean.shape[0]), int(self.mean.shape[1])

    @property
    def grid(self) -> CircularGrid:
        """Rings and orders."""
        return _steps(self).grid

    @property
    def harmonics_shape(self) -> tuple[int, int]:
        """(ring, order)."""
        grid = _steps(self).grid
        return grid.n_rings, grid.n_orders

    @property
    def weight(self) -> np.ndarray:
        """Factor of each pixel before the harmonics, shape (ky, kx); zero where invalid."""
        return _steps(self).weight

    @property
    def analyser(self) -> Analyser:
        """The linear map from (rooted) electrons to whitened harmonics."""
        return _steps(self).analyser

    @property
    def clean_mean(self) -> np.ndarray:
        """`mean` with its azimuthal mean at invalid pixels, shape (ky, kx), float64, never negative."""
        return _steps(self).mean

    @property
    def background(self) -> np.ndarray:
        """Azimuthal mean of the mean pattern, electrons or roots, (ky, kx): origin of the harmonics."""
        return _steps(self).background

    @property
    def noise(self) -> np.ndarray:
        """Noise covariance of the harmonics per real degree of freedom, shape (order, ring, ring)."""
        return self.noise_scale * _steps(self).noise

    def harmonics(self, frames: np.ndarray) -> np.ndarray:
        """Whitened harmonics about the azimuthal mean (and about `order0_mean` if known).

        Parameters
        ----------
        frames
            Stored counts of any real dtype, shape (n, ky, kx).

        Returns
        -------
        Shape (n, ring, order), complex64; NaN for a frame without a single finite valid pixel.
        """
        frames = self._checked(frames)
        steps = _steps(self)
        grid = steps.grid
        result = np.empty((len(frames), grid.n_rings, grid.n_orders), np.complex64)
        for part in self._chunks(frames):
            got = steps.reader.read(frames[part], len(steps.mean_read))
            pixels = got.pixels
            if self.whitening == "sqrt":
                pixels = root(pixels)
                if got.missing is not None and got.level is not None:
                    rows = np.flatnonzero(got.missing.any(axis=1))
                    expected = root_moments(got.level[rows, None] * steps.mean_read)[0]
                    pixels[rows] = np.where(got.missing[rows], expected.astype(np.float32), pixels[rows])
            pixels -= steps.background_read
            result[part] = steps.analyser(pixels)
            if got.level is not None:
                result[part][np.isnan(got.level)] = np.nan + 1j * np.nan
        if self.order0_mean is not None:
            result[:, :, 0] -= self.order0_mean.astype(np.float32)
        return result

    def electrons(self, frames: np.ndarray) -> np.ndarray:
        """Electrons, missing and invalid pixels at their expected value, normalised where asked for.

        Parameters
        ----------
        frames
            Stored counts of any real dtype, shape (n, ky, kx).

        Returns
        -------
        Shape (n, ky, kx), float32. Negative values are kept.
        """
        frames = self._checked(frames)
        steps = _steps(self)
        result = np.empty(frames.shape, np.float32)
        flat = result.reshape(len(result), -1)
        visible = steps.reader.pixels
        hidden = np.setdiff1d(np.arange(flat.shape[1]), visible)
        shape = (steps.mean / steps.total).ravel()
        for part in self._chunks(frames):
            pixels = steps.reader.read(frames[part], len(visible)).pixels
            flat[part, visible] = pixels
            if len(hidden):
                flat[part, hidden] = pixels.sum(axis=1, dtype=np.float64)[:, None] * shape[hidden]
        return result

    def unwhiten(self, deviation: np.ndarray) -> np.ndarray:
        """Expected electrons of whitened deviations from `background`, shape (n, ky, kx) → (n, ky, kx)."""
        require_stack("deviation", deviation)
        steps = _steps(self)
        inverse = np.divide(1.0, steps.weight, out=np.zeros_like(steps.weight), where=steps.weight > 0)
        pattern = steps.background + deviation * inverse
        if self.whitening == "sqrt":
            rooted = np.maximum(pattern, 2 * np.sqrt(ANSCOMBE_SHIFT))
            pattern = (rooted / 2) ** 2 - ANSCOMBE_SHIFT
        return np.asarray(pattern, deviation.dtype)

    def with_noise_scale(self, noise_scale: float) -> Plan:
        """Return a copy that knows how large the noise is."""
        return _sharing_steps(self, replace(self, noise_scale=float(noise_scale)))

    def with_order0_mean(self, order0_mean: np.ndarray) -> Plan:
        """Return a copy that subtracts the scan mean of order 0, shape (ring,)."""
        if order0_mean.shape != (self.grid.n_rings,):
            raise ShapeError(
                f"order0_mean: want ({self.grid.n_rings},), got {order0_mean.shape}; one per ring"
            )
        return _sharing_steps(self, replace(self, order0_mean=np.asarray(order0_mean, np.float64)))

    def to_dict(self) -> dict[str, Any]:
        """All scalars, ready for TOML or JSON; what is unknown is left out."""
        scalars: dict[str, Any] = {
            "detector_shape": list(self.detector_shape),
            "centre_px": [float(c) for c in self.centre_px],
            "pixel_scale": [float(s) for s in self.pixel_scale],
            "gain": self.gain,
            "offset": float(self.offset),
            "normalise": self.normalise,
            "reference_total": self.reference_total,
            "whitening": self.whitening,
            "noise_scale": float(self.noise_scale),
            "rings": asdict(self.rings),
        }
        return {name: value for name, value in scalars.items() if value is not None}

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, by name; what is unknown is left out."""
        named = {
            "mean": np.asarray(self.mean, np.float64),
            "pixel_valid": self.pixel_valid,
            "autocorrelation": self.autocorrelation,
            "order0_mean": self.order0_mean,
        }
        return {name: np.ascontiguousarray(array) for name, array in named.items() if array is not None}

    @classmethod
    def from_dict(cls, scalars: dict[str, Any], arrays: dict[str, np.ndarray]) -> Plan:
        """Rebuild a plan from `to_dict` and `arrays`.

        Raises
        ------
        OptionError
            A name is unknown, or the arrays do not belong to the scalars.
        """
        known = dict(scalars)
        shape = tuple(known.pop("detector_shape", np.shape(arrays["mean"])))
        if shape != np.shape(arrays["mean"]):
            raise OptionError(
                f"plan: want a mean of shape {shape}, got {np.shape(arrays['mean'])}; fit again"
            )
        try:
            return cls(
                mean=np.asarray(arrays["mean"], np.float64),
                pixel_valid=np.asarray(arrays["pixel_valid"], np.bool_),
                centre_px=_pair(known.pop("centre_px")),
                pixel_scale=_pair(known.pop("pixel_scale", (1.0, 1.0))),
                rings=RingOptions(**known.pop("rings", {})),
                autocorrelation=arrays.get("autocorrelation"),
                order0_mean=arrays.get("order0_mean"),
                **known,
            )
        except (KeyError, TypeError) as error:
            raise OptionError(f"plan: unknown or missing entry ({error}); fit again") from error

    def _checked(self, frames: np.ndarray) -> np.ndarray:
        frames = np.asarray(frames)
        require_stack("frames", frames)
        if frames.shape[1:] != self.detector_shape:
            raise ShapeError(
                f"frames: want (n, {self.detector_shape[0]}, {self.detector_shape[1]}), got {frames.shape}; "
                "the plan was made for another detector"
            )
        return frames

    def _chunks(self, frames: np.ndarray) -> list[slice]:
        step = max(1, CHUNK_VALUES // int(np.prod(self.detector_shape)))
        return [slice(start, min(start + step, len(frames))) for start in range(0, len(frames), step)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Steps:
    """What follows from a plan and is worth keeping while it is used."""

    grid: CircularGrid
    mean: np.ndarray
    total: float
    weight: np.ndarray
    background: np.ndarray
    analyser: Analyser
    noise: np.ndarray
    reader: ElectronReader
    mean_read: np.ndarray
    background_read: np.ndarray


_KEPT: weakref.WeakKeyDictionary[Plan, _Steps] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def _steps(plan: Plan) -> _Steps:
    with _LOCK:
        steps = _KEPT.get(plan)
        if steps is None:
            steps = _KEPT[plan] = _make_steps(plan)
    return steps


def _sharing_steps(plan: Plan, new: Plan) -> Plan:
    """`new`, which differs in nothing that the steps depend on, with the steps that `plan` has made."""
    with _LOCK:
        steps = _KEPT.get(plan)
        if steps is not None:
            _KEPT[new] = steps
    return new


def _make_steps(plan: Plan) -> _Steps:
    shape = plan.detector_shape
    centre, scale = _pair(plan.centre_px), _pair(plan.pixel_scale)
    use = plan.pixel_valid & np.isfinite(plan.mean)
    polar = polar_coordinates(shape, centre_px=centre, pixel_scale=scale)
    grid = make_grid(shape, centre_px=centre, pixel_scale=scale, pixel_valid=use, options=plan.rings)
    profile = np.maximum(azimuthal_mean(plan.mean, polar, pixel_valid=use), 0)
    mean = np.where(use, np.maximum(np.where(use, plan.mean, 0), 0), profile)
    if plan.whitening == "poisson":
        weight = linear_weight(mean, polar, pixel_valid=use)
        background, variance = profile, mean
    else:
        weight = use.astype(np.float64)
        rooted, variance = root_moments(mean)
        background = azimuthal_mean(rooted, polar, pixel_valid=use)
    analyser = make_analyser(grid, weight=weight)
    floor = np.finfo(float).tiny
    order = np.concatenate([analyser.gather, np.setdiff1d(np.flatnonzero(use), analyser.gather)])
    total = float(mean[use].sum())
    reader = ElectronReader(
        pixels=order,
        mean=mean.ravel()[order],
        gain=1.0 if plan.gain is None else plan.gain,
        offset=plan.offset,
        total=None if plan.normalise == "none" else (plan.reference_total or total),
    )
    return _Steps(
        grid=grid,
        mean=mean,
        total=total,
        weight=weight,
        background=background,
        analyser=analyser,
        noise=noise_covariance(analyser, np.maximum(variance, floor), autocorrelation=plan.autocorrelation),
        reader=reader,
        mean_read=mean.ravel()[analyser.gather],
        background_read=background.ravel()[analyser.gather].astype(np.float32),
    )


def _pair(values: Any) -> tuple[float, float]:
    first, second = values
    return float(first), float(second)
