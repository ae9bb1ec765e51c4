"""Nion Swift: .ndata and .ndata1, a zip archive of data.npy and metadata.json (for its HDF5 see `hdf5`)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from orbistem.errors import FormatError, OptionError, one_line
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.nion import axes_of, intensity_words, parse
from orbistem.io.stack import sort_axes
from orbistem.io.zipped import member_array

__all__ = ["FORMAT"]

_DATA, _META = "data.npy", "metadata.json"
_MAX_META_BYTES = 2**24


def _read(path: Path, request: Request) -> Found:
    if request.dataset not in (None, "data"):
        raise OptionError(f"dataset: {path.name} holds data only, got {request.dataset}; leave it out")
    try:
        with zipfile.ZipFile(path) as archive:
            patterns = member_array(path, archive, archive.getinfo(_DATA))
            with archive.open(_META) as file:
                text = file.read(_MAX_META_BYTES)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{path} is a damaged archive ({one_line(error)}); copy it again") from error
    named: dict[str, Any] = {}
    properties = parse(text)
    if not properties:
        named["warnings"] = ("metadata.json is unreadable; the patterns alone are used",)
    axes = axes_of(properties, len(patterns.shape))
    if axes is not None:
        named |= sort_axes(*axes)
        named["found"] = ("axes and calibrations from metadata.json",)
    named["found"] = (*named.get("found", ()), *intensity_words(properties))
    return Found(format="Nion (ndata)", patterns=patterns, dataset="data", **named)


def _recognise(look: Look) -> bool:
    return look.is_zip and _DATA in look.names and _META in look.names


FORMAT = Format(name="Nion (ndata)", recognise=_recognise, read=_read)
