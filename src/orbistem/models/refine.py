"""From the encoder's guess to the posterior: Gauss-Newton on (z, θ), then weighted samples.

The encoder amortises; the refinement asks the decoder itself. Damping: Levenberg (1944), Marquardt
(1963). The samples are drawn from the Gaussian at the refined point and weighted by the exact marginal
likelihood over the angle (self-normalised importance sampling). With an empirical prior its most likely nodes
are further samples, weighted by the balance heuristic (Veach & Guibas 1995, section 3): they stand for what
one Gaussian does not cover.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from orbistem.models.angle import (
    Orders,
    best_angle,
    correlation,
    log_marginal,
    noise_constant,
    overlap,
    posterior_waves,
    turn_overlap,
)
from orbistem.models.angle_zero import AngleZero, polar_azimuth
from orbistem.models.counting import Counting
from orbistem.models.empirical import Prior, log_density
from orbistem.models.layers import Decoder
from orbistem.models.orbit_vae import either_hand, turn_pairs
from orbistem.models.turns import ANY_TURN, Turns, mirror_pairs

PROPOSAL_WIDTH = 1.15
"""Samples are drawn from a Gaussian this much wider than the Laplace approximation."""


class Refined(NamedTuple):
    """z (n, d), angle (n,), and the curvature of the negative log posterior (n, d + 1, d + 1)."""

    z: Array
    angle: Array
    curvature: Array


def refine(
    decoder: Decoder,
    a: Float[Array, "n k 2"],
    z: Float[Array, "n d"],
    model_error: Float[Array, " k"],
    orders: Orders,
    *,
    counting: Counting,
    steps: int,
    n_angles: int,
    turns: Turns = ANY_TURN,
) -> Refined:
    """Damped Gauss-Newton on -log p(a, z, θ) from the encoder's z and the best angle there.

    Parameters
    ----------
    a
        Centred coefficients in noise units.
    z
        Start.
    steps
        Trial steps; one that does not lower the misfit is taken back and damped more.
    n_angles
        Grid for the starting angle.
    turns
        Where only some angles are allowed, the best of them at the start stays.
    """
    precision = jax.lax.rsqrt(1 + model_error)[None, :, None]
    template = decoder(z)
    inner = overlap(a * precision, template * precision, orders, excess=counting.excess(template))
    angle = best_angle(inner, orders, n_angles=turns.count(n_angles), free=turns.free)
    m = jnp.asarray(orders.of, a.dtype)[None]
    n_latent = z.shape[1]
    prior = jnp.diag(jnp.asarray([1.0] * n_latent + [1e-6 if turns.free else 1.0]))

    def one(z1: Array) -> Array:
        return decoder(z1[None])[0]

    def misfit(z: Array, angle: Array) -> Array:
        template = decoder(z)
        left = (turn_pairs(a, -angle, orders) - template) * precision
        cost = 0.5 * jnp.sum(left * left, axis=(-2, -1)) + counting.excess(template)
        return cost + 0.5 * jnp.sum(z * z, axis=-1)

    def slopes(z: Array, angle: Array) -> tuple[Array, Array]:
        template = decoder(z)
        by_z = jnp.moveaxis(jax.vmap(jax.jacfwd(one))(z), -1, 1)  # (n, d, k, 2)
        by_angle = jnp.stack([m * template[..., 1], -m * template[..., 0]], axis=-1)
        if not turns.free:
            by_angle = jnp.zeros_like(by_angle)
        jacobian = jnp.concatenate([by_z, by_angle[:, None]], axis=1)
        left = (turn_pairs(a, -angle, orders) - template) * precision**2
        left = left - (counting.mean(template) - template)
        scaled = (jacobian * precision[None]).reshape(*jacobian.shape[:2], -1)
        flat = jacobian.reshape(*jacobian.shape[:2], -1)
        downhill = jnp.einsum("ndk,nk->nd", flat, left.reshape(left.shape[0], -1))
        downhill = downhill - jnp.concatenate([z, jnp.zeros_like(angle)[:, None]], axis=-1)
        curvature = jnp.einsum("nik,njk->nij", scaled, scaled) + counting.variance(template, jacobian)
        return downhill, curvature + prior[None]

    def step(_: int, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        z, angle, damping, value = carry
        downhill, curvature = slopes(z, angle)
        size = jnp.diagonal(curvature, axis1=1, axis2=2)
        damped = curvature + damping[:, None, None] * jax.vmap(jnp.diag)(size)
        change = jnp.linalg.solve(damped, downhill[..., None])[..., 0]
        z_new, angle_new = z + change[:, :n_latent], angle + change[:, n_latent]
        value_new = misfit(z_new, angle_new)
        better = value_new < value
        z = jnp.where(better[:, None], z_new, z)
        angle = jnp.where(better, angle_new, angle)
        damping = jnp.clip(jnp.where(better, damping * 0.3, damping * 6.0), 1e-6, 1e6)
        return z, angle, damping, jnp.where(better, value_new, value)

    start = (z, angle, jnp.full_like(angle, 1e-2), misfit(z, angle))
    z, angle, _, _ = jax.lax.fori_loop(0, steps, step, start)
    _, curvature = slopes(z, angle)
    return Refined(z, jnp.mod(angle, 2 * jnp.pi), curvature)


class Posterior(NamedTuple):
    """Moments of the posterior of z, the evidence, and the mean pattern over z and θ."""

    mean: Array  # (n, d)
    covariance: Array  # (n, d, d)
    evidence: Array  # (n,)
    pattern: Array  # (n, k, 2), as measured: turned, centred
    power: Array  # (n, k) mean of the pattern's squared coefficients
    effective: Array  # (n,) effective share of the samples
    angle_field: Array  # (n, angle) log posterior of the angle, z integrated, from the refined angle on
    hand_odds: Array  # (n,) log odds that the pattern is not the mirror image of what was refined
    other_angle: Array  # (n,) best angle of the mirror image at the refined point
    other_field: Array  # (n, angle) as `angle_field`, for the mirror image, from `other_angle` on
    direction: Array  # (n, 2) mean of exp(iθ'), as (re, im), θ' the angle from the zero asked for
    other_direction: Array  # (n, 2) the same of the mirror image


def sample_posterior(
    decoder: Decoder,
    a: Float[Array, "n k 2"],
    refined: Refined,
    model_error: Float[Array, " k"],
    orders: Orders,
    *,
    counting: Counting,
    n_samples: int,
    n_angles: int,
    key: PRNGKeyArray,
    turns: Turns = ANY_TURN,
    prior: Prior | None = None,
    likely: Float[Array, "node n d"] | None = None,
    zero: AngleZero | None = None,
) -> Posterior:
    """Weighted samples of z around the refined point, the angle and the mirror integrated exactly.

    prior: density of z, standard normal if None; likely: its nodes that fit each pattern best; zero: of the
    angle, as training left it if None.
    """
    d = refined.z.shape[1]
    n_angles = turns.count(n_angles)
    sigma = jnp.sqrt(1 + model_error)[None, :, None]
    mirrored = mirror_pairs(a, orders, turns) if turns.mirrors else a
    other_angle = refined.angle
    if turns.mirrors:
        template = decoder(refined.z)
        excess = counting.excess(template)
        inner = overlap(mirrored / sigma, template / sigma, orders, excess=excess)
        other_angle = best_angle(inner, orders, n_angles=n_angles, free=turns.free)
    covariance = jnp.linalg.inv(refined.curvature)[:, :d, :d] * PROPOSAL_WIDTH**2
    factor = jnp.linalg.cholesky(covariance + 1e-12 * jnp.eye(d)[None])
    half_log_det = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)), axis=-1)
    constant = noise_constant(sigma[0, :, 0], orders)
    draws = jax.random.normal(
        key, (n_samples, 1, d)
    )  # the same for all, so that nothing depends on the batch
    samples = refined.z[None] + jnp.einsum("nij,sj->sni", factor, draws[:, 0])
    if likely is not None:
        samples = jnp.concatenate([samples, likely])
    member = jnp.asarray(orders.member).T

    def mean_direction(re: Array, im: Array, template: Array, zero: AngleZero) -> Array:
        own = list(orders.present).index(1)
        azimuth = polar_azimuth(template, zero)
        cos, sin = jnp.cos(azimuth), jnp.sin(azimuth)
        re, im = re[:, own], im[:, own]
        return jnp.stack([re * cos - im * sin, re * sin + im * cos], axis=-1)

    def view(pattern: Array, template: Array, start: Array) -> tuple[Array, Array, Array, Array]:
        """Log marginal of a view, mean pattern in it, log posterior on the grid, mean of exp(iθ')."""
        inner = overlap(pattern / sigma, template / sigma, orders, excess=counting.excess(template))
        template = counting.mean(template)
        log_p, _ = log_marginal(inner, orders, n_angles=n_angles, free=turns.free)
        re, im = posterior_waves(inner, orders, n_angles=n_angles, free=turns.free)
        cos, sin = re @ member, im @ member
        turned = jnp.stack(
            [
                template[..., 0] * cos + template[..., 1] * sin,
                template[..., 1] * cos - template[..., 0] * sin,
            ],
            axis=-1,
        )
        field = correlation(turn_overlap(inner, start, orders), orders, n_angles) - inner.total[:, None] / 2
        pointing = jnp.zeros((len(pattern), 2)) if zero is None else mean_direction(re, im, template, zero)
        return log_p, turned, field, pointing

    def log_sampled(z: Array) -> Array:
        """Log density with which z is a sample, times their number."""
        step = jax.scipy.linalg.solve_triangular(factor, (z - refined.z)[..., None], lower=True)[..., 0]
        own = float(np.log(n_samples)) - 0.5 * jnp.sum(step * step, axis=-1) - half_log_det
        if prior is None or likely is None:
            return own
        return jnp.logaddexp(own, float(np.log(prior.nodes.shape[0])) + log_density(prior, z))

    def one(z: Array) -> tuple[Any, ...]:
        template = decoder(z)
        log_p, turned, field, pointing = view(a, template, refined.angle)
        odds, other_field, other_pointing = jnp.full_like(log_p, jnp.inf), field, pointing
        if turns.mirrors:
            other_p, other_turned, other_field, other_pointing = view(mirrored, template, other_angle)
            odds = log_p - other_p
            other_turned = mirror_pairs(other_turned, orders, turns)
            share = jax.nn.sigmoid(odds)[:, None, None]
            turned = share * turned + (1 - share) * other_turned
            log_p = either_hand([log_p, other_p])
        before = -0.5 * jnp.sum(z * z, axis=-1) if prior is None else log_density(prior, z)
        log_ratio = log_p - constant + before - log_sampled(z)
        shift = (log_ratio - log_p)[:, None]
        power = jnp.sum(counting.mean(template) ** 2, axis=-1)
        fields = field + shift, other_field + shift
        return log_ratio, z, turned, power, odds, fields, (pointing, other_pointing)

    log_weight, z, turned, power, odds, fields, pointing = jax.lax.map(one, samples)
    weight = jax.nn.softmax(log_weight, axis=0)
    mean = jnp.einsum("sn,snd->nd", weight, z)
    apart = z - mean[None]
    both = [jax.nn.logsumexp(log_weight + jax.nn.log_sigmoid(way * odds), axis=0) for way in (1, -1)]
    spread = jnp.einsum("sn,sni,snj->nij", weight, apart, apart)
    few = jnp.sum(weight**2, axis=0)  # a sample covariance is too small by this share
    spread = spread + few[:, None, None] * covariance / PROPOSAL_WIDTH**2
    return Posterior(
        mean=mean,
        covariance=spread,
        evidence=jax.nn.logsumexp(log_weight, axis=0),
        pattern=jnp.einsum("sn,snkc->nkc", weight, turned),
        power=jnp.einsum("sn,snk->nk", weight, power),
        effective=1 / few / len(samples),
        angle_field=jax.nn.logsumexp(fields[0], axis=0),
        hand_odds=both[0] - both[1],
        other_angle=other_angle,
        other_field=jax.nn.logsumexp(fields[1], axis=0),
        direction=jnp.einsum("sn,snc->nc", weight, pointing[0]),
        other_direction=jnp.einsum("sn,snc->nc", weight, pointing[1]),
    )
