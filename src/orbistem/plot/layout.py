"""Where every position of a scan lies on the page: grid, line, list of positions, or primitive cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from orbistem.units import normalise_unit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ScanLayout", "scan_layout", "unit_label"]

Floats = npt.NDArray[np.float64]

MARKER_OVER_SPACING = 1.08  # marker diameter over the spacing of the positions: neighbours just touch
LINE_ASPECT = 0.22  # a line of positions is drawn as a strip of this height over its width
EVEN_STEP_RTOL = 1e-3  # a grid whose steps agree to this is drawn as an image, which is quicker

_NO_UNIT = frozenset({"1", "dimensionless"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanLayout:
    """Geometry of a scan on the page.

    Attributes
    ----------
    kind
        "grid": equal steps; "mesh": cells with corners (uneven steps, primitive cell);
        "line": one row of positions; "list": scattered positions.
    shape
        Shape of the scan dimensions: (y, x), or (position,).
    x, y
        grid: edges of the columns and rows; mesh: corners, shape (y + 1, x + 1); line: edges along the line
        in ``x``, and (0, 1) in ``y``; list: positions, shape (n,). In the units of the labels.
    diameter
        list: diameter of a marker in the unit of the positions; else 0.
    x_label, y_label
        Texts of the axes, with units.
    """

    kind: Literal["grid", "mesh", "line", "list"]
    shape: tuple[int, ...]
    x: Floats
    y: Floats
    x_label: str
    y_label: str
    diameter: float = 0.0

    @property
    def aspect(self) -> float:
        """Height of the scan over its width, as drawn with equal scales; that of the strip for a line."""
        if self.kind == "line":
            return LINE_ASPECT
        width, height = np.nanmax(self.x) - np.nanmin(self.x), np.nanmax(self.y) - np.nanmin(self.y)
        return float((height + 2 * self.diameter) / ((width + 2 * self.diameter) or 1.0)) or 1.0


def unit_label(text: object) -> str:
    """A unit as printed on an axis: Å for "A", µm for "um"; empty where there is none."""
    unit = "" if text is None else normalise_unit(str(text)).text
    return "" if unit in _NO_UNIT else unit


def scan_layout(maps: xr.Dataset) -> ScanLayout:
    """Geometry of the maps of one scan.

    Parameters
    ----------
    maps
        Dims (y, x) with coordinates y, x; or dim position with coordinates position_y, position_x. With the
        attributes a1 and a2 (components y, x; in the unit of the attribute a_units, Å where absent) the
        position is x·a1 + y·a2, as in a scan over a primitive cell.
    """
    if "position" in maps.sizes:
        return _list_layout(maps)
    rows, columns = int(maps.sizes["y"]), int(maps.sizes["x"])
    y, x = _coordinate(maps, "y", rows), _coordinate(maps, "x", columns)
    if "a1" in maps.attrs and "a2" in maps.attrs:
        return _cell_layout(maps, y=y, x=x)
    if columns == 1 or rows == 1:
        name, along = ("y", y) if columns == 1 else ("x", x)
        return ScanLayout(
            kind="line",
            shape=(rows, columns),
            x=_edges(along),
            y=np.array([0.0, 1.0]),
            x_label=_axis_label(maps, name),
            y_label="",
        )
    y_edges, x_edges = _edges(y), _edges(x)
    even = _is_even(y_edges) and _is_even(x_edges)
    if not even:
        x_edges, y_edges = np.meshgrid(x_edges, y_edges)
    return ScanLayout(
        kind="grid" if even else "mesh",
        shape=(rows, columns),
        x=x_edges,
        y=y_edges,
        x_label=_axis_label(maps, "x"),
        y_label=_axis_label(maps, "y"),
    )


def _list_layout(maps: xr.Dataset) -> ScanLayout:
    y = np.asarray(maps["position_y"].values, dtype=np.float64)
    x = np.asarray(maps["position_x"].values, dtype=np.float64)
    return ScanLayout(
        kind="list",
        shape=y.shape,
        x=x,
        y=y,
        x_label=_axis_label(maps, "position_x", shown="x"),
        y_label=_axis_label(maps, "position_y", shown="y"),
        diameter=MARKER_OVER_SPACING * _typical_spacing(np.stack([y, x], axis=1)),
    )


def _cell_layout(maps: xr.Dataset, *, y: Floats, x: Floats) -> ScanLayout:
    first = np.asarray(maps.attrs["a1"], dtype=np.float64)
    second = np.asarray(maps.attrs["a2"], dtype=np.float64)
    x_edges, y_edges = np.meshgrid(_edges(x), _edges(y))
    unit = unit_label(maps.attrs.get("a_units", "A"))
    return ScanLayout(
        kind="mesh",
        shape=(y.size, x.size),
        x=x_edges * first[1] + y_edges * second[1],
        y=x_edges * first[0] + y_edges * second[0],
        x_label=f"x ({unit})",
        y_label=f"y ({unit})",
    )


def _coordinate(maps: xr.Dataset, name: str, size: int) -> Floats:
    if name in maps.coords:
        return np.asarray(maps.coords[name].values, dtype=np.float64)
    return np.arange(size, dtype=np.float64)


def _axis_label(maps: xr.Dataset, name: str, *, shown: str | None = None) -> str:
    attributes = maps.coords[name].attrs if name in maps.coords else {}
    unit = unit_label(attributes.get("units", "px")) or "px"
    return f"{shown or name} ({unit})"


def _edges(centres: Floats) -> Floats:
    """Edges of cells about their centres, shape (n,) to (n + 1,)."""
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - middle[0], 2 * centres[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


def _is_even(edges: Floats) -> bool:
    steps = np.diff(edges)
    return bool(np.all(np.abs(steps - steps.mean()) <= EVEN_STEP_RTOL * np.abs(steps.mean())))


def _typical_spacing(points: Floats) -> float:
    """Median distance of nearest neighbours, or the spacing that fills the area, whichever is larger."""
    from scipy.spatial import cKDTree

    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return 1.0
    nearest, _ = cKDTree(points).query(points, k=2)
    spacing = float(np.median(nearest[:, 1]))
    extent = np.ptp(points, axis=0)
    filling = float(np.sqrt(np.prod(extent) / len(points)))
    return max(spacing, filling) or 1.0
