"""The evidence bound as the training loop wants it, with the decoder's prior and the model error."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from orbistem.models.angle import Orders
from orbistem.models.orbit_vae import OrbitNet, OrbitOptions, loss_terms

HELDOUT_DRAWS = 4


class OrbitProblem:
    """Loss: -log p(a|z) + weight · KL + prior on the decoder's weights / number of patterns.

    The prior is a Gaussian of unknown width with that width integrated out (a multivariate Student
    law): strong while the weights are as small as at the start, weak once the data have made them grow.

    The model error follows the mean squared residual of each coefficient and is kept below a share of
    the signal: whatever the templates do not explain may not simply be called noise.
    """

    def __init__(
        self,
        orders: Orders,
        eigenvalue: np.ndarray,
        *,
        n_patterns: int,
        options: OrbitOptions,
        train_offset: bool,
    ) -> None:
        self.orders = orders
        self.options = options
        self.n_patterns = n_patterns
        self.train_offset = train_offset
        self.limit = jnp.asarray(options.model_error_share * np.maximum(eigenvalue - 1, 0), jnp.float32)
        self.rate = 0.02

    def loss(
        self, params: OrbitNet, extra: Array, batch: Array, kl_weight: Array, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        """Loss of a batch, and the model error that follows it."""
        if not self.train_offset:
            params = _frozen_offset(params)
        terms = loss_terms(
            params, batch, extra, self.orders, options=self.options, kl_weight=kl_weight, key=key
        )
        followed = (1 - self.rate) * extra + self.rate * (terms.residual - 1)
        bound = -terms.bound + self.options.gauge * terms.drift
        return bound + self.weight_prior(params) / self.n_patterns, jnp.clip(followed, 0.0, self.limit)

    def weight_prior(self, params: OrbitNet) -> Array:
        """Negative log prior of the decoder's weights, nats."""
        total = jnp.zeros(())
        for layer in params.decoder.net.layers:
            size = layer.weight.size
            expected = size / (3.0 * layer.weight.shape[1])  # of the initial uniform weights
            total = total + 0.5 * self.options.prior_strength * size * jnp.log1p(
                jnp.sum(layer.weight**2) / expected
            )
        return total

    def heldout(self, params: OrbitNet, extra: Array, batch: Array, key: PRNGKeyArray) -> Array:
        """Evidence bound of patterns not trained on, nats per pattern."""
        repeated = jnp.concatenate([batch] * HELDOUT_DRAWS)
        terms = loss_terms(params, repeated, extra, self.orders, options=self.options, kl_weight=1.0, key=key)
        return terms.bound


def _frozen_offset(params: OrbitNet) -> OrbitNet:
    frozen: OrbitNet = eqx.tree_at(lambda net: net.offset, params, jax.lax.stop_gradient(params.offset))
    return frozen
