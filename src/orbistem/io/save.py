"""Write a scan, with axes, and with what the formats have no place for beside it.

All suffixes hold HyperSpy's layout, which says what every axis means and is read lazily by HyperSpy, LiberTEM
and orbistem: .hspy and .h5 are HDF5, .zspy and .zarr are Zarr (format 2).
"""

from __future__ import annotations

import math
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from orbistem.durable import write_aside
from orbistem.errors import OptionError
from orbistem.io.extras import extras_of
from orbistem.progress import Progress, Silent
from orbistem.scan import Scan

__all__ = ["WRITERS", "require_writable", "save_scan"]

WRITERS = {
    ".hspy": "rsciio.hspy",
    ".h5": "rsciio.hspy",
    ".hdf5": "rsciio.hspy",
    ".zspy": "rsciio.zspy",
    ".zarr": "rsciio.zspy",
}
CHUNK_BYTES = 4 * 2**20
"""Size of a stored chunk before compression: whole patterns, neighbours along a scan line."""


def require_writable(path: Path) -> str:
    """The suffix of a name that can be written, in small letters.

    Raises
    ------
    OptionError
        Another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise OptionError(
            f"want a name that ends in {', '.join(list(WRITERS)[:-1])} or {list(WRITERS)[-1]}, "
            f"got {path.name or path}; change the suffix"
        )
    return suffix


def save_scan(scan: Scan, path: Path | str, *, progress: Progress | None = None) -> None:
    """Write all patterns, block by block if they are lazy; the file is complete or not there.

    Parameters
    ----------
    scan
        A grid is written as (y, x, ky, kx), a list as (position, ky, kx) with its positions.
    path
        NAME.hspy or NAME.h5 (HDF5), NAME.zspy or NAME.zarr (Zarr folder); an existing one is replaced.
    progress
        Told how many pieces of a lazy scan are written.

    Raises
    ------
    OptionError
        Another suffix.
    OutputError
        The disk is full, or the folder cannot be written.
    """
    path = Path(path)
    writer = import_module(WRITERS[require_writable(path)])
    chunks = _chunks((*scan.scan_shape, *scan.detector_shape), scan.dtype.itemsize)
    with write_aside(path) as aside, warnings.catch_warnings(), _told(progress or Silent(), scan):
        warnings.simplefilter("ignore")  # zarr 2 announces zarr 3; the writer comments on chunks
        writer.file_writer(str(aside), _signal(scan, _title(path)), chunks=chunks, show_progressbar=False)


def _title(path: Path) -> str:
    """Name of the signal: that of the file, as text that every format can keep."""
    return path.stem.encode("utf-8", errors="replace").decode().strip(".") or "patterns"


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Whole patterns, as many neighbours along the last scan axis as fit, then lines."""
    room = max(1, CHUNK_BYTES // (shape[-2] * shape[-1] * itemsize))
    sizes = []
    for size in reversed(shape[:-2]):
        sizes.append(min(size, room))
        room = max(1, room // size)
    return (*reversed(sizes), *shape[-2:])


def _told(progress: Progress, scan: Scan) -> Any:
    """A context in which Dask reports every piece that it has written."""
    from dask.callbacks import Callback

    chunks = _chunks((*scan.scan_shape, *scan.detector_shape), scan.dtype.itemsize)
    total = math.prod(
        math.ceil(size / chunk)
        for size, chunk in zip((*scan.scan_shape, *scan.detector_shape), chunks, strict=True)
    )

    class Told(Callback):
        def _start(self, dsk: Any) -> None:
            progress.start("writing patterns", total)

        def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
            if str(key[0] if isinstance(key, tuple) else key).startswith("store"):
                progress.advance(1)

        def _finish(self, dsk: Any, state: Any, errored: Any) -> None:
            progress.finish()

    return Told()  # type: ignore[no-untyped-call]


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
