"""Single diffraction patterns: intensity, centre, mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

import numpy as np
import numpy.typing as npt

from orbistem.plot.maps import plain_text, style_axes
from orbistem.plot.scale import MISSING_COLOUR, Limits, even_limits, signed_limits

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.image import AxesImage

__all__ = [
    "FAULTS",
    "PatternScale",
    "centre_cross",
    "fault_overlay",
    "mask_overlay",
    "outline",
    "pattern",
    "pattern_norm",
]

PatternScale = Literal["linear", "root", "log", "signed"]
Floats = npt.NDArray[np.float64]

LOG_DECADES = 4.0  # a logarithmic scale reaches this far below its top, at most
MASK_COLOUR = "#e4572e"
TICK_ROOM = 0.09  # between ticks of a colour bar, over its length
UNCERTAINTY_COLOUR = "#46d6e0"
FAULTS: dict[str, tuple[str, str]] = {
    "masked": ("grey", "#a8adb5"),
    "hot": ("cyan", "#19e3ff"),
    "dead": ("green", "#2ecc57"),
    "never finite": ("white", "#ffffff"),
    "saturated": ("magenta", "#ff4fd8"),
    "beam stop": ("blue", "#4f7ff0"),
}
"""Why a pixel is not used, the name of its colour, and the colour, none of which patterns have: n in a map of
faults is the n-th of these, 0 a good pixel."""


def pattern(
    ax: Axes,
    intensity: npt.ArrayLike,
    *,
    scale: PatternScale = "root",
    valid: npt.ArrayLike | None = None,
    limits: Limits | None = None,
    pixel_scale: tuple[float, float] = (1.0, 1.0),
    centre_px: tuple[float, float] | None = None,
    unit: str = "px",
    title: str = "",
    frame: bool = True,
    colour_bar: bool = False,
    bar_label: str = "electrons",
) -> AxesImage:
    """Draw one pattern, axes measured from its centre where that is given.

    Parameters
    ----------
    ax
        Where to draw.
    intensity
        Shape (ky, kx); NaN is grey.
    scale
        "linear", "root" (square root: weak features beside strong ones), "log", or "signed" for a difference
        (diverging colours about 0).
    valid
        Shape (ky, kx), bool; pixels that are not valid do not count for the limits. Draw them with
        `mask_overlay`.
    limits
        Ends of the scale; robust against outliers where not given.
    pixel_scale
        Size of a pixel along ky and kx, in ``unit``.
    centre_px
        (ky, kx) of the centre in pixels, the middle of the first pixel being 0.
    unit
        Unit of ``pixel_scale``.
    title
        Text above.
    frame
        Whether axes with units are drawn.
    colour_bar
        Whether to draw one, labelled ``bar_label``.
    bar_label
        Quantity and unit of the intensity.
    """
    import matplotlib as mpl

    image = np.array(intensity, dtype=np.float64)
    if valid is not None:
        image[~np.asarray(valid, dtype=bool)] = np.nan
    shades = mpl.colormaps["RdBu_r" if scale == "signed" else "inferno"].with_extremes(bad=MISSING_COLOUR)
    middle = centre_px or (0.0, 0.0)
    extent = (
        (-0.5 - middle[1]) * pixel_scale[1],
        (image.shape[1] - 0.5 - middle[1]) * pixel_scale[1],
        (image.shape[0] - 0.5 - middle[0]) * pixel_scale[0],
        (-0.5 - middle[0]) * pixel_scale[0],
    )
    norm = pattern_norm(image, scale=scale, limits=limits)
    masked = np.ma.masked_invalid(image)
    drawn = ax.imshow(masked, cmap=shades, norm=norm, extent=extent, interpolation="nearest")
    ax.set_title(plain_text(title))
    if frame:
        shown = plain_text(unit)
        ax.set_xlabel(f"kx ({shown})")
        ax.set_ylabel(f"ky ({shown})")
    else:
        ax.set_xticks([])
        ax.set_yticks([])
    style_axes(ax)
    if colour_bar:
        bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.03, 0.0, 0.045, 1.0)))
        bar.outline.set_linewidth(0.4)
        style_axes(bar.ax)
        if scale == "root":
            bar.set_ticks(_spaced_ticks(norm))
        bar.ax.set_ylabel(plain_text(bar_label), fontsize=8)
    return drawn


def centre_cross(
    ax: Axes,
    *,
    centre: tuple[float, float] = (0.0, 0.0),
    centre_sd: tuple[float, float] | None = None,
    reach: float,
) -> list[Artist]:
    """Mark a pattern's centre, and its uncertainty by an ellipse of two standard deviations.

    Parameters
    ----------
    ax
        Axes of a `pattern`.
    centre, centre_sd
        (ky, kx), in the unit of the axes. A pattern drawn with ``centre_px`` has its centre at (0, 0).
    reach
        Half the length of the cross, in the unit of the axes.
    """
    from matplotlib.patches import Ellipse
    from matplotlib.patheffects import withStroke

    y, x = centre
    outline = [withStroke(linewidth=2.6, foreground="black")]
    across = ax.plot([x - reach, x + reach], [y, y], color="white", linewidth=1.0, path_effects=outline)
    down = ax.plot([x, x], [y - reach, y + reach], color="white", linewidth=1.0, path_effects=outline)
    artists: list[Artist] = [*across, *down]
    if centre_sd is not None and all(np.isfinite(centre_sd)):
        size = (4 * centre_sd[1], 4 * centre_sd[0])
        ellipse = Ellipse((x, y), *size, fill=False, edgecolor=UNCERTAINTY_COLOUR, linewidth=1.1)
        artists.append(ax.add_patch(ellipse))
    return artists


def mask_overlay(ax: Axes, valid: npt.ArrayLike, *, drawn: AxesImage) -> AxesImage:
    """Colour the pixels that are not used.

    Parameters
    ----------
    ax
        Axes of a `pattern`.
    valid
        Shape (ky, kx), bool: False at masked pixels.
    drawn
        The image of that pattern, whose extent the overlay takes.
    """
    from matplotlib.colors import to_rgb

    bad = ~np.asarray(valid, dtype=bool)
    rgba = np.zeros((*bad.shape, 4))
    rgba[..., :3] = to_rgb(MASK_COLOUR)
    rgba[..., 3] = 0.75 * bad
    return ax.imshow(rgba, extent=drawn.get_extent(), interpolation="nearest")


def fault_overlay(ax: Axes, fault: npt.ArrayLike, *, drawn: AxesImage) -> AxesImage:
    """Colour the pixels that are not used, each kind in its own colour of `FAULTS`.

    Parameters
    ----------
    ax
        Axes of a `pattern`.
    fault
        Shape (ky, kx), integer: 0 for pixels in use, else the number of a kind in `FAULTS`, from 1 on.
    drawn
        The image of that pattern, whose extent the overlay takes.
    """
    from matplotlib.colors import to_rgb

    kind = np.asarray(fault)
    rgba = np.zeros((*kind.shape, 4))
    for number, (_, colour) in enumerate(FAULTS.values(), start=1):
        rgba[kind == number] = (*to_rgb(colour), 0.85)
    return ax.imshow(rgba, extent=drawn.get_extent(), interpolation="nearest")


def outline(ax: Axes, edge: npt.ArrayLike) -> list[Artist]:
    """Draw a closed dashed line through (n, 2) points (ky, kx), in the unit of the axes; the view stays."""
    from matplotlib.patheffects import withStroke

    points = np.asarray(edge, dtype=np.float64)
    closed = np.concatenate([points, points[:1]])
    view = ax.get_xlim(), ax.get_ylim()
    dark = [withStroke(linewidth=2.4, foreground="black")]
    lines = ax.plot(
        closed[:, 1], closed[:, 0], color="white", linewidth=1.0, linestyle=(0, (4, 2)), path_effects=dark
    )
    ax.set_xlim(view[0])
    ax.set_ylim(view[1])
    return list(lines)


def pattern_norm(image: Floats, *, scale: PatternScale, limits: Limits | None = None) -> Normalize:
    """From intensities to [0, 1] of the colour map; NaN in ``image`` is ignored."""
    from matplotlib.colors import LogNorm, Normalize, PowerNorm

    shown = limits or (signed_limits(image) if scale == "signed" else even_limits(image))
    match scale:
        case "linear" | "signed":
            return Normalize(vmin=shown.low, vmax=shown.high)
        case "root":
            return PowerNorm(0.5, vmin=min(max(shown.low, 0.0), shown.high), vmax=shown.high, clip=True)
        case "log":
            top = shown.high if shown.high > 0 else 1.0
            positive = image[np.isfinite(image) & (image > 0)]
            least = float(positive.min()) if positive.size else top / 10
            low = min(max(least, top * 10.0**-LOG_DECADES), top / 1.01)
            return LogNorm(vmin=low, vmax=top, clip=True)
        case _:
            assert_never(scale)


def _spaced_ticks(norm: Normalize) -> list[float]:
    """Round numbers that a scale does not squeeze together."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    found: list[float] = []
    for value in MaxNLocator(6).tick_values(low, high):
        inside = low <= value <= high
        if inside and (not found or float(norm(value)) - float(norm(found[-1])) >= TICK_ROOM):
            found.append(float(value))
    return found
