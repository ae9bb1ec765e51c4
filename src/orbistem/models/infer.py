"""Inference with a trained net: encoder, library of templates, refinement, posterior."""

from __future__ import annotations

import logging
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from orbistem.models.angle import Orders, best_angle, correlation, overlap, turn_overlap
from orbistem.models.angle_order import orders_of_patterns
from orbistem.models.angle_summary import (
    INFER_ANGLES,
    TEMPLATE_SLACK,
    UNKNOWN_SD,
    angle_summary,
    hand_summary,
    orders_held,
    turn_summary,
)
from orbistem.models.angle_zero import AngleZero, direction_sd, polar_azimuth
from orbistem.models.empirical import Prior
from orbistem.models.hands import USUAL_DOUBT, hand_in_doubt
from orbistem.models.orbit_vae import OrbitNet, centred, encode_raw
from orbistem.models.refine import Posterior, sample_posterior
from orbistem.models.starts import Start, best_templates, find_start, viewed
from orbistem.models.turns import Turns, mirror_pairs

logger = logging.getLogger(__name__)

MIN_BATCH = 8


class Inferred(NamedTuple):
    """Posterior of each pattern in the net's own latent coordinates."""

    z: Array  # posterior mean (n, d)
    covariance: Array  # (n, d, d)
    mode: Array  # (n, d)
    angle: Array
    angle_sd: Array
    angle_order: Array
    evidence: Array
    misfit: Array  # |a - b|² at the mode, shot noise units
    pattern: Array  # posterior mean pattern (n, k, 2), centred
    power: Array  # posterior mean of its squared coefficients (n, k)
    handedness: Array  # posterior mean of the mirror's sign: 1 as the template, -1 its mirror image
    odds: Array  # log odds of template against mirror image
    unlike: Array  # half the squared distance of the template from its mirror image
    size: Array  # half the squared length of the template
    hands_apart: Array  # angle as the template minus that as its mirror image, rad


@eqx.filter_jit
def encode_batch(net: OrbitNet, a: Array, *, n_angles: int = INFER_ANGLES) -> Array:
    """Encoder's mean of z for raw coefficients (n, k, 2)."""
    return encode_raw(net, centred(net, a), n_angles=n_angles)[0]


def infer_batch(
    net: OrbitNet,
    a: Array,
    model_error: Array,
    library: Array,
    orders: Orders,
    key: Array,
    *,
    steps: int,
    n_samples: int,
    prior: Prior | None = None,
    zero: AngleZero | None = None,
    hand_doubt: float | Array = USUAL_DOUBT,
) -> Inferred:
    """Full inference for one batch.

    Its three parts are compiled apart: the first and the last are the same with a prior and without.

    Parameters
    ----------
    a
        Raw coefficients (n, k, 2).
    library
        Latent vectors spread over the scan, (entry, d).
    prior
        Where the latents of the scan lie; None: a standard normal.
    zero
        Of which zero of the angle `angle_sd` and `angle_order` speak; `angle` keeps that of training.
    hand_doubt
        Share of the template by which the hands of a site may differ that has none, see `hands`.
    """
    start = find_start(net, a, model_error, library, orders, steps=steps)
    posterior = _sampled(net, start, model_error, orders, key, n_samples=n_samples, prior=prior, zero=zero)
    return _summarised(net, start, posterior, model_error, orders, zero=zero, hand_doubt=hand_doubt)


@eqx.filter_jit
def _sampled(
    net: OrbitNet,
    start: Start,
    model_error: Array,
    orders: Orders,
    key: Array,
    *,
    n_samples: int,
    prior: Prior | None,
    zero: AngleZero | None,
) -> Posterior:
    """Posterior around the refined points, and at the prior's nodes that fit best."""
    likely = None
    if prior is not None:
        likely, _ = best_templates(net, start.view, model_error, prior.nodes, orders, n_starts=prior.likely)
    return sample_posterior(
        net.decoder,
        start.view,
        start.refined,
        model_error,
        orders,
        counting=net.counting,
        n_samples=n_samples,
        n_angles=INFER_ANGLES,
        key=key,
        turns=net.turns,
        prior=prior,
        likely=likely,
        zero=zero,
    )


