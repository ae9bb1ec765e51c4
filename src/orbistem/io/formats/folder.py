"""A folder with one file per pattern, in natural order: 2 before 10."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import FormatError, InputError, one_line
from orbistem.io.contract import Format, Found, Request
from orbistem.io.formats.rosetta import read_frame

__all__ = ["FORMAT", "FrameFiles", "natural_key"]

SUFFIXES = frozenset({".tif", ".tiff", ".png", ".bmp", ".npy", ".dm3", ".dm4", ".mrc", ".mib", ".ser"})
_LETTERED = re.compile(
    r"(?:^|[^a-z])(?P<first>[xy])[_=-]?(?P<i>\d+)[^a-z\d]*(?P<second>[xy])[_=-]?(?P<j>\d+)", re.I
)


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """Recipe of frames that lie in single files of one folder."""

    folder: str
    names: tuple[str, ...]
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, ky, kx)."""
        return (len(self.names), *self.frame_shape)

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read some of the files."""
        keys = key if isinstance(key, tuple) else (key,)
        names = self.names[keys[0]]
        frames = np.empty((len(names), *self.frame_shape), dtype=self.dtype)
        for index, name in enumerate(names):
            frame = _frame(Path(self.folder, name))
            if frame.shape != self.frame_shape:
                raise InputError(
                    f"{name} is {frame.shape}, but {self.names[0]} is {self.frame_shape}; "
                    "keep only patterns of one size in the folder"
                )
            if not np.can_cast(frame.dtype, self.dtype, "safe"):  # it would lose counts
                raise InputError(
                    f"{name} holds {frame.dtype}, but {self.names[0]} {self.dtype}; "
                    "keep only patterns of one number type in the folder"
                )
            frames[index] = frame
        return frames[(slice(None), *keys[1:])]


def natural_key(name: str) -> tuple[Any, ...]:
    """Sort key: numbers inside a name count as numbers."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name)
    )


def _read(path: Path, request: Request) -> Found:
    names = [entry.name for entry in os.scandir(path) if entry.is_file() and not entry.name.startswith(".")]
    suffixes = Counter(Path(name).suffix.lower() for name in names)
    known = [suffix for suffix, _ in suffixes.most_common() if suffix in SUFFIXES]
    if not known:
        listed = ", ".join(sorted(names)[:5]) or "nothing"
        raise FormatError(
            f"{path} holds no frames ({', '.join(sorted(SUFFIXES))}), only {listed}; give a file"
        )
    chosen = sorted((name for name in names if Path(name).suffix.lower() == known[0]), key=natural_key)
    first = _frame(path / chosen[0])
    if first.dtype.fields:
        raise FormatError(f"{chosen[0]} in {path} is a picture in colours; save it in shades of grey")
    if first.ndim != 2:
        raise FormatError(f"{chosen[0]} in {path} is {first.shape}, not one pattern; give that file itself")
    found: tuple[str, ...] = (
        f"{len(chosen)} files {known[0]} in natural order, from {chosen[0]} to {chosen[-1]}",
    )
    warnings: tuple[str, ...] = ()
    if len(chosen) < len(names):
        warnings = (f"{len(names) - len(chosen)} other files in the folder are not used",)
    chosen, grid = _by_letters(chosen)
    if grid is not None:
        found += (f"{grid[0]} x {grid[1]} positions (y, x) from the names",)
    return Found(
        format="folder of frames",
        patterns=FrameFiles(
            os.path.abspath(path), tuple(chosen), (first.shape[0], first.shape[1]), first.dtype
        ),
        scan_shape=grid,
        axes_known=grid is not None,
        found=found,
        warnings=warnings,
    )


def _by_letters(names: list[str]) -> tuple[list[str], tuple[int, int] | None]:
    """Row by row, if every name says its x and y (as in scan_x003_y012.tif) and none is missing."""
    places: dict[tuple[int, int], str] = {}
    for name in names:
        match = _LETTERED.search(Path(name).stem)
        if match is None or match["first"].lower() == match["second"].lower():
            return names, None
        i, j = int(match["i"]), int(match["j"])
        places[(i, j) if match["first"].lower() == "y" else (j, i)] = name
    rows, columns = sorted({y for y, _ in places}), sorted({x for _, x in places})
    if len(places) != len(names) or len(rows) * len(columns) != len(names):
        return names, None
    return [places[y, x] for y in rows for x in columns], (len(rows), len(columns))


def _frame(path: Path) -> np.ndarray[Any, Any]:
    if path.suffix.lower() == ".npy":
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except (ValueError, EOFError, OSError) as error:
            raise FormatError(f"{path} is damaged ({one_line(error)}); copy it again") from error
    return read_frame(path)


FORMAT = Format(name="folder of frames", recognise=lambda look: look.is_folder, read=_read)
