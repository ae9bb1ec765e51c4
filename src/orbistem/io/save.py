"""Write a scan to .hspy or .zspy, with axes, and with what those formats have no place for beside it."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from orbistem.durable import write_aside
from orbistem.errors import OptionError
from orbistem.io.extras import extras_of
from orbistem.scan import Scan

__all__ = ["save_scan"]

WRITERS = {".hspy": "rsciio.hspy", ".zspy": "rsciio.zspy"}


def save_scan(scan: Scan, path: Path | str) -> None:
    """Write all patterns, block by block if they are lazy; the file is complete or not there.

    Parameters
    ----------
    scan
        A grid is written as (y, x, ky, kx), a list as (position, ky, kx) with its positions.
    path
        NAME.hspy (HDF5) or NAME.zspy (Zarr folder); an existing one is replaced.

    Raises
    ------
    OptionError
        Another suffix.
    OutputError
        The disk is full, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise OptionError(f"want a name that ends in .hspy or .zspy, got {path.name}; change the suffix")
    writer = import_module(WRITERS[path.suffix.lower()])
    with write_aside(path) as aside, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr 2 announces zarr 3; the writer comments on chunks
        writer.file_writer(str(aside), _signal(scan, path.stem), show_progressbar=False)


def _signal(scan: Scan, title: str) -> dict[str, Any]:
    """The dictionary that RosettaSciIO writes."""
    n_scan = len(scan.scan_axes)
    sizes = (*scan.scan_shape, *scan.detector_shape)
    axes = [
        {
            "name": axis.name,
            "size": int(size),
            "scale": float(axis.scale),
            "offset": float(axis.offset),
            "units": axis.units,
            "navigate": index < n_scan,
            "index_in_array": index,
        }
        for index, (axis, size) in enumerate(zip((*scan.scan_axes, *scan.detector_axes), sizes, strict=True))
    ]
    return {
        "data": scan.patterns,
        "axes": axes,
        "metadata": {
            "General": {"title": title},
            "Signal": {"signal_type": ""},
            "orbistem": extras_of(scan),
        },
        "original_metadata": {},
        "attributes": {"_lazy": hasattr(scan.patterns, "dask")},
        "package": "",
        "package_version": "",
        "package_info": "",
        "learning_results": {},
        "models": {},
        "tmp_parameters": {},
    }
