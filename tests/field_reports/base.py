"""The base scan of the field reports, and small files of formats that have no writer to borrow."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SCAN_SHAPE = (24, 20)
DETECTOR_PX = 32
CENTRE_PX = (15.5, 15.5)
DOSE = 8000.0


def base_rates(
    *,
    dose: float = DOSE,
    shape: tuple[int, int] = SCAN_SHAPE,
    detector: tuple[int, int] = (DETECTOR_PX, DETECTOR_PX),
    centre_px: tuple[float, float] = CENTRE_PX,
) -> np.ndarray:
    """Expected counts (y, x, ky, kx): a soft disk of radius 9 px and a threefold ring that turns.

    The ring holds 35 % of the electrons, in the right half of the scan 20 % at a radius 12 % smaller.
    """
    ky, kx = np.indices(detector, dtype=float)
    dy, dx = ky - centre_px[0], kx - centre_px[1]
    radius, azimuth = np.hypot(dy, dx), np.arctan2(dy, dx)
    disk = 1 / (1 + np.exp(3 * (radius - 9)))
    disk /= disk.sum()
    y, x = np.indices(shape)
    turn = 2 * np.pi / 3 * np.mod(2 * y / shape[0] + x / shape[1], 1)
    right = (x >= shape[1] // 2)[..., None, None]
    wave = 1 + 0.9 * np.cos(3 * (azimuth - turn[..., None, None]))
    ring = (
        np.where(right, np.exp(-0.5 * (radius - 0.88 * 12.8) ** 2), np.exp(-0.5 * (radius - 12.8) ** 2))
        * wave
    )
    ring /= ring.sum(axis=(-2, -1), keepdims=True)
    share = np.where(right, 0.20, 0.35)
    return dose * ((1 - share) * disk + share * ring)


def base_patterns(rng: np.random.Generator, **named: object) -> np.ndarray:
    """Poisson counts of `base_rates`, uint16 (y, x, ky, kx)."""
    return rng.poisson(base_rates(**named)).astype(np.uint16)  # type: ignore[arg-type]


def write_mrc(path: Path, frames: np.ndarray, *, mode: int, cell_px: tuple[float, float, float]) -> None:
    """MRC with a hand-written header of 1,024 bytes; `cell_px` is the cell along x, y, z in ångström."""
    n, ky, kx = frames.shape
    head = bytearray(1024)
    struct.pack_into("<10i", head, 0, kx, ky, n, mode, 0, 0, 0, kx, ky, n)
    struct.pack_into("<6f", head, 40, *cell_px, 90.0, 90.0, 90.0)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    struct.pack_into("<3f", head, 76, float(frames.min()), float(frames.max()), float(frames.mean()))
    head[208:212], head[212:216] = b"MAP ", b"\x44\x44\x00\x00"
    path.write_bytes(bytes(head) + np.ascontiguousarray(frames).tobytes())


_SER_TYPES = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8}


def write_ser(path: Path, patterns: np.ndarray, *, step_m: float = 1e-9) -> None:
    """TIA series (y, x, ky, kx): a mapping of pictures, each with its position."""
    rows, columns, ky, kx = patterns.shape
    n = rows * columns
    dims = b""
    for size, word in ((columns, b"Position"), (rows, b"Position")):
        dims += struct.pack("<iddi", size, 0.0, step_m, 0)
        dims += struct.pack("<i", len(word)) + word + struct.pack("<i", 1) + b"m"
    head = struct.pack("<HHHIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4142, n, n)
    table_at = len(head) + 4 + 4 + len(dims)
    head += struct.pack("<iI", table_at, 2) + dims
    element_bytes = 50 + ky * kx * patterns.dtype.itemsize
    first = table_at + 2 * 4 * n
    offsets = [first + index * element_bytes for index in range(n)]
    tags_at = first + n * element_bytes
    tags = [tags_at + index * 24 for index in range(n)]
    with path.open("wb") as file:
        file.write(head + struct.pack(f"<{n}I", *offsets) + struct.pack(f"<{n}I", *tags))
        kind = _SER_TYPES[patterns.dtype.str[1:]]
        for frame in patterns.reshape(n, ky, kx):
            file.write(struct.pack("<ddiddihii", 0.0, 1e-9, 0, 0.0, 1e-9, 0, kind, kx, ky))
            file.write(np.ascontiguousarray(frame[::-1]).tobytes())  # stored from the lowest row upwards
        for index in range(n):
            y, x = divmod(index, columns)
            file.write(struct.pack("<HHIdd", 0x4142, 0, 0, x * step_m, y * step_m))


def said(scan: object) -> str:
    """Everything that was said about how a file was read."""
    about = scan.provenance  # type: ignore[attr-defined]
    return " | ".join((*about.found, *about.assumed, *about.warnings))
