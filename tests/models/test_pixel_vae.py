"""Autoencoders on pixels: as published, and what they share."""

from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import lobes

from orbistem.errors import InputError, OptionError
from orbistem.models.conv_vae import ConvNet, ConvVAE, ConvVAEOptions
from orbistem.models.pixel_vae import ElboProblem
from orbistem.models.plain_vae import PlainVAE, PlainVAEOptions
from orbistem.models.spatial_vae import SpatialNet, SpatialVAE, SpatialVAEOptions
from orbistem.models.train import TrainOptions

STATE = Path(__file__).parent / "data" / "rvae_state.npz"
AGREES = 1e-5  # float32, sums over 72 pixels and 12 units

QUICK = TrainOptions(steps=150, batch=32, rounds=3, learning_rate=3e-3, warm_up=0.2)
OPTIONS = {
    SpatialVAE: SpatialVAEOptions(width=24, scaling="noise", train=replace(QUICK, steps=21)),
    PlainVAE: PlainVAEOptions(latent_dim=6, width=32, train=QUICK),
    ConvVAE: ConvVAEOptions(latent_dim=6, channels=(8, 8), train=QUICK),
}
MODELS = tuple(OPTIONS)


@pytest.fixture(scope="module")
def given():
    return lobes.make(np.random.default_rng(5))


@pytest.fixture(scope="module")
def fitted(given):
    return {
        kind: kind.fit(given.frames, plan=given.plan, options=options) for kind, options in OPTIONS.items()
    }


@pytest.fixture(scope="module")
def peer():
    """Outputs of AtomAI's rVAE with random weights, and SpatialNet with the same weights."""
    with np.load(STATE) as stored:
        arrays = dict(stored)
    parts = {
        part: {name.split(":")[1]: array for name, array in arrays.items() if name.startswith(part)}
        for part in ("encoder:", "decoder:")
    }
    net = SpatialNet.from_atomai(parts["encoder:"], parts["decoder:"], arrays["images"].shape[1:])
    return arrays, net


def test_the_encoder_agrees_with_atomai(peer):
    arrays, net = peer
    mean, log_sd = net.encode(jnp.asarray(arrays["images"]))
    assert np.abs(mean - arrays["mean"]).max() < AGREES
    assert np.abs(log_sd - arrays["log_sd"]).max() < AGREES


def test_the_decoder_agrees_with_atomai(peer):
    arrays, net = peer
    decoded = net.decode(jnp.asarray(arrays["latent"]))
    assert np.abs(decoded - arrays["decoded"]).max() < AGREES


def test_the_loss_agrees_with_atomai(peer):
    arrays, _ = peer
    problem = ElboProblem(float(arrays["rotation_prior"]))
    divergence = problem.divergence(jnp.asarray(arrays["mean"]), jnp.asarray(arrays["log_sd"]))
    missed = 0.5 * ((arrays["decoded"] - arrays["images"]) ** 2).sum(axis=(1, 2))
    assert np.isclose(-np.mean(missed + divergence), arrays["evidence"], rtol=1e-6)


def test_other_weights_do_not_agree(peer):
    arrays, net = peer
    wrong = eqx.tree_at(lambda one: one.mean.bias, net, net.mean.bias + 1e-3)
    mean, _ = wrong.encode(jnp.asarray(arrays["images"]))
    assert np.abs(mean - arrays["mean"]).max() > AGREES


def test_the_decoded_angle_turns_as_ours(given, fitted):
    """A pattern decoded at an angle is the one decoded at 0 turned from +kx to +ky."""
    model, _ = fitted[SpatialVAE]
    z = np.zeros((1, 2), np.float32)
    image = np.asarray(model.net.decode(jnp.zeros((1, 3))))[0]
    quarter = np.asarray(model.net.decode(jnp.asarray([[-np.pi / 2, 0.0, 0.0]], jnp.float32)))[0]
    assert np.allclose(quarter, np.rot90(image, -1), atol=1e-4)  # +kx (right) to +ky (down): clockwise
    apart = model.decode(z, np.array([np.pi / 2])) - given.plan.clean_mean
    plain = model.decode(z, np.zeros(1)) - given.plan.clean_mean
    weighted = [one[0] * given.plan.weight for one in (apart, plain)]
    assert np.allclose(weighted[0], np.rot90(weighted[1], -1), atol=0.05 * np.abs(weighted[1]).max())


@pytest.mark.parametrize("kind", MODELS)
def test_the_protocol(kind, given, fitted):
    model, report = fitted[kind]
    found = model.encode(given.frames)
    n = len(given.frames)
    assert found.z.shape == found.z_sd.shape == (n, model.latent_dim)
    assert (found.z_sd > 0).all()
    assert ((found.angle >= 0) & (found.angle < 2 * np.pi)).all()
    drawn = model.decode(found.z, found.angle)
    assert np.allclose(model.predict(given.frames), drawn, rtol=1e-3, atol=1)
    assert report.steps == OPTIONS[kind].train.steps
    curve = report.restarts[0].curve_train
    assert curve[-1] < curve[0]


@pytest.mark.parametrize(("kind", "least"), [(PlainVAE, 0.5), (ConvVAE, 0.5)])  # 150 steps only
def test_it_learns(kind, least, given, fitted):
    assert lobes.explained(given, fitted[kind][0]) > least


@pytest.mark.parametrize("kind", MODELS)
def test_stored_and_read_again(kind, given, fitted):
    model = fitted[kind][0]
    arrays, values = model.state()
    again = kind.from_state(arrays, values)
    assert np.array_equal(again.encode(given.frames).z, model.encode(given.frames).z)
    assert np.array_equal(again.predict(given.frames[:5]), model.predict(given.frames[:5]))


def test_an_interrupted_training_goes_on(given, tmp_path):
    whole = PlainVAE.fit(given.frames, plan=given.plan, options=OPTIONS[PlainVAE])[0]
    short = PlainVAE.fit(
        given.frames, plan=given.plan, options=OPTIONS[PlainVAE], seconds=0.0, checkpoint=tmp_path
    )
    assert short[1].steps == 50  # one round of three
    rest, report = PlainVAE.fit(given.frames, plan=given.plan, options=OPTIONS[PlainVAE], checkpoint=tmp_path)
    assert report.steps == 150
    assert np.array_equal(rest.encode(given.frames).z, whole.encode(given.frames).z)


@pytest.mark.parametrize("shape", [(16, 16), (25, 18)])
def test_convolutions_return_any_shape(shape):
    net = ConvNet(shape, options=ConvVAEOptions(channels=(4, 4, 4)), key=jax.random.key(0))
    assert net.decode(jnp.zeros((2, 3))).shape == (2, *shape)
    assert net.encode(jnp.zeros((2, *shape)))[0].shape == (2, 3)


def test_wrong_options(given):
    with pytest.raises(OptionError, match="1 or more"):
        SpatialVAEOptions(width=0)
    with pytest.raises(OptionError, match="rotation_prior_rad"):
        ElboProblem(0.0)
    with pytest.raises(InputError, match="ten patterns"):
        PlainVAE.fit(given.frames[:5], plan=given.plan)
