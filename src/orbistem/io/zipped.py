"""Arrays in zip archives (.npz, .ndata1): mapped where uncompressed, unpacked piece by piece where not."""

from __future__ import annotations

import os
import struct
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import FormatError, one_line
from orbistem.io.same_file import OneFile

__all__ = ["MappedArray", "PackedArray", "member_array", "read_header", "require_bytes"]

IN_MEMORY_BYTES = 2**28
"""A compressed array up to this size is unpacked at once; a larger one whenever a part is read."""
MAX_RATIO = 1100
"""Deflate packs at most 1032 : 1; a header that claims more lies."""


@dataclass(frozen=True, slots=True)
class MappedArray(OneFile):
    """Recipe of an array that lies uncompressed in a file, mapped while a part is read."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part."""
        order: Any = "F" if self.fortran_order else "C"
        try:
            mapped = np.memmap(
                self.path, mode="r", dtype=self.dtype, shape=self.shape, offset=self.offset, order=order
            )
        except (OSError, ValueError) as error:
            raise FormatError(
                f"{self.path} has changed since it was opened ({one_line(error)}); open it again"
            ) from error
        return np.array(mapped[key])


@dataclass(frozen=True, slots=True)
class PackedArray(OneFile):
    """Recipe of a compressed array in C order: unpacked from its begin, and no more kept than was asked for.

    Parts in ascending order are read in one go.
    """

    member: str
    begin: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part: all of it along the axes behind the first."""
        keys = key if isinstance(key, tuple) else (key,)
        start, stop, _ = keys[0].indices(self.shape[0])
        row_bytes = int(np.prod(self.shape[1:], dtype=object)) * self.dtype.itemsize
        raw = np.empty(max(0, stop - start) * row_bytes, np.uint8)
        _streams.read(self.path, self.member, self.begin + start * row_bytes, raw)
        return raw.view(self.dtype).reshape(-1, *self.shape[1:])[(slice(None), *keys[1:])]


class _Streams:
    """The archive member that was read last, kept open where the next part begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[str, str, int] | None = None
        self._archive: zipfile.ZipFile | None = None
        self._file: Any = None
        self._at = 0

    def read(self, path: str, member: str, offset: int, into: NDArray[np.uint8]) -> None:
        """Fill an array with what stands at an offset."""
        with self._lock:
            try:
                self._seek(path, member, offset)
                done = 0
                while done < into.size:
                    piece = self._file.read(min(1 << 22, into.size - done))
                    if not piece:
                        raise EOFError("it ends too early")
                    into[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                    done += len(piece)
                    self._at += len(piece)
            except (OSError, EOFError, KeyError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
                self._close()
                raise FormatError(
                    f"{member} in {path} is damaged ({one_line(error)}); copy it again"
                ) from error
            except BaseException:
                self._close()
                raise

    def _seek(self, path: str, member: str, offset: int) -> None:
        key = (path, member, os.stat(path).st_mtime_ns)
        if key != self._key or offset < self._at:
            self._close()
            self._archive = zipfile.ZipFile(path)
            self._file = self._archive.open(member)
            self._key = key
        while self._at < offset and (piece := self._file.read(min(1 << 22, offset - self._at))):
            self._at += len(piece)

    def _close(self) -> None:
        for one in (self._file, self._archive):
            if one is not None:
                one.close()
        self._key, self._archive, self._file, self._at = None, None, None, 0


_streams = _Streams()


def read_header(file: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type that a .npy header tells."""
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read(file)
    except (ValueError, EOFError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise FormatError(
            f"{path} is not a readable NumPy file ({one_line(error)}); copy it again"
        ) from error
    if any(size < 0 for size in shape):
        raise FormatError(f"{path} has the impossible shape {shape}; copy it again")
    return tuple(int(size) for size in shape), bool(fortran_order), dtype


def require_bytes(path: Path, have: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an array whose numbers are not all there."""
    want = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject:
        raise FormatError(f"{path} holds Python objects, which are not read; save plain numbers")
    if want > have:
        raise FormatError(
            f"{path} is cut off: want {want} bytes of numbers {shape}, got {have}; copy it again"
        )


def member_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    """One .npy of an archive: mapped, in memory, or unpacked piece by piece.

    Raises
    ------
    FormatError
        It is damaged, or claims to be larger than it can be.
    """
    if info.flag_bits & 1:
        raise FormatError(f"{info.filename} in {path} is encrypted; save it without a password")
    with archive.open(info) as file:
        shape, fortran_order, dtype = read_header(file, path)
        begin = file.tell()
    if info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise FormatError(
            f"{info.filename} in {path} claims {info.file_size} bytes in {info.compress_size} packed "
            "ones, more than is possible; copy it again"
        )
    require_bytes(path, info.file_size - begin, shape, dtype)
    where = os.path.abspath(path)
    if info.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as raw:
            raw.seek(info.header_offset + 26)
            lengths = raw.read(4)
            if len(lengths) < 4:
                raise FormatError(f"{path} is cut off; copy it again")
            name_length, extra_length = struct.unpack("<HH", lengths)
        offset = info.header_offset + 30 + name_length + extra_length + begin
        require_bytes(path, path.stat().st_size - offset, shape, dtype)
        return MappedArray(where, offset, shape, dtype, fortran_order)
    packed = PackedArray(where, info.filename, begin, shape if shape else (1,), dtype)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size <= IN_MEMORY_BYTES:
        if fortran_order:
            return PackedArray(where, info.filename, begin, (int(np.prod(shape)),), dtype)[:].reshape(
                shape, order="F"
            )
        return packed[:].reshape(shape)
    if fortran_order:
        raise FormatError(
            f"{info.filename} in {path} is compressed, in Fortran order, and with {size} bytes too "
            "large to be unpacked at once; save it in C order, or uncompressed"
        )
    return packed
