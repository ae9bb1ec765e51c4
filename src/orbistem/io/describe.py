"""What is in a scan, as plain values: for `orbistem info` and for records of a run."""

from __future__ import annotations

from typing import Any

from orbistem.scan import Axis, Scan

__all__ = ["describe"]


def describe(scan: Scan) -> dict[str, Any]:
    """Facts about a scan without reading its patterns; only text, numbers, lists and dictionaries.

    Returns
    -------
    dict
        path, format, dataset, shape, scan_shape, detector_shape, dtype, bytes, lazy, axes (name, size, scale,
        offset, units), positions (count and range, or None), not_measured, masked_pixels, found, assumed,
        warnings, checksum.

    Examples
    --------
    >>> import numpy as np
    >>> describe(Scan.from_array(np.zeros((4, 3, 8, 8), np.uint16)))["shape"]
    [4, 3, 8, 8]
    """
    about = scan.provenance
    sizes = (*scan.scan_shape, *scan.detector_shape)
    axes = (*scan.scan_axes, *scan.detector_axes)
    return {
        "path": about.path,
        "format": about.format,
        "dataset": about.dataset,
        "shape": list(sizes),
        "scan_shape": list(scan.scan_shape),
        "detector_shape": list(scan.detector_shape),
        "dtype": str(scan.dtype),
        "bytes": scan.nbytes,
        "lazy": hasattr(scan.patterns, "dask"),
        "axes": [_axis(axis, size) for axis, size in zip(axes, sizes, strict=True)],
        "positions": _positions(scan),
        "not_measured": int((~scan.measured).sum()),
        "masked_pixels": int((~scan.pixel_valid).sum()),
        "found": list(about.found),
        "assumed": list(about.assumed),
        "warnings": list(about.warnings),
        "checksum": about.checksum,
    }


def _axis(axis: Axis, size: int) -> dict[str, Any]:
    return {
        "name": axis.name,
        "size": int(size),
        "scale": float(axis.scale),
        "offset": float(axis.offset),
        "units": axis.units,
    }


def _positions(scan: Scan) -> dict[str, Any] | None:
    if scan.positions is None:
        return None
    low, high = scan.positions.min(axis=0), scan.positions.max(axis=0)
    return {
        "count": scan.n_positions,
        "y": [float(low[0]), float(high[0])],
        "x": [float(low[1]), float(high[1])],
        "units": scan.position_units,
    }
