"""Section A of the field reports: files that open wrongly, scan shape and axes."""

import h5py
import numpy as np
import pytest
import xarray as xr
from field_reports.base import SCAN_SHAPE, base_patterns, base_rates, said, write_ser
from scipy import ndimage

from orbistem.errors import FormatError, OptionError
from orbistem.io import open_scan, save_scan
from orbistem.scan import Scan


def dose_map(directory):
    with xr.open_dataset(directory / "maps.nc", engine="h5netcdf") as maps:
        return maps.dose.load()


def with_fly_back(rng, base):
    """The base scan with a 21st column: the disk smeared over 6 px along x, half the dose."""
    disk = base_rates(shape=(1, 1))[0, 0]
    smeared = np.mean([ndimage.shift(disk, (0, by), order=1) for by in np.linspace(-3, 3, 13)], axis=0)
    column = rng.poisson(0.5 * np.broadcast_to(smeared, (24, 1, 32, 32))).astype(np.uint16)
    return np.concatenate([base, column], axis=1)


def test_report_02_fly_back_patterns_are_left_out(orbistem, quick_toml, tmp_path, base, rng):
    patterns = with_fly_back(rng, base)
    np.save(tmp_path / "scan.npy", patterns)
    np.save(tmp_path / "flat.npy", patterns.reshape(-1, 32, 32))
    done = orbistem("info", tmp_path / "scan.npy")
    assert "the patterns of column 20 fit to nothing else in any line" in done.out
    done = orbistem("info", tmp_path / "flat.npy")
    assert "after 24 lines of 21 patterns" in done.out
    assert "--shape 24,21" in done.out
    assert "fit to nothing" not in orbistem("info", _saved(tmp_path / "whole.npy", base)).out
    run = tmp_path / "run"
    done = orbistem("fit", tmp_path / "scan.npy", "-o", run, "--config", quick_toml)
    assert done.status == 0, done.err
    dose = dose_map(run).values
    assert np.isnan(dose[:, 20]).all()
    assert np.isfinite(dose[:, :20]).all()
    assert "24 are left out" in (run / "run.json").read_text(encoding="utf-8")


def _saved(path, array):
    np.save(path, array)
    return path


def test_report_03_rows_of_unequal_length(orbistem, quick_toml, tmp_path, base):
    frames = base.reshape(-1, 32, 32)
    short = np.concatenate([frames[: 7 * 20 + 19], frames[8 * 20 :]])  # row 7 has one pattern less
    np.save(tmp_path / "scan.npy", short)
    done = orbistem("info", tmp_path / "scan.npy")
    assert done.status == 0
    assert "479 x 1" in done.out
    assert "24 x 20 less 1" in done.out
    assert "--shape" in done.out
    wrong = orbistem("info", tmp_path / "scan.npy", "--shape", "24,21,32,32")
    assert wrong.status == 2
    assert "24 x 20 less 1" in wrong.err
    run = tmp_path / "run"
    done = orbistem("fit", tmp_path / "scan.npy", "-o", run, "--config", quick_toml, "--shape", "24,20,32,32")
    assert done.status == 0, done.err
    assert "1 less than 24 x 20" in done.out.replace("\n", " ")
    dose = dose_map(run)
    assert np.argwhere(np.isnan(dose.values)).tolist() == [[23, 19]]


def test_report_04_empad_shape_from_the_name(tmp_path, rng):
    frames = rng.random((84, 130, 128)).astype("<f4")
    frames.tofile(tmp_path / "scan_x14_y6.raw")
    scan = open_scan(tmp_path / "scan_x14_y6.raw")
    assert scan.scan_shape == (6, 14)
    assert scan.detector_shape == (128, 128)
    assert np.array_equal(scan.block(13, 30).frames, frames[13:30, :128])
    assert "from the file's name" in said(scan)
    (tmp_path / "scan_x14_y6.raw").rename(tmp_path / "scan.raw")
    with pytest.raises(FormatError, match="--shape"):
        open_scan(tmp_path / "scan.raw")


