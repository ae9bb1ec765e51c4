"""Scans from what is already in Python: arrays, HyperSpy signals, abTEM measurements, open files."""

from __future__ import annotations

from typing import Any

import numpy as np

from orbistem.errors import InputError
from orbistem.io.contract import Found
from orbistem.io.stack import sort_axes

__all__ = ["from_memory"]


def from_memory(source: Any) -> tuple[Found, str | None]:
    """What an object holds, and the path of its file if it has one.

    Recognised by what they offer, so that none of these packages need be installed.
    """
    if hasattr(source, "axes_manager") and hasattr(source, "data"):
        return _hyperspy(source), None
    if hasattr(source, "ensemble_axes_metadata") and hasattr(source, "base_axes_metadata"):
        return _abtem(source), None
    module = type(source).__module__.partition(".")[0]
    if module == "h5py":
        from orbistem.io.formats.hdf5 import read_dataset

        recipe, path, key = read_dataset(source)
        return Found(format="HDF5", patterns=recipe, dataset=key, storage_chunks=source.chunks), path
    if module == "zarr" and hasattr(source, "store"):
        from orbistem.io.formats.zarr_store import read_array

        recipe, path, key = read_array(source)
        return Found(format="Zarr", patterns=recipe, dataset=key or None, storage_chunks=source.chunks), path
    if isinstance(source, np.ndarray) or hasattr(source, "dask"):
        return Found(format="array", patterns=source), None
    if hasattr(source, "__array__"):
        return Found(format="array", patterns=np.asarray(source)), None
    raise InputError(
        f"want a path, an array, a HyperSpy signal or an abTEM measurement, got {type(source).__name__}; "
        "convert it"
    )


def _hyperspy(signal: Any) -> Found:
    axes = []
    for axis in signal.axes_manager._axes:  # in the order of the array; there is no public list of that
        axes.append(
            {key: getattr(axis, key, None) for key in ("name", "scale", "offset", "units", "navigate")}
        )
    named = sort_axes(axes, [axis["navigate"] for axis in axes]) if len(axes) == signal.data.ndim else {}
    return Found(format="HyperSpy signal", patterns=signal.data, **named)


def _abtem(measurement: Any) -> Found:
    if not hasattr(measurement, "fftshift"):
        raise InputError(
            f"abTEM measurement: want DiffractionPatterns, got {type(measurement).__name__}; choose them"
        )
    array = measurement.array if measurement.fftshift else fft_shifted(measurement.array)
    kinds = [type(axis).__name__ for axis in measurement.ensemble_axes_metadata]
    keys = ("sampling", "offset", "units")
    scan = [{key: getattr(axis, key, None) for key in keys} for axis in measurement.ensemble_axes_metadata]
    scan = [{"scale": one["sampling"], "offset": one["offset"], "units": one["units"]} for one in scan]
    detector = [{"scale": axis.sampling, "units": axis.units} for axis in measurement.base_axes_metadata]
    return Found(format="abTEM", patterns=array, **abtem_axes("abTEM measurement", kinds, scan, detector))


def abtem_axes(
    name: str, kinds: list[Any], scan: list[dict[str, Any]], detector: list[dict[str, Any]]
) -> dict[str, Any]:
    """Arguments of `Found` from abTEM's axes, which go x, y, kx, ky.

    Raises
    ------
    InputError
        There are axes other than those of a scan, such as frozen phonons.
    """
    if len(kinds) > 2 or any(kind != "ScanAxis" for kind in kinds):
        raise InputError(
            f"{name}: want two-dimensional patterns over a scan, got the axes {kinds}; "
            "average over the others first, for example with measurement.reduce_ensemble()"
        )
    if not kinds:
        return {"order": (1, 0)}
    axes = scan[::-1] + detector[::-1]
    named = sort_axes(axes, [True] * len(scan) + [False, False])
    n_scan = len(scan)
    order = (*reversed(range(n_scan)), n_scan + 1, n_scan)
    return named | {"order": order, "found": ("axes turned from abTEM's x, y to y, x",)}


def fft_shifted(array: Any) -> Any:
    """Zero frequency from the corner to the middle of the last two axes."""
    if isinstance(array, np.ndarray):
        return np.fft.fftshift(array, axes=(-2, -1))
    import dask.array as da

    return da.fft.fftshift(array, axes=(-2, -1))
