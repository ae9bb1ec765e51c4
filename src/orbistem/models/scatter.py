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

DRAWS = 2
"""How often each template is measured again."""
ONE_SD = 0.6827
"""Share of a Gaussian within one standard deviation."""
LEAST = 1e-3


def scatter_of_repeats(
    posterior: Callable[[np.ndarray], dict[str, np.ndarray]],
    net: OrbitNet,
    latents: np.ndarray,
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
    latents
        Of the templates that are repeated, spread over the scan, (n, d).
    model_error
        (k,), counts as noise.
    """
    rng = np.random.default_rng(seed)
    template = net.counting.mean(net.decoder(jnp.asarray(latents, jnp.float32)))
    if net.turns.free:
        angle = rng.uniform(0, 2 * np.pi, len(latents))
        template = turn_pairs(template, jnp.asarray(angle, jnp.float32), orders)
    still = np.asarray(template - centred(net, jnp.zeros((1, *template.shape[1:]))))
    noise = unit_noise((DRAWS, *still.shape), orders, rng) * np.sqrt(1 + model_error)[:, None]
    before = posterior(still)["z"]
    after = posterior((still + noise).astype(np.float32).reshape(-1, *still.shape[1:]))
    moved = np.abs((after["z"] - np.tile(before, (DRAWS, 1))) @ frame.matrix)
    stated = np.maximum(frame.posterior_sd(after["covariance"]), LEAST)
    ratio = np.quantile(moved / stated, ONE_SD, axis=0)
    return np.where(frame.activity >= ACTIVE_RATIO, np.maximum(ratio, LEAST), 1.0)


def unit_noise(shape: tuple[int, ...], orders: Orders, rng: np.random.Generator) -> np.ndarray:
    """Noise of coefficients (…, k, 2): variance 1 for each real degree of freedom; order 0 is real."""
    noise = rng.standard_normal(shape)
    noise[..., orders.of == 0, 1] = 0
    return noise
