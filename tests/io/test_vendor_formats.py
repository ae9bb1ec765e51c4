"""Formats of vendors and programs, written for the test: every count and calibration comes back, lazily."""

import gc
import json
import pickle
import struct
import warnings
import zipfile
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
from field_reports.base import write_mrc, write_ser
from field_reports.dm4 import write_dm4

from orbistem.errors import FormatError, InputError, MissingExtraError
from orbistem.io import describe, open_scan
from orbistem.io.formats import rosetta
from orbistem.io.zipped import PackedArray
from orbistem.scan import Axis

SHAPE = (6, 4, 12, 8)  # nothing square, nothing equal
AXES = [("y", 6, 0.5, "nm", True), ("x", 4, 0.25, "nm", True), ("ky", 12, 0.02, "1/nm", False)]
AXES += [("kx", 8, 0.02, "1/nm", False)]


def signal(counts, axes=AXES):
    """What RosettaSciIO's writers take."""
    return {
        "data": counts,
        "axes": [
            {
                "name": name,
                "size": size,
                "scale": scale,
                "offset": 0.0,
                "units": units,
                "navigate": navigate,
                "index_in_array": index,
                "_type": "UniformDataAxis",
                "is_binned": False,
            }
            for index, (name, size, scale, units, navigate) in enumerate(axes)
        ],
        "metadata": {"General": {"title": "t"}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
        "attributes": {"_lazy": False},
        "tmp_parameters": {},
        "package": "x",
        "package_version": "1",
    }


def by_rosetta(module, suffix, *, dtype="uint16", options=None, **named):
    def write(path, counts):
        target = path.with_suffix(suffix)
        import_module(f"rsciio.{module}").file_writer(str(target), signal(counts.astype(dtype)), **named)
        return target, options or {}

    return write


def write_ripple(path, counts):
    flat = counts.reshape(-1, *SHAPE[2:]).astype("u1")
    axes = [("position", 24, 1.0, "", True), *AXES[2:]]
    import_module("rsciio.ripple").file_writer(str(path) + ".rpl", signal(flat, axes))
    return path.with_suffix(".rpl"), {"shape": SHAPE[:2]}


def write_tiff(path, counts):
    import tifffile

    tifffile.imwrite(path.with_suffix(".tif"), counts.reshape(-1, *SHAPE[2:]), photometric="minisblack")
    return path.with_suffix(".tif"), {"shape": SHAPE[:2]}


def write_tvips(path, counts):
    target = path.with_name(f"{path.name}_000.tvips")
    import_module("rsciio.tvips").file_writer(str(target), signal(counts))
    return target, {"shape": SHAPE[:2]}


def write_mrc_stack(path, counts):
    write_mrc(path.with_suffix(".mrc"), counts.reshape(-1, *SHAPE[2:]), mode=6, cell_px=(8.0, 12.0, 24.0))
    return path.with_suffix(".mrc"), {"shape": SHAPE[:2]}


def write_ser_map(path, counts):
    write_ser(path.with_suffix(".ser"), counts)
    return path.with_suffix(".ser"), {}


def write_dm4_stack(path, counts):
    write_dm4(path.with_suffix(".dm4"), counts, [(scale, units) for _, _, scale, units, _ in AXES])
    return path.with_suffix(".dm4"), {}


def write_mib(path, counts):
    head = "MQ1,{:06d},00384,01,0008,0012,U16,   1x1,01,2021-05-07 18:51:10.905800,0.1,0,0,0,4.0E+1,5.1E+2,"
    head += "0.0,0.0,0.0,0.0,0.0,0.0,3RX,068,511,MQ1A,2021-05-07T16:51:10.905800928Z,100000000ns,12,"
    with path.with_suffix(".mib").open("wb") as file:
        for index, frame in enumerate(counts.reshape(-1, *SHAPE[2:])):
            file.write(head.format(index + 1).encode().ljust(384, b"\0"))
            file.write(frame[::-1].astype(">u2").tobytes())
    return path.with_suffix(".mib"), {"shape": SHAPE[:2]}


def write_dens(path, counts):
    """A heating log of DENSsolutions: temperatures over time, and no patterns, whatever else is there."""
    del counts
    lines = ["07/05/'21 18:51\tDigiheater 3.1", "R0=100.0\ta=0.1\tb=0.2\tc=0.3", "delta_t=0.1"]
    lines += ["sample\ttime\tTset[C]\tTmeas[C]\tRheat[ohm]\tVheat[V]\tIheat[mA]\tPheat [mW]\tc"]
    lines += [f"{i}\t18:51:{i:02d}.0\t20\t{20 + i}.5\t100\t1\t10\t10\t0" for i in range(9)]
    path.with_suffix(".dens").write_text("\n".join(lines) + "\n")
    return path.with_suffix(".dens"), {}


def write_py4dstem(path, counts):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.attrs["emd_group_type"] = "file"
        file.attrs["version_major"], file.attrs["version_minor"] = 1, 0
        root = file.create_group("datacube_root")
        root.attrs["emd_group_type"] = "root"
        cube = root.create_group("datacube")
        cube.attrs["emd_group_type"], cube.attrs["python_class"] = "array", "DataCube"
        cube["data"] = counts
        for index, (name, size, scale, units, _) in enumerate(AXES):
            dim = cube.create_dataset(f"dim{index}", data=np.array([0, scale]))
            dim.attrs["name"], dim.attrs["units"] = name, units
            assert size
    return path.with_suffix(".h5"), {}


def write_velox(path, counts, **more):
    """Velox keeps pictures as (ky, kx, n) beside a picture's metadata as JSON in bytes."""
    frames = counts.reshape(-1, *SHAPE[2:])
    about = {
        "BinaryResult": {
            "PixelSize": {"width": "2e7", "height": "2e7"},
            "PixelUnitX": "1/m",
            "PixelUnitY": "1/m",
            "Offset": {"x": "0", "y": "0"},
            "Detector": "x",
        },
        "CustomProperties": {},
        "Detectors": {},
        "Scan": {"FrameTime": "1"},
        **more,
    }
    raw = np.frombuffer(json.dumps(about).encode().ljust(4000, b"\0"), np.uint8)
    with h5py.File(path.with_suffix(".emd"), "w") as file:
        version = '{"format": "Velox", "version": "1.1"}'
        file.create_dataset("Version", data=np.array([version.encode()], dtype=h5py.string_dtype()))
        image = file.create_group("Data/Image/0123456789abcdef0123456789abcdef")
        image.create_dataset("Data", data=np.moveaxis(frames, 0, -1), chunks=(12, 8, 1))
        image["Metadata"] = np.repeat(raw[:, None], len(frames), axis=1)
        image["FrameLookupTable"] = np.arange(len(frames))
    return path.with_suffix(".emd"), {"shape": SHAPE[:2]}


def write_velox_whole(path, counts):
    """With all that RosettaSciIO asks of the metadata."""
    return write_velox(
        path, counts, Acquisition={"AcquisitionStartDatetime": {"DateTime": "1620000000"}}, Operations={}
    )


def write_h5oina(path, counts):
    """Oxford's HDF5: the map's size in cells, patterns as recorded beside processed ones."""
    with h5py.File(path.with_suffix(".h5oina"), "w") as file:
        file["Manufacturer"], file["Format Version"] = np.bytes_("Oxford Instruments"), np.bytes_("5.0")
        data = file.create_group("1/EBSD/Data")
        data["Unprocessed Patterns"] = counts.reshape(-1, *SHAPE[2:])
        data["Processed Patterns"] = counts.reshape(-1, *SHAPE[2:]) // 2
        file["1/EBSD/Header/Y Cells"], file["1/EBSD/Header/X Cells"] = [SHAPE[0]], [SHAPE[1]]
    return path.with_suffix(".h5oina"), {"dataset": "1/EBSD/Data/Unprocessed Patterns"}


def nion_properties(key="dimensional_calibrations"):
    calibrations = [
        {"offset": -1.0 * size * scale / 2, "scale": scale, "units": units}
        for _, size, scale, units, _ in AXES
    ]
    return {
        "is_sequence": False,
        "collection_dimension_count": 2,
        "datum_dimension_count": 2,
        "intensity_calibration": {"offset": 0.0, "scale": 1.0, "units": "counts"},
        key: calibrations,
        "title": "4D",
    }


def write_ndata(path, counts, *, compression=zipfile.ZIP_STORED, properties=None):
    np.save(path.with_suffix(".npy"), counts)
    with zipfile.ZipFile(path.with_suffix(".ndata1"), "w", compression) as archive:
        archive.write(path.with_suffix(".npy"), "data.npy")
        archive.writestr("metadata.json", json.dumps(properties or nion_properties("spatial_calibrations")))
    path.with_suffix(".npy").unlink()
    return path.with_suffix(".ndata1"), {}


def write_ndata_packed(path, counts):
    return write_ndata(path, counts, compression=zipfile.ZIP_DEFLATED)


def write_nion_hdf5(path, counts):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["data"] = counts
        file["data"].attrs["properties"] = json.dumps({"data_sources": [nion_properties()]})
    return path.with_suffix(".h5"), {}


def write_nhdf(path, counts):
    with h5py.File(path.with_suffix(".nhdf"), "w") as file:
        file["data/0"] = counts
        file["data/0"].attrs["properties"] = json.dumps(nion_properties())
        file.create_group("index").attrs["1"] = "{}"
    return path.with_suffix(".nhdf"), {}


def write_ebsp(path, counts):
    frames = counts.reshape(-1, *SHAPE[2:])
    n = len(frames)
    size = 16 + frames[0].nbytes + 18
    begins = [8 + 8 * n + index * size for index in range(n)]
    order = np.random.default_rng(1).permutation(n)  # not stored in the order of the map
    table = np.zeros(n, "<i8")
    table[order] = begins
    with path.with_suffix(".ebsp").open("wb") as file:
        file.write(struct.pack("<q", -2) + table.tobytes())
        for index in order:
            y, x = divmod(int(index), SHAPE[1])
            file.write(struct.pack("<4i", 0, *SHAPE[2:], frames[0].nbytes))
            file.write(frames[index].astype("<u2").tobytes())
            file.write(struct.pack("<bdbd", 1, 0.25 * x, 1, 0.5 * y))
    return path.with_suffix(".ebsp"), {}


def write_bruker(path, counts):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["Manufacturer"], file["Version"] = np.bytes_("Bruker Nano"), np.bytes_("Esprit 2.X")
        ebsd = file.create_group("Scan 1/EBSD")
        ebsd["Data/RawPatterns"] = counts.reshape(-1, *SHAPE[2:]).astype(np.uint8)
        ebsd["Header/NROWS"], ebsd["Header/NCOLS"] = SHAPE[0], SHAPE[1]
    return path.with_suffix(".h5"), {}


def write_xarray_zarr(path, counts):
    import zarr

    store = zarr.DirectoryStore(str(path.with_suffix(".zarr")))
    group = zarr.open_group(store, mode="w")
    array = group.create_dataset("patterns", data=counts, chunks=(2, 2, 12, 8))
    array.attrs["_ARRAY_DIMENSIONS"] = [name for name, *_ in AXES]
    for name, size, scale, units, _ in AXES:
        coordinate = group.create_dataset(name, data=np.arange(size) * scale)
        coordinate.attrs["units"] = units
    return path.with_suffix(".zarr"), {}


CASES = {
    # name: (writer, format name, calibrated: scan and detector axes known, lazy)
    "tvips": (write_tvips, "TVIPS", False, True),
    "nexus": (by_rosetta("nexus", ".nxs"), "HDF5", True, True),
    "ripple": (write_ripple, "Ripple", False, True),
    "prz": (by_rosetta("pantarhei", ".prz"), "NumPy (.npz)", False, False),
    "tiff": (write_tiff, "TIFF", False, False),  # lazy from 256 MB on
    "mrc": (write_mrc_stack, "MRC", False, True),
    "ser": (write_ser_map, "TIA", False, True),
    "dm4": (write_dm4_stack, "DigitalMicrograph", True, True),
    "mib": (write_mib, "QuantumDetector", False, True),
    "py4dstem": (write_py4dstem, "EMD", True, True),
    "velox": (write_velox, "EMD (Velox, data alone)", False, True),
    "velox whole": (write_velox_whole, "EMD", False, True),
    "oxford h5oina": (write_h5oina, "EBSD (Oxford Instruments)", False, True),
    "ndata1": (write_ndata, "Nion (ndata)", True, True),
    "ndata1 packed": (write_ndata_packed, "Nion (ndata)", True, False),
    "nion h5": (write_nion_hdf5, "HDF5", True, True),
    "nhdf": (write_nhdf, "HDF5", True, True),
    "ebsp": (write_ebsp, "EBSD (Oxford .ebsp)", False, True),
    "bruker": (write_bruker, "EBSD (Bruker Nano)", False, True),
    "xarray": (write_xarray_zarr, "Zarr", True, True),
}


@pytest.fixture
def counts(rng):
    return rng.poisson(4, size=SHAPE).astype(np.uint16)


# the lazy TIFF reader of RosettaSciIO leaves its file to the garbage collector
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("case", CASES)
def test_counts_and_calibrations_come_back(tmp_path, counts, case):
    write, name, calibrated, lazy = CASES[case]
    path, options = write(tmp_path / "scan", counts)
    scan = open_scan(path, **options)
    assert scan.provenance.format == name
    assert scan.scan_shape == SHAPE[:2]
    assert scan.detector_shape == SHAPE[2:]
    assert hasattr(scan.patterns, "dask") == lazy
    travelled = pickle.loads(pickle.dumps(scan))
    assert np.array_equal(travelled.block(0, 24).frames, counts.reshape(-1, *SHAPE[2:]))
    assert np.array_equal(scan.block(5, 19).frames, counts.reshape(-1, *SHAPE[2:])[5:19])
    if calibrated:
        for axis, (_, _, scale, units, _) in zip((*scan.scan_axes, *scan.detector_axes), AXES, strict=True):
            assert axis.scale == pytest.approx(scale)
            assert axis.units == units
        assert not scan.provenance.assumed


@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("case", CASES)
def test_opening_and_reading_twice_finds_the_same(tmp_path, counts, case):
    """Also where the reader of the first time still holds the file open, with a lock."""
    path, options = CASES[case][0](tmp_path / "a", counts)
    first = open_scan(path, **options)
    told, numbers = describe(first), np.asarray(first.patterns)
    for _ in range(2):
        again = open_scan(path, **options)
        assert describe(again) == told
        assert np.array_equal(np.asarray(again.patterns), numbers)


def test_nion_offsets_and_older_spellings(tmp_path, counts):
    path, _ = write_ndata(tmp_path / "a", counts)
    scan = open_scan(path)
    assert scan.detector_axes[1] == Axis(name="kx", scale=0.02, offset=-0.08, units="1/nm")
    line = {**nion_properties(), "is_sequence": True, "collection_dimension_count": 0}
    line["dimensional_calibrations"] = line["dimensional_calibrations"][1:]
    path, _ = write_ndata(tmp_path / "b", counts.reshape(-1, *SHAPE[2:]), properties=line)
    assert open_scan(path).scan_shape == (24, 1)
    assert open_scan(path).scan_axes[0].scale == 0.25
    path, _ = write_ndata(tmp_path / "c", counts, properties={"title": "nothing else"})
    scan = open_scan(path)
    assert scan.scan_shape == SHAPE[:2]
    assert "taken as (y, x, ky, kx)" in " ".join(scan.provenance.assumed)
    with zipfile.ZipFile(tmp_path / "d.ndata1", "w") as archive:
        np.save(tmp_path / "d.npy", counts)
        archive.write(tmp_path / "d.npy", "data.npy")
        archive.writestr("metadata.json", "{not JSON")
    assert "metadata.json is unreadable" in " ".join(open_scan(tmp_path / "d.ndata1").provenance.warnings)


@pytest.mark.parametrize("write", [write_ndata, write_nion_hdf5, write_nhdf])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"offset": 3.0, "scale": 0.4, "units": "e-"}, "its electrons are those of --gain 2.5"),
        ({"offset": -100, "scale": 1, "units": "counts"}, "gain and offset are found from their noise"),
        ({"offset": 0.0, "scale": 1.0, "units": "counts"}, None),
        ({"offset": None, "scale": "x"}, None),
        ([1, 2], None),
    ],
)
def test_intensity_calibrations_of_nion_are_told_and_not_applied(
    tmp_path, counts, monkeypatch, write, given, told
):
    usual = nion_properties
    monkeypatch.setitem(
        globals(), "nion_properties", lambda *key: usual(*key) | {"intensity_calibration": given}
    )
    path, _ = write(tmp_path / "a", counts)
    scan = open_scan(path)
    assert np.array_equal(scan.patterns.compute(), counts)  # as recorded, also in type
    assert scan.dtype == counts.dtype
    words = [text for text in scan.provenance.found if "intensity calibration" in text]
    assert len(words) == (told is not None)
    assert all("is not applied" in text and told in text for text in words)


