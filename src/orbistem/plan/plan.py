"""The frozen, ordered steps from stored counts to whitened harmonics; fit, transform and encode replay them.

counts → electrons: (counts - offset) / gain; missing pixels take their expected value
       → optionally, every pattern scaled to the same total
       → deviation from the azimuthal mean, linearly whitened or by the root
       → harmonics (ring, order), the mean of order 0 subtracted
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from orbistem.errors import InputError, OptionError, ShapeError, require_stack
from orbistem.harmonics.analyser import Analyser
from orbistem.harmonics.circular import CircularGrid
from orbistem.harmonics.electrons import reference_total
from orbistem.harmonics.rings import RingOptions
from orbistem.harmonics.wandering import common_orders
from orbistem.harmonics.whitening import Whitening, root_inverse
from orbistem.plan.made import kept, setup_of, sharing
from orbistem.plan.stored import arrays_of, keywords_of, scalars_of
from orbistem.prepare.descan import descan_shift

__all__ = ["Normalise", "Plan", "reference_total", "require_light"]

Normalise = Literal["none", "total"]

MAX_AWAY = 1.0
"""How far from the detector's edge a centre may lie, in widths of the detector."""
MAX_RATIO = 100.0
CHUNK_VALUES = 2**20
"""Pixels worked on at once: 4 MB of float32 stay near the processor."""


