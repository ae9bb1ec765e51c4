"""Chunks of Zarr format 3: from stored bytes to numbers, with the codecs of the specification.

Sizes come from the metadata of the array, so every step knows how many bytes it may produce; a chunk that
would give more, or fewer, is refused before memory is taken for it.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import FormatError

__all__ = ["MAX_CHUNK_BYTES", "Codecs", "data_type", "make_codecs", "plain_codecs"]

MAX_CHUNK_BYTES = 2**30
"""A chunk (or shard) beyond this is not read: it could not be held in memory beside others."""
_TYPES = {
    "bool": "?",
    **{f"{kind}{bits}": f"{kind[0]}{bits // 8}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"f{bits // 8}" for bits in (16, 32, 64)},
}
_MISSING = 2**64 - 1

Read = Callable[[int, int], bytes]
"""Bytes of a stored object from an offset (negative: from its end), so many of them."""


def data_type(name: Any) -> np.dtype[Any]:
    """NumPy type of a data type of the specification.

    Raises
    ------
    FormatError
        Not a plain number.
    """
    if not isinstance(name, str) or name not in _TYPES:
        raise FormatError(
            f"want plain numbers, got the data type {name}; choose another array with --dataset"
        )
    return np.dtype(_TYPES[name])


@dataclass(frozen=True, kw_only=True, slots=True)
class Codecs:
    """How the chunks of one array are stored.

    Attributes
    ----------
    order
        Permutation of the axes, from transpose codecs.
    byte_order
        "<" or ">".
    packing
        Names of the codecs from bytes to bytes, in the order of encoding.
    inner
        Chunks inside a shard, their codecs, and those of the index and whether it stands at the end;
        None where chunks lie alone.
    """

    order: tuple[int, ...]
    byte_order: Literal["<", ">"] = "<"
    packing: tuple[str, ...] = ()
    inner: tuple[tuple[int, ...], Codecs, Codecs, bool] | None = None

    def decode(self, raw: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Numbers of a chunk that lies alone."""
        want = math.prod(shape) * dtype.itemsize
        for name in reversed(self.packing):
            raw = _unpack(name, raw, want)
        if len(raw) != want:
            raise FormatError(f"want {want} bytes in a chunk, got {len(raw)}")
        stored = tuple(shape[axis] for axis in self.order)
        array = np.frombuffer(raw, dtype.newbyteorder(self.byte_order)).reshape(stored)
        return array.transpose(np.argsort(self.order)).astype(dtype, copy=False)

    def parts(
        self, read: Read, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Sequence[tuple[tuple[int, ...], Callable[[], NDArray[Any]]]]:
        """What a stored object holds: corners inside the chunk, and functions that read the numbers there."""
        if self.inner is None:
            return [((0,) * len(shape), lambda: self.decode(read(0, -1), shape, dtype))]
        small, codecs, index_codecs, at_end = self.inner
        grid = tuple(size // part for size, part in zip(shape, small, strict=True))
        index_bytes = math.prod(grid) * 16 + (4 if "crc32c" in index_codecs.packing else 0)
        raw = read(-index_bytes if at_end else 0, index_bytes)
        index = index_codecs.decode(raw, (*grid, 2), np.dtype("u8"))
        found = []
        for place in np.ndindex(grid):
            offset, length = (int(value) for value in index[place])
            if offset == _MISSING:
                continue
            if offset + length > 2**48:
                raise FormatError("the index of a shard is damaged")
            corner = tuple(i * part for i, part in zip(place, small, strict=True))
            found.append((corner, _Part(read, offset, length, codecs, small, dtype)))
        return found


@dataclass(frozen=True, slots=True)
class _Part:
    """Reads one chunk of a shard."""

    read: Read
    offset: int
    length: int
    codecs: Codecs
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __call__(self) -> NDArray[Any]:
        return self.codecs.decode(self.read(self.offset, self.length), self.shape, self.dtype)


def plain_codecs(n_axes: int) -> Codecs:
    """Uncompressed little-endian numbers in C order."""
    return Codecs(order=tuple(range(n_axes)))


def make_codecs(listed: Any, chunk: tuple[int, ...], n_axes: int) -> Codecs:
    """Understand the list of codecs in an array's metadata.

    Raises
    ------
    FormatError
        A codec beyond transpose, bytes, sharding, gzip, zstd, blosc and crc32c.
    """
    order = tuple(range(n_axes))
    byte_order: Literal["<", ">"] = "<"
    packing: list[str] = []
    inner = None
    for codec in listed or ():
        name, options = (
            (codec, {}) if isinstance(codec, str) else (codec["name"], codec.get("configuration") or {})
        )
        if name == "transpose":
            given = options.get("order")
            turned = tuple(range(n_axes))
            if given != "C":
                turned = turned[::-1] if given == "F" else tuple(int(i) for i in given or ())
            if sorted(turned) != list(range(n_axes)):
                raise FormatError(f"the transpose codec has the order {given}")
            order = tuple(order[i] for i in turned)
        elif name == "bytes":
            byte_order = ">" if options.get("endian") == "big" else "<"
        elif name == "sharding_indexed":
            small = tuple(int(size) for size in options["chunk_shape"])
            if len(small) != n_axes or any(
                part < 1 or size % part for size, part in zip(chunk, small, strict=True)
            ):
                raise FormatError(f"shards of {chunk} do not divide into chunks of {small}")
            inner = (
                small,
                make_codecs(options.get("codecs"), small, n_axes),
                make_codecs(options.get("index_codecs"), (), n_axes + 1),
                options.get("index_location", "end") != "start",
            )
        elif name in ("gzip", "zstd", "blosc", "crc32c"):
            packing.append(name)
        else:
            raise FormatError(f"the codec {name} is not known here; write the array without it")
    if inner is not None and (packing or order != tuple(range(n_axes))):
        raise FormatError("codecs around shards are not known here; write the array without them")
    return Codecs(order=order, byte_order=byte_order, packing=tuple(packing), inner=inner)


def _unpack(name: str, raw: bytes, want: int) -> bytes:
    """Undo one codec; at most `want` bytes and a checksum come out."""
    limit = want + 64
    if name == "crc32c":
        return raw[:-4]
    if name == "gzip":
        machine = zlib.decompressobj(wbits=31)
        done = machine.decompress(raw, limit)
        if machine.unconsumed_tail or not machine.eof:
            raise FormatError(f"a chunk holds more or less than the {want} bytes of its shape")
        return done
    if name == "blosc":
        if len(raw) < 16 or struct.unpack_from("<I", raw, 4)[0] > limit:
            raise FormatError(f"a chunk claims more than the {want} bytes of its shape")
        from numcodecs.blosc import decompress

        return bytes(decompress(raw))
    if (claimed := _zstd_size(raw)) is not None and claimed > limit:
        raise FormatError(f"a chunk claims more than the {want} bytes of its shape")
    from numcodecs.zstd import decompress as unzstd

    return bytes(unzstd(raw))


def _zstd_size(raw: bytes) -> int | None:
    """Size that the header of a Zstandard frame (RFC 8878, 3.1.1.1) claims; None where it says nothing."""
    if len(raw) < 6 or raw[:4] != b"\x28\xb5\x2f\xfd":
        raise FormatError("a chunk is no Zstandard frame")
    flags = raw[4]
    single, kind = flags >> 5 & 1, flags >> 6
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    width = (1 if single else 0, 2, 4, 8)[kind]
    if width == 0 or len(raw) < at + width:
        return None
    return int.from_bytes(raw[at : at + width], "little") + (256 if width == 2 else 0)


def fill_of(given: Any, dtype: np.dtype[Any]) -> Any:
    """The value of chunks that were never written."""
    if isinstance(given, str):
        if given.startswith("0x"):
            return np.frombuffer(int(given, 16).to_bytes(dtype.itemsize, "little"), dtype.newbyteorder("<"))[
                0
            ]
        given = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}[given]
    return dtype.type(0 if given is None else given)


def names_in(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the axes, "" where there is none."""
    return tuple(str(name or "") for name in node.get("dimension_names") or ())
