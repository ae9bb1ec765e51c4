"""What the header and the tables beside EBSD patterns tell (kikuchipy, EDAX, Bruker, Oxford): the map.

Never trusts them: what cannot be read, or cannot be, is left out.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from orbistem.io.axes import as_text
from orbistem.io.tree import child, parent_of

__all__ = ["beam_indices", "beam_positions", "grid_of_header", "is_hexagonal", "steps_of_header"]

_HEADER_SIZES = (
    ("n_rows", "n_columns"),
    ("nrows", "ncolumns"),
    ("nrows", "ncols"),
    ("y cells", "x cells"),
)
_HEADER_STEPS = (
    ("step_y", "step_x"),
    ("step y", "step x"),
    ("ystep", "xstep"),
    ("y step", "x step"),
)
_POSITIONS = (("Y Position", "X Position"), ("Y SAMPLE", "X SAMPLE"), ("Y", "X"), ("y", "x"))
"""Tables beside the patterns: EDAX, Bruker, Oxford, kikuchipy; µm."""
_NO_POSITION = -1e6
"""EDAX writes -1111111 where a point has no valid data."""

Number = TypeVar("Number", int, float)


def grid_of_header(root: Any, path: str, n_frames: int) -> tuple[tuple[int, int] | None, str | None]:
    """Rows and columns of an EBSD map from the header beside its patterns; or a sentence why not."""
    header, names = _header(root, path)
    for rows, columns in _HEADER_SIZES:
        if rows in names and columns in names:
            y, x = (_number(header, names[name], int) for name in (rows, columns))
            if y and x and y * x == n_frames:
                return (y, x), f"the header gives {y} rows and {x} columns"
            return None, f"the header gives {y} rows and {x} columns, but there are {n_frames} patterns"
    return None, None


def steps_of_header(root: Any, path: str) -> tuple[float, float] | None:
    """Steps y, x of an EBSD map, in µm as kikuchipy, EDAX, Bruker and Oxford give them; None without any."""
    header, names = _header(root, path)
    for pair in _HEADER_STEPS:
        if all(name in names for name in pair):
            y, x = (_number(header, names[name], float) or math.nan for name in pair)
            return (y, x) if all(math.isfinite(step) and step > 0 for step in (y, x)) else None
    return None


def beam_indices(root: Any, path: str, n_frames: int) -> NDArray[np.float64] | None:
    """Row and column of each pattern (n, 2), as Bruker stores them: patterns lie in the order of indexing."""
    group = child(root, f"{parent_of(parent_of(path))}/SEM".lstrip("/"))
    if group is None:
        return None
    columns = []
    for name in ("IY", "IX"):
        node = child(group, name)
        if getattr(node, "shape", None) != (n_frames,) or node.dtype.kind not in "iuf":
            return None
        columns.append(np.asarray(node[()], dtype=np.float64))
    table = np.stack(columns, axis=1)
    return table if np.isfinite(table).all() else None


def is_hexagonal(root: Any, path: str) -> bool:
    """Whether the header says that every other row of the map is moved by half a step."""
    header, names = _header(root, path)
    node = child(header, names["grid type"]) if "grid type" in names else None
    try:
        return node is not None and "hex" in as_text(np.asarray(node[()]).reshape(-1)[0]).lower()
    except (TypeError, ValueError, IndexError, OSError):
        return False


def beam_positions(
    root: Any, path: str, n_frames: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], str] | None:
    """Position y, x of each pattern in µm (n, 2), which of them are valid (n,), and the names of the tables.

    None where there are none, or where they cannot be: two patterns in one place.
    """
    above = parent_of(path)
    for pair in _POSITIONS:
        nodes = [child(root, f"{above}/{name}".lstrip("/")) for name in pair]
        if all(getattr(node, "shape", None) == (n_frames,) and node.dtype.kind in "iuf" for node in nodes):
            break
    else:
        return None
    try:
        table = np.stack([np.asarray(node[()], np.float64) for node in nodes], axis=1)
    except OSError:
        return None
    valid = np.asarray((np.isfinite(table) & (table > _NO_POSITION)).all(axis=1))
    if valid.sum() < 2 or len(np.unique(table[valid], axis=0)) != valid.sum():
        return None
    table[~valid] = table[valid].min(axis=0)  # somewhere: these are not measured
    return table, valid, f"{pair[1]} and {pair[0]}"


def _header(root: Any, path: str) -> tuple[Any, dict[str, str]]:
    """The group Header beside the group of the patterns, and its names by their small letters."""
    above = child(root, parent_of(parent_of(path)))
    header = child(above, "Header") if above is not None else None
    if header is None or not hasattr(header, "keys"):
        return None, {}
    return header, {str(name).lower(): str(name) for name in header}


def _number(group: Any, name: str, kind: type[Number]) -> Number | None:
    """The first number that stands under a name, as an int or a float; None where there is none."""
    node = child(group, name)
    try:
        return None if node is None else kind(np.asarray(node[()]).reshape(-1)[0])
    except (TypeError, ValueError, IndexError, OSError):
        return None
