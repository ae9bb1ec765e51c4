"""What a file format offers (`Format`), what it is asked (`Request`) and what it gives back (`Found`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbistem.scan import Axis

__all__ = ["HEAD_BYTES", "Format", "Found", "Look", "Request"]

HEAD_BYTES = 4096
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asked for; None where nothing was said.

    Attributes
    ----------
    dataset
        Key inside the file.
    positions
        Key of the positions inside the file (a list outside of it is handled by the caller).
    shape
        (y, x), (n, ky, kx) or (y, x, ky, kx).
    dtype, offset, frame_gap
        Of raw data: number type, bytes before the first frame, bytes after each frame.
    """

    dataset: str | None = None
    positions: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    offset: int | None = None
    frame_gap: int | None = None

    @property
    def is_raw(self) -> bool:
        """True if an option was given that only raw data have."""
        return self.dtype is not None or self.offset is not None or self.frame_gap is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The first glance at a path.

    Attributes
    ----------
    path
        File or folder.
    head
        The first 4096 bytes of a file; empty for a folder.
    names
        Names in a folder, or in a zip archive; empty otherwise.
    request
        What the user asked for.
    """

    path: Path
    head: bytes = b""
    names: tuple[str, ...] = ()
    request: Request = field(default_factory=Request)

    @property
    def suffix(self) -> str:
        """Suffix in small letters, with its dot."""
        return self.path.suffix.lower()

    @property
    def is_folder(self) -> bool:
        """True for a folder."""
        return self.path.is_dir()

    @property
    def is_zip(self) -> bool:
        """True for a zip archive."""
        return self.head[:4] == b"PK\x03\x04"

    @property
    def is_hdf5(self) -> bool:
        """True for HDF5, also after a user block of 512, 1024, 2048... bytes."""
        if any(self.head[at : at + 8] == _HDF5 for at in (0, 512, 1024, 2048)):
            return True
        return len(self.head) == HEAD_BYTES and _lies_later(self.path)


def _lies_later(path: Path) -> bool:
    """Whether HDF5 begins behind a user block that is longer than the first glance."""
    try:
        with path.open("rb") as file:
            size, at = os.fstat(file.fileno()).st_size, HEAD_BYTES
            while at < size:
                file.seek(at)
                if file.read(len(_HDF5)) == _HDF5:
                    return True
                at *= 2
    except OSError:
        return False
    return False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Found:
    """What a reader found.

    Attributes
    ----------
    patterns
        (n, ky, kx), (y, x, ky, kx) or (ky, kx): NumPy, Dask, or a recipe (see `orbistem.io.lazy`).
    storage_chunks
        Chunk shape in the file; None if contiguous.
    order
        Axes of `patterns` in the order scan, ky, kx; None if they are so already.
    scan_shape
        Grid that the file gives for a flat stack.
    axes_known
        True if the file says which axes belong to the scan.

    The rest is as in `Scan` and `Provenance`.
    """

    format: str
    patterns: Any
    storage_chunks: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None
    dataset: str | None = None
    scan_shape: tuple[int, int] | None = None
    scan_axes: tuple[Axis, ...] | None = None
    detector_axes: tuple[Axis, Axis] | None = None
    axes_known: bool = False
    positions: Any = None
    position_units: str = "px"
    pixel_valid: Any = None
    measured: Any = None
    scan_vectors: Any = None
    found: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One format: how it is recognised by its content, and how it is read."""

    name: str
    recognise: Callable[[Look], bool]
    read: Callable[[Path, Request], Found]
