"""The centre: exact on symmetric patterns, follows shifts, ignores faults that are masked."""

import numpy as np
import pytest
from prepare.scans import expected_counts
from scipy.special import expit

from orbistem.errors import InputError, OptionError, ShapeError
from orbistem.prepare.centre import CentreOptions, Problem, check_centre, find_centre, fit_disk

EXACT_PX = 0.02
SHIFT_PX = 0.03  # cubic interpolation of a disk whose edge is 0.7 px wide


def soft_disk(shape, centre, radius_px=9.0, width_px=0.35):
    y, x = np.indices(shape)
    return expit((radius_px - np.hypot(y - centre[0], x - centre[1])) / width_px)


@pytest.mark.parametrize(("pixels", "middle"), [(32, 15.5), (33, 16.0)])
@pytest.mark.parametrize("width_px", [0.01, 0.35])
def test_middle_of_even_and_odd_frames(pixels, middle, width_px):
    fit = find_centre(soft_disk((pixels, pixels), (middle, middle), width_px=width_px))
    assert fit.problem is None
    assert np.abs(np.array(fit.centre_px) - middle).max() < EXACT_PX


def test_one_bright_pixel():
    pattern = np.zeros((32, 32))
    pattern[10, 20] = 1
    assert find_centre(pattern).centre_px == pytest.approx((10, 20), abs=EXACT_PX)


def test_follows_shifts(rng):
    for _ in range(20):
        centre = rng.uniform(12, 20, 2)
        fit = find_centre(soft_disk((34, 37), centre))
        assert np.abs(fit.centre_px - centre).max() < SHIFT_PX


def test_does_not_depend_on_dose(rng):
    clean = expected_counts(electrons=1.0, centre=(14.2, 16.9)).mean(axis=0)
    for electrons in (2e5, 1e7, 1e9):
        fit = find_centre(rng.poisson(clean * electrons).astype(float))
        # an edge of length 2 pi 9 px, 1 px wide, counts electrons to their root
        assert np.abs(np.array(fit.centre_px) - (14.2, 16.9)).max() < 0.03 + 60 / np.sqrt(electrons)
        assert fit.problem is None
    one, two = (find_centre(clean * scale).centre_px for scale in (1.0, 1e6))
    assert one == pytest.approx(two, abs=1e-6)


@pytest.mark.parametrize("centre", [(11.0, 20.0), (9.0, 24.0), (22.5, 12.0)])
def test_off_centre_patterns_cut_by_the_edge(count_scan, centre):
    fit = find_centre(count_scan(electrons=8000, centre=centre).mean(axis=0))
    assert fit.problem is None
    assert np.abs(np.array(fit.centre_px) - centre).max() < 0.05


def test_a_window_moves_the_centre_by_its_corner(count_scan):
    mean = count_scan(electrons=8000, centre=(11.0, 20.0)).mean(axis=0)
    whole = np.array(find_centre(mean).centre_px)
    window = np.add(find_centre(mean[1:28, 5:]).centre_px, (1, 5))
    np.testing.assert_allclose(window, whole, atol=0.05)


def test_threefold_pattern_has_its_centre():
    y, x = np.indices((48, 52)).astype(float)
    dy, dx = y - 23.3, x - 26.1
    r, azimuth = np.hypot(dy, dx), np.arctan2(dy, dx)
    pattern = 1 / (1 + np.exp(r - 12)) * (1 + 0.4 * np.cos(3 * azimuth + 0.4) * np.minimum(r / 12, 1) ** 3)
    pattern += 0.3 * np.exp(-((r - 18) ** 2) / 4) * (1 + 0.8 * np.cos(3 * azimuth))
    fit = find_centre(pattern)
    assert np.abs(np.array(fit.centre_px) - (23.3, 26.1)).max() < 0.1


def test_lattice_with_uneven_light():
    y, x = np.indices((64, 64)).astype(float)
    pattern = np.full((64, 64), 1e-3)
    for h in range(-3, 4):
        for k in range(-3, 4):
            strength = np.exp(-(h * h + k * k) / 8) * (1 + 0.08 * h)  # bright below
            pattern += strength / (1 + np.exp(4 * (np.hypot(y - 30.7 - 8 * h, x - 32.4 - 8 * k) - 2.5)))
    fit = find_centre(pattern)
    com_y = (pattern * y).sum() / pattern.sum()
    assert com_y - 30.7 > 1.2
    assert np.abs(np.array(fit.centre_px) - (30.7, 32.4)).max() < 0.3


