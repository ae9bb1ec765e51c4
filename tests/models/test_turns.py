"""Groups beyond SO(2): mirrors and finite sets of turns, in encoder, loss, inference and storage."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.small import EIGENVALUE, OPTIONS, ORDER, as_complex, as_pairs, orders, random_coefficients, turned

from orbistem.errors import OptionError
from orbistem.groups import GROUPS, Group
from orbistem.models.angle_summary import (
    CLAIM_NATS,
    INFER_ANGLES,
    ORDERS_TESTED,
    angle_summary,
    turn_summary,
)
from orbistem.models.infer import encode_batch, infer_all
from orbistem.models.orbit import LatentFrame, OrbitVAE, OrbitVAEOptions
from orbistem.models.orbit_vae import OrbitOptions, loss_terms, make_net
from orbistem.models.turns import find_mirror_line, make_turns, mirror_pairs

ROUNDING = 2e-4  # of the spread, float32
ANY_ANGLE = 1e-2  # as in test_encoder
LINE_RAD = 0.35
N = 64
NO_ERROR = np.zeros(len(ORDER), np.float32)


def net_of(name: str, seed: int = 3):
    """All encoder weights random, so that nothing is symmetric by the start."""
    turns = make_turns(name, mirror_rad=0.0 if name == "O2" else 2 * LINE_RAD)
    start = np.zeros((len(ORDER), 2))
    key = jax.random.key(seed)
    net = make_net(EIGENVALUE, orders(), start=start, options=OPTIONS, key=key, turns=turns)
    rng = np.random.default_rng(seed)
    moved, rest = eqx.partition(net.encoder, eqx.is_inexact_array)
    shaken = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), moved)
    return eqx.tree_at(lambda one: one.encoder, net, eqx.combine(shaken, rest))


def line_of(name: str) -> float:
    return 0.0 if name == "O2" else LINE_RAD


def mirrored(coefficients: np.ndarray, line_rad: float) -> np.ndarray:
    return turned(coefficients.conj(), np.full(len(coefficients), 2 * line_rad))


def change(net, coefficients, image) -> np.ndarray:
    before = np.asarray(encode_batch(net, jnp.asarray(as_pairs(coefficients))), np.float64)
    after = np.asarray(encode_batch(net, jnp.asarray(as_pairs(image))), np.float64)
    return np.sqrt(np.mean((after - before) ** 2, axis=0)) / before.std(axis=0)


def infer(net, a, rng, steps=12):
    library = rng.normal(size=(24, 2)).astype(np.float32)
    return infer_all(net, as_pairs(a), NO_ERROR, library, orders(), steps=steps, n_samples=16, batch=N)


def drawn(net, rng, *, hand, noise=1.0):
    """Latents, allowed angles and noisy coefficients of templates, mirrored where `hand` is below 0."""
    z = rng.normal(size=(N, 2)).astype(np.float32)
    template = as_complex(net.decoder(jnp.asarray(z)))
    template = np.where(hand[:, None] < 0, template.conj(), template)
    turns = net.turns
    angle = rng.uniform(0, 2 * np.pi, N) if turns.free else 2 * np.pi * rng.integers(0, turns.n, N) / turns.n
    angle = angle + np.where(hand < 0, turns.mirror_rad, 0.0)
    shot = rng.normal(size=template.shape) + 1j * rng.normal(size=template.shape) * (ORDER > 0)
    return z, angle, turned(template, angle) + noise * shot


def apart(one, other):
    return np.abs((np.asarray(one) - other + np.pi) % (2 * np.pi) - np.pi)


@pytest.mark.parametrize("name", [group.name for group in GROUPS])
def test_the_encoder_does_not_see_the_operations_of_its_group(rng, name):
    net, coefficients = net_of(name), random_coefficients(rng, N)
    group = Group.from_name(name)
    by = rng.choice(group.angles(INFER_ANGLES), N)
    assert np.all(change(net, coefficients, turned(coefficients, by)) < ROUNDING)
    if group.mirrors:
        image = turned(mirrored(coefficients, line_of(name)), by)
        assert np.all(change(net, coefficients, image) < ROUNDING)
    if group.continuous:
        by = rng.uniform(0, 2 * np.pi, N)
        assert np.all(change(net, coefficients, turned(coefficients, by)) < ANY_ANGLE)


@pytest.mark.parametrize("name", ["SO2", "C4", "D3"])
def test_the_encoder_sees_what_is_not_in_its_group(rng, name):
    net, coefficients = net_of(name), random_coefficients(rng, N)
    other = {
        "SO2": coefficients.conj(),
        "C4": turned(coefficients, np.full(N, 0.5)),
        "D3": mirrored(coefficients, LINE_RAD + 0.4),
    }[name]
    assert np.all(change(net, coefficients, other) > 0.05)


@pytest.mark.parametrize("name", ["O2", "D3"])
def test_mirror_images_get_equal_latents_and_opposite_hands(rng, name):
    net = net_of(name)
    _, _, a = drawn(net, rng, hand=rng.choice([-1.0, 1.0], N))
    found = infer(net, a, np.random.default_rng(1))
    image = infer(net, mirrored(a, line_of(name)), np.random.default_rng(1))
    sd = np.sqrt(np.maximum(np.diagonal(found["covariance"], axis1=1, axis2=2), 1e-12))
    alike = np.all(np.abs(image["z"] - found["z"]) < 0.5 * sd, axis=1)
    assert alike.mean() > 0.95
    sure = alike & (np.abs(found["handedness"]) > 0.5)  # the others count as the template, seen either way
    assert sure.mean() > 0.7
    np.testing.assert_allclose(image["handedness"][sure], -found["handedness"][sure], atol=0.05)
    np.testing.assert_allclose(image["evidence"][alike], found["evidence"][alike], atol=0.3)


@pytest.mark.parametrize("name", ["O2", "D4"])
def test_hand_and_angle_that_were_drawn_are_found(rng, name):
    net = net_of(name)
    hand = rng.choice([-1.0, 1.0], N)
    _, angle, a = drawn(net, rng, hand=hand)
    found = infer(net, a, rng)
    sure = np.abs(found["handedness"]) > 0.99
    assert sure.mean() > 0.7
    assert np.mean(np.sign(found["handedness"][sure]) == hand[sure]) > 0.95
    error = apart(found["angle"], angle)[sure]
    assert np.median(error) < 0.03
    assert np.all(np.abs(found["handedness"]) <= 1 + 1e-5)


def test_without_mirrors_an_image_is_another_site_of_lower_evidence(rng):
    net = net_of("SO2")
    _, _, a = drawn(net, rng, hand=np.ones(N))
    found, image = infer(net, a, rng), infer(net, a.conj(), rng)
    assert np.all(found["handedness"] == 1)
    assert np.median(found["evidence"] - image["evidence"]) > 10


@pytest.mark.parametrize("name", ["C6", "D4"])
def test_angles_of_a_finite_group_are_its_own(rng, name):
    net, n = net_of(name), int(name[1:])
    _, angle, a = drawn(net, rng, hand=np.ones(N))
    found = infer(net, a, rng)
    own = found["angle"] - np.where(found["handedness"] < 0, net.turns.mirror_rad, 0.0)
    steps = own / (2 * np.pi / n)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert np.mean(apart(own, angle) < 1e-3) > 0.9


@pytest.mark.parametrize("name", ["O2", "D2"])
def test_the_bound_does_not_see_the_operations_of_the_group(rng, name):
    """One key, so that the draws are the same."""
    net, group = net_of(name), Group.from_name(name)
    a = random_coefficients(rng, N) / 10
    options = replace(OPTIONS, draws=2, model_error_share=0.25, grid_angles=288)
    image = turned(a, rng.choice(group.angles(24), N))
    if group.mirrors:
        image = mirrored(image, line_of(name))

    def bound(values):
        pairs = jnp.asarray(as_pairs(values))
        key = jax.random.key(0)
        return loss_terms(
            net, pairs, jnp.asarray(NO_ERROR), orders(), options=options, kl_weight=1.0, key=key
        )

    before, after = bound(a), bound(image)
    assert float(after.bound) == pytest.approx(float(before.bound), rel=1e-3, abs=0.05)
    np.testing.assert_allclose(after.residual, before.residual, rtol=0.02)


def test_mirroring_twice_is_nothing(rng):
    a = jnp.asarray(as_pairs(random_coefficients(rng, 5)))
    turns = make_turns("D3", mirror_rad=0.7)
    twice = mirror_pairs(mirror_pairs(a, orders(), turns), orders(), turns)
    np.testing.assert_allclose(twice, a, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("line", [0.0, 0.3, 1.9])
def test_the_mirror_line_is_found(rng, line):
    """Sites on both sides of the line, each with its mirror image, at the orders of a threefold crystal."""
    order = np.array([0, 3, 3, 6, 1, 2])
    half = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 1j * rng.normal(size=(400, 6))
    image = half.conj() * np.exp(-2j * line * order)
    noise = 0.3 * (rng.normal(size=(800, 6)) + 1j * rng.normal(size=(800, 6)))
    found = find_mirror_line(np.concatenate([half, image]) + noise, order)
    error = (found - line + np.pi / 2) % np.pi - np.pi / 2
    assert abs(error) < np.deg2rad(1.5)


def test_order_and_spread_of_few_angles():
    field = jnp.asarray(
        [
            [0.0, -20, -20, -20, -20, -20],  # one angle
            [0.0, -20, 0, -20, 0, -20],  # threefold
            [0.0, 0, 0, 0, 0, 0],  # all alike: sixfold
            [-20.0, -20, -20, 0, -20, -20],
        ]
    )
    angle, sd, order = turn_summary(field, jnp.zeros(4))
    np.testing.assert_array_equal(order, [1, 3, 6, 1])
    np.testing.assert_allclose(angle, [0, 0, 0, np.pi], atol=1e-6)
    np.testing.assert_allclose(sd, 0, atol=1e-3)
    told = jnp.asarray([[False, True, False, False]])  # order 3 by the pattern, whatever its template draws
    apart = jnp.asarray([[0.0, -200, -90]])
    assert int(turn_summary(apart, jnp.zeros(1))[2][0]) == 1
    assert int(turn_summary(apart, jnp.zeros(1), told)[2][0]) == 3
    assert int(turn_summary(jnp.asarray([[0.0, -9.0]]), jnp.zeros(1), told)[2][0]) == 1  # no turn of C2
    unsure = jnp.asarray([[0.0, -CLAIM_NATS / 2, -20, -20, -20, -20]])
    assert float(turn_summary(unsure, jnp.zeros(1))[1][0]) > 0.3


@pytest.mark.parametrize("name", ["SO2", "D3"])
def test_a_stored_model_encodes_and_decodes_alike(rng, name):
    net = net_of(name)
    options = OrbitVAEOptions(net=OPTIONS, group=name, refine_steps=6, samples=8)
    model = OrbitVAE(
        net,
        model_error=NO_ERROR,
        library=rng.normal(size=(8, 2)).astype(np.float32),
        frame=LatentFrame(centre=np.zeros(2), matrix=np.eye(2), activity=np.array([9.0, 8.0])),
        orders=orders(),
        eigenvalue=EIGENVALUE,
        options=options,
    )
    _, _, a = drawn(net, rng, hand=np.ones(N) if name == "SO2" else rng.choice([-1.0, 1.0], N))
    again = OrbitVAE.from_state(*model.state())
    before, after = model.encode(a), again.encode(a)
    np.testing.assert_array_equal(before.z, after.z)
    assert (before.handedness is None) == (name == "SO2")
    decoded = again.decode(before.z, before.angle, before.handedness)
    left = np.abs(decoded - a) ** 2
    assert np.median(left.sum(axis=1)) < 3 * len(ORDER) * 2


def test_mirrored_copies_have_no_place_among_fixed_angles():
    with pytest.raises(OptionError, match="mirrored"):
        OrbitVAEOptions(group="C3", net=OrbitOptions(mirrored=True))
    with pytest.raises(OptionError, match="group"):
        OrbitVAEOptions(group="C5")


def test_the_order_of_a_symmetric_template_is_that_of_its_waves(rng):
    """Peaks at equal distances and heights; with one wave more they are not equal."""
    theta = 2 * np.pi * np.arange(INFER_ANGLES) / INFER_ANGLES
    turn = rng.uniform(0, 2 * np.pi)

    def field(*waves):
        return sum(size * np.cos(m * (theta - turn)) for m, size in waves)

    fields = [
        field((1, 40), (2, 30)),
        field((2, 40), (4, 30)),
        field((3, 40), (6, 30)),
        field((4, 40), (8, 10)),
        field((6, 40), (12, 10)),
        field((6, 40), (3, 10)),
        field((3, 0.5)),
    ]
    start, narrow = jnp.zeros(len(fields)), jnp.full(len(fields), 0.2)
    symmetric = jnp.ones((len(fields), len(ORDERS_TESTED)), bool)
    angle, sd, order = angle_summary(jnp.asarray(np.stack(fields), jnp.float32), start, narrow, symmetric)
    np.testing.assert_array_equal(order, [1, 2, 3, 4, 6, 3, 0])
    known = np.maximum(np.asarray(order), 1)[:-1]
    apart = (np.asarray(angle)[:-1] - turn) * known
    assert np.abs((apart + np.pi) % (2 * np.pi) - np.pi).max() < 0.15  # grid and parabola
    assert float(sd[-1]) == pytest.approx(np.pi / np.sqrt(3))
