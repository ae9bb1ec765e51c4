"""Which rotation orders are claimed from a posterior of the angle, and what must support them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from orbistem.models.angle_summary import INFER_ANGLES, ORDERS_TESTED, angle_summary, orders_held

ANGLE = np.arange(INFER_ANGLES) * 2 * np.pi / INFER_ANGLES


def held(field: np.ndarray) -> set[int]:
    found = np.asarray(orders_held(jnp.asarray(field[None], jnp.float32)))[0]
    return {n for n, holds in zip(ORDERS_TESTED, found, strict=True) if holds}


def test_orders_are_those_of_the_peaks() -> None:
    assert held(10 * np.cos(3 * ANGLE)) == {3}
    assert max(held(10 * np.cos(4 * ANGLE + 1))) == 4
    assert max(held(10 * np.cos(6 * ANGLE))) == 6
    assert held(10 * np.cos(ANGLE)) == set()


def test_shallow_valleys_and_unequal_peaks_claim_nothing() -> None:
    assert held(1.4 * np.cos(3 * ANGLE)) == set()
    assert held(10 * np.cos(3 * ANGLE) + 4 * np.cos(ANGLE)) == set()


def test_deep_valleys_allow_what_noise_parts_equal_peaks_by() -> None:
    """Fitted noise parts the peaks of a symmetric site by 18 nats once in a hundred; never by a tenth."""
    assert max(held(250 * np.cos(6 * ANGLE) + 8 * np.cos(ANGLE))) == 6
    assert held(250 * np.cos(6 * ANGLE) + 20 * np.cos(ANGLE)) == set()
    assert held(3000 * np.cos(3 * ANGLE) + 40 * np.cos(ANGLE)) == {3}
    assert held(25 * np.cos(3 * ANGLE) + 5 * np.cos(ANGLE)) == set()
    assert held(25 * np.cos(3 * ANGLE) + 2 * np.cos(ANGLE)) == {3}


def test_the_posterior_alone_claims_nothing_that_the_template_lacks() -> None:
    field = jnp.asarray(10 * np.cos(3 * ANGLE)[None], jnp.float32)
    narrow = jnp.full(1, 0.5)
    for template, order in ((True, 3), (False, 1)):
        symmetric = jnp.full((1, len(ORDERS_TESTED)), template)
        assert int(angle_summary(field, jnp.zeros(1), narrow, symmetric)[2][0]) == order
