"""Which way a site points: amount and azimuth of the scan's strongest order-1 component.

A column that is displaced by a small vector d adds to the pattern of a site with three-, four- or sixfold
symmetry a part that is linear in d. Its order 1 turns with d, whatever the direction of d: both are vectors,
and a linear map between vectors that commutes with the site's turns and mirrors is a number. Of the higher
orders some turn against d (order n - 1 of an n-fold site), so the angle of the whole pattern is the direction
of d only where patterns are congruent (domains), the azimuth of order 1 everywhere, up to one constant for a
scan: the radial function of the component has a sign, chosen so that its sum over rings is positive. The
centre of mass is such a number, too, with radial weights that care little for the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.symmetry.components import Components
from orbistem.symmetry.descriptor import Descriptor, Variable

__all__ = ["POLAR", "Polar", "polar"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Polar:
    """Order 1 of each pattern; arrays of shape (n,), NaN where not measured.

    Parameters
    ----------
    value
        Size of the component in standard deviations of its noise, the energy of the noise taken off.
    angle, angle_sd
        Azimuth in [0, 2π), from +kx to +ky, and its standard error, at most π/√3, rad.
    """

    value: np.ndarray
    angle: np.ndarray
    angle_sd: np.ndarray


def polar(components: Components) -> Polar:
    """Amount and direction of order 1.

    Parameters
    ----------
    components
        Of n patterns; the order-1 component with the largest weight is read.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[9 * np.exp(-0.5j), 3.0]])  # turned by 0.5 rad
    >>> one = Components(values=values, variance=np.ones((1, 2)), order=np.array([1, 2]), weight=np.ones(2))
    >>> polar(one).angle.round(6)
    array([0.5])
    """
    weight = components.weight if components.test_weight is None else components.test_weight
    columns = np.flatnonzero(components.order == 1)
    n = len(components)
    if not len(columns):
        nothing = np.full(n, np.nan)
        return Polar(value=nothing, angle=nothing, angle_sd=nothing)
    at = columns[int(np.argmax(weight[columns]))]
    values, variance = components.values[:, at], np.maximum(components.variance[:, at], 1e-30)
    power = (values.real**2 + values.imag**2) / variance
    with np.errstate(divide="ignore"):
        angle_sd = np.minimum(1 / np.sqrt(power), np.pi / np.sqrt(3))
    return Polar(
        value=np.sqrt(np.maximum(power - 2, 0)),
        angle=np.mod(-np.angle(values), 2 * np.pi),
        angle_sd=angle_sd,
    )


def _maps(components: Components) -> tuple[np.ndarray, ...]:
    found = polar(components)
    return found.value, found.angle, found.angle_sd


POLAR = Descriptor(
    name="polar",
    variables=(
        Variable(name="polar", long_name="size of the strongest order-1 component over its noise"),
        Variable(
            name="polar_angle",
            long_name="azimuth of the strongest order-1 component, from +kx to +ky",
            units="rad",
            attributes={"order": 1},
        ),
        Variable(name="polar_angle_sd", long_name="standard error of polar_angle", units="rad"),
    ),
    compute=_maps,
)
