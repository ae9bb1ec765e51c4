"""Zarr folders that abTEM wrote: x before y, on the scan and on the detector."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from orbistem.errors import FormatError, OptionError
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.formats.zarr_store import ZarrArray, open_store
from orbistem.io.lazy import as_lazy
from orbistem.io.memory import abtem_axes, fft_shifted

__all__ = ["FORMAT"]


def _recognise(look: Look) -> bool:
    return look.is_folder and ".zattrs" in look.names and "type0" in _attributes(look.path)


def _read(path: Path, request: Request) -> Found:
    attributes = _attributes(path)
    kind, about = attributes["type0"], attributes.get("kwargs0", {})
    if kind != "DiffractionPatterns":
        raise FormatError(f"{path.name} holds abTEM {kind}, not DiffractionPatterns; choose another file")
    if request.dataset not in (None, "array0"):
        raise OptionError(f"dataset: {path.name} holds array0 only, got {request.dataset}; leave it out")
    with open_store(path) as root:
        node = root["array0"]
        shape = tuple(int(size) for size in node.shape)
        recipe = ZarrArray(os.path.abspath(path), "array0", shape, node.dtype)
        chunks = node.chunks
    scan = [_axis(axis) for axis in about["ensemble_axes_metadata"]]
    detector = [{"scale": scale, "units": "1/Å"} for scale in about["sampling"]]
    named = abtem_axes(path.name, [axis["kind"] for axis in scan], scan, detector)
    patterns: Any = recipe if about.get("fftshift", True) else fft_shifted(as_lazy(recipe))
    return Found(format="abTEM", patterns=patterns, storage_chunks=chunks, dataset="array0", **named)


def _axis(given: dict[str, Any]) -> dict[str, Any]:
    axis = {"kind": given.get("type"), "scale": given.get("sampling")}
    return axis | {"offset": given.get("offset"), "units": given.get("units")}


def _attributes(path: Path) -> dict[str, Any]:
    try:
        content = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


FORMAT = Format(name="abTEM", recognise=_recognise, read=_read)
