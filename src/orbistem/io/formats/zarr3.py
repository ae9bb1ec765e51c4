"""Zarr format 3 (zarr.json): a folder or a zip archive, read chunk by chunk without the zarr package.

The installed zarr understands format 2 only, because .zspy needs it; others write format 3.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import FormatError, one_line
from orbistem.io.axes import as_text
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.extras import restore_extras
from orbistem.io.formats.zarr3_chunks import (
    MAX_CHUNK_BYTES,
    Codecs,
    data_type,
    fill_of,
    make_codecs,
    names_in,
)
from orbistem.io.stack import assemble
from orbistem.io.tree import Entry, attribute, candidates, choose, parent_of

__all__ = ["FORMAT", "Zarr3Array"]

_META = "zarr.json"
_MAX_META_BYTES = 2**24
_MAX_NODES = 10_000


@dataclass(frozen=True, slots=True)
class _Store:
    """Bytes by key, in a folder or a zip archive; nothing stays open."""

    path: str

    def read(self, key: str, offset: int = 0, length: int = -1) -> bytes | None:
        """Some bytes of an object; None where it does not exist."""
        try:
            if os.path.isdir(self.path):
                with open(os.path.join(self.path, *key.split("/")), "rb") as file:
                    file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
                    return file.read(length if length >= 0 else MAX_CHUNK_BYTES)
            with zipfile.ZipFile(self.path) as archive, archive.open(key) as member:
                if offset < 0:
                    offset += archive.getinfo(key).file_size
                _skip(member, offset)
                return member.read(length if length >= 0 else MAX_CHUNK_BYTES)
        except (FileNotFoundError, NotADirectoryError, KeyError):
            return None

    def nodes(self) -> list[str]:
        """Keys of all zarr.json, the root's first."""
        if os.path.isdir(self.path):
            found = []
            for folder, folders, names in os.walk(self.path):
                if _META in names:
                    found.append(os.path.relpath(os.path.join(folder, _META), self.path).replace(os.sep, "/"))
                if "c" in folders:  # chunks of an array, not nodes
                    folders.remove("c")
                if len(found) > _MAX_NODES:
                    break
        else:
            with zipfile.ZipFile(self.path) as archive:
                found = [name for name in archive.namelist() if name.rpartition("/")[2] == _META][:_MAX_NODES]
        return sorted(found, key=lambda key: (key.count("/"), key))


