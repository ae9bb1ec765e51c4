"""Section C of the field reports: metadata, units, calibration."""

import h5py
import numpy as np
import pytest
from field_reports.base import SCAN_SHAPE, said, write_mrc

from orbistem.config import FitConfig
from orbistem.io import open_scan, save_scan
from orbistem.pipeline.preparation import prepare
from orbistem.progress import Silent
from orbistem.scan import Axis, Scan
from orbistem.stream import Inline

UNITS = (None, "", "<undefined>", "A^-1", "1/Å", "k_A^-1", "mrad", "rad", "px", "um")


def test_report_31_names_and_units_as_bytes(orbistem, tmp_path, base):
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file["root/cube/data"] = base
        names = (b"Ry", b"Rx", b"Qy", "Q\xe4".encode("latin-1"))
        units = (b"nm", "\xb5m".encode("latin-1"), b"A^-1", "1/Å".encode())
        for index, size in enumerate(base.shape):
            dim = file.create_dataset(f"root/cube/dim{index + 1}", data=np.arange(size) * 0.5 + 1)
            dim.attrs["name"], dim.attrs["units"] = np.bytes_(names[index]), np.bytes_(units[index])
    scan = open_scan(tmp_path / "a.emd")
    assert [axis.units for axis in (*scan.scan_axes, *scan.detector_axes)] == ["nm", "µm", "1/Å", "1/Å"]
    assert orbistem("info", tmp_path / "a.emd").status == 0

    path = tmp_path / "a.hspy"
    save_scan(Scan.from_array(base), path)
    with h5py.File(path, "r+") as file:
        group = file["Experiments/a"]
        group["original_metadata"].attrs.create("note", "Å µ".encode("latin-1"))
        group.create_dataset("original_metadata/table", data=np.zeros((3, 4, 5)))  # contiguous
    assert np.array_equal(open_scan(path).block(0, 480).frames, base.reshape(-1, 32, 32))
    with h5py.File(path, "r+") as file:  # nor do damaged axes stop good data
        del file["Experiments/a/axis-2"]
    scan = open_scan(path)
    assert scan.scan_shape == SCAN_SHAPE
    assert "taken as (y, x, ky, kx)" in said(scan)


@pytest.mark.parametrize("units", UNITS)
def test_report_32_units_are_spelled_many_ways(orbistem, tmp_path, base, units):
    path = tmp_path / "a.hspy"
    axes = (Axis(name="ky", scale=0.02, units="1/Å"), Axis(name="kx", scale=0.02, units="1/Å"))
    save_scan(Scan.from_array(base, detector_axes=axes), path)
    with h5py.File(path, "r+") as file:
        for index in range(4):
            group = file[f"Experiments/a/axis-{index}"]
            if units is None:
                del group.attrs["units"]
            else:
                group.attrs["units"] = units
    scan = open_scan(path)
    known = {"A^-1": "1/Å", "1/Å": "1/Å", "k_A^-1": "1/Å", "mrad": "mrad", "rad": "rad", "um": "µm"}
    assert scan.detector_axes[0].units == known.get(units, "px")
    assert orbistem("info", path).status == 0
    with h5py.File(path, "r+") as file:
        file["Experiments/a/axis-3"].attrs["units"] = "furlong"
    assert open_scan(path).detector_axes[1].units == "furlong"
    assert "unknown unit 'furlong'" in said(open_scan(path))


def test_report_34_scales_of_zero_and_below(orbistem, tmp_path, base):
    frames = base.reshape(-1, 32, 32)
    write_mrc(tmp_path / "a.mrc", frames.astype("<i2"), mode=1, cell_px=(32.0, 32.0, 0.0))
    done = orbistem("info", tmp_path / "a.mrc", "--shape", "24,20,32,32")
    assert done.status == 0, done.err
    scan = open_scan(tmp_path / "a.mrc", shape=SCAN_SHAPE)
    assert scan.detector_axes[0] == Axis(name="ky", scale=0.1, units="nm")  # 1 Å a pixel, not 100 or 0.01
    path = tmp_path / "a.hspy"
    save_scan(Scan.from_array(base), path)
    with h5py.File(path, "r+") as file:
        for index, (scale, units) in enumerate(((0.0, "nm"), (0.25, "nm"), (-0.5, "1/nm"), (0.5, "1/nm"))):
            file[f"Experiments/a/axis-{index}"].attrs["scale"] = scale
            file[f"Experiments/a/axis-{index}"].attrs["units"] = units
    scan = open_scan(path)
    assert scan.scan_axes[0] == Axis(name="y")
    assert scan.detector_axes[0].scale == 0.5
    assert "axis y has the scale 0.0; it is treated as uncalibrated" in said(scan)
    assert "axis ky has the negative scale -0.5; the file's order is kept" in said(scan)
    assert orbistem("info", path).status == 0


def test_report_35_pixels_that_are_not_square(orbistem, tmp_path, rng):
    ky, kx = np.indices((32, 32)) - 15.5
    disk = 1 / (1 + np.exp(3 * (np.hypot(ky, 0.75 * kx) - 9)))  # 9 px high, 12 px wide, round in 1/nm
    rates = 8000 * disk / disk.sum()
    patterns = rng.poisson(np.broadcast_to(rates, (*SCAN_SHAPE, 32, 32))).astype(np.uint16)
    axes = (Axis(name="ky", scale=0.05, units="1/nm"), Axis(name="kx", scale=0.0375, units="1/nm"))
    scan = Scan.from_array(patterns, detector_axes=axes)
    energy = []
    for one in (scan, Scan.from_array(patterns)):
        found = prepare(one, FitConfig(), runner=Inline(), block_size=100, progress=Silent())
        harmonics = found.plan.harmonics(rates[None].astype(np.float32))[0]
        energy.append(np.sum(np.abs(harmonics[:, 2]) ** 2))
    assert found.plan.pixel_scale == (1.0, 1.0)
    assert energy[0] < 1e-3 * energy[1]  # no twofold pattern is left of a round disk
    save_scan(scan, tmp_path / "a.hspy")
    assert "pixels are not square (1.33 : 1)" in orbistem("info", tmp_path / "a.hspy").out
