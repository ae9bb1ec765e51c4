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
LEAST_WIDTH = 1.0
"""Width of the Gaussians in median posterior sd, to which the nodes themselves are known. At 0.3 evidence is
0.1 to 0.3 nats higher (graphene at 10⁵, 10⁶), but faint latents are stated too narrow."""
MOST_WIDTH, WIDTHS_TRIED = 70.0, 47
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
    The Gaussians are as wide as the nodes themselves ask for, see `_width`: where positions are far apart in
    the scan the density has no lumps that would draw well-known latents to the nodes, and where a crystal
    shows the same sites again and again it is narrow.
    """
    if len(nodes) < 8:
        return None
    within = float(np.prod(1 / np.maximum(activity, 1.0)))  # share of the nodes within one sd of a pattern
    enough = max(MOST_LIKELY, int(MOST_LIKELY / (LIKELY_EXCESS * within)))
    if enough < len(nodes):
        nodes = nodes[np.linspace(0, len(nodes) - 1, enough).astype(int)]
    likely = LIKELY_STEP * int(np.ceil(LIKELY_EXCESS * within * len(nodes) / LIKELY_STEP))
    likely = min(max(likely, LIKELY_STEP), MOST_LIKELY, len(nodes))
    precision = matrix @ matrix.T / _width(np.asarray(nodes, np.float64), matrix) ** 2
    return Prior(jnp.asarray(nodes, jnp.float32), jnp.asarray(precision, jnp.float32), likely)


def _width(nodes: np.ndarray, matrix: np.ndarray) -> float:
    """Width h of the Gaussians by likelihood cross-validation (Duin, IEEE Trans. Comput. C-25, 1175, 1976).

    Of the widths that are tried, that with the largest mean log density of a node under the prior around all
    other nodes, where each node is measured with an error of one posterior sd: a Gaussian has the variance
    h² + 1, beside the broad share.
    """
    from scipy.spatial.distance import cdist
    from scipy.special import logsumexp

    scaled = nodes @ matrix
    square = cdist(scaled, scaled, "sqeuclidean")
    np.fill_diagonal(square, np.inf)
    n, d = nodes.shape
    broad = -np.sum(nodes**2, axis=1) / 2 - np.linalg.slogdet(matrix)[1] + np.log(BROAD_SHARE)

    def likely(width: float) -> float:
        variance = width**2 + 1
        near = logsumexp(-square / (2 * variance), axis=1) - np.log(n - 1) - d / 2 * np.log(variance)
        return float(np.mean(np.logaddexp(near + np.log1p(-BROAD_SHARE), broad)))

    tried = np.geomspace(LEAST_WIDTH, MOST_WIDTH, WIDTHS_TRIED)
    return float(tried[int(np.argmax([likely(width) for width in tried]))])


def log_density(prior: Prior, z: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Log of the prior's density at z, times (2π)^(d/2)."""
    apart = z[:, None] - prior.nodes[None]
    square = jnp.einsum("nji,ik,njk->nj", apart, prior.precision, apart)
    height = 0.5 * jnp.linalg.slogdet(prior.precision)[1] - float(np.log(prior.nodes.shape[0]))
    near = jax.nn.logsumexp(-0.5 * square, axis=1) + height
    broad = -0.5 * jnp.sum(z * z, axis=-1)
    return jnp.logaddexp(near + float(np.log1p(-BROAD_SHARE)), broad + float(np.log(BROAD_SHARE)))
