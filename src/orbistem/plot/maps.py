"""Maps over the scan: scalars, angles, and the two figures that set maps beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, assert_never

import numpy as np
import numpy.typing as npt

from orbistem.plot.layout import LINE_ASPECT, ScanLayout, scan_layout, unit_label
from orbistem.plot.scale import (
    MISSING_COLOUR,
    Limits,
    angle_colours,
    even_limits,
    nice_ticks,
    ratio_limits,
    signed_limits,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = [
    "angle_map",
    "colour_wheel",
    "draw_colours",
    "finish_map",
    "latents_beside_counts",
    "plain_text",
    "scalar_map",
    "style_axes",
]

Kind = Literal["even", "signed", "ratio", "counts"]
Floats = npt.NDArray[np.float64]

TEXT_COLOUR = "#2b2f36"
WHEEL_WIDTH = 0.28  # of a colour wheel, over the width of its map
_COLOUR_MAPS: dict[str, str] = {"even": "viridis", "signed": "RdBu_r", "ratio": "RdBu_r", "counts": "gray"}


def scalar_map(
    ax: Axes,
    maps: xr.Dataset,
    name: str,
    *,
    index: int | None = None,
    kind: Kind = "even",
    limits: Limits | None = None,
    title: str | None = None,
    colour_bar: bool = True,
) -> AxesImage | Collection:
    """Draw one quantity over the scan.

    Parameters
    ----------
    ax
        Where to draw.
    maps
        The maps of a run: dims (y, x), or position.
    name
        Name of a variable of ``maps``.
    index
        Which entry of the variable's last dimension, where it has one beyond the scan (latent 0, 1, ...).
    kind
        "even": any number, in perceptually even colours; "signed": diverging about 0; "ratio": diverging
        about 1, logarithmic; "counts": black to white.
    limits
        Ends of the colour bar; robust against outliers where not given.
    title
        Text above the map; the variable's long_name where not given.
    colour_bar
        Whether to draw one, with the unit.

    Returns
    -------
    matplotlib.image.AxesImage or matplotlib.collections.Collection
        The image, mesh or markers. Its ``colorbar`` is the colour bar.
    """
    variable = maps[name]
    values = np.asarray(variable.values, dtype=np.float64)
    if index is not None:
        values = values[..., index]
    layout = scan_layout(maps)
    shown = limits or _default_limits(values, kind)
    drawn = _draw(ax, layout, values=np.ma.masked_invalid(values), kind=kind, norm=_norm(shown, kind))
    _finish(ax, layout, title if title is not None else str(variable.attrs.get("long_name", name)))
    if colour_bar:
        _add_colour_bar(ax, drawn, layout, shown, kind, unit_label(variable.attrs.get("units")))
    return drawn


def angle_map(
    ax: Axes,
    maps: xr.Dataset,
    *,
    name: str = "angle",
    title: str | None = None,
    wheel: bool = True,
) -> Artist:
    """Draw an angle over the scan: hue is the direction, opacity the certainty.

    Angles are reduced by 2π/angle_order, so that the equivalent directions of a threefold site get one
    colour; a line, which is the same after half a turn, has the attribute ``order`` = 2. Positions without a
    preferred angle (order 0) are transparent, missing ones grey.

    Parameters
    ----------
    ax
        Where to draw.
    maps
        The maps of a run. ``{name}_sd`` in radians and ``{name}_order`` are used where they exist.
    name
        Name of a variable in radians; one that ends in ``_scan`` has the uncertainty and the order of that
        without.
    title
        Text above the map; the variable's long_name where not given.
    wheel
        Whether to draw the colour wheel beside the map.
    """
    same = name.removesuffix("_scan")
    sd = maps[f"{same}_sd"].values if f"{same}_sd" in maps else None
    everywhere = float(maps[name].attrs.get("order", 1))
    order = maps[f"{same}_order"].values if f"{same}_order" in maps else np.full(maps[name].shape, everywhere)
    layout = scan_layout(maps)
    colours = angle_colours(maps[name].values, angle_sd_rad=sd, angle_order=order)
    drawn = _draw(ax, layout, colours=colours)
    _finish(ax, layout, title if title is not None else str(maps[name].attrs.get("long_name", name)))
    if wheel:
        found = np.unique(order[np.isfinite(order) & (order >= 1)])
        height = WHEEL_WIDTH / layout.aspect
        box = (1.03, 0.5 - 0.5 * height, WHEEL_WIDTH, height)
        colour_wheel(
            ax.inset_axes(box), order=int(found[0]) if found.size == 1 else None, note=layout.aspect > 0.5
        )
    return drawn


def colour_wheel(ax: Axes, *, order: int | None = 1, note: bool = True, pixels: int = 161) -> Artist:
    """Draw the key to an angle map: hue by direction as on the screen, opacity from centre to rim.

    Parameters
    ----------
    ax
        Where to draw; its axes are switched off.
    order
        Rotation order of all sites: the colours repeat that often. None: sites of several orders n, for
        which the wheel shows n times the angle.
    note
        Whether a line under the wheel explains it.
    pixels
        Width and height of the wheel's image.
    """
    side = np.linspace(-1.12, 1.12, pixels)
    right, down = np.meshgrid(side, side)
    radius = np.hypot(right, down)
    rgba = angle_colours(np.arctan2(down, right), angle_order=order or 1)
    rgba[..., 3] = np.clip(radius, 0, 1) * (radius <= 1)
    drawn = ax.imshow(rgba, extent=(-1.12, 1.12, 1.12, -1.12), interpolation="bilinear")
    for text, x, y, align in (("0°", 1.1, 0, "left"), ("90°", 0, 1.2, "center"), ("270°", 0, -1.2, "center")):
        vertical = "center" if y == 0 else ("top" if y > 0 else "bottom")
        ax.text(x, y, text, ha=align, va=vertical, fontsize=7, color=TEXT_COLOUR, clip_on=False)
    if note:
        text = "n × angle\n(n: order\nof the site)" if order is None else "rim: certain\ncentre: not"
        ax.text(0, 1.75, text, ha="center", va="top", fontsize=7, color=TEXT_COLOUR, clip_on=False)
    ax.set_axis_off()
    return drawn


def latents_beside_counts(
    fig: Figure, maps: xr.Dataset, *, latent: int | Sequence[int] | None = None, angle: bool = True
) -> list[Artist]:
    """Fill a figure with one row: electrons per pattern, latents, angle.

    Parameters
    ----------
    fig
        An empty figure; about 3.4 inches wide per map and 3 high looks well.
    maps
        The maps of a run, with dose, latent and angle.
    latent
        Which latents, counted from 0; the active ones where not given.
    angle
        Whether the angle map ends the row.

    Returns
    -------
    list of matplotlib.artist.Artist
        One artist per map, from left to right.
    """
    if latent is None:
        chosen = [i for i, active in enumerate(active_latents(maps)) if active] or [0]
    else:
        chosen = [latent] if isinstance(latent, int) else list(latent)
    axes = fig.subplots(1, 1 + len(chosen) + int(angle), squeeze=False)[0]
    artists: list[Artist] = []
    dose = scalar_map(axes[0], maps, "dose", kind="counts", title="electrons per pattern", colour_bar=False)
    artists.append(dose)
    for ax, index in zip(axes[1:], chosen, strict=False):
        drawn = scalar_map(ax, maps, "latent", index=index, title=f"latent {index + 1}", colour_bar=False)
        artists.append(drawn)
    if angle:
        artists.append(angle_map(axes[-1], maps, title="angle"))
    for ax in axes[1:]:
        ax.set_ylabel("")
    return artists


def active_latents(maps: xr.Dataset) -> list[bool]:
    """Which latents are active, from the attribute ``active`` of ``latent`` (flags, or how many)."""
    size = int(maps["latent"].sizes["latent_dim"])
    flags = np.atleast_1d(np.asarray(maps["latent"].attrs.get("active", np.ones(size)), dtype=np.float64))
    if flags.size == size and (size > 1 or flags[0] <= 1):
        return [bool(flag) for flag in flags]
    return [i < int(flags[0]) for i in range(size)]


def plain_text(text: str) -> str:
    """Text from a file, safe in a figure: a dollar sign starts no formula."""
    return text.replace("$", r"\$")


def style_axes(ax: Axes) -> None:
    """The quiet look that all figures share: small labels, thin grey frame."""
    ax.tick_params(labelsize=7.5, length=2.5, width=0.6, color="#8a8f98", labelcolor=TEXT_COLOUR)
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color="#8a8f98")
    ax.xaxis.label.set(fontsize=8.5, color=TEXT_COLOUR)
    ax.yaxis.label.set(fontsize=8.5, color=TEXT_COLOUR)
    ax.title.set(fontsize=9.5, color=TEXT_COLOUR)


def draw_colours(ax: Axes, layout: ScanLayout, colours: Floats) -> AxesImage | Collection:
    """Colours (…, 4), red, green, blue and opacity, over the scan; transparent ones show as not measured."""
    return _draw(ax, layout, colours=colours)


def finish_map(ax: Axes, layout: ScanLayout, title: str) -> None:
    """Labels, title and frame of a map."""
    _finish(ax, layout, title)


def _draw(
    ax: Axes,
    layout: ScanLayout,
    *,
    values: np.ma.MaskedArray | None = None,
    colours: Floats | None = None,
    kind: Kind = "even",
    norm: Normalize | None = None,
) -> AxesImage | Collection:
    """Either scalars (values, kind, norm) or RGBA colours, on the layout."""
    import matplotlib as mpl
    from matplotlib.collections import EllipseCollection

    shades = mpl.colormaps[_COLOUR_MAPS[kind]].with_extremes(bad=MISSING_COLOUR)
    cells: Floats | None = values if values is not None else colours
    assert cells is not None
    drawn: AxesImage | Collection
    match layout.kind:
        case "grid" | "line":
            if layout.kind == "line":
                cells = cells.reshape(1, -1, *cells.shape[2:])
            extent = (layout.x[0], layout.x[-1], layout.y[-1], layout.y[0])
            aspect: Literal["equal", "auto"] = "equal" if layout.kind == "grid" else "auto"
            drawn = ax.imshow(
                cells, extent=extent, aspect=aspect, cmap=shades, norm=norm, interpolation="nearest"
            )
        case "mesh":
            drawn = ax.pcolormesh(
                layout.x, layout.y, cells, cmap=shades, norm=norm, linewidth=0, rasterized=True
            )
            ax.set_aspect("equal")
            if not ax.yaxis_inverted():
                ax.invert_yaxis()
        case "list":
            markers = EllipseCollection(
                layout.diameter,
                layout.diameter,
                0.0,
                units="xy",
                offsets=np.stack([layout.x, layout.y], axis=1),
                offset_transform=ax.transData,
                linewidths=0.0,
            )
            if values is not None:
                markers.set(array=values, cmap=shades, norm=norm)
            else:
                markers.set(facecolor=colours)
            ax.add_collection(markers)
            margin = layout.diameter
            ax.set_xlim(np.nanmin(layout.x) - margin, np.nanmax(layout.x) + margin)
            ax.set_ylim(np.nanmax(layout.y) + margin, np.nanmin(layout.y) - margin)
            ax.set_aspect("equal")
            drawn = markers
        case _:
            assert_never(layout.kind)
    return drawn


def _finish(ax: Axes, layout: ScanLayout, title: str) -> None:
    ax.set_xlabel(plain_text(layout.x_label))
    ax.set_ylabel(plain_text(layout.y_label))
    ax.set_title(plain_text(title))
    if layout.kind == "line":
        ax.set_yticks([])
        ax.set_box_aspect(LINE_ASPECT)
    style_axes(ax)


def _default_limits(values: Floats, kind: Kind) -> Limits:
    match kind:
        case "even" | "counts":
            return even_limits(values)
        case "signed":
            return signed_limits(values)
        case "ratio":
            return ratio_limits(values)
        case _:
            assert_never(kind)


def _norm(limits: Limits, kind: Kind) -> Normalize:
    from matplotlib.colors import LogNorm, Normalize

    return (LogNorm if kind == "ratio" else Normalize)(vmin=limits.low, vmax=limits.high)


def _add_colour_bar(
    ax: Axes, drawn: AxesImage | Collection, layout: ScanLayout, limits: Limits, kind: Kind, unit: str
) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    box = (1.03, 0.0, 0.02, 1.0) if layout.kind == "line" else (1.03, 0.0, 0.045, 1.0)
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes(box), extend=limits.extend)
    if kind == "ratio":
        bar.ax.yaxis.set_major_locator(FixedLocator(nice_ticks(limits)))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.outline.set_linewidth(0.4)
    bar.ax.yaxis.get_offset_text().set_fontsize(7)
    style_axes(bar.ax)
    bar.ax.set_ylabel(plain_text(unit), fontsize=8)
