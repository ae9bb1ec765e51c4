"""Maps of symmetry: in a run without a model, and beside those of a model."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from pipeline.small import CENTRE_PX, small_config, small_scan

from orbistem import load
from orbistem.config import PrepareOptions
from orbistem.errors import InputError
from orbistem.groups import POINT_GROUPS
from orbistem.pipeline.preparation import block_size_for, prepare
from orbistem.pipeline.record import Verified, check_files
from orbistem.pipeline.scan_frame import ScanFrame, find_scan_frame
from orbistem.pipeline.symmetry import measure_symmetry
from orbistem.pipeline.verdicts import Verdicts
from orbistem.progress import Silent
from orbistem.scan import Axis, Scan
from orbistem.stream import Inline
from orbistem.symmetry import DESCRIPTORS

NAMES = {variable.name for descriptor in DESCRIPTORS for variable in descriptor.variables}


def test_a_run_without_a_model_has_all_maps_and_can_be_loaded(scan, tmp_path, quiet_report):
    measure_symmetry(scan, directory=tmp_path / "run", config=small_config())
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert check_files(tmp_path / "run", run) == Verified(changed=())
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


def attracting(rotation_deg, *, mirrored=False, steps=(1.0, 1.0), amount=4.0):
    """A scan over one attracting charge, by a detector that lies turned against it.

    The scan's +x axis lies at `rotation_deg` on the detector; mirrored: +y lies 90° before it, not after it.
    """
    y, x = (np.indices((15, 17)) - np.array([7.0, 8.0])[:, None, None]) * np.array(steps)[:, None, None]
    down, right = -np.stack([y, x]) / (4 + x**2 + y**2)
    if mirrored:
        down = -down
    angle = np.deg2rad(rotation_deg)
    shift_y = np.cos(angle) * down + np.sin(angle) * right
    shift_x = np.cos(angle) * right - np.sin(angle) * down
    ky, kx = np.indices((24, 24)) - 11.5
    radius = np.hypot(ky - amount * shift_y[..., None, None], kx - amount * shift_x[..., None, None])
    frames = (500 / (1 + np.exp(2 * (radius - 6)))).round().astype(np.uint16)
    axes = tuple(Axis(name=name, scale=step, units="Å") for name, step in zip("yx", steps, strict=True))
    return Scan.from_array(frames, scan_axes=axes)


def prepared_of(scan):
    config = small_config(prepare=PrepareOptions(centre_px=(11.5, 11.5)))
    return prepare(scan, config, runner=Inline(), block_size=block_size_for(scan, 256), progress=Silent())


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation_deg", [0.0, 90.0, -30.0, 170.0])
@pytest.mark.parametrize("steps", [(1.0, 1.0), (1.0, 1.3)])
def test_rotation_and_hand_of_the_scan_are_found(rotation_deg, mirrored, steps):
    scan = attracting(rotation_deg, mirrored=mirrored, steps=steps)
    frame = find_scan_frame(scan, prepared_of(scan), scan_rotation_deg=None)
    error = (np.rad2deg(frame.found_rad) - rotation_deg + 180) % 360 - 180
    assert error == pytest.approx(0, abs=2)
    assert frame.mirrored == mirrored
    assert ("inverted" in frame.words[0]) == mirrored
    assert frame.rotation_rad == frame.found_rad
    assert frame.known


def test_a_given_rotation_wins_and_what_was_found_stands_beside_it():
    scan = attracting(20.0)
    frame = find_scan_frame(scan, prepared_of(scan), scan_rotation_deg=-30.0)
    assert frame.attributes()["scan_rotation_rad"] == pytest.approx(np.deg2rad(-30))
    assert np.rad2deg(frame.attributes()["scan_rotation_found_rad"]) == pytest.approx(20, abs=2)
    assert "-30° was given" in frame.words[0]


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_given_hand_wins_and_the_rotation_is_found_for_it(mirrored):
    scan = attracting(20.0, mirrored=mirrored)
    prepared = prepared_of(scan)
    same = find_scan_frame(scan, prepared, scan_rotation_deg=None, scan_mirrored=mirrored)
    assert np.rad2deg(same.found_rad) == pytest.approx(20, abs=2)
    assert "unlike" not in same.words[0]
    other = find_scan_frame(scan, prepared, scan_rotation_deg=35.0, scan_mirrored=not mirrored)
    assert other.mirrored is not mirrored
    attributes = other.attributes()
    assert attributes["scan_mirrored"] == (not mirrored)
    assert attributes["scan_mirrored_given"] == 1
    assert attributes["scan_mirrored_found"] == mirrored
    y, x = other.vector(np.array(0.0), np.array(1.0))  # the detector's +x
    assert np.arctan2(y, x) % (2 * np.pi) == pytest.approx(float(other.azimuth(np.array(0.0))))
    with_neither_rotation = find_scan_frame(
        scan, prepared, scan_rotation_deg=None, scan_mirrored=not mirrored
    )
    assert not with_neither_rotation.known  # with the wrong hand no rotation takes the curl away


def test_without_sources_the_scan_has_no_frame(rng):
    frames = rng.poisson(50, (9, 9, 24, 24)).astype(np.uint16)
    scan = Scan.from_array(frames)
    frame = find_scan_frame(scan, prepared_of(scan), scan_rotation_deg=None)
    assert not frame.known
    assert np.isnan(frame.attributes()["scan_rotation_found_rad"])


@pytest.mark.parametrize("mirrored", [False, True])
def test_directions_in_the_axes_of_the_scan_point_at_the_charge(mirrored, tmp_path, quiet_report):
    """Both the centre of mass and the polar direction; on the detector they point elsewhere."""
    scan = attracting(40.0, mirrored=mirrored)
    config = small_config(prepare=PrepareOptions(centre_px=(11.5, 11.5)))
    maps = measure_symmetry(scan, directory=tmp_path / "run", config=config).maps
    y, x = np.indices((15, 17)) - np.array([7.0, 8.0])[:, None, None]
    towards = np.arctan2(-y, -x)
    near = (np.hypot(y, x) > 1) & (np.hypot(y, x) < 5)

    def off(azimuth, constant=False):
        apart = np.exp(1j * (azimuth - towards))[near]
        return np.rad2deg(np.abs(np.angle(apart / apart.mean() if constant else apart))).max()

    assert off(np.arctan2(maps.com_y_scan.values, maps.com_x_scan.values)) < 5
    assert off(np.arctan2(maps.com_y.values, maps.com_x.values)) > 30
    # of the polar direction one constant of the scan is free
    assert off(maps.polar_angle_scan.values, constant=True) < 8
    assert (off(maps.polar_angle.values, constant=True) < 8) == (not mirrored)
    assert maps.attrs["scan_mirrored_found"] == mirrored
    line = maps.mirror_angle_scan
    assert line.attrs["order"] == 2
    assert np.nanmax(line.values) < np.pi + 1e-6
    radial = np.abs(np.sin(line.values - towards))[near & np.isfinite(line.values)]
    assert np.median(radial) < 0.1


def test_angles_of_a_fit_are_told_in_the_axes_of_the_scan(scan, quick_fit):
    config = small_config(prepare=PrepareOptions(centre_px=CENTRE_PX, scan_rotation_deg=25.0))
    maps = quick_fit(scan, config=config).maps
    apart = maps.angle.values - maps.angle_scan.values - np.deg2rad(25.0)
    np.testing.assert_allclose(np.exp(1j * apart[np.isfinite(apart)]), 1, atol=1e-4)
    assert maps.attrs["scan_rotation_given"] == 1


def test_the_angle_of_a_mirrored_scan_turns_the_mirrored_template(rng):
    """Pattern = template turned by angle; seen in the scan's axes: mirrored template turned by `azimuth`."""
    frame = ScanFrame(rotation_rad=0.7, given=True, mirrored=True)
    order = np.arange(1, 7)
    template = rng.normal(size=6) + 1j * rng.normal(size=6)
    pattern = template * np.exp(-1j * order * 2.1)
    # in the axes of the scan: turned by -0.7, then y -> -y
    seen = (pattern * np.exp(1j * order * 0.7)).conj()
    turned = template.conj() * np.exp(-1j * order * float(frame.azimuth(np.array(2.1))))
    np.testing.assert_allclose(turned, seen)


