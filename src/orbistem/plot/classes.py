"""Classes of sites: their map, and their aligned averages side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from orbistem.plot.layout import scan_layout
from orbistem.plot.maps import draw_colours, finish_map
from orbistem.plot.patterns import pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["CLASS_COLOURS", "class_averages", "class_map"]

CLASS_COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#e69f00",
    "#332288",
    "#999933",
    "#882255",
    "#44aa99",
    "#000000",
)
"""By class, then again from the start. The first ones are Paul Tol's bright scheme."""
FAINTEST = 0.25
"""Opacity of a position whose class is as good as open."""


def class_map(ax: Axes, maps: xr.Dataset, *, title: str | None = None, key: bool = True) -> Artist:
    """Draw the classes over the scan: colour by class, opacity by probability.

    Parameters
    ----------
    ax
        Where to draw.
    maps
        The maps of a run with `class`, and `class_p` where it exists.
    title
        Text above the map; the variable's long_name where not given.
    key
        Whether the classes are listed beside the map.
    """
    import matplotlib as mpl
    from matplotlib.patches import Patch

    variable = maps["class"]
    label = np.asarray(variable.values, dtype=int)
    sure = np.ones(label.shape)
    if "class_p" in maps:
        sure = np.nan_to_num(np.asarray(maps["class_p"].values, dtype=np.float64)).max(axis=-1)
    colours = np.zeros((*label.shape, 4))  # not usable: transparent
    for c in np.unique(label[label >= 0]):
        colours[label == c] = mpl.colors.to_rgba(CLASS_COLOURS[c % len(CLASS_COLOURS)])
    colours[..., 3] *= FAINTEST + (1 - FAINTEST) * sure
    layout = scan_layout(maps)
    drawn = draw_colours(ax, layout, colours)
    finish_map(ax, layout, title if title is not None else str(variable.attrs.get("long_name", "")))
    if key:
        patches = [
            Patch(facecolor=CLASS_COLOURS[c % len(CLASS_COLOURS)], label=str(c))
            for c in np.unique(label[label >= 0])
        ]
        ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=7)
    return drawn


def class_averages(
    axes: npt.NDArray[np.object_],
    averages: npt.ArrayLike,
    *,
    mean: npt.ArrayLike,
    titles: Sequence[str],
    valid: npt.ArrayLike | None = None,
) -> list[Artist]:
    """Draw aligned class averages, and below each what distinguishes it from the mean pattern.

    Parameters
    ----------
    axes
        (2, class) axes.
    averages
        (class, ky, kx).
    mean
        (ky, kx).
    titles
        One a class.
    valid
        (ky, kx), bool.
    """
    artists: list[Artist] = []
    middle = np.asarray(mean, np.float64)
    for column, (one, title) in enumerate(zip(np.asarray(averages, np.float64), titles, strict=True)):
        artists.append(pattern(axes[0, column], one, valid=valid, frame=False, title=title))
        difference = one - middle
        artists.append(pattern(axes[1, column], difference, scale="signed", valid=valid, frame=False))
    return artists