@eqx.filter_jit
def _summarised(
    net: OrbitNet,
    start: Start,
    posterior: Posterior,
    model_error: Array,
    orders: Orders,
    *,
    zero: AngleZero | None,
    hand_doubt: float | Array,
) -> Inferred:
    """Angle, its order, and which hand, from the posterior."""
    turns, (a, refined, mirrored) = net.turns, start
    natural = net.decoder(refined.z)
    template = net.counting.mean(natural)
    plain = overlap(a, template, orders)
    turned = turn_overlap(plain, refined.angle, orders)
    misfit = plain.total - 2 * jnp.sum(turned.re, axis=-1)
    covariance = jnp.linalg.inv(refined.curvature)
    narrow_sd = jnp.sqrt(jnp.maximum(covariance[:, -1, -1], 0.0))
    best, field, odds = refined.angle, posterior.angle_field, posterior.hand_odds
    direction = posterior.direction
    pattern = posterior.pattern
    precision = jax.lax.rsqrt(1 + model_error)[None, :, None]
    scaled = template * precision
    unlike, hands_apart = jnp.zeros_like(best), jnp.zeros_like(best)
    if turns.mirrors:
        unlike = _unlike_its_mirror_image(scaled, orders, turns)
        doubt = hand_in_doubt(scaled, hand_doubt)
        other = jnp.where(jnp.abs(odds) < doubt, mirrored, odds < 0)  # in doubt as the template
        ends = _peak(field, best), _peak(posterior.other_field, posterior.other_angle)
        hands_apart = ends[0] + ends[1] - turns.mirror_rad
        best = jnp.where(other, posterior.other_angle, best)
        field = jnp.where(other[:, None], posterior.other_field, field)
        direction = jnp.where(other[:, None], posterior.other_direction, direction)
        pattern = viewed(pattern, mirrored, orders, turns)
    own = orders_of_patterns(
        a, natural, refined.angle, model_error, net.decoder.scale**2, orders, counting=net.counting
    )
    if turns.free:
        with_itself = overlap(scaled, scaled, orders)
        symmetric = orders_held(correlation(with_itself, orders, INFER_ANGLES), slack=TEMPLATE_SLACK)
        angle, sd, order = angle_summary(field, best, narrow_sd, symmetric, own)
        if zero is not None:
            sd = direction_sd(direction, _azimuth_slope(net, refined.z, zero), covariance)
            order = jnp.where(sd < UNKNOWN_SD, order, 0)
    else:
        angle, sd, order = turn_summary(field, best, own)
    handedness = jnp.ones_like(angle)
    if turns.mirrors:
        as_image = mirrored ^ other
        angle = jnp.where(as_image, turns.mirror_rad - angle, angle)
        here = _odds_here(start, scaled, precision, orders, turns)
        hand = hand_summary(odds, here, unlike, doubt)
        hand = jnp.where(mirrored, -1.0, 1.0) * hand
        handedness = jnp.where(as_image, hand, jnp.maximum(hand, 0.0))
    return Inferred(
        posterior.mean,
        posterior.covariance,
        refined.z,
        angle,
        sd,
        order,
        posterior.evidence,
        misfit,
        pattern,
        posterior.power,
        handedness,
        jnp.where(mirrored, -odds, odds),
        unlike,
        jnp.sum(scaled**2, axis=(-2, -1)) / 2,
        hands_apart,
    )


def _peak(field: Array, start: Array) -> Array:
    """Best angle of a log posterior (n, angle) on a grid that starts at `start`, (n,)."""
    return start + jnp.argmax(field, axis=-1).astype(field.dtype) * (2 * jnp.pi / field.shape[1])


def _azimuth_slope(net: OrbitNet, z: Array, zero: AngleZero) -> Array:
    """Change of the azimuth in which templates point with z, (n, d)."""

    def one(z1: Array) -> Array:
        return polar_azimuth(net.counting.mean(net.decoder(z1[None])), zero)[0]

    slope: Array = jax.vmap(jax.jacfwd(one))(z)
    return slope


def _unlike_its_mirror_image(template: Array, orders: Orders, turns: Turns) -> Array:
    """Half the squared distance of templates (n, k, 2) from their mirror images, turned to fit best, (n,)."""
    alike = _fit_of_mirror_image(template, template, orders, turns)
    return jnp.maximum(jnp.sum(template**2, axis=(-2, -1)) - alike, 0.0)


def _odds_here(start: Start, template: Array, precision: Array, orders: Orders, turns: Turns) -> Array:
    """Log odds (n,) of the refined views against their mirror images, by scaled templates (n, k, 2) alone."""
    view = start.view * precision
    seen = turn_overlap(overlap(view, template, orders), start.refined.angle, orders)
    return jnp.sum(seen.re, axis=-1) - _fit_of_mirror_image(view, template, orders, turns)


def _fit_of_mirror_image(view: Array, template: Array, orders: Orders, turns: Turns) -> Array:
    """Inner product (n,) of the mirror images of views (n, k, 2) with templates, turned to fit best."""
    inner = overlap(mirror_pairs(view, orders, turns), template, orders)
    angle = best_angle(inner, orders, n_angles=turns.count(INFER_ANGLES), free=turns.free)
    return jnp.sum(turn_overlap(inner, angle, orders).re, axis=-1)


def too_little_memory(fault: jax.errors.JaxRuntimeError) -> bool:
    """Whether the device ran out of memory."""
    return "RESOURCE_EXHAUSTED" in str(fault)


def infer_all(
    net: OrbitNet,
    pairs: np.ndarray,
    model_error: np.ndarray,
    library: np.ndarray,
    orders: Orders,
    *,
    steps: int = 15,
    n_samples: int = 32,
    batch: int = 256,
    seed: int = 0,
    prior: Prior | None = None,
    zero: AngleZero | None = None,
    hand_doubt: float = USUAL_DOUBT,
) -> dict[str, np.ndarray]:
    """Inference for any number of patterns, in batches of one compiled shape.

    One batch is on the device at a time; where even that is too much, smaller ones follow.
    """
    parts: list[list[np.ndarray]] = []
    error = jnp.asarray(model_error, jnp.float32)
    entries = jnp.asarray(library, jnp.float32)
    key = jax.random.key(seed)
    start = 0
    while start < len(pairs):
        block = np.asarray(pairs[start : start + batch], dtype=np.float32)
        n = len(block)
        if n < batch:
            block = np.concatenate([block, np.zeros((batch - n, *block.shape[1:]), np.float32)])
        try:
            found = infer_batch(
                net,
                jnp.asarray(block),
                error,
                entries,
                orders,
                key,
                steps=steps,
                n_samples=n_samples,
                prior=prior,
                zero=zero,
                hand_doubt=jnp.float32(hand_doubt),
            )
            parts.append([np.asarray(x)[:n] for x in found])
        except jax.errors.JaxRuntimeError as fault:
            if not too_little_memory(fault) or batch <= MIN_BATCH:
                raise
            batch //= 2
            logger.warning("the device has too little memory; going on with %d patterns at once", batch)
            continue
        start += n
    return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(Inferred._fields)}
