"""The mean pattern at rest, sharp enough to be moved by a fraction of a pixel.

The rim of a bright disk is narrower than a pixel, and no interpolation between pixels can move it. But pixels
lie at all radii, and where the pattern wanders at ever new ones: so the mean over the azimuth is known far
finer than the pixels. The mean pattern is that radial profile, on a grid of a fraction of a pixel, and a
remainder, which is smooth and is moved by splines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbistem.prepare.registration import even_at_rest, move, seen
from orbistem.prepare.tiles import TileMeans
from orbistem.scan.ellipse import Ellipse, ellipse_matrix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Point = tuple[float, float]

PROFILE_STEP_PX = 0.25
"""Distance of the radii of a profile."""
KNOTS_PX = 0.5
"""Distance of the knots of the spline that is fitted to it."""
SHARPEN_STEPS = 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Geometry:
    """Where the pattern lies at rest, and how it is stretched.

    Attributes
    ----------
    centre_px, pixel_scale
        (y, x).
    ellipse
        See `orbistem.scan.ellipse`.
    """

    centre_px: Point
    pixel_scale: Point = (1.0, 1.0)
    ellipse: Ellipse = (1.0, 0.0)

    def radius_px(self, shape: tuple[int, ...], shift_px: Floats | Point = (0.0, 0.0)) -> Floats:
        """Distance of each pixel from the shifted centre before the pattern was stretched, (ky, kx)."""
        scale = np.abs(self.pixel_scale) / np.min(np.abs(self.pixel_scale))
        y = (np.arange(shape[0]) - self.centre_px[0] - shift_px[0])[:, None] * scale[0]
        x = (np.arange(shape[1]) - self.centre_px[1] - shift_px[1])[None, :] * scale[1]
        back = np.linalg.inv(ellipse_matrix(self.ellipse))
        return np.asarray(np.hypot(back[0, 0] * y + back[0, 1] * x, back[1, 0] * y + back[1, 1] * x))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PatternAtRest:
    """The mean pattern, wherever it lies.

    Attributes
    ----------
    geometry
        Where it lies at rest.
    profile
        Its radial profile at radii 0, `PROFILE_STEP_PX`, ...
    remainder
        (ky, kx) what the profile leaves, at rest.
    """

    geometry: Geometry
    profile: Floats
    remainder: Floats

    def at(self, shift_px: Floats | Point) -> Floats:
        """The mean pattern moved by a shift, (ky, kx)."""
        radius = self.geometry.radius_px(self.remainder.shape, shift_px)
        return drawn(self.profile, radius) + move(self.remainder, np.asarray(shift_px, np.float64))


def drawn(profile: Floats, radius_px: Floats) -> Floats:
    """The profile at these radii, by cubic interpolation of its fine grid."""
    from scipy.ndimage import map_coordinates

    at = radius_px.ravel() / PROFILE_STEP_PX
    return np.asarray(map_coordinates(profile, at[None], order=3, mode="nearest").reshape(radius_px.shape))


def pattern_at_rest(
    tiles: TileMeans, shift_px: Floats, valid: Bools, geometry: Geometry, *, blur: Floats | None = None
) -> tuple[PatternAtRest, Bools]:
    """Find the mean pattern from the means of parts of the scan.

    Parameters
    ----------
    tiles : TileMeans
    shift_px : (tile, 2)
        How far the pattern of each part lies from rest.
    valid : (ky, kx) bool
        Pixels to believe.
    geometry : Geometry
    blur : (tile, 2, 2), optional
        Covariance of the shifts within each part, px²: its mean pattern is blurred by so much.

    Returns
    -------
    PatternAtRest
    numpy.ndarray
        (ky, kx) bool: which pixels of it were measured somewhere.
    """
    weights = tiles.n.astype(np.float64)
    radius = np.stack([geometry.radius_px(valid.shape, by) for by in shift_px])
    known = np.isfinite(tiles.mean) & valid
    share = np.broadcast_to(weights[:, None, None], known.shape)[known]
    profile = _profile(radius[known], tiles.mean[known], share)
    around = [radius] if blur is None else _around(radius.shape, shift_px, blur, geometry)
    for _ in range(0 if blur is None else SHARPEN_STEPS):
        # the values without the blur, as far as the profile knows it (Landweber)
        sharper = tiles.mean + drawn(profile, radius) - _mean_of(profile, around)
        profile = _profile(radius[known], sharper[known], share)
    # the parts of the scan are blurred: what blurs the profile must not count as remainder
    left = np.where(known, tiles.mean - _mean_of(profile, around), np.nan)
    remainder = even_at_rest(left, weights, shift_px, valid)
    return PatternAtRest(geometry=geometry, profile=profile, remainder=remainder), seen(valid, shift_px)


def _mean_of(profile: Floats, radii: list[Floats]) -> Floats:
    """The profile at each of some sets of radii, averaged over these."""
    return np.asarray(np.mean([drawn(profile, one) for one in radii], axis=0))


def _around(shape: tuple[int, ...], shift_px: Floats, blur: Floats, geometry: Geometry) -> list[Floats]:
    """Radii (tile, ky, kx) at four shifts about each tile's that have the covariance of `blur`."""
    level, axes = np.linalg.eigh(blur)
    reach = np.sqrt(2 * np.maximum(level, 0.0))
    found = []
    for axis in (0, 1):
        for sign in (-1.0, 1.0):
            off = sign * reach[:, axis, None] * axes[:, :, axis]
            found.append(np.stack([geometry.radius_px(shape[1:], by) for by in shift_px + off]))
    return found


def _profile(radius: Floats, values: Floats, weights: Floats) -> Floats:
    """Least-squares cubic spline over the radius, on a fine grid; even about the centre."""
    from scipy.interpolate import make_lsq_spline

    # so many values that their means over narrow bins lose nothing
    fine = PROFILE_STEP_PX / 8
    index = (radius / fine).astype(np.int64)
    total = np.bincount(index, weights=weights)
    filled = np.flatnonzero(total > 0)
    place = np.bincount(index, weights=weights * radius)[filled] / total[filled]
    mean = np.bincount(index, weights=weights * values)[filled] / total[filled]
    r, v, w = np.r_[-place[::-1], place], np.r_[mean[::-1], mean], np.r_[total[filled][::-1], total[filled]]
    end = float(place[-1])
    grid = np.arange(0.0, end, KNOTS_PX)[1:]
    held = [bool(np.any((place > knot - KNOTS_PX) & (place <= knot))) for knot in grid]
    inner = grid[np.array(held)]
    inner = inner[inner < end - KNOTS_PX]
    knots = np.r_[[-end] * 4, -inner[::-1], inner, [end] * 4]
    spline = make_lsq_spline(r, v, knots, k=3, w=np.sqrt(w))
    radii = np.arange(0.0, end + PROFILE_STEP_PX, PROFILE_STEP_PX)
    return np.asarray(spline(np.minimum(radii, end)))
