"""Where the angle of a template is zero: as training left it, or along the template's own polar direction.

The likelihood does not see a turn φ(z) of all templates (θ → θ + φ(z)), so the zero of the angle is free, and
training chooses the one in which templates turn least as z changes. A physical zero is the direction in which
a template points: the azimuth φ(z) of its strongest coefficient of order 1. Templates D(z) turned by -φ(z)
point along +kx, and θ' = θ + φ(z) is the direction in which a site points, comparable between sites of
different latents. Nothing is trained again. Where a template has no polar direction, θ' has a spread of its
own: that of φ over the posterior of z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from orbistem.errors import OptionError, ShapeError
from orbistem.groups import Group
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.models.angle import Orders
from orbistem.models.angle_summary import UNKNOWN_SD

__all__ = [
    "AngleZero",
    "AngleZeroName",
    "direction_sd",
    "find_angle_zero",
    "polar_azimuth",
    "require_angle_zero",
    "stored_angle_zero",
]

AngleZeroName = Literal["free", "polar"]


@dataclass(frozen=True)
class AngleZero:
    """Which coefficient points; hashable, so that compiled functions may depend on it.

    Attributes
    ----------
    coefficient
        Index of the strongest one of order 1.
    sign
        1 or -1: that of its radial function summed over the rings, so that more electrons lie where it
        points.
    """

    coefficient: int
    sign: int


def find_angle_zero(basis: SteerableBasis) -> AngleZero | None:
    """The strongest coefficient of order 1; None where none rises above the noise."""
    rows = [k for k, m in enumerate(basis.order) if m == 1]
    if not rows:
        return None
    best = max(rows, key=lambda k: float(basis.eigenvalue[k]))
    return AngleZero(coefficient=best, sign=-1 if basis.vectors[best].sum() < 0 else 1)


def require_angle_zero(name: str, group: Group) -> None:
    """Refuse a name that is none, and a polar zero where the angles are few."""
    if name not in ("free", "polar"):
        raise OptionError(f"angle_zero: want free or polar, got {name!r}; choose one of them")
    if name == "polar" and not group.continuous:
        raise OptionError(
            f"angle_zero: want free where the group is {group.name}, whose angles have the same zero for all "
            "sites; leave it out, or take SO2 or O2"
        )


def stored_angle_zero(facts: dict[str, Any] | None, orders: Orders) -> AngleZero | None:
    """Zero from plain values of a model file; None where there are none."""
    if facts is None:
        return None
    zero = AngleZero(coefficient=int(facts["coefficient"]), sign=-1 if int(facts["sign"]) < 0 else 1)
    if not 0 <= zero.coefficient < len(orders.of) or orders.of[zero.coefficient] != 1:
        raise ShapeError(f"zero: want a coefficient of order 1, got {zero}; the model file is damaged")
    return zero


def polar_azimuth(template: Float[Array, "n k 2"], zero: AngleZero) -> Float[Array, " n"]:
    """Azimuth in which templates point: minus the phase of their coefficient of order 1, (n,) rad."""
    one = zero.sign * template[:, zero.coefficient]
    return -jnp.arctan2(one[:, 1], one[:, 0])


def direction_sd(
    direction: Float[Array, "n 2"], slope: Float[Array, "n d"], covariance: Float[Array, "n d+1 d+1"]
) -> Float[Array, " n"]:
    """Standard deviation of θ + φ(z), (n,) rad, at most π/√3.

    The larger of two: √(-2 ln |mean of exp(i(θ + φ))|) over the posterior's samples, which sees how φ bends
    and jumps where a template hardly points; and that from dφ/dz and the covariance of (z, θ), which is exact
    where few samples count and φ is straight.

    Parameters
    ----------
    direction
        Mean of exp(i(θ + φ)) over the posterior, as (re, im).
    slope
        dφ/dz.
    covariance
        Of (z, θ).
    """
    along = jnp.concatenate([slope, jnp.ones_like(slope[:, :1])], axis=-1)
    variance = jnp.einsum("ni,nij,nj->n", along, covariance, along)
    power = jnp.clip(jnp.sum(direction**2, axis=-1), 1e-9, 1.0)
    variance = jnp.maximum(jnp.where(jnp.isfinite(variance), variance, jnp.inf), -jnp.log(power))
    return jnp.minimum(jnp.sqrt(variance), UNKNOWN_SD)
