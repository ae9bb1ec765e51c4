"""Which operations a place breaks, and which order and ring carry what is broken.

Two questions, one form of answer. Of a *pattern* (`pattern_operations`): which turns and mirrors does it
keep, and how well does it correlate with its image? Of a *difference* (`which_operation`): the residuals of a
region against the reference, pooled in the detector's frame, are one difference pattern Δ with known noise,
and an operation g changes it by Δ - gΔ: nothing where the difference keeps g. In units of its noise |Δ - gΔ|²
is a chi-square where g is kept, summed over the modes or of the largest mode alone.

A turn by α takes mode m by e^{-imα}; the mirror with its line at azimuth β takes the conjugate of the mode
seen from that line. The half-turn is the map of Friedel pairs. Mirrors are tried on the line that breaks
least and on those that any point group of the plane could have beside it, every 15 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from orbistem.errors import OptionError
from orbistem.groups import Operation
from orbistem.harmonics.rotation import mirror, turn
from orbistem.symmetry.broken import Broken
from orbistem.symmetry.calibration import chi_square_score, normal_ranks
from orbistem.symmetry.coarse import CoarseModes
from orbistem.symmetry.components import Components
from orbistem.symmetry.energy_tests import EnergyTests
from orbistem.symmetry.expected import Expected
from orbistem.symmetry.mirror import best_line
from orbistem.symmetry.n_fold import FOLDS
from orbistem.symmetry.sstem import sstem

__all__ = [
    "BROKEN_SCORE",
    "BrokenOperation",
    "Carrier",
    "Which",
    "fine_values",
    "fold_of",
    "moved",
    "pattern_operations",
    "which_of_single",
    "which_operation",
]

MIRROR_AXES = 12
"""Mirrors are tried at this many axes over half a turn."""
P_FLOOR = 1e-300
BROKEN_SCORE = 3.09
"""An operation counts as broken from this score on: noise alone reaches it once in a thousand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Carrier:
    """Angular order and ring (an index of rings) of a mode, and its size in standard deviations."""

    order: int
    ring: float
    z: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenOperation:
    """One operation, and how surely it is broken.

    Attributes
    ----------
    name, operation
        In words, and as it acts.
    score
        Standard normal where the operation is kept; see `BROKEN_SCORE`.
    carrier
        What breaks it most.
    correlation, correlation_sd
        Of the pattern with its image (S-STEM), and its standard error; NaN for a difference.
    """

    name: str
    operation: Operation
    score: float
    carrier: Carrier
    correlation: float = float("nan")
    correlation_sd: float = float("nan")

    @property
    def p(self) -> float:
        """Probability that noise alone breaks it as much, one look."""
        from scipy.special import ndtr

        return float(max(ndtr(-self.score), P_FLOOR))

    @property
    def broken(self) -> bool:
        """Whether noise alone would hardly look like that."""
        return self.score >= BROKEN_SCORE


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Which:
    """What a place breaks.

    Attributes
    ----------
    operations
        Half-turn first, then the other turns, then mirrors: the line that breaks least, and on from there.
    order, energy
        (mode,) angular order, and squared value of each mode over its noise: 1 where there is none.
    ring
        (mode,) centre of gravity of the rings that the mode reads, as an index of rings.
    difference
        (mode,) complex: the pooled difference, or the pattern without order 0; detector frame, units of one
        pattern's noise.
    sd
        (mode,) its standard deviation per real degree of freedom.
    """

    operations: tuple[BrokenOperation, ...]
    order: np.ndarray
    energy: np.ndarray
    ring: np.ndarray
    difference: np.ndarray
    sd: np.ndarray

    @property
    def carrier(self) -> Carrier:
        """What carries most of it, broken or not."""
        at = self.strongest()
        return Carrier(
            order=int(self.order[at]), ring=float(self.ring[at]), z=float(np.sqrt(self.energy[at]))
        )

    def strongest(self) -> int:
        """Index of the mode that carries most."""
        return int(np.argmax(self.energy))


