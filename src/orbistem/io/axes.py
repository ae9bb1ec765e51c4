"""Calibrations as files give them, made safe: what cannot be used is said and becomes pixels."""

from __future__ import annotations

import math
from typing import Any

from orbistem.scan import Axis
from orbistem.units import normalise_unit

__all__ = ["as_text", "make_axes", "make_axis"]

_METRE = 1e10
"""In Å. No step of a scan and no pixel is that long: such a length is a spatial frequency (TIA's .ser)."""


def make_axis(
    name: str, *, scale: Any = None, offset: Any = None, units: Any = None
) -> tuple[Axis, tuple[str, ...]]:
    """One axis and the sentences about what had to be changed.

    A scale that is zero or not a number means uncalibrated; a negative one is taken without its sign, since
    the patterns keep the order of the file; an unknown unit keeps its text.
    """
    given, shift = _number(scale), _number(offset)
    if scale is None:
        return Axis(name=name), ()
    if given is None or given == 0:
        return Axis(name=name), (f"axis {name} has the scale {scale}; it is treated as uncalibrated (px)",)
    notes: tuple[str, ...] = ()
    if given < 0:
        notes = (f"axis {name} has the negative scale {given:g}; the file's order is kept, {-given:g} used",)
    unit = normalise_unit(as_text(units))
    if unit.dimension == "unknown" and unit.text:
        notes += (f"axis {name} has the unknown unit {unit.text!r}; calibrations in it are not used",)
    if unit.dimension == "length" and abs(given) * unit.to_base > _METRE:
        per_nm = unit.to_base / _METRE * 1e-9
        notes += (
            f"axis {name} has a step of {given:.4g} {unit.text}, which cannot be: it is taken as a spatial "
            f"frequency, {abs(given) * per_nm:.4g} 1/nm",
        )
        return Axis(name=name, scale=abs(given) * per_nm, offset=(shift or 0.0) * per_nm, units="1/nm"), notes
    return Axis(name=name, scale=abs(given), offset=shift or 0.0, units=unit.text or "px"), notes


def make_axes(
    given: list[dict[str, Any]], names: tuple[str, ...]
) -> tuple[tuple[Axis, ...], tuple[str, ...]]:
    """Axes under our names from dictionaries with the keys scale, offset, units; and the sentences."""
    axes: list[Axis] = []
    notes: list[str] = []
    for name, one in zip(names, given, strict=True):
        axis, more = make_axis(name, scale=one.get("scale"), offset=one.get("offset"), units=one.get("units"))
        axes.append(axis)
        notes.extend(more)
    return tuple(axes), tuple(notes)


def as_text(value: Any) -> str:
    """Text of an attribute: str, bytes (UTF-8, else Latin-1), NumPy scalar; "" for nothing."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")
    if value is None or type(value).__name__ in {"Empty", "_Undefined"}:
        return ""
    if hasattr(value, "shape") and getattr(value, "size", 1) == 1:
        return as_text(value.reshape(-1)[0] if value.shape else value.item())
    text = str(value)
    return "" if text == "<undefined>" else text


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
