"""What HDF5 and Zarr files have in common: a tree of groups, arrays and attributes.

Works on h5py and zarr objects alike, and never trusts metadata: what cannot be read is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbistem.errors import FormatError, OptionError
from orbistem.io.axes import as_text
from orbistem.io.nion import axes_of, parse
from orbistem.io.positions import LIST_NAME

__all__ = [
    "Entry",
    "attribute",
    "calibration",
    "candidates",
    "child",
    "choose",
    "is_reversed",
    "list_beside",
    "parent_of",
]

_SIDE_TABLES = re.compile(r"/(original_metadata|learning_results|models|attributes)/")
_MAX_LISTED = 8
_AXIS_NAMES = ("dimension_names", "_ARRAY_DIMENSIONS")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Entry:
    """An array in the tree."""

    path: str
    node: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(int(size) for size in self.node.shape)

    @property
    def words(self) -> str:
        """Path, shape and type for a message."""
        return f"{self.path} {self.shape} {self.node.dtype}"


def candidates(entries: Iterator[Entry]) -> list[Entry]:
    """Those arrays that can be a stack of patterns; pictures for display and side tables are left out."""
    stacks = [entry for entry in entries if _is_stack(entry)]
    main = [entry for entry in stacks if not _SIDE_TABLES.search(entry.path)]
    return sorted(main or stacks, key=lambda entry: entry.path)


def choose(
    stacks: list[Entry], dataset: str | None, lookup: Callable[[str], Entry | None], where: str
) -> Entry:
    """The array that was asked for, or the only candidate.

    Raises
    ------
    OptionError
        No such dataset.
    FormatError
        None or several candidates; the text lists them.
    """
    if dataset is not None:
        entry = lookup(dataset)
        if entry is not None:
            return entry
        inside = [one for one in stacks if one.path.startswith(dataset.strip("/") + "/")]
        if len(inside) == 1:
            return inside[0]
        raise OptionError(f"dataset: {where} has no array {dataset}; {_listed(inside or stacks)}")
    if len(stacks) == 1:
        return stacks[0]
    if not stacks:
        raise FormatError(
            f"{where} holds no stack of two-dimensional patterns (numbers with 3 or 4 axes, none empty); "
            "name an array with --dataset, or choose another file"
        )
    raise FormatError(f"{where} holds several stacks of patterns; {_listed(stacks)}")


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """An attribute, or the default if it is missing or unreadable."""
    try:
        return node.attrs.get(name, default)
    except Exception:  # h5py raises many kinds for damaged or exotic attributes
        return default


def parent_of(path: str) -> str:
    """Path of the group that holds an array; "" for the root."""
    return path.rpartition("/")[0]


def calibration(
    root: Any, path: str, shape: tuple[int, ...]
) -> tuple[list[dict[str, Any]], list[bool | None], str] | None:
    """Axes that the file gives for an array: one dictionary an axis (name, scale, offset, units).

    Returns
    -------
    axes, navigate, words
        `navigate` says of every axis whether it belongs to the scan (None: not known);
        None instead of all if there is nothing of a kind that we know.
    """
    group = child(root, parent_of(path))
    if group is None:
        return None
    nion = axes_of(parse(attribute(child(root, path), "properties")), len(shape))
    if nion is not None:
        return *nion, "Nion properties"
    return _hyperspy_axes(group, shape) or _dim_axes(group, shape) or _named_axes(group, path, shape)


def is_reversed(root: Any, path: str) -> bool:
    """True for EMD of the first generation (NCEM): it stores kx, ky, x, y; py4DSTEM's cubes do not."""
    return attribute(root, "version_major") is not None and parent_of(path).rpartition("/")[2] != "datacube"


def list_beside(root: Any, path: str, n_frames: int) -> Entry | None:
    """The only table of positions (n, 2) or (n, 3) beside an array of n patterns, by its name."""
    group = child(root, parent_of(path))
    if group is None:
        return None
    above = parent_of(path)
    tables = []
    for name in group:
        node = child(group, name) if LIST_NAME.fullmatch(str(name)) else None
        if node is not None and getattr(node, "shape", None) in {(n_frames, 2), (n_frames, 3)}:
            tables.append(Entry(path=f"{above}/{name}".lstrip("/"), node=node))
    return tables[0] if len(tables) == 1 else None


