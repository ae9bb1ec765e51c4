"""Shot noise that follows the signal: the potential of an exponential family of Poisson counts.

With b the natural parameters of a pattern's coefficients, log p(a | b) = b · a - A(b) - |a|²/2 - constant.
Without nodes A(b) = |b|²/2: Gaussian noise of unit variance, the same for all patterns.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LOWEST, HIGHEST = -8.0, 5.0
"""Range of the log of expected over mean counts; beyond it the noise stays that of the Gaussian."""


class Counting(eqx.Module):
    """A(b) - |b|²/2 by nodes, see `harmonics.count_nodes`; not trained.

    Attributes
    ----------
    waves
        (node, 2 k); no node: Gaussian noise.
    electrons
        (node,)
    """

    waves: Array
    electrons: Array

    @property
    def gaussian(self) -> bool:
        """Whether the noise is the same for all patterns."""
        return self.electrons.shape[0] == 0

    def excess(self, b: Float[Array, "n k 2"]) -> Float[Array, " n"]:
        """A(b) - |b|²/2."""
        if self.gaussian:
            return jnp.zeros(b.shape[0], b.dtype)
        log_ratio = self._log_ratio(b)
        beyond = jnp.expm1(log_ratio) - log_ratio - log_ratio * log_ratio / 2
        return beyond @ jax.lax.stop_gradient(self.electrons)

    def mean(self, b: Float[Array, "n k 2"]) -> Float[Array, "n k 2"]:
        """Expected coefficients, the gradient of A."""
        if self.gaussian:
            return b
        log_ratio = self._log_ratio(b)
        beyond = (jnp.expm1(log_ratio) - log_ratio) * jax.lax.stop_gradient(self.electrons)[None]
        return b + (beyond @ jax.lax.stop_gradient(self.waves)).reshape(b.shape)

    def variance(
        self, b: Float[Array, "n k 2"], directions: Float[Array, "n d k 2"]
    ) -> Float[Array, "n d d"]:
        """Noise of the coefficients along some directions beyond unit variance: v · (A'' - 1) · v."""
        n, d = directions.shape[:2]
        if self.gaussian:
            return jnp.zeros((n, d, d), b.dtype)
        along = directions.reshape(n, d, -1) @ jax.lax.stop_gradient(self.waves).T
        beyond = jnp.expm1(self._log_ratio(b)) * jax.lax.stop_gradient(self.electrons)[None]
        return jnp.einsum("ndp,np,nep->nde", along, beyond, along)

    def _log_ratio(self, b: Array) -> Array:
        flat = b.reshape(b.shape[0], -1) @ jax.lax.stop_gradient(self.waves).T
        return jnp.clip(flat, LOWEST, HIGHEST)


def gaussian_counting(n_coefficients: int) -> Counting:
    """Noise of unit variance."""
    return Counting(jnp.zeros((0, 2 * n_coefficients)), jnp.zeros(0))
