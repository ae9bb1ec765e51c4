"""The orbit VAE's parameters and loss: exact angle posterior, invariant encoder, harmonic decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from orbistem.errors import OptionError
from orbistem.models.angle import (
    Orders,
    Overlap,
    log_marginal,
    noise_constant,
    overlap,
    posterior_waves,
    times_i,
)
from orbistem.models.counting import Counting, gaussian_counting
from orbistem.models.layers import Decoder, InvariantEncoder
from orbistem.models.turns import ANY_TURN, Turns, mirror_pairs

BOUNDS: dict[str, tuple[float, float]] = {
    "latent_dim": (0, 64),
    "encoder_width": (1, 4096),
    "encoder_depth": (0, 32),
    "decoder_width": (1, 4096),
    "decoder_depth": (0, 32),
    "train_angles": (1, 4096),
    "grid_angles": (1, 16384),
    "model_error_share": (-1e9, 1e9),
    "prior_strength": (-1e9, 1e9),
    "draws": (0, 256),
    "gauge": (0, 1e9),
}
"""What can be trained at all; a number beyond is a slip, and would end in a crash or in no memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OrbitOptions:
    """Sizes of the networks and weights of the loss.

    Parameters
    ----------
    latent_dim
        Number of latents; 0: three, up to five where held-out evidence pays for them, fewer where it does not
        pay for three.
    encoder_width, encoder_depth
        Channels of the encoder, and its pointwise layers after the first.
    decoder_width, decoder_depth
        Width and number of the decoder's hidden layers.
    train_angles, grid_angles
        Angles on which the encoder's layers, and the angle's posterior, are evaluated in training; where any
        turn and mirror images are the same site, pattern and image get half the encoder's angles each.
    model_error_share
        Model error followed in training stays below this share of the signal; 0: it is only measured
        afterwards; below 0: settled by the spectrum.
    prior_strength
        Weight of the prior on the decoder's weights; below 0: settled by the spectrum.
    draws
        Latent vectors drawn for each pattern and step; 0: settled by the spectrum.
    gauge
        Weight of the penalty on turns of the templates per unit of the latents.
    mirrored
        Train on mirror images of the patterns as well; None: settled by the kind of noise. Without effect
        where mirror images are the same site.

    Raises
    ------
    OptionError
        A number outside `BOUNDS`.
    """

    latent_dim: int = 3
    encoder_width: int = 64
    encoder_depth: int = 1
    decoder_width: int = 128
    decoder_depth: int = 2
    train_angles: int = 48
    grid_angles: int = 144
    model_error_share: float = -1.0
    prior_strength: float = -1.0
    draws: int = 0
    gauge: float = 3.0
    mirrored: bool | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f"{name}: want a number from {low} to {high}, got {value}; correct it")


class OrbitNet(eqx.Module):
    """Everything that is trained: encoder, decoder, static offset; and the model error beside it."""

    encoder: InvariantEncoder
    decoder: Decoder
    offset: Array  # (k, 2), static background beyond the azimuthal mean, in units of decoder.scale
    input_gain: Array  # (k,), not trained
    counting: Counting
    turns: Turns = eqx.field(static=True)
    orders: Orders = eqx.field(static=True)


class Terms(NamedTuple):
    """What a batch says about the parameters."""

    bound: Array  # on the evidence, nats per pattern
    residual: Array  # (k,) squared residual of each coefficient per real degree of freedom
    drift: Array  # squared drift of the gauge, rad²


def make_net(
    eigenvalue: np.ndarray,
    orders: Orders,
    *,
    start: np.ndarray,
    options: OrbitOptions,
    key: PRNGKeyArray,
    counting: Counting | None = None,
    turns: Turns = ANY_TURN,
) -> OrbitNet:
    """Fresh parameters. start: static offset (k, 2) in noise units; counting: default Gaussian noise."""
    k_enc, k_dec = jax.random.split(key)
    signal = np.sqrt(np.maximum(eigenvalue - 1, 0.05))
    gain = signal / np.maximum(eigenvalue, 1.0)
    encoder = InvariantEncoder(
        orders,
        latent_dim=options.latent_dim,
        width=options.encoder_width,
        depth=options.encoder_depth,
        key=k_enc,
    )
    decoder = Decoder(
        latent_dim=options.latent_dim,
        width=options.decoder_width,
        depth=options.decoder_depth,
        scale=signal,
        order=orders.of,
        key=k_dec,
    )
    offset = jnp.asarray(start / signal[:, None], jnp.float32)
    counting = counting or gaussian_counting(len(signal))
    return OrbitNet(encoder, decoder, offset, jnp.asarray(gain, jnp.float32), counting, turns, orders)