def test_report_07_four_axes_of_which_none_is_marked(tmp_path, base):
    from rsciio import emd

    axes = [
        {"name": name, "size": size, "scale": 0.5, "offset": 0.0, "units": units, "navigate": navigate}
        for (name, units, navigate), size in zip(
            [("y", "nm", True), ("x", "nm", True), ("ky", "1/Å", False), ("kx", "1/Å", False)],
            base.shape,
            strict=True,
        )
    ]
    signal = {"data": base, "axes": axes, "original_metadata": {}}
    signal["metadata"] = {"General": {"title": "t"}, "Signal": {"signal_type": ""}}
    emd.file_writer(str(tmp_path / "a.emd"), signal)
    scan = open_scan(tmp_path / "a.emd")
    assert scan.scan_shape == SCAN_SHAPE
    assert scan.detector_axes[0].units == "1/Å"
    assert scan.scan_axes[1].scale == 0.5
    assert np.array_equal(scan.block(0, 480).frames, base.reshape(-1, 32, 32))
    np.save(tmp_path / "a.npy", base)
    scan = open_scan(tmp_path / "a.npy")
    assert scan.scan_shape == SCAN_SHAPE
    assert "taken as (y, x, ky, kx)" in " ".join(scan.provenance.assumed)


@pytest.mark.parametrize("suffix", [".ser", ".hspy", ".zspy"])
def test_report_08_rectangular_scans_keep_x_and_y(orbistem, quick_toml, tmp_path, rng, suffix):
    patterns = base_patterns(rng, shape=(10, 40))
    patterns[0, 39] *= 3
    path = tmp_path / f"scan{suffix}"
    if suffix == ".ser":
        write_ser(path, patterns)
        assert open_scan(path).scan_shape == (10, 40)
    else:
        save_scan(Scan.from_array(patterns), path)
    done = orbistem("fit", path, "-o", tmp_path / "run", "--config", quick_toml)
    assert done.status == 0, done.err
    dose = dose_map(tmp_path / "run")
    assert dose.shape == (10, 40)
    assert np.unravel_index(np.argmax(dose.values), dose.shape) == (0, 39)


def test_report_10_axes_of_length_one(orbistem, quick_toml, tmp_path, base):
    from rsciio import emd

    np.save(tmp_path / "one.npy", base[0, 0])
    np.save(tmp_path / "one_one.npy", base[:1, :1])
    for name in ("one.npy", "one_one.npy"):
        assert orbistem("info", tmp_path / name).status == 0
        done = orbistem("fit", tmp_path / name, "-o", tmp_path / "run")
        assert done.status == 2
        assert "needs at least 2 patterns" in done.err
    signal = {"data": base[:, :1], "original_metadata": {}}
    signal["axes"] = [
        {"name": n, "size": s, "scale": 1.0, "offset": 0.0, "units": "px", "navigate": n in "yx"}
        for n, s in zip(("y", "x", "ky", "kx"), base[:, :1].shape, strict=True)
    ]
    signal["metadata"] = {"General": {"title": "t"}, "Signal": {"signal_type": ""}}
    emd.file_writer(str(tmp_path / "line.emd"), signal)
    assert open_scan(tmp_path / "line.emd").scan_shape == (24, 1)
    assert orbistem("info", tmp_path / "line.emd").status == 0
    done = orbistem("fit", tmp_path / "line.emd", "-o", tmp_path / "run", "--config", quick_toml)
    assert done.status == 0, done.err
    assert "at least 32" in done.out
    assert dose_map(tmp_path / "run").shape == (24, 1)


def test_report_12_a_flat_stack_in_hdf5(orbistem, tmp_path, base):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = base.reshape(-1, 32, 32)
    done = orbistem("info", tmp_path / "a.h5")
    assert done.status == 0
    assert "480 x 1" in done.out
    assert "taken as one line" in done.out
    assert "24 x 20" in done.out
    done = orbistem("info", tmp_path / "a.h5", "--shape", "24,20,32,32", "--json")
    assert done.summary["shape"] == [24, 20, 32, 32]
    done = orbistem("info", tmp_path / "a.h5", "--shape", "0,480,32,32")
    assert done.status == 2
    assert "numbers above 0" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_report_13_one_file_per_frame_in_natural_order(orbistem, tmp_path, base):
    import tifffile

    folder = tmp_path / "frames"
    folder.mkdir()
    frames = base.reshape(-1, 32, 32)
    for index, frame in enumerate(frames):
        tifffile.imwrite(folder / f"frame_{index + 1}.tif", frame)
    done = orbistem("info", folder)
    assert done.status == 0
    assert "frame_1.tif" in done.out
    assert "frame_480.tif" in done.out
    assert np.array_equal(open_scan(folder, shape=SCAN_SHAPE).block(0, 480).frames, frames)


