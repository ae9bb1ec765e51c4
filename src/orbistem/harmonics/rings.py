"""Where the rings lie and which angular orders each of them can carry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orbistem.errors import InputError, OptionError
from orbistem.scan.ellipse import Ellipse, ellipse_matrix

ORDERS_PER_RADIUS = np.pi / 2
"""Highest order per pixel of radius: a wavelength of four pixels along the ring. Together with a hat of
two pixels and a band-limited image this stays below the frequency where pixels alias."""

MIN_SPACING_PX = 0.1
"""Closer rings share every pixel; ever closer ones would only fill the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RingOptions:
    """How finely a pattern is cut into rings and orders.

    Parameters
    ----------
    spacing_px
        Distance of neighbouring rings, and half the foot of each hat function, in detector pixels.
    max_order
        Highest angular order kept anywhere.
    max_condition
        Orders of an incomplete ring are dropped, highest first, until the fit of the others is at
        least this well conditioned.
    gaps
        What a ring with missing pixels does: "drop" orders that it cannot tell from others, so that no order
        is faked at any dose; or "shrink", which keeps them and takes what hides in the gap for zero. That
        fakes a part of a wave as large as the gap's part of the ring, and is right where single patterns are
        mostly noise: there it costs far less than the noise that is kept out with whole orders. "auto" takes
        "shrink" for patterns with less signal than noise.
    min_coverage
        A ring of which less than this share of its weight is measured is not used at all.
    """

    spacing_px: float = 2.0
    max_order: int = 48
    max_condition: float = 10.0
    min_coverage: float = 0.5
    gaps: Literal["auto", "drop", "shrink"] = "auto"

    def __post_init__(self) -> None:
        if not MIN_SPACING_PX <= self.spacing_px < math.inf:
            raise OptionError(f"spacing_px: want {MIN_SPACING_PX} or more, got {self.spacing_px}")
        if self.max_order < 1:
            raise OptionError(f"max_order: want 1 or more, got {self.max_order}")
        if not self.max_condition >= 1:
            raise OptionError(f"max_condition: want 1 or more, got {self.max_condition}")
        if not 0 < self.min_coverage <= 1:
            raise OptionError(f"min_coverage: want a number in (0, 1], got {self.min_coverage}")
        if self.gaps not in ("auto", "drop", "shrink"):
            raise OptionError(f"gaps: want auto, drop or shrink, got {self.gaps!r}; choose one of them")


@dataclass(frozen=True, kw_only=True, slots=True)
class Polar:
    """Polar coordinates of detector pixels about the pattern centre.

    Parameters
    ----------
    radius_px
        Distance from the centre, shape (ky, kx), in units of the finer pixel pitch.
    azimuth_rad
        atan2(ky, kx), shape (ky, kx): grows from +kx to +ky.
    """

    radius_px: np.ndarray
    azimuth_rad: np.ndarray


def polar_coordinates(
    detector_shape: tuple[int, int],
    *,
    centre_px: tuple[float, float],
    pixel_scale: tuple[float, float] = (1.0, 1.0),
    ellipse: Ellipse = (1.0, 0.0),
) -> Polar:
    """Polar coordinates of every pixel.

    Parameters
    ----------
    detector_shape
        (ky, kx).
    centre_px
        Pattern centre (y, x); pixel centres have integer coordinates.
    pixel_scale
        Relative pitch of a pixel along y and x; only their ratio matters.
    ellipse
        Long over short axis of what should be a circle, and the azimuth of the long axis: radii and azimuths
        are those of the pattern before it was stretched.
    """
    scale = np.asarray(pixel_scale, dtype=np.float64)
    if scale.shape != (2,) or not np.all(np.isfinite(scale)) or np.any(scale == 0):
        raise OptionError(f"pixel_scale: want two numbers other than 0, got {pixel_scale}")
    scale = scale / np.min(np.abs(scale))
    y = (np.arange(detector_shape[0]) - centre_px[0])[:, None] * scale[0]
    x = (np.arange(detector_shape[1]) - centre_px[1])[None, :] * scale[1]
    y, x = np.broadcast_arrays(y, x)
    if not (np.isfinite(ellipse).all() and ellipse[0] > 0):
        raise OptionError(f"ellipse: want a ratio above 0 and a finite angle, got {ellipse}")
    if ellipse[0] != 1:
        back = np.linalg.inv(ellipse_matrix(ellipse))
        y, x = back[0, 0] * y + back[0, 1] * x, back[1, 0] * y + back[1, 1] * x
    return Polar(radius_px=np.hypot(y, x), azimuth_rad=np.arctan2(y, x))


def ring_radii(polar: Polar, *, options: RingOptions) -> np.ndarray:
    """Radii of the rings, shape (ring,), out to the farthest that fits into the frame.

    The outermost hat reaches one spacing further than its ring, so the last ring stays one spacing
    inside the circle that touches the nearest edge of the frame.
    """
    radius = polar.radius_px
    edges = (radius[0].min(), radius[-1].min(), radius[:, 0].min(), radius[:, -1].min())
    farthest = min(float(e) for e in edges) + 0.5
    n_rings = int(np.floor(farthest / options.spacing_px + 1e-9))
    if n_rings < 2:
        raise InputError(
            f"the pattern centre leaves a circle of only {farthest:.1f} px inside the frame; "
            "give another --centre Y,X or more of the detector"
        )
    return np.arange(n_rings) * options.spacing_px


def hat_weights(radius_px: np.ndarray, *, radii_px: np.ndarray, spacing_px: float) -> np.ndarray:
    """Hat functions h_j(r): shape (*radius_px.shape, ring). Neighbouring hats add up to one."""
    hats: np.ndarray = np.clip(1 - np.abs(radius_px[..., None] - radii_px) / spacing_px, 0.0, None)
    return hats


def highest_order(radius_px: float, *, max_order: int) -> int:
    """Highest order that the pixels of a ring resolve."""
    return int(min(max_order, np.floor(ORDERS_PER_RADIUS * radius_px)))
