"""The encoder does not see a turn; the decoder turns with the angle."""

import jax.numpy as jnp
import numpy as np
import pytest
from models.small import ORDER, as_pairs, random_coefficients, random_net, turned

from orbistem.models.infer import INFER_ANGLES, encode_batch

ON_GRID = 1e-4  # of the spread: rounding of float32
ANY_ANGLE = 1e-2  # the pointwise layer makes orders that the grid of angles cannot hold
N = 256


def latents(net, coefficients):
    return np.asarray(encode_batch(net, jnp.asarray(as_pairs(coefficients))), np.float64)


def change(net, coefficients, by):
    before, after = latents(net, coefficients), latents(net, turned(coefficients, by))
    return np.sqrt(np.mean((after - before) ** 2, axis=0)) / before.std(axis=0)


@pytest.mark.parametrize("seed", range(3))
def test_turns_on_the_grid_change_nothing(rng, seed):
    by = 2 * np.pi / INFER_ANGLES * rng.integers(0, INFER_ANGLES, N)
    assert np.all(change(random_net(seed), random_coefficients(rng, N), by) < ON_GRID)


@pytest.mark.parametrize("seed", range(3))
def test_any_turn_changes_less_than_a_hundredth_of_the_spread(rng, seed):
    by = rng.uniform(0, 2 * np.pi, N)
    assert np.all(change(random_net(seed), random_coefficients(rng, N), by) < ANY_ANGLE)


def test_a_mirror_image_is_something_else(rng):
    net, coefficients = random_net(), random_coefficients(rng, N)
    before, after = latents(net, coefficients), latents(net, coefficients.conj())
    assert np.all(np.sqrt(np.mean((after - before) ** 2, axis=0)) > 0.1 * before.std(axis=0))


def test_order_zero_of_a_template_is_real(rng):
    template = np.asarray(random_net().decoder(jnp.asarray(rng.normal(size=(20, 2)), jnp.float32)))
    assert not template[:, ORDER == 0, 1].any()
    assert template[:, ORDER > 0, 1].any()


def test_the_static_background_is_taken_off_before(rng):
    coefficients = random_coefficients(rng, N)
    moved = coefficients + (3 + 3j) * (ORDER > 0)
    plain, with_offset = random_net(offset=0.0), random_net(offset=3.0)
    np.testing.assert_allclose(latents(with_offset, moved), latents(plain, coefficients), atol=1e-4)
