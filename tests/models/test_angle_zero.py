"""The angle of a template may be counted from its own polar direction: same patterns, another zero."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.small import EIGENVALUE, OPTIONS, ORDER, as_complex, orders, turned

from orbistem.errors import OptionError, ShapeError
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.models.angle_zero import AngleZero, find_angle_zero
from orbistem.models.orbit import LatentFrame, OrbitVAE, OrbitVAEOptions
from orbistem.models.orbit_vae import make_net
from orbistem.models.turns import make_turns

ONE = int(np.flatnonzero(ORDER == 1)[0])
ZERO = AngleZero(coefficient=ONE, sign=-1)
N = 48


def model_of(group: str, *, zero: AngleZero | None = None) -> OrbitVAE:
    """A random net, in latents that are not its own."""
    net = make_net(
        EIGENVALUE,
        orders(),
        start=np.zeros((len(ORDER), 2)),
        options=OPTIONS,
        key=jax.random.key(7),
        turns=make_turns(group),
    )
    rng = np.random.default_rng(1)
    return OrbitVAE(
        net,
        model_error=np.zeros(len(ORDER), np.float32),
        library=rng.normal(size=(24, 2)).astype(np.float32),
        frame=LatentFrame(
            centre=np.array([0.2, -0.1]), matrix=np.array([[8.0, 1], [0, 9]]), activity=np.array([9.0, 8.0])
        ),
        orders=orders(),
        eigenvalue=EIGENVALUE,
        options=OrbitVAEOptions(net=OPTIONS, group=group),
        zero=zero,
    )


def drawn(model: OrbitVAE, rng: np.random.Generator, *, n: int = N, same: bool = False) -> np.ndarray:
    """Noisy coefficients (n, k) of templates turned by random angles, and mirrored where that is free."""
    z = rng.normal(size=(1 if same else n, 2)) * 8
    template = model.decode(np.repeat(z, n // len(z), axis=0), np.zeros(n))
    if model.group == "O2" and not same:
        template = np.where(rng.random((n, 1)) < 0.5, template.conj(), template)
    clean = turned(template, np.full(n, 0.8) if same else rng.uniform(0, 2 * np.pi, n))
    return clean + rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape) * (ORDER > 0)


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs((np.asarray(one, float) - other + np.pi) % (2 * np.pi) - np.pi)


@pytest.mark.parametrize("group", ["SO2", "O2"])
def test_templates_lie_as_before_and_the_angle_is_their_direction(rng, group):
    free = model_of(group)
    polar = free.with_zero(ZERO)
    a = drawn(free, rng)
    before, after = free.encode(a), polar.encode(a)
    np.testing.assert_array_equal(before.z, after.z)
    np.testing.assert_allclose(before.evidence, after.evidence, rtol=1e-6)
    old = free.decode(before.z, before.angle, before.handedness)
    new = polar.decode(after.z, after.angle, after.handedness)
    np.testing.assert_allclose(new, old, atol=2e-3)
    assert np.all(apart(-np.angle(ZERO.sign * new[:, ONE]), after.angle) < 1e-4)
    own = after.angle - polar.zero_of(after.z, after.handedness)
    assert np.all(apart(own, before.angle) < 1e-4)
    assert np.std(polar.zero_of(after.z)) > 0.1  # else nothing was shown
    if group == "O2":
        assert {-1, 1} <= set(np.sign(after.handedness))


def test_a_turned_pattern_has_its_angle_turned(rng):
    polar = model_of("SO2", zero=ZERO)
    a = drawn(polar, rng)
    by = rng.uniform(0, 2 * np.pi, N)
    before, after = polar.encode(a), polar.encode(turned(a, by))
    assert np.median(apart(after.angle - before.angle, by)) < 1e-3


def test_the_stated_error_is_that_of_the_direction(rng):
    """Over noise draws of single patterns: sd of the angle over what is stated, the latents free."""
    polar = model_of("SO2", zero=ZERO)
    ratio, free_sd, polar_sd = [], [], []
    for _ in range(6):
        a = drawn(polar, rng, n=96, same=True)
        found = polar.encode(a)
        off = apart(found.angle, np.angle(np.exp(1j * found.angle).mean()))
        ratio.append(np.sqrt(np.mean(off**2)) / np.median(found.angle_sd))
        polar_sd.append(np.median(found.angle_sd))
        free_sd.append(np.median(polar.with_zero(None).encode(a).angle_sd))
    assert 0.8 < np.median(ratio) < 1.25
    assert np.max(ratio) < 1.6
    assert np.max(np.abs(np.log(np.array(polar_sd) / free_sd))) > 0.1  # another angle has another error


def test_a_template_without_a_direction_has_no_angle():
    """Its order 1 drawn as nothing: whatever the noise makes of it is not known to point anywhere."""
    polar = model_of("SO2", zero=ZERO)
    hidden = polar._net.decoder.net.layers[-1]
    rows = [2 * ONE, 2 * ONE + 1]
    weight, bias = np.array(hidden.weight), np.array(hidden.bias)
    weight[rows], bias[rows] = 1e-4 * weight[rows], 0.0
    import equinox as eqx

    def last(net):
        return net.decoder.net.layers[-1].weight, net.decoder.net.layers[-1].bias

    polar._net = eqx.tree_at(last, polar._net, (jnp.asarray(weight), jnp.asarray(bias)))
    rng = np.random.default_rng(3)
    found = polar.encode(drawn(polar, rng))
    known = polar.with_zero(None).encode(drawn(polar, rng))
    assert np.median(found.angle_sd) > 5 * np.median(known.angle_sd)


def test_storage_keeps_the_zero_and_a_damaged_one_is_refused(rng):
    polar = model_of("SO2", zero=ZERO)
    again = OrbitVAE.from_state(*polar.state())
    assert again.zero == ZERO
    a = drawn(polar, rng)
    np.testing.assert_array_equal(polar.encode(a).angle, again.encode(a).angle)
    arrays, values = polar.state()
    assert "zero" not in polar.with_zero(None).state()[1]
    with pytest.raises(ShapeError, match="damaged"):
        OrbitVAE.from_state(arrays, values | {"zero": {"coefficient": ONE + 1, "sign": 1}})
    with pytest.raises(ShapeError, match="damaged"):
        OrbitVAE.from_state(arrays, values | {"zero": {"coefficient": 99, "sign": 1}})


def test_the_strongest_coefficient_of_order_1_points_where_more_electrons_lie():
    order = np.array([2, 1, 1])
    basis = SteerableBasis(
        order=order,
        vectors=np.array([[1.0, 1], [-2, 1], [3, 1]]),
        eigenvalue=np.array([9.0, 5, 4]),
        edge=np.ones(3),
        spectrum=np.ones((2, 3)),
        noise_level=1.0,
        n_above=3,
    )
    assert find_angle_zero(basis) == AngleZero(coefficient=1, sign=-1)
    assert find_angle_zero(replace(basis, order=np.array([2, 3, 4]))) is None


def test_what_a_zero_cannot_be():
    with pytest.raises(OptionError, match="want free or polar"):
        OrbitVAEOptions(angle_zero="up")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="group is C4"):
        OrbitVAEOptions(angle_zero="polar", group="C4")
    assert OrbitVAEOptions(angle_zero="polar", group="O2").angle_zero == "polar"


def test_a_random_net_points_in_all_directions():
    polar = model_of("SO2", zero=ZERO)
    z = np.random.default_rng(0).normal(size=(200, 2)) * 8
    upright = polar.decode(z, np.zeros(200))
    assert np.all(np.abs(np.angle(ZERO.sign * upright[:, ONE])) < 1e-4)
    free = as_complex(polar._template(z))[:, ONE]
    assert np.std(np.angle(free)) > 0.3
