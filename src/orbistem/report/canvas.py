"""What all pictures of the report are drawn on: figures of one size, and how they become text."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orbistem.plot.layout import scan_layout, unit_label
from orbistem.report.files import RunFiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FIGURE_HEIGHT",
    "FIGURE_WIDTH",
    "MARGINS",
    "PLOT_MARGINS",
    "Picture",
    "map_axes",
    "new_axes",
    "new_figure",
    "pixel_scale",
    "png",
    "valid_pixels",
]

DOTS_PER_INCH = 140
FIGURE_WIDTH, FIGURE_HEIGHT = 4.1, 3.25  # inches
MARGINS = 0.55, 0.95, 0.45, 0.15  # inches: left, right (colour bar or wheel), bottom, top
PLOT_MARGINS = 0.75, 0.2, 0.45, 0.15  # the same where there is no colour bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture with its caption. ``data_uri`` holds the PNG; ``wide`` pictures get the whole row."""

    data_uri: str
    title: str
    caption: str = ""
    wide: bool = False


def valid_pixels(files: RunFiles) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """(ky, kx) bool, pixels that were used; None where the run does not say."""
    if files.examples is None or "pixel_valid" not in files.examples:
        return None
    return np.asarray(files.examples["pixel_valid"].values).astype(bool)


def pixel_scale(files: RunFiles) -> tuple[tuple[float, float], str]:
    """Size of a detector pixel and its unit, from the coordinates of examples.nc."""
    examples = files.examples
    if examples is None or "ky" not in examples.coords or "kx" not in examples.coords:
        return (1.0, 1.0), "px"
    ky, kx = examples.coords["ky"], examples.coords["kx"]
    if ky.size < 2 or kx.size < 2:
        return (1.0, 1.0), "px"
    scale = float(ky[1] - ky[0]), float(kx[1] - kx[0])
    return scale, unit_label(kx.attrs.get("units")) or "px"


def map_axes(files: RunFiles) -> tuple[Figure, Axes]:
    """Axes as high as the scan asks for."""
    left, right, bottom, top = MARGINS
    aspect = min(max(scan_layout(files.maps).aspect, 0.3), 1.6)
    return new_axes(height=(FIGURE_WIDTH - left - right) * aspect + bottom + top)


def new_axes(
    *, height: float = FIGURE_HEIGHT, margins: tuple[float, float, float, float] = MARGINS
) -> tuple[Figure, Axes]:
    """Axes with room for labels and a colour bar: one frame for all pictures, and no layout to be solved."""
    fig = new_figure(FIGURE_WIDTH, height)
    left, right, bottom, top = margins
    across, up = (FIGURE_WIDTH - left - right) / FIGURE_WIDTH, (height - bottom - top) / height
    return fig, fig.add_axes((left / FIGURE_WIDTH, bottom / height, across, up))


def new_figure(width: float, height: float) -> Figure:
    """Figure of some inches on white."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")


def png(fig: Figure) -> str:
    """Data URI of a figure, the same bytes for the same picture."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
