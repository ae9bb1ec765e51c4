"""Sites that may be seen either way: as the template or as its mirror image.

On a mirror line of the crystal both views fit alike, with two angles, and noise would decide between them.
There the template is taken, so that equal sites get equal angles, and the templates are turned so that both
views have one angle on as many such sites as can be.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from orbistem.models.angle import Orders
from orbistem.models.layers import turned_templates
from orbistem.models.orbit_vae import OrbitNet

__all__ = [
    "MOST_DOUBT",
    "USUAL_DOUBT",
    "border_of_doubt",
    "find_doubt",
    "hand_in_doubt",
    "with_hands_together",
]

DOUBT_NATS = 3.0
"""Log odds that noise alone may make."""
USUAL_DOUBT = 0.01
"""A decoder draws a symmetric site to within so much of its template (graphene at 10⁷: 0.7 %)."""
LEAST_DOUBT, MOST_DOUBT, DOUBTS_TRIED = 0.003, 0.1, 36
NEAR_SD = 3.0
"""Sites whose odds lie within so many deviations of the border may fall on either side of it."""
DOUBT_PRICE = 0.05
"""What a site costs that is seen as the template though it may have a hand, in sites on the border."""
TURNS_TRIED, TOGETHER_RAD = 720, 0.1
"""Turns of the templates that are compared, and within what two angles of a site count as one."""
FEW_IN_DOUBT, ROUGHLY_RAD = 0.25, 0.3
"""Share of sites in doubt below which all count, and within what their two angles then count as one: of the
516 positions of a Siemens star 50 are in doubt and agree on no turn; by all of them the angle follows the
spokes better (eight trainings, resultant: 0.909 to 0.984 before, 0.936 to 0.986 after). Of graphene and MoS₂
two thirds are in doubt."""


def border_of_doubt(size: Any, share: Any) -> Any:
    """Log odds of the two hands below which a site may have none: three nats, and a share of the template.

    size: half the squared length of the template, any shape; share: broadcasts with it.
    """
    return DOUBT_NATS + share * size


def hand_in_doubt(template: Array, share: Array | float) -> Array:
    """Log odds of the two hands below which a site may have none, from scaled templates (n, k, 2), (n,).

    On a mirror line the odds are what noise and the decoder make them (`border_of_doubt`).
    """
    border: Array = border_of_doubt(jnp.sum(template**2, axis=(-2, -1)) / 2, share)
    return border


def find_doubt(odds: np.ndarray, unlike: np.ndarray, size: np.ndarray) -> float:
    """Share of the template for `hand_in_doubt` with the fewest sites on its border.

    Sites on a mirror line and beside it differ by more than their noise where the scan has a step; how well
    a decoder draws those on the line differs from specimen to specimen.

    Parameters
    ----------
    odds
        Log odds of template against mirror image, (n,).
    unlike
        Half the squared distance D of each template from its mirror image, (n,): noise parts the log odds
        by √(2 D).
    size
        Half the squared length of each template, (n,).
    """
    shares = np.geomspace(LEAST_DOUBT, MOST_DOUBT, DOUBTS_TRIED)
    border = border_of_doubt(size, shares[:, None])
    sd = NEAR_SD * np.sqrt(2 * unlike + 1)
    near = np.exp(-0.5 * ((odds + border) / sd) ** 2).mean(axis=1)
    doubted = (np.abs(odds) < border).mean(axis=1)
    return float(shares[int(np.argmin(near + DOUBT_PRICE * doubted))])


def with_hands_together(
    net: OrbitNet, apart: np.ndarray, *, doubted: np.ndarray, like: np.ndarray, orders: Orders
) -> OrbitNet:
    """Templates turned so that the angle is the same for both hands of as many sites in doubt as can be.

    A turn of all templates by g brings the two angles of a site nearer by 2 g, so of mirror lines that differ
    by where they lie one kind can be without a jump. Where few sites are in doubt, all count.

    Parameters
    ----------
    apart
        Angle as the template minus that as its mirror image, (n,) rad.
    doubted
        Which sites lie on or near mirror lines, (n,) bool.
    like
        How like its mirror image each site's template is, 0 to 1, (n,): what it counts where all do.
    """
    if not (net.turns.mirrors and net.turns.free and len(apart)):
        return net
    few = float(doubted.mean()) < FEW_IN_DOUBT
    weight, width = (like, ROUGHLY_RAD) if few else (doubted.astype(np.float64), TOGETHER_RAD)
    if not weight.any():
        return net
    tried = np.linspace(-np.pi, np.pi, TURNS_TRIED, endpoint=False)
    alike = weight @ np.exp((np.cos(apart[:, None] - tried) - 1) / width**2)
    by = float(tried[int(np.argmax(alike))]) / 2
    turned: OrbitNet = eqx.tree_at(lambda n: n.decoder, net, turned_templates(net.decoder, by, orders))
    return turned
