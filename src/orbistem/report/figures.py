"""The report's pictures: each function fills one figure from the run's files and returns it as a PNG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from orbistem.plot.latent import latent_plane, manifold
from orbistem.plot.maps import Kind, active_latents, angle_map, scalar_map
from orbistem.plot.point_groups import point_group_map
from orbistem.plot.training import eigenvalue_spectrum, evidence_curves
from orbistem.report.canvas import (
    PLOT_MARGINS,
    Picture,
    map_axes,
    new_axes,
    new_figure,
    png,
    valid_pixels,
)
from orbistem.report.files import RunFiles, number, section
from orbistem.report.history import evidence_history, per_order

if TYPE_CHECKING:
    pass

__all__ = [
    "MAP_VIEWS",
    "MapView",
    "angle_picture",
    "latent_pictures",
    "manifold_picture",
    "map_pictures",
    "plane_pictures",
    "spectrum_picture",
    "training_picture",
]

EXAMPLES_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class MapView:
    """How one variable of maps.nc is shown, and in which group of the page."""

    name: str
    group: Literal["fit", "beam", "symmetry"]
    kind: Kind | Literal["angle", "group"]
    title: str
    caption: str = ""


MAP_VIEWS: tuple[MapView, ...] = (
    MapView(
        name="residual",
        group="fit",
        kind="ratio",
        title="Residual",
        caption="1 (white): only noise is left. Red: something that the latents do not describe.",
    ),
    MapView(
        name="evidence",
        group="fit",
        kind="even",
        title="Evidence",
        caption="Low: a pattern unlike the others.",
    ),
    MapView(name="dose", group="beam", kind="counts", title="Dose", caption="Total of each pattern."),
    MapView(
        name="com_x",
        group="beam",
        kind="signed",
        title="Centre of mass, kx",
        caption="Shift of the pattern to the right (red) or left (blue).",
    ),
    MapView(
        name="com_y",
        group="beam",
        kind="signed",
        title="Centre of mass, ky",
        caption="Shift of the pattern downwards (red) or upwards (blue).",
    ),
    MapView(
        name="broken",
        group="symmetry",
        kind="signed",
        title="Broken symmetry",
        caption="Distance from the reference, in standard deviations.",
    ),
    MapView(
        name="broken_by_instrument",
        group="symmetry",
        kind="even",
        title="Broken symmetry, or the instrument?",
        caption="1: the verdict changes with the instrument moved within its uncertainty; the text says how.",
    ),
    MapView(
        name="group",
        group="symmetry",
        kind="even",
        title="Groups",
        caption="Patterns that are alike after rotation.",
    ),
    MapView(name="orientation", group="symmetry", kind="angle", title="Orientation"),
    MapView(name="handedness", group="symmetry", kind="signed", title="Handedness"),
    MapView(
        name="point_group",
        group="symmetry",
        kind="group",
        title="Point group",
        caption="The largest one that agrees with the noise. White: too little signal to tell.",
    ),
    MapView(
        name="point_group_by_instrument",
        group="symmetry",
        kind="even",
        title="Point group, or the instrument?",
        caption="1: the verdict changes with the instrument moved within its uncertainty; the text says how.",
    ),
    MapView(
        name="n_fold",
        group="symmetry",
        kind="even",
        title="Share of n-fold symmetry",
        caption="1: the turn changes nothing; about 1/order by chance. Grey: no signal.",
    ),
    MapView(
        name="mirror",
        group="symmetry",
        kind="even",
        title="Mirror correlation",
        caption="1: the pattern is its own mirror image about the best line.",
    ),
    MapView(
        name="mirror_angle",
        group="symmetry",
        kind="angle",
        title="Mirror line",
        caption="Its azimuth; a line is the same after half a turn. The paler, the less certain.",
    ),
    MapView(
        name="polar",
        group="symmetry",
        kind="even",
        title="Polar part",
        caption="Size of the strongest order-1 component, in standard deviations of its noise.",
    ),
    MapView(
        name="polar_angle",
        group="symmetry",
        kind="angle",
        title="Polar direction",
        caption="Its azimuth, known up to one constant for the scan. The paler, the less certain.",
    ),
)


def latent_pictures(files: RunFiles) -> list[Picture]:
    """One map per latent, active ones first as they are stored."""
    maps = files.maps
    if "latent" not in maps or not np.isfinite(maps["latent"].values).any():
        return []
    pictures = []
    for index, active in enumerate(active_latents(maps)):
        fig, ax = map_axes(files)
        scalar_map(ax, maps, "latent", index=index, title="")
        title = f"Latent {index + 1}" + ("" if active else " (not active)")
        pictures.append(
            Picture(data_uri=png(fig), title=title, caption=_latent_caption(files, index, active))
        )
    return pictures


def angle_picture(files: RunFiles) -> Picture | None:
    """The angle map, with its colour wheel."""
    if "angle" not in files.maps or not np.isfinite(files.maps["angle"].values).any():
        return None
    fig, ax = map_axes(files)
    name, axes = _in_scan_axes(files, "angle")
    angle_map(ax, files.maps, name=name, title="")
    caption = (
        "Colour: direction. The paler, the less certain; white: no preferred direction; grey: not measured. "
        f"Turns that the symmetry of a site makes equal have one colour.{axes}"
    )
    return Picture(data_uri=png(fig), title="Angle", caption=caption)


def map_pictures(files: RunFiles, group: str) -> list[Picture]:
    """The maps of one group of `MAP_VIEWS`, as far as the run has them."""
    pictures = []
    for view in MAP_VIEWS:
        if view.group != group or view.name not in files.maps:
            continue
        variable = files.maps[view.name]
        if not np.issubdtype(variable.dtype, np.number) or not np.isfinite(variable.values).any():
            continue
        layers: list[int | None] = [None]
        if "dose" in files.maps and variable.ndim > files.maps["dose"].ndim:
            layers = [
                layer for layer in range(variable.shape[-1]) if np.isfinite(variable.values[..., layer]).any()
            ]
        caption = view.caption
        for layer in layers:
            fig, ax = map_axes(files)
            if view.kind == "group":
                point_group_map(ax, files.maps, title="")
            elif view.kind == "angle":
                name, axes = _in_scan_axes(files, view.name)
                caption = (view.caption + axes).strip()
                angle_map(ax, files.maps, name=name, title="")
            else:
                scalar_map(ax, files.maps, view.name, index=layer, kind=view.kind, title="")
            title = view.title if layer is None else f"{view.title}, {_layer_name(files, view.name, layer)}"
            pictures.append(Picture(data_uri=png(fig), title=title, caption=caption))
    return pictures


def plane_pictures(files: RunFiles) -> list[Picture]:
    """Every position in the planes of the active latents, coloured by angle, then by residual."""
    maps = files.maps
    if "latent" not in maps or "angle" not in maps or not np.isfinite(maps["latent"].values).any():
        return []
    active = [index for index, is_active in enumerate(active_latents(maps)) if is_active] or [0]
    planes: list[tuple[int, int | None, str]] = [(active[0], active[1] if len(active) > 1 else None, "angle")]
    if len(active) > 2:
        planes.append((active[0], active[2], "angle"))
    if "residual" in maps:
        planes.append((*planes[0][:2], "residual"))
    marks = None if files.examples is None else files.examples.get("example_latent")
    pictures = []
    for first, second, colour in planes:
        fig, ax = new_axes()
        numbered = marks is not None and second is not None
        points = marks.values[:EXAMPLES_SHOWN] if marks is not None else None
        latent_plane(ax, maps, first=first, second=second, colour=colour, examples=points)
        across = f"Latents {first + 1} and {second + 1}" if second is not None else f"Latent {first + 1}"
        caption = "One point per position, coloured by its " + colour + "."
        if colour == "angle" and second is not None:
            caption += " Where colours mix, the latents do not depend on the angle, as it should be."
        caption += " Numbers: the patterns above." if numbered else ""
        pictures.append(Picture(data_uri=png(fig), title=f"{across}, by {colour}", caption=caption))
    return pictures


def manifold_picture(files: RunFiles) -> Picture | None:
    """Decoded patterns above the measured patterns of the nearest positions."""
    examples = files.examples
    if examples is None or "template" not in examples or "nearest" not in examples:
        return None
    decoded, measured = examples["template"].values, examples["nearest"].values
    shown = min(len(decoded), EXAMPLES_SHOWN)
    if shown == 0:
        return None
    background = examples["mean"].values if "mean" in examples else None
    rows = 2 if background is None else 3
    width, height = 1.25 * shown + 0.65, 1.25 * rows + 0.3
    fig = new_figure(width, height)
    sides = {
        "left": 0.62 / width,
        "right": 1 - 0.03 / width,
        "bottom": 0.04 / height,
        "top": 1 - 0.24 / height,
    }
    axes = fig.subplots(rows, shown, squeeze=False, gridspec_kw={**sides, "wspace": 0.06, "hspace": 0.06})
    manifold(
        axes,
        decoded[:shown],
        measured[:shown],
        background=background,
        valid=valid_pixels(files),
        unit=_counted(files),
    )
    caption = (
        "Top: what the model says the pattern is at points along the latents, at the angle of the position. "
        "Below it: the measured pattern of the position nearest to that point; at a low dose a single "
        "pattern is mostly noise. Last: what distinguishes the point from the mean pattern."
    )
    return Picture(data_uri=png(fig), title="Decoded and measured patterns", caption=caption, wide=True)


def training_picture(files: RunFiles) -> Picture | None:
    """Evidence of every restart over the training steps."""
    curves = evidence_history(section(files.run, "training"))
    if not curves:
        return None
    fig, ax = new_axes(margins=PLOT_MARGINS)
    evidence_curves(ax, curves)
    caption = "The model is kept where the evidence of held-out patterns is best."
    return Picture(data_uri=png(fig), title="Training", caption=caption)


def spectrum_picture(files: RunFiles) -> Picture | None:
    """Steerable eigenvalues per order, and the edge of the noise."""
    basis = section(files.run, "basis")
    eigenvalues = per_order(basis.get("eigenvalues"))
    if not eigenvalues:
        return None
    edges = basis.get("edge")
    if isinstance(edges, int | float):
        limit = dict.fromkeys(eigenvalues, float(edges))
    else:
        limit = {order: values[0] for order, values in per_order(edges).items() if values}
    fig, ax = new_axes(margins=PLOT_MARGINS)
    eigenvalue_spectrum(ax, eigenvalues, edge=limit)
    kept = number(basis, "kept")
    caption = "What rises above the noise edge is signal."
    if kept is not None:
        caption += f" {int(kept)} pattern shapes were kept."
    return Picture(data_uri=png(fig), title="Signal and noise by angular order", caption=caption)


def _latent_caption(files: RunFiles, index: int, active: bool) -> str:
    values = files.maps["latent"].values[..., index]
    spread = float(np.nanstd(values))
    sd_values = (
        files.maps["latent_sd"].values[..., index] if "latent_sd" in files.maps else np.array([np.nan])
    )
    sd = float(np.nanmedian(sd_values)) if np.isfinite(sd_values).any() else float("nan")
    known = f"Spread {spread:.2f}, uncertainty {sd:.2f}." if np.isfinite(sd) else f"Spread {spread:.2f}."
    return known if active else known + " The data do not pay for it: read nothing into this map."


def _in_scan_axes(files: RunFiles, name: str) -> tuple[str, str]:
    """The variable that holds a direction in the axes of the scan, where there is one, and a sentence."""
    if f"{name}_scan" not in files.maps:
        return name, ""
    return f"{name}_scan", " In the axes of the scan."


def _layer_name(files: RunFiles, name: str, layer: int) -> str:
    dim = str(files.maps[name].dims[-1])
    value = files.maps.coords[dim].values[layer] if dim in files.maps.coords else layer + 1
    return f"{dim} {value}"


def _counted(files: RunFiles) -> str:
    return "electrons" if section(files.run, "noise").get("gain") is not None else "counts"
