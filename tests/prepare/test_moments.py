"""Moments equal NumPy, and add over blocks."""

import numpy as np
import pytest
from prepare.scans import reduce_blocks

from orbistem.errors import InputError, ShapeError
from orbistem.prepare.moments import Moments, autocorrelation
from orbistem.scan import Block, Scan
from orbistem.stream import Inline, Threads

SUM_RTOL = 1e-12  # float64 sums of a few thousand numbers in another order


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_moments_equal_numpy(rng, dtype):
    frames = rng.poisson(7, (61, 11, 14)).astype(dtype)
    moments = reduce_blocks(frames)
    exact = frames.astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0), rtol=SUM_RTOL)
    np.testing.assert_allclose(moments.variance, exact.var(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(moments.minimum, exact.min(axis=0))
    np.testing.assert_array_equal(moments.maximum, exact.max(axis=0))
    np.testing.assert_allclose(moments.totals, exact.sum(axis=(1, 2)), rtol=SUM_RTOL)
    np.testing.assert_array_equal(moments.peak, exact.max(axis=(1, 2)))
    y, x = np.indices((11, 14))
    com = np.stack([(exact * k).sum(axis=(1, 2)) for k in (y, x)], axis=1) / exact.sum(axis=(1, 2))[:, None]
    np.testing.assert_allclose(moments.com, com, rtol=SUM_RTOL)
    assert moments.integers
    assert moments.n == 61


def test_large_counts_keep_every_electron():
    frames = np.full((40, 3, 5), 2**16 - 1, np.uint16)
    frames[:, 0, 0] = np.arange(40)
    moments = reduce_blocks(frames)
    assert moments.mean[1, 1] == 2**16 - 1
    assert moments.variance[1, 1] == 0
    np.testing.assert_allclose(moments.variance[0, 0], np.arange(40).var())


def test_blocks_add(rng):
    frames = rng.poisson(3, (97, 9, 12)).astype(np.uint16)
    whole = reduce_blocks(frames)
    for _ in range(5):
        edges = tuple(sorted(rng.choice(np.arange(1, 97), size=4, replace=False).tolist()))
        parts = reduce_blocks(frames, edges)
        for name in ("mean", "variance", "minimum", "maximum", "count", "totals", "com", "usable"):
            np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12, err_msg=name)


def test_runners_agree_to_the_bit(rng):
    scan = Scan.from_array(rng.poisson(3, (13, 9, 8, 11)).astype(np.uint16))
    reduction = Moments(detector_shape=(8, 11))
    inline = Inline().run(reduction, scan, block_size=20)
    threaded = Threads(3).run(reduction, scan, block_size=20)
    for name in ("mean", "variance", "diff_variance", "diff2_variance", "lag_products", "totals"):
        np.testing.assert_array_equal(getattr(inline, name), getattr(threaded, name))


def test_missing_values_are_missing_pixels(count_scan, rng):
    frames = count_scan(electrons=8000).astype(np.float32)
    clean = reduce_blocks(frames)
    holes = frames.copy()
    for frame, y, x in zip(
        rng.choice(480, 30, replace=False), rng.integers(0, 30, 30), rng.integers(0, 30, 30), strict=True
    ):
        holes[frame, y, x] = np.nan
    holes[:, 31, 5] = np.nan
    holes[:, 2, 31] = np.inf
    holes[77] = np.nan
    moments = reduce_blocks(holes)
    assert moments.n == 479
    assert not moments.usable[77]
    assert moments.usable.sum() == 479
    assert np.isnan(moments.totals[77])
    assert (moments.count == 0).sum() == 2
    assert np.isnan(moments.mean[31, 5])
    kept = moments.count > 0
    seen = np.where(np.isfinite(holes), holes, np.nan)[np.arange(480) != 77]
    expected = np.nanmean(seen[:, kept], axis=0)
    np.testing.assert_allclose(moments.mean[kept], expected, rtol=1e-6)
    np.testing.assert_allclose(moments.mean[kept], clean.mean[kept], rtol=0.2, atol=0.1)


def test_constant_and_unmeasured_patterns_are_not_used(rng):
    frames = rng.poisson(5, (10, 6, 7)).astype(np.int32)
    frames[2], frames[5] = 0, 9
    measured = np.arange(10) != 7
    reduction = Moments(detector_shape=(6, 7))
    state = reduction.add(reduction.start(), Block(start=0, frames=frames, measured=measured))
    moments = reduction.finish(state)
    good = np.array([0, 1, 3, 4, 6, 8, 9])
    np.testing.assert_array_equal(np.flatnonzero(moments.usable), good)
    np.testing.assert_allclose(moments.mean, frames[good].mean(axis=0))
    assert np.isnan(moments.com[5]).all()


def test_nothing_usable_is_said():
    with pytest.raises(InputError, match="constant, zero or not finite"):
        reduce_blocks(np.zeros((4, 6, 7), np.uint8))


def test_wrong_mask_shape_is_said():
    with pytest.raises(ShapeError, match="pixel_valid"):
        Moments(detector_shape=(6, 7), pixel_valid=np.ones((7, 6), bool))


def test_known_bad_pixels_do_not_move_the_centre_of_mass(count_scan):
    frames = count_scan(electrons=2000)
    spoiled = frames.copy()
    spoiled[:, 3, 28] = 60000
    valid = np.ones((32, 32), bool)
    valid[3, 28] = False
    reduction = Moments(detector_shape=(32, 32), pixel_valid=valid)
    block = Block(start=0, frames=spoiled, measured=np.ones(480, bool))
    moments = reduction.finish(reduction.add(reduction.start(), block))
    assert np.abs(moments.com - reduce_blocks(frames).com).max() < 0.05
    assert moments.peak.max() < 60000


def test_centre_of_mass_does_not_depend_on_dose(count_scan):
    high, low = (reduce_blocks(count_scan(electrons=dose)).com.mean(axis=0) for dose in (8000, 2000))
    # sd of one coordinate: about 6 px / sqrt(electrons in the scan)
    assert np.abs(high - low).max() < 5 * 6 / np.sqrt(2000 * 480)


def test_differences_see_the_noise_and_not_the_sample(count_scan):
    moments = reduce_blocks(count_scan(electrons=20000))
    lit = moments.mean > 1
    near = (moments.diff2_variance[lit] / moments.mean[lit]).mean()
    everything = (moments.variance[lit] / moments.mean[lit]).mean()
    assert 0.97 < near < 1.1
    assert everything > 3


def test_autocorrelation_of_white_and_of_spread_noise(rng):
    from scipy.ndimage import gaussian_filter

    white = rng.poisson(50, (600, 24, 24)).astype(float)
    valid = np.ones((24, 24), bool)
    rho = autocorrelation(reduce_blocks(white), valid)
    assert rho.shape == (7, 7)
    assert rho[3, 3] == pytest.approx(1)
    rho[3, 3] = 0
    assert np.abs(rho).max() < 0.03
    spread = autocorrelation(reduce_blocks(gaussian_filter(white, (0, 0.6, 0.6), mode="wrap")), valid)
    point = np.zeros(25)
    point[12] = 1
    kernel = gaussian_filter(point, 0.6)
    expected = np.correlate(kernel, kernel, "same")[12:16] / (kernel**2).sum()
    np.testing.assert_allclose(spread[3, 3:], expected, atol=0.03)
    np.testing.assert_allclose(spread, spread[::-1, ::-1])
