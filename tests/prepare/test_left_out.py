"""Fly-back patterns, rolled lines, lines that jump, blanked beams and cosmic rays."""

import numpy as np
import pytest

from orbistem.config import FitConfig
from orbistem.pipeline.calibration import measure
from orbistem.prepare.left_out import LeaveOutOptions, find_left_out
from orbistem.prepare.mask import find_spiked
from orbistem.prepare.moments import Moments
from orbistem.prepare.scan_lines import drift_of, find_line_faults
from orbistem.prepare.thumbnails import Thumbnails
from orbistem.progress import Silent
from orbistem.scan import Scan
from orbistem.stream import Inline, Threads

SHAPE, PX = (24, 30), (20, 24)


def rates(rng, drift=0.0):
    """Smooth structure (y, x) that changes the pattern: no two neighbouring lines are alike.

    Each line is moved by `drift` columns against the one before.
    """
    y, x = np.indices(SHAPE).astype(float)
    x = x - drift * (y - 11.5)
    bumps = np.zeros(SHAPE)
    for _ in range(25):
        v, u = rng.uniform(0, SHAPE[0]), rng.uniform(0, SHAPE[1])
        bumps += np.exp(-((y - v) ** 2 + (x - u) ** 2) / 20)
    ky, kx = np.indices(PX) - np.array([9.5, 11.5])[:, None, None]
    disk = 1 / (1 + np.exp(2 * (np.hypot(ky, kx) - 6)))
    tilt = 1 + 0.1 * kx * np.tanh(bumps[..., None, None] - 1)
    return 60 * disk * np.maximum(tilt, 0)


@pytest.fixture
def patterns(rng):
    return rng.poisson(rates(rng)).astype(np.uint16)


def looked_at(patterns, **named):
    scan = Scan.from_array(patterns, **named)
    moments = Inline().run(Moments(detector_shape=scan.detector_shape), scan, block_size=50)
    small = Thumbnails(detector_shape=scan.detector_shape, n_positions=scan.n_positions)
    thumbnails = Inline().run(small, scan, block_size=50)
    return scan, moments, thumbnails


def faults(patterns):
    scan, moments, thumbnails = looked_at(patterns)
    return find_line_faults(scan, thumbnails, moments.usable)


def test_thumbnails_are_sums_and_do_not_depend_on_blocks(patterns):
    scan = Scan.from_array(patterns)
    reduction = Thumbnails(detector_shape=PX, n_positions=scan.n_positions)
    whole = Inline().run(reduction, scan, block_size=720)
    parts = Threads(2).run(reduction, scan, block_size=7)
    assert np.array_equal(whole, parts)
    assert whole.shape == (720, 64)
    assert np.array_equal(whole.sum(axis=1), patterns.sum(axis=(2, 3)).ravel())
    huge = Thumbnails(detector_shape=(256, 256), n_positions=1 << 22)
    assert 4 * huge.n_positions * huge.side**2 <= 2**26


def test_a_good_scan_has_no_faults(patterns):
    found = faults(patterns)
    assert not found.fly_back.any()
    assert not found.problems
    assert not found.jumps
    assert found.roll == 0


def test_noise_alone_has_no_faults(rng):
    for _ in range(5):
        found = faults(rng.poisson(3.0, (12, 16, 9, 9)).astype(np.uint8))
        assert not found.fly_back.any()
        assert not found.problems


@pytest.mark.parametrize("side", [0, 29])
def test_fly_back_columns_on_either_side(patterns, side):
    bad = patterns.copy()
    bad[:, side] = bad[:, side] // 2
    found = faults(bad)
    assert found.columns == (side,)
    assert found.fly_back.reshape(SHAPE)[:, side].all()
    assert found.fly_back.sum() == 24
    flat = faults(bad.reshape(-1, *PX))
    assert flat.period == 30
    assert np.array_equal(flat.fly_back, found.fly_back)


