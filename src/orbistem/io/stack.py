"""From one array in a tree (HDF5, Zarr) to what a reader gives back: axes, grid, positions beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from orbistem.errors import one_line
from orbistem.io.axes import as_text, make_axes
from orbistem.io.contract import Found, Request
from orbistem.io.ebsd_header import (
    beam_indices,
    beam_positions,
    grid_of_header,
    is_hexagonal,
    steps_of_header,
)
from orbistem.io.nion import intensity_words, parse
from orbistem.io.placed import find_places, put_in_place
from orbistem.io.positions import columns_of
from orbistem.io.tree import Entry, attribute, calibration, is_reversed, list_beside
from orbistem.scan import Axis

__all__ = ["DETECTOR_NAMES", "SCAN_NAMES", "assemble", "sort_axes"]

SCAN_NAMES = ("y", "x")
DETECTOR_NAMES = ("ky", "kx")


def assemble(
    *, format_name: str, entry: Entry, root: Any, recipe: Any, request: Request, lookup: Any
) -> Found:
    """Gather everything that the tree says about one array.

    Parameters
    ----------
    recipe
        How to read the array.
    lookup
        Function from a path to an `Entry` or None.
    """
    shape = tuple(recipe.shape)
    named: dict[str, Any] = {}
    try:
        calibrated = calibration(root, entry.path, shape)
    except Exception as error:  # whatever the metadata hold, the patterns are still good
        calibrated = None
        named["warnings"] = (
            f"the calibration beside {entry.path} is unreadable ({one_line(error)}); the data are used",
        )
    if calibrated is not None:
        axes, navigate, words = calibrated
        backwards = is_reversed(root, entry.path)
        named |= sort_axes(axes, navigate, backwards=backwards)
        named["found"] = (f"calibration from {words} beside {entry.path}",)
        if backwards:
            named["found"] += ("axes turned from kx, ky, x, y, as EMD stores them",)
    intensity = intensity_words(parse(attribute(entry.node, "properties")))
    named["found"] = (*named.get("found", ()), *intensity)
    if len(shape) == 3 or request.positions is not None:
        named = _flat_stack(named, entry, root, request, lookup)
    places = named.pop("places", None)
    if places is not None:
        recipe = put_in_place(recipe, places)
    chunks = getattr(entry.node, "chunks", None)
    return Found(format=format_name, patterns=recipe, storage_chunks=chunks, dataset=entry.path, **named)


def sort_axes(
    axes: list[dict[str, Any]], navigate: Sequence[bool | None], *, backwards: bool = False
) -> dict[str, Any]:
    """Arguments of `Found` from axes in storage order: order, scan_axes, detector_axes, axes_known, warnings.

    Axes that are marked as part of the scan come first; without marks the last two are the detector's,
    or the first two if the file stores all axes backwards.
    """
    n_axes = len(axes)
    stored = list(range(n_axes))[:: -1 if backwards else 1]
    marked = [i for i in stored if navigate[i]]
    known = len(marked) == n_axes - 2 and n_axes > 2
    scan = marked if known else stored[: n_axes - 2]
    detector = [i for i in stored if i not in scan]
    order = (*scan, *detector)
    names = SCAN_NAMES if len(scan) == 2 else ("y",) * len(scan)
    scan_axes, notes = make_axes([axes[i] for i in scan], names[: len(scan)])
    detector_axes, more = make_axes([axes[i] for i in detector], DETECTOR_NAMES)
    labels = [as_text(axes[i].get("name")) for i in order]
    named: dict[str, Any] = {
        "detector_axes": detector_axes,
        "warnings": notes + more,
        "axes_known": known or (n_axes > 2 and all(labels)),
    }
    if len(scan) == 2:
        named["scan_axes"] = scan_axes
    elif len(scan) == 1:
        named["scan_axes"] = (scan_axes[0], _one_column())
    if order != tuple(range(n_axes)):
        named["order"] = order
    return named


def _scan_axes(steps: tuple[float, float] | None, origin: tuple[int, int] = (0, 0)) -> tuple[Axis, ...]:
    y, x = steps or (1.0, 1.0)
    units = "px" if steps is None else "µm"
    return (
        Axis(name="y", scale=y, offset=origin[0] * y, units=units),
        Axis(name="x", scale=x, offset=origin[1] * x, units=units),
    )


def _is_raster(beam: Any) -> bool:
    """Whether rows and columns (n, 2) run line by line."""
    return bool((np.lexsort((beam[:, 1], beam[:, 0])) == np.arange(len(beam))).all())


def _beam_list(root: Any, path: str, n_frames: int, *, is_hexagonal: bool) -> dict[str, Any] | None:
    """Arguments of `Found` for patterns at the beam positions that are listed beside them; None without."""
    beam = beam_positions(root, path, n_frames)
    if beam is None:
        return None
    positions, valid, names = beam
    why = "the map is hexagonal: a list, no raster" if is_hexagonal else "they fill no raster of the header"
    named: dict[str, Any] = {
        "positions": positions,
        "position_units": "µm",
        "scan_axes": None,
        "axes_known": True,
        "found": (f"positions from {names} beside the patterns ({why})",),
    }
    if not valid.all():
        sentence = f"{int((~valid).sum())} patterns have no valid position: not measured"
        named |= {"measured": valid, "found": (*named["found"], sentence)}
    return named


def _one_column() -> Any:
    return make_axes([{}], ("x",))[0][0]


def _flat_stack(
    named: dict[str, Any], entry: Entry, root: Any, request: Request, lookup: Any
) -> dict[str, Any]:
    """Where the frames of a stack belong: a grid in the header, a list beside them, or the key given."""
    order = named.get("order") or tuple(range(len(entry.shape)))
    n_frames = math.prod(entry.shape[axis] for axis in order[:-2])
    found, warnings = tuple(named.get("found", ())), tuple(named.get("warnings", ()))
    grid, words = grid_of_header(root, entry.path, n_frames)
    steps = steps_of_header(root, entry.path)
    if steps is not None:
        found += (f"the header gives steps of {steps[0]:g} (y) and {steps[1]:g} µm (x)",)
    beam = beam_indices(root, entry.path, n_frames) if request.positions is None else None
    places = None if beam is None or request.shape is not None else find_places(beam)
    if places is not None:
        axes = _scan_axes(steps, places.origin)
        sentence = f"each pattern's row and column from SEM/IY and SEM/IX; {places.words}"
        return named | {"places": places, "measured": places.measured, "scan_axes": axes,
                        "found": (*found, sentence), "axes_known": True}  # fmt: skip
    if beam is not None and not _is_raster(beam):
        warnings += ("SEM/IY and SEM/IX beside the patterns list their rows and columns, which are not used",)
    hexagonal = is_hexagonal(root, entry.path)
    if grid is None and words is not None and not hexagonal:
        warnings += (words,)
    if request.positions is None and (hexagonal or (grid is None and words is not None)):
        placed = _beam_list(root, entry.path, n_frames, is_hexagonal=hexagonal)
        if placed is not None:
            placed["found"] = (*found, *placed["found"])
            return named | placed | {"warnings": warnings}
    if hexagonal:
        warnings += (
            "the header says that the map is hexagonal, but no table beside the patterns gives their "
            "positions: rows are not shown where they are",
        )
    if grid is not None:
        named = named | {"scan_axes": None if steps is None else _scan_axes(steps), "warnings": warnings}
        return named | {"scan_shape": grid, "found": (*found, words or ""), "axes_known": True}
    table = list_beside(root, entry.path, n_frames) if request.positions is None else None
    if request.positions is not None:
        table = lookup(request.positions)  # a key that is not there is refused by the caller
    if table is not None:
        values, columns = columns_of(table.path, table.node[()])
        found += (f"positions from {table.path} ({columns})",)
        units = as_text(table.node.attrs["units"]) if "units" in table.node.attrs else ""
        named = named | {"positions": values, "position_units": units or "px"}
    return named | {"found": found, "warnings": warnings}
