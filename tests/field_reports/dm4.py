"""A minimal writer of Gatan's DM4, for tests: a 4D stack of patterns with its calibrations."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

_CODES = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "i1": 9, "u1": 10}
_DATA_TYPES = {"u2": 10, "i4": 7, "f4": 2, "u1": 6, "i2": 1, "u4": 11}


def _tag(name: str, value: Any) -> bytes:
    body = _group(value) if isinstance(value, dict | list) else _data(value)
    kind = 20 if isinstance(value, dict | list) else 21
    label = name.encode("latin-1")
    return struct.pack(">BH", kind, len(label)) + label + struct.pack(">Q", len(body)) + body


def _group(value: dict[str, Any] | list[Any]) -> bytes:
    items = value.items() if isinstance(value, dict) else (("", one) for one in value)
    tags = [_tag(name, one) for name, one in items]
    return struct.pack(">BBQ", 1, 0, len(tags)) + b"".join(tags)


def _data(value: Any) -> bytes:
    if isinstance(value, str):
        value = np.frombuffer(value.encode("utf-16-le"), "<u2")
    if isinstance(value, np.ndarray):
        info = (20, _CODES[value.dtype.str[1:]], value.size)
        raw = value.astype(value.dtype.newbyteorder("<")).tobytes()
    elif isinstance(value, float):
        info, raw = (6,), struct.pack("<f", value)
    else:
        info, raw = (5,), struct.pack("<I", value)
    return b"%%%%" + struct.pack(f">Q{len(info)}Q", len(info), *info) + raw


def write_dm4(path: Path, patterns: np.ndarray, calibrations: list[tuple[float, str]]) -> None:
    """Patterns (y, x, ky, kx); DM lists the fastest axis first."""
    axes = list(zip(reversed(patterns.shape), reversed(calibrations), strict=True))
    kind = patterns.dtype.str[1:]
    image = {
        "ImageData": {
            "Calibrations": {
                "Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": "counts"},
                "Dimension": [{"Origin": 0.0, "Scale": scale, "Units": units} for _, (scale, units) in axes],
                "DisplayCalibratedUnits": 1,
            },
            "Data": patterns.ravel(),
            "DataType": _DATA_TYPES[kind],
            "Dimensions": [size for size, _ in axes],
            "PixelDepth": patterns.dtype.itemsize,
        },
        "ImageTags": {"Meta Data": {"Format": "Diffraction", "Signal": "Diffraction"}},
        "Name": "scan",
        "UniqueID": [1, 2, 3, 4],
    }
    root = _group(
        {
            "DocumentObjectList": [{"ImageDisplayType": 2}],
            "ImageList": [image],
            "InImageMode": 1,
        }
    )
    path.write_bytes(struct.pack(">IQI", 4, len(root) + 8, 1) + root + bytes(8))
