"""Harmonics about a centre that wanders over the detector (descan).

The rings must be laid about the pattern, and the pattern lies elsewhere at each position. Two things make
that cheap and keep the noise exactly known. The map to harmonics is made for a few places of the centre, a
fraction of a pixel apart, and every pattern is read with the nearest one: nothing is interpolated. What the
remaining fraction of a pixel does to the mean pattern, which is most of what it does at all, is taken off:
it is a number, not data,

    c = B (s - f(d)) + c₀,

B the map of the nearest place, f(d) the mean pattern where it lies, B f(d) a quadratic of the fraction, and
c₀ the harmonics of the mean pattern at rest. What is left is what the fraction does to the deviation from
the mean.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from orbistem.harmonics.steps import Setup, Steps, make_steps
from orbistem.prepare.rest import Geometry, PatternAtRest, drawn

__all__ = ["Wandering", "choose_step", "common_orders"]

FINEST_STEP_PX = 0.25
PIXELS_PER_STEP = 256
"""Larger frames are read in coarser steps: their features are larger, too."""
MAX_PLACES = 80
KEPT_BYTES = 384 * 2**20
"""Matrices kept; the others are made again when they are needed."""
NOISE_PLACES = 12
"""The noise covariance is the mean over so many places of the centre."""

Key = tuple[int, int]


def choose_step(shift_px: np.ndarray, detector_shape: tuple[int, int]) -> float:
    """Distance of neighbouring places of the centre, px, so that there are not too many of them.

    Parameters
    ----------
    shift_px
        (position, 2).
    detector_shape
        (ky, kx).
    """
    step = max(FINEST_STEP_PX, max(detector_shape) / PIXELS_PER_STEP)
    for _ in range(64):
        if len(np.unique(np.rint(shift_px / step), axis=0)) <= MAX_PLACES:
            break
        step *= 1.1
    return float(step)


def common_orders(setup: Setup, shift_px: np.ndarray) -> tuple[int, ...]:
    """Orders that each ring can carry wherever the centre lies, judged at the ends of its way.

    Parameters
    ----------
    setup
        Without `ring_orders`.
    shift_px
        (position, 2).
    """
    from orbistem.harmonics.circular import make_grid

    places = np.concatenate([shift_px[_corners(shift_px)], np.zeros((1, 2))])
    found: list[tuple[int, ...]] = []
    for by in np.unique(places, axis=0):
        grid = make_grid(
            (int(setup.mean.shape[0]), int(setup.mean.shape[1])),
            centre_px=(setup.centre_px[0] + float(by[0]), setup.centre_px[1] + float(by[1])),
            pixel_scale=setup.pixel_scale,
            ellipse=setup.ellipse,
            pixel_valid=setup.pixel_valid,
            options=setup.rings,
        )
        found.append(tuple(ring.n_orders for ring in grid.rings))
    n_rings = min(len(one) for one in found)
    return tuple(min(one[j] for one in found) for j in range(n_rings))


@dataclass(slots=True, eq=False)
class Wandering:
    """The maps of a setup for all places of its centre, made when they are first needed.

    Parameters
    ----------
    setup
        At rest.
    still
        Its steps without a shift.
    step_px
        Distance of neighbouring places.
    profile
        Radial profile of the mean pattern, finer than the pixels; see `prepare.rest`.
    """

    setup: Setup
    still: Steps
    step_px: float
    profile: np.ndarray
    _kept: OrderedDict[Key, tuple[Steps, np.ndarray]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rest: PatternAtRest | None = None

    def harmonics(self, frames: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
        """Harmonics (n, ring, order), complex64, of stored frames whose patterns are shifted by (n, 2) px."""
        keys = np.rint(shift_px / self.step_px).astype(int)
        rest = shift_px - keys * self.step_px
        grid = self.still.grid
        result = np.empty((len(frames), grid.n_rings, grid.n_orders), np.complex64)
        places, of_place = np.unique(keys, axis=0, return_inverse=True)
        for i, place in enumerate(places):
            rows = np.flatnonzero(of_place.reshape(-1) == i)
            steps, moved = self._place((int(place[0]), int(place[1])))
            off = np.tensordot(_powers(rest[rows]), moved, axes=1)
            result[rows] = steps.harmonics(frames[rows]) - off
        return result

    def mean_at(self, shift_px: tuple[float, float] | np.ndarray) -> np.ndarray:
        """The mean pattern moved by a shift, expected electrons (ky, kx)."""
        if self._rest is None:
            setup = self.setup
            geometry = Geometry(
                centre_px=setup.centre_px, pixel_scale=setup.pixel_scale, ellipse=setup.ellipse
            )
            remainder = self.still.mean - drawn(self.profile, geometry.radius_px(self.still.mean.shape))
            self._rest = PatternAtRest(geometry=geometry, profile=self.profile, remainder=remainder)
        return np.maximum(self._rest.at((float(shift_px[0]), float(shift_px[1]))), 0.0)

    def noise(self, shift_px: np.ndarray, *, sd_px: float = 0.0) -> np.ndarray:
        """Noise covariance (order, ring, ring), the mean over positions with these shifts (n, 2).

        Shifts that are uncertain by `sd_px` along each axis leave sd · grad f of the mean pattern f behind.
        """
        keys, counts = np.unique(np.rint(shift_px / self.step_px), axis=0, return_counts=True)
        if len(keys) > NOISE_PLACES:  # evenly spread among the sorted places, each for those around it
            chosen = np.rint(np.linspace(0, len(keys) - 1, NOISE_PLACES)).astype(int)
            nearest = np.argmin(((keys[:, None] - keys[None, chosen]) ** 2).sum(axis=2), axis=1)
            counts = np.bincount(nearest, weights=counts, minlength=len(chosen))
            keys = keys[chosen]
        total = np.zeros((self.still.grid.n_orders, self.still.grid.n_rings, self.still.grid.n_rings))
        for key, count in zip(keys, counts, strict=True):
            if count:
                by = (float(key[0]) * self.step_px, float(key[1]) * self.step_px)
                steps = make_steps(self.setup, mean=self.mean_at(by), shift_px=by, like=self.still)
                assert steps.noise is not None
                total += count * steps.noise
        return np.asarray(total / counts.sum() + self._misplaced(sd_px))

    def _misplaced(self, sd_px: float) -> np.ndarray:
        """What uncertain shifts add to the noise covariance."""
        h = self.step_px / 2
        off = h * np.array([(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
        there = self.still.of_expected(np.stack([self.mean_at(one) for one in off]))
        slope = sd_px * (there[::2] - there[1::2]) / (2 * h)
        found: np.ndarray = np.einsum("ajm,akm->mjk", slope, slope.conj()).real
        found[1:] /= 2
        return found

    def _place(self, key: Key) -> tuple[Steps, np.ndarray]:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            by = (key[0] * self.step_px, key[1] * self.step_px)
            steps = make_steps(
                self.setup, mean=self.mean_at(by), shift_px=by, like=self.still, with_noise=False
            )
            made = (steps, self._moved(steps, by))
            size = sum(m.nbytes for m in steps.analyser.matrices_float32) * 3  # beside them, double precision
            self._kept[key] = made
            self._bytes += size
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                _, (old, _) = self._kept.popitem(last=False)
                self._bytes -= sum(m.nbytes for m in old.analyser.matrices_float32) * 3
            return made

    def _moved(self, steps: Steps, by: tuple[float, float]) -> np.ndarray:
        """Coefficients (6, ring, order) of the quadratic B f(d) - c₀; see `_powers`."""
        h = self.step_px / 2
        off = np.array([(y, x) for y in (-h, 0.0, h) for x in (-h, 0.0, h)])
        there = steps.of_expected(np.stack([self.mean_at(np.asarray(by) + one) for one in off]))
        at_rest = self.still.of_expected(self.still.mean[None])
        difference = (there - at_rest).reshape(len(off), -1)
        found = np.linalg.lstsq(_powers(off), difference, rcond=None)[0]
        return np.asarray(found.reshape(6, *there.shape[1:]))


def _powers(d: np.ndarray) -> np.ndarray:
    """1, y, x, y², yx, x² of shifts (n, 2): shape (n, 6)."""
    y, x = d.T
    return np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], axis=1)


def _corners(shift_px: np.ndarray) -> np.ndarray:
    """Indices of the farthest shifts in eight directions."""
    angle = np.pi / 4 * np.arange(8)
    along = shift_px @ np.stack([np.sin(angle), np.cos(angle)])
    return np.unique(np.argmax(along, axis=0))
