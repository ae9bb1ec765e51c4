"""The basis: unit noise, signal found, noise left out."""

import numpy as np
import pytest

from orbistem.harmonics.steerable_pca import noise_edge, steerable_basis
from orbistem.testing import complex_normal

N_RINGS, N_ORDERS = 6, 5


def noise_of(rng):
    mix = rng.normal(size=(N_ORDERS, N_RINGS, N_RINGS)) + 3 * np.eye(N_RINGS)
    return mix @ mix.transpose(0, 2, 1)


def draws(rng, noise, n):
    root = np.linalg.cholesky(noise)
    white = complex_normal(rng, (n, N_RINGS, N_ORDERS))
    white[:, :, 0] = white[:, :, 0].real
    return np.einsum("mij,njm->nim", root, white)


def second_moment(harmonics):
    parts = np.concatenate([harmonics.real, harmonics.imag]).transpose(2, 1, 0)
    second = parts @ parts.transpose(0, 2, 1) / len(harmonics)
    second[1:] /= 2
    return second


def test_vectors_have_unit_noise(rng):
    noise = noise_of(rng)
    basis = steerable_basis(
        5 * noise, noise, np.ones((N_RINGS, N_ORDERS), bool), n_samples=10**6, max_kept=1000
    )
    assert basis.n_kept == N_RINGS * N_ORDERS
    for m in range(N_ORDERS):
        vectors = basis.vectors[basis.order == m]
        np.testing.assert_allclose(vectors @ noise[m] @ vectors.T, np.eye(N_RINGS), atol=1e-9)
    np.testing.assert_allclose(basis.eigenvalue, 5)


def test_pure_noise_keeps_nothing(rng):
    noise = noise_of(rng)
    carried = np.ones((N_RINGS, N_ORDERS), bool)
    for _ in range(20):
        second = second_moment(draws(rng, noise, 500))
        basis = steerable_basis(second, noise, carried, n_samples=500, max_kept=10)
        assert basis.n_above == 0
        assert basis.noise_level == pytest.approx(1, abs=0.1)
        assert basis.coefficients(draws(rng, noise, 3)).shape == (3, 0)


def test_a_signal_is_found_in_its_order(rng):
    noise = noise_of(rng)
    harmonics = draws(rng, noise, 800)
    direction = np.linalg.cholesky(noise[3]) @ np.eye(N_RINGS)[0]
    strength = 2.0
    harmonics[:, :, 3] += strength * complex_normal(rng, (800, 1)) * direction
    basis = steerable_basis(
        second_moment(harmonics), noise, np.ones((N_RINGS, N_ORDERS), bool), n_samples=800, max_kept=10
    )
    assert basis.order.tolist() == [3]
    assert basis.eigenvalue[0] == pytest.approx(1 + strength**2, rel=0.15)


def test_noise_of_unknown_size_is_taken_from_the_bulk(rng):
    noise = noise_of(rng)
    harmonics = 3 * draws(rng, noise, 2000)
    basis = steerable_basis(
        second_moment(harmonics),
        noise,
        np.ones((N_RINGS, N_ORDERS), bool),
        n_samples=2000,
        max_kept=10,
        scale_noise=True,
    )
    assert basis.noise_level == pytest.approx(9, rel=0.15)


def test_kept_coefficients_are_the_strongest_first(rng):
    noise = noise_of(rng)
    second = noise * np.linspace(9, 2, N_ORDERS)[:, None, None]
    basis = steerable_basis(second, noise, np.ones((N_RINGS, N_ORDERS), bool), n_samples=1000, max_kept=7)
    assert basis.n_kept == 7
    assert basis.n_above > 7
    assert np.all(np.diff(basis.eigenvalue) <= 0)


def test_orders_that_a_ring_does_not_carry_are_not_used(rng):
    noise = noise_of(rng)
    carried = np.ones((N_RINGS, N_ORDERS), bool)
    carried[0, 2:] = False
    basis = steerable_basis(5 * noise, noise, carried, n_samples=1000, max_kept=1000)
    assert np.all(basis.vectors[basis.order >= 2, 0] == 0)
    assert np.isnan(basis.spectrum[2]).sum() == 1


def test_coefficients_turn_by_their_order(rng):
    noise = noise_of(rng)
    basis = steerable_basis(
        5 * noise, noise, np.ones((N_RINGS, N_ORDERS), bool), n_samples=1000, max_kept=100
    )
    harmonics = complex_normal(rng, (4, N_RINGS, N_ORDERS))
    turned = harmonics * np.exp(-0.7j * np.arange(N_ORDERS))
    np.testing.assert_allclose(
        basis.coefficients(turned), basis.coefficients(harmonics) * np.exp(-0.7j * basis.order), atol=1e-12
    )


def test_the_edge_comes_closer_to_one_with_more_patterns():
    edges = [noise_edge(20, n, 1) for n in (100, 1000, 10000)]
    assert edges[0] > edges[1] > edges[2] > 1
    assert noise_edge(20, 1000, 0) > noise_edge(20, 1000, 1)


def test_a_coefficient_that_never_varies_is_left_out():
    """Order 4 is the same in all patterns, order 2 varies: only order 2 is kept where the mean is given."""
    rng = np.random.default_rng(3)
    n, n_rings, n_orders = 4000, 3, 6
    noise = np.repeat(np.eye(n_rings)[None], n_orders, axis=0)
    harmonics = (rng.normal(size=(2, n, n_rings, n_orders)) * np.array([1, 1j])[:, None, None, None]).sum(
        axis=0
    )
    harmonics[:, :, 4] += 5
    harmonics[:, :, 2] += 4 * np.exp(1j * rng.uniform(0, 2 * np.pi, (n, 1)))
    harmonics[:, :, 0] = rng.normal(size=(n, n_rings))
    second = np.einsum("njm,nkm->mjk", harmonics, harmonics.conj()).real / n
    second[1:] /= 2
    carried = np.ones((n_rings, n_orders), bool)
    every = steerable_basis(second, noise, carried, n_samples=n, max_kept=8)
    varying = steerable_basis(second, noise, carried, n_samples=n, max_kept=8, mean=harmonics.mean(axis=0))
    assert sorted(every.order) == [2, 4]
    assert list(varying.order) == [2]
    assert varying.signal_nats == pytest.approx(4**2 * n_rings / 2, rel=0.1)
