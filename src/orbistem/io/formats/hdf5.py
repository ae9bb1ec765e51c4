"""HDF5 of any kind: HyperSpy, EMD and py4DSTEM, EBSD, Dectris, NeXus, or simply an array with a name."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import ClosedError, FormatError, InputError, VersionError
from orbistem.io.axes import as_text
from orbistem.io.contract import Format, Found, Request
from orbistem.io.extras import restore_extras
from orbistem.io.lazy import Joined, Stored
from orbistem.io.stack import assemble
from orbistem.io.tree import Entry, attribute, candidates, choose, parent_of

__all__ = ["FORMAT", "Hdf5Array", "open_hdf5", "read_dataset"]

HYPERSPY_MAJOR, HYPERSPY_MINOR = 3, 3
_MAX_DEPTH = 16
_MAX_NODES = 50_000
_DECTRIS_PART = re.compile(r"data_\d{6}")


@dataclass(frozen=True, slots=True)
class Hdf5Array(Stored):
    """Recipe of one dataset; the file is open, read-only and without a lock, only while a part is read."""

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read a part."""
        with open_hdf5(Path(self.path)) as file:
            try:
                return np.asarray(file[self.key][key])
            except KeyError as error:
                raise InputError(f"{self.path} no longer holds {self.key}; open the file again") from error
            except OSError as error:
                raise FormatError(_read_failure(self.path, self.key, error)) from error


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open for reading without a lock; errors become one sentence."""
    import h5py

    _register_filters()
    try:
        try:
            file = h5py.File(path, "r", locking=False)
        except OSError as error:
            if "locking flag" not in str(error):
                raise
            file = h5py.File(path, "r")  # this very process holds it open, with a lock
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, "no such file", str(path)) from error
    except OSError as error:
        raise FormatError(_open_failure(path, error)) from error
    with file:
        yield file


def read_dataset(dataset: Any) -> tuple[Any, str, str]:
    """Recipe, path and key of an open h5py dataset; it is reopened later, so its file may be closed."""
    if not dataset:
        raise ClosedError("the HDF5 dataset belongs to a closed file; open the file by its path instead")
    if not hasattr(dataset, "shape"):
        raise InputError(f"want an HDF5 dataset, got the group {dataset.name}; choose an array inside it")
    path, key, shape, dtype = dataset.file.filename, dataset.name, dataset.shape, dataset.dtype
    if not os.path.isfile(path):
        raise InputError(f"the HDF5 file {path} lies only in memory; pass dataset[()] instead")
    return Hdf5Array(os.path.abspath(path), key, tuple(shape), dtype), os.path.abspath(path), key


def _read(path: Path, request: Request) -> Found:
    with open_hdf5(path) as file:
        newer = _check_version(path, file)
        lookup = _lookup_in(file, path)
        entry = choose(candidates(_walk(file, path)), request.dataset, lookup, path.name)
        parts = _parts(entry, file, path) if request.dataset is None else [entry]
        recipes = tuple(_recipe(part) for part in parts)
        recipe = recipes[0] if len(recipes) == 1 else Joined(recipes)
        if len(parts) > 1:
            entry = dataclasses.replace(entry, node=_Stacked(recipe.shape, entry.node))
        found = assemble(
            format_name=_kind(file), entry=entry, root=file, recipe=recipe, request=request, lookup=lookup
        )
        found = _with_detector_mask(found, file, recipe.shape[-2:])
        found = dataclasses.replace(found, warnings=found.warnings + newer)
        return restore_extras(found, file, parent_of(entry.path))


def _recipe(entry: Entry) -> Hdf5Array:
    node = entry.node
    return Hdf5Array(os.path.abspath(node.file.filename), node.name, tuple(node.shape), node.dtype)


@dataclass(frozen=True, slots=True)
class _Stacked:
    """Stands for several datasets in a row."""

    shape: tuple[int, ...]
    first: Any

    @property
    def attrs(self) -> Any:
        return self.first.attrs

    @property
    def chunks(self) -> Any:
        return self.first.chunks

    @property
    def dtype(self) -> Any:
        return self.first.dtype


def _walk(file: Any, path: Path) -> Iterator[Entry]:
    """Every dataset once, also behind links to files in the same folder (or below it), never elsewhere."""
    import h5py

    seen: set[tuple[str, int]] = set()
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    while waiting and len(seen) < _MAX_NODES:
        above, group, depth = waiting.pop()
        dectris = False
        for name in group:
            node = _follow(group, name, path)
            if node is None:
                continue
            identity = (node.file.filename, int(h5py.h5o.get_info(node.id).addr))
            if identity in seen:
                continue
            seen.add(identity)
            here = f"{above}/{name}".lstrip("/")
            if isinstance(node, h5py.Dataset):
                if _DECTRIS_PART.fullmatch(name):
                    if dectris:  # the first part stands for all of them
                        continue
                    dectris = True
                yield Entry(path=here, node=node)
            elif depth < _MAX_DEPTH:
                waiting.append((here, node, depth + 1))


def _follow(group: Any, name: str, path: Path) -> Any:
    """A child, or None if it is broken, of another kind, or behind a link that leads out of the folder."""
    import h5py

    try:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink) and not _beside(path, link.filename):
            return None
        node = group[name]
    except (KeyError, OSError, RuntimeError, ValueError, TypeError):
        return None
    if isinstance(node, h5py.Dataset):
        return node if node.shape is not None and _lies_inside(node, path) else None
    return node if isinstance(node, h5py.Group) else None


def _lies_inside(node: Any, path: Path) -> bool:
    """False for numbers that lie in other files outside the folder: external storage, virtual datasets."""
    names = [name for name, *_ in node.external or ()]
    if node.is_virtual:
        names += [source.file_name for source in node.virtual_sources() if source.file_name != "."]
    return all(_beside(path, as_text(name)) for name in names)


def _beside(path: Path, name: str) -> bool:
    """Whether a file that is named in another lies in its folder or below, and is no pipe or device."""
    folder = path.resolve().parent
    there = (folder / name).resolve()
    return there.is_relative_to(folder) and (there.is_file() or not there.exists())


def _lookup_in(file: Any, path: Path) -> Any:
    import h5py

    def lookup(key: str) -> Entry | None:
        node, parts = file, [part for part in key.split("/") if part]
        for part in parts:
            node = _follow(node, part, path) if isinstance(node, h5py.Group) else None
        return Entry(path="/".join(parts), node=node) if isinstance(node, h5py.Dataset) else None

    return lookup


def _parts(entry: Entry, file: Any, path: Path) -> list[Entry]:
    """All parts data_000001, data_000002... of a Dectris measurement, or the array alone."""
    above, _, name = entry.path.rpartition("/")
    if not _DECTRIS_PART.fullmatch(name):
        return [entry]
    group = file[above or "/"]
    parts = {part: _follow(group, part, path) for part in sorted(group) if _DECTRIS_PART.fullmatch(part)}
    missing = [part for part, node in parts.items() if node is None]
    if missing:
        raise FormatError(
            f"{path.name} points to {', '.join(missing[:3])} in files that are not there; "
            "put them into its folder"
        )
    return [Entry(path=f"{above}/{part}".lstrip("/"), node=node) for part, node in parts.items()]


def _with_detector_mask(found: Found, file: Any, detector_shape: tuple[int, ...]) -> Found:
    """Bad pixels as Dectris and NeXus detectors list them (0 is good)."""
    for entry in (Entry(path=key, node=_try(file, key)) for key in _MASK_KEYS):
        if entry.node is not None and getattr(entry.node, "shape", None) == tuple(detector_shape):
            bad = np.asarray(entry.node[()]) != 0
            if bad.any() and not bad.all():
                sentence = (
                    f"{int(bad.sum())} bad pixels from {entry.path} are left out; give --mask to change it"
                )
                return dataclasses.replace(found, pixel_valid=~bad, found=(*found.found, sentence))
    return found


_MASK_KEYS = (
    "entry/instrument/detector/pixel_mask",
    "entry/instrument/detector/detectorSpecific/pixel_mask",
)


def _try(file: Any, key: str) -> Any:
    try:
        return file.get(key)
    except (KeyError, OSError, RuntimeError):
        return None


def _kind(file: Any) -> str:
    if as_text(attribute(file, "file_format")) == "HyperSpy":
        return "HyperSpy"
    if any("emd_group_type" in child.attrs for child in file.values() if hasattr(child, "attrs")):
        return "EMD"
    makers = [_try(file, name) for name in file if name.strip().lower() == "manufacturer"]
    if makers and any("EBSD" in group for group in file.values() if hasattr(group, "keys")):
        return f"EBSD ({as_text(makers[0][()]).strip()})"
    return "HDF5"


def _check_version(path: Path, file: Any) -> tuple[str, ...]:
    """A HyperSpy file of a newer generation is not guessed at; one that is a little newer is named."""
    if as_text(attribute(file, "file_format")) != "HyperSpy":
        return ()
    version = as_text(attribute(file, "file_format_version")).strip()
    major = version.partition(".")[0]
    if major.isdigit() and int(major) > HYPERSPY_MAJOR:
        raise VersionError(
            f"{path.name} was written in version {version} of the HyperSpy format, "
            f"this reads {HYPERSPY_MAJOR}; save it in an older version, or update orbistem"
        )
    minor = version.partition(".")[2].partition(".")[0]
    if major == str(HYPERSPY_MAJOR) and minor.isdigit() and int(minor) > HYPERSPY_MINOR:
        ours = f"{HYPERSPY_MAJOR}.{HYPERSPY_MINOR}"
        return (
            f"written in version {version} of the HyperSpy format, newer than {ours}, which is known here",
        )
    return ()


def _register_filters() -> None:
    """Compression filters beyond HDF5's own, if they are installed."""
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        return


def _open_failure(path: Path, error: OSError) -> str:
    text = str(error)
    if "already open for write" in text or "unable to lock" in text or "file consistency flags" in text:
        return f"{path} is open for writing in another program; close it there, or read a copy"
    if "truncated" in text:
        return f"{path} is cut off: shorter than its own header says; copy it again"
    if "Permission denied" in text:
        return f"{path} cannot be read: permission denied; change its rights, or read a copy"
    if len(str(path)) > 240:
        return f"{path} cannot be opened, its path has {len(str(path))} characters; move it to a shorter one"
    return f"{path} is not a readable HDF5 file ({text}); copy it again"


def _read_failure(path: str, key: str, error: OSError) -> str:
    text = str(error)
    if "plugin" in text or "filter" in text:
        return f"{key} in {path} is compressed by a filter that is not installed; run: pip install hdf5plugin"
    return f"{key} in {path} is damaged ({text}); copy the file again"


FORMAT = Format(name="HDF5", recognise=lambda look: look.is_hdf5, read=_read)
