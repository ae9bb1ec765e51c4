"""A pattern shows the rotation order of its site against a template that misses it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from models.small import as_pairs

from orbistem.models.angle import make_orders
from orbistem.models.angle_order import orders_of_patterns, pattern_keeps
from orbistem.models.angle_summary import ORDERS_TESTED
from orbistem.models.counting import gaussian_counting

ORDER = np.repeat([0, 1, 2, 3, 4, 5, 6, 9, 12], 4)
SIGNAL = np.tile([1000.0, 100, 10, 1], 9)
ORDERS = make_orders(ORDER)
N = 400


def site(rng, n: int) -> np.ndarray:
    """Coefficients of a site that keeps a turn by 2π/n."""
    clean = (
        (rng.normal(size=len(ORDER)) + 1j * rng.normal(size=len(ORDER)) * (ORDER > 0)) * np.sqrt(SIGNAL) / 2
    )
    return np.where(ORDER % n == 0, clean, 0)


def noisy(rng, clean: np.ndarray, *, level: float = 1.0) -> np.ndarray:
    shape = (N, len(ORDER))
    shot = rng.normal(size=shape) + 1j * rng.normal(size=shape) * (ORDER > 0)
    return clean + np.sqrt(level) * shot


def shown(a: np.ndarray, template: np.ndarray, angle: float = 0.0) -> np.ndarray:
    """Largest order that each pattern shows; 1 for none."""
    held = orders_of_patterns(
        jnp.asarray(as_pairs(a * np.exp(-1j * angle * ORDER))),
        jnp.asarray(as_pairs(np.broadcast_to(template, a.shape))),
        jnp.full(len(a), angle),
        jnp.zeros(len(ORDER)),
        jnp.asarray(SIGNAL, jnp.float32),
        ORDERS,
        counting=gaussian_counting(len(ORDER)),
    )
    return np.max(np.where(np.asarray(held), ORDERS_TESTED, 1), axis=1)


def off(rng, size: float) -> np.ndarray:
    """An error of templates: as large as `size` noise units in all, in every order."""
    error = rng.normal(size=len(ORDER)) + 1j * rng.normal(size=len(ORDER)) * (ORDER > 0)
    return size * error / np.linalg.norm(error)


@pytest.mark.parametrize("n", ORDERS_TESTED)
def test_a_symmetric_pattern_shows_its_order_whatever_the_template_draws(rng, n):
    clean = site(rng, n)
    order = shown(noisy(rng, clean), clean + off(rng, 14.0), angle=0.7)
    assert np.mean(order == n) > 0.9
    assert np.mean(order > n) == 0


def test_a_site_without_symmetry_shows_none(rng):
    clean = site(rng, 1)
    assert np.all(shown(noisy(rng, clean), clean + off(rng, 14.0)) == 1)


@pytest.mark.parametrize("size", [2.0, 3.0, 4.3, 6.0, 10.0])
def test_what_a_right_template_says_is_not_taken_for_an_error(rng, size):
    """Asymmetry of any size that is there: noise refutes it by nine nats in one pattern of 90,000."""
    clean = site(rng, 3) + np.where(ORDER % 3 != 0, off(rng, size), 0)
    assert np.mean(shown(noisy(rng, clean), clean) > 1) <= 1 / N


def test_without_signal_there_is_no_order(rng):
    assert np.all(shown(noisy(rng, np.zeros(len(ORDER))), off(rng, 14.0)) == 1)


@pytest.mark.parametrize("level", [0.6, 1.0])
def test_the_test_of_patterns_holds_at_their_own_noise(rng, level):
    energy = np.abs(noisy(rng, site(rng, 3), level=level)) ** 2

    def keeps(n: int) -> float:
        found = pattern_keeps(jnp.asarray(energy, jnp.float32), jnp.asarray(SIGNAL, jnp.float32), ORDERS, n)
        return float(np.mean(np.asarray(found)))

    assert keeps(3) > 0.9
    assert keeps(2) == keeps(6) == 0
