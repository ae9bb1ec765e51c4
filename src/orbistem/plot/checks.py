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


def line_drift(ax: Axes, shift: npt.ArrayLike, jumps: Sequence[int]) -> list[Artist]:
    """Draw how far each line has moved sideways since the first, in columns, and mark lines that jump.

    Parameters
    ----------
    ax
        Where to draw.
    shift
        (line - 1,) columns by which each line is moved against the one before; NaN where not known, which
        counts as the median of the others.
    jumps
        Lines, counted from 0, that jump against the one before.
    """
    step = np.asarray(shift, np.float64)
    known = np.isfinite(step)
    usual = float(np.median(step[known])) if known.any() else 0.0
    moved = np.concatenate([[0.0], np.cumsum(np.where(known, step, usual))])
    artists: list[Artist] = [*ax.plot(moved, color=ARROW_COLOUR, linewidth=1.3)]
    lines = [line for line in jumps if 0 <= line < len(moved)]
    if lines:
        artists += ax.plot(
            lines,
            moved[lines],
            linestyle="none",
            marker="o",
            markersize=4.5,
            color=JUMP_COLOUR,
            label="jumps",
        )
        ax.legend(fontsize=7.5, frameon=False, labelcolor=TEXT_COLOUR)
    if np.ptp(moved) < 1:  # a steady scan looks steady
        middle = 0.5 * (moved.max() + moved.min())
        ax.set_ylim(middle - 1, middle + 1)
    ax.set_xlabel("line")
    ax.set_ylabel("moved sideways (columns)")
    ax.grid(alpha=0.25, linewidth=0.5)
    style_axes(ax)
    return artists