def require_light(mean: np.ndarray, use: np.ndarray) -> None:
    """Refuse a mean pattern (ky, kx) that holds no electrons in the pixels (ky, kx) that are used.

    Raises
    ------
    InputError
    """
    if not use.any() or not float(mean[use].sum()) > 0:
        raise InputError(
            "want a mean pattern with signal, got none; check --dataset, the mask and the offset"
        )


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
    spread_px
        Standard deviation of the Gaussian spread of one electron over pixels, where that is the cause; None:
        no spread, or not a Gaussian. See `harmonics.spread`.
    together
        Counts per electron over `gain`: above 1 where an electron lights several pixels, whose noise `gain`
        makes right one by one.
    order0_mean
        Mean of order 0 over the scan, shape (ring,): the origin of the coefficients. None: not known yet.
    ellipse
        Long over short axis of what should be a circle, and the azimuth of the long axis in radian.
    shift_px
        Where the pattern lies at each position of the scan, (position, 2), px from `centre_px`; then `mean`
        is the pattern at rest. None: it does not wander. See `harmonics.wandering`.
    descan_px
        The plane or quadratic behind `shift_px`, (term, 2): see `prepare.descan`.
    shift_sd_px
        Standard deviation of these shifts, along one axis.
    rest_profile
        Radial profile of the mean pattern in electrons, finer than the pixels; see `prepare.rest`.
    ring_orders
        Orders of each ring that can be read wherever the pattern lies; see `with_descan`.
    each_px
        The part of `shift_px` that was found for every single pattern, (position, 2); see
        `prepare.each_centre`. None: single patterns were not followed.
    each_of
        Checksum of the scan that `each_px` belongs to.
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
    spread_px: float | None = None
    together: float = 1.0
    order0_mean: np.ndarray | None = None
    ellipse: tuple[float, float] = (1.0, 0.0)
    shift_px: np.ndarray | None = None
    descan_px: np.ndarray | None = None
    shift_sd_px: float = 0.0
    rest_profile: np.ndarray | None = None
    ring_orders: tuple[int, ...] | None = None
    each_px: np.ndarray | None = None
    each_of: str | None = None

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
        self._require_place()
        if self.gain is not None and not (np.isfinite(self.gain) and self.gain > 0):
            raise OptionError(
                f"gain: want counts per electron above 0, got {self.gain}; leave it out if unknown"
            )
        if not (np.isfinite(self.together) and self.together > 0):
            raise OptionError(
                f"together: want a number above 0, got {self.together}; 1 for independent pixels"
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
        if (self.shift_px is None) != (self.rest_profile is None):
            raise OptionError(
                "rest_profile: want it together with shift_px, got one of them; use with_descan"
            )
        if self.shift_px is not None and (self.shift_px.ndim != 2 or self.shift_px.shape[1] != 2):
            raise ShapeError(f"shift_px: want (position, 2), got {self.shift_px.shape}; one row per position")
        require_light(self.mean, self.pixel_valid & np.isfinite(self.mean))

    def _require_place(self) -> None:
        """Refuse a geometry that no scan has: the number of rings, and so the memory, follows from it."""
        away = [max(-c, c - (n - 1)) / n for c, n in zip(self.centre_px, self.mean.shape, strict=True)]
        if not all(far <= MAX_AWAY for far in away):
            raise OptionError(
                f"centre_px: want a centre on the detector, got {self.centre_px}; give --centre"
            )
        y, x = (abs(scale) for scale in self.pixel_scale)
        for name, ratio in (("pixel_scale", y / x if x else 0.0), ("ellipse", self.ellipse[0])):
            if not 1 / MAX_RATIO <= ratio <= MAX_RATIO:
                raise OptionError(
                    f"{name}: want a ratio from {1 / MAX_RATIO:g} to {MAX_RATIO:g}, got {ratio:g}; correct it"
                )

    @property
    def detector_shape(self) -> tuple[int, int]:
        """(ky, kx)."""
        return int(self.mean.shape[0]), int(self.mean.shape[1])

    @property
    def counts_per_electron(self) -> float:
        """Counts that one electron leaves in all pixels together; 1 where the data are not counts."""
        return 1.0 if self.gain is None else self.gain * self.together

    @property
    def grid(self) -> CircularGrid:
        """Rings and orders."""
        return kept(self).steps.grid

    @property
    def harmonics_shape(self) -> tuple[int, int]:
        """(ring, order)."""
        grid = kept(self).steps.grid
        return grid.n_rings, grid.n_orders

    @property
    def weight(self) -> np.ndarray:
        """Factor of each pixel before the harmonics, shape (ky, kx); zero where invalid."""
        return kept(self).steps.weight

    @property
    def analyser(self) -> Analyser:
        """The linear map from (rooted) electrons to whitened harmonics."""
        return kept(self).steps.analyser

    @property
    def clean_mean(self) -> np.ndarray:
        """`mean` with its azimuthal mean at invalid pixels, shape (ky, kx), float64, never negative."""
        return kept(self).steps.mean

    @property
    def background(self) -> np.ndarray:
        """Azimuthal mean of the mean pattern, electrons or roots, (ky, kx): origin of the harmonics."""
        return kept(self).steps.background

    @property
    def noise(self) -> np.ndarray:
        """Noise covariance of the harmonics per real degree of freedom, shape (order, ring, ring)."""
        made = kept(self)
        if made.noise is None:
            if made.wandering is not None and self.shift_px is not None:
                made.noise = made.wandering.noise(self.shift_px, sd_px=self.shift_sd_px)
            else:
                made.noise = made.steps.noise
        assert made.noise is not None
        return np.asarray(self.noise_scale * made.noise)

    def harmonics(self, frames: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
        """Whitened harmonics about the azimuthal mean (and about `order0_mean` if known).

        Parameters
        ----------
        frames
            Stored counts of any real dtype, shape (n, ky, kx).
        positions
            Flat positions of the frames in the scan, shape (n,): where the pattern wanders, they say where it
            lies. None: all patterns lie at `centre_px`.

        Returns
        -------
        Shape (n, ring, order), complex64; NaN for a frame without a single finite valid pixel.
        """
        frames = self._checked(frames)
        made = kept(self)
        result = np.empty((len(frames), *self.harmonics_shape), np.complex64)
        for part in self._chunks(frames):
            if made.wandering is None or self.shift_px is None or positions is None:
                result[part] = made.steps.harmonics(frames[part])
            else:
                result[part] = made.wandering.harmonics(frames[part], self.shift_px[positions[part]])
        if self.order0_mean is not None:
            result[:, :, 0] -= self.order0_mean.astype(np.float32)
        return result

    def expected_harmonics(self, electrons: np.ndarray) -> np.ndarray:
        """What `harmonics` gives on the average over noise draws of patterns, (n, ring, order), complex64.

        A noise-free pattern is not read as counts: the mean root of counts is not the root of their mean.

        Parameters
        ----------
        electrons
            Expected electrons, shape (n, ky, kx), finite at valid pixels, scaled as the fitted patterns.
        """
        require_stack("electrons", electrons)
        result = np.empty((len(electrons), *self.harmonics_shape), np.complex64)
        for part in self._chunks(electrons):
            result[part] = kept(self).steps.of_expected(np.maximum(electrons[part], 0))
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
        steps = kept(self).steps
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
        steps = kept(self).steps
        inverse = np.divide(1.0, steps.weight, out=np.zeros_like(steps.weight), where=steps.weight > 0)
        pattern = steps.background + deviation * inverse
        if self.whitening == "sqrt":
            pattern = root_inverse(pattern)
        return np.asarray(pattern, deviation.dtype)

    def with_noise_scale(self, noise_scale: float) -> Plan:
        """Return a copy that knows how large the noise is."""
        return sharing(self, replace(self, noise_scale=float(noise_scale)))

    def with_order0_mean(self, order0_mean: np.ndarray) -> Plan:
        """Return a copy that subtracts the scan mean of order 0, shape (ring,)."""
        if order0_mean.shape != (self.grid.n_rings,):
            raise ShapeError(
                f"order0_mean: want ({self.grid.n_rings},), got {order0_mean.shape}; one per ring"
            )
        return sharing(self, replace(self, order0_mean=np.asarray(order0_mean, np.float64)))

    def with_descan(
        self,
        shift_px: np.ndarray,
        descan_px: np.ndarray,
        rest_profile: np.ndarray,
        *,
        shift_sd_px: float = 0.0,
        each_px: np.ndarray | None = None,
        each_of: str | None = None,
    ) -> Plan:
        """Return a copy for a pattern that wanders; `mean` must be the pattern at rest.

        Parameters
        ----------
        shift_px
            (position, 2); see `prepare.descan.descan_shift`.
        descan_px
            (term, 2): the model behind it.
        rest_profile
            Radial profile of the mean pattern in electrons.
        shift_sd_px
            How uncertain the shifts are, along one axis.
        each_px, each_of
            What is added to `shift_px` for every single pattern of the scan with this checksum.
        """
        shift_px = np.asarray(shift_px, np.float64) + (0.0 if each_px is None else each_px)
        moving = replace(
            self,
            shift_px=shift_px,
            descan_px=np.asarray(descan_px, np.float64),
            rest_profile=np.asarray(rest_profile, np.float64),
            shift_sd_px=float(shift_sd_px),
            each_px=each_px,
            each_of=each_of,
        )
        return replace(moving, ring_orders=common_orders(setup_of(moving, None), shift_px))

    def for_places(self, place: np.ndarray, *, of: str | None = None) -> Plan:
        """Return a plan for a scan with positions at these places, (n, 2); see `tiles.scan_coordinates`.

        `of` is the checksum of that scan: single patterns were followed in one scan only.
        """
        if self.descan_px is None:
            return self
        shift = descan_shift(self.descan_px, place)
        if self.each_px is not None:
            if of != self.each_of or len(shift) != len(self.each_px):
                return replace(self, shift_px=shift, each_px=None, each_of=None)
            shift = shift + self.each_px
        if self.shift_px is not None and shift.shape == self.shift_px.shape:
            return self if np.allclose(shift, self.shift_px, atol=1e-6) else replace(self, shift_px=shift)
        return replace(self, shift_px=shift)

    @property
    def centre_step_px(self) -> float:
        """Distance of the places of the centre for which maps are made; 0 where it does not wander."""
        wandering = kept(self).wandering
        return 0.0 if wandering is None else wandering.step_px

    def to_dict(self) -> dict[str, Any]:
        """All scalars, ready for TOML or JSON; what is unknown is left out."""
        return scalars_of(self)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, by name; what is unknown is left out."""
        return arrays_of(self)

    @classmethod
    def from_dict(cls, scalars: dict[str, Any], arrays: dict[str, np.ndarray]) -> Plan:
        """Rebuild a plan from `to_dict` and `arrays`.

        Raises
        ------
        OptionError
            A name is unknown, or the arrays do not belong to the scalars.
        """
        try:
            return cls(**keywords_of(scalars, arrays))
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