def centred(net: OrbitNet, a: Float[Array, "n k 2"]) -> Float[Array, "n k 2"]:
    """Coefficients without the static background (orders above 0)."""
    scale = jax.lax.stop_gradient(net.decoder.scale)
    turns = 1 - jax.lax.stop_gradient(net.decoder.real)
    offset = net.offset * (scale * turns)[:, None]
    return a - offset[None]


def turn_pairs(a: Float[Array, "n k 2"], by: Float[Array, " n"], orders: Orders) -> Float[Array, "n k 2"]:
    """Turn coefficients given as (re, im) pairs: times exp(-im by)."""
    phase = by[:, None] * jnp.asarray(orders.present, a.dtype)[None]
    member = jnp.asarray(orders.member).T
    cos, sin = jnp.cos(phase) @ member, jnp.sin(phase) @ member
    return a * cos[..., None] - times_i(a) * sin[..., None]


def turned_copies(
    a: Float[Array, "n k 2"], key: PRNGKeyArray, orders: Orders, *, options: OrbitOptions, turns: Turns
) -> Float[Array, "n k 2"]:
    """Centred coefficients, each turned by a random angle and, where asked for, mirrored at random.

    A finite group is exact on its own few angles, so nothing is turned.
    """
    if not turns.free:
        return a
    n = a.shape[0]
    k_turn, k_mirror = jax.random.split(key)
    a = turn_pairs(a, jax.random.uniform(k_turn, (n,), maxval=2 * jnp.pi), orders)
    if not options.mirrored or turns.mirrors:
        return a
    sign = jnp.where(jax.random.bernoulli(k_mirror, shape=(n,)), 1.0, -1.0)
    return a * jnp.stack([jnp.ones(n), sign], axis=-1)[:, None]


def encode_raw(net: OrbitNet, a: Float[Array, "n k 2"], *, n_angles: int) -> tuple[Array, Array]:
    """Encoder's mean and log-variance for centred coefficients."""
    scaled = a * jax.lax.stop_gradient(net.input_gain)[None, :, None]
    mirrored = mirror_pairs(scaled, net.orders, net.turns) if net.turns.mirrors else None
    return net.encoder(scaled, n_angles=net.turns.count(n_angles), mirrored=mirrored)


def loss_terms(
    net: OrbitNet,
    a: Float[Array, "n k 2"],
    model_error: Float[Array, " k"],
    orders: Orders,
    *,
    options: OrbitOptions,
    kl_weight: Array | float,
    key: PRNGKeyArray,
) -> Terms:
    """Evidence bound of a batch, one random turn and `options.draws` draws of z for each pattern.

    One draw gives the bound of Kingma & Welling (arXiv:1312.6114), several the tighter one of Burda,
    Grosse & Salakhutdinov (arXiv:1509.00519, equation 8), which matters where one pattern says little.
    """
    k_turn, k_draw, k_gauge = jax.random.split(key, 3)
    n = a.shape[0]
    turns = net.turns
    n_angles = turns.count(options.grid_angles)
    a = turned_copies(centred(net, a), k_turn, orders, options=options, turns=turns)
    # pattern and mirror image share the angles
    angles = options.train_angles // 2 if turns.mirrors and turns.free else options.train_angles
    mean, log_var = encode_raw(net, a, n_angles=max(angles, 1))
    constant = noise_constant(jnp.sqrt(1 + model_error), orders)
    noise = jax.random.normal(k_draw, (options.draws, *mean.shape))
    z = mean[None] + jnp.exp(0.5 * log_var)[None] * noise
    flat = jnp.broadcast_to(a[None], (options.draws, *a.shape)).reshape(-1, *a.shape[1:])
    template = net.decoder(z.reshape(-1, z.shape[-1]))
    views, inners, log_hand = hands(net, flat, template, model_error, orders, n_angles=n_angles)
    log_p = either_hand(log_hand)
    log_p = log_p.reshape(options.draws, n) - constant
    if options.model_error_share > 0:
        left = [
            expected_residual(view, template, inner, orders, n_angles=n_angles, free=turns.free)
            for view, inner in zip(views, inners, strict=True)
        ]
        residual = left[0]
        if turns.mirrors:
            share = jax.nn.sigmoid(log_hand[0] - log_hand[1])[:, None]
            residual = share * left[0] + (1 - share) * left[1]
    else:
        residual = jnp.ones((options.draws * n, a.shape[1]))
    if options.draws == 1:
        kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - 1 - log_var, axis=-1)
        bound = log_p[0] - kl_weight * kl
        weight = jnp.ones_like(log_p)
    else:
        ratio = 0.5 * jnp.sum(noise**2 - z**2 + log_var[None], axis=-1)  # log p(z) - log q(z|a)
        log_weight = log_p + kl_weight * ratio
        bound = jax.nn.logsumexp(log_weight, axis=0) - float(np.log(options.draws))
        weight = jax.nn.softmax(log_weight, axis=0)
    expected = jnp.mean(jnp.einsum("sn,snk->nk", weight, residual.reshape(options.draws, n, -1)), axis=0)
    gauge = options.gauge and turns.free  # fixed angles leave nothing to choose
    drift = gauge_drift(net.decoder, z[0], k_gauge, orders) if gauge else jnp.zeros(())
    return Terms(jnp.mean(bound), jax.lax.stop_gradient(expected), drift)


