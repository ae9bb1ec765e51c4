"""Zarr format 2: .zspy, .zarr, a folder or a zip archive; content decides, not the suffix."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import ClosedError, FormatError, InputError, one_line
from orbistem.io.axes import as_text
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.extras import restore_extras
from orbistem.io.lazy import Stored
from orbistem.io.stack import assemble
from orbistem.io.tree import Entry, attribute, candidates, choose, parent_of

__all__ = ["FORMAT", "ZarrArray", "open_store", "read_array"]

_FORMAT_2 = (".zgroup", ".zarray", ".zmetadata")
_LONG_PATH = 240


@dataclass(frozen=True, slots=True)
class ZarrArray(Stored):
    """Recipe of one array in a store."""

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read a part."""
        with open_store(Path(self.path)) as root:
            try:
                node = root[self.key] if self.key else root
                return np.asarray(node[key])
            except KeyError as error:
                raise InputError(f"{self.path} no longer holds {self.key}; open it again") from error
            except (RuntimeError, ValueError, OSError) as error:
                raise FormatError(
                    f"a chunk of {self.key or 'the array'} in {self.path} is damaged "
                    f"({one_line(error)}); copy it again"
                ) from error


def read_array(array: Any) -> tuple[Any, str, str]:
    """Recipe, path and key of an open zarr array on disk."""
    try:
        path, key = str(array.store.path), str(array.path)
    except (AttributeError, ValueError) as error:
        raise ClosedError("the Zarr array has no folder on disk; pass array[:] instead") from error
    shape = tuple(int(size) for size in array.shape)
    return ZarrArray(os.path.abspath(path), key, shape, array.dtype), os.path.abspath(path), key


def _recognise(look: Look) -> bool:
    bases = {name.rpartition("/")[2] if look.is_zip else name for name in look.names}
    return (look.is_folder or look.is_zip) and not bases.isdisjoint(_FORMAT_2)


def _read(path: Path, request: Request) -> Found:
    with open_store(path) as root:
        lookup = _lookup_in(root)
        entry = choose(_stacks(root, path), request.dataset, lookup, path.name)
        key = entry.path if hasattr(root, "groups") else ""
        recipe = ZarrArray(os.path.abspath(path), key, entry.shape, entry.node.dtype)
        name = "HyperSpy (zspy)" if as_text(attribute(root, "file_format")) == "ZSpy" else "Zarr"
        found = assemble(
            format_name=name, entry=entry, root=root, recipe=recipe, request=request, lookup=lookup
        )
        return restore_extras(found, root, parent_of(entry.path))


@contextmanager
def open_store(path: Path) -> Iterator[Any]:
    """Open for reading; errors become one sentence."""
    import zarr

    store: Any = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # zarr 2 announces zarr 3
            store = zarr.DirectoryStore(str(path)) if path.is_dir() else zarr.ZipStore(str(path), mode="r")
            root = zarr.open(store, mode="r")
    except FileNotFoundError:
        raise
    except Exception as error:  # zarr raises many kinds for a damaged store
        raise FormatError(_open_failure(path, error)) from error
    try:
        yield root
    finally:
        if hasattr(store, "close"):
            store.close()


def _stacks(root: Any, path: Path) -> list[Entry]:
    try:
        stacks = candidates(_walk(root, path))
    except Exception as error:  # zarr raises many kinds for damaged metadata
        raise FormatError(_open_failure(path, error)) from error
    if not stacks and _longest_path(path) > _LONG_PATH:
        raise FormatError(_open_failure(path, None))
    return stacks


def _walk(root: Any, path: Path) -> Iterator[Entry]:
    if not hasattr(root, "groups"):
        yield Entry(path=path.stem, node=root)
        return
    waiting = [("", root)]
    while waiting:
        above, group = waiting.pop()
        for name, node in group.arrays():
            yield Entry(path=f"{above}/{name}".lstrip("/"), node=node)
        waiting.extend((f"{above}/{name}".lstrip("/"), node) for name, node in group.groups())


def _lookup_in(root: Any) -> Any:
    def lookup(key: str) -> Entry | None:
        key = key.strip("/")
        if not hasattr(root, "groups") or key not in root:
            return None
        return Entry(path=key, node=root[key]) if hasattr(root[key], "chunks") else None

    return lookup


def _longest_path(path: Path) -> int:
    return max((len(str(file)) for file in path.rglob("*")), default=0) if path.is_dir() else 0


def _open_failure(path: Path, error: Exception | None) -> str:
    longest = _longest_path(path)
    if longest > _LONG_PATH:
        return (
            f"a part of {path} is missing or unreadable; its paths have up to {longest} characters, which "
            "some systems cut off: move it to a shorter path"
        )
    return f"{path} is not a readable Zarr store ({one_line(error)}); copy it again"


FORMAT = Format(name="Zarr", recognise=_recognise, read=_read)
