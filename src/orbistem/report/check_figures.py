"""Pictures to check the preparation by: centre, ellipse, disk and mask; descan before and after; drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orbistem.plot.checks import line_drift, shift_field
from orbistem.plot.patterns import FAULTS, centre_cross, fault_overlay, mask_overlay, outline, pattern
from orbistem.report.canvas import (
    PLOT_MARGINS,
    Picture,
    new_axes,
    new_figure,
    pixel_scale,
    png,
    valid_pixels,
)
from orbistem.report.files import RunFiles, number, numbers, section
from orbistem.scan.ellipse import ellipse_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["descan_picture", "drift_picture", "mean_picture"]

Floats = NDArray[np.float64]

OUTLINE_POINTS = 180


def mean_picture(files: RunFiles) -> Picture | None:
    """The mean pattern with its centre, the edge of the bright disk in its ellipse, and the mask."""
    examples = files.examples
    if examples is None or "mean" not in examples:
        return None
    fig, ax = new_axes()
    mean = examples["mean"].values
    valid = valid_pixels(files)
    centre = section(files.run, "centre")
    centre_px = numbers(centre.get("px"))
    scale, unit = pixel_scale(files)
    middle = (centre_px[0], centre_px[1]) if len(centre_px) == 2 else None
    counted = "electrons" if section(files.run, "noise").get("gain") is not None else "counts"
    drawn = pattern(
        ax,
        mean,
        valid=valid,
        scale="root",
        pixel_scale=scale,
        centre_px=middle,
        unit=unit,
        colour_bar=True,
        bar_label=f"{counted} (square-root scale)",
    )
    caption = ""
    if valid is not None and not valid.all():
        if "pixel_fault" in examples:
            fault_overlay(ax, examples["pixel_fault"].values, drawn=drawn)
            caption = _faults(examples["pixel_fault"].values)
        else:
            mask_overlay(ax, valid, drawn=drawn)
            caption = f"Orange: {int((~valid).sum())} pixels that are not used. "
    if middle is not None:
        sd_px = numbers(centre.get("sd_px"))
        sd = (sd_px[0] * scale[0], sd_px[1] * scale[1]) if len(sd_px) == 2 else None
        centre_cross(ax, centre_sd=sd, reach=0.08 * mean.shape[0] * scale[0])
        uncertain = f" ± ({sd_px[0]:.2f}, {sd_px[1]:.2f})" if sd else ""
        caption += f"Cross: the centre, (ky, kx) = ({middle[0]:.2f}, {middle[1]:.2f}){uncertain} px."
        caption += _disk(ax, files, middle, scale)
    return Picture(data_uri=png(fig), title="Mean pattern", caption=caption.strip())


def _faults(fault: NDArray[np.int8]) -> str:
    """Which pixels are not used, by colour."""
    kinds = [
        f"{colour}: {int((fault == number).sum())} {name}"
        for number, (name, (colour, _)) in enumerate(FAULTS.items(), start=1)
        if (fault == number).any()
    ]
    text = "; ".join(kinds)
    return f"Pixels that are not used: {text}. " if kinds else ""


def _disk(ax: Axes, files: RunFiles, middle: tuple[float, float], scale: tuple[float, float]) -> str:
    """Draw the edge of the bright disk as it was found, and say how large and how round it is."""
    about = section(files.run, "ellipse")
    disk, corrected = numbers(about.get("disk_px")), number(about, "ratio")
    found = numbers(about.get("found"))
    if len(disk) != 3 or len(found) != 2 or not np.isfinite([*disk, *found]).all():
        return ""
    turn = 2 * np.pi * np.arange(OUTLINE_POINTS) / OUTLINE_POINTS
    circle = disk[2] * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    edge_px = np.array(disk[:2]) + circle @ ellipse_matrix((found[0], found[1])).T
    outline(ax, (edge_px - np.array(middle)) * np.array(scale))
    text = f" Dashed: the edge of the bright disk, radius {disk[2]:.2f} px"
    semi_angle = number(about, "semi_angle_mrad")
    if semi_angle is not None:
        text += f", a semi-angle of {semi_angle:.4g} mrad"
    text += f"; stretched by {100 * (found[0] - 1):.2f} % along {np.rad2deg(found[1]) % 180:.0f}°"
    return text + (", which is not corrected." if corrected in (None, 1.0) else ", which is undone.")


def descan_picture(files: RunFiles) -> Picture | None:
    """Where the pattern lies in each part of the scan: as measured, and as the model leaves it."""
    about = section(files.run, "descan")
    parts = about.get("parts")
    parts = parts if isinstance(parts, Mapping) else {}
    place, shift, model = (_pairs(parts.get(key)) for key in ("place", "shift_px", "model_px"))
    if place is None or shift is None or model is None or not len(place) == len(shift) == len(model):
        return None
    known = np.isfinite(shift).all(axis=1)
    if known.sum() < 2:
        return None
    place, before, after = place[known], shift[known], (shift - model)[known]
    longest = max(_longest(before), 1e-3)
    corrected = about.get("model") not in (None, "none")
    panels = [("measured", before, longest)]
    if corrected:
        left = max(_longest(after), 1e-3)
        panels.append((f"left over, arrows {longest / left:.2g} times longer", after, left))
    fig = new_figure(3.3 * len(panels), 3.2)
    for index, (title, values, length) in enumerate(panels):
        width = 1 / len(panels)
        ax = fig.add_axes(((index + 0.2) * width, 0.15, 0.76 * width, 0.74))
        shift_field(ax, place, values, longest_px=length, title=title)
    rms = np.sqrt((before**2).sum(axis=1).mean()), np.sqrt((after**2).sum(axis=1).mean())
    caption = (
        f"Where the pattern lies in {len(place)} parts of the scan, from its mean place; longest arrow "
        f"{longest:.2g} px, root mean square {rms[0]:.2g} px"
    )
    if corrected:
        caption += (
            f", {rms[1]:.2g} px with the {about.get('model')} taken off. What is left should look random; a "
            "pattern in it is the sample's, or descan that the model does not describe."
        )
    else:
        caption += "; nothing was corrected."
    return Picture(data_uri=png(fig), title="Descan", caption=caption, wide=len(panels) > 1)


def drift_picture(files: RunFiles) -> Picture | None:
    """How far the lines of the scan move sideways, and which of them jump."""
    about = section(files.run, "lines")
    shift = np.array(numbers(about.get("shift_columns")), np.float64)
    if np.isfinite(shift).sum() < 2:
        return None
    jumps = [int(line) for line in numbers(about.get("jumps")) if np.isfinite(line)]
    drift = number(about, "drift_columns")
    usual = float("nan") if drift is None else drift / len(shift)
    fig, ax = new_axes(margins=PLOT_MARGINS)
    line_drift(ax, shift, jumps, usual=usual)
    caption = "How far each line lies sideways of the one before, as its patterns say."
    if drift is not None:
        caption += f" As most do, that makes {drift:+.1f} columns over the scan:"
        caption += " drift, or structure that lies aslant."
    unknown = int((~np.isfinite(shift)).sum())
    if unknown:
        caption += f" Lines with too little structure to tell: {unknown}."
    caption += f" Lines that jump: {', '.join(map(str, jumps[:8]))}." if jumps else " No line jumps."
    return Picture(data_uri=png(fig), title="Drift of the lines", caption=caption)


def _pairs(values: Any) -> Floats | None:
    """(n, 2) numbers of run.json, null as NaN; None where they are none."""
    if not isinstance(values, list) or not values:
        return None
    rows = [numbers(row) for row in values]
    return np.array(rows, np.float64) if all(len(row) == 2 for row in rows) else None


def _longest(shift: Floats) -> float:
    return float(np.hypot(*shift.T).max(initial=0.0))
