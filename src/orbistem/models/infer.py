"""Inference with a trained net: encoder, library of templates, refinement, posterior."""

from __future__ import annotations

import logging
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from orbistem.models.angle import Orders, best_angle, correlation, overlap, turn_overlap, waves
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
from orbistem.models.refine import Refined, refine, sample_posterior
from orbistem.models.turns import Turns, mirror_pairs

logger = logging.getLogger(__name__)

MATCH_ANGLES = 72
LIBRARY_STARTS = 3
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


@eqx.filter_jit
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

    Several starts are refined, the encoder's z and those entries of the library whose templates fit best;
    the one with the lowest misfit goes on.

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
    a = centred(net, a)
    turns = net.turns
    mean, _ = encode_raw(net, a, n_angles=INFER_ANGLES)
    refined, mirrored = _best_start(net, a, mean, model_error, library, orders, steps=steps)
    a = _viewed(a, mirrored, orders, turns)
    likely = None
    if prior is not None:
        likely, _ = _best_templates(net, a, model_error, prior.nodes, orders, n_starts=prior.likely)
    posterior = sample_posterior(
        net.decoder,
        a,
        refined,
        model_error,
        orders,
        counting=net.counting,
        n_samples=n_samples,
        n_angles=INFER_ANGLES,
        key=key,
        turns=turns,
        prior=prior,
        likely=likely,
        zero=zero,
    )
    natural = net.decoder(refined.z)
    template = net.counting.mean(natural)
    plain = overlap(a, template, orders)
    turned = turn_overlap(plain, refined.angle, orders)
    misfit = plain.total - 2 * jnp.sum(turned.re, axis=-1)
    covariance = jnp.linalg.inv(refined.curvature)
    narrow_sd = jnp.sqrt(jnp.maximum(covariance[:, -1, -1], 0.0))
    start, field, odds = refined.angle, posterior.angle_field, posterior.hand_odds
    direction = posterior.direction
    pattern = posterior.pattern
    scaled = template * jax.lax.rsqrt(1 + model_error)[None, :, None]
    unlike, hands_apart = jnp.zeros_like(start), jnp.zeros_like(start)
    if turns.mirrors:
        unlike = _unlike_its_mirror_image(scaled, orders, turns)
        doubt = hand_in_doubt(scaled, hand_doubt)
        other = jnp.where(jnp.abs(odds) < doubt, mirrored, odds < 0)  # in doubt as the template
        ends = _peak(field, start), _peak(posterior.other_field, posterior.other_angle)
        hands_apart = ends[0] + ends[1] - turns.mirror_rad
        start = jnp.where(other, posterior.other_angle, start)
        field = jnp.where(other[:, None], posterior.other_field, field)
        direction = jnp.where(other[:, None], posterior.other_direction, direction)
        pattern = _viewed(pattern, mirrored, orders, turns)
    own = orders_of_patterns(
        a, natural, refined.angle, model_error, net.decoder.scale**2, orders, counting=net.counting
    )
    if turns.free:
        with_itself = overlap(scaled, scaled, orders)
        symmetric = orders_held(correlation(with_itself, orders, INFER_ANGLES), slack=TEMPLATE_SLACK)
        angle, sd, order = angle_summary(field, start, narrow_sd, symmetric, own)
        if zero is not None:
            sd = direction_sd(direction, _azimuth_slope(net, refined.z, zero), covariance)
            order = jnp.where(sd < UNKNOWN_SD, order, 0)
    else:
        angle, sd, order = turn_summary(field, start, own)
    handedness = jnp.ones_like(angle)
    if turns.mirrors:
        as_image = mirrored ^ other
        angle = jnp.where(as_image, turns.mirror_rad - angle, angle)
        hand = hand_summary(odds, unlike, doubt)
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
    inner = overlap(mirror_pairs(template, orders, turns), template, orders)
    angle = best_angle(inner, orders, n_angles=turns.count(INFER_ANGLES), free=turns.free)
    alike = jnp.sum(turn_overlap(inner, angle, orders).re, axis=-1)
    return jnp.maximum(jnp.sum(template**2, axis=(-2, -1)) - alike, 0.0)


