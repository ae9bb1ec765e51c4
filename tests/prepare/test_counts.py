"""Counts per electron: right where counting made the noise, refused where it did not."""

from dataclasses import replace

import numpy as np
import pytest
from prepare.scans import expected_counts, reduce_blocks
from scipy.ndimage import gaussian_filter

from orbistem.errors import OptionError
from orbistem.prepare.counts import CountsOptions, Problem, estimate_gain
from orbistem.prepare.mask import find_bad_pixels

GAIN_RTOL = 0.05


def fit_of(frames, **options):
    moments = reduce_blocks(frames)
    return estimate_gain(moments, find_bad_pixels(moments).valid, options=CountsOptions(**options))


@pytest.mark.parametrize("electrons", [20, 300, 8000, 100_000])
def test_single_electrons_are_counted_at_any_dose(count_scan, electrons):
    fit = fit_of(count_scan(electrons=electrons))
    assert fit.problem is None
    assert fit.gain == 1
    assert fit.dose == pytest.approx(electrons, rel=5 / np.sqrt(480 * electrons) + 1e-3)
    assert fit.offset == 0
    assert "gain 1" in fit.why
    assert fit.warnings == ()


@pytest.mark.parametrize("electrons", [200, 1000, 5000])
def test_single_electrons_on_a_detector_too_small_to_split(rng, electrons):
    """The slope is 1, and too few pixels are left to say how surely."""
    y, x = np.indices((32, 32)) - 15.5
    mean = 1 / (1 + np.exp((np.hypot(y, x) - 9) / 0.5)) + 0.01
    fit = fit_of(rng.poisson(electrons * mean / mean.sum(), (256, 32, 32)).astype(np.uint16))
    assert fit.problem is None
    assert fit.gain == 1


def structured(rng, electrons, *, n=400, pixels=48):
    """Speckle without any even pixel, new at every position: the worst case for differences of neighbours."""
    y, x = np.indices((pixels, pixels))
    envelope = np.exp(-np.hypot(y - 23.1, x - 24.4) / 5)
    speckle = rng.gamma(4, 0.25, (n, pixels, pixels))
    return rng.poisson(electrons * envelope / envelope.sum() * speckle).astype(np.uint32)


@pytest.mark.parametrize("electrons", [1e3, 1e5])
def test_single_electrons_are_counted_where_the_sample_varies_more(rng, electrons):
    fit = fit_of(structured(rng, electrons))
    assert fit.problem is None
    assert fit.gain == 1
    assert fit.dose == pytest.approx(electrons, rel=0.02)


@pytest.mark.parametrize(
    ("dimmest", "floor", "share", "bend"),
    [(0.8, 0.02, 1, 5), (8, 0.03, 0.8, 10), (8, 0.06, 1.2, 20)],
)
def test_a_coarse_scan_of_a_crystal_makes_no_gain(rng, dimmest, floor, share, bend):
    """Neighbours differ by more than the counting in dim pixels too, relatively more than in bright ones."""
    mean = np.geomspace(dimmest, 5000 * dimmest, 1024).reshape(32, 32)
    moments = reduce_blocks(rng.poisson(mean, (720, 32, 32)).astype(np.uint32))
    more = (floor + share / (1 + mean / bend)) * mean
    moments = replace(
        moments,
        diff2_variance=moments.diff2_variance * (1 + more),
        variance=moments.variance * (1 + 5 * more),
    )
    fit = estimate_gain(moments, np.ones((32, 32), bool))
    assert fit.gain == 1
    assert "varies more than the counting noise" in " ".join(fit.warnings)


def test_no_wrong_gain_where_no_pixel_shows_the_counting(rng):
    fit = fit_of(structured(rng, 1e7))
    assert fit.gain is None or (fit.gain == 1 and fit.warnings)


