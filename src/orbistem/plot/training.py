"""How the training went, and where signal ends and noise begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orbistem.plot.maps import TEXT_COLOUR, plain_text, style_axes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["EvidenceCurve", "eigenvalue_spectrum", "evidence_curves"]

TRAIN_COLOUR = "#9aa3af"
HELD_OUT_COLOUR = "#1f6f8b"
NOISE_COLOUR = "#c8ccd2"
EDGE_COLOUR = "#d1495b"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidenceCurve:
    """Evidence of one restart while it trained.

    Attributes
    ----------
    name
        For the legend, such as "scan mean, seed 1".
    step
        Training steps.
    train, heldout
        Evidence in nats per pattern at these steps, on the patterns trained on and on those left out;
        either may be empty.
    chosen
        Whether this restart was kept.
    """

    name: str
    step: Sequence[float]
    train: Sequence[float]
    heldout: Sequence[float]
    chosen: bool = False


def evidence_curves(ax: Axes, curves: Sequence[EvidenceCurve]) -> list[Artist]:
    """Draw evidence against training steps: train thin, held out strong, the chosen restart on top.

    Parameters
    ----------
    ax
        Where to draw.
    curves
        One per restart.

    Returns
    -------
    list of matplotlib.artist.Artist
        The lines, in the order of ``curves``, train before held out.
    """
    artists: list[Artist] = []
    only = len(curves) == 1
    for curve in curves:
        strong = curve.chosen or only
        for values, kind, colour, width in (
            (curve.train, "trained on", TRAIN_COLOUR, 1.2),
            (curve.heldout, "held out", HELD_OUT_COLOUR, 1.8),
        ):
            if len(values) == 0:
                continue
            name = f" ({curve.name})" if curve.name and not strong else ""
            artists += ax.plot(
                curve.step,
                values,
                color=colour,
                linewidth=width,
                alpha=1.0 if strong else 0.5,
                linestyle="-" if strong else "--",
                marker="o",
                markersize=6.0 if len(values) == 1 else 0.0,
                label=plain_text(f"{kind}{name}"),
            )
    ax.set_ylim(*_evidence_range(curves))
    ax.set_xlabel("training step")
    ax.set_ylabel("evidence (nats per pattern)")
    if artists:
        ax.legend(fontsize=7.5, frameon=False, loc="lower right", labelcolor=TEXT_COLOUR)
    ax.grid(alpha=0.25, linewidth=0.5)
    style_axes(ax)
    return artists


def eigenvalue_spectrum(
    ax: Axes,
    eigenvalues: Mapping[int, Sequence[float]],
    *,
    edge: Mapping[int, float] | None = None,
) -> list[Artist]:
    """Draw the steerable eigenvalues of each angular order, and the edge of the noise.

    Parameters
    ----------
    ax
        Where to draw.
    eigenvalues
        Per angular order, in units of the noise variance (noise alone: about 1).
    edge
        Per angular order, the largest eigenvalue that noise alone explains.

    Returns
    -------
    list of matplotlib.artist.Artist
        Points below the edge, points above it, the edge; what does not exist is left out.
    """
    limit = dict(edge or {})
    pairs = [(order, value) for order, values in eigenvalues.items() for value in values if value > 0]
    points = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    kept = np.array([value > limit.get(int(order), 0.0) for order, value in points], dtype=bool)
    artists: list[Artist] = []
    for chosen, colour, size, label in (
        (~kept, NOISE_COLOUR, 7, "below"),
        (kept, HELD_OUT_COLOUR, 18, "above"),
    ):
        if chosen.any():
            text = f"{label} ({int(chosen.sum())})"
            artists.append(
                ax.scatter(
                    points[chosen, 0], points[chosen, 1], s=size, color=colour, linewidths=0, label=text
                )
            )
    if limit:
        orders = sorted(limit)
        heights = [limit[order] for order in orders]
        artists += ax.step(
            orders,
            heights,
            where="mid",
            color=EDGE_COLOUR,
            linewidth=1.1,
            label="noise edge",
        )
    ax.set_yscale("log")
    ax.set_xlabel("angular order m")
    ax.set_ylabel("eigenvalue (noise variances)")
    if artists:
        ax.legend(fontsize=7.5, frameon=False, loc="upper right", labelcolor=TEXT_COLOUR)
    ax.grid(alpha=0.25, linewidth=0.5)
    style_axes(ax)
    return artists


def _evidence_range(curves: Sequence[EvidenceCurve]) -> tuple[float, float]:
    """The upper half of every curve and three times as far below it: the fall before would flatten it."""
    values = [np.asarray(part, dtype=np.float64) for c in curves for part in (c.train, c.heldout)]
    values = [part[np.isfinite(part)] for part in values if np.isfinite(part).any()]
    if not values:
        return 0.0, 1.0
    top = max(float(part.max()) for part in values)
    least = min(float(part.min()) for part in values)
    middle = min(float(np.median(part)) for part in values)
    low = max(least, middle - 3 * (top - middle)) if top > middle else least
    margin = 0.08 * (top - low) or 0.5
    return low - margin, top + margin
