"""Compressed MRCZ: the header of MRC, then every pattern as one Blosc chunk, read one by one.

McLeod, Diogo Righetto, Stewart & Stahlberg, J. Struct. Biol. 201, 252 (2018). The mode in the header is that
of MRC plus 1000 times the number of a codec; each chunk begins with 16 bytes that say how long it is, packed
and unpacked. Uncompressed files are MRC and left to RosettaSciIO.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import FormatError, MissingExtraError, OptionError, one_line
from orbistem.io.axes import make_axes
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.lazy import FramesAt

__all__ = ["FORMAT", "MrczArray"]

HEAD_BYTES, CHUNK_HEAD_BYTES = 1024, 16
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 7: "i4", 8: "u4"}
PER_CODEC, LAST_CODEC = 1000, 15
BLOSC_1, BLOSC_2 = 2, 5
"""Version byte of the chunks that numcodecs unpacks, and of those that the package blosc2 unpacks."""
NM_PER_ANGSTROM = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class MrczArray(FramesAt):
    """Recipe of patterns that are chunks of some sizes (n,)."""

    sizes: NDArray[np.int64]

    def read_one(self, file: BinaryIO, index: int, n_bytes: int) -> bytes:
        """One chunk, unpacked."""
        raw = file.read(int(self.sizes[index]))
        if not raw or _lengths(raw) != (n_bytes, len(raw)):
            raise self.changed()
        unpack = _unpacker(raw[0], self.path)
        try:
            return bytes(unpack(raw))
        except Exception as error:  # blosc2 raises several kinds for damaged chunks
            raise FormatError(
                f"pattern {index} in {self.path} is damaged ({one_line(error)}); copy it again"
            ) from error


def _unpacker(version: int, path: str) -> Callable[[bytes], Any]:
    """What unpacks a chunk of this version."""
    module, name = {BLOSC_1: ("numcodecs.blosc", "decompress"), BLOSC_2: ("blosc2", "decompress2")}.get(
        version, ("", "")
    )
    if not module:
        raise FormatError(f"{path} holds chunks of Blosc version {version}, which is unknown; copy it again")
    try:
        unpack: Callable[[bytes], Any] = getattr(import_module(module), name)
    except ImportError as error:
        raise MissingExtraError(
            f'{path} is compressed with Blosc 2; run pip install "orbistem[mrcz]", or save it with '
            "mrcz's backend='blosc1'"
        ) from error
    return unpack


def _byte_order(head: bytes) -> str | None:
    """How the header is written, if it is one of compressed patterns."""
    for order in "<>":
        codec, mode = divmod(struct.unpack_from(order + "i", head, 12)[0], PER_CODEC)
        if 0 < codec <= LAST_CODEC and (mode in MODES or mode in (4, 101)):
            return order
    return None


def _recognise(look: Look) -> bool:
    named = look.suffix in (".mrcz", ".mrc") and not look.is_folder and not look.request.is_raw
    return named and len(look.head) >= HEAD_BYTES and _byte_order(look.head) is not None


def _read(path: Path, request: Request) -> Found:
    if request.dataset is not None:
        raise OptionError(f"dataset: {path.name} has no named arrays; leave --dataset out")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        order = _byte_order(head) or "<"
        columns, rows, n, mode = struct.unpack_from(order + "4i", head, 0)
        kind = MODES.get(mode % PER_CODEC)
        if kind is None:
            raise FormatError(f"{path.name} holds complex or 4-bit numbers; save counts as integers")
        if min(columns, rows, n) < 1:
            raise FormatError(f"{path.name} claims {n} patterns of {rows} x {columns}; copy it again")
        dtype = np.dtype(order + kind)
        first = HEAD_BYTES + max(struct.unpack_from(order + "i", head, 92)[0], 0)
        offsets, sizes = _chunks(file, first, n, rows * columns * dtype.itemsize, path)
    cell = struct.unpack_from(order + "3f", head, 40)
    steps = [
        {"scale": NM_PER_ANGSTROM * length / size, "units": "nm"}
        for length, size in zip(cell[1::-1], (rows, columns), strict=True)
    ]
    (ky, kx), notes = make_axes(steps, ("ky", "kx"))
    return Found(
        format="MRCZ (compressed)",
        patterns=MrczArray(os.path.abspath(path), offsets, (rows, columns), dtype, sizes),
        storage_chunks=(1, rows, columns),
        detector_axes=(ky, kx),
        warnings=notes,
    )


def _chunks(
    file: Any, first: int, n: int, n_bytes: int, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offset and packed size of every chunk: walked from one to the next, never beyond the end."""
    end = os.fstat(file.fileno()).st_size
    offsets: list[int] = []
    sizes: list[int] = []
    at = first
    while len(offsets) < n:
        file.seek(at)
        head = file.read(CHUNK_HEAD_BYTES)
        if len(head) < CHUNK_HEAD_BYTES:
            raise FormatError(f"{path.name} is cut off: {len(offsets)} of {n} patterns; copy it again")
        if not offsets:
            _unpacker(head[0], path.name)
        unpacked, packed = _lengths(head)
        if unpacked != n_bytes or packed < CHUNK_HEAD_BYTES:
            raise FormatError(
                f"{path.name} has a chunk of {unpacked} bytes where a pattern has {n_bytes}; copy it again"
            )
        if at + packed > end:
            raise FormatError(f"{path.name} is cut off: {len(offsets)} of {n} patterns; copy it again")
        offsets.append(at)
        sizes.append(packed)
        at += packed
    return np.array(offsets, np.int64), np.array(sizes, np.int64)


def _lengths(head: bytes) -> tuple[int, int]:
    """Bytes of a chunk, unpacked and packed, as its first 16 bytes say."""
    if len(head) < CHUNK_HEAD_BYTES:
        return 0, 0
    unpacked, _, packed = struct.unpack_from("<3I", head, 4)
    return unpacked, packed


FORMAT = Format(name="MRCZ (compressed)", recognise=_recognise, read=_read)
