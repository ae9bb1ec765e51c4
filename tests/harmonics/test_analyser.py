"""The fast map: it agrees with pixels turned, leaks into no other order, beside gaps too."""

import numpy as np
import pytest

from orbistem.harmonics.analyser import make_analyser
from orbistem.harmonics.circular import analyse, make_grid
from orbistem.harmonics.rotation import turn
from orbistem.testing import (
    assert_isotropic_is_order_zero,
    assert_rotation_equivariant,
    beam_stop,
    isotropic_patterns,
    pure_order_patterns,
    smooth_patterns,
)

ROTATION_RTOL = 2e-2  # 64 px, orders <= 12, cubic spline; worst of 200 draws: 0.4e-2
QUARTER_TURN_RTOL = {np.float32: 1e-5, np.float64: 1e-12}  # pixels go onto pixels: rounding alone
LEAK_RTOL = 1e-2  # the profile curves within a hat; worst of 200: 4.4e-3, beside a gap too
PLAIN_RTOL = 2e-2  # plain sums over square pixels leak this much from order to order


def analyser_of(px, *, valid=None):
    grid = make_grid((px, px), centre_px=((px - 1) / 2, (px - 1) / 2), pixel_valid=valid)
    fast = make_analyser(grid, weight=np.ones((px, px)))

    def transform(patterns):
        return fast(patterns.reshape(len(patterns), -1)[:, fast.gather])

    return grid, transform


def turning(grid):
    return lambda harmonics, angles: turn(harmonics, by_rad=angles, orders=np.arange(grid.n_orders))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_turning_pixels_turns_phases(rng, dtype):
    grid, transform = analyser_of(64)
    assert_rotation_equivariant(
        transform,
        turning(grid),
        patterns=smooth_patterns(rng, n=200, px=64, max_order=12, dtype=dtype),
        angles_rad=rng.uniform(0, 2 * np.pi, 200),
        rtol=ROTATION_RTOL,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_quarter_turn_is_exact(rng, dtype):
    grid, transform = analyser_of(64)
    patterns = rng.normal(size=(20, 64, 64)).astype(dtype)  # noise: nothing is assumed smooth
    assert_rotation_equivariant(
        transform,
        turning(grid),
        patterns=patterns,
        angles_rad=np.pi / 2 * rng.integers(0, 4, 20),
        rtol=QUARTER_TURN_RTOL[dtype],
    )


def test_the_rotation_error_falls_as_the_sampling_gets_finer(rng):
    seed = rng.integers(2**32)
    errors = []
    for px in (32, 64, 128):
        grid, transform = analyser_of(px)
        same = np.random.default_rng(seed)
        errors.append(
            assert_rotation_equivariant(
                transform,
                turning(grid),
                patterns=smooth_patterns(same, n=20, px=px, max_order=8),
                angles_rad=same.uniform(0, 2 * np.pi, 20),
                rtol=np.inf,
            )
        )
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_isotropic_patterns_have_order_zero_only(rng, dtype, masked):
    valid = with_dead_pixels(rng, beam_stop(64)) if masked else None
    _, transform = analyser_of(64, valid=valid)
    patterns = isotropic_patterns(rng, n=50, px=64, dtype=dtype)
    assert_isotropic_is_order_zero(transform, patterns=patterns, rtol=LEAK_RTOL)


@pytest.mark.parametrize("masked", [False, True])
def test_a_pure_order_leaks_into_no_other(rng, masked):
    valid = with_dead_pixels(rng, beam_stop(64)) if masked else None
    grid, transform = analyser_of(64, valid=valid)
    harmonics = transform(pure_order_patterns(rng, n=50, px=64, order=3))
    others = np.arange(grid.n_orders) != 3
    leak = np.linalg.norm(harmonics[:, :, others], axis=(1, 2)) / np.linalg.norm(harmonics, axis=(1, 2))
    assert leak.max() < LEAK_RTOL


def test_a_gap_changes_no_coefficient_that_is_still_carried(rng):
    grid, masked = analyser_of(64, valid=beam_stop(64))
    full_grid, full = analyser_of(64)
    patterns = pure_order_patterns(rng, n=20, px=64, order=3)
    outer = np.array(
        [r.n_orders > 3 and c.weight == r.weight for r, c in zip(grid.rings, full_grid.rings, strict=True)]
    )
    difference = masked(patterns)[:, outer, 3] - full(patterns)[:, outer, 3]
    scale = np.abs(full(patterns)[:, :, 3]).max(axis=1)
    # rings at the rim of the disk see only part of their hat, where the pattern differs
    assert np.max(np.abs(difference) / scale[:, None]) < 0.05


def test_fast_agrees_with_plain(rng):
    grid, transform = analyser_of(64)
    patterns = smooth_patterns(rng, n=10, px=64, max_order=12)
    fast, plain = transform(patterns), analyse(patterns, grid)
    error = np.linalg.norm(fast - plain, axis=(1, 2)) / np.linalg.norm(plain, axis=(1, 2))
    assert error.max() < PLAIN_RTOL


def test_float32_agrees_with_float64(rng):
    _, transform = analyser_of(32, valid=beam_stop(32))
    patterns = rng.normal(size=(5, 32, 32))
    single = transform(patterns.astype(np.float32))
    assert single.dtype == np.complex64
    np.testing.assert_allclose(single, transform(patterns), atol=1e-4 * np.abs(single).max())


def test_whitening_weights_are_part_of_the_map(rng):
    grid, transform = analyser_of(32)
    weight = 1 + rng.uniform(size=(32, 32))
    weighted = make_analyser(grid, weight=weight)
    patterns = rng.normal(size=(4, 32, 32))
    found = weighted(patterns.reshape(4, -1)[:, weighted.gather])
    np.testing.assert_allclose(found, transform(patterns * weight), atol=1e-10)


def with_dead_pixels(rng, valid):
    valid = valid.copy()
    y, x = rng.integers(0, valid.shape[0], (2, 15))
    valid[y, x] = False
    return valid
