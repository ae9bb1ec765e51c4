"""Raw binary frames: described by options, or EMPAD frames whose scan shape stands in the name."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import FormatError, OptionError
from orbistem.io.contract import Format, Found, Look, Request
from orbistem.io.formats import rosetta
from orbistem.io.same_file import OneFile

__all__ = ["FORMAT", "RawArray"]

SUFFIXES = (".raw", ".bin", ".dat")
_EMPAD_FRAME, _EMPAD_USED = (130, 128), 128
_NAME_X_Y = re.compile(r"x(\d+)[_-]?y(\d+)", re.IGNORECASE)
_NAME_Y_X = re.compile(r"y(\d+)[_-]?x(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RawArray(OneFile):
    """Recipe of frames at equal distances in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    offset: int = 0
    frame_bytes: int = 0

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """Read a part."""
        keys = key if isinstance(key, tuple) else (key,)
        start, stop, _ = keys[0].indices(self.shape[0])
        n, (ky, kx) = max(0, stop - start), self.shape[1:]
        used = ky * kx * self.dtype.itemsize
        if n == 0:
            return np.empty((0, ky, kx), dtype=self.dtype)[(slice(None), *keys[1:])]
        # the gap after the last frame may be missing in the file
        content = np.memmap(
            self.path,
            mode="r",
            dtype=np.uint8,
            offset=self.offset + start * self.frame_bytes,
            shape=((n - 1) * self.frame_bytes + used,),
        )
        frames = np.lib.stride_tricks.as_strided(
            content, shape=(n, used), strides=(self.frame_bytes, 1), writeable=False
        )
        return np.ascontiguousarray(frames).view(self.dtype).reshape(n, ky, kx)[(slice(None), *keys[1:])]


def _recognise(look: Look) -> bool:
    if look.is_folder:
        return False
    return look.request.is_raw or look.suffix in SUFFIXES


def _read(path: Path, request: Request) -> Found:
    if request.dtype is None or request.shape is None or len(request.shape) == 2:
        if not request.is_raw and (xml := _empad_xml(path)) is not None:
            described = rosetta.read(xml, Request(shape=request.shape))
            return dataclasses.replace(
                described, found=(*described.found, f"described by {xml.name} beside it")
            )
        if not request.is_raw and (empad := _empad(path)) is not None:
            return empad
        raise FormatError(
            f"{path.name} has no description of its {path.stat().st_size} bytes; "
            "give --shape Y,X,KY,KX and --dtype (and --offset, --frame-gap if there are headers)"
        )
    dtype = _number_type(request.dtype)
    ky, kx = request.shape[-2:]
    offset, gap = request.offset or 0, request.frame_gap or 0
    if offset < 0 or gap < 0:
        raise OptionError(f"offset, frame-gap: want 0 or more bytes, got {offset} and {gap}; correct them")
    used = ky * kx * dtype.itemsize
    size = path.stat().st_size
    n_want = math.prod(request.shape[:-2])
    n_have = max(0, (size - offset + gap) // (used + gap))
    if n_have == 0:
        raise OptionError(
            f"shape: want at least one pattern of {used} bytes after {offset}, got a file of {size}; "
            "check --shape, --dtype and --offset"
        )
    n_frames = min(n_want, n_have)
    rest = size - offset - n_frames * (used + gap)
    warnings = (f"{rest} bytes at the end of the file are not used",) if rest > 0 else ()
    return Found(
        format="raw",
        patterns=RawArray(os.path.abspath(path), dtype, (n_frames, ky, kx), offset, used + gap),
        found=(f"raw {dtype.name}, {offset} bytes before the first pattern, {gap} after each, as given",),
        warnings=warnings,
    )


def _number_type(text: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(text)
    except TypeError as error:
        raise OptionError(
            f"dtype: want a number type such as uint16 or >f4, got {text}; correct it"
        ) from error
    if dtype.kind not in "biuf":
        raise OptionError(f"dtype: want real numbers such as uint16 or >f4, got {text}; correct it")
    return dtype


def _empad(path: Path) -> Found | None:
    """EMPAD frames, if name and size agree: 130 rows of 128 float32, of which two are no picture."""
    rows, columns = _EMPAD_FRAME
    frame_bytes = rows * columns * 4
    if path.stat().st_size % frame_bytes:
        return None
    n_frames = path.stat().st_size // frame_bytes
    if match := _NAME_X_Y.search(path.stem):
        x, y = int(match[1]), int(match[2])
    elif match := _NAME_Y_X.search(path.stem):
        y, x = int(match[1]), int(match[2])
    else:
        return None
    if n_frames == 0 or y * x != n_frames:
        return None
    return Found(
        format="EMPAD (raw)",
        patterns=RawArray(
            os.path.abspath(path), np.dtype("<f4"), (n_frames, _EMPAD_USED, columns), 0, frame_bytes
        ),
        scan_shape=(y, x),
        axes_known=True,
        assumed=(
            f"EMPAD frames of 130 x 128 float32 (two rows dropped) on {y} x {x} positions, from the file's "
            "name and size; give --shape and --dtype to read it otherwise",
        ),
    )


def _empad_xml(path: Path) -> Path | None:
    """The EMPAD description in the folder that names this file."""
    for xml in sorted(path.parent.glob("*.xml")):
        try:
            if path.name in xml.read_text(encoding="utf-8", errors="replace"):
                return xml
        except OSError:
            continue
    return None


FORMAT = Format(name="raw", recognise=_recognise, read=_read)
