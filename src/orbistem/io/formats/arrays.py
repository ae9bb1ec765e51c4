"""NumPy files: .npy, mapped from disk, and .npz."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

from orbistem.errors import FormatError, OptionError, one_line
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.positions import LIST_NAME, columns_of
from orbistem.io.zipped import MappedArray, PackedArray, member_array, read_header, require_bytes

__all__ = ["NPY", "NPZ"]

_MAGIC = b"\x93NUMPY"


def _read_npy(path: Path, request: Request) -> Found:
    if request.dataset is not None:
        raise OptionError(f"dataset: {path.name} holds a single array, got {request.dataset}; leave it out")
    with path.open("rb") as file:
        shape, fortran_order, dtype = read_header(file, path)
        offset = file.tell()
    require_bytes(path, path.stat().st_size - offset, shape, dtype)
    patterns = MappedArray(os.path.abspath(path), offset, shape, dtype, fortran_order)
    return Found(format="NumPy (.npy)", patterns=patterns)


def _read_npz(path: Path, request: Request) -> Found:
    try:
        with zipfile.ZipFile(path) as archive:
            heads = {}
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    with archive.open(info) as file:
                        heads[info.filename[:-4]] = (read_header(file, path), info)
            key = _choose(heads, request.dataset, path)
            patterns = member_array(path, archive, heads[key][1])
            positions, words = _positions(heads, patterns, request, path, archive)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise FormatError(f"{path} is a damaged archive ({one_line(error)}); copy it again") from error
    warnings: tuple[str, ...] = ()
    if "meta_data" in heads and heads["meta_data"][0][2].hasobject:
        warnings = (
            "its metadata are Python objects (PantaRhei .prz), which are not read: they could run code; "
            "for the calibration export it as .hspy",
        )
    return Found(
        format="NumPy (.npz)",
        patterns=patterns,
        dataset=key,
        positions=positions,
        found=words,
        warnings=warnings,
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
    table = member_array(path, archive, heads[key][1])
    values, columns = columns_of(key, table[:] if isinstance(table, MappedArray | PackedArray) else table)
    return values, (f"positions from {key} ({columns})",)


def _is_npz(look: Look) -> bool:
    return (
        look.is_zip
        and any(name.endswith(".npy") for name in look.names)
        and "meta_data_json.npy" not in look.names  # a newer .prz, with metadata that are safe to read
    )


NPY = Format(name="NumPy (.npy)", recognise=lambda look: look.head[:6] == _MAGIC, read=_read_npy)
NPZ = Format(name="NumPy (.npz)", recognise=_is_npz, read=_read_npz)
