"""Networks of the orbit VAE: an exactly invariant encoder and a harmonic decoder."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from orbistem.models.angle import Orders


def smooth_gate(x: Array) -> Array:
    """`x` (1 + x/sqrt(1 + x²))/2: as smooth as GELU, with one square root instead of a tanh."""
    return 0.5 * x * (1 + x * jax.lax.rsqrt(1 + x * x))


class InvariantEncoder(eqx.Module):
    """Coefficients → mean and log-variance of z, unchanged by any turn of the pattern.

    Per order one complex linear map to H channels; synthesis on G angles; a pointwise layer; the mean
    over the angles. Turning the pattern shifts the angles, and a mean does not see a shift. With G = n
    angles only turns by 2π/n are not seen; a mean over pattern and mirror image does not see a mirror.
    """

    contract: Array  # (2, order, slot, H): real and imaginary part of the map of each order
    bias: Array
    hidden: tuple[eqx.nn.Linear, ...]
    head: eqx.nn.MLP
    slots: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    present: tuple[int, ...] = eqx.field(static=True)
    latent_dim: int = eqx.field(static=True)

    def __init__(
        self,
        orders: Orders,
        *,
        latent_dim: int,
        width: int,
        depth: int,
        key: PRNGKeyArray,
    ) -> None:
        keys = jax.random.split(key, depth + 2)
        self.slots = _slots(orders)
        self.present = tuple(int(m) for m in orders.present)
        self.latent_dim = latent_dim
        n_orders, n_slots = len(self.slots), len(self.slots[0])
        n_used = len(orders.of)
        self.contract = jax.random.normal(keys[0], (2, n_orders, n_slots, width)) / np.sqrt(n_used)
        self.bias = jnp.zeros(width)
        self.hidden = tuple(eqx.nn.Linear(width, width, key=k) for k in keys[1:-1])
        self.head = eqx.nn.MLP(width, 2 * latent_dim, width, 1, activation=smooth_gate, key=keys[-1])

    def __call__(
        self, a: Float[Array, "n k 2"], *, n_angles: int, mirrored: Float[Array, "n k 2"] | None = None
    ) -> tuple[Array, Array]:
        """Mean and log-variance of z, each (n, latent_dim), from scaled coefficients (n, k, 2).

        mirrored: the mirror images, where these are to give the same.
        """
        pooled = self._pooled(a, n_angles)
        if mirrored is not None:
            pooled = (pooled + self._pooled(mirrored, n_angles)) / 2
        out = jax.vmap(self.head)(pooled)
        return out[:, : self.latent_dim], jnp.clip(out[:, self.latent_dim :], -16.0, 4.0)

    def _pooled(self, a: Float[Array, "n k 2"], n_angles: int) -> Float[Array, "n h"]:
        n = a.shape[0]
        width = self.bias.shape[0]
        padded = jnp.concatenate([a, jnp.zeros((n, 1, 2), a.dtype)], axis=1)
        blocks = padded[:, np.asarray(self.slots), :]  # (n, order, slot, 2)
        blocks = jnp.transpose(blocks, (1, 0, 3, 2)).reshape(len(self.present), n, -1)
        re, im = self.contract
        # complex multiplication as real matrices (free entries would break the invariance): what makes the
        # real parts of all orders, then the imaginary ones, (2 order, 2 slot, H)
        parts = jnp.concatenate([jnp.concatenate([re, -im], axis=1), jnp.concatenate([im, re], axis=1)])
        channels = jnp.einsum("mnk,mkh->mnh", jnp.concatenate([blocks, blocks]), parts)
        waves = jnp.asarray(_synthesis(self.present, n_angles))
        field = (waves @ channels.reshape(len(parts), n * width)).reshape(n_angles * n, width)
        field = smooth_gate(field + self.bias[None])
        for layer in self.hidden:
            field = smooth_gate(_linear(layer, field))
        mean = jnp.full((1, n_angles), 1 / n_angles, field.dtype)  # a product: XLA is slow to sum over rows
        return (mean @ field.reshape(n_angles, n * width)).reshape(n, width)


class Decoder(eqx.Module):
    """z → template coefficients in units of the noise, each scaled by the signal it carries."""

    net: eqx.nn.MLP
    scale: Array  # (k,), not trained
    real: Array  # (k,), 1 where the order is 0

    def __init__(
        self,
        *,
        latent_dim: int,
        width: int,
        depth: int,
        scale: np.ndarray,
        order: np.ndarray,
        key: PRNGKeyArray,
    ) -> None:
        self.net = eqx.nn.MLP(latent_dim, 2 * len(order), width, depth, activation=smooth_gate, key=key)
        self.scale = jnp.asarray(scale, jnp.float32)
        self.real = jnp.asarray(order == 0, jnp.float32)

    def hidden(self, z: Float[Array, "n d"]) -> Float[Array, "n h"]:
        """Activations before the last layer."""
        for layer in self.net.layers[:-1]:
            z = smooth_gate(_linear(layer, z))
        return z

    def __call__(self, z: Float[Array, "n d"]) -> Float[Array, "n k 2"]:
        """Templates of latents."""
        raw = jax.vmap(self.net)(z).reshape(z.shape[0], -1, 2)
        scale = jax.lax.stop_gradient(self.scale)
        real = jax.lax.stop_gradient(self.real)
        keep = jnp.stack([jnp.ones_like(real), 1 - real], axis=-1)
        return raw * scale[None, :, None] * keep[None]


def turned_templates(decoder: Decoder, by: float, orders: Orders) -> Decoder:
    """The decoder with all templates turned by an angle, rad."""
    last = decoder.net.layers[-1]
    assert last.bias is not None
    phase = by * orders.of
    cos, sin = jnp.asarray(np.cos(phase), jnp.float32), jnp.asarray(np.sin(phase), jnp.float32)

    def turned(rows: Array) -> Array:
        pairs = rows.reshape(len(orders.of), 2, -1)
        re, im = pairs[:, 0], pairs[:, 1]
        both = [re * cos[:, None] + im * sin[:, None], im * cos[:, None] - re * sin[:, None]]
        return jnp.stack(both, axis=1).reshape(rows.shape)

    replaced = turned(last.weight), turned(last.bias)
    found: Decoder = eqx.tree_at(
        lambda d: (d.net.layers[-1].weight, d.net.layers[-1].bias), decoder, replaced
    )
    return found


def _linear(layer: eqx.nn.Linear, x: Array) -> Array:
    """Layer applied to rows (n, width)."""
    assert layer.bias is not None
    return x @ layer.weight.T + layer.bias[None]


def _slots(orders: Orders) -> tuple[tuple[int, ...], ...]:
    """Index of each order's coefficients, padded with k (an added zero): (order, slot)."""
    lists = [np.flatnonzero(orders.of == m) for m in orders.present]
    longest = max(len(rows) for rows in lists)
    slots = np.full((len(lists), longest), len(orders.of))
    for row, found in enumerate(lists):
        slots[row, : len(found)] = found
    return tuple(tuple(int(k) for k in row) for row in slots)


def _synthesis(present: tuple[int, ...], n_angles: int) -> np.ndarray:
    """Channels of each order → their sum on the grid of angles, (angle, 2 order), float32."""
    theta = 2 * np.pi * np.arange(n_angles) / n_angles
    phase = theta[:, None] * np.asarray(present)
    return np.concatenate([np.cos(phase), -np.sin(phase)], axis=1).astype(np.float32)
