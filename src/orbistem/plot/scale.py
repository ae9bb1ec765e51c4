"""From numbers to colours: limits that outliers cannot spoil, cyclic colours, opacity by certainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "MISSING_COLOUR",
    "Limits",
    "angle_colours",
    "certainty",
    "cyclic_colours",
    "even_limits",
    "nice_ticks",
    "ratio_limits",
    "signed_limits",
]

MISSING_COLOUR = "#b9bcc1"
"""Neutral grey of positions and pixels that were not measured; in no colour map that is used here."""

TAIL = 0.01  # share of the values at either end that may fall outside the colour bar
SLACK = 0.35  # the full range is shown where it exceeds the range between the tails by no more than this

Extend = Literal["neither", "min", "max", "both"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Ends of a colour bar, in the unit of the values, and on which sides values lie beyond them."""

    low: float
    high: float
    extend: Extend = "neither"


def even_limits(values: npt.ArrayLike) -> Limits:
    """Limits for a quantity without a natural zero.

    Parameters
    ----------
    values
        Any shape, any unit; NaN and infinite values are ignored.

    Returns
    -------
    Limits
        The full range, or the range without its tails where outliers would hide everything else.
    """
    finite = _finite(values)
    if finite.size == 0:
        return Limits(low=0.0, high=1.0)
    least, most = float(finite.min()), float(finite.max())
    low, high = (float(v) for v in np.quantile(finite, [TAIL, 1 - TAIL]))
    slack = SLACK * (high - low)
    low = least if least >= low - slack else low
    high = most if most <= high + slack else high
    extend = _extend(least < low, most > high)
    if not high > low:
        half = 0.5 * abs(low) or 0.5
        low, high = low - half, high + half
    return Limits(low=low, high=high, extend=extend)


def signed_limits(values: npt.ArrayLike, *, centre: float = 0.0) -> Limits:
    """Limits at equal distances from ``centre``, for a diverging colour map.

    Parameters
    ----------
    values
        Any shape, any unit; NaN and infinite values are ignored.
    centre
        The value that gets the neutral colour, in the unit of the values.
    """
    finite = _finite(values)
    reach = even_limits(np.abs(finite - centre)).high if finite.size else 1.0
    reach = reach if reach > 0 else 1.0
    low, high = centre - reach, centre + reach
    outside = finite.size and (finite.min() < low, finite.max() > high)
    return Limits(low=low, high=high, extend=_extend(*outside) if outside else "neither")


def ratio_limits(values: npt.ArrayLike, *, least: float = 1.25) -> Limits:
    """Limits (1/f, f) for a ratio whose neutral value is 1, as a reduced chi-square is.

    Parameters
    ----------
    values
        Any shape; NaN and values that are not positive are ignored.
    least
        Smallest factor f, so that mere noise about 1 is not blown up to full colour.
    """
    finite = _finite(values)
    finite = finite[finite > 0]
    if finite.size == 0:
        return Limits(low=1 / least, high=least)
    reach = max(even_limits(np.abs(np.log(finite))).high, float(np.log(least)))
    low, high = float(np.exp(-reach)), float(np.exp(reach))
    beyond = 1 + 1e-6
    extend = _extend(bool(finite.min() * beyond < low), bool(finite.max() > high * beyond))
    return Limits(low=low, high=high, extend=extend)


def nice_ticks(limits: Limits) -> list[float]:
    """Three to seven round numbers for a logarithmic colour bar about 1, its neutral value among them."""
    decades = range(-6, 7)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(np.arange(10, 100, 1) / 10)):
        ticks = [d * 10.0**e for e in decades for d in digits if limits.low <= d * 10.0**e <= limits.high]
        if 3 <= len(ticks) <= 7:
            return ticks
    below, above = np.round(limits.low + 0.005, 2), np.round(limits.high - 0.005, 2)
    return [float(below), 1.0, float(above)]


def cyclic_colours(phase_rad: npt.ArrayLike) -> Floats:
    """Colours of a circle without a seam.

    Hue runs once around per 2π at constant chroma in OKLab; lightness swings gently with it (light at
    yellow, darker at blue), so that the map also reads without full colour vision.

    Parameters
    ----------
    phase_rad
        Phase in radians, any shape.

    Returns
    -------
    numpy.ndarray
        sRGB in [0, 1], shape (*phase.shape, 3). NaN gives NaN.
    """
    hue = np.asarray(phase_rad, dtype=np.float64) + np.deg2rad(25.0)
    lightness = 0.715 + 0.095 * np.cos(hue - np.deg2rad(100.0))
    chroma = 0.116  # the most that sRGB shows at every hue of this circle
    return _srgb_from_oklab(lightness, chroma * np.cos(hue), chroma * np.sin(hue))


def certainty(angle_sd_rad: npt.ArrayLike, angle_order: npt.ArrayLike) -> Floats:
    """How well an angle is known: 1 exactly, 0 not at all.

    It is the mean resultant length exp(−(n·sd)²/2) of a wrapped normal distribution, once the angle is
    reduced by 2π/n, n the rotation order of the site. Order 0 (no preferred angle) gives 0.

    Parameters
    ----------
    angle_sd_rad
        Standard deviation of one peak, radians.
    angle_order
        Rotation order of the site, same shape.
    """
    sd = np.asarray(angle_sd_rad, dtype=np.float64)
    order = np.asarray(angle_order, dtype=np.float64)
    known = np.exp(-0.5 * (order * sd) ** 2)
    return np.where(np.isfinite(sd) & (order >= 1), known, 0.0)


def angle_colours(
    angle_rad: npt.ArrayLike,
    *,
    angle_sd_rad: npt.ArrayLike | None = None,
    angle_order: npt.ArrayLike = 1,
) -> Floats:
    """Colour and opacity of every angle.

    Parameters
    ----------
    angle_rad
        Angles in radians, any shape; NaN where not measured.
    angle_sd_rad
        Their standard deviations in radians, same shape; opaque where not given.
    angle_order
        Rotation orders n of the sites: angles that differ by 2π/n get one colour, 0 is transparent.

    Returns
    -------
    numpy.ndarray
        RGBA in [0, 1], shape (*angle.shape, 4); the opaque grey of missing data where the angle is NaN.
    """
    angle = np.asarray(angle_rad, dtype=np.float64)
    order = np.broadcast_to(np.asarray(angle_order, dtype=np.float64), angle.shape)
    sd = np.zeros(angle.shape) if angle_sd_rad is None else np.asarray(angle_sd_rad, dtype=np.float64)
    period = 2 * np.pi / np.maximum(np.nan_to_num(order, nan=1.0), 1.0)
    rgba = np.empty((*angle.shape, 4))
    rgba[..., :3] = cyclic_colours(np.mod(angle, period) / period * 2 * np.pi)
    rgba[..., 3] = certainty(sd, order)
    rgba[~np.isfinite(angle)] = _rgba(MISSING_COLOUR)
    return rgba


def _finite(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[np.isfinite(array)]


def _extend(below: bool, above: bool) -> Extend:
    if below:
        return "both" if above else "min"
    return "max" if above else "neither"


def _rgba(colour: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0


def _srgb_from_oklab(lightness: Floats, a: Floats, b: Floats) -> Floats:
    """OKLab (Ottosson 2020) to sRGB, clipped to the gamut; shapes (...) to (..., 3)."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
