"""By how much latents scatter when a site is measured again, beside their posterior standard deviation.

The posterior's sd says how far the truth may lie from a latent. Repeats of a measurement lie nearer to each
other: the prior of inference draws all of them to the same likely latents. By how much nearer is found by
repeating: noise is added to templates, and these are encoded as patterns are.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from orbistem.models.angle import Orders
from orbistem.models.orbit import ACTIVE_RATIO, LatentFrame
from orbistem.models.orbit_vae import OrbitNet, centred, turn_pairs

REPEATED, DRAWS = 256, 2
"""Templates that are measured again, and how often; their share within one sd is then known to 0.02."""
ONE_SD = 0.6827
"""Share of a Gaussian within one standard deviation."""
LEAST = 1e-3


def scatter_of_repeats(
    posterior: Callable[[np.ndarray], dict[str, np.ndarray]],
    net: OrbitNet,
    library: np.ndarray,
    model_error: np.ndarray,
    frame: LatentFrame,
    orders: Orders,
    *,
    seed: int,
) -> np.ndarray:
    """Standard deviation of repeats over that of the posterior, (d,), in the reported frame.

    Latents that are not in use keep that of the posterior: nothing moves them, which says nothing about where
    they are.

    Parameters
    ----------
    posterior
        Inference as patterns get it, from coefficients (n, k, 2).
    library
        Latents spread over the scan, (entry, d): up to `REPEATED` of their templates are repeated.
    model_error
        (k,), counts as noise.
    """
    rng = np.random.default_rng(seed)
    z = library[np.linspace(0, len(library) - 1, min(REPEATED, len(library))).astype(int)]
    template = net.counting.mean(net.decoder(jnp.asarray(z, jnp.float32)))
    if net.turns.free:
        angle = rng.uniform(0, 2 * np.pi, len(z))
        template = turn_pairs(template, jnp.asarray(angle, jnp.float32), orders)
    still = np.asarray(template - centred(net, jnp.zeros((1, *template.shape[1:]))))
    noise = rng.standard_normal((DRAWS, *still.shape)) * np.sqrt(1 + model_error)[:, None]
    noise[..., orders.of == 0, 1] = 0
    before = posterior(still)["z"]
    after = posterior((still + noise).astype(np.float32).reshape(-1, *still.shape[1:]))
    moved = np.abs((after["z"] - np.tile(before, (DRAWS, 1))) @ frame.matrix)
    variance = np.einsum("nij,ik,jk->nk", after["covariance"], frame.matrix, frame.matrix)
    ratio = np.quantile(moved / np.sqrt(np.maximum(variance, LEAST**2)), ONE_SD, axis=0)
    return np.where(frame.activity >= ACTIVE_RATIO, np.maximum(ratio, LEAST), 1.0)
