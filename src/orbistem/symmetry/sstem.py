"""Symmetry STEM: correlation of each pattern with its rotated or mirrored self.

Krajnak & Etheridge, Proc. Natl. Acad. Sci. 117, 27805 (2020). On harmonics a turn by α is a phase, so that

    sstem(turn by α) = Σ_m |c_m|² cos(mα) / Σ_m |c_m|²
    sstem(mirror line at α) = Re Σ_m c_m² exp(2imα) / Σ_m |c_m|²

Here over the orders above 0 only, with the static background and the energy of the noise taken off:
what is the same in every pattern, or turns into itself whatever the sample does, shows no symmetry.
"""

from __future__ import annotations

import numpy as np

from orbistem.groups import Operation
from orbistem.symmetry.components import Components
from orbistem.symmetry.descriptor import Descriptor, Variable
from orbistem.symmetry.n_fold import FOLDS, null_variance
from orbistem.symmetry.ratio import Share, share_of

__all__ = ["SSTEM", "sstem"]

TURNS = tuple(Operation(angle_rad=2 * np.pi / n, mirror=False) for n in FOLDS)


def sstem(components: Components, *, operations: tuple[Operation, ...] = TURNS) -> Share:
    """Correlation of every pattern with its image under each operation.

    Parameters
    ----------
    components
        Of n patterns.
    operations
        Turns, or mirrors about a given line (its azimuth is half the operation's angle).

    Returns
    -------
    Share
        Shape (n, operation); values in [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> order = np.array([2, 3])
    >>> values = np.array([[1.0, 1j]])
    >>> one = Components(values=values, variance=np.zeros((1, 2)), order=order, weight=np.ones(2))
    >>> half_turn, line = Operation(angle_rad=np.pi, mirror=False), Operation(angle_rad=0.0, mirror=True)
    >>> sstem(one, operations=(half_turn, line)).value
    array([[0., 0.]])
    """
    order, energy, variance = components.order, components.energy(), components.energy_variance()
    null = null_variance(components)
    turns = np.array([o.angle_rad for o in operations if not o.mirror])
    found = share_of(energy, variance, np.cos(order[:, None] * turns), null_variance=null)
    value = np.empty((len(components), len(operations)), energy.dtype)
    sd = np.empty_like(value)
    place = [i for i, o in enumerate(operations) if not o.mirror]
    value[:, place], sd[:, place] = found.value, found.sd
    for i, operation in enumerate(operations):
        if operation.mirror:
            about = _mirror(components, operation.angle_rad / 2, null)
            value[:, i], sd[:, i] = about.value[:, 0], about.sd[:, 0]
    return Share(value=np.clip(value, -1, 1), sd=sd)


def _mirror(components: Components, line_rad: float, null: np.ndarray) -> Share:
    """Even minus odd energy about a given line."""
    order, values = components.order, components.values
    aligned = values * np.exp(1j * line_rad * order).astype(values.dtype)
    weight = components.weight.astype(components.variance.dtype)
    bias = weight * components.variance
    energy = np.concatenate([weight * aligned.real**2 - bias, weight * aligned.imag**2 - bias], axis=1)
    noise = np.concatenate([bias, bias], axis=1)
    spread = 2 * noise * (2 * np.maximum(energy, 0) + noise)
    sign = np.concatenate([np.ones(len(order)), -np.ones(len(order))])
    return share_of(energy, spread, sign[:, None], null_variance=null)


def _maps(components: Components) -> tuple[np.ndarray, ...]:
    found = sstem(components)
    return found.value, found.sd


_DEGREES = tuple(360 // n for n in FOLDS)

SSTEM = Descriptor(
    name="sstem",
    variables=(
        Variable(
            name="sstem",
            long_name="correlation of the pattern with itself after a turn",
            dim="turn_deg",
            labels=_DEGREES,
        ),
        Variable(name="sstem_sd", long_name="standard error of sstem", dim="turn_deg", labels=_DEGREES),
    ),
    compute=_maps,
)
