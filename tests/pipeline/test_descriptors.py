"""Maps of symmetry: in a run without a model, and beside those of a model."""

import json

import numpy as np
import pytest
import xarray as xr
from pipeline.small import CENTRE_PX, small_config, small_scan

from orbistem import load
from orbistem.config import PrepareOptions
from orbistem.errors import InputError
from orbistem.pipeline.descriptors import find_scan_frame
from orbistem.pipeline.preparation import block_size_for, prepare
from orbistem.pipeline.record import check_files
from orbistem.pipeline.symmetry import measure_symmetry
from orbistem.progress import Silent
from orbistem.scan import Scan
from orbistem.stream import Inline
from orbistem.symmetry import DESCRIPTORS

NAMES = {variable.name for descriptor in DESCRIPTORS for variable in descriptor.variables}


def test_a_run_without_a_model_has_all_maps_and_can_be_loaded(scan, tmp_path, quiet_report):
    measure_symmetry(scan, directory=tmp_path / "run", config=small_config())
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert check_files(tmp_path / "run", run) == []
    with xr.open_dataset(tmp_path / "run" / "maps.nc") as maps:
        assert set(maps) >= NAMES | {"dose", "com_y", "com_x"}
        assert maps["n_fold"].dims == ("y", "x", "order")
        assert maps["order"].values.tolist() == [2, 3, 4, 6]
        for name in NAMES:
            assert maps[name].attrs["units"]
            assert maps[name].attrs["long_name"]
            assert maps[name].dtype == np.float32
        # at the left a threefold pattern, at the right a lobe
        threefold = maps["n_fold"].sel(order=3).values
        assert np.nanmean(threefold[:, 0]) > 0.9
        assert np.nanmean(threefold[:, -1]) < 0.3
        meanings = maps["point_group"].attrs["flag_meanings"].split()
        found = {meanings[int(code)] for code in maps["point_group"].values[:, 0]}
        assert found <= {"C3", "D3", "undecided"}
    assert load(tmp_path / "run").model is None


def test_a_fit_has_the_same_maps(quick_fit, scan, tmp_path, quiet_report):
    maps = quick_fit(scan).maps
    alone = measure_symmetry(scan, directory=tmp_path / "alone", config=small_config()).maps
    for name in NAMES:
        np.testing.assert_allclose(maps[name].values, alone[name].values, atol=1e-5, err_msg=name)


def test_positions_that_are_not_measured_have_no_symmetry(rng, tmp_path, quiet_report):
    scan = small_scan(rng)
    measured = np.ones(scan.scan_shape, bool)
    measured[2, 3] = False
    found = measure_symmetry(
        scan.replace(measured=measured), directory=tmp_path / "run", config=small_config()
    )
    for name in NAMES:
        assert np.isnan(found.maps[name].values[2, 3]).all()


def test_a_single_pattern_is_refused(rng, tmp_path):
    patterns = np.asarray(small_scan(rng).patterns)[:1, :1]
    with pytest.raises(InputError, match="single one"):
        measure_symmetry(Scan.from_array(patterns), directory=tmp_path / "run")


def test_two_patterns_are_enough(rng, tmp_path, quiet_report):
    patterns = np.asarray(small_scan(rng).patterns)[:2, :1]
    config = small_config(prepare=PrepareOptions(centre_px=CENTRE_PX))
    maps = measure_symmetry(Scan.from_array(patterns), directory=tmp_path / "run", config=config).maps
    assert maps["n_fold"].shape == (2, 1, 4)


def attracting(rotation_deg, *, mirrored=False):
    """A scan over one attracting charge, by a detector that lies turned against it."""
    y, x = np.indices((15, 15)) - 7.0
    towards = -np.stack([y, x], axis=-1) / (4 + x**2 + y**2)[..., None]
    if mirrored:
        towards[..., 1] *= -1
    angle = np.deg2rad(rotation_deg)
    shift_y = np.cos(angle) * towards[..., 0] + np.sin(angle) * towards[..., 1]
    shift_x = np.cos(angle) * towards[..., 1] - np.sin(angle) * towards[..., 0]
    ky, kx = np.indices((24, 24)) - 11.5
    radius = np.hypot(ky - 4 * shift_y[..., None, None], kx - 4 * shift_x[..., None, None])
    return Scan.from_array((500 / (1 + np.exp(2 * (radius - 6)))).round().astype(np.uint16))


@pytest.mark.parametrize("rotation_deg", [0.0, 90.0, -30.0])
def test_the_rotation_of_the_scan_is_found_and_not_applied(rotation_deg):
    scan = attracting(rotation_deg)
    config = small_config(prepare=PrepareOptions(centre_px=(11.5, 11.5)))
    found = prepare(scan, config, runner=Inline(), block_size=block_size_for(scan, 256), progress=Silent())
    frame = find_scan_frame(scan, found, scan_rotation_deg=None)
    assert np.rad2deg(frame.found_rad) == pytest.approx(rotation_deg, abs=3)
    assert frame.used_rad == 0
    assert "not applied" in frame.words[0]
    given = find_scan_frame(scan, found, scan_rotation_deg=-30.0)
    assert given.attributes()["scan_rotation_rad"] == pytest.approx(np.deg2rad(-30))


def test_an_inverted_axis_of_the_scan_is_said():
    scan = attracting(20.0, mirrored=True)
    config = small_config(prepare=PrepareOptions(centre_px=(11.5, 11.5)))
    found = prepare(scan, config, runner=Inline(), block_size=block_size_for(scan, 256), progress=Silent())
    frame = find_scan_frame(scan, found, scan_rotation_deg=None)
    assert frame.mirrored
    assert "inverted" in frame.words[0]