def test_masked_faults_do_not_matter(count_scan):
    mean = count_scan(electrons=8000, centre=(14.0, 17.0)).mean(axis=0)
    spoiled, valid = mean.copy(), np.ones(mean.shape, bool)
    spoiled[:15, 15:19] = 0
    spoiled[20, 9] = 5000
    spoiled[25, 25] = np.nan
    valid[:16, 14:20] = False
    valid[20, 9] = False
    clean, masked = find_centre(mean), find_centre(spoiled, pixel_valid=valid)
    assert masked.problem is None
    assert np.abs(np.subtract(masked.centre_px, clean.centre_px)).max() < 0.05


def test_what_is_masked_cannot_be_seen(rng):
    mean = soft_disk((32, 32), (15.0, 16.0))
    valid = rng.random((32, 32)) > 0.05
    junk = np.where(valid, mean, rng.uniform(-50, 50, (32, 32)))
    assert find_centre(mean, pixel_valid=valid) == find_centre(junk, pixel_valid=valid)


def test_sd_covers_the_error(rng):
    misses, sds = [], []
    clean = expected_counts(electrons=20.0, centre=(15.2, 15.9)).sum(axis=0)
    for _ in range(12):
        fit = find_centre(rng.poisson(clean).astype(float))
        misses.append(np.subtract(fit.centre_px, (15.2, 15.9)))
        sds.append(fit.sd_px)
    ratio = np.sqrt(np.mean(np.square(misses)) / np.mean(np.square(sds)))
    assert 0.3 < ratio < 2


def test_no_structure_is_said(rng):
    assert find_centre(np.ones((20, 30))).problem is Problem.FLAT
    noise = find_centre(rng.poisson(20, (32, 32)).astype(float))
    assert noise.problem is not None


def test_periodic_pattern_is_a_tie():
    y, x = np.indices((40, 40))
    fit = find_centre(2 + np.cos(2 * np.pi * y / 8) * np.cos(2 * np.pi * x / 8))
    assert fit.problem is Problem.TIE
    assert "--centre" in fit.problem


def test_disk_fit_is_subpixel_and_refuses_other_things():
    disk = fit_disk(soft_disk((40, 44), (18.3, 22.8), radius_px=11.4))
    assert disk == pytest.approx((18.3, 22.8, 11.4), abs=0.05)
    assert fit_disk(np.eye(30)) is None


def test_given_centres_are_checked():
    assert check_centre((0, 31.5), (20, 32)) == (0.0, 31.5)
    for wrong in ((-1, 3), (3, 32), (float("nan"), 3)):
        with pytest.raises(InputError, match="--centre"):
            check_centre(wrong, (20, 32))


def test_wrong_arguments_are_said():
    with pytest.raises(ShapeError, match="ky, kx"):
        find_centre(np.zeros((2, 3, 4)))
    with pytest.raises(ShapeError, match="pixel_valid"):
        find_centre(np.zeros((3, 4)), pixel_valid=np.ones((4, 3), bool))
    with pytest.raises(OptionError, match="tie_ratio"):
        CentreOptions(tie_ratio=1.5)


@pytest.mark.parametrize(
    ("name", "expected", "tolerance_px"),
    [
        ("srtio3", (15.5, 15.5), 0.05),  # drawn about the middle of the frame; centre of mass 1.5 px off
        ("siemens", (64, 64), 1.6),  # zero frequency; the pupil itself sits 1.5 px to the right
        ("cryo", (15.5, 15.5), 0.25),
    ],
)
def test_measured_centres(measured_frames, name, expected, tolerance_px):
    frames = measured_frames(name).astype(float)
    if name == "srtio3":
        frames /= frames.sum(axis=(1, 2), keepdims=True)
    fit = find_centre(frames.mean(axis=0))
    assert fit.problem is None
    assert np.abs(np.subtract(fit.centre_px, expected)).max() < tolerance_px
