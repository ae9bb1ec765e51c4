"""NumPy files: .npy, mapped from disk, and .npz."""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import FormatError, OptionError
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.positions import LIST_NAME, columns_of

__all__ = ["NPY", "NPZ", "MappedArray"]

_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True, slots=True)
class MappedArray:
    """Recipe of an array that lies uncompressed in a file, mapped while a part is read."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read a part."""
        order: Any = "F" if self.fortran_order else "C"
        mapped = np.memmap(
            self.path, mode="r", dtype=self.dtype, shape=self.shape, offset=self.offset, order=order
        )
        return np.array(mapped[key])


def _read_npy(path: Path, request: Request) -> Found:
    if request.dataset is not None:
        raise OptionError(f"dataset: {path.name} holds a single array, got {request.dataset}; leave it out")
    with path.open("rb") as file:
        shape, fortran_order, dtype = _header(file, path)
        offset = file.tell()
    _require_bytes(path, path.stat().st_size - offset, shape, dtype)
    patterns = MappedArray(os.path.abspath(path), offset, shape, dtype, fortran_order)
    return Found(format="NumPy (.npy)", patterns=patterns)


def _read_npz(path: Path, request: Request) -> Found:
    try:
        with zipfile.ZipFile(path) as archive:
            heads = {}
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    with archive.open(info) as file:
                        heads[info.filename[:-4]] = (_header(file, path), info)
            key = _choose(heads, request.dataset, path)
            patterns = _array(path, archive, *heads[key])
            positions, words = _positions(heads, patterns, request, path, archive)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise FormatError(f"{path} is a damaged archive ({error}); copy it again") from error
    return Found(format="NumPy (.npz)", patterns=patterns, dataset=key, positions=positions, found=words)


def _header(file: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read(file)
    except (ValueError, EOFError, TypeError, SyntaxError) as error:
        raise FormatError(f"{path} is not a readable NumPy file ({error}); copy it again") from error
    return tuple(int(size) for size in shape), bool(fortran_order), dtype


def _require_bytes(path: Path, have: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    want = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject:
        raise FormatError(f"{path} holds Python objects, which are not read; save plain numbers")
    if want > have:
        raise FormatError(
            f"{path} is cut off: want {want} bytes of numbers {shape}, got {have}; copy it again"
        )


def _choose(heads: dict[str, Any], dataset: str | None, path: Path) -> str:
    shapes = {key: head[0][0] for key, head in heads.items()}
    if dataset is not None:
        if dataset in heads:
            return dataset
        raise OptionError(f"dataset: {path.name} has no key {dataset}; choose one of {_listed(shapes)}")
    stacks = [
        key
        for key, (head, _) in heads.items()
        if head[2].kind in "biuf" and len(head[0]) in (3, 4) and min(head[0][-2:]) > 1 and 0 not in head[0]
    ]
    if len(stacks) == 1:
        return stacks[0]
    if not stacks and len(heads) == 1 and len(next(iter(shapes.values()))) == 2:
        return next(iter(heads))  # a single pattern, or a mask
    if not stacks:
        raise FormatError(
            f"{path.name} holds no stack of two-dimensional patterns (numbers with 3 or 4 axes, none empty), "
            f"only {_listed(shapes) or 'nothing'}; name an array with --dataset, or choose another file"
        )
    listed = _listed({key: shapes[key] for key in stacks})
    raise FormatError(f"{path.name} holds several stacks of patterns; choose one with --dataset: {listed}")


def _listed(shapes: dict[str, tuple[int, ...]]) -> str:
    return "; ".join(f"{key} {shape}" for key, shape in list(shapes.items())[:8])


def _array(path: Path, archive: zipfile.ZipFile, head: Any, info: zipfile.ZipInfo) -> Any:
    """Mapped from disk where the archive does not compress; else in memory."""
    shape, fortran_order, dtype = head
    with archive.open(info) as file:
        _header(file, path)
        begin = file.tell()
        _require_bytes(path, info.file_size - begin, shape, dtype)
        if info.compress_type != zipfile.ZIP_STORED:
            flat = np.empty(int(np.prod(shape)), dtype=dtype)
            view, done = flat.view(np.uint8).reshape(-1), 0
            while piece := file.read(min(1 << 22, view.size - done)):
                view[done : done + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
                done += len(piece)
            return flat.reshape(shape, order="F" if fortran_order else "C")
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", raw.read(4))
    offset = info.header_offset + 30 + name_length + extra_length + begin
    return MappedArray(os.path.abspath(path), offset, shape, dtype, fortran_order)


def _positions(
    heads: dict[str, Any], patterns: Any, request: Request, path: Path, archive: zipfile.ZipFile
) -> tuple[Any, tuple[str, ...]]:
    if request.positions is not None:
        if request.positions not in heads:
            keys = _listed({key: head[0][0] for key, head in heads.items()})
            raise OptionError(
                f"positions: want a key of {path.name} or a CSV file, got {request.positions}; "
                f"keys are {keys}"
            )
        keys_found = [request.positions]
    else:
        n_frames = patterns.shape[0] if patterns.ndim == 3 else -1
        keys_found = [
            key
            for key, (head, _) in heads.items()
            if LIST_NAME.fullmatch(key)
            and head[0] in {(n_frames, 2), (n_frames, 3)}
            and head[2].kind in "iuf"
        ]
    if len(keys_found) != 1:
        return None, ()
    key = keys_found[0]
    table = _array(path, archive, *heads[key])
    values, columns = columns_of(key, table[...] if isinstance(table, MappedArray) else table)
    return values, (f"positions from {key} ({columns})",)


def _is_npz(look: Look) -> bool:
    return (
        look.is_zip
        and any(name.endswith(".npy") for name in look.names)
        and "meta_data.json" not in look.names
    )


NPY = Format(name="NumPy (.npy)", recognise=lambda look: look.head[:6] == _MAGIC, read=_read_npy)
NPZ = Format(name="NumPy (.npz)", recognise=_is_npz, read=_read_npz)