def test_a_grain_boundary_is_no_fault(patterns):
    """The right part of the scan is another grain, however narrow: but two columns it needs."""
    for first in (10, 27, 28):
        bad = patterns.copy()
        bad[:, first:] = bad[:, first:, ::-1, ::-1] // 2
        found = faults(bad)
        assert not found.fly_back.any()
        assert found.roll == 0


def test_lines_that_jump(patterns):
    bad = patterns.copy()
    bad[11:] = np.roll(bad[11:], 3, axis=1)
    found = faults(bad)
    assert found.jumps == (11,)
    assert abs(found.line_shift[10]) == pytest.approx(3, abs=0.5)
    assert "line 11" in found.problems[0]


@pytest.mark.parametrize("step", [1.0, -2.0])
def test_lines_that_all_step_aside_are_said(rng, step):
    """Whole columns, + towards larger x; what 25 bumps lie aslant by chance is less than half of one."""
    found = faults(rng.poisson(rates(rng, step)).astype(np.uint16))
    assert found.drift == pytest.approx(23 * step, abs=23 * 0.5)
    assert "the scan drifts, or the structure lies aslant" in found.remarks[0]
    assert not found.problems


def test_drift_is_the_usual_step_of_a_line():
    steps = np.full(20, 0.5)
    steps[3], steps[7] = np.nan, 6.0  # a jump is not drift
    drift, words = drift_of(steps)
    assert drift == pytest.approx(10.0)
    assert "+0.50 columns beside the line before, +10.0 columns from" in words[0]
    assert drift_of(np.full(20, 0.01)) == (pytest.approx(0.2), ())
    assert np.isnan(drift_of(np.r_[np.full(9, 0.5), np.full(20, np.nan)])[0])


def test_noise_does_not_drift(rng):
    for _ in range(5):
        assert not faults(rng.poisson(3.0, (24, 30, 9, 9)).astype(np.uint8)).remarks


def test_blank_and_cosmic_patterns_are_left_out(patterns):
    bad = patterns.copy()
    bad[3, 4] = 0
    bad[3, 4, 0, 0] = 1  # not constant
    bad[7, 8, 5, 5:12] = 40_000
    scan, moments, thumbnails = looked_at(bad)
    found = find_left_out(scan, moments, thumbnails, spiked=find_spiked(moments))
    assert found.blank == (3 * 30 + 4,)
    assert found.cosmic == (7 * 30 + 8,)
    assert any("at (3, 4)" in note for note in found.notes)
    kept = find_left_out(
        scan,
        moments,
        thumbnails,
        spiked=find_spiked(moments),
        options=LeaveOutOptions(blank=False, cosmic=False, fly_back=False),
    )
    assert not kept.positions.any()


def test_what_is_left_out_is_in_no_sum(patterns):
    bad = patterns.copy()
    bad[7, 8, 5, 5:12] = 40_000
    scan = Scan.from_array(bad)
    first = measure(scan, FitConfig(), runner=Inline(), block_size=100, progress=Silent())
    good = np.ones(SHAPE, bool)
    good[7, 8] = False
    assert np.array_equal(first.moments.usable, good.ravel())
    assert np.allclose(first.moments.mean, bad[good].mean(axis=0), rtol=1e-12)
    assert first.tiles.n.sum() == 719


def test_a_dark_field_scan_with_vacuum_keeps_it(patterns):
    """Where half of the scan scatters nothing, that is vacuum, not a blanked beam."""
    bad = patterns.copy()
    bad[:, 15:] = 0
    bad[:, 15:, 0, 0] = 1
    scan, moments, thumbnails = looked_at(bad)
    assert not find_left_out(scan, moments, thumbnails, spiked=()).blank


def test_listed_positions_have_no_lines(patterns, rng):
    flat = patterns.reshape(-1, *PX)
    scan, moments, thumbnails = looked_at(flat, positions=rng.random((len(flat), 2)))
    assert not find_line_faults(scan, thumbnails, moments.usable).fly_back.any()
