import dataclasses

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.simulate import (
    SIMULATIONS,
    DetectorOptions,
    Optics,
    find_recipe,
    primitive_cell_pairs,
    simulate,
)
from orbistem.simulate.multislice import ANTIALIAS, grid_points, probe_margin, wavelength
from orbistem.simulate.run import build_for, scan_positions

PX = 16


def test_a_scan_comes_calibrated_with_its_truth():
    scan, truth = simulate("graphene", seed=1, dose=1e4, scan_shape=(6, 6), detector_px=PX)
    assert scan.patterns.shape == (6, 6, PX, PX)
    assert scan.patterns.dtype == np.uint16
    assert scan.patterns.sum(axis=(2, 3)).mean() == pytest.approx(1e4, rel=0.02)
    assert [axis.units for axis in scan.scan_axes] == ["Å", "Å"]
    assert [axis.units for axis in scan.detector_axes] == ["mrad", "mrad"]
    coordinates = scan.detector_axes[1].coordinates(PX)
    np.testing.assert_allclose(coordinates, -coordinates[::-1], atol=1e-9)
    assert coordinates[-1] - coordinates[0] == pytest.approx(124 * (PX - 1) / PX)
    # r = x a1 + y a2 with integer x and y; rows a1 and a2 as (y, x)
    np.testing.assert_allclose(scan.scan_vectors * 6, [[0, 2.46], [2.46 * np.sqrt(3) / 2, 1.23]], atol=1e-9)
    assert truth.site.shape == (6, 6)
    assert {"D2", "D3", "D6"} <= set(truth.point_group.ravel().tolist())
    assert "graphene" in scan.provenance.found[0]
    assert "60 kV" in scan.provenance.found[0]


def test_equal_seeds_give_equal_scans_and_noise_free_ones_need_no_luck():
    options = {"scan_shape": (2, 2), "detector_px": PX}
    first, again, other = (simulate("graphene", seed=s, dose=1e4, **options)[0].patterns for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    clean, _ = simulate("graphene", seed=0, dose=None, **options)
    assert clean.patterns.dtype == np.float32
    assert clean.patterns.sum(axis=(2, 3)).max() <= 1 + 1e-5


def test_equivalent_positions_share_a_site_and_differ_by_the_stated_angle():
    _, truth = simulate("graphene", seed=0, dose=None, scan_shape=(6, 6), detector_px=PX)
    found = primitive_cell_pairs(6)
    p, q = found.pairs.T
    site, angle = truth.site.ravel(), truth.angle.ravel()
    assert (site[p] == site[q]).all()
    general = found.site_order[p] == 1
    away = (angle[q] - angle[p] - found.angle)[general]
    np.testing.assert_allclose(np.exp(1j * away), 1, atol=1e-9)


@pytest.mark.parametrize("recipe", SIMULATIONS, ids=lambda recipe: recipe.name)
def test_scans_close_on_themselves_and_fit_their_boxes(recipe):
    specimen = build_for(recipe, recipe.optics, detector_px=32)
    positions, steps = scan_positions(recipe, specimen, recipe.scan_shape)
    ny, nx = recipe.scan_shape
    assert positions.shape == (ny * nx, 2)
    for turns in (nx * steps[0], ny * steps[1]):
        whole = turns @ np.linalg.inv(specimen.vectors)
        np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
    np.testing.assert_allclose(positions[1] - positions[0], steps[0], atol=1e-9)
    np.testing.assert_allclose(positions[nx] - positions[0], steps[1], atol=1e-9)
    size = specimen.atoms.cell.lengths()[:2]
    inside = positions + specimen.origin
    assert (inside >= 0).all()
    assert (inside <= size).all()
    for defect in specimen.defects:  # the defect is well inside the scan
        assert np.hypot(*(positions - defect).T).min() < 0.3
        assert (defect > positions.min(axis=0) + 5).all()
        assert (defect < positions.max(axis=0) - 5).all()


def test_names_are_unique_and_the_contract_is_there():
    names = [recipe.name for recipe in SIMULATIONS]
    assert len(set(names)) == len(names)
    assert {"graphene", "graphene-vacancy", "graphene-si3", "graphene-stone-wales", "zns-110"} <= set(names)
    assert find_recipe("graphene-vacancy").scan_shape == (64, 64)


def test_a_defect_scan_is_a_plain_rectangle():
    scan, truth = simulate("graphene-vacancy", seed=0, dose=1e4, scan_shape=(4, 8), detector_px=PX)
    assert scan.scan_vectors is None
    np.testing.assert_allclose([a.scale for a in scan.scan_axes], [4 * 2.46 * np.sqrt(3) / 4, 8 * 2.46 / 8])
    assert np.isfinite(truth.defect_distance).all()


def test_another_microscope_and_a_poor_camera():
    optics = dataclasses.replace(find_recipe("graphene").optics, half_angle_mrad=50.0)
    detector = DetectorOptions(hot_pixels=2, hot_counts=3000)
    scan, _ = simulate(
        "graphene", seed=0, dose=1e3, scan_shape=(2, 2), detector_px=PX, optics=optics, detector=detector
    )
    assert scan.detector_axes[0].scale == pytest.approx(100 / PX)
    assert (scan.patterns.min(axis=(0, 1)) >= 3000).sum() == 2


def test_progress_is_told():
    class Told:
        total = done = 0
        finished = False

        def start(self, task, total):
            self.total = total

        def advance(self, n=1, *, note=""):
            self.done += n

        def finish(self):
            self.finished = True

    told = Told()
    simulate("graphene", seed=0, scan_shape=(3, 3), detector_px=PX, progress=told)
    assert told.total == told.done == 9
    assert told.finished


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"scan_shape": (0, 3)}, "scan_shape"), ({"detector_px": 2}, "detector_px"), ({"dose": -1.0}, "dose")],
)
def test_wrong_wishes_are_refused(wrong, says):
    with pytest.raises(OptionError, match=says):
        simulate("graphene", seed=0, **({"scan_shape": (1, 1), "detector_px": PX} | wrong))


@pytest.mark.parametrize(
    ("optics", "px", "says"),
    [
        ({"defocus": 2e5}, 64, "probe: want one that fits a supercell"),
        ({"aberrations": (("C30", 1e9),)}, 64, "probe: want one that fits a supercell"),
        ({}, 2048, "detector: want at most"),
        ({"half_angle_mrad": 5000.0}, 64, "half_angle_mrad: want at most"),
        ({"aberrations": (("spherical", 1.0),)}, 64, "aberrations: want C10"),
    ],
)
def test_what_cannot_be_simulated_is_said_before_it_is_tried(optics, px, says):
    with pytest.raises(OptionError, match=says):
        simulate("graphene", seed=0, scan_shape=(1, 1), detector_px=px, optics=Optics(**optics))


@pytest.mark.parametrize("recipe", SIMULATIONS, ids=lambda recipe: recipe.name)
def test_scattering_into_the_corners_of_the_detector_is_simulated(recipe):
    specimen = build_for(recipe, recipe.optics, detector_px=32)
    size = specimen.atoms.cell.lengths()[:2]
    highest = ANTIALIAS * np.array(grid_points(specimen, recipe.optics)) / 2
    reached_mrad = highest * wavelength(recipe.optics.voltage_kv) * 1e3 / size
    assert (reached_mrad >= np.sqrt(2) * recipe.optics.half_angle_mrad).all()


def test_aberrations_need_room():
    plain, blurred = Optics(), Optics(aberrations=(("C30", 1e6), ("phi12", 0.3)))
    assert probe_margin(blurred) - probe_margin(plain) == pytest.approx(1e6 * 0.031**3)