def hands(
    net: OrbitNet,
    a: Float[Array, "n k 2"],
    template: Float[Array, "n k 2"],
    model_error: Float[Array, " k"],
    orders: Orders,
    *,
    n_angles: int,
) -> tuple[list[Array], list[Overlap], list[Array]]:
    """Centred patterns and, where the group holds them, their mirror images.

    Returns
    -------
    the views (n, k, 2); their overlaps with the templates; the log likelihood (n,) of each, the angle
    integrated, without the constant of the Gaussian.
    """
    turns = net.turns
    views = [a, mirror_pairs(a, orders, turns)] if turns.mirrors else [a]
    sigma = jnp.sqrt(1 + model_error)[None, :, None]
    excess = net.counting.excess(template)
    inners = [overlap(view / sigma, template / sigma, orders, excess=excess) for view in views]
    return views, inners, [log_marginal(one, orders, n_angles=n_angles, free=turns.free)[0] for one in inners]


def either_hand(log_hand: list[Array]) -> Array:
    """Log likelihood (n,) of patterns that may be of either hand, from that of each."""
    if len(log_hand) == 1:
        return log_hand[0]
    return jnp.logaddexp(*log_hand) - float(np.log(2))


def gauge_drift(decoder: Decoder, z: Float[Array, "n d"], key: PRNGKeyArray, orders: Orders) -> Array:
    """Mean squared turn of the template per unit step of z in a random direction, rad².

    The likelihood does not see a turn g(z) of all templates (θ → θ + g(z)), so it is free to choose: the
    gauge in which templates turn least as z changes makes angles of different sites comparable.
    """
    direction = jax.random.normal(key, z.shape)
    template, change = jax.jvp(decoder, (z,), (direction,))
    m = jnp.asarray(orders.of, z.dtype)[None, :, None]
    along = -jnp.sum(m * change * times_i(template), axis=(-2, -1))
    size = jnp.sum(m * m * template**2, axis=(-2, -1))
    return jnp.mean((along / (size + 1.0)) ** 2)


def expected_residual(
    a: Array, template: Array, inner: Overlap, orders: Orders, *, n_angles: int, free: bool
) -> Array:
    """|a - b exp(-imθ)|² averaged over the angle's posterior, per real degree of freedom, (n, k)."""
    re, im = posterior_waves(inner, orders, n_angles=n_angles, free=free)
    member = jnp.asarray(orders.member).T
    cos, sin = re @ member, im @ member
    dot_re = a[..., 0] * template[..., 0] + a[..., 1] * template[..., 1]
    dot_im = a[..., 1] * template[..., 0] - a[..., 0] * template[..., 1]
    square = jnp.sum(a * a + template * template, axis=-1) - 2 * (cos * dot_re - sin * dot_im)
    return square / jnp.asarray(orders.freedom)[None]
