"""Where refinement starts: the encoder's z, and templates of a library; the best end goes on."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from orbistem.models.angle import Orders, correlation, overlap, turn_overlap, waves
from orbistem.models.angle_summary import INFER_ANGLES
from orbistem.models.orbit_vae import OrbitNet, centred, encode_raw
from orbistem.models.refine import Refined, refine
from orbistem.models.turns import Turns, mirror_pairs

MATCH_ANGLES = 72
LIBRARY_STARTS = 3


class Start(NamedTuple):
    """Refined from the best start.

    Attributes
    ----------
    view
        (n, k, 2) centred patterns, or their mirror images: what was refined.
    refined
        Their z and angle.
    mirrored
        (n,) where the view is the mirror image.
    """

    view: Array
    refined: Refined
    mirrored: Array


@eqx.filter_jit
def find_start(
    net: OrbitNet, a: Array, model_error: Array, library: Array, orders: Orders, *, steps: int
) -> Start:
    """Refine from the encoder's z and from the best templates; keep the end with the lowest misfit.

    Parameters
    ----------
    a
        Raw coefficients (n, k, 2).
    library
        Latent vectors spread over the scan, (entry, d).
    """
    a = centred(net, a)
    mean, _ = encode_raw(net, a, n_angles=INFER_ANGLES)
    from_library, seen_mirrored = best_templates(net, a, model_error, library, orders)
    starts = jnp.concatenate([mean[None], from_library])
    n_starts, n, d = starts.shape
    repeated = jnp.broadcast_to(a[None], (n_starts, *a.shape)).reshape(n_starts * n, *a.shape[1:])
    turns = net.turns
    mirrored = jnp.zeros(n_starts * n, bool)
    if turns.mirrors:
        first = _better_mirrored(net, a, mean, model_error, orders)
        mirrored = jnp.concatenate([first[None], seen_mirrored]).reshape(-1)
        repeated = viewed(repeated, mirrored, orders, turns)
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
    refined = Refined(ends.z[row], ends.angle[row], ends.curvature[row])
    return Start(repeated[row], refined, mirrored[row])


def viewed(a: Array, mirrored: Array, orders: Orders, turns: Turns) -> Array:
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


def best_templates(
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
