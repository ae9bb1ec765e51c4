"""Every kind of file: what comes back is what was written, lazily, and it travels to another process."""

import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from orbistem.io import describe, open_scan, save_scan
from orbistem.io.formats import FORMATS
from orbistem.scan import Axis, Scan

SCAN_SHAPE, DETECTOR_SHAPE = (6, 4), (9, 7)  # nothing square, nothing equal


@pytest.fixture
def counts(rng):
    return rng.poisson(4, size=SCAN_SHAPE + DETECTOR_SHAPE).astype(np.uint16)


def write_npy(path, counts):
    np.save(path.with_suffix(".npy"), counts)
    return path.with_suffix(".npy"), {}


def write_npy_fortran(path, counts):
    np.save(path.with_suffix(".npy"), np.asfortranarray(counts))
    return path.with_suffix(".npy"), {}


def write_npz(path, counts):
    np.savez(path.with_suffix(".npz"), data=counts, scale=np.float32(2), dims=np.array(["y", "x"]))
    return path.with_suffix(".npz"), {}


def write_npz_compressed(path, counts):
    np.savez_compressed(path.with_suffix(".npz"), other=counts[:2], data=counts)
    return path.with_suffix(".npz"), {"dataset": "data"}


def write_hdf5(path, counts):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("deep/er/patterns", data=counts, chunks=(2, 3, 9, 7), compression="gzip")
        file["preview"] = np.zeros((5, 5))
        file["link"] = h5py.SoftLink("/deep/er/patterns")
        file["lost"] = h5py.SoftLink("/nowhere")
        file["away"] = h5py.ExternalLink("../../elsewhere.h5", "/data")
    return path.with_suffix(".h5"), {}


def write_hdf5_flat(path, counts):
    with h5py.File(path.with_suffix(".hdf5"), "w", userblock_size=512) as file:
        file["a"] = counts.reshape(-1, *DETECTOR_SHAPE)
        file["b"] = counts.reshape(-1, *DETECTOR_SHAPE)[::-1]
    return path.with_suffix(".hdf5"), {"dataset": "/a", "shape": SCAN_SHAPE}


def write_zarr(path, counts):
    import zarr

    group = zarr.open_group(zarr.DirectoryStore(str(path.with_suffix(".zarr"))), mode="w")
    group.create_dataset("patterns", data=counts, chunks=(2, 2, 9, 7))
    return path.with_suffix(".zarr"), {}


def write_zarr_root_array(path, counts):
    import zarr

    array = zarr.open_array(
        zarr.DirectoryStore(str(path)), mode="w", shape=counts.shape, chunks=(2, 2, 9, 7), dtype=counts.dtype
    )
    array[...] = counts
    return path, {}


def write_zarr_zip(path, counts):
    import zarr

    with zarr.ZipStore(str(path.with_suffix(".zip")), mode="w") as store:
        zarr.open_group(store, mode="w").create_dataset("patterns", data=counts)
    return path.with_suffix(".zip"), {}


def write_raw(path, counts):
    with path.with_suffix(".raw").open("wb") as file:
        file.write(b"h" * 256)
        for frame in counts.reshape(-1, *DETECTOR_SHAPE):
            file.write(frame.astype(">u2").tobytes() + b"g" * 64)
    options = {"shape": SCAN_SHAPE + DETECTOR_SHAPE, "dtype": ">u2", "offset": 256, "frame_gap": 64}
    return path.with_suffix(".raw"), options


def write_hspy(path, counts):
    save_scan(Scan.from_array(counts), path.with_suffix(".hspy"))
    return path.with_suffix(".hspy"), {}


def write_zspy(path, counts):
    save_scan(Scan.from_array(counts), path.with_suffix(".zspy"))
    return path.with_suffix(".zspy"), {}


def write_folder(path, counts):
    path.mkdir()
    for index, frame in enumerate(counts.reshape(-1, *DETECTOR_SHAPE)):
        np.save(path / f"frame_{index + 1}.npy", frame)
    return path, {"shape": SCAN_SHAPE}


def write_emd_by_rosetta(path, counts):
    from rsciio import emd

    names = [("y", True), ("x", True), ("ky", False), ("kx", False)]
    axes = [
        {"name": name, "size": size, "scale": 0.5, "offset": 0.0, "units": "nm", "navigate": nav}
        for (name, nav), size in zip(names, counts.shape, strict=True)
    ]
    signal = {"data": counts, "axes": axes, "original_metadata": {}}
    signal["metadata"] = {"General": {"title": "t"}, "Signal": {"signal_type": ""}}
    emd.file_writer(str(path.with_suffix(".emd")), signal)
    return path.with_suffix(".emd"), {}


WRITERS = [value for name, value in sorted(globals().items()) if name.startswith("write_")]