@dataclass(frozen=True, slots=True)
class Zarr3Array:
    """Recipe of one array."""

    store: _Store
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    codecs: Codecs
    prefix: str
    separator: str
    fill: Any

    @property
    def path(self) -> str:
        """Absolute, of the store."""
        return self.store.path

    @property
    def watched(self) -> tuple[str, ...]:
        """Files that must be as they were when they were opened (see `orbistem.io.same_file`)."""
        if os.path.isdir(self.path):
            return (os.path.join(self.path, *filter(None, self.key.split("/")), _META),)
        return (self.path,)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part: every chunk that it touches, once."""
        keys = key if isinstance(key, tuple) else (key,)
        keys = keys + (slice(None),) * (self.ndim - len(keys))
        bounds = [part.indices(size)[:2] for part, size in zip(keys, self.shape, strict=True)]
        whole = np.full([max(0, stop - start) for start, stop in bounds], self.fill, self.dtype)
        if 0 in whole.shape:
            return whole
        ranges = [
            range(start // size, (stop - 1) // size + 1)
            for (start, stop), size in zip(bounds, self.chunks, strict=True)
        ]
        for index in np.ndindex(*[len(one) for one in ranges]):
            self._copy(whole, bounds, tuple(one[i] for one, i in zip(ranges, index, strict=True)))
        return whole

    def _copy(self, whole: NDArray[Any], bounds: list[tuple[int, int]], place: tuple[int, ...]) -> None:
        name = self._name(place)
        if self.store.read(name, 0, 0) is None:
            return  # never written: the fill value
        begin = tuple(i * size for i, size in zip(place, self.chunks, strict=True))

        def read(offset: int, length: int) -> bytes:
            found = self.store.read(name, offset, length)
            if found is None or (length >= 0 and len(found) != length):
                raise FormatError("cut off")
            return found

        try:
            for corner, numbers in self.codecs.parts(read, self.chunks, self.dtype):
                start = tuple(a + b for a, b in zip(begin, corner, strict=True))
                size = self.chunks if self.codecs.inner is None else self.codecs.inner[0]
                target, source = _overlap(bounds, start, size)
                if target is not None:
                    whole[target] = numbers()[source]
        except Exception as error:  # decoders raise every kind
            raise FormatError(
                f"chunk {name} of {self.store.path} is damaged ({one_line(error)}); copy it again"
            ) from error

    def _name(self, place: tuple[int, ...]) -> str:
        parts = [str(i) for i in place]
        name = self.separator.join([self.prefix, *parts] if self.prefix else parts) or "0"
        return f"{self.key}/{name}".lstrip("/")


@dataclass(frozen=True, slots=True)
class _Node:
    """A group or an array, as `orbistem.io.tree` wants it."""

    attrs: dict[str, Any]
    children: dict[str, Any] = field(default_factory=dict)
    array: Zarr3Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape if self.array is not None else ()

    @property
    def dtype(self) -> Any:
        return None if self.array is None else self.array.dtype

    @property
    def chunks(self) -> Any:
        return None if self.array is None else self.array.chunks

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def get(self, path: str) -> Any:
        node: Any = self
        for name in filter(None, path.split("/")):
            node = node.children.get(name) if node is not None else None
        return node

    def __contains__(self, path: str) -> bool:
        return self.get(path) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.children)

    def __getitem__(self, key: Any) -> Any:
        if self.array is None:
            node = self.get(str(key))
            if node is None:
                raise KeyError(key)
            return node
        if key == () or key is Ellipsis:
            return self.array[(slice(None),) * self.array.ndim]
        return self.array[key : key + 1][0] if isinstance(key, int) else self.array[key]


def _recognise(look: Look) -> bool:
    bases = set(look.names)
    return (look.is_folder or look.is_zip) and _META in bases and bases.isdisjoint({".zgroup", ".zarray"})


def _read(path: Path, request: Request) -> Found:
    store = _Store(os.path.abspath(path))
    root, entries = _tree(store, path)
    lookup = {entry.path: entry for entry in entries}
    entry = choose(
        candidates(iter(entries)), request.dataset, lambda key: lookup.get(key.strip("/")), path.name
    )
    name = "HyperSpy (zspy, Zarr 3)" if as_text(attribute(root, "file_format")) == "ZSpy" else "Zarr 3"
    found = assemble(
        format_name=name,
        entry=entry,
        root=root,
        recipe=entry.node.array,
        request=request,
        lookup=lambda key: lookup.get(key.strip("/")),
    )
    return restore_extras(found, root, parent_of(entry.path))


def _tree(store: _Store, path: Path) -> tuple[_Node, list[Entry]]:
    """The root and all arrays that can be read; others are as if they were not there."""
    root: _Node | None = None
    entries, refused = [], []
    for key in store.nodes():
        where = parent_of(key)
        try:
            node = _node(store, key, where)
        except (FormatError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            refused.append(f"{where or 'the root'}: {one_line(error)}")
            continue
        if root is None:
            root = node if not where else _Node({})
        if node.array is not None:
            entries.append(Entry(path=where or path.stem, node=node))
        if where:
            above = root
            for name in parent_of(where).split("/") if parent_of(where) else ():
                above = above.children.setdefault(name, _Node({}))
            above.children[where.rpartition("/")[2]] = node
    if not entries and refused:
        raise FormatError(
            f"{path.name} holds no array that can be read ({'; '.join(refused[:3])}); copy it again"
        )
    return root or _Node({}), entries


def _node(store: _Store, key: str, where: str) -> _Node:
    raw = store.read(key, 0, _MAX_META_BYTES)
    about = json.loads((raw or b"").decode("utf-8"))
    if about.get("zarr_format") != 3:
        raise FormatError(f"want Zarr format 3, got {about.get('zarr_format')}")
    attrs = dict(about.get("attributes") or {})
    if about.get("node_type") != "array":
        return _Node(attrs)
    shape = tuple(int(size) for size in about["shape"])
    dtype = data_type(about["data_type"])
    grid = about["chunk_grid"]
    if grid["name"] != "regular":
        raise FormatError(f"want a regular grid of chunks, got {grid['name']}")
    chunks = tuple(int(size) for size in grid["configuration"]["chunk_shape"])
    if len(chunks) != len(shape) or min(chunks, default=1) < 1 or min(shape, default=0) < 0:
        raise FormatError(f"chunks of {chunks} do not fit the shape {shape}")
    if math.prod(chunks) * dtype.itemsize > MAX_CHUNK_BYTES:
        raise FormatError(f"its chunks of {chunks} are larger than {MAX_CHUNK_BYTES >> 20} MiB")
    encoding = about.get("chunk_key_encoding") or {"name": "default"}
    plain = encoding["name"] == "default"
    separator = (encoding.get("configuration") or {}).get("separator", "/" if plain else ".")
    names = names_in(about)
    if len(names) == len(shape):
        attrs.setdefault("dimension_names", list(names))
    return _Node(
        attrs,
        array=Zarr3Array(
            store=store,
            key=where,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            codecs=make_codecs(about.get("codecs"), chunks, len(shape)),
            prefix="c" if plain else "",
            separator=str(separator),
            fill=fill_of(about.get("fill_value"), dtype),
        ),
    )


def _overlap(
    bounds: list[tuple[int, int]], start: tuple[int, ...], size: tuple[int, ...]
) -> tuple[tuple[slice, ...] | None, tuple[slice, ...]]:
    """Where a chunk goes in the part that is read, and which part of the chunk."""
    target, source = [], []
    for (low, high), begin, extent in zip(bounds, start, size, strict=True):
        first, last = max(low, begin), min(high, begin + extent)
        if first >= last:
            return None, ()
        target.append(slice(first - low, last - low))
        source.append(slice(first - begin, last - begin))
    return tuple(target), tuple(source)


def _skip(member: Any, n_bytes: int) -> None:
    while n_bytes > 0 and (piece := member.read(min(n_bytes, 1 << 20))):
        n_bytes -= len(piece)


FORMAT = Format(name="Zarr 3", recognise=_recognise, read=_read)
