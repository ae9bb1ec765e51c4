"""Which rotation orders are claimed from a posterior of the angle, and what must support them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from orbistem.models.angle_summary import (
    INFER_ANGLES,
    ORDERS_TESTED,
    angle_summary,
    hand_summary,
    orders_held,
)

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


def hands(rng: np.random.Generator, unlike: float, truth: np.ndarray) -> np.ndarray:
    """Handedness of noisy patterns of hand 1, -1 or, on a mirror line, 0, and how unlike templates are."""
    half = np.sqrt(unlike / 2)
    seen = truth * half + rng.normal(size=len(truth))
    odds = jnp.asarray(2 * half * seen)
    found = hand_summary(odds, odds, jnp.full(len(truth), unlike))
    return np.asarray(found)


def test_the_handedness_is_a_probability(rng) -> None:
    """Of sites of which half have a hand: the mean hand where a handedness is stated is that handedness."""
    truth = rng.choice([-1, 0, 0, 1], 40_000)
    for unlike in (0.5, 4.0, 16.0):
        found = hands(rng, unlike, truth)
        for low in np.arange(-1, 1, 0.25):
            near = (found >= low) & (found < low + 0.25)
            if near.sum() > 300:
                assert abs(truth[near].mean() - found[near].mean()) < 5 / np.sqrt(near.sum())


def test_a_site_on_a_mirror_line_has_no_hand_and_others_keep_theirs(rng) -> None:
    assert np.median(np.abs(hands(rng, 10.0, np.zeros(2000)))) < 0.25
    assert np.quantile(hands(rng, 60.0, np.ones(2000)), 0.01) > 0.9
    odds = jnp.asarray([-4e4, 4e4, 0.0])
    extreme = hand_summary(odds, odds, jnp.asarray([3e4, 3e4, 0.0]))
    np.testing.assert_allclose(np.asarray(extreme), [-1, 1, 0], atol=1e-6)


def test_other_latents_that_draw_the_mirror_image_leave_the_hand_certain() -> None:
    """ZnS [110] at 10⁶: its best template prefers a view by 2,800 nats, all templates together by 1,200."""
    unlike, doubt = jnp.full(3, 2849.0), jnp.full(3, 289.0)
    odds = jnp.asarray([1184.0, -1184.0, 100.0])
    here = jnp.asarray([2800.0, 2800.0, 2800.0])
    found = np.asarray(hand_summary(odds, here, unlike, doubt))
    np.testing.assert_allclose(found, [1, -1, 0], atol=1e-6)  # 100 nats are fewer than a decoder errs by