def _best_start(
    net: OrbitNet, a: Array, mean: Array, model_error: Array, library: Array, orders: Orders, *, steps: int
) -> tuple[Refined, Array]:
    """Refine from the encoder's z and from the best templates of the library; keep the best end.

    Second is whether the mirror image of a pattern was refined in its place, (n,).
    """
    from_library, seen_mirrored = _best_templates(net, a, model_error, library, orders)
    starts = jnp.concatenate([mean[None], from_library])
    n_starts, n, d = starts.shape
    repeated = jnp.broadcast_to(a[None], (n_starts, *a.shape)).reshape(n_starts * n, *a.shape[1:])
    turns = net.turns
    mirrored = jnp.zeros(n_starts * n, bool)
    if turns.mirrors:
        first = _better_mirrored(net, a, mean, model_error, orders)
        mirrored = jnp.concatenate([first[None], seen_mirrored]).reshape(-1)
        repeated = _viewed(repeated, mirrored, orders, turns)
    ends = refine(
        net.decoder,
        repeated,
        starts.reshape(n_starts * n, d),
        model_error,
        orders,
        counting=net.counting,
        steps=steps,
        n_angles=INFER_ANGLES,
        turns=turns,
    )
    cost = _joint(net, repeated, ends, model_error, orders).reshape(n_starts, n)
    row = jnp.argmin(cost, axis=0) * n + jnp.arange(n)
    return Refined(ends.z[row], ends.angle[row], ends.curvature[row]), mirrored[row]


def _viewed(a: Array, mirrored: Array, orders: Orders, turns: Turns) -> Array:
    """Patterns, or their mirror images where `mirrored`."""
    if not turns.mirrors:
        return a
    return jnp.where(mirrored[:, None, None], mirror_pairs(a, orders, turns), a)


def _better_mirrored(net: OrbitNet, a: Array, z: Array, model_error: Array, orders: Orders) -> Array:
    """Whether the mirror images fit the templates of z better, (n,)."""
    precision = jax.lax.rsqrt(1 + model_error)[None, :, None]
    template = net.decoder(z) * precision
    n_angles = net.turns.count(MATCH_ANGLES)
    both = [
        jnp.max(correlation(overlap(view * precision, template, orders), orders, n_angles), axis=-1)
        for view in (a, mirror_pairs(a, orders, net.turns))
    ]
    return both[1] > both[0]


def _joint(net: OrbitNet, a: Array, refined: Refined, model_error: Array, orders: Orders) -> Array:
    precision = jax.lax.rsqrt(1 + model_error)[None, :, None]
    template = net.decoder(refined.z)
    inner = overlap(a * precision, template * precision, orders, excess=net.counting.excess(template))
    turned = turn_overlap(inner, refined.angle, orders)
    return inner.total / 2 - jnp.sum(turned.re, axis=-1) + jnp.sum(refined.z**2, axis=-1) / 2


def _best_templates(
    net: OrbitNet,
    a: Array,
    model_error: Array,
    library: Array,
    orders: Orders,
    *,
    n_starts: int = LIBRARY_STARTS,
) -> tuple[Array, Array]:
    """Z of the library entries that fit best at their best angles, (start, n, d); where as mirror image."""
    precision = jax.lax.rsqrt(1 + model_error)[None, :, None]
    natural = net.decoder(library)
    templates = natural * precision
    scaled = a * precision
    size = jnp.sum(templates**2, axis=(-2, -1)) / 2 + net.counting.excess(natural)
    turns = net.turns
    grid = jnp.asarray(waves(orders, turns.count(MATCH_ANGLES)))
    member = jnp.asarray(orders.member)

    def fit_of(scaled: Array) -> Array:
        def one(entry: tuple[Array, Array, Array]) -> Array:
            template, weight, z = entry
            real, imaginary = template[None, :, 0], template[None, :, 1]
            re = (scaled[..., 0] * real + scaled[..., 1] * imaginary) @ member
            im = (scaled[..., 1] * real - scaled[..., 0] * imaginary) @ member
            best = jnp.max(jnp.concatenate([re, im], axis=-1) @ grid, axis=-1)
            return best - weight - jnp.sum(z**2) / 2

        fit: Array = jax.lax.map(one, (templates, size, library))
        return fit

    fit = fit_of(scaled)
    n_starts = min(n_starts, library.shape[0])
    if not turns.mirrors:
        best = jax.lax.top_k(fit.T, n_starts)[1].T
        return library[best], jnp.zeros(best.shape, bool)
    fit = jnp.concatenate([fit, fit_of(mirror_pairs(scaled, orders, turns))])
    best = jax.lax.top_k(fit.T, n_starts)[1].T
    return library[best % library.shape[0]], best >= library.shape[0]


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
            if "RESOURCE_EXHAUSTED" not in str(fault) or batch <= MIN_BATCH:
                raise
            batch //= 2
            logger.warning("the device has too little memory; going on with %d patterns at once", batch)
            continue
        start += n
    return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(Inferred._fields)}
