"""Which operation a region breaks, and which order and ring carry what is broken.

The residuals of a region, pooled in the detector's frame, are one difference pattern Δ with known noise. An
operation g changes it by Δ - gΔ: nothing where the difference keeps g. Summed over modes, in units of its
noise, |Δ - gΔ|² is a chi-square where g is kept; rotation by α turns mode m by e^{-imα}, the mirror with its
axis at azimuth β takes the conjugate of the mode seen from that axis. The half-turn is the map of Friedel
pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import OptionError
from orbistem.symmetry.broken import Broken
from orbistem.symmetry.calibration import chi_square_score
from orbistem.symmetry.coarse import CoarseModes

__all__ = ["BrokenOperation", "Which", "which_operation"]

FOLDS = (2, 3, 4, 6)
MIRROR_AXES = 12
"""Mirrors are tried at this many axes over half a turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenOperation:
    """One operation: its name, and how surely the region breaks it (standard-normal score)."""

    name: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Which:
    """What a region breaks.

    Attributes
    ----------
    operations
        Half-turn first, then the other rotations, then mirrors by the azimuth of their axis.
    order, energy
        (mode,) angular order, and squared difference of each mode over its noise: 1 where there is none.
    ring
        (mode,) centre of gravity of the rings that the mode reads, as an index of rings.
    difference
        (mode,) complex: the pooled difference, detector frame, in units of one pattern's noise.
    sd
        (mode,) its standard deviation per real degree of freedom.
    """

    operations: tuple[BrokenOperation, ...]
    order: np.ndarray
    energy: np.ndarray
    ring: np.ndarray
    difference: np.ndarray
    sd: np.ndarray

    def strongest(self) -> int:
        """Index of the mode that carries most."""
        return int(np.argmax(self.energy))


def which_operation(broken: Broken, modes: CoarseModes, region: np.ndarray) -> Which:
    """Judge the operations on the mean residual of a region.

    Parameters
    ----------
    broken
        What `find_broken` returned.
    modes
        The modes it was made with.
    region
        (n,) bool, or flat indices: the positions to pool.

    Raises
    ------
    OptionError
        The region holds no scored position.
    """
    rows = np.flatnonzero(region) if region.dtype == np.bool_ else np.asarray(region)
    rows = rows[np.isfinite(broken.score[rows])]
    if broken.expected is None or not len(rows):
        raise OptionError("region: want positions that have a score, got none; choose others")
    expected = broken.expected
    difference = (expected.residual[rows] * expected.phase[rows].conj()).mean(axis=0)
    variance = modes.variance(expected.rings, len(expected.residual))[rows]
    noise = variance.mean(axis=0) / len(rows)
    operations = [_rotation(difference, noise, modes, fold) for fold in FOLDS]
    operations += [
        _mirror(difference, noise, modes, np.pi * step / MIRROR_AXES) for step in range(MIRROR_AXES)
    ]
    share = np.abs(modes.noise_share)
    return Which(
        operations=tuple(operations),
        order=modes.order,
        energy=np.abs(difference) ** 2 / (noise * modes.freedoms),
        ring=share @ np.arange(share.shape[1]) / np.maximum(share.sum(axis=1), np.finfo(float).tiny),
        difference=difference,
        sd=np.sqrt(noise),
    )


def _rotation(difference: np.ndarray, noise: np.ndarray, modes: CoarseModes, fold: int) -> BrokenOperation:
    factor = np.abs(1 - np.exp(-2j * np.pi * modes.order / fold)) ** 2
    size = float(factor @ np.abs(difference) ** 2)
    name = "half-turn (Friedel pairs)" if fold == 2 else f"turn by {360 // fold}°"
    return BrokenOperation(name=name, score=_score(size, factor * noise, modes.freedoms))


def _mirror(
    difference: np.ndarray, noise: np.ndarray, modes: CoarseModes, axis_rad: float
) -> BrokenOperation:
    """Δ - gΔ of order m has one real degree of freedom, with four times the noise of a part; order 0 none."""
    turned = difference * np.exp(
        1j * modes.order * axis_rad
    )  # axis to azimuth 0: the mirror is the conjugate
    waves = modes.order > 0
    size = float(np.sum(4 * turned.imag[waves] ** 2))
    return BrokenOperation(
        name=f"mirror, axis at {np.rad2deg(axis_rad):.0f}°",
        score=_score(size, 4 * noise[waves], np.ones(int(waves.sum()))),
    )


def _score(size: float, noise: np.ndarray, freedoms: np.ndarray) -> float:
    use = noise > 1e-9 * max(float(noise.max(initial=0)), 1e-300)
    if not use.any():
        return 0.0
    mean, variance = noise[use] @ freedoms[use], 2 * (noise[use] ** 2 @ freedoms[use])
    return float(chi_square_score(np.array(size), np.array(mean), np.array(variance)))
