"""The angle's posterior against brute force."""

import jax.numpy as jnp
import numpy as np
import pytest
from models.small import ORDER, as_pairs, orders, random_coefficients, turned

from orbistem.models.angle import best_angle, log_marginal, overlap, posterior_waves, turn_overlap

FINE = 20_000
PEAK_ATOL = 2e-3  # radian: float32 phases of orders up to 6, and the grid of the comparison
LOG_ATOL = 0.02  # nats; a Gaussian stands for peaks narrower than the grid


def brute_force(a, b):
    """Log p(a | angle) without its constant on a fine grid, shape (n, FINE), float64."""
    angles = 2 * np.pi * np.arange(FINE) / FINE
    field = np.empty((len(a), FINE))
    for i, (one, template) in enumerate(zip(a, b, strict=True)):
        apart = one[None] - template[None] * np.exp(-1j * angles[:, None] * ORDER)
        field[i] = -0.5 * np.sum(np.abs(apart) ** 2, axis=1)
    return angles, field


def case(rng, *, size, noise=1.0, n=20):
    b = size * random_coefficients(rng, n)
    by = rng.uniform(0, 2 * np.pi, n)
    shot = rng.normal(size=b.shape) + 1j * rng.normal(size=b.shape) * (ORDER > 0)
    return turned(b, by) + noise * shot, b, by


def inner_of(a, b):
    return overlap(jnp.asarray(as_pairs(a)), jnp.asarray(as_pairs(b)), orders())


def apart(a, b):
    return np.abs((np.asarray(a) - b + np.pi) % (2 * np.pi) - np.pi)


@pytest.mark.parametrize("size", [0.05, 0.3, 1.0])
def test_the_peak_is_that_of_a_fine_grid(rng, size):
    a, b, _ = case(rng, size=size)
    angles, field = brute_force(a, b)
    found = np.asarray(best_angle(inner_of(a, b), orders(), n_angles=144))
    height = np.array([np.interp(f % (2 * np.pi), angles, row) for f, row in zip(found, field, strict=True)])
    assert np.all(height > field.max(axis=1) - 1e-3 * np.maximum(1, np.abs(field.max(axis=1))))


def test_newton_finds_the_turn_between_two_grid_angles(rng):
    a, b, by = case(rng, size=1.0, noise=0.0)
    found = best_angle(inner_of(a, b), orders(), n_angles=36)
    assert apart(found, by).max() < PEAK_ATOL


@pytest.mark.parametrize("size", [0.01, 0.05, 0.2, 1.0, 5.0])
def test_the_marginal_is_the_integral_over_the_angle(rng, size):
    """Wide peaks are summed on the grid, those narrower than the grid are integrated as Gaussians."""
    a, b, _ = case(rng, size=size)
    _, field = brute_force(a, b)
    top = field.max(axis=1)
    wanted = top + np.log(np.mean(np.exp(field - top[:, None]), axis=1))
    found = np.asarray(log_marginal(inner_of(a, b), orders(), n_angles=144)[0])
    rounding = 3e-6 * np.sum(np.abs(a) ** 2 + np.abs(b) ** 2, axis=1)  # float32 totals nearly cancel
    assert np.all(np.abs(found - wanted) < LOG_ATOL + rounding)


@pytest.mark.parametrize("size", [0.02, 0.1])
def test_posterior_waves_are_the_means_over_the_angle(rng, size):
    a, b, _ = case(rng, size=size)
    angles, field = brute_force(a, b)
    weight = np.exp(field - field.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    wanted = weight @ np.exp(1j * angles[:, None] * orders().present)
    re, im = posterior_waves(inner_of(a, b), orders(), n_angles=144)
    np.testing.assert_allclose(np.asarray(re) + 1j * np.asarray(im), wanted, atol=2e-3)


def test_turning_the_overlap_moves_the_peak(rng):
    a, b, by = case(rng, size=1.0, noise=0.0)
    moved = turn_overlap(inner_of(a, b), jnp.full(len(by), 0.3), orders())
    assert apart(best_angle(moved, orders(), n_angles=144), by - 0.3).max() < PEAK_ATOL


def test_the_angle_shifts_by_the_turn(rng):
    a, b, _ = case(rng, size=1.0)
    by = rng.uniform(0, 2 * np.pi, len(a))
    before = np.asarray(best_angle(inner_of(a, b), orders(), n_angles=144))
    after = best_angle(inner_of(turned(a, by), b), orders(), n_angles=144)
    assert apart(after, before + by).max() < PEAK_ATOL
