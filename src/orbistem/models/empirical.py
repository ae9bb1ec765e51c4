"""Where the latents of a scan lie: the prior of inference, in place of the standard normal of training.

A crystal fills a thin surface of the latent space. Under a standard normal prior the noise of a pattern moves
its latents off that surface, to templates that no position of the scan has. A density around the library of
templates keeps them there (empirical Bayes; the aggregate posterior of Tomczak & Welling, arXiv:1705.07120).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BROAD_SHARE = 0.05
"""Weight of the standard normal beside the density, for patterns that the scan did not have."""
LEAST_WIDTH = 0.7
"""Width of the Gaussians in median posterior sd; 0.5 and 0.8 give the same evidence within 0.05 nats."""
NEIGHBOUR = 3
LIKELY_STEP, MOST_LIKELY, LIKELY_EXCESS = 32, 192, 6.0
"""Nodes that are samples of a posterior: six times those within one sd, 32 to 192; where that would be more,
there are fewer nodes."""


class Prior(eqx.Module):
    """Equal Gaussians around nodes, and a little of the standard normal.

    Attributes
    ----------
    nodes
        (node, d) in the net's latent coordinates.
    precision
        (d, d), inverse covariance of each Gaussian.
    likely
        How many nodes stand for the posterior of one pattern.
    """

    nodes: Array
    precision: Array
    likely: int = eqx.field(static=True)


def around(nodes: np.ndarray, matrix: np.ndarray, activity: np.ndarray) -> Prior | None:
    """Prior around nodes (node, d); None for fewer than 8.

    Parameters
    ----------
    matrix
        (d, d), from the net's latents to units of the median posterior sd.
    activity
        (d,), spread of each of these latents in such units.

    Notes
    -----
    The Gaussians are as wide as nodes are apart (median distance of the third neighbour) where that is more
    than the posterior: so the density has no lumps that would draw well-known latents to the nodes.
    """
    from scipy.spatial import cKDTree

    if len(nodes) < 8:
        return None
    within = float(np.prod(1 / np.maximum(activity, 1.0)))  # share of the nodes within one sd of a pattern
    enough = max(MOST_LIKELY, int(MOST_LIKELY / (LIKELY_EXCESS * within)))
    if enough < len(nodes):
        nodes = nodes[np.linspace(0, len(nodes) - 1, enough).astype(int)]
    likely = LIKELY_STEP * int(np.ceil(LIKELY_EXCESS * within * len(nodes) / LIKELY_STEP))
    likely = min(max(likely, LIKELY_STEP), MOST_LIKELY, len(nodes))
    scaled = np.asarray(nodes, np.float64) @ matrix
    apart = np.median(cKDTree(scaled).query(scaled, k=NEIGHBOUR + 1)[0][:, NEIGHBOUR])
    width = max(LEAST_WIDTH, float(apart))
    precision = matrix @ matrix.T / width**2
    return Prior(jnp.asarray(nodes, jnp.float32), jnp.asarray(precision, jnp.float32), likely)


def log_density(prior: Prior, z: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Log of the prior's density at z, times (2π)^(d/2)."""
    apart = z[:, None] - prior.nodes[None]
    square = jnp.einsum("nji,ik,njk->nj", apart, prior.precision, apart)
    height = 0.5 * jnp.linalg.slogdet(prior.precision)[1] - float(np.log(prior.nodes.shape[0]))
    near = jax.nn.logsumexp(-0.5 * square, axis=1) + height
    broad = -0.5 * jnp.sum(z * z, axis=-1)
    return jnp.logaddexp(near + float(np.log1p(-BROAD_SHARE)), broad + float(np.log(BROAD_SHARE)))