def test_report_16_serpentine_and_sparse_scans(orbistem, quick_toml, tmp_path, base):
    places = [(y, x) for y in range(24) for x in (range(20) if y % 2 == 0 else range(19, -1, -1))]
    serpentine = np.stack([base[y, x] for y, x in places])
    np.save(tmp_path / "scan.npy", serpentine)
    (tmp_path / "scan_coordinates.csv").write_text("y,x\n" + "".join(f"{y},{x}\n" for y, x in places))
    done = orbistem("info", tmp_path / "scan.npy")
    assert "positions from scan_coordinates.csv beside the file" in done.out
    assert "--positions none" in done.out
    used = open_scan(tmp_path / "scan.npy")
    assert np.array_equal(used.block(0, 480).frames.reshape(base.shape), base)
    assert open_scan(tmp_path / "scan.npy", positions="none").scan_shape == (480, 1)
    np.save(tmp_path / "raster.npy", serpentine.reshape(base.shape))
    for options in ((), ("--shape", "24,20")):  # who says that it is a raster is told of the list
        done = orbistem("info", tmp_path / "raster.npy", *options)
        assert "use it with --positions scan_coordinates.csv" in done.out
    listed = open_scan(tmp_path / "scan.npy", positions="scan_coordinates.csv")
    assert np.array_equal(listed.positions, places)
    placed = open_scan(tmp_path / "scan.npy", positions="scan_coordinates.csv", shape=SCAN_SHAPE)
    assert placed.scan_shape == SCAN_SHAPE
    assert np.array_equal(placed.block(0, 480).frames.reshape(base.shape), base)
    sparse = base.copy()
    rng = np.random.default_rng(3)
    absent = rng.random(SCAN_SHAPE) < 0.4
    sparse[absent] = 0
    np.save(tmp_path / "sparse.npy", sparse)
    done = orbistem("fit", tmp_path / "sparse.npy", "-o", tmp_path / "run", "--config", quick_toml)
    assert done.status == 0, done.err
    with xr.open_dataset(tmp_path / "run" / "maps.nc", engine="h5netcdf") as maps:
        assert np.array_equal(np.isnan(maps.dose.values), absent)
        assert np.array_equal(np.isnan(maps.latent.values).all(axis=-1), absent)
    assert f"{int(absent.sum())} are not measured" in done.out.replace("\n", " ")


def test_report_17_raw_files_with_headers_and_gaps(orbistem, tmp_path, base):
    frames = base.reshape(-1, 32, 32)
    with (tmp_path / "gaps.raw").open("wb") as file:
        file.write(b"h" * 256 + b"".join(frame.tobytes() + b"g" * 64 for frame in frames))
    options = {"shape": base.shape, "dtype": "uint16", "offset": 256, "frame_gap": 64}
    scan = open_scan(tmp_path / "gaps.raw", **options)
    assert np.array_equal(scan.block(0, 480).frames, frames)
    (tmp_path / "x.raw").write_bytes(base.tobytes())
    done = orbistem("info", tmp_path / "x.raw")
    assert done.status == 2
    for words in ("--shape", "--dtype", str(base.nbytes)):
        assert words in done.err
    assert len(done.err.strip().splitlines()) == 1
    done = orbistem("info", tmp_path / "x.raw", "--shape", "24,20,32,32", "--dtype", "uint16", "--json")
    assert done.summary["shape"] == list(base.shape)


def test_report_19_only_some_patterns_stored(orbistem, quick_toml, tmp_path, base, rng):
    chosen = np.sort(rng.permutation(480)[:300])
    order = rng.permutation(chosen)
    places = np.stack(np.unravel_index(order, SCAN_SHAPE), axis=1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["patterns"], file["positions"] = base.reshape(-1, 32, 32)[order], places
    scan = open_scan(tmp_path / "a.h5")
    assert scan.scan_shape == SCAN_SHAPE
    assert np.array_equal(np.flatnonzero(scan.measured), chosen)
    frames = scan.block(0, 480).frames
    assert np.array_equal(frames[chosen], base.reshape(-1, 32, 32)[chosen])
    assert "300 of 480 positions" in said(scan)
    done = orbistem("fit", tmp_path / "a.h5", "-o", tmp_path / "run", "--config", quick_toml)
    assert done.status == 0, done.err
    assert np.array_equal(np.flatnonzero(~np.isnan(dose_map(tmp_path / "run").values)), chosen)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["patterns"] = base.reshape(-1, 32, 32)[order]
    line = open_scan(tmp_path / "b.h5")
    assert line.scan_shape == (300, 1)
    assert "taken as one line" in said(line)
    with pytest.raises(OptionError, match="24 x 20"):
        open_scan(tmp_path / "b.h5", shape=SCAN_SHAPE)
