"""What Nion Swift writes about an array, in metadata.json or in the attribute "properties" of a dataset."""

from __future__ import annotations

import json
from typing import Any

from orbistem.io.axes import as_text

__all__ = ["axes_of", "parse"]

_MAX_TEXT = 2**24
_CALIBRATIONS = ("dimensional_calibrations", "spatial_calibrations", "intrinsic_spatial_calibrations")


def parse(text: Any) -> dict[str, Any]:
    """The properties as a dictionary; empty if they are none of Nion's."""
    words = as_text(text)
    if not words.lstrip().startswith("{") or len(words) > _MAX_TEXT:
        return {}
    try:
        found = json.loads(words)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def axes_of(properties: dict[str, Any], n_axes: int) -> tuple[list[dict[str, Any]], list[bool | None]] | None:
    """Axes (scale, offset, units) and which of them belong to the scan; None if nothing is said.

    The sequence and the collection dimensions come first, the datum's last; a library keeps them in the first
    of its data sources.
    """
    sources = [properties, properties.get("data_source")]
    listed = properties.get("data_sources")
    sources += listed[:1] if isinstance(listed, list) else []
    for source in sources:
        if not isinstance(source, dict):
            continue
        given: Any = next(
            (source[key] for key in _CALIBRATIONS if isinstance(source.get(key), list | tuple)), []
        )
        datum = source.get("datum_dimension_count")
        axes = [_axis(one) for one in given] if len(given) == n_axes else [{} for _ in range(n_axes)]
        known = isinstance(datum, int) and 0 < datum < n_axes
        if len(given) == n_axes or known:
            scan = n_axes - int(datum) if isinstance(datum, int) and known else 0
            return axes, [index < scan if known else None for index in range(n_axes)]
    return None


def _axis(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    scale = given.get("scale")
    units = given.get("units")
    if scale in (1, 1.0, None) and not units:
        return {}  # how Nion writes: not calibrated
    return {"scale": scale, "offset": given.get("offset", given.get("origin")), "units": units}