def which_operation(
    broken: Broken, modes: CoarseModes, region: np.ndarray, *, like: Which | None = None
) -> Which:
    """Judge the operations on the mean residual of a region.

    Parameters
    ----------
    broken
        What `find_broken` returned.
    modes
        The modes it was made with.
    region
        (n,) bool, or flat indices: the positions to pool.
    like
        Try the same operations as there, on the same lines.

    Raises
    ------
    OptionError
        The region holds no scored position.
    """
    rows, expected = _scored(broken, region)
    difference = (expected.residual[rows] * expected.phase[rows].conj()).mean(axis=0)
    variance = modes.variance(expected.rings, len(expected.residual))[rows]
    noise = variance.mean(axis=0) / len(rows)
    named = _tried(*_squares(difference[None], modes), like)
    operations = []
    for name, operation in named:
        part, freedom = _broken_part(difference, modes.order, operation)
        operations.append(
            BrokenOperation(
                name=name,
                operation=operation,
                score=_score_of_parts(part, freedom, noise, _few_counts(modes, len(rows))),
                carrier=_carrier(part, freedom, noise, modes),
            )
        )
    return _which(_with_powers(operations), difference, noise, modes)


def which_of_single(
    broken: Broken, modes: CoarseModes, region: np.ndarray, *, like: Which | None = None
) -> Which:
    """Judge the operations on the residuals of single patterns, which differ each in its own way.

    What is broken adds up as energy, not as amplitude: per position the energy that an operation forbids, in
    units of its noise, is ranked among that of the reference (`normal_ranks`), and ranks of the region are
    added. The difference shown is the strongest principal component of the residuals.

    Parameters
    ----------
    broken, modes, region, like
        As for `which_operation`.
    """
    rows, expected = _scored(broken, region)
    every = expected.residual * expected.phase.conj()
    variance = modes.variance(expected.rings, len(every))
    scaled = every / np.sqrt(variance)
    named = _tried(*_squares(scaled[rows], modes), like)

    def above(energy: np.ndarray) -> float:
        ranks = normal_ranks(energy, broken.reference)[rows]
        return float(ranks.sum() / np.sqrt(len(rows)))

    rings = _rings(modes)

    def carrier(part: np.ndarray, freedom: np.ndarray) -> Carrier:
        z = np.array([above(one) if some else -np.inf for one, some in zip(part.T, freedom, strict=True)])
        at = int(np.argmax(z))
        return Carrier(order=int(modes.order[at]), ring=float(rings[at]), z=float(max(z[at], 0.0)))

    operations = []
    for name, operation in named:
        part, freedom = _broken_part(scaled, modes.order, operation)
        operations.append(
            BrokenOperation(
                name=name,
                operation=operation,
                score=above(part.sum(axis=1)),
                carrier=carrier(part, freedom),
            )
        )
    noise = variance[rows].mean(axis=0)
    strongest = _principal(scaled[rows], modes.order) * np.sqrt(noise)
    found = _which(_with_powers(operations), strongest, noise, modes)
    return replace(found, energy=np.array([max(above(one), 0.0) ** 2 for one in (np.abs(scaled) ** 2).T]))


