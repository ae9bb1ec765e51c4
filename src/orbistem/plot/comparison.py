"""Scores of all methods side by side: bars at one dose, lines over several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orbistem.plot.maps import style_axes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["PANELS", "ScoreRow", "draw_comparison", "score_bars", "score_lines"]

OURS = "orbit-vae"
OURS_COLOUR, INVARIANT_COLOUR, OTHER_COLOUR, ORACLE_COLOUR = "#1f6f8b", "#e3a857", "#9aa3af", "#3d3d3d"
LEAST = 1e-4
"""Errors below are drawn here on logarithmic axes."""
LOWEST = -0.2
"""Explained variances below leave the axis; their numbers are written beside it."""
MARKERS = {
    "pca": "o",
    "nmf": "P",
    "ica": "X",
    "gmm": "h",
    "kmeans": "v",
    "plain-vae": "d",
    "conv-vae": "p",
    "spatial-vae": "<",
    "spatial-vae-noise": ">",
    "com": "s",
    "harmonics": "D",
    "bispectrum": "^",
    "oracle": "1",
    "atomai": "2",
    "pyroved": "3",
}
"""The same in every figure; others, OrbitVAE with whichever group among them, are stars or crosses."""

PANELS: tuple[tuple[str, str, bool], ...] = (
    ("fold_error", "fold error (0: folded, 1: unrelated)", True),
    ("rotation_error", "rotation error (0: invariant)", True),
    ("angle_error_deg", "angle error, median (°)", True),
    ("explained", "explained variance of the signal", False),
)
"""Attribute, label of the axis, whether logarithmic."""


class ScoreRow(Protocol):
    """What is drawn of a row of the table, beside the attributes of `PANELS`."""

    @property
    def method(self) -> str:
        """Short name."""

    @property
    def title(self) -> str:
        """Name in words."""

    @property
    def invariant(self) -> bool:
        """Whether it is meant to be invariant."""

    @property
    def dose(self) -> float:
        """Electrons per pattern, or NaN."""


def score_bars(ax: Axes, rows: Sequence[ScoreRow], name: str, label: str, *, log: bool) -> list[Artist]:
    """One bar a method, the first on top.

    Parameters
    ----------
    ax
        Where to draw.
    rows
        One per method.
    name
        Attribute that is drawn; NaN draws nothing.
    label
        Of the axis.
    log
        Logarithmic axis, from 10⁻⁴.

    Returns
    -------
    list of matplotlib.artist.Artist
        The bars.
    """
    values = [getattr(row, name) for row in rows]
    shown = [(max(v, LEAST) if log else v) if math.isfinite(v) else math.nan for v in values]
    bars = ax.barh(range(len(rows)), shown, color=[_colour(row) for row in rows], height=0.7)
    for i, value in enumerate(values):
        if math.isfinite(value):
            at = max(value, LEAST) if log else max(value, 0.0)
            ax.annotate(
                f"{value:.3g}", (at, i), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7
            )
    ax.set_yticks(range(len(rows)), [row.title for row in rows], fontsize=8)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    if log:
        ax.set_xscale("log")
        ax.set_xlim(LEAST, 4 * max((v for v in shown if math.isfinite(v)), default=1.0))
    else:
        least = min((v for v in shown if math.isfinite(v)), default=0.0)
        ax.set_xlim(min(max(least, LOWEST), 0.0), 1.15)
    ax.set_xlabel(label)
    style_axes(ax)
    return list(bars)


def score_lines(ax: Axes, rows: Sequence[ScoreRow], name: str, label: str, *, log: bool) -> list[Artist]:
    """One line a method over the dose; parameters as in `score_bars`, rows of all doses."""
    artists: list[Artist] = []
    for method in dict.fromkeys(row.method for row in rows):
        some = [row for row in rows if row.method == method and math.isfinite(getattr(row, name))]
        if not some:
            continue
        values = [getattr(row, name) for row in some]
        artists += ax.plot(
            [row.dose for row in some],
            [max(v, LEAST) for v in values] if log else values,
            color=_colour(some[0]),
            marker=MARKERS.get(method, "*" if method == OURS else "x"),
            markersize=4,
            linewidth=2.2 if method == OURS else 1.1,
            linestyle=":" if method == "oracle" else "-",
            label=some[0].title,
            zorder=3 if method.startswith(OURS) else 2,
        )
    ax.set_xscale("log")
    if log:
        ax.set_yscale("log")
    else:
        ax.set_ylim(-0.05, 1.05)
    ax.set_xlabel("electrons per pattern")
    ax.set_ylabel(label)
    style_axes(ax)
    return artists


def draw_comparison(rows: Sequence[ScoreRow], path: Path) -> None:
    """Write the figure of a comparison.

    Parameters
    ----------
    rows
        All rows of the table.
    path
        A .png, .svg or .pdf file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    several = len({row.dose for row in rows if math.isfinite(row.dose)}) > 1
    panels = [one for one in PANELS if any(math.isfinite(getattr(row, one[0])) for row in rows)]
    methods = len(dict.fromkeys(row.method for row in rows))
    width = 3.6 * max(len(panels), 1) + (1.8 if several else 1.2)
    figure = Figure(figsize=(width, 4.0 if several else 1.0 + 0.26 * methods), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False, sharey=not several)[0]
    for ax, (name, label, log) in zip(axes, panels, strict=False):
        draw = score_lines if several else score_bars
        draw(ax, rows, name, label, log=log)
    if several:
        named = {text: one for ax in axes for one, text in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(named.values(), named.keys(), loc="outside right center", fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)


def _colour(row: ScoreRow) -> str:
    if row.method.startswith(OURS):
        return OURS_COLOUR
    if row.method == "oracle":
        return ORACLE_COLOUR
    return INVARIANT_COLOUR if row.invariant else OTHER_COLOUR
