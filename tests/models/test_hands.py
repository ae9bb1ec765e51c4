"""Sites that may be seen as the template or as its mirror image."""

import jax.numpy as jnp
import numpy as np
import pytest
from models.small import as_pairs, orders
from models.test_turns import NO_ERROR, N, drawn, infer, net_of

from orbistem.models.hands import (
    LEAST_DOUBT,
    MOST_DOUBT,
    find_doubt,
    hand_in_doubt,
    with_hands_together,
)
from orbistem.models.infer import infer_all
from orbistem.models.layers import turned_templates
from orbistem.models.orbit_vae import OrbitNet, turn_pairs


def test_templates_turn_as_patterns_do(rng) -> None:
    decoder = net_of("O2").decoder
    z = jnp.asarray(rng.normal(size=(20, 2)), jnp.float32)
    turned = turned_templates(decoder, 0.7, orders())(z)
    np.testing.assert_allclose(turned, turn_pairs(decoder(z), jnp.full(20, 0.7), orders()), atol=2e-4)


def test_a_turn_of_all_templates_brings_the_hands_of_a_site_together(rng) -> None:
    """Both hands stay what they were; the angle between the two views of every site grows by one number."""
    net = net_of("O2")
    _, _, a = drawn(net, rng, hand=rng.choice([-1.0, 1.0], N))
    before = infer(net, a, np.random.default_rng(1))
    common = before["hands_apart"][0]
    moved = together(net, np.array([common, common + 0.01, common + 2.0]))
    after = infer(moved, a, np.random.default_rng(1))
    np.testing.assert_allclose(after["handedness"], before["handedness"], atol=0.02)
    change = np.exp(1j * (after["hands_apart"] - before["hands_apart"] + common))
    assert abs(np.angle(change)[0]) < 0.03  # a step of the turns that are tried, and one of the angles
    assert np.mean(np.abs(np.angle(change)) < 0.07) > 0.9


@pytest.mark.parametrize("name", ["SO2", "D4"])
def test_other_groups_leave_no_turn_to_choose(name) -> None:
    net = net_of(name)
    assert together(net, np.full(9, 1.0)) is net
    free = net_of("O2")
    assert together(free, np.zeros(0)) is free


def test_where_few_sites_are_in_doubt_all_count_by_how_like_their_mirror_images_they_are(rng) -> None:
    net = net_of("O2")
    apart = np.concatenate([np.full(20, 0.4), np.full(80, 1.4)])
    doubted = np.arange(100) < 20
    all_count = together(net, apart, doubted=doubted)
    by_likeness = together(net, apart, doubted=doubted, like=np.where(doubted, 1.0, 0.1))
    z = jnp.asarray(rng.normal(size=(5, 2)), jnp.float32)
    for moved, turn, other in ((all_count, 0.7, 0.2), (by_likeness, 0.2, 0.7)):
        off, off_other = (
            float(jnp.linalg.norm(moved.decoder(z) - turned_templates(net.decoder, by, orders())(z)))
            for by in (turn, other)
        )
        assert off < 0.05 * off_other  # a step of the turns that are tried


def together(
    net: OrbitNet, apart: np.ndarray, *, doubted: np.ndarray | None = None, like: np.ndarray | None = None
) -> OrbitNet:
    """All sites in doubt, and all like their mirror images, unless said otherwise."""
    return with_hands_together(
        net,
        apart,
        doubted=np.ones(len(apart), bool) if doubted is None else doubted,
        like=np.ones(len(apart)) if like is None else like,
        orders=orders(),
    )


def test_a_hand_in_doubt_counts_as_the_template(rng) -> None:
    net = net_of("O2")
    _, _, a = drawn(net, rng, hand=rng.choice([-1.0, 1.0], N))
    library = np.random.default_rng(2).normal(size=(24, 2)).astype(np.float32)
    found = infer_all(
        net, as_pairs(a), NO_ERROR, library, orders(), steps=4, n_samples=8, batch=N, hand_doubt=100.0
    )
    assert np.all(found["handedness"] >= 0)
    assert np.all(found["handedness"] < 0.5)
    assert np.any(found["odds"] < -3)


def test_the_border_of_doubt_lies_where_the_scan_has_a_step(rng) -> None:
    on_line, beside = 30 * rng.normal(size=300), rng.choice([-1, 1], 900) * rng.uniform(300, 900, 900)
    odds, size = np.concatenate([on_line, beside]), np.full(1200, 3000.0)
    for sign in (1, -1):
        border = find_doubt(sign * odds, np.full(1200, 100.0), size) * 3000
        assert 70 < border < 260


def test_few_steps_leave_the_border_within_its_limits(rng) -> None:
    odds = rng.normal(size=500)
    found = find_doubt(odds, np.full(500, 1.0), np.full(500, 50.0))
    assert LEAST_DOUBT <= found <= MOST_DOUBT
    assert float(hand_in_doubt(jnp.zeros((1, 3, 2)), found)[0]) == 3.0


def test_hand_in_doubt_takes_the_squared_length_of_the_template() -> None:
    template = jnp.ones((1, 5, 2))
    assert float(hand_in_doubt(template, 0.1)[0]) == pytest.approx(3.5)
