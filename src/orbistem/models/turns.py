"""The group of a model: which turns, and whether mirror images, count as the same site."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from orbistem.groups import Group
from orbistem.models.angle import Orders

LINE_STEPS = 720
"""Azimuths tried for the mirror line, over half a turn."""


@dataclass(frozen=True)
class Turns:
    """What a pattern may be of its template; hashable, so that compiled functions may depend on it.

    A pattern is its template, or the mirror image (ky → -ky) of it, turned by an angle θ. Seen as M a, the
    pattern mirrored at the group's line, a mirrored pattern is its template turned as well: by
    `mirror_rad` - θ. So all that is known for turns holds for both views of a pattern.

    Attributes
    ----------
    n
        Turns by multiples of 2π/n only; None: any angle.
    mirrors
        Whether mirror images are the same site.
    mirror_rad
        Turn that follows ky → -ky in M: twice the azimuth of the mirror line. Any will do where all turns
        are allowed.
    """

    n: int | None = None
    mirrors: bool = False
    mirror_rad: float = 0.0

    @property
    def free(self) -> bool:
        """Whether any angle is allowed."""
        return self.n is None

    def count(self, n_angles: int) -> int:
        """Number of angles of a grid that has `n_angles` where all are allowed."""
        return n_angles if self.n is None else self.n


ANY_TURN = Turns()


def make_turns(group: str, *, mirror_rad: float = 0.0) -> Turns:
    """Turns of a group by its name."""
    named = Group.from_name(group)
    return Turns(n=named.order, mirrors=named.mirrors, mirror_rad=float(mirror_rad))


def mirror_pairs(a: Float[Array, "n k 2"], orders: Orders, turns: Turns) -> Float[Array, "n k 2"]:
    """M a: coefficients as (re, im) pairs of the patterns mirrored at the group's line."""
    conjugate = a * jnp.asarray([1.0, -1.0], a.dtype)[None, None]
    if turns.mirror_rad == 0.0:
        return conjugate
    phase = turns.mirror_rad * orders.of
    cos, sin = jnp.asarray(np.cos(phase), a.dtype)[None], jnp.asarray(np.sin(phase), a.dtype)[None]
    re, im = conjugate[..., 0], conjugate[..., 1]
    return jnp.stack([re * cos + im * sin, im * cos - re * sin], axis=-1)


def find_mirror_line(coefficients: np.ndarray, order: np.ndarray) -> float:
    """Azimuth in [0, π) of the line whose mirror changes the scatter of the coefficients least, rad.

    The crystal's mirror maps its positions onto each other, so the covariance C and the pseudo-covariance P
    of the coefficients are those of the mirrored patterns: the line maximises
    Re sum_kl C_kl² e^{2i(m_k - m_l)φ} + P_kl² e^{2i(m_k + m_l)φ}.

    Parameters
    ----------
    coefficients
        Complex, (n, k).
    order
        Angular order of each, (k,).
    """
    apart = np.asarray(coefficients, complex) - coefficients.mean(axis=0)
    order = np.asarray(order, int)
    top = 2 * int(order.max())
    power = np.zeros(2 * top + 1, complex)  # of e^{2i q φ}, q from -top to top
    for partner, sign in ((apart.conj(), -1), (apart, 1)):
        moment = apart.T @ partner / len(apart)
        np.add.at(power, (order[:, None] + sign * order[None, :] + top).ravel(), (moment**2).ravel())
    line = np.pi * np.arange(LINE_STEPS) / LINE_STEPS
    score = np.exp(2j * line[:, None] * np.arange(-top, top + 1)) @ power
    return float(line[int(np.argmax(score.real))])
