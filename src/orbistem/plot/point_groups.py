"""The site point group over the scan: one colour a group, rotation order by hue, mirrors by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from orbistem.plot.layout import scan_layout
from orbistem.plot.maps import draw_colours, finish_map, plain_text

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["GROUP_COLOURS", "point_group_map"]

GROUP_COLOURS = {
    "undecided": "#ffffff",
    "C1": "#d9dce1",
    "D1": "#8d96a3",
    "C2": "#a6cee3",
    "D2": "#1f78b4",
    "C3": "#b2df8a",
    "D3": "#33a02c",
    "C4": "#fdbf6f",
    "D4": "#e66100",
    "C6": "#cab2d6",
    "D6": "#5d3a9b",
}
"""Undecided is white, not measured the grey of all maps."""


def point_group_map(ax: Axes, maps: xr.Dataset, *, title: str | None = None, key: bool = True) -> Artist:
    """Draw the point groups over the scan.

    Parameters
    ----------
    ax
        Where to draw.
    maps
        The maps of a run with `point_group` and its attribute `flag_meanings`.
    title
        Text above the map; the variable's long_name where not given.
    key
        Whether the groups that occur are listed beside the map.
    """
    import matplotlib as mpl
    from matplotlib.patches import Patch

    variable = maps["point_group"]
    names = str(variable.attrs["flag_meanings"]).split()
    code = np.asarray(variable.values, dtype=np.float64)
    colours = np.zeros((*code.shape, 4))  # not measured: transparent
    for value, name in enumerate(names):
        colours[code == value] = mpl.colors.to_rgba(GROUP_COLOURS[name])
    layout = scan_layout(maps)
    drawn = draw_colours(ax, layout, colours)
    finish_map(ax, layout, title if title is not None else str(variable.attrs.get("long_name", "")))
    if key:
        shown = [name for name in GROUP_COLOURS if np.any(code == names.index(name))]
        patches = [
            Patch(facecolor=GROUP_COLOURS[name], edgecolor="#8a8f98", linewidth=0.5, label=plain_text(name))
            for name in shown
        ]
        ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=7)
    return drawn
