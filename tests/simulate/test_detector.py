import numpy as np
import pytest

from orbistem.errors import OptionError, ShapeError
from orbistem.simulate import DetectorOptions, expose
from orbistem.simulate.detector import shift_pattern

SPLINE = 4e-3
"""Of the bright level: what a cubic spline misses of a Gaussian edge of 1 px between pixels."""


def flat(n=50, px=16):
    return np.full((n, px, px), 1 / px**2, dtype=np.float32)


def test_counts_are_poisson(rng):
    counts = expose(flat(400), dose=256 * 3.0, rng=rng)
    assert counts.dtype == np.uint16
    error = np.sqrt(3.0 / counts.size)
    assert counts.mean() == pytest.approx(3.0, abs=5 * error)
    assert counts.var() == pytest.approx(3.0, abs=5 * np.sqrt((3 + 2 * 9) / counts.size))


def test_equal_seeds_give_equal_counts_and_draws_differ():
    first, again = (expose(flat(), dose=1e3, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()


def test_blocks_of_patterns_are_independent(rng):
    counts = expose(flat(600), dose=1e4, rng=rng).astype(float).reshape(600, -1)
    assert abs(np.corrcoef(counts[0], counts[256])[0, 1]) < 0.25


def test_large_counts_do_not_wrap(rng):
    counts = expose(np.full((1, 2, 2), 0.25), dose=1e6, rng=rng)
    assert counts.dtype == np.float32
    assert counts.sum() == pytest.approx(1e6, rel=0.01)


def test_spread_correlates_neighbours_and_keeps_the_total(rng):
    options = DetectorOptions(psf_sd_px=0.6, gain=2.0)
    clean = flat(300)
    counts = expose(clean, dose=2560.0, rng=rng, options=options)
    assert counts.dtype == np.float32
    assert counts.mean() == pytest.approx(20.0, rel=0.01)
    noise = counts - counts.mean(axis=0)
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.var()
    assert neighbours > 0.3
    inner = noise[:, 4:-4, 4:-4]
    # variance falls by the sum of squares of the sampled, normalised Gaussian in both directions
    k = np.exp(-(np.arange(-4, 5) ** 2) / (2 * 0.6**2))
    k /= k.sum()
    assert inner.var() == pytest.approx(4 * 10 * ((k**2).sum() ** 2), rel=0.05)


def test_descan_moves_patterns_across_the_scan(rng):
    clean = np.zeros((35, 21, 21), dtype=np.float32)
    clean[:, 8:13, 8:13] = 1 / 25
    options = DetectorOptions(descan_px=((2.0, 0.0), (0.0, -1.0)))
    counts = expose(clean, dose=1e6, rng=rng, options=options, scan_shape=(5, 7)).astype(float)
    k = np.arange(21) - 10
    total = counts.sum(axis=(1, 2))
    com_y = ((counts.sum(axis=2) @ k) / total).reshape(5, 7)
    com_x = ((counts.sum(axis=1) @ k) / total).reshape(5, 7)
    np.testing.assert_allclose(com_y, np.linspace(-1, 1, 5)[:, None] + np.zeros(7), atol=0.01)
    np.testing.assert_allclose(com_x, np.linspace(0.5, -0.5, 7) + np.zeros((5, 1)), atol=0.01)
    with pytest.raises(OptionError, match="scan_shape"):
        expose(clean, dose=1e6, rng=rng, options=options)


def test_a_spread_pattern_moves_as_a_whole():
    """Light spreads before pixels sum it up: no sharp edge shows, wherever it falls between the pixels."""
    y, x = np.indices((48, 48)) - 23.5
    fine = (np.hypot(y, x) < 14).astype(np.float64)[None] / 615
    by = (0.37, -0.21)
    recorded = []
    for shift in ((0.0, 0.0), by):
        options = DetectorOptions(
            psf_sd_px=1.0, descan_px=(tuple(2 * s for s in shift), (0.0, 0.0)), beam_stop_px=0.0
        )
        scan = np.repeat(
            fine, 2, axis=0
        )  # the second of two lines lies by half of the descan beside the middle
        counts = expose(
            scan, dose=1e12, rng=np.random.default_rng(0), options=options, scan_shape=(2, 1), binning=2
        )
        recorded.append(counts[1].astype(np.float64))
    still, moved = recorded
    assert still.shape == (24, 24)
    from scipy.ndimage import shift as spline_shift

    expected = spline_shift(still, by, order=3)
    assert np.abs(moved - expected).max() < SPLINE * still.max()


def test_shift_by_area():
    pattern = np.zeros((3, 4))
    pattern[1, 1] = 1.0
    moved = shift_pattern(pattern, np.array([0.0, 0.25]))
    np.testing.assert_allclose(moved[1], [0, 0.75, 0.25, 0])
    np.testing.assert_allclose(shift_pattern(pattern, np.array([-1.0, 2.0]))[0], [0, 0, 0, 1])
    assert shift_pattern(pattern, np.array([5.0, 0.0])).sum() == 0


def test_hot_pixels_are_the_same_in_every_pattern(rng):
    options = DetectorOptions(hot_pixels=3, hot_counts=500)
    counts = expose(flat(), dose=256.0, rng=rng, options=options)
    hot = counts.min(axis=0) >= 500
    assert hot.sum() == 3


def test_wrong_wishes_are_refused(rng):
    with pytest.raises(OptionError, match="dose"):
        expose(flat(), dose=0.0, rng=rng)
    with pytest.raises(ShapeError, match="clean"):
        expose(flat()[0], dose=1e3, rng=rng)
    with pytest.raises(OptionError, match="psf_sd_px"):
        DetectorOptions(psf_sd_px=-1.0)
