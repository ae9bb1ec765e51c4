"""What Nion Swift writes about an array, in metadata.json or in the attribute "properties" of a dataset."""

from __future__ import annotations

import json
from typing import Any

from orbistem.errors import one_line
from orbistem.io.axes import as_text

__all__ = ["axes_of", "intensity_words", "parse"]

_MAX_TEXT = 2**24
_MAX_VALUE = 1e300
_INTENSITY = ("intensity_calibration", "intrinsic_intensity_calibration")
_ELECTRONS = frozenset({"e", "e-", "el", "electron", "electrons"})
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
    for source in _sources(properties):
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


def intensity_words(properties: dict[str, Any]) -> tuple[str, ...]:
    """A sentence about the calibration of the numbers themselves; nothing where there is none.

    It is not applied: the numbers are counts of a camera, whose noise tells electrons from counts, and scaled
    ones would lose the exactness of integers.
    """
    for source in _sources(properties):
        given: Any = next((source[key] for key in _INTENSITY if isinstance(source.get(key), dict)), None)
        if given is None:
            continue
        scale, offset = _finite(given.get("scale"), 1.0), _finite(given.get("offset"), 0.0)
        if (scale, offset) == (1.0, 0.0) or scale == 0:
            return ()
        units = one_line(as_text(given.get("units")))[:20] if given.get("units") else "of no unit"
        told = (
            f"Nion's intensity calibration, value = {scale:g} x count + {offset:g} ({units}), is not applied"
        )
        if units.strip().lower() in _ELECTRONS and scale > 0:
            return (
                f"{told}: the counts are kept as recorded; its electrons are those of --gain {1 / scale:g}",
            )
        return (f"{told}: the counts are kept as recorded, and gain and offset are found from their noise",)
    return ()


def _sources(properties: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a file or a library may keep what it says about its data, in the order in which it is asked."""
    listed = properties.get("data_sources")
    sources = [properties, properties.get("data_source"), *(listed[:1] if isinstance(listed, list) else [])]
    return [source for source in sources if isinstance(source, dict)]


def _finite(value: Any, default: float) -> float:
    good = isinstance(value, int | float) and abs(value) < _MAX_VALUE  # not NaN either
    return float(value) if good else default


def _axis(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    scale = given.get("scale")
    units = given.get("units")
    if scale in (1, 1.0, None) and not units:
        return {}  # how Nion writes: not calibrated
    return {"scale": scale, "offset": given.get("offset", given.get("origin")), "units": units}
