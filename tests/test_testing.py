"""The helpers accept what obeys the law and reject what does not."""

import numpy as np
import pytest

from orbistem.errors import ShapeError
from orbistem.harmonics.circular import analyse, make_grid, project, synthesise
from orbistem.harmonics.rotation import turn
from orbistem.testing import (
    assert_adjoint,
    assert_isotropic_is_order_zero,
    assert_parseval,
    assert_projects,
    assert_rotation_equivariant,
    assert_rotation_invariant,
    assert_unit_noise,
    beam_stop,
    complex_normal,
    isotropic_patterns,
    pure_order_patterns,
    smooth_patterns,
    threefold_mean,
)

GRID = make_grid((32, 32), centre_px=(15.5, 15.5))
ORDERS = np.arange(GRID.n_orders)


def transform(patterns):
    return analyse(patterns, GRID)


def turned(harmonics, angles):
    return turn(harmonics, by_rad=angles, orders=ORDERS)


def test_a_wrong_adjoint_is_caught(rng):
    x = rng.normal(size=(5, 32, 32))
    y = complex_normal(rng, (5, GRID.n_rings, GRID.n_orders))
    good = assert_adjoint(transform, lambda c: synthesise(c, GRID), x=x, y=y, rtol=1e-12)
    assert good < 1e-12
    with pytest.raises(AssertionError, match="adjoint"):
        assert_adjoint(transform, lambda c: synthesise(c.conj(), GRID), x=x, y=y, rtol=1e-3)


def test_a_wrong_projection_is_caught(rng):
    c = complex_normal(rng, (5, GRID.n_rings, GRID.n_orders)) * GRID.carried
    c[:, :, 0] = c[:, :, 0].real
    assert_projects(lambda p: project(p, GRID), lambda c: synthesise(c, GRID), coefficients=c, rtol=1e-6)
    with pytest.raises(AssertionError, match="projection"):
        assert_projects(transform, lambda c: synthesise(c, GRID), coefficients=c, rtol=0.5)


@pytest.mark.parametrize(
    "wrong", [lambda h, a: turned(h, -a), lambda h, a: turned(h, 1.02 * a), lambda h, a: h]
)
def test_a_wrong_rotation_is_caught(rng, wrong):
    arguments = {
        "patterns": smooth_patterns(rng, n=20, px=32, max_order=4),
        "angles_rad": rng.uniform(0, 2 * np.pi, 20),
    }
    assert_rotation_equivariant(transform, turned, rtol=0.04, **arguments)
    with pytest.raises(AssertionError, match="rotation"):
        assert_rotation_equivariant(transform, wrong, rtol=0.04, **arguments)


def test_what_depends_on_the_angle_is_caught(rng):
    orders = np.array([0, 1, 2, 3, 3, 6])
    arguments = {
        "coefficients": complex_normal(rng, (50, 6)),
        "orders": orders,
        "angles_rad": rng.uniform(0, 2 * np.pi, 50),
    }
    assert_rotation_invariant(np.abs, tolerance=1e-12, **arguments)
    assert_rotation_invariant(lambda c: (c[:, 3:4] * c[:, 4:5].conj()).real, tolerance=1e-12, **arguments)
    with pytest.raises(AssertionError, match="invariance"):
        assert_rotation_invariant(lambda c: c.real, tolerance=0.1, **arguments)
    with pytest.raises(AssertionError, match="constant"):
        assert_rotation_invariant(lambda c: np.ones((len(c), 1)), tolerance=0.1, **arguments)
    with pytest.raises(ShapeError, match="one angle each"):
        assert_rotation_invariant(np.abs, tolerance=0.1, **{**arguments, "angles_rad": np.zeros(3)})


def test_an_angular_structure_is_caught(rng):
    isotropic = isotropic_patterns(rng, n=5, px=32)
    assert_isotropic_is_order_zero(transform, patterns=isotropic, rtol=0.02)
    lopsided = isotropic * (1 + 0.1 * np.linspace(-1, 1, 32))
    with pytest.raises(AssertionError, match="isotropy"):
        assert_isotropic_is_order_zero(transform, patterns=lopsided, rtol=0.02)


def test_wrong_lengths_are_caught():
    assert assert_parseval(np.array([1.0, 2.0]), np.array([1.0, 2.0]), rtol=1e-12) == 0
    with pytest.raises(AssertionError, match="Parseval"):
        assert_parseval(np.array([1.0, 2.1]), np.array([1.0, 2.0]), rtol=0.01)


def test_noise_of_another_size_is_caught(rng):
    noise = rng.normal(size=(1000, 40))
    mean, worst = assert_unit_noise(noise)
    assert mean == pytest.approx(1, abs=0.02)
    assert worst < 5
    with pytest.raises(AssertionError, match="mean variance"):
        assert_unit_noise(1.05 * noise)
    one_loud = noise.copy()
    one_loud[:, 7] *= 1.2
    with pytest.raises(AssertionError, match="standard errors"):
        assert_unit_noise(one_loud)
    with pytest.raises(ShapeError, match="real"):
        assert_unit_noise(complex_normal(rng, (10, 3)))


def test_heavy_tails_are_allowed_for(rng):
    counts = (rng.poisson(0.01, (2000, 20)) - 0.01) / 0.1
    assert_unit_noise(counts, fourth_cumulant=100.0, mean_tolerance=0.2)


def test_smooth_patterns_are_the_same_at_any_sampling(rng):
    seed = rng.integers(2**32)
    coarse, fine = (smooth_patterns(np.random.default_rng(seed), n=2, px=px, max_order=6) for px in (21, 63))
    np.testing.assert_allclose(fine[:, 1::3, 1::3], coarse, atol=1e-10)


def test_patterns_have_the_type_asked_for(rng):
    for make in (smooth_patterns, pure_order_patterns, isotropic_patterns):
        extra = {smooth_patterns: {"max_order": 3}, pure_order_patterns: {"order": 2}}.get(make, {})
        assert make(rng, n=2, px=16, dtype=np.float32, **extra).dtype == np.float32
    assert threefold_mean(32, electrons_per_px=0.5).mean() == pytest.approx(0.5)
    assert 0 < beam_stop(32).mean() < 1
