"""Shot noise that follows the signal: the potential is that of Poisson counts on the pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from orbistem.harmonics.basis_patterns import basis_patterns
from orbistem.harmonics.count_nodes import count_nodes
from orbistem.harmonics.spread import arriving, variance_left
from orbistem.harmonics.steerable_pca import steerable_basis
from orbistem.models.counting import Counting, gaussian_counting
from orbistem.plan import Plan

PX = 32
CENTRE_PX = (15.5, 15.5)


@pytest.fixture(scope="module", params=[None, 0.8], ids=["sharp", "spread"])
def scene(request):
    """A round mean pattern, four smooth coefficients, and their nodes; also where electrons spread."""
    spread_px = request.param
    y, x = np.indices((PX, PX)) - CENTRE_PX[0]
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    mean = 40 * np.exp(-((radius / 9) ** 2)) + 0.5
    every = np.ones((PX, PX), bool)
    plan = Plan(mean=mean, pixel_valid=every, centre_px=CENTRE_PX, gain=1.0, spread_px=spread_px)
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, 2 * np.pi, 300)[:, None, None]
    size = rng.normal(size=(2, 300, 1, 1))
    wave = 0.4 * np.cos(azimuth - turn) + 0.3 * size[0] * np.cos(3 * (azimuth - turn)) + 0.2 * size[1]
    patterns = rng.poisson(mean * np.exp(wave * np.exp(-((radius - 8) ** 2) / 20))).astype(float)
    harmonics = plan.harmonics(patterns)
    second = np.einsum("njm,nkm->mjk", harmonics, harmonics.conj()).real / len(harmonics)
    second[1:] /= 2
    basis = steerable_basis(second, plan.noise, plan.grid.carried, n_samples=300, max_kept=4)
    nodes = count_nodes(plan.grid, basis, weight=plan.weight, electrons=plan.background, spread_px=spread_px)
    counting = Counting(jnp.asarray(nodes.waves, jnp.float32), jnp.asarray(nodes.electrons, jnp.float32))
    return plan, basis, nodes, counting


def some(basis, size=2.0):
    b = np.random.default_rng(1).normal(size=(6, basis.n_kept, 2)) * size
    b[:, np.asarray(basis.order) == 0, 1] = 0
    return b.astype(np.float32)


def test_nodes_hold_the_electrons_and_the_unit_noise(scene):
    plan, basis, nodes, _ = scene
    reach = plan.grid.radii_px[-1] + 2
    y, x = np.indices((PX, PX)) - CENTRE_PX[0]
    seen = plan.mean[np.hypot(y, x) <= reach].sum()
    one = 1 if plan.spread_px is None else variance_left(plan.spread_px)
    assert nodes.electrons.sum() == pytest.approx(one * seen, rel=0.02)
    gram = nodes.waves.T @ (nodes.electrons[:, None] * nodes.waves)
    real = np.asarray(basis.order) == 0
    expected = np.ones(2 * basis.n_kept)
    expected[1::2][real] = 0
    np.testing.assert_allclose(gram, np.diag(expected), atol=1e-6)


def test_potential_is_that_of_poisson_counts_on_pixels(scene):
    plan, basis, _, counting = scene
    rows = basis_patterns(plan.analyser, basis, weight=plan.weight).analysis * plan.weight.ravel()
    arrive = plan.background
    if (
        plan.spread_px is not None
    ):  # each electron lights several pixels: fewer of them, each with more weight
        one = variance_left(plan.spread_px)
        images = rows.reshape(-1, PX, PX) / one
        rows = np.stack([gaussian_filter(image, plan.spread_px, mode="constant") for image in images])
        rows, arrive = rows.reshape(len(rows), -1), one * arriving(plan.background, plan.spread_px)
    b = some(basis)
    log_ratio = b.reshape(len(b), -1) @ rows
    on_pixels = (np.expm1(log_ratio) - log_ratio) @ arrive.ravel()
    half = np.sum(b**2, axis=(1, 2)) / 2
    mine = half + np.asarray(counting.excess(jnp.asarray(b)))
    assert np.abs(on_pixels / half - 1).max() > 0.02  # the noise does follow the signal here
    np.testing.assert_allclose(mine, on_pixels, rtol=0.05)


def test_mean_and_variance_are_derivatives_of_the_potential(scene):
    _, basis, _, counting = scene
    b = jnp.asarray(some(basis))

    def potential(one):
        return jnp.sum(one**2) / 2 + counting.excess(one[None])[0]

    np.testing.assert_allclose(jax.vmap(jax.grad(potential))(b), counting.mean(b), rtol=1e-4, atol=1e-4)
    direction = jnp.asarray(some(basis, 1.0))
    curved = jax.vmap(lambda one, v: v.ravel() @ jax.hessian(potential)(one).reshape(v.size, -1) @ v.ravel())
    beyond = curved(b, direction) - jnp.sum(direction**2, axis=(1, 2))
    np.testing.assert_allclose(
        counting.variance(b, direction[:, None])[:, 0, 0], beyond, rtol=1e-3, atol=1e-3
    )


def test_without_nodes_the_noise_is_gaussian(scene):
    _, basis, _, _ = scene
    b = jnp.asarray(some(basis))
    plain = gaussian_counting(basis.n_kept)
    assert plain.gaussian
    np.testing.assert_array_equal(plain.mean(b), b)
    np.testing.assert_array_equal(plain.excess(b), 0)
    assert not np.any(plain.variance(b, b[:, None]))


def test_potential_turns_with_nothing(scene):
    _, basis, _, counting = scene
    b = some(basis)
    turned = (b[..., 0] + 1j * b[..., 1]) * np.exp(-0.7j * np.asarray(basis.order))
    pairs = np.stack([turned.real, turned.imag], axis=-1).astype(np.float32)
    np.testing.assert_allclose(
        counting.excess(jnp.asarray(pairs)), counting.excess(jnp.asarray(b)), rtol=2e-3, atol=1e-4
    )
