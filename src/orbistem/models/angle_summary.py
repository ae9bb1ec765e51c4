"""What is said of the posterior of angle and hand: peak, width, rotation order, and if there is a hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

__all__ = [
    "INFER_ANGLES",
    "ORDERS_TESTED",
    "TEMPLATE_SLACK",
    "UNKNOWN_SD",
    "angle_summary",
    "hand_summary",
    "orders_held",
    "turn_summary",
]

INFER_ANGLES = 192
ORDERS_TESTED = (2, 3, 4, 6)
CLAIM_NATS = 3.0
"""Peaks of the angle within this many nats are equally good; a symmetry needs valleys this deep."""
FITTED_NATS = 18.0
"""What the latents fit to the noise parts the peaks of a symmetric site. Fitting a displacement in the plane
gains χ²/2 of two degrees of freedom at one peak and loses up to three times that at the opposite one: 2 χ²
exceeds 18 once in a hundred sites."""
TEMPLATE_SHARE = 0.01
"""A decoder draws a symmetric site to within so much of the depth of its valleys (graphene at 10⁷: 0.7 %)."""
DEPTH_SHARE = 0.1
"""Peaks that differ by more than this share of the depth of the valleys are not equal, however deep."""
TEMPLATE_SLACK = 2.0
"""The correlation of a template with itself drops by twice what the noise parts the peaks."""


UNKNOWN_SD = float(np.pi / np.sqrt(3.0))
"""Standard deviation of an angle of which nothing is known, rad."""


def orders_held(field: Array, *, slack: float = 1.0) -> Array:
    """Which of `ORDERS_TESTED` a log posterior of the angle (n, angle) shows, (n, order).

    Turns by 2π/n from the highest peak reach peaks nearly as high, that stand three nats above the valleys
    between. Nearly: within three nats, or, where the valleys are deep, within what fitted noise and the
    decoder part equal peaks by, times `slack`.
    """
    top = jnp.argmax(field, axis=-1)
    shifted = jax.vmap(lambda row, by: jnp.roll(row, -by))(field, top)
    held = []
    for n in ORDERS_TESTED:
        related = jnp.min(shifted[:, INFER_ANGLES // n :: INFER_ANGLES // n], axis=-1)
        between = jnp.max(shifted[:, INFER_ANGLES // (2 * n) :: INFER_ANGLES // n], axis=-1)
        drop, depth = shifted[:, 0] - related, shifted[:, 0] - between
        held.append((drop < _allowed(depth, slack)) & (depth > drop + CLAIM_NATS))
    return jnp.stack(held, axis=-1)


def _allowed(depth: Array, slack: float = 1.0) -> Array:
    """By how many nats equal peaks may differ that valleys of some depth part."""
    fitted = jnp.minimum(DEPTH_SHARE * depth, FITTED_NATS + TEMPLATE_SHARE * depth)
    return jnp.maximum(CLAIM_NATS, slack * fitted)


def angle_summary(
    field: Array, refined: Array, narrow_sd: Array, symmetric: Array, of_pattern: Array | None = None
) -> tuple[Array, Array, Array]:
    """Peak, width and rotation order of the angle's posterior.

    Parameters
    ----------
    field
        Log posterior of the angle (n, angle) on a grid that starts at `refined`.
    refined
        Angle of the refined point (n,): the peak, where the posterior is narrower than the grid.
    narrow_sd
        Its sd from the curvature of the joint posterior.
    symmetric
        Rotation orders that the template has by itself (n, order).
    of_pattern
        Those that the pattern shows against its template (n, order), see `angle_order`; None: none.

    Notes
    -----
    The order is the largest n that both the posterior and the template show, so that neither the noise of one
    pattern nor a template that its pattern contradicts claims a symmetry; or that the pattern shows where its
    template is refuted; 0 where all angles stay within three nats.
    """
    spacing = 2 * jnp.pi / INFER_ANGLES
    top = jnp.argmax(field, axis=-1)
    shifted = jax.vmap(lambda row, by: jnp.roll(row, -by))(field, top)
    peak, after, before = shifted[:, 0], shifted[:, 1], shifted[:, -1]
    bend = 2 * peak - after - before
    step = jnp.where(bend > 0, 0.5 * (after - before) / jnp.where(bend > 0, bend, 1.0), 0.0)
    wide = narrow_sd > spacing
    angle = jnp.where(wide, refined + (top.astype(step.dtype) + jnp.clip(step, -0.5, 0.5)) * spacing, refined)
    wide_sd = jnp.where(bend > 0, spacing * jax.lax.rsqrt(jnp.maximum(bend, 1e-9)), jnp.inf)
    sd = jnp.where(wide, jnp.maximum(wide_sd, spacing), narrow_sd)
    flat = peak - jnp.min(shifted, axis=-1) < CLAIM_NATS
    sd = jnp.where(flat, UNKNOWN_SD, jnp.minimum(sd, UNKNOWN_SD))
    held = orders_held(field) & symmetric
    held = held if of_pattern is None else held | of_pattern
    order = jnp.max(jnp.where(held, jnp.asarray(ORDERS_TESTED), 1), axis=-1)
    return angle, sd, jnp.where(flat, 0, order)


def turn_summary(field: Array, start: Array, of_pattern: Array | None = None) -> tuple[Array, Array, Array]:
    """Best of a finite set of angles, spread of its posterior, and rotation order.

    Parameters
    ----------
    field
        Log posterior (n, angle) at equal steps from `start` on.
    of_pattern
        Orders that the pattern shows against its template, (n, order) as `ORDERS_TESTED`; None: none.

    Notes
    -----
    The order is the largest divisor of the number of angles for which all related ones are nearly as good as
    the best one (`orders_held`) and all others three nats worse, or that the pattern shows where its template
    is refuted: with all angles of the group related there are no valleys by which the error of a template
    could be judged. The spread is that of the angle modulo 2π/order.
    """
    count = field.shape[1]
    top = jnp.argmax(field, axis=-1)
    shifted = jax.vmap(lambda row, by: jnp.roll(row, -by))(field, top) - jnp.max(field, axis=-1)[:, None]
    angle = start + top.astype(field.dtype) * (2 * jnp.pi / count)
    order = jnp.ones(top.shape, jnp.int32)
    for n in (n for n in (*ORDERS_TESTED, count) if count % n == 0):
        drop = -jnp.min(shifted[:, :: count // n], axis=-1)
        others = shifted[:, np.arange(count) % (count // n) != 0]
        holds = drop < CLAIM_NATS
        if others.shape[1]:
            depth = -jnp.max(others, axis=-1)
            holds = (drop < _allowed(depth)) & (depth > drop + CLAIM_NATS)
        if of_pattern is not None and n in ORDERS_TESTED:
            holds = holds | of_pattern[:, ORDERS_TESTED.index(n)]
        order = jnp.where(holds, jnp.maximum(order, n), order)
    step = 2 * jnp.pi * jnp.arange(count, dtype=field.dtype)[None] / count
    period = 2 * jnp.pi / order.astype(field.dtype)[:, None]
    apart = jnp.mod(step + period / 2, period) - period / 2
    square = jnp.sum(jax.nn.softmax(shifted, axis=-1) * apart**2, axis=-1)
    return angle, jnp.minimum(jnp.sqrt(square), UNKNOWN_SD), order


def hand_summary(odds: Array, here: Array, unlike: Array, doubt: Array | float = 0.0) -> Array:
    """Probability of one hand minus that of the other, for sites that may have none, (n,) in (-1, 1).

    Parameters
    ----------
    odds
        Log odds L of the two hands over all templates, were a template's asymmetry certain, (n,).
    here
        Log odds L₀ of the two hands of the best template alone, (n,): the mirror image of a pattern may be
        the template of other latents, which makes L less.
    unlike
        Half the squared distance D of the best template from its own mirror image, in noise units (n,).
    doubt
        Log odds S that a decoder's error makes on a mirror line (`hands.hand_in_doubt`), (n,).

    Notes
    -----
    A template is never quite symmetric, so a site on a mirror line seems to have a hand by chance. A third
    template stands midway, that of a site without a hand: it fits worse than the hands of the best template
    by D/4 - L₀/2 and D/4 + L₀/2. With y = D/4 + (|L| - |L₀|)/2 and the odds 1 : 1 of a hand beforehand,
    sinh(L/2) / (cosh(L/2) + exp(y)), and y no less than S/2.
    """
    x = odds / 2
    midway = unlike / 4 + (jnp.abs(odds) - jnp.abs(here)) / 2
    y = jnp.maximum(midway, doubt / 2)
    top = jnp.maximum(jnp.abs(x), y)
    forth, back, none = jnp.exp(x - top), jnp.exp(-x - top), jnp.exp(y - top)
    return (forth - back) / (forth + back + 2 * none)
