"""The plain transforms: adjoint, projection, isotropy, rotation."""

import numpy as np
import pytest

from orbistem.errors import ShapeError
from orbistem.harmonics.circular import analyse, make_grid, project, real_waves, synthesise
from orbistem.harmonics.rings import RingOptions
from orbistem.harmonics.rotation import mirror, turn
from orbistem.testing import (
    assert_adjoint,
    assert_parseval,
    assert_projects,
    beam_stop,
    complex_normal,
)

ROUNDING = {np.float32: 2e-5, np.float64: 1e-12}  # sums over some thousand pixels
COMPLEX = {np.float32: np.complex64, np.float64: np.complex128}
PROJECT_RTOL = 1e-8  # rounding times the condition of the joint fit of neighbouring rings, about 1e3 squared


def grid_of(px=32, *, masked=False, offset=0.0, **options):
    valid = beam_stop(px) if masked else None
    centre = ((px - 1) / 2 + offset, (px - 1) / 2 - offset / 2)
    return make_grid((px, px), centre_px=centre, pixel_valid=valid, options=RingOptions(**options))


def random_harmonics(rng, grid, n, dtype=np.complex128):
    harmonics = complex_normal(rng, (n, grid.n_rings, grid.n_orders), dtype=dtype)
    harmonics[:, :, 0] = harmonics[:, :, 0].real
    return harmonics * grid.carried


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_analyse_is_the_adjoint_of_synthesise(rng, dtype, masked):
    grid = grid_of(masked=masked, offset=0.3)
    x = rng.normal(size=(20, 32, 32)).astype(dtype)
    y = random_harmonics(rng, grid, 20, COMPLEX[dtype])
    harmonics = analyse(x, grid)
    assert harmonics.dtype == COMPLEX[dtype]
    assert synthesise(y, grid).dtype == dtype
    assert_adjoint(lambda p: analyse(p, grid), lambda c: synthesise(c, grid), x=x, y=y, rtol=ROUNDING[dtype])


@pytest.mark.parametrize("masked", [False, True])
def test_project_undoes_synthesise(rng, masked):
    grid = grid_of(masked=masked, offset=0.2, max_order=10)
    harmonics = random_harmonics(rng, grid, 8)
    assert_projects(
        lambda p: project(p, grid), lambda c: synthesise(c, grid), coefficients=harmonics, rtol=PROJECT_RTOL
    )


def test_synthesise_of_a_projection_is_a_projection(rng):
    grid = grid_of(max_order=8)
    once = synthesise(project(rng.normal(size=(3, 32, 32)), grid), grid)
    twice = synthesise(project(once, grid), grid)
    np.testing.assert_allclose(twice, once, atol=1e-8)


def test_order_zero_is_the_sum_under_the_hat(rng):
    grid = grid_of()
    pattern = rng.normal(size=(1, 32, 32))
    for j, ring in enumerate(grid.rings):
        expected = np.sum(pattern.ravel()[ring.pixels] * ring.hat)
        assert analyse(pattern, grid)[0, j, 0] == pytest.approx(expected)


def test_a_wave_has_the_sign_of_the_convention():
    grid = grid_of(64)
    y, x = np.indices((64, 64)) - 31.5
    pattern = np.cos(3 * (np.arctan2(y, x) - 0.4))[None]
    found = analyse(pattern, grid)[0, 10, 3]
    assert np.angle(found) == pytest.approx(-3 * 0.4, abs=1e-3)


def test_parseval_for_white_noise(rng):
    grid = grid_of(24)
    impulses = np.eye(24 * 24).reshape(-1, 24, 24)
    harmonics = analyse(impulses, grid)
    length = np.sum(np.abs(harmonics) ** 2, axis=0)
    expected = np.stack(
        [np.sum(ring.hat**2) * np.where(np.arange(grid.n_orders), 2, 1) for ring in grid.rings]
    )
    assert_parseval(length[grid.carried], expected[grid.carried], rtol=1e-10)


def test_waves_are_parts_of_the_complex_wave(rng):
    azimuth = rng.uniform(-np.pi, np.pi, 7)
    waves = real_waves(azimuth, 4)
    expected = np.sqrt(2) * np.exp(-3j * azimuth)
    np.testing.assert_allclose(waves[:, 5] + 1j * waves[:, 6], expected, atol=1e-12)


def test_turning_twice_adds_angles_and_mirrors_conjugate(rng):
    coefficients = complex_normal(rng, (5, 3, 6))
    orders = np.arange(6)
    angles = rng.uniform(0, 7, 5)
    twice = turn(turn(coefficients, by_rad=angles, orders=orders), by_rad=0.3, orders=orders)
    np.testing.assert_allclose(twice, turn(coefficients, by_rad=angles + 0.3, orders=orders), atol=1e-12)
    mirrored = turn(mirror(coefficients), by_rad=0.3, orders=orders)
    np.testing.assert_allclose(mirrored, mirror(turn(coefficients, by_rad=-0.3, orders=orders)), atol=1e-12)


def test_wrong_shapes_are_refused(rng):
    grid = grid_of()
    with pytest.raises(ShapeError, match=r"patterns\[None\]"):
        analyse(np.zeros((32, 32)), grid)
    with pytest.raises(ShapeError, match="patterns"):
        analyse(np.zeros((1, 32, 31)), grid)
    with pytest.raises(ShapeError, match="harmonics"):
        synthesise(np.zeros((1, 2, 3), complex), grid)
    with pytest.raises(ShapeError, match="pixel_valid"):
        make_grid((32, 32), centre_px=(15.5, 15.5), pixel_valid=np.ones((3, 3), bool))