def test_pixels_that_never_count_leave_the_symmetry_of_the_others(rng, tmp_path, quiet_report):
    """As where a detector cuts off: rings without counts have no noise, and say nothing."""
    ky, kx = np.indices((32, 32), dtype=float) - np.array(CENTRE_PX)[:, None, None]
    radius, azimuth = np.hypot(ky, kx), np.arctan2(ky, kx)
    turn = rng.uniform(0, 2 * np.pi, (12, 12))[..., None, None]
    disk = np.where(radius < 13, 1 / (1 + np.exp(2 * (radius - 9))), 0)
    clean = disk * (1 + 0.5 * np.cos(3 * (azimuth - turn)) * radius / 9)
    counts = rng.poisson(2e4 * clean / clean[0, 0].sum()).astype(np.uint16)
    result = measure_symmetry(Scan.from_array(counts), directory=tmp_path / "run", config=small_config())
    group = result.maps.point_group.values
    assert np.isfinite(group).all()
    names = ["undecided", *(one.name for one in POINT_GROUPS)]
    assert np.isin(group, [names.index("C3"), names.index("D3")]).mean() > 0.9
    assert np.isfinite(result.maps.n_fold_p.values).all()


@pytest.mark.parametrize("background", ["mean", "none"])
def test_one_pattern_again_and_again_is_said_to_be_hidden(rng, background, tmp_path, quiet_report):
    ky, kx = np.indices((32, 32), dtype=float) - 15.5
    radius, azimuth = np.hypot(ky, kx), np.arctan2(ky, kx)
    disk = np.where(radius < 13, 1 / (1 + np.exp(2 * (radius - 9))), 1e-3)
    clean = disk * (1 + 0.5 * np.cos(3 * (azimuth - 0.2)) * np.minimum(radius / 9, 1))
    counts = rng.poisson(2e4 * clean / clean.sum(), (8, 8, 32, 32)).astype(np.uint16)
    config = small_config(prepare=PrepareOptions(centre_px=(15.5, 15.5)))
    config = config.replace(model=dataclasses.replace(config.model, background=background))
    result = measure_symmetry(Scan.from_array(counts), directory=tmp_path / "run", config=config)
    words = " ".join(result.run["words"])
    assert ("the same pattern again and again" in words) == (background == "mean")
    assert ("C3 at 64" in words) == (background == "none")


def test_a_reference_that_most_positions_differ_from_is_a_problem():
    found = np.arange(10) < 6
    broken = SimpleNamespace(problem=None, found=found, score=np.where(found, 9.0, 0.0))
    verdicts = Verdicts(broken=broken, findings=(), instrument=None, record={}, words=())
    assert "6 of 10" in verdicts.problems[0]
    broken.found = np.arange(10) < 5
    assert verdicts.problems == ()


@pytest.mark.parametrize(("electrons", "n_problems"), [(10.0, 1), (20.0, 0)])
def test_discoveries_in_very_faint_patterns_are_a_problem(electrons, n_problems):
    found = np.arange(10) < 2
    broken = SimpleNamespace(problem=None, found=found, score=np.where(found, 9.0, 0.0))
    verdicts = Verdicts(broken=broken, findings=(), instrument=None, record={}, words=(), electrons=electrons)
    assert len(verdicts.problems) == n_problems