def _is_stack(entry: Entry) -> bool:
    shape, dtype = entry.shape, entry.node.dtype
    if dtype.kind not in "biuf" or dtype.fields or len(shape) not in (3, 4) or 0 in shape:
        return False
    ends = max(min(shape[-2:]), min(shape[:2]) if len(shape) == 4 else 0)  # EMD stores detector axes first
    if ends < 2 or as_text(attribute(entry.node, "CLASS")) == "IMAGE":
        return False
    return not (len(shape) == 3 and shape[-1] in (3, 4) and dtype.kind == "u" and dtype.itemsize == 1)


def _listed(stacks: list[Entry]) -> str:
    if not stacks:
        return "it holds no stack of patterns at all; choose another file"
    words = "; ".join(entry.words for entry in stacks[:_MAX_LISTED])
    more = f" and {len(stacks) - _MAX_LISTED} more" if len(stacks) > _MAX_LISTED else ""
    return f"choose one with --dataset: {words}{more}"


def child(group: Any, path: str) -> Any:
    """What lies under a path; the group itself for "", None for what is not there or unreadable."""
    if not path:
        return group
    try:
        return group.get(path)
    except Exception:  # a broken link, a link out of reach, a damaged object: as if it were not there
        return None


def _hyperspy_axes(
    group: Any, shape: tuple[int, ...]
) -> tuple[list[dict[str, Any]], list[bool | None], str] | None:
    nodes = [child(group, f"axis-{index}") for index in range(len(shape))]
    if any(node is None for node in nodes):
        return None
    order = [attribute(node, "index_in_array") for node in nodes]
    if sorted(int(i) for i in order if i is not None) == list(range(len(shape))):
        nodes = [node for _, node in sorted(zip(order, nodes, strict=True), key=lambda pair: int(pair[0]))]
    axes: list[dict[str, Any]] = [
        {key: attribute(node, key) for key in ("name", "scale", "offset", "units")} for node in nodes
    ]
    navigate = [attribute(node, "navigate") for node in nodes]
    return axes, [None if flag is None else bool(flag) for flag in navigate], "HyperSpy axes"


def _dim_axes(
    group: Any, shape: tuple[int, ...]
) -> tuple[list[dict[str, Any]], list[bool | None], str] | None:
    for first in (0, 1):
        nodes = [child(group, f"dim{first + index}") for index in range(len(shape))]
        if all(getattr(node, "ndim", None) == 1 for node in nodes):
            return [_of_dim(node) for node in nodes], [None] * len(shape), "EMD dimensions"
    return None


def _named_axes(
    group: Any, path: str, shape: tuple[int, ...]
) -> tuple[list[dict[str, Any]], list[bool | None], str] | None:
    """Axes that have names (Zarr 3, xarray, NeXus), with the coordinates that lie under these names."""
    node = child(group, path.rpartition("/")[2])
    given = next(
        (names for names in (attribute(node, key) for key in _AXIS_NAMES) if names is not None),
        attribute(group, "axes"),
    )
    names = [as_text(name) for name in given] if isinstance(given, list | tuple | np.ndarray) else []
    if len(names) != len(shape):
        return None
    axes: list[dict[str, Any]] = []
    for name, size in zip(names, shape, strict=True):
        beside = child(group, name) if name not in ("", ".") else None
        fits = getattr(beside, "shape", None) == (size,)
        axes.append(_of_dim(beside) | {"name": name} if fits else {"name": name})
    known = any(axis.get("scale") is not None for axis in axes)
    return axes, [None] * len(shape), "named coordinates" if known else "named axes"


def _of_dim(node: Any) -> dict[str, Any]:
    """A dimension as a vector of coordinates, of which two are enough."""
    units = as_text(attribute(node, "units")).strip()
    if units.startswith("["):  # written as [1_/_Å]
        units = units.strip("[]").replace("_", "")
    axis: dict[str, Any] = {"name": attribute(node, "name"), "units": units}
    try:
        start, step = float(node[0]), (float(node[1]) - float(node[0]) if node.shape[0] > 1 else math.nan)
    except (TypeError, ValueError, IndexError, OSError):
        return axis
    return axis | {"offset": start, "scale": step if math.isfinite(step) else None}