def test_large_compressed_arrays_are_unpacked_piece_by_piece(tmp_path, counts, monkeypatch):
    monkeypatch.setattr("orbistem.io.zipped.IN_MEMORY_BYTES", 100)
    path, _ = write_ndata_packed(tmp_path / "a", counts)
    scan = open_scan(path)
    assert hasattr(scan.patterns, "dask")
    flat = counts.reshape(-1, *SHAPE[2:])
    for start, stop in ((0, 24), (3, 9), (9, 11), (0, 5), (20, 24)):
        assert np.array_equal(scan.block(start, stop).frames, flat[start:stop])
    recipe = PackedArray(str(path), "data.npy", 128, SHAPE, np.dtype("<u2"))
    assert np.array_equal(recipe[2:3, 1:3, :, 2:5], counts[2:3, 1:3, :, 2:5])
    np.savez_compressed(tmp_path / "f.npz", data=np.asfortranarray(counts))
    with pytest.raises(FormatError, match="in Fortran order"):
        open_scan(tmp_path / "f.npz")


def test_ebsp_with_patterns_left_out(tmp_path, counts):
    path, _ = write_ebsp(tmp_path / "a", counts)
    content = bytearray(path.read_bytes())
    absent = [3, 17, 23]
    for index in absent:
        content[8 + 8 * index : 16 + 8 * index] = bytes(8)
    path.write_bytes(content)
    scan = open_scan(path)
    assert scan.scan_shape == SHAPE[:2]
    assert np.flatnonzero(~scan.measured).tolist() == absent
    kept = np.setdiff1d(np.arange(24), absent)
    assert np.array_equal(scan.block(0, 24).frames[kept], counts.reshape(-1, *SHAPE[2:])[kept])
    assert scan.scan_axes[0] == Axis(name="y", scale=0.5, units="µm")


