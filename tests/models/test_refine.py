"""Gauss-Newton from the encoder's guess to the best latents, and the posterior around them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.small import ORDER, as_complex, as_pairs, orders, random_net, turned

from orbistem.models.angle import overlap, turn_overlap
from orbistem.models.counting import gaussian_counting
from orbistem.models.infer import infer_all
from orbistem.models.refine import refine, sample_posterior

N = 64
NO_ERROR = jnp.zeros(len(ORDER), jnp.float32)
NOISE = gaussian_counting(len(ORDER))


@pytest.fixture(scope="module")
def net():
    return random_net(3)


def drawn(net, rng, *, noise=0.0):
    """Latents, angles and the coefficients that the decoder draws from them."""
    z = rng.normal(size=(N, 2)).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi, N)
    a = turned(as_complex(net.decoder(jnp.asarray(z))), angle)
    shot = rng.normal(size=a.shape) + 1j * rng.normal(size=a.shape) * (ORDER > 0)
    return z, angle, jnp.asarray(as_pairs(a + noise * shot))


def joint_misfit(net, a, z, angle):
    inner = turn_overlap(overlap(a, net.decoder(z), orders()), angle, orders())
    return np.asarray(inner.total / 2 - jnp.sum(inner.re, axis=-1) + jnp.sum(z * z, axis=-1) / 2)


def refined_from(net, a, z, steps):
    return refine(net.decoder, a, z, NO_ERROR, orders(), counting=NOISE, steps=steps, n_angles=144)


def test_steps_lower_the_misfit_and_never_raise_it(net, rng):
    z, _, a = drawn(net, rng, noise=1.0)
    start = jnp.asarray(z + rng.normal(size=z.shape).astype(np.float32))
    misfits = []
    for steps in (0, 2, 15):
        found = refined_from(net, a, start, steps)
        misfits.append(joint_misfit(net, a, found.z, found.angle))
    slack = 1e-4 * np.abs(misfits[0]) + 1e-2  # float32
    assert np.all(misfits[1] <= misfits[0] + slack)
    assert np.all(misfits[2] <= misfits[1] + slack)
    assert np.median(misfits[2]) < 0.5 * np.median(misfits[0])


def test_a_known_latent_is_found_again(net, rng):
    """Without noise; only the prior pulls, by less than the posterior sd."""
    z, angle, a = drawn(net, rng)
    start = jnp.asarray(z + 0.3 * rng.normal(size=z.shape).astype(np.float32))
    found = refined_from(net, a, start, 20)
    sd = np.sqrt(np.diagonal(np.linalg.inv(np.asarray(found.curvature)), axis1=1, axis2=2))[:, :2]
    near = np.all(np.abs(np.asarray(found.z) - z) < 3 * sd + 0.02, axis=1)
    assert np.mean(near) > 0.9
    apart = (np.asarray(found.angle) - angle + np.pi) % (2 * np.pi) - np.pi
    assert np.median(np.abs(apart)) < 0.02


def test_the_stated_uncertainty_is_the_scatter(net, rng):
    z, _, a = drawn(net, rng, noise=1.0)
    found = refined_from(net, a, jnp.asarray(z), 15)
    posterior = sample_posterior(
        net.decoder,
        a,
        found,
        NO_ERROR,
        orders(),
        counting=NOISE,
        n_samples=64,
        n_angles=144,
        key=jax.random.key(1),
    )
    covariance = np.asarray(posterior.covariance, np.float64) + 1e-9 * np.eye(2)
    error = np.asarray(posterior.mean) - z
    chi2 = np.einsum("ni,nij,nj->n", error, np.linalg.inv(covariance), error)
    assert 0.7 < np.median(chi2) < 2.6  # 1.39 for two degrees of freedom
    assert np.mean(np.asarray(posterior.effective)) > 0.3


def test_inference_does_not_depend_on_the_batch(net, rng):
    _, _, a = drawn(net, rng, noise=1.0)
    library = rng.normal(size=(16, 2)).astype(np.float32)
    pairs, error = np.asarray(a), np.zeros(len(ORDER), np.float32)

    def infer(rows):
        return infer_all(net, pairs[rows], error, library, orders(), steps=8, n_samples=8, batch=32)

    whole, part = infer(slice(None)), infer(slice(40, 50))
    for name in ("z", "angle", "evidence", "pattern"):
        np.testing.assert_allclose(part[name], whole[name][40:50], rtol=1e-3, atol=1e-3, err_msg=name)
