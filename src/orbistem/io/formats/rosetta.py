"""Everything that RosettaSciIO reads, lazily where it can."""

from __future__ import annotations

import functools
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import FormatError, InputError, MissingExtraError, OptionError, one_line
from orbistem.io.axes import as_text
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.formats.hdf5 import open_hdf5, read_dataset
from orbistem.io.stack import sort_axes

__all__ = ["FORMAT", "VELOX", "SignalArray", "read", "read_frame"]

logger = logging.getLogger(__name__)

_BY_CONTENT: tuple[tuple[int, bytes, str], ...] = (
    (0, b"MQ1,", "QuantumDetector"),
    (0, b"\x00\x00\x00\x03", "DigitalMicrograph"),
    (0, b"\x00\x00\x00\x04", "DigitalMicrograph"),
    (0, b"IMGBLO", "Blockfile"),
    (0, b"II\x97\x01", "TIA"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (208, b"MAP ", "MRC"),
)
"""Begin of a file, and the reader whose format that is; asked before the suffix."""

_LEFT_OPEN, _SMALL_BYTES = frozenset({"TIFF"}), 2**28
"""Readers that leave the file open when they are lazy; below this size they read it at once instead."""

_NEVER_LAZY = frozenset({"Image"})
"""Readers of single pictures, which do not know their size before they are read."""

_NOT_OURS = frozenset(
    {"HSPY", "ZSPY", "numpy", "Impulse", "Protochips", "EDAX", "MSA", "USID", "Tofwerk", "JobinYvon"}
)


@dataclass(frozen=True, slots=True)
class SignalArray:
    """Recipe of one signal of a file; opened again (once) in every process that reads it.

    Attributes
    ----------
    beside
        Files that hold the numbers, where `path` only describes them.
    """

    path: str
    module: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    beside: tuple[str, ...] = ()

    @property
    def watched(self) -> tuple[str, ...]:
        """Files that must be as they were when they were opened (see `orbistem.io.same_file`)."""
        return (self.path, *self.beside)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read a part."""
        data = _arrays(self.path, self.module, os.stat(self.path).st_mtime_ns)[self.index][key]
        try:
            return np.asarray(data.compute(scheduler="synchronous") if hasattr(data, "compute") else data)
        except (OSError, ValueError, RuntimeError) as error:
            raise FormatError(f"{self.path} is damaged ({one_line(error)}); copy it again") from error


def read_frame(path: Path) -> np.ndarray[Any, Any]:
    """One two-dimensional picture."""
    signals, _ = _signals_of(path, lazy=False)
    return np.asarray(signals[0]["data"])


def read(path: Path, request: Request) -> Found:
    """Read with the first of RosettaSciIO's readers that succeeds."""
    return _read_by(path, request, None)


def _read_velox(path: Path, request: Request) -> Found:
    try:
        return _read_by(path, request, "EMD")
    except FormatError as error:
        if "several stacks" in str(error):
            raise
        return _velox_data_alone(path, request, error)


def _velox_data_alone(path: Path, request: Request, error: FormatError) -> Found:
    """Pictures (ky, kx, n) whose metadata RosettaSciIO cannot read."""
    with open_hdf5(path) as file:
        keys = [f"Data/Image/{name}/Data" for name in file.get("Data/Image", ())]
        stacks = [key for key in keys if key in file and getattr(file[key], "ndim", 0) == 3]
        if request.dataset is not None:
            stacks = [key for key in stacks if request.dataset.strip("/") in (key, key.rpartition("/")[0])]
        if len(stacks) != 1:
            raise error
        recipe, _, key = read_dataset(file[stacks[0]])
        chunks = file[stacks[0]].chunks
    sentence = "the metadata of Velox in the file are unreadable; the patterns alone are used"
    return Found(
        format="EMD (Velox, data alone)",
        patterns=recipe,
        storage_chunks=chunks,
        order=(2, 0, 1),
        dataset=key.lstrip("/"),
        warnings=(sentence,),
    )


def _is_velox(look: Look) -> bool:
    """HDF5 by Thermo Fisher's Velox, whose pictures are stored as (ky, kx, n)."""
    if not look.is_hdf5 or look.suffix != ".emd":
        return False
    try:
        # RosettaSciIO may hold it open, with a lock, since it was read once
        with open_hdf5(look.path) as file:
            return "Version" in file and "Velox" in as_text(np.asarray(file["Version"]).reshape(-1)[0])
    except (FormatError, OSError, KeyError, IndexError, TypeError):
        return False


def _read_by(path: Path, request: Request, name: str | None) -> Found:
    signals, plugin = _signals_of(path, lazy=True, name=name)
    beside = tuple(os.path.abspath(file) for file in _described(path, plugin["name"]))
    index = _choose(signals, request.dataset, path)
    signal = signals[index]
    data = signal["data"]
    if request.positions is not None:
        raise OptionError(
            f"positions: {path.name} has no keys, got {request.positions}; give a CSV file of y, x"
        )
    lazy = hasattr(data, "compute")
    patterns: Any = data
    if lazy:
        patterns = SignalArray(
            path=os.path.abspath(path),
            module=plugin["api"],
            index=index,
            shape=tuple(int(size) for size in data.shape),
            dtype=data.dtype,
            beside=beside,
        )
    named = _axes(signal, data.ndim)
    if not lazy and data.nbytes > 2**28:
        logger.info("%s is read into memory: its format cannot be read in parts", path.name)
    return Found(
        format=plugin["name"],
        patterns=patterns,
        storage_chunks=tuple(int(part[0]) for part in data.chunks) if lazy and data.ndim > 2 else None,
        dataset=(_title(signal) or str(index)) if len(signals) > 1 or request.dataset else None,
        **named,
    )


def _described(path: Path, reader: str) -> list[Path]:
    """Files of numbers that a file describes. One of an EMPAD that is not there is said when it is opened."""
    if reader == "Ripple":
        return [file for suffix in (".raw", ".bin") if (file := path.with_suffix(suffix)).is_file()]
    if reader != "EMPAD":
        return []
    named = re.search(r"<raw_file[^>]*filename=[\"']([^\"']+)", path.read_text("utf-8", errors="replace"))
    if named is None:
        return []
    if not (path.parent / named[1]).is_file():
        raise InputError(
            f"{path.name} describes {named[1]}, which is not there; put it beside, under that name"
        )
    return [path.parent / named[1]]


def _axes(signal: dict[str, Any], n_axes: int) -> dict[str, Any]:
    """Best effort: unreadable axes leave the data alone."""
    try:
        axes = list(signal["axes"])
        if len(axes) != n_axes:
            return {}
        named = sort_axes(axes, [bool(axis.get("navigate")) for axis in axes])
    except Exception as error:  # metadata of any kind must not stop good data
        return {
            "warnings": (f"the axes in the file are unreadable ({one_line(error)}); the data alone are used",)
        }
    if not any(axis.get("navigate") for axis in axes):
        named["axes_known"] = False
    return named


def _choose(signals: list[dict[str, Any]], dataset: str | None, path: Path) -> int:
    if dataset is not None:
        titles = [_title(signal) for signal in signals]
        if dataset in titles:
            return titles.index(dataset)
        if dataset.isdigit() and int(dataset) < len(signals):
            return int(dataset)
        raise OptionError(f"dataset: {path.name} has no {dataset}; choose one of {_listed(signals)}")
    stacks = [i for i, one in enumerate(signals) if _is_stack(one, min_axes=3)]
    stacks = stacks or [i for i, one in enumerate(signals) if _is_stack(one, min_axes=2)]
    if len(stacks) == 1:
        return stacks[0]
    if not stacks and any(one["data"].dtype.fields for one in signals):
        raise FormatError(f"{path.name} is a picture in colours; save it in shades of grey")
    if not stacks:
        raise FormatError(
            f"{path.name} holds no two-dimensional patterns, only {_listed(signals) or 'nothing'}; "
            "choose another file"
        )
    raise FormatError(
        f"{path.name} holds several stacks of patterns; choose one with --dataset: {_listed(signals)}"
    )


def _is_stack(signal: dict[str, Any], *, min_axes: int) -> bool:
    data, axes = signal["data"], signal.get("axes") or []
    n_signal = sum(1 for axis in axes if not axis.get("navigate"))
    return (
        min_axes <= data.ndim <= 4 and data.dtype.kind in "biuf" and (n_signal == 2 or n_signal == data.ndim)
    )


def _title(signal: dict[str, Any]) -> str:
    try:
        return as_text(signal["metadata"]["General"]["title"])
    except (KeyError, TypeError):
        return ""


def _listed(signals: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{index} ({_title(one) or 'untitled'}) {tuple(one['data'].shape)}"
        for index, one in enumerate(signals[:8])
    )


def _plugins(path: Path, head: bytes, name: str | None) -> list[dict[str, Any]]:
    """Readers to try, the one that the content names first."""
    from rsciio import IO_PLUGINS

    specs = [dict(plugin) for plugin in IO_PLUGINS]
    names = [reader for at, magic, reader in _BY_CONTENT if head[at : at + len(magic)] == magic]
    if name is not None:
        return [spec for spec in specs if spec["name"] == name]
    suffix = path.suffix.lower().lstrip(".")
    names += [spec["name"] for spec in specs if suffix in {ext.lower() for ext in spec["file_extensions"]}]
    by_name = {spec["name"]: spec for spec in specs}
    return [by_name[one] for one in dict.fromkeys(names) if one in by_name and one not in _NOT_OURS]


def _signals_of(
    path: Path, *, lazy: bool, name: str | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Signals of the first reader that succeeds."""
    with path.open("rb") as file:
        plugins = _plugins(path, file.read(4096), name)
    if not plugins:
        raise FormatError(
            f"{path.name} is of no known format ({path.stat().st_size} bytes); for raw numbers give "
            "--shape Y,X,KY,KX and --dtype"
        )
    failures: list[Exception] = []
    for plugin in plugins:
        try:
            at_once = plugin["name"] in _NEVER_LAZY or (
                plugin["name"] in _LEFT_OPEN and path.stat().st_size < _SMALL_BYTES
            )
            return _load(str(path), plugin["api"], lazy=lazy and not at_once), plugin
        except Exception as error:  # readers raise every kind; the next may do
            logger.debug("%s could not read %s: %s", plugin["name"], path, error)
            failures.append(error)
    missing = next((error for error in failures if isinstance(error, ImportError)), None)
    if missing is not None:
        raise MissingExtraError(
            f"{path.name} needs the package {missing.name or missing} to be read; "
            f"run: pip install {missing.name}"
        ) from missing
    raise FormatError(
        f"{path.name} cannot be read as {plugins[0]['name']} ({one_line(failures[0])}); "
        "copy it again, or for raw numbers give --shape and --dtype"
    ) from failures[0]


def _load(path: str, module: str, *, lazy: bool) -> list[dict[str, Any]]:
    reader = import_module(module).file_reader
    with _quiet():
        try:
            signals = reader(path, lazy=lazy)
        except NotImplementedError:  # some readers cannot be lazy
            signals = reader(path)
    if not signals:
        raise InputError("it holds no data")
    return list(signals)


@functools.lru_cache(maxsize=8)
def _arrays(path: str, module: str, changed_ns: int) -> list[Any]:
    del changed_ns  # part of the key only: a file that changed is opened again
    return [signal["data"] for signal in _load(path, module, lazy=True)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Readers warn about metadata that we do not use."""
    talkative = logging.getLogger("rsciio")
    level = talkative.level
    talkative.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        talkative.setLevel(level)


VELOX = Format(name="Velox EMD", recognise=_is_velox, read=_read_velox)
FORMAT = Format(name="RosettaSciIO", recognise=lambda look: not look.is_folder, read=read)