def test_what_is_missing_is_named(tmp_path, counts):
    path, _ = write_dens(tmp_path / "a", counts)
    from rsciio.dens import file_reader

    assert file_reader(str(path))[0]["data"].shape == (9,)  # it is a good one
    with pytest.raises(FormatError, match="no two-dimensional patterns"):
        open_scan(path)
    path.write_text("no log")
    with pytest.raises(FormatError, match="DENS"):
        open_scan(path)
    (tmp_path / "a.mrcz").write_bytes(bytes(2000))
    with pytest.raises((MissingExtraError, FormatError), match="mrcz"):
        open_scan(tmp_path / "a.mrcz")


def test_mrcz(tmp_path, counts):
    mrcz = pytest.importorskip("mrcz", reason="the extra dev has it")
    stack = counts.reshape(-1, *SHAPE[2:]).astype(np.int16)
    mrcz.writeMRC(stack, str(tmp_path / "a.mrcz"), pixelsize=[1, 1, 1])
    scan = open_scan(tmp_path / "a.mrcz")
    assert scan.dtype == np.int16
    assert np.array_equal(scan.block(0, len(stack)).frames, stack)
    assert open_scan(tmp_path / "a.mrcz", shape=SHAPE[:2]).scan_shape == SHAPE[:2]
    (tmp_path / "cut.mrcz").write_bytes((tmp_path / "a.mrcz").read_bytes()[:1100])
    with pytest.raises(FormatError) as caught:
        open_scan(tmp_path / "cut.mrcz").block(0, 2)
    assert "\n" not in str(caught.value)


