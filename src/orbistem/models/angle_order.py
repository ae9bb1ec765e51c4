"""What a pattern says of the rotation order of its site where its template says otherwise.

A decoder misses the symmetry of a site that few patterns show: at 10⁶ electrons the templates of the
threefold sites of MoS2 break it by 70 to 250 noise units², the patterns themselves by none. The angle of such
a pattern means something modulo 2π/n only, whatever its template draws. So each order is asked of the
pattern: with the template as it is, or with the template without all that breaks the order (angular orders
that are no multiples of n), which of the two explains the pattern?
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from orbistem.models.angle import Orders
from orbistem.models.angle_summary import ORDERS_TESTED
from orbistem.models.counting import Counting
from orbistem.models.orbit_vae import turn_pairs

__all__ = ["orders_of_patterns", "pattern_keeps"]

REFUTED_NATS = NEEDED_NATS = 9.0
"""What breaks the symmetry in the template must be refuted by so much. Noise refutes what is there (size x in
noise units) with the gain x ε - x²/2, ε standard normal: by 9 nats once in 90,000 patterns at most."""
AT_NOISE_SDS = 2.0
"""In the pattern itself it may lie this far above its noise, in standard deviations."""
NEAR = 0.01
"""Departures with this share of the scan's energy are looked for: coefficients that vary much over the scan
count most. MoS2 at 10⁶ electrons: threefold sites stay below 0 sd in 99 % of draws, neighbours with a
hundredth of their energy in odd orders lie above 4 sd in 95 %; with a tenth, below 1 and above 2."""
MIN_WEIGHT = 0.03
LOWEST_LEVEL = 0.3
"""Noise of a pattern is read from its own weak coefficients, between this share and all of the scan's."""
PIXEL_ERROR = 0.03
"""Square pixels show a turned pattern to within this share of its amplitude only (design, §1b.8)."""


def orders_of_patterns(
    a: Float[Array, "n k 2"],
    natural: Float[Array, "n k 2"],
    angle: Float[Array, " n"],
    model_error: Float[Array, " k"],
    signal: Float[Array, " k"],
    orders: Orders,
    *,
    counting: Counting,
) -> Array:
    """Which of `ORDERS_TESTED` patterns show against their templates, (n, order) bool.

    An order is shown where the template without its forbidden part explains the pattern better, by at least
    9 nats; where the pattern's own forbidden part is at its noise (`pattern_keeps`); and where the pattern
    needs the allowed part, by 9 nats over the azimuthal mean, so that there is an angle.

    Parameters
    ----------
    a
        Centred coefficients in noise units.
    natural
        Templates of the refined latents, as the decoder draws them.
    angle
        Refined angles.
    model_error, signal
        Variance of each coefficient over the scan beyond the shot noise: what no template explains, and all.
    counting
        Law of the noise.
    """
    precision = (1 / jnp.sqrt(1 + model_error))[None, :, None]
    upright = turn_pairs(a, -angle, orders)
    energy = jnp.sum((upright * precision) ** 2, axis=-1)

    def fit(template: Array) -> Array:
        inner = jnp.sum(upright * template * precision**2, axis=(-2, -1))
        return inner - jnp.sum((template * precision) ** 2, axis=(-2, -1)) / 2 - counting.excess(template)

    round_ = jnp.asarray(orders.of == 0, a.dtype)[None, :, None]
    whole, still, shown = fit(natural), fit(natural * round_), []
    for n in ORDERS_TESTED:
        allowed = jnp.asarray(orders.of % n == 0, a.dtype)
        kept = natural * allowed[None, :, None]
        refuted = fit(kept) - whole > REFUTED_NATS
        angular = fit(kept) - still > NEEDED_NATS
        shown.append(refuted & angular & pattern_keeps(energy, signal / (1 + model_error), orders, n))
    return jnp.stack(shown, axis=-1)


def pattern_keeps(
    energy: Float[Array, "n k"], signal: Float[Array, " k"], orders: Orders, n: int
) -> Float[Array, " n"]:
    """Whether the forbidden part of patterns lies at their noise, for a turn by 2π/n, (n,) bool.

    Its weighted energy, in all forbidden orders and in those that each step down from n forbids, may lie two
    standard deviations of a sum of weighted χ² above its mean; and square pixels may fake a share of 3 % of
    the amplitude.

    Parameters
    ----------
    energy
        Squared coefficients in units of their noise.
    signal
        Mean of what is signal in them over the scan.
    orders, n
        Of the coefficients, of the turn.
    """
    order = orders.of
    weight = jnp.maximum(NEAR * signal / (1 + NEAR * signal), MIN_WEIGHT)
    weak = (1 - weight) * jnp.asarray(order % n != 0, energy.dtype)
    freedom = jnp.asarray(orders.freedom)
    level = (energy @ weak) / jnp.maximum(weak @ freedom, 1e-6)
    level = jnp.clip(level, LOWEST_LEVEL, 1.0)
    faked = PIXEL_ERROR**2 * (energy @ (weight * jnp.asarray(order > 0, energy.dtype)))
    keeps = jnp.ones(energy.shape[0], bool)
    for part in _forbidden(order, n):
        use = weight * jnp.asarray(part, energy.dtype)
        spread = jnp.sqrt(2 * (use**2) @ freedom)
        most = level * (use @ freedom + AT_NOISE_SDS * spread) + faked
        keeps &= energy @ use <= most
    return keeps


def _forbidden(order: np.ndarray, n: int) -> list[np.ndarray]:
    """All orders that a turn by 2π/n forbids, then those that it forbids beyond a turn of a divisor of n."""
    steps = [d for d in range(2, n) if n % d == 0]
    return [order % n != 0, *((order % d == 0) & (order % n != 0) for d in steps)]
