"""Files that lie: shapes without end, links out of the folder, archives that unpack to far too much."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from hostile.sound import SHAPE, patterns, zarr3_array

HUGE = 10**7


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _npy_bytes(header: str, body: bytes = b"\0" * 1000) -> bytes:
    text = header.encode("latin-1").ljust(117, b" ") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def lying_npy(folder: Path) -> Iterator[Path]:
    """Headers of .npy that promise what is not there."""
    headers = {
        "huge": "{'descr': '<u2', 'fortran_order': False, 'shape': (10000000, 10000000, 512, 512), }",
        "overflow": "{'descr': '<u2', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4, 4), }",
        "negative": "{'descr': '<u2', 'fortran_order': False, 'shape': (-6, 4, 12, 8), }",
        "two negatives": "{'descr': '<u2', 'fortran_order': False, 'shape': (-6, -4, 4, 4), }",
        "empty": "{'descr': '<u2', 'fortran_order': False, 'shape': (0, 4, 12, 8), }",
        "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (4, 4, 4, 4), }",
        "text": "{'descr': '<U8', 'fortran_order': False, 'shape': (2, 2, 2, 2), }",
        "record": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 2, 4, 4), }",
        "float": "{'descr': '<u2', 'fortran_order': False, 'shape': (2.5, 4, 4, 4), }",
        "code": "__import__('os').system('touch owned')",
        "deep": "(" * 90 + ")" * 90 if False else "{'descr': " + "[" * 90,
        "void": "{'descr': '|V0', 'fortran_order': False, 'shape': (2, 2, 4, 4), }",
        "one axis": "{'descr': '<u2', 'fortran_order': False, 'shape': (500,), }",
        "thin": "{'descr': '<u2', 'fortran_order': False, 'shape': (5, 100, 1), }",
        "nine axes": "{'descr': '<u1', 'fortran_order': False, 'shape': (2, 2, 2, 2, 2, 2, 2, 2, 2), }",
        "byte order": "{'descr': '>u9', 'fortran_order': False, 'shape': (2, 2, 4, 4), }",
    }
    for name, header in headers.items():
        yield put(folder, f"npy {name}.npy", _npy_bytes(header))


def odd_numbers(folder: Path) -> Iterator[Path]:
    """Sound files with numbers that are none, or nothing at all."""
    counts = patterns().astype(np.float32)
    arrays = {
        "all nan": np.full(SHAPE, np.nan, np.float32),
        "all inf": np.full(SHAPE, np.inf, np.float32),
        "some inf": np.where(counts > 8, np.inf, counts),
        "minus inf": np.where(counts > 8, -np.inf, counts),
        "negative": -counts,
        "zero": np.zeros(SHAPE, np.uint16),
        "largest": np.full(SHAPE, np.finfo(np.float64).max),
        "smallest": np.full(SHAPE, 5e-324) * patterns(),
        "mixed huge": counts.astype(np.float64) * np.random.default_rng(1).choice([1e-300, 1e300], SHAPE),
        "int64": patterns().astype(np.int64) * 2**55,
        "uint64": patterns().astype(np.uint64) << np.uint64(58),
        "half": np.where(counts > 8, np.inf, counts).astype(np.float16),
        "one hot": np.eye(96, dtype=np.uint8)[np.arange(24)].reshape(SHAPE),
        "single pixel": np.pad(patterns()[..., :1, :1], ((0, 0), (0, 0), (0, 11), (0, 7))),
        "complex": counts.astype(np.complex64),
        "text": np.full(SHAPE, "a"),
        "dates": np.zeros(SHAPE, "datetime64[s]"),
        "two by two": patterns()[..., :2, :2],
        "one row": patterns()[:1, :, :, :],
    }
    for name, array in arrays.items():
        np.save(folder / f"numbers {name}.npy", array)
        yield folder / f"numbers {name}.npy"
    for suffix in (
        ".npy",
        ".h5",
        ".hspy",
        ".ndata1",
        ".mib",
        ".dm4",
        ".tif",
        ".ebsp",
        ".zip",
        ".raw",
        ".ser",
    ):
        yield put(folder, f"empty{suffix}", b"")
        yield put(folder, f"noise{suffix}", np.random.default_rng(5).bytes(5000))


def lying_zips(folder: Path) -> Iterator[Path]:
    """Archives that unpack to far more than they should, or hold their own ways out."""
    about = json.dumps({"collection_dimension_count": 2, "datum_dimension_count": 2})
    head = _npy_bytes("{'descr': '<u1', 'fortran_order': False, 'shape': (1000, 1000, 64, 64), }", b"")
    bomb = folder / "bomb.ndata1"  # 4 GB of zeros in 4 MB
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("metadata.json", about)
        with archive.open("data.npy", "w", force_zip64=True) as member:
            member.write(head)
            for _ in range(64):
                member.write(bytes(2**22))
    yield bomb  # holds 256 MB and claims 4 GB
    small = io.BytesIO()
    np.save(small, patterns())
    with zipfile.ZipFile(folder / "claims.ndata1", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", small.getvalue())
        archive.writestr("metadata.json", about)
    content = (folder / "claims.ndata1").read_bytes()
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"PK\x01\x02"))
    yield put(folder, "claims.ndata1", content[: at + 24] + b"\xff\xff\xff\x7f" + content[at + 28 :])
    yield put(folder, "encrypted.ndata1", content[: at + 8] + b"\x01\x00" + content[at + 10 :])
    yield put(folder, "method.ndata1", content[: at + 10] + b"\x63\x00" + content[at + 12 :])
    yield put(folder, "offset.ndata1", content[: at + 42] + b"\xff\xff\xff\x7f" + content[at + 46 :])
    for name, meta in {
        "deep": "[" * 100_000,
        "list": "[1, 2]",
        "odd": '{"datum_dimension_count": "two", "dimensional_calibrations": [1, null, "x", {}]}',
        "nan": '{"dimensional_calibrations": [{"scale": NaN, "units": 5}, {"scale": 1e999}, {}, {}]}',
        "counts": '{"datum_dimension_count": -3, "collection_dimension_count": 99}',
        "huge": '{"x": "' + "y" * 20_000_000 + '"}',
        "bytes": "\udcff",
    }.items():
        with zipfile.ZipFile(folder / f"meta {name}.ndata1", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data.npy", small.getvalue())
            archive.writestr("metadata.json", meta.encode("utf-8", "surrogateescape"))
        yield folder / f"meta {name}.ndata1"
    with zipfile.ZipFile(folder / "slip.npz", "w") as archive:
        archive.writestr("../../owned.npy", small.getvalue())
        archive.writestr("/abs/owned.npy", small.getvalue())
    yield folder / "slip.npz"
    with zipfile.ZipFile(folder / "pickle.npz", "w") as archive:
        held = io.BytesIO()
        np.save(held, np.array([{"a": 1}]), allow_pickle=True)
        archive.writestr("data.npy", held.getvalue())
    yield folder / "pickle.npz"
    with zipfile.ZipFile(folder / "many.npz", "w") as archive:
        for index in range(3000):
            archive.writestr(f"{index}.npy", b"")
    yield folder / "many.npz"
    yield put(folder, "end.npz", b"PK\x03\x04" + bytes(100) + b"PK\x05\x06" + b"\xff" * 18)


def lying_hdf5(folder: Path) -> Iterator[Path]:
    """Links, storage and sources outside the folder; loops; shapes without end."""
    outside = folder.parent / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["data"] = patterns()
    (folder.parent / "outside.raw").write_bytes(patterns().tobytes())
    makers: dict[str, Callable[[h5py.File], object]] = {
        "link outside": lambda f: f.__setitem__("data", h5py.ExternalLink("../outside.h5", "/data")),
        "link absolute": lambda f: f.__setitem__("data", h5py.ExternalLink(str(outside), "/data")),
        "link group": lambda f: f.__setitem__("group", h5py.ExternalLink("../outside.h5", "/")),
        "link device": lambda f: f.__setitem__("data", h5py.ExternalLink("/dev/zero", "/data")),
        "link itself": lambda f: f.__setitem__("data", h5py.ExternalLink("hdf5 link itself.h5", "/data")),
        "link soft loop": lambda f: (
            f.__setitem__("a", h5py.SoftLink("/b")),
            f.__setitem__("b", h5py.SoftLink("/a")),
        ),
        "group loop": lambda f: f.create_group("a/b/c").__setitem__("back", f["/"]),
        "storage outside": lambda f: f.create_dataset(
            "data", SHAPE, "u2", external=[("../outside.raw", 0, patterns().nbytes)]
        ),
        "storage absolute": lambda f: f.create_dataset(
            "data", SHAPE, "u2", external=[(str(folder.parent / "outside.raw"), 0, patterns().nbytes)]
        ),
        "virtual outside": lambda f: f.create_virtual_dataset("data", _virtual("../outside.h5")),
        "virtual absolute": lambda f: f.create_virtual_dataset("data", _virtual(str(outside))),
        "huge": lambda f: f.create_dataset("data", (HUGE, HUGE, 64, 64), "u2", chunks=(1, 1, 64, 64)),
        "huge pattern": lambda f: f.create_dataset("data", (4, 4, 10**6, 10**6), "f8", chunks=(1, 1, 64, 64)),
        "huge chunk": lambda f: f.create_dataset("data", (8, 16, 512, 512), "u2", chunks=(8, 16, 256, 512)),
        "no pixels": lambda f: f.create_dataset("data", (5, 5, 0, 4), "u2"),
        "scalar": lambda f: f.create_dataset("data", data=5),
        "null": lambda f: f.create_dataset("data", data=h5py.Empty("f4")),
        "compound": lambda f: f.create_dataset("data", (4, 4, 4, 4), np.dtype([("a", "f4"), ("b", "i2")])),
        "strings": lambda f: f.create_dataset("data", (4, 4, 4, 4), h5py.string_dtype()),
        "ragged": lambda f: f.create_dataset("data", (4, 4), h5py.vlen_dtype("f4")),
        "references": lambda f: f.create_dataset("data", (4, 4, 4, 4), h5py.ref_dtype),
        "deep": lambda f: f.create_group("/".join("g" * 400)),
        "wide": lambda f: [f.create_group(f"g{i}") for i in range(3000)],
        "version": lambda f: f.attrs.update({"file_format": "HyperSpy", "file_format_version": "nonsense"}),
        "positions": lambda f: f.update(
            {"data": patterns().reshape(24, 12, 8), "positions": np.full((24, 2), np.nan)}
        ),
        "positions huge": lambda f: f.update(
            {"data": patterns().reshape(24, 12, 8), "positions": np.full((24, 2), 1e300)}
        ),
        "cxi": lambda f: f.update({"cxi_version": 140, "entry_1/data_1/data": np.zeros((3, 0, 5))}),
        "cxi mask": lambda f: f.update(
            {
                "cxi_version": 140,
                "entry_1/data_1/data": patterns().reshape(24, 12, 8),
                "entry_1/data_1/mask": np.ones((12, 8)),
                "entry_1/instrument_1/detector_1/distance": np.nan,
            }
        ),
        "header": lambda f: f.update(
            {
                "s/EBSD/Data/p": patterns().reshape(24, 12, 8),
                "s/EBSD/Header/NROWS": -1,
                "s/EBSD/Header/NCOLS": "x",
            }
        ),
        "dims": lambda f: f.update(
            {"g/data": patterns(), **{f"g/dim{i}": np.full(n, np.nan) for i, n in enumerate(SHAPE)}}
        ),
    }
    for name, make in makers.items():
        path = folder / f"hdf5 {name}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        yield path
    with h5py.File(folder / "hdf5 bomb.h5", "w") as file:  # zeros, a thousand times smaller when packed
        data = file.create_dataset(
            "data", (8, 8, 1024, 512), "u2", chunks=(8, 8, 256, 256), compression="gzip"
        )
        data.id.write_direct_chunk((0, 0, 0, 0), _deflated(8 * 8 * 256 * 256 * 2))
    yield folder / "hdf5 bomb.h5"
    with h5py.File(folder / "hdf5 bad chunk.h5", "w") as file:
        data = file.create_dataset("data", SHAPE, "u2", chunks=SHAPE, compression="gzip")
        data.id.write_direct_chunk((0, 0, 0, 0), b"not deflated at all")
    yield folder / "hdf5 bad chunk.h5"


def _virtual(source: str) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(SHAPE, "u2")
    layout[...] = h5py.VirtualSource(source, "data", shape=SHAPE)
    return layout


def _deflated(n_bytes: int) -> bytes:
    import zlib

    machine = zlib.compressobj(9)
    return b"".join([machine.compress(bytes(n_bytes)), machine.flush()])


def lying_zarr(folder: Path) -> Iterator[Path]:
    """Metadata of both Zarr formats that do not fit the chunks."""
    good = zarr3_array(patterns())
    grid = {"name": "regular", "configuration": {"chunk_shape": [1, 1, 12, 8]}}
    changes: dict[str, dict[str, object]] = {
        "huge": {"shape": [HUGE, HUGE, 512, 512]},
        "huge chunk": {
            "shape": [HUGE, 4, 12, 8],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [HUGE, HUGE, 12, 8]}},
        },
        "many chunks": {"shape": [100, 100, 12, 8], "chunk_grid": grid},
        "negative": {"shape": [-6, 4, 12, 8]},
        "no grid": {"chunk_grid": {"name": "rectilinear", "configuration": {}}},
        "zero chunk": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 0, 0, 0]}}},
        "endless": {"shape": [10**308, 4, 12, 8]},
        "type": {"data_type": "r8"},
        "type of two lines": {"data_type": "uint\n16"},
        "type list": {"data_type": ["uint16"]},
        "codec": {"codecs": [{"name": "unheard of"}]},
        "codecs": {"codecs": 5},
        "shards": {
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [1, 1, 1, 1],
                        "codecs": [{"name": "bytes"}],
                        "index_codecs": [{"name": "bytes"}],
                    },
                }
            ]
        },
        "gzip": {"codecs": [{"name": "bytes"}, {"name": "gzip"}]},
        "zstd": {"codecs": [{"name": "bytes"}, {"name": "zstd"}]},
        "blosc": {"codecs": [{"name": "bytes"}, {"name": "blosc"}]},
        "transpose": {"codecs": [{"name": "transpose", "configuration": {"order": [0, 0, 0, 0]}}]},
        "fill": {"fill_value": "nonsense", "data_type": "float32"},
        "separator": {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/../../"}}},
        "version": {"zarr_format": 99},
        "nothing": {"shape": None},
    }
    for name, change in changes.items():
        store = folder / f"three {name}.zarr"
        (store / "c/0/0/0").mkdir(parents=True)
        (store / "zarr.json").write_text(json.dumps({**good, **change}))
        (store / "c/0/0/0/0").write_bytes(patterns().tobytes())
        yield store
    two = {"zarr_format": 2, "shape": list(SHAPE), "chunks": list(SHAPE), "dtype": "<u2", "order": "C"}
    two |= {"compressor": None, "fill_value": 0, "filters": None}
    for name, changed in {
        "huge": {"shape": [HUGE, HUGE, 512, 512]},
        "chunks": {"chunks": [0, 0, 0, 0]},
        "dtype": {"dtype": "|O"},
        "pickle": {"dtype": "|O", "filters": [{"id": "pickle"}]},
        "compressor": {"compressor": {"id": "zlib", "level": 1}},
        "unknown": {"compressor": {"id": "nobody"}},
        "negative": {"shape": [-1, 4, 12, 8]},
        "list": {"shape": "many"},
    }.items():
        store = folder / f"two {name}.zarr"
        store.mkdir()
        (store / ".zarray").write_text(json.dumps({**two, **changed}))
        (store / "0.0.0.0").write_bytes(patterns().tobytes())
        yield store
    store = folder / "two text.zarr"
    store.mkdir()
    (store / ".zgroup").write_text("not JSON")
    yield store


def odd_folders(folder: Path) -> Iterator[Path]:
    """Folders of frames that do not belong together."""
    for name, make in {
        "nothing": lambda place: None,
        "sizes": lambda place: [np.save(place / f"f{n}.npy", np.ones((4 + n, 5))) for n in range(40)],
        "types": lambda place: [
            np.save(place / f"f{n}.npy", np.ones((4, 5), "OfU"[n % 3])) for n in range(6)
        ],
        "cubes": lambda place: [np.save(place / f"f{n}.npy", np.ones((4, 5, 6))) for n in range(6)],
        "cut": lambda place: [(place / f"f{n}.tif").write_bytes(b"II*\0\x08\0\0\0") for n in range(6)],
        "xy": lambda place: [np.save(place / f"x{n}_y{n}.npy", np.ones((4, 5)) * n) for n in range(6)],
    }.items():
        place = folder / f"folder {name}"
        place.mkdir()
        make(place)  # type: ignore[no-untyped-call]
        yield place


LIES = (lying_npy, odd_numbers, lying_zips, lying_hdf5, lying_zarr, odd_folders)