def test_neighbours_that_are_calm_are_also_dim(rng):
    """Calm neighbours are few and unlike the mean: their noise belongs to their own mean."""
    level = np.where(np.arange(600) % 10 < 6, 1.0, rng.uniform(3, 9, 600))  # calm stretches are dim
    light = np.linspace(5, 40, 30)[None, :, None] * np.ones((1, 1, 32)) * level[:, None, None]
    fit = fit_of(3.0 * rng.poisson(light).astype(np.float32))
    assert fit.gain == pytest.approx(3, rel=0.07)


@pytest.mark.parametrize("gain", [0.013, 3.0, 140.0])
def test_gain_of_a_camera_with_read_noise(count_scan, rng, gain):
    counts = gain * (count_scan(electrons=8000) + rng.normal(0, 0.04, (480, 32, 32)))
    counts[:, rng.random((32, 32)) < 0.05] = 0
    fit = fit_of(counts.astype(np.float32))
    assert fit.problem is None
    assert fit.gain == pytest.approx(gain, rel=GAIN_RTOL)
    assert fit.gain_sd < 0.05 * gain
    assert fit.dose == pytest.approx(8000 * 0.95, rel=0.1)  # dead pixels are left out


def test_gain_scales_with_the_counts(count_scan):
    frames = count_scan(electrons=8000).astype(np.float64)
    one, many = fit_of(frames * 7.5), fit_of(frames * 7500)
    assert many.gain == pytest.approx(1000 * one.gain, rel=1e-6)
    assert many.dose == pytest.approx(one.dose, rel=1e-6)


def test_a_pedestal_is_taken_off(count_scan, rng):
    counts = np.round(count_scan(electrons=8000) * 20.0 + 100 + rng.normal(0, 3, (480, 32, 32)))
    fit = fit_of(counts.astype(np.uint16))
    assert fit.gain == pytest.approx(20, rel=0.12)
    assert fit.offset == pytest.approx(100, abs=1)
    assert fit.dose == pytest.approx(8000, rel=0.2)


def test_even_light_has_no_lever_and_needs_none(rng):
    fit = fit_of(rng.poisson(3, (500, 30, 32)).astype(np.uint16))
    assert fit.gain == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda n: np.round(20 * np.log1p(n)).astype(np.uint8),
        lambda n: np.round(255 * np.sqrt(n / n.max())).astype(np.uint8),
        lambda n: np.round(255 * (n / n.max()) ** 0.7).astype(np.uint8),
        lambda n: np.log(n + 1.0).astype(np.float32),
    ],
    ids=["log", "root", "gamma 0.7", "log float"],
)
def test_compressed_data_have_no_gain(count_scan, spoil):
    fit = fit_of(spoil(count_scan(electrons=8000)))
    assert fit.gain is None
    assert fit.gain_sd is None
    assert fit.problem is Problem.NOT_LINEAR
    assert "not linear in counts" in fit.problem
    assert fit.dose > 0


def test_drawn_data_have_no_gain():
    smooth = expected_counts(electrons=1e6)
    fit = fit_of(np.round(smooth).astype(np.uint16))
    assert fit.gain is None
    assert fit.problem is Problem.NOT_LINEAR


def test_spread_electrons_are_warned_about(rng):
    light = np.linspace(2, 20, 30)[None, :, None] * np.ones((480, 1, 32))
    counts = gaussian_filter(rng.poisson(light).astype(float), (0, 0.6, 0.6), mode="wrap")
    fit = fit_of(counts.astype(np.float32))
    # A Gaussian of 0.6 px leaves 1 / (4 pi 0.36) = 0.22 of the variance, 0.25 after sampling
    assert fit.gain == pytest.approx(0.245, rel=GAIN_RTOL)
    assert fit.correlated * fit.gain == pytest.approx(1, rel=0.1)
    assert fit.dose == pytest.approx(light[0].sum(), rel=0.1)  # not four times as many
    assert any("correlated" in warning for warning in fit.warnings)