def test_empad_described_by_its_xml(tmp_path, rng):
    """128 x 130 float32 a frame, of which two rows are no picture; the scan shape is in the XML."""
    frames = rng.poisson(3, (6, 130, 128)).astype("<f4")
    frames.tofile(tmp_path / "scan_x3_y2.raw")
    (tmp_path / "a.xml").write_text(
        "<root><raw_file filename='scan_x3_y2.raw'/><pix_x>3</pix_x><pix_y>2</pix_y>"
        "<scan_parameters mode='acquire'><scan_resolution_x>3</scan_resolution_x></scan_parameters></root>"
    )
    for name in ("a.xml", "scan_x3_y2.raw"):
        scan = open_scan(tmp_path / name)
        assert scan.scan_shape == (2, 3)
        assert hasattr(scan.patterns, "dask")
        assert np.array_equal(scan.block(0, 6).frames, frames[:, :128])
    (tmp_path / "scan_x3_y2.raw").unlink()
    with pytest.raises(InputError, match=r"scan_x3_y2\.raw, which is not there"):
        open_scan(tmp_path / "a.xml")


def test_tiff_stacks_are_lazy_where_they_are_large(tmp_path, counts, monkeypatch):
    monkeypatch.setattr(rosetta, "_SMALL_BYTES", 100)
    path, options = write_tiff(tmp_path / "a", counts)
    with warnings.catch_warnings():  # RosettaSciIO's lazy reader leaves its file to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        scan = open_scan(path, **options)
        assert hasattr(scan.patterns, "dask")
        assert np.array_equal(scan.block(3, 9).frames, counts.reshape(-1, *SHAPE[2:])[3:9])
        del scan
        rosetta._arrays.cache_clear()
        gc.collect()


FORMATS_NAMED = {
    # format: the test that reads a file which was written or shipped for it
    "hspy": "test_formats.write_hspy",
    "zspy": "test_formats.write_zspy",
    "blo": "test_report_46",
    "mib": "mib",
    "dm4": "dm4",
    "emd (NCEM)": "test_formats.write_emd_by_rosetta",
    "emd (Velox)": "velox whole",
    "tvips": "tvips",
    "EMPAD": "test_empad_described_by_its_xml",
    "mrc": "mrc",
    "mrcz": "test_mrcz",
    "tiff": "tiff",
    "ser": "ser",
    "nexus": "nexus",
    "ripple": "ripple",
    "prz": "prz",
    "dens": "test_what_is_missing_is_named",
}
"""The formats that orbistem promises by name."""


def test_every_promised_format_has_its_test():
    folder = Path(__file__).resolve().parents[1]
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py"))
    for name, where in FORMATS_NAMED.items():
        assert where in CASES or f"def {where.rpartition('.')[2]}" in text, name
