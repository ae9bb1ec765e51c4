"""A small random network and coefficients that it draws itself."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

from orbistem.models.angle import Orders, make_orders
from orbistem.models.orbit_vae import OrbitNet, OrbitOptions, make_net

ORDER = np.array([0, 1, 2, 3, 0, 2, 4, 6])
EIGENVALUE = np.array([900.0, 700, 500, 400, 300, 200, 150, 100])
OPTIONS = OrbitOptions(
    latent_dim=2, encoder_width=16, decoder_width=16, decoder_depth=1, train_angles=24, grid_angles=48
)


def orders() -> Orders:
    return make_orders(ORDER)


def random_net(seed: int = 0, *, offset: float = 0.0) -> OrbitNet:
    """All weights and biases random: nothing is zero by the start."""
    start = np.full((len(ORDER), 2), offset)
    net = make_net(EIGENVALUE, orders(), start=start, options=OPTIONS, key=jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def shaken(leaf):
        return leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32)

    encoder, rest = eqx.partition(net.encoder, eqx.is_inexact_array)
    encoder = eqx.combine(jax.tree.map(shaken, encoder), rest)
    return eqx.tree_at(lambda one: one.encoder, net, encoder)


def as_complex(pairs) -> np.ndarray:
    pairs = np.asarray(pairs)
    return pairs[..., 0] + 1j * pairs[..., 1]


def as_pairs(coefficients: np.ndarray) -> np.ndarray:
    return np.stack([coefficients.real, coefficients.imag], axis=-1).astype(np.float32)


def turned(coefficients: np.ndarray, by_rad: np.ndarray) -> np.ndarray:
    return coefficients * np.exp(-1j * np.asarray(by_rad)[:, None] * ORDER)


def random_coefficients(rng: np.random.Generator, n: int) -> np.ndarray:
    """Independent, with the size that the eigenvalues say; order 0 real."""
    values = rng.normal(size=(n, len(ORDER))) + 1j * rng.normal(size=(n, len(ORDER))) * (ORDER > 0)
    return values * np.sqrt(EIGENVALUE)