def test_spread_electrons_of_a_varied_scan(count_scan):
    counts = gaussian_filter(count_scan(electrons=8000).astype(float), (0, 0.6, 0.6))
    fit = fit_of(counts.astype(np.float32))
    assert fit.gain == pytest.approx(0.25, rel=0.1)
    assert fit.correlated * fit.gain == pytest.approx(1, rel=0.2)


def test_one_bit_counts(count_scan):
    fit = fit_of(count_scan(electrons=100) > 0)
    assert fit.gain == 1
    assert any("together" in warning for warning in fit.warnings)
    sparse = fit_of(count_scan(electrons=5) > 0)
    assert sparse.gain == 1
    assert sparse.warnings == ()


def test_given_gain_and_offset(count_scan):
    moments = reduce_blocks(count_scan(electrons=8000) * 3 + 10)
    fit = estimate_gain(moments, np.ones((32, 32), bool), options=CountsOptions(gain=3.0, offset=10.0))
    assert fit.gain == 3
    assert fit.dose == pytest.approx(8000, rel=0.01)
    assert "given" in fit.why


def test_too_few_patterns_are_said(rng):
    fit = fit_of(rng.poisson(5, (3, 20, 22)).astype(np.uint16))
    assert fit.gain is None
    assert fit.problem is Problem.TOO_FEW


def test_options_are_checked():
    for wrong in ({"gain": 0.0}, {"gain": float("nan")}, {"offset": float("inf")}):
        with pytest.raises(OptionError, match="want"):
            CountsOptions(**wrong)


@pytest.mark.parametrize("name", ["siemens", "xray"])
def test_measured_photon_counts(measured_frames, name):
    fit = fit_of(measured_frames(name))
    assert fit.problem is None
    assert fit.gain == 1


def test_siemens_dose(measured_frames):
    assert fit_of(measured_frames("siemens")).dose == pytest.approx(461_000, rel=0.01)


def test_cryo_scan_counts_each_electron_in_several_pixels(measured_frames):
    """Sums of 4 x 4 pixels; at 300 kV an electron is counted in several of them, so the sums vary more."""
    fit = fit_of(measured_frames("cryo"))
    assert fit.problem is None
    assert fit.gain == pytest.approx(3.3, rel=0.06)
    assert fit.correlated > 1.5
    assert fit.warnings


@pytest.mark.parametrize("name", ["srtio3", "blo"])
def test_measured_but_processed_data_have_no_gain(measured_frames, name):
    fit = fit_of(measured_frames(name))
    assert fit.gain is None
    assert fit.problem is Problem.NOT_LINEAR


def test_normalised_drawn_data_have_no_gain(measured_frames):
    frames = measured_frames("srtio3").astype(np.float64)
    assert fit_of(frames / frames.sum(axis=(1, 2), keepdims=True)).gain is None


@pytest.mark.parametrize("seed", [0, 1, 17, 39, 46])
def test_a_beam_stop_in_a_small_scan_is_no_point_spread(seed):
    """Few pixels carry the counts: chance correlations (seeds 17, 39, 46) exceed what their number says."""
    y, x = np.indices((28, 28))
    radius, azimuth = np.hypot(y - 13.2, x - 13.7), np.arctan2(y - 13.2, x - 13.7)
    row, column = np.divmod(np.arange(224), 16)
    wave = np.cos(3 * azimuth - 2 * np.pi * (2 * row / 14 + column / 16)[:, None, None])
    rate = 0.65 * np.clip(7.5 - radius, 0, 1) + 0.35 * np.exp(-((radius - 9.5) ** 2) / 2) * (1 + 0.9 * wave)
    rate *= 8000 / rate.sum(axis=(1, 2)).mean()
    rate[:, 10:14, :12] = 0
    fit = fit_of(np.random.default_rng(seed).poisson(rate).astype(np.uint16))
    assert fit.together == 1
    assert fit.dose == pytest.approx(rate.sum(axis=(1, 2)).mean(), rel=0.02)
