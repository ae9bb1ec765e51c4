"""CXI: coherent X-ray imaging (ptychography), with mask, translations and geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import FormatError
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.formats import hdf5
from orbistem.io.positions import columns_of
from orbistem.scan import Axis

__all__ = ["FORMAT"]

_DATA = ("entry_1/data_1/data", "entry_1/instrument_1/detector_1/data", "entry_1/image_1/data")
_DETECTOR = "entry_1/instrument_1/detector_1"
_MASKS = (f"{_DETECTOR}/mask", "entry_1/data_1/mask", "entry_1/image_1/mask")
_TRANSLATIONS = (
    "entry_1/data_1/translation",
    "entry_1/sample_1/geometry_1/translation",
    "entry_1/sample_1/geometry_1/translations",
    f"{_DETECTOR}/translation",
)
_ELECTRONVOLT_J = 1.602176634e-19


def _recognise(look: Look) -> bool:
    if not look.is_hdf5 or look.request.dataset is not None:
        return False
    try:
        with hdf5.open_hdf5(look.path) as file:
            return "cxi_version" in file and _first(file, _DATA) is not None
    except FormatError:
        return False


def _read(path: Path, request: Request) -> Found:
    with hdf5.open_hdf5(path) as file:
        data = file[_first(file, _DATA)]
        recipe, _, key = hdf5.read_dataset(data)
        named: dict[str, Any] = {}
        found = [f"CXI, patterns in {key.lstrip('/')}"]
        if (mask_key := _first(file, _MASKS)) is not None:
            bad = np.asarray(file[mask_key][()]) != 0
            bad = bad.any(axis=0) if bad.ndim == 3 else bad
            if bad.shape == data.shape[-2:] and not bad.all():
                named["pixel_valid"] = ~bad
                found.append(f"{int(bad.sum())} masked pixels from {mask_key}; give --mask to change it")
        wanted = (request.positions,) if request.positions else _TRANSLATIONS
        if data.ndim == 3 and (where := _first(file, wanted)) is not None:
            table = np.asarray(file[where][()])
            if table.ndim == 2 and len(table) == len(data):
                named["positions"], columns = columns_of(where, table)
                named["position_units"] = "m"
                found.append(f"positions from {where} ({columns})")
        axes, words = _geometry(file)
        return Found(
            format="CXI",
            patterns=recipe,
            storage_chunks=data.chunks,
            dataset=key.lstrip("/"),
            detector_axes=axes,
            found=(*found, *words),
            **named,
        )


def _geometry(file: Any) -> tuple[tuple[Axis, Axis] | None, list[str]]:
    """Angle per pixel from pixel size over distance; energy for the record."""
    words = []
    energy = _number(file, "entry_1/instrument_1/source_1/energy")
    if energy:
        words.append(f"photon energy {energy / _ELECTRONVOLT_J / 1e3:.4g} keV")
    distance = _number(file, f"{_DETECTOR}/distance")
    sizes = [_number(file, f"{_DETECTOR}/{letter}_pixel_size") for letter in "yx"]
    if not distance or not all(sizes):
        return None, words
    words.append(f"detector distance {abs(distance):.4g} m")
    ky, kx = (
        Axis(name=n, scale=abs(s / distance) * 1e3, units="mrad")
        for n, s in zip(("ky", "kx"), sizes, strict=True)
        if s
    )
    return (ky, kx), words


def _first(file: Any, keys: tuple[str, ...]) -> str | None:
    for key in keys:
        try:
            if key in file and hasattr(file[key], "shape"):
                return key
        except (KeyError, OSError, RuntimeError):
            continue
    return None


def _number(file: Any, key: str) -> float | None:
    try:
        value = float(np.asarray(file[key][()]).reshape(-1)[0]) if key in file else None
    except (KeyError, OSError, TypeError, ValueError, IndexError):
        return None
    return value if value is not None and np.isfinite(value) else None


FORMAT = Format(name="CXI", recognise=_recognise, read=_read)
