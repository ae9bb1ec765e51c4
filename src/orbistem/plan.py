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
from orbistem.harmonics.noise import noise_covariance
from orbistem.harmonics.rings import Polar, RingOptions, polar_coordinates
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
MIN_TOTAL_SHARE = 0.05
"""Patterns with a total below this share of the reference are scaled as if they had it: otherwise the shot
noise of an almost empty pattern would be blown up beyond everything else."""


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
            pixels, missing, level = self._pixels(frames[part], steps)
            n_read = len(steps.analyser.gather)
            pixels, missing_read = pixels[:, :n_read], None if missing is None else missing[:, :n_read]
            if self.whitening == "sqrt":
                pixels = root(pixels)
                if missing_read is not None and level is not None:
                    rows = np.flatnonzero(missing_read.any(axis=1))
                    expected = root_moments(np.maximum(level[rows, None], 0) * steps.mean_read)[0]
                    pixels[rows] = np.where(missing_read[rows], expected.astype(np.float32), pixels[rows])
            pixels -= steps.background_read
            result[part] = steps.analyser(pixels)
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
        hidden = np.setdiff1d(np.arange(flat.shape[1]), steps.order)
        shape = (steps.mean / steps.total).ravel()
        for part in self._chunks(frames):
            pixels = self._pixels(frames[part], steps, everywhere=True)[0]
            flat[part, steps.order] = pixels
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
        return replace(self, noise_scale=float(noise_scale))

    def with_order0_mean(self, order0_mean: np.ndarray) -> Plan:
        """Return a copy that subtracts the scan mean of order 0, shape (ring,)."""
        if order0_mean.shape != (self.grid.n_rings,):
            raise ShapeError(
                f"order0_mean: want ({self.grid.n_rings},), got {order0_mean.shape}; one per ring"
            )
        return replace(self, order0_mean=np.asarray(order0_mean, np.float64))

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

    def _pixels(
        self, frames: np.ndarray, steps: _Steps, *, everywhere: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Electrons (n, pixel) float32 in the order of `steps.order`; which were missing; level."""
        total_asked = self.normalise == "total"
        flat = frames.reshape(len(frames), -1)
        n_read = len(steps.order) if everywhere or total_asked else len(steps.analyser.gather)
        pixels = self._scaled(flat[:, steps.order[:n_read]])
        missing = level = None
        checksum = pixels.sum(axis=1, dtype=np.float64) if total_asked else pixels.sum(axis=1)
        rows = np.flatnonzero(~np.isfinite(checksum))
        if len(rows):
            whole = self._scaled(flat[np.ix_(rows, steps.order)])
            gone = ~np.isfinite(whole)
            seen = np.where(gone, 0.0, steps.mean_ordered).sum(axis=1)
            got = np.where(gone, 0, whole).sum(axis=1, dtype=np.float64)
            share = np.divide(got, seen, out=np.full(len(rows), np.nan), where=seen > 0)
            missing = np.zeros(pixels.shape, bool)
            missing[rows] = gone[:, :n_read]
            fill = np.maximum(share, 0)[:, None] * steps.mean_ordered[:n_read]
            pixels[rows] = np.where(gone[:, :n_read], fill, whole[:, :n_read])
            level = np.ones(len(frames))
            level[rows] = share
            checksum[rows] = share * steps.total
        if total_asked:
            wanted = self.reference_total or steps.total
            factor = wanted / np.maximum(checksum, MIN_TOTAL_SHARE * wanted)
            pixels *= factor[:, None].astype(np.float32)
            if level is not None:
                level = level * factor
        return pixels, missing, level

    def _scaled(self, counts: np.ndarray) -> np.ndarray:
        """Counts to electrons, float32; subtracts a large offset before precision is lost."""
        if counts.dtype.itemsize > 4 or (self.offset and counts.dtype.kind != "f"):
            counts = counts - self.offset if self.offset else counts
            pixels = counts.astype(np.float32)
        else:
            pixels = counts.astype(np.float32)
            if self.offset:
                pixels -= np.float32(self.offset)
        if self.gain is not None and self.gain != 1:
            pixels *= np.float32(1 / self.gain)
        return pixels


def reference_total(totals: np.ndarray) -> float:
    """Total to which patterns are scaled so that shot noise keeps its variance on average.

    A pattern of total t scaled to T has noise variance T / t times that of Poisson counts, so T is the
    harmonic mean. Patterns far below the median (see `MIN_TOTAL_SHARE`) do not count.

    Parameters
    ----------
    totals
        Electrons of each pattern over the valid pixels; NaN where unusable.
    """
    good = totals[np.isfinite(totals) & (totals > 0)]
    if not len(good):
        raise InputError("want patterns with a total above 0, got none; leave out --normalise total")
    good = good[good > MIN_TOTAL_SHARE * np.median(good)]
    return float(1 / np.mean(1 / good))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Steps:
    """What follows from a plan and is worth keeping while it is used."""

    polar: Polar
    grid: CircularGrid
    mean: np.ndarray
    total: float
    weight: np.ndarray
    background: np.ndarray
    analyser: Analyser
    noise: np.ndarray
    order: np.ndarray
    mean_ordered: np.ndarray
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
    return _Steps(
        polar=polar,
        grid=grid,
        mean=mean,
        total=float(mean[use].sum()),
        weight=weight,
        background=background,
        analyser=analyser,
        noise=noise_covariance(analyser, np.maximum(variance, floor), autocorrelation=plan.autocorrelation),
        order=order,
        mean_ordered=mean.ravel()[order],
        mean_read=mean.ravel()[analyser.gather],
        background_read=background.ravel()[analyser.gather].astype(np.float32),
    )


def _pair(values: Any) -> tuple[float, float]:
    first, second = values
    return float(first), float(second)
