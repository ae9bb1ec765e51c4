"""What follows from a mean pattern, a mask and a centre: everything between stored counts and harmonics.

`Setup` says what is given; `Steps` is made of it once and kept. Where the pattern wanders over the detector
(descan) there is one `Steps` for each of a few places of the centre, see `wandering`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.harmonics.analyser import Analyser, make_analyser
from orbistem.harmonics.circular import CircularGrid, make_grid
from orbistem.harmonics.electrons import ElectronReader
from orbistem.harmonics.noise import noise_covariance
from orbistem.harmonics.rings import Polar, RingOptions, polar_coordinates
from orbistem.harmonics.whitening import Whitening, azimuthal_mean, linear_weight, root, root_moments

__all__ = ["Setup", "Steps", "make_steps"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setup:
    """What is given; names as in `orbistem.plan.Plan`.

    `total` is the number of electrons to which patterns are scaled, None for as they are; `moves` says that
    `mean` is the pattern at rest, which is also known where the detector is blind.
    """

    mean: np.ndarray
    pixel_valid: np.ndarray
    centre_px: tuple[float, float]
    pixel_scale: tuple[float, float]
    ellipse: tuple[float, float]
    rings: RingOptions
    whitening: Whitening
    gain: float
    offset: float
    normalise: bool
    reference_total: float | None
    autocorrelation: np.ndarray | None
    spread_px: float | None
    ring_orders: tuple[int, ...] | None
    moves: bool

    def polar(self, shift_px: tuple[float, float] = (0.0, 0.0)) -> Polar:
        """Radii and azimuths about the shifted centre."""
        return polar_coordinates(
            (int(self.mean.shape[0]), int(self.mean.shape[1])),
            centre_px=(self.centre_px[0] + shift_px[0], self.centre_px[1] + shift_px[1]),
            pixel_scale=self.pixel_scale,
            ellipse=self.ellipse,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Steps:
    """What follows from a setup.

    Attributes
    ----------
    grid, analyser
        Rings and orders; the map from (rooted) electrons to harmonics.
    mean
        Expected electrons, (ky, kx), at all pixels.
    total
        Their sum over the valid pixels.
    weight, background
        Of each pixel, (ky, kx).
    noise
        (order, ring, ring); None where it was not wanted.
    reader, mean_read, background_read
        The pixels in the order in which they are read.
    """

    grid: CircularGrid
    mean: np.ndarray
    total: float
    weight: np.ndarray
    background: np.ndarray
    analyser: Analyser
    variance: np.ndarray
    noise: np.ndarray | None
    reader: ElectronReader
    mean_read: np.ndarray
    background_read: np.ndarray
    whitening: Whitening

    def harmonics(self, frames: np.ndarray) -> np.ndarray:
        """Harmonics (n, ring, order), complex64, of stored frames (n, ky, kx) about `background`."""
        got = self.reader.read(frames, len(self.mean_read))
        pixels = got.pixels
        if self.whitening == "sqrt":
            pixels = root(pixels)
            if got.missing is not None and got.level is not None:
                rows = np.flatnonzero(got.missing.any(axis=1))
                expected = root_moments(got.level[rows, None] * self.mean_read)[0]
                pixels[rows] = np.where(got.missing[rows], expected.astype(np.float32), pixels[rows])
        pixels -= self.background_read
        result = self.analyser(pixels)
        if got.level is not None:
            result[np.isnan(got.level)] = np.nan + 1j * np.nan
        return result

    def of_expected(self, mean_electrons: np.ndarray) -> np.ndarray:
        """Harmonics (n, ring, order), complex128, of expected electrons (n, ky, kx)."""
        pixels = mean_electrons.reshape(len(mean_electrons), -1)[:, self.analyser.gather]
        if self.whitening == "sqrt":
            pixels = root_moments(pixels)[0]
        return self.analyser(pixels - self.background.ravel()[self.analyser.gather])


def make_steps(
    setup: Setup,
    *,
    mean: np.ndarray | None = None,
    shift_px: tuple[float, float] = (0.0, 0.0),
    like: Steps | None = None,
    with_noise: bool = True,
) -> Steps:
    """Make the steps of a setup.

    Parameters
    ----------
    setup
        What is given.
    mean
        Expected electrons (ky, kx) where the pattern is shifted; by default the setup's.
    shift_px
        How far the pattern lies from `setup.centre_px`.
    like
        The steps without a shift: rings, orders and scales of the harmonics are taken from them.
    with_noise
        Whether the noise covariance is wanted; it costs time where pixels are correlated.
    """
    mean = setup.mean if mean is None else mean
    shape = (int(mean.shape[0]), int(mean.shape[1]))
    use = setup.pixel_valid & np.isfinite(mean)
    known = np.isfinite(mean) if setup.moves else use
    polar = setup.polar(shift_px)
    centre = (setup.centre_px[0] + shift_px[0], setup.centre_px[1] + shift_px[1])
    grid = make_grid(
        shape,
        centre_px=centre,
        pixel_scale=setup.pixel_scale,
        ellipse=setup.ellipse,
        pixel_valid=use,
        options=setup.rings,
        ring_orders=setup.ring_orders,
        like=None if like is None else like.grid,
    )
    profile = np.maximum(azimuthal_mean(mean, polar, pixel_valid=known), 0)
    mean = np.where(known, np.maximum(np.where(known, mean, 0), 0), profile)
    if setup.whitening == "poisson":
        weight = linear_weight(mean, polar, pixel_valid=known) * use
        background, variance = profile, mean
    else:
        weight = use.astype(np.float64)
        rooted, variance = root_moments(mean)
        background = azimuthal_mean(rooted, polar, pixel_valid=known)
    analyser = make_analyser(grid, weight=weight)
    variance = np.maximum(variance, np.finfo(float).tiny)
    order = np.concatenate([analyser.gather, np.setdiff1d(np.flatnonzero(use), analyser.gather)])
    total = float(mean[use].sum())
    wanted = setup.reference_total or (total if like is None else like.total)
    if like is not None:  # another part of the pattern may lie on blind pixels
        wanted *= total / like.total
    reader = ElectronReader(
        pixels=order,
        mean=mean.ravel()[order],
        gain=setup.gain,
        offset=setup.offset,
        total=wanted if setup.normalise else None,
    )
    noise = None
    if with_noise:
        noise = noise_covariance(
            analyser,
            variance,
            autocorrelation=setup.autocorrelation,
            spread_px=setup.spread_px,
            mean=mean,
        )
    return Steps(
        grid=grid,
        mean=mean,
        total=total,
        weight=weight,
        background=background,
        analyser=analyser,
        variance=variance,
        noise=noise,
        reader=reader,
        mean_read=mean.ravel()[analyser.gather],
        background_read=background.ravel()[analyser.gather].astype(np.float32),
        whitening=setup.whitening,
    )
