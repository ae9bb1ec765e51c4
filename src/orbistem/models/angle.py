"""The exact posterior of the angle: a trigonometric polynomial, evaluated on a grid.

With pattern coefficients a and a template b, both in units of their noise,

    E(θ) = |a|² + |b|² - 2 Re sum_m exp(imθ) sum_{k in m} conj(b_k) a_k

and log p(a | θ) = -E/2 - (degrees of freedom) log(2π)/2. No wrap-around, no variational family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

LOG_TWO_PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Orders:
    """The angular order of each coefficient; hashable, so that compiled functions may depend on it."""

    of_coefficient: tuple[int, ...]

    @property
    def of(self) -> np.ndarray:
        """Order of each coefficient, shape (k,)."""
        return np.asarray(self.of_coefficient, dtype=int)

    @property
    def present(self) -> np.ndarray:
        """Orders that occur, ascending, shape (order,)."""
        return np.asarray(np.unique(self.of))

    @property
    def member(self) -> np.ndarray:
        """1 where a coefficient belongs to an order, shape (k, order), float32."""
        return np.asarray(self.of[:, None] == self.present[None, :], dtype=np.float32)

    @property
    def freedom(self) -> np.ndarray:
        """Real degrees of freedom of each coefficient: 1 for order 0, else 2, shape (k,)."""
        return np.where(self.of > 0, 2.0, 1.0).astype(np.float32)


def make_orders(order_of_coefficient: np.ndarray) -> Orders:
    """Group coefficients by angular order."""
    return Orders(tuple(int(m) for m in order_of_coefficient))


class Overlap(NamedTuple):
    """conj(b) a summed within each order: re, im (n, order); total |a|² + 2 A(b) (n,), see `counting`."""

    re: Array
    im: Array
    total: Array


def times_i(a: Float[Array, "n k 2"]) -> Float[Array, "n k 2"]:
    """(re, im) pairs times i: (-im, re). Single parts, taken out, would be padded in every slope: slow."""
    return a[..., ::-1] * jnp.broadcast_to(jnp.asarray([-1.0, 1.0], a.dtype), a.shape)


def per_order(pairs: Float[Array, "n k 2"], orders: Orders) -> Float[Array, "n order"]:
    """Both parts of all coefficients of an order summed."""
    return pairs.reshape(*pairs.shape[:-2], -1) @ jnp.asarray(np.repeat(orders.member, 2, axis=0))


def overlap(
    a: Float[Array, "n k 2"], b: Float[Array, "n k 2"], orders: Orders, *, excess: Array | float = 0.0
) -> Overlap:
    """Contract patterns with templates order by order; excess: A(b) - |b|²/2 of the counting noise."""
    re = per_order(a * b, orders)
    im = per_order(a * times_i(b), orders)
    return Overlap(re, im, jnp.sum(a * a, axis=(-2, -1)) + jnp.sum(b * b, axis=(-2, -1)) + 2 * excess)


def noise_constant(sigma: Float[Array, " k"], orders: Orders) -> Array:
    """Constant of the Gaussian, nats: log likelihoods without it are too high by this."""
    return jnp.sum(jnp.asarray(orders.freedom) * (jnp.log(sigma) + LOG_TWO_PI / 2))


def waves(orders: Orders, n_angles: int) -> np.ndarray:
    """cos(mθ) and -sin(mθ) on a grid of angles, shape (2 order, angle), float32."""
    theta = 2 * np.pi * np.arange(n_angles) / n_angles
    phase = orders.present[:, None] * theta
    return np.concatenate([np.cos(phase), -np.sin(phase)]).astype(np.float32)


def correlation(inner: Overlap, orders: Orders, n_angles: int) -> Float[Array, "n angle"]:
    """Re sum_m exp(imθ) P_m on a grid of angles: large where template and pattern agree."""
    return jnp.concatenate([inner.re, inner.im], axis=-1) @ jnp.asarray(waves(orders, n_angles))


def turn_overlap(inner: Overlap, by: Float[Array, " n"], orders: Orders) -> Overlap:
    """The overlap as seen from a grid whose zero lies at `by`: P_m → P_m exp(im by)."""
    phase = by[:, None] * jnp.asarray(orders.present, inner.re.dtype)[None]
    cos, sin = jnp.cos(phase), jnp.sin(phase)
    return Overlap(inner.re * cos - inner.im * sin, inner.im * cos + inner.re * sin, inner.total)


def newton(inner: Overlap, theta: Float[Array, " n"], orders: Orders, *, steps: int) -> Float[Array, " n"]:
    """Climb from a grid angle to the peak of the correlation by safeguarded Newton steps."""
    m = jnp.asarray(orders.present, inner.re.dtype)

    def step(_: int, angle: Array) -> Array:
        here = turn_overlap(inner, angle, orders)
        slope = -(here.im @ m)
        curvature = -(here.re @ (m * m))
        change = jnp.where(curvature < 0, -slope / jnp.where(curvature < 0, curvature, -1.0), 0.0)
        limit = jnp.pi / (2 * jnp.maximum(m[-1], 1.0))
        return angle + jnp.clip(change, -limit, limit)

    climbed: Array = jax.lax.fori_loop(0, steps, step, theta)
    return climbed


def best_angle(
    inner: Overlap, orders: Orders, *, n_angles: int, steps: int = 3, free: bool = True
) -> Float[Array, " n"]:
    """Highest peak of the correlation: grid search, then Newton where angles off the grid are allowed."""
    height = correlation(inner, orders, n_angles)
    # the first of the highest: XLA's argmax takes eight times as long
    highest = height >= jnp.max(height, axis=-1, keepdims=True)
    number = jnp.arange(n_angles, dtype=height.dtype)[None]
    top = jnp.min(jnp.where(highest, number, n_angles - 1.0), axis=-1)
    return newton(inner, top * (2 * jnp.pi / n_angles), orders, steps=steps if free else 0)


def log_marginal(inner: Overlap, orders: Orders, *, n_angles: int, free: bool = True) -> tuple[Array, Array]:
    """Log of the mean of exp(-E/2) over all angles, on a grid that passes through the highest peak.

    The grid has a multiple of 12 points, so it then meets the related peaks of 2-, 3-, 4- and 6-fold
    sites as well. Peaks narrower than the grid are integrated as Gaussians. Where angles are not `free`, the
    grid is the finite set of those allowed.

    Returns
    -------
    log marginal (n,), without the constant of the Gaussian; the peak angle (n,).
    """
    peak = jax.lax.stop_gradient(best_angle(inner, orders, n_angles=n_angles, free=free))
    here = turn_overlap(inner, peak, orders)
    log_p = correlation(here, orders, n_angles) - inner.total[:, None] / 2
    if not free:
        return jax.nn.logsumexp(log_p, axis=-1) - float(np.log(n_angles)), peak
    m = jnp.asarray(orders.present, inner.re.dtype)
    curvature = here.re @ (m * m)
    spacing = 2 * jnp.pi / n_angles
    width = jnp.sqrt(2 * jnp.pi / jnp.maximum(curvature, 1e-6))
    narrow = jnp.minimum(jnp.log(width / spacing), 0.0)
    return jax.nn.logsumexp(log_p, axis=-1) - float(np.log(n_angles)) + jax.lax.stop_gradient(narrow), peak


def posterior_waves(
    inner: Overlap, orders: Orders, *, n_angles: int, free: bool = True
) -> tuple[Array, Array]:
    """Posterior mean of exp(imθ) for each order that occurs: real and imaginary part, (n, order)."""
    peak = jax.lax.stop_gradient(best_angle(inner, orders, n_angles=n_angles, free=free))
    here = turn_overlap(inner, peak, orders)
    weight = jax.nn.softmax(correlation(here, orders, n_angles), axis=-1)
    both = weight @ jnp.asarray(waves(orders, n_angles)).T
    half = both.shape[-1] // 2
    re, im = both[:, :half], -both[:, half:]
    phase = peak[:, None] * jnp.asarray(orders.present, inner.re.dtype)[None]
    cos, sin = jnp.cos(phase), jnp.sin(phase)
    return re * cos - im * sin, im * cos + re * sin