def _principal(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Strongest principal component (mode,) of real patterns in modes (n, mode), with its rms amplitude."""
    waves = order > 0
    real = np.concatenate([values.real, values.imag[:, waves]], axis=1)
    size, axes = np.linalg.eigh(real.T @ real / len(real))
    axis = axes[:, -1] * np.sqrt(size[-1])
    if (real @ axis).sum() < 0:
        axis = -axis
    found: np.ndarray = axis[: len(order)].astype(complex)
    found[waves] += 1j * axis[len(order) :]
    return found


def pattern_operations(
    components: Components,
    difference: np.ndarray,
    modes: CoarseModes,
    *,
    like: Which | None = None,
) -> Which:
    """Judge the operations on a pattern itself.

    Parameters
    ----------
    components
        Of the pattern: one row. They decide what is broken, by the tests of the point group.
    difference
        (mode,) the same pattern about the static background, in modes: they say what carries it.
    modes
        As fine as the harmonics are.
    like
        Try the same operations as there, on the same lines.
    """
    tests = EnergyTests(components)
    named = _tried(tests.squares, tests.orders, like)
    alike = sstem(components, operations=tuple(operation for _, operation in named))
    noise = np.full(len(modes.order), float(np.mean(components.variance)))
    operations = []
    for i, (name, operation) in enumerate(named):
        if operation.mirror:
            p = tests.mirror(np.array([operation.angle_rad / 2]))
        else:
            p = tests.turn(fold_of(operation))
        operations.append(
            BrokenOperation(
                name=name,
                operation=operation,
                score=_score(float(p[0])),
                correlation=float(alike.value[0, i]),
                correlation_sd=float(alike.sd[0, i]),
                carrier=_carrier(*_broken_part(difference, modes.order, operation), noise, modes),
            )
        )
    return _which(_with_powers(operations), np.where(modes.order > 0, difference, 0), noise, modes)


def fold_of(operation: Operation) -> int:
    """Return n of a turn by 2π/n."""
    return round(2 * np.pi / operation.angle_rad)


def _with_powers(operations: list[BrokenOperation]) -> list[BrokenOperation]:
    """A turn is kept only where its powers are: two quarter turns make the half-turn.

    Its p value becomes the smallest of them times their number (Bonferroni), with what carries that one.
    """
    turns = {fold_of(one.operation): one for one in operations if not one.operation.mirror}
    found = []
    for one in operations:
        fold = 1 if one.operation.mirror else fold_of(one.operation)
        powers = [turns[d] for d in turns if fold % d == 0]
        if len(powers) > 1:
            worst = max(powers, key=lambda power: power.score)
            p = min(len(powers) * worst.p, 1 - 1e-16)
            one = replace(one, score=_score(p), carrier=worst.carrier)
        found.append(one)
    return found


def moved(values: np.ndarray, order: np.ndarray, operation: Operation) -> np.ndarray:
    """Modes (..., mode) of a pattern after an operation."""
    before = mirror(values) if operation.mirror else values
    return turn(before, by_rad=operation.angle_rad, orders=order)


def fine_values(harmonics: np.ndarray, static: np.ndarray, modes: CoarseModes) -> np.ndarray:
    """Mean of harmonics (n, ring, order) about the static background (ring, order), in modes (mode,)."""
    about = np.nanmean(np.asarray(harmonics, np.complex128), axis=0) - static
    return np.asarray(modes.of(about[None])[0], np.complex128)


def _scored(broken: Broken, region: np.ndarray) -> tuple[np.ndarray, Expected]:
    """Rows of a region that have a score, and what was expected there."""
    rows = np.flatnonzero(region) if region.dtype == np.bool_ else np.asarray(region)
    rows = rows[np.isfinite(broken.score[rows])]
    if broken.expected is None or not len(rows):
        raise OptionError("region: want positions that have a score, got none; choose others")
    return rows, broken.expected


def _squares(values: np.ndarray, modes: CoarseModes) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the squares of values (n, mode) in each order above 0, (1, order), and these orders."""
    orders = np.unique(modes.order[modes.order > 0])
    return np.stack([np.sum(values[:, modes.order == m] ** 2) for m in orders])[None], orders


def _tried(squares: np.ndarray, orders: np.ndarray, like: Which | None) -> list[tuple[str, Operation]]:
    """The operations to judge: those of another judgement, or from the line that mirrors best."""
    if like is not None:
        return [(one.name, one.operation) for one in like.operations]
    return _operations(float(best_line(squares, orders)[0][0]))


def _operations(line_rad: float) -> list[tuple[str, Operation]]:
    """All that are tried, by name."""
    found = []
    for fold in FOLDS:
        name = "half-turn (Friedel pairs)" if fold == 2 else f"turn by {360 // fold}°"
        found.append((name, Operation(angle_rad=2 * np.pi / fold, mirror=False)))
    for step in range(MIRROR_AXES):
        axis = (line_rad + np.pi * step / MIRROR_AXES) % np.pi
        name = f"mirror, axis at {np.rad2deg(axis) % 179.5:.0f}°"
        found.append((name, Operation(angle_rad=2 * axis, mirror=True)))
    return found


def _broken_part(
    values: np.ndarray, order: np.ndarray, operation: Operation
) -> tuple[np.ndarray, np.ndarray]:
    """Squares (mode,) of what the operation forbids, and their degrees of freedom (mode,)."""
    if not operation.mirror:
        forbidden = np.abs(1 - np.exp(-1j * order * operation.angle_rad)) > 1e-6
        return np.where(forbidden, np.abs(values) ** 2, 0), np.where(forbidden, 2, 0)
    seen = values * np.exp(
        1j * order * operation.angle_rad / 2
    )  # axis to azimuth 0: the mirror is the conjugate
    waves = order > 0
    return np.where(waves, seen.imag**2, 0), np.where(waves, 1, 0)


def _carrier(part: np.ndarray, freedom: np.ndarray, noise: np.ndarray, modes: CoarseModes) -> Carrier:
    """The mode that breaks an operation most."""
    weight = np.where(freedom > 0, part / (np.maximum(freedom, 1) * noise), 0)
    at = int(np.argmax(weight))
    return Carrier(order=int(modes.order[at]), ring=float(_rings(modes)[at]), z=float(np.sqrt(weight[at])))


def _rings(modes: CoarseModes) -> np.ndarray:
    share = np.abs(modes.noise_share)
    total = np.maximum(share.sum(axis=1), np.finfo(float).tiny)
    return np.asarray(share @ np.arange(share.shape[1]) / total)


def _which(
    operations: list[BrokenOperation], difference: np.ndarray, noise: np.ndarray, modes: CoarseModes
) -> Which:
    return Which(
        operations=tuple(operations),
        order=modes.order,
        energy=np.abs(difference) ** 2 / (noise * modes.freedoms),
        ring=_rings(modes),
        difference=difference,
        sd=np.sqrt(noise),
    )


def _few_counts(modes: CoarseModes, n: int) -> np.ndarray:
    """Fourth cumulants (mode, mode) of the mean of n patterns, over the squares of its noise."""
    n_modes = len(modes.order)
    fourth = np.zeros((n_modes, n_modes)) if modes.cumulants is None else modes.cumulants.fourth
    return np.asarray(fourth / n)


def _score_of_parts(part: np.ndarray, freedom: np.ndarray, noise: np.ndarray, few: np.ndarray) -> float:
    """Standard-normal score of parts of a difference: of their sum, or of the largest, for two looks.

    `few` are the fourth cumulants of all modes in units of their noise: what few electrons add to the
    variance.
    """
    from scipy.special import gammaincc, ndtr

    left = freedom > 0
    if not left.any():
        return 0.0
    some, size = freedom[left], noise[left]
    share = size * some / 2  # of an order above 0 a turn reads both parts, a mirror one of them
    more = few[np.ix_(left, left)] * np.outer(share, share)
    mean, spread = size @ some, 2 * (size**2 @ some) + more.sum()
    together = chi_square_score(np.array(part[left].sum()), np.array(mean), np.array(spread))
    one = 2 * size**2 * some + np.diag(more)  # each mode is taken for a chi-square of this variance
    alone = np.min(gammaincc((size * some) ** 2 / one, part[left] * size * some / one))
    return _score(_of_several(min(float(ndtr(-together)), _of_several(float(alone), int(left.sum()))), 2))


def _of_several(p: float, n: int) -> float:
    """P value of the smallest of n independent ones (Šidák)."""
    return float(-np.expm1(n * np.log1p(-min(p, 1 - 1e-16))))


def _score(p: float) -> float:
    from scipy.special import ndtri

    return float(-ndtri(np.clip(p, P_FLOOR, 1 - 1e-16)))
