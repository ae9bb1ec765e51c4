"""A cheap checksum of content: enough to tell that the same data are there again, not a proof."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["array_checksum", "path_checksum"]

_END_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 16
_SAMPLES = 16


def path_checksum(path: Path) -> str:
    """Checksum of a file (size, begin, end and some blocks), or of a folder (names, sizes, some files)."""
    digest = hashlib.sha256()
    if not path.is_dir():
        _add_file(digest, path)
        return digest.hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
    for index in np.unique(np.linspace(0, len(files) - 1, _SAMPLES).astype(int)) if files else ():
        _add_file(digest, files[index])
    return digest.hexdigest()


def array_checksum(array: Any) -> str:
    """Checksum of an array: shape, type and some of its bytes; of a Dask array its first and last pattern."""
    digest = hashlib.sha256(f"{tuple(array.shape)} {array.dtype.str}".encode())
    if isinstance(array, np.ndarray):
        flat = (
            array.reshape(-1)
            if array.flags.c_contiguous
            else array[(0,) * max(0, array.ndim - 2)].reshape(-1)
        )
        step = max(1, _SAMPLE_BYTES // array.dtype.itemsize)
        for start in np.unique(np.linspace(0, max(0, flat.size - step), 4 * _SAMPLES).astype(int)):
            digest.update(np.ascontiguousarray(flat[start : start + step]).tobytes())
        return digest.hexdigest()
    for at in (0, -1):
        pattern = array[(at,) * max(0, array.ndim - 2)]
        digest.update(np.ascontiguousarray(pattern.compute(scheduler="synchronous")).tobytes())
    return digest.hexdigest()


def _add_file(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_END_BYTES))
        if size <= _END_BYTES:
            return
        for start in np.linspace(_END_BYTES, max(_END_BYTES, size - _END_BYTES), _SAMPLES).astype(int):
            file.seek(int(start))
            digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(_END_BYTES, size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
