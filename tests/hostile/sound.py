"""One small sound file of every format that a program of ours reads by itself. The same in every run."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

SHAPE = (6, 4, 12, 8)
SEED = 2021

Writer = Callable[[Path, np.ndarray], Path]


def patterns() -> np.ndarray:
    """Counts (y, x, ky, kx)."""
    return np.random.default_rng(SEED).poisson(6, SHAPE).astype(np.uint16)


def sound_files(folder: Path) -> list[Path]:
    """One small sound file of each format, as a single file."""
    counts = patterns()
    return [write(folder / "sound", counts) for write in SOUND]


def _npy(path: Path, counts: np.ndarray) -> Path:
    np.save(path.with_suffix(".npy"), counts)
    return path.with_suffix(".npy")


def _npz(path: Path, counts: np.ndarray) -> Path:
    np.savez(path.with_suffix(".npz"), data=counts, positions=np.zeros((3, 2)))
    return path.with_suffix(".npz")


def _npz_packed(path: Path, counts: np.ndarray) -> Path:
    target = path.with_name("packed.npz")
    np.savez_compressed(target, data=counts)
    return target


def _hdf5(path: Path, counts: np.ndarray) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("entry/data", data=counts, chunks=(2, 4, 12, 8), compression="gzip")
    return path.with_suffix(".h5")


def _hspy(path: Path, counts: np.ndarray) -> Path:
    from orbistem.io import save_scan
    from orbistem.scan import Scan

    save_scan(Scan.from_array(counts), path.with_suffix(".hspy"))
    return path.with_suffix(".hspy")


def _ndata(path: Path, counts: np.ndarray) -> Path:
    held = io.BytesIO()
    np.save(held, counts)
    calibrations = [{"offset": 0.0, "scale": 0.5, "units": "nm"}] * 4
    about = {
        "collection_dimension_count": 2,
        "datum_dimension_count": 2,
        "dimensional_calibrations": calibrations,
    }
    with zipfile.ZipFile(path.with_suffix(".ndata1"), "w") as archive:
        archive.writestr("data.npy", held.getvalue())
        archive.writestr("metadata.json", json.dumps(about))
    return path.with_suffix(".ndata1")


def _ebsp(path: Path, counts: np.ndarray) -> Path:
    frames = counts.reshape(-1, *SHAPE[2:]).astype("<u2")
    size = 16 + frames[0].nbytes + 18
    parts = [struct.pack("<q", -2)]
    parts += [struct.pack("<q", 8 + 8 * len(frames) + index * size) for index in range(len(frames))]
    for index, frame in enumerate(frames):
        parts += [struct.pack("<4i", 0, *frame.shape, frame.nbytes), frame.tobytes()]
        parts += [struct.pack("<bdbd", 1, index % 4 * 0.5, 1, index // 4 * 0.5)]
    path.with_suffix(".ebsp").write_bytes(b"".join(parts))
    return path.with_suffix(".ebsp")


def _mib(path: Path, counts: np.ndarray) -> Path:
    head = "MQ1,{:06d},00384,01,0008,0012,U16,   1x1,01,2021-05-07 18:51:10.905800,0.1,0,0,0,4.0E+1,5.1E+2,"
    head += "0.0,0.0,0.0,0.0,0.0,0.0,3RX,068,511,MQ1A,2021-05-07T16:51:10.905800928Z,100000000ns,12,"
    frames = counts.reshape(-1, *SHAPE[2:])
    path.with_suffix(".mib").write_bytes(
        b"".join(
            head.format(index + 1).encode().ljust(384, b"\0") + frame[::-1].astype(">u2").tobytes()
            for index, frame in enumerate(frames)
        )
    )
    return path.with_suffix(".mib")


def _mrc(path: Path, counts: np.ndarray) -> Path:
    from field_reports.base import write_mrc

    write_mrc(path.with_suffix(".mrc"), counts.reshape(-1, *SHAPE[2:]), mode=6, cell_px=(8.0, 12.0, 24.0))
    return path.with_suffix(".mrc")


def mrcz_bytes(frames: np.ndarray, *, codec: str = "zstd", cell: float = 2.0) -> bytes:
    """A compressed MRCZ file of (n, ky, kx): pixels of cell x 1.5 cell Å."""
    from numcodecs import blosc

    order = ">" if frames.dtype.byteorder == ">" else "<"
    mode = {"i1": 0, "i2": 1, "f4": 2, "u2": 6}[frames.dtype.str[1:]]
    number = 1 + ["blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"].index(codec)
    n, rows, columns = frames.shape
    head = bytearray(1024)
    struct.pack_into(order + "4i", head, 0, columns, rows, n, 1000 * number + mode)
    struct.pack_into(order + "3f", head, 40, cell * columns, 1.5 * cell * rows, n)
    head[208:212] = b"MAP "
    chunks = [
        blosc.compress(np.ascontiguousarray(frame), codec.encode(), 1, blosc.BITSHUFFLE) for frame in frames
    ]
    return bytes(head) + b"".join(chunks)


def _mrcz(path: Path, counts: np.ndarray) -> Path:
    path.with_suffix(".mrcz").write_bytes(mrcz_bytes(counts.reshape(-1, *SHAPE[2:])))
    return path.with_suffix(".mrcz")


def _ser(path: Path, counts: np.ndarray) -> Path:
    from field_reports.base import write_ser

    write_ser(path.with_suffix(".ser"), counts)
    return path.with_suffix(".ser")


def _dm4(path: Path, counts: np.ndarray) -> Path:
    from field_reports.dm4 import write_dm4

    write_dm4(path.with_suffix(".dm4"), counts, [(1.0, "nm")] * 4)
    return path.with_suffix(".dm4")


def _tiff(path: Path, counts: np.ndarray) -> Path:
    import tifffile

    tifffile.imwrite(path.with_suffix(".tif"), counts.reshape(-1, *SHAPE[2:]), photometric="minisblack")
    return path.with_suffix(".tif")


def _zarr_zip(path: Path, counts: np.ndarray) -> Path:
    target = path.with_suffix(".zip")
    about = zarr3_array(counts)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("zarr.json", json.dumps(about))
        archive.writestr("c/0/0/0/0", counts.tobytes())
    return target


def zarr3_array(counts: np.ndarray) -> dict[str, object]:
    """Metadata of an array in one raw chunk."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(counts.shape),
        "data_type": counts.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(counts.shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }


SOUND: tuple[Writer, ...] = (
    _npy,
    _npz,
    _npz_packed,
    _hdf5,
    _hspy,
    _ndata,
    _ebsp,
    _mib,
    _mrc,
    _mrcz,
    _ser,
    _dm4,
    _tiff,
    _zarr_zip,
)