@pytest.mark.parametrize("write", WRITERS)
def test_what_was_written_comes_back(tmp_path, counts, write):
    path, options = write(tmp_path / "näme with space", counts)
    scan = open_scan(path, **options)
    assert scan.scan_shape == SCAN_SHAPE
    assert scan.detector_shape == DETECTOR_SHAPE
    travelled = pickle.loads(pickle.dumps(scan))
    for one in (scan, travelled):
        assert np.array_equal(one.block(0, 24).frames.reshape(counts.shape), counts)
        assert np.array_equal(one.block(3, 21).frames, counts.reshape(-1, *DETECTOR_SHAPE)[3:21])
    if write is not write_npz_compressed:  # a compressed .npz is the only one that has to be in memory
        assert hasattr(scan.patterns, "dask")
        assert len(pickle.dumps(scan)) < 20_000
    about = json.loads(json.dumps(describe(scan)))
    assert about["shape"] == [6, 4, 9, 7]
    assert about["found"]
    assert about["checksum"] == describe(open_scan(path, **options))["checksum"]
    counts = counts.copy()
    counts[0, 0] += 1
    other, options = write(tmp_path / "other", counts)
    assert describe(open_scan(other, **options))["checksum"] != about["checksum"]


def test_formats_have_names_of_their_own():
    names = [one.name for one in FORMATS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("suffix", [".hspy", ".zspy"])
def test_saving_keeps_everything(tmp_path, rng, counts, suffix):
    mask = rng.random(DETECTOR_SHAPE) > 0.2
    measured = rng.random(SCAN_SHAPE) > 0.2
    import dask.array as da

    scan = Scan.from_array(
        da.from_array(counts, chunks=(2, 4, 9, 7)),
        scan_axes=(Axis(name="y", scale=0.5, units="nm"), Axis(name="x", scale=0.25, offset=3, units="nm")),
        detector_axes=(Axis(name="ky", scale=0.02, units="1/Å"), Axis(name="kx", scale=0.03, units="1/Å")),
        pixel_valid=mask,
        measured=measured,
        scan_vectors=[[1.0, 0.0], [0.5, 0.9]],
    )
    save_scan(scan, tmp_path / f"grid{suffix}")
    again = open_scan(tmp_path / f"grid{suffix}")
    assert again.scan_axes == scan.scan_axes
    assert again.detector_axes == scan.detector_axes
    assert np.array_equal(again.pixel_valid, mask)
    assert np.array_equal(again.measured, measured)
    assert np.array_equal(again.scan_vectors, scan.scan_vectors)
    assert np.array_equal(again.block(0, 24).frames, scan.block(0, 24).frames)
    assert not again.provenance.assumed

    listed = Scan.from_array(counts, positions=rng.random((24, 2)), position_units="µm")
    save_scan(listed, tmp_path / f"list{suffix}")
    again = open_scan(tmp_path / f"list{suffix}")
    assert again.scan_shape == (24,)
    assert np.array_equal(again.positions, listed.positions)
    assert again.position_units == "µm"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([f"grid{suffix}", f"list{suffix}"])


def test_arrays_in_memory(counts):
    import dask.array as da

    assert open_scan(counts).patterns is counts
    lazy = open_scan(da.from_array(counts), shape=(4, 6))
    assert lazy.scan_shape == (4, 6)
    assert describe(open_scan(counts))["checksum"] == describe(open_scan(counts.copy()))["checksum"]
    assert describe(open_scan(counts))["checksum"] != describe(open_scan(counts + 1))["checksum"]


def test_hyperspy_signals_by_their_looks(counts):
    class Thing:
        def __init__(self, **named):
            self.__dict__.update(named)

    names = [("kx", False), ("ky", False), ("y", True), ("x", True)]  # stored detector first
    data = counts.transpose(3, 2, 0, 1)
    axes = [
        Thing(name=name, navigate=nav, scale=0.1 * (i + 1), offset=0.0, units="nm" if nav else "mrad")
        for i, (name, nav) in enumerate(names)
    ]
    scan = open_scan(Thing(data=data, axes_manager=Thing(_axes=axes)))
    assert scan.scan_shape == SCAN_SHAPE
    assert scan.detector_axes[0].scale == pytest.approx(0.1)  # in the order of storage
    assert scan.detector_axes[0].units == "mrad"
    assert not scan.provenance.assumed


def test_abtem_measurements(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # abTEM leaves files where it runs
    abtem = pytest.importorskip("abtem", reason="extra simulate is not installed")
    from abtem.core.axes import FrozenPhononsAxis, ScanAxis

    array = np.random.default_rng(5).random((4, 6, 7, 9)).astype(np.float32)  # x, y, kx, ky
    axes = [
        ScanAxis(label="x", sampling=0.2, units="Å", endpoint=False),
        ScanAxis(label="y", sampling=0.3, units="Å", endpoint=False),
    ]
    measurement = abtem.measurements.DiffractionPatterns(
        array, sampling=(0.02, 0.03), fftshift=True, ensemble_axes_metadata=axes
    )
    measurement.to_zarr(str(tmp_path / "m.zarr"))
    for source in (measurement, tmp_path / "m.zarr"):
        scan = open_scan(source)
        assert scan.scan_shape == SCAN_SHAPE
        assert [axis.scale for axis in scan.scan_axes] == [0.3, 0.2]
        assert [axis.scale for axis in scan.detector_axes] == [0.03, 0.02]
        frames = scan.block(0, 24).frames.reshape(6, 4, 9, 7)
        assert np.array_equal(frames, array.transpose(1, 0, 3, 2))
    phonons = abtem.measurements.DiffractionPatterns(
        array, sampling=(0.02, 0.03), fftshift=True, ensemble_axes_metadata=[FrozenPhononsAxis(), axes[1]]
    )
    with pytest.raises(ValueError, match="average over the others"):
        open_scan(phonons)


def test_cxi_mask_translations_geometry(tmp_path, counts):
    frames = counts.reshape(-1, *DETECTOR_SHAPE)
    translation = np.stack([np.arange(24), np.arange(24) * 10, np.zeros(24)], axis=1)  # x, y, z
    mask = np.zeros(DETECTOR_SHAPE, np.uint32)
    mask[2, 3] = 1
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["cxi_version"] = 140
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"], detector["mask"], detector["distance"] = frames, mask, 2.0
        detector["y_pixel_size"], detector["x_pixel_size"] = 100e-6, 50e-6
        file["entry_1/instrument_1/source_1/energy"] = 8000 * 1.602176634e-19
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        file["entry_1/sample_1/geometry_1/translation"] = translation
    scan = open_scan(tmp_path / "a.cxi")
    assert scan.scan_shape == (24,)
    assert np.array_equal(scan.positions[:, 0], np.arange(24) * 10)
    assert scan.position_units == "m"
    assert np.argwhere(~scan.pixel_valid).tolist() == [[2, 3]]
    assert scan.detector_axes[0] == Axis(name="ky", scale=0.05, units="mrad")
    assert any("8 keV" in text for text in scan.provenance.found)
    assert np.array_equal(scan.block(0, 24).frames, frames)


def test_h5py_datasets_may_outlive_their_file(tmp_path, counts):
    path, _ = write_hdf5(tmp_path / "x", counts)
    with h5py.File(path, "r") as file:
        dataset = file["deep/er/patterns"]
        scan = open_scan(dataset)
        with pytest.raises(ValueError, match="group"):
            open_scan(file["deep"])
    assert np.array_equal(scan.block(0, 24).frames.reshape(counts.shape), counts)
    with pytest.raises(RuntimeError, match="closed file"):
        open_scan(dataset)


def test_dectris_parts_in_other_files_are_one_stack(tmp_path, counts):
    frames = counts.reshape(-1, *DETECTOR_SHAPE)
    mask = np.zeros(DETECTOR_SHAPE, np.uint32)
    mask[1, 1] = 4
    for number, part in ((1, frames[:10]), (2, frames[10:])):
        with h5py.File(tmp_path / f"scan_data_{number:06d}.h5", "w") as file:
            file["entry/data/data"] = part
    with h5py.File(tmp_path / "scan_master.h5", "w") as file:
        for number in (1, 2):
            name = f"data_{number:06d}"
            file[f"entry/data/{name}"] = h5py.ExternalLink(f"scan_{name}.h5", "/entry/data/data")
        file["entry/instrument/detector/detectorSpecific/pixel_mask"] = mask
    scan = open_scan(tmp_path / "scan_master.h5", shape=SCAN_SHAPE)
    assert np.array_equal(pickle.loads(pickle.dumps(scan)).block(0, 24).frames, frames)
    assert np.argwhere(~scan.pixel_valid).tolist() == [[1, 1]]
    (tmp_path / "scan_data_000002.h5").unlink()
    with pytest.raises(ValueError, match="data_000002 in files that are not there"):
        open_scan(tmp_path / "scan_master.h5")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path, counts):
    (tmp_path / "inside").mkdir()
    write_hdf5(tmp_path / "outside", counts)
    with h5py.File(tmp_path / "inside" / "a.h5", "w") as file:
        file["data"] = h5py.ExternalLink("../outside.h5", "/deep/er/patterns")
    with pytest.raises(ValueError, match="holds no stack"):
        open_scan(tmp_path / "inside" / "a.h5")
    with pytest.raises(ValueError, match="has no array data"):
        open_scan(tmp_path / "inside" / "a.h5", dataset="data")


def test_a_zip_of_something_else_is_one_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="no known format"):
        open_scan(tmp_path / "a.npz")
