"""Section E of the field reports: centre, centre of mass, masks."""

import numpy as np
import pytest
from field_reports.base import base_patterns, base_rates

from orbistem.config import FitConfig
from orbistem.errors import OrbistemError
from orbistem.io import open_scan
from orbistem.pipeline.preparation import prepare
from orbistem.prepare.centre import find_centre
from orbistem.prepare.mask import find_bad_pixels
from orbistem.prepare.moments import Moments
from orbistem.progress import Silent
from orbistem.scan import Scan
from orbistem.stream import Inline

CENTRE_PX = 0.02
"""Where the report wants a noise-free disk to be found."""


def measured(patterns, pixel_valid=None):
    scan = Scan.from_array(patterns, pixel_valid=pixel_valid)
    moments = Moments(detector_shape=scan.detector_shape, pixel_valid=np.asarray(scan.pixel_valid))
    return Inline().run(moments, scan, block_size=100)


def disk(size, centre, radius=9.0):
    ky, kx = np.indices((size, size + 3), dtype=float)
    return 50 / (1 + np.exp(3 * (np.hypot(ky - centre[0], kx - centre[1]) - radius)))


def test_report_50_mask_and_window_go_together(orbistem, tmp_path, rng):
    patterns = base_patterns(rng, centre_px=(11.0, 20.0), detector=(32, 40))
    ky, kx = np.indices((32, 40))
    mask = np.hypot(ky - 14, kx - 27) > 3  # a given circle, in detector pixels
    whole = find_centre(measured(patterns, mask).trimmed_mean, pixel_valid=mask)
    window = (slice(0, 26), slice(5, 36))
    part = find_centre(measured(patterns[..., *window], mask[window]).trimmed_mean, pixel_valid=mask[window])
    shifted = (part.centre_px[0] + 0, part.centre_px[1] + 5)
    assert whole.centre_px == pytest.approx((11.0, 20.0), abs=0.05)
    assert shifted == pytest.approx(whole.centre_px, abs=0.05)
    np.save(tmp_path / "window.npy", patterns[..., *window])
    np.save(tmp_path / "mask.npy", mask)
    done = orbistem("info", tmp_path / "window.npy", "--mask", tmp_path / "mask.npy")
    assert done.status == 2
    assert "--mask: want (26, 31), got (32, 40)" in done.err
    with pytest.raises(OrbistemError, match="at least one valid"):
        open_scan(patterns, mask=np.zeros((32, 40)))


@pytest.mark.parametrize(
    ("size", "centre"), [(32, (15.5, 15.5)), (33, (16.0, 16.0)), (32, (15.5, 17.0)), (33, (16.0, 17.5))]
)
def test_report_51_pixel_centres_are_whole_numbers(size, centre):
    mean = disk(size, centre)
    found = find_centre(mean, pixel_valid=np.ones(mean.shape, bool))
    assert found.centre_px == pytest.approx(centre, abs=CENTRE_PX)
    patterns = np.zeros((6, 7, 32, 35))
    patterns[..., 10, 20] = np.arange(1, 43).reshape(6, 7)
    moments = measured(patterns)
    assert np.allclose(moments.com, (10, 20))
    one = find_centre(moments.mean, pixel_valid=np.ones((32, 35), bool))
    assert one.centre_px == pytest.approx((10, 20), abs=CENTRE_PX)


def test_report_52_hot_and_dead_pixels_are_found(base, rng):
    patterns = base.copy()
    good = np.hypot(*(np.indices((32, 32)) - 15.5)) < 15
    places = rng.permutation(np.argwhere(good))
    # at odd places: one hot pixel in the disk, one on its edge, the rest anywhere
    hot = {(14, 17), (15, 24)}
    for y, x in places:
        if len(hot) == 20:
            break
        if all(np.hypot(y - v, x - u) > 2.5 for v, u in hot):
            hot.add((int(y), int(x)))
    inside = [(y, x) for y, x in places.tolist() if np.hypot(y - 15.5, x - 15.5) < 8]
    dead = set()
    for y, x in inside:
        if len(dead) == 5:
            break
        if all(np.hypot(y - v, x - u) > 2.5 for v, u in hot | dead):
            dead.add((y, x))
    for y, x in hot:
        patterns[..., y, x] = 5000
    for y, x in dead:
        patterns[..., y, x] = 0
    found = find_bad_pixels(measured(patterns))
    assert set(found.hot) == hot
    assert set(found.dead) == dead
    assert (~found.valid).sum() == 25
    assert find_bad_pixels(measured(base)).valid.all()  # no false alarm at the disk's edge
    assert any("20 hot pixels masked, (y, x)" in note for note in found.notes)


def test_report_53_centre_of_mass_does_not_depend_on_the_dose(rng):
    com = {}
    for dose in (8000.0, 2000.0):
        com[dose] = measured(base_patterns(rng, dose=dose)).com
        expected = measured(base_rates(dose=dose)).com
        assert np.abs(com[dose] - expected).max() < 6 * 8 / np.sqrt(dose)  # spread of a disk of 9 px and ring
        assert np.abs((com[dose] - expected).mean(axis=0)).max() < 0.02
    assert com[8000.0].mean(axis=0) == pytest.approx(com[2000.0].mean(axis=0), abs=0.02)
    # half of the detector: the moment is divided by what was captured, not by the whole dose
    half = base_rates()[..., :16, :]
    captured = measured(half).com[:, 0]
    ky = np.arange(16)[:, None]
    assert np.allclose(captured, ((half * ky).sum(axis=(2, 3)) / half.sum(axis=(2, 3))).ravel())
    # an uneven pattern: the centre of mass is off, the centre is not
    uneven = disk(32, (15.5, 17.0)) * (1 + 0.03 * (np.arange(35) - 17))
    ky, kx = np.indices(uneven.shape)
    assert abs((uneven * kx).sum() / uneven.sum() - 17.0) > 0.4
    found = find_centre(uneven, pixel_valid=np.ones(uneven.shape, bool))
    assert found.centre_px == pytest.approx((15.5, 17.0), abs=0.15)
    assert "mass" not in found.method


def test_report_54_a_pattern_that_is_cut_by_the_edge(rng):
    """Centre (9, 24), descan of 4 px: nothing from outside the frame enters, and what is lost is said."""
    rates = np.empty((24, 20, 32, 32))
    for y in range(24):  # the left half alone: a ring that is cut by the edge must not change its radius
        rates[y] = base_rates(centre_px=(9 + 4 * (y / 23 - 0.5), 24.0), shape=(24, 40))[y, :20]
    patterns = rng.poisson(rates).astype(np.uint16)
    scan = Scan.from_array(patterns)
    found = prepare(scan, FitConfig(), runner=Inline(), block_size=100, progress=Silent())
    assert found.plan.centre_px == pytest.approx((9, 24), abs=0.05)
    assert found.descan.range_px == pytest.approx(4, abs=0.1)
    reach = found.plan.grid.radii_px[-1] + found.plan.rings.spacing_px
    assert reach <= min(9 - 2, 31 - 24) + 0.5  # whole circles, wherever the pattern lies
    assert any(word.startswith("Rings lie within the frame as a whole") for word in found.words)
    first, last = found.plan.harmonics(patterns[[0, -1], 0], np.array([0, 460]))
    assert np.isfinite(first).all()
    assert np.isfinite(last).all()
