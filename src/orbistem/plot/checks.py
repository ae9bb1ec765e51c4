"""What the scan did to the patterns: how they wander over the detector, how lines move against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from orbistem.plot.maps import TEXT_COLOUR, style_axes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.quiver import Quiver

__all__ = ["line_drift", "shift_field"]

ARROW_COLOUR = "#1f6f8b"
JUMP_COLOUR = "#d1495b"
ARROW_LENGTH = 0.11  # of the longest arrow, over the width of the scan


def shift_field(
    ax: Axes, place: npt.ArrayLike, shift_px: npt.ArrayLike, *, longest_px: float, title: str = ""
) -> Quiver:
    """Draw where the pattern lies in each part of the scan, as arrows.

    Parameters
    ----------
    ax
        Where to draw.
    place
        (part, 2), y and x from -1/2 to 1/2 across the scan.
    shift_px
        (part, 2), along ky and kx; an arrow to the right is a shift along +kx, one downwards along +ky.
    longest_px
        The shift that is drawn as `ARROW_LENGTH` of the scan.
    title
        Text above.
    """
    where, by = np.asarray(place, np.float64), np.asarray(shift_px, np.float64)
    drawn = ax.quiver(
        where[:, 1],
        where[:, 0],
        by[:, 1],
        by[:, 0],
        angles="xy",
        scale_units="xy",
        scale=longest_px / ARROW_LENGTH,
        color=ARROW_COLOUR,
        width=0.007,
        pivot="middle",
    )
    ax.set_xlim(-0.56, 0.56)
    ax.set_ylim(0.56, -0.56)
    ax.set_aspect("equal")
    ax.set_xlabel("x (of the scan)")
    ax.set_ylabel("y (of the scan)")
    ax.set_title(title, fontsize=8.5, color=TEXT_COLOUR)
    style_axes(ax)
    return drawn


def line_drift(ax: Axes, shift: npt.ArrayLike, jumps: Sequence[int], *, usual: float) -> list[Artist]:
    """Draw how far each line has moved sideways against the one before, in columns.

    Parameters
    ----------
    ax
        Where to draw.
    shift
        (line - 1,) columns; NaN where not known.
    jumps
        Lines, counted from 0, that jump.
    usual
        Shift that most lines have, drawn as a line; NaN for none.

    Returns
    -------
    list of matplotlib.artist.Artist
        Points of the lines, points of those that jump, the usual shift; what does not exist is left out.
    """
    step = np.asarray(shift, np.float64)
    line = np.arange(1, len(step) + 1)
    jumping = np.isin(line, jumps)
    artists: list[Artist] = []
    for chosen, colour, label in ((~jumping, ARROW_COLOUR, None), (jumping, JUMP_COLOUR, "jumps")):
        chosen = chosen & np.isfinite(step)
        if chosen.any():
            artists += ax.plot(
                line[chosen],
                step[chosen],
                linestyle="none",
                marker="o",
                markersize=3,
                color=colour,
                label=label,
            )
    if np.isfinite(usual):
        artists.append(ax.axhline(usual, color=ARROW_COLOUR, linewidth=0.9, label="usual"))
    reach = max(1.0, 1.15 * float(np.nanmax(np.abs(step), initial=0.0)))
    ax.set_ylim(-reach, reach)  # a steady scan looks steady
    ax.set_xlim(0, len(step) + 1)
    ax.set_xlabel("line")
    ax.set_ylabel("moved against the line before (columns)")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=7.5, frameon=False, labelcolor=TEXT_COLOUR)
    ax.grid(alpha=0.25, linewidth=0.5)
    style_axes(ax)
    return artists
