"""How far each position is from the reference crystal, as one calibrated standard-normal score.

Signed residuals against the expected pattern (`expected`), in a few smooth modes (`coarse`), are pooled over
the probe's neighbourhood (`pooling`) at several lengths, in the site's own frame and in the detector's. Their
sums of squares, and the pooled sum of squares of single patterns (both ways: a vacancy has less noise),
become standard-normal scores; `broken` is the calibrated maximum (`calibration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from orbistem.errors import OptionError, ShapeError
from orbistem.symmetry.calibration import MaximumLaw, discoveries
from orbistem.symmetry.coarse import CoarseModes
from orbistem.symmetry.expected import Expected, expect
from orbistem.symmetry.lattice import expect_on_lattice, find_lattice
from orbistem.symmetry.pooled_scores import law_of_maximum, pooled_scores
from orbistem.symmetry.pooling import Layout, Pool, correlation_length

__all__ = ["MIN_PERIODS", "MIN_POSITIONS", "Broken", "BrokenOptions", "find_broken"]

MIN_POSITIONS = 100
"""Below this many reference positions nothing can be called unusual."""
MIN_PERIODS = 2.0
"""Of which a scan that holds fewer shows no lattice: nothing in it repeats."""
APART_WIDTHS = 3.0
CLEANING_STEPS = 3
LATTICE_FAVOUR = 0.1
"""So much more noise energy per mode may the lattice leave: a defect cannot deceive it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenOptions:
    """How broken symmetry is looked for.

    Parameters
    ----------
    widths
        Standard deviations of the pooling, in units of the length over which patterns stay alike.
    neighbours
        Reference positions that each pattern is compared with.
    max_order, n_rings
        Highest angular order and number of broad rings of the modes.
    rate
        False-discovery rate.
    """

    widths: tuple[float, ...] = (2.8, 4.0, 5.2)
    neighbours: int = 80
    max_order: int = 8
    n_rings: int = 8
    rate: float = 0.05

    def __post_init__(self) -> None:
        if not self.widths or not all(width > 0 for width in self.widths):
            raise OptionError(f"widths: want numbers above 0, got {self.widths}; give for instance 2.8,4,5.2")
        if self.neighbours < 8 or self.max_order < 1 or self.n_rings < 1:
            raise OptionError(
                f"broken: want neighbours >= 8, max_order >= 1 and n_rings >= 1, got {self.neighbours}, "
                f"{self.max_order} and {self.n_rings}; correct one"
            )
        if not 0 < self.rate < 1:
            raise OptionError(f"rate: want a number in (0, 1), got {self.rate}; give for instance 0.05")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Broken:
    """Scores of all positions.

    Attributes
    ----------
    score
        (n,) standard normal where nothing is broken; NaN where unusable.
    found
        (n,) bool, discoveries at the false-discovery rate.
    threshold
        Score from which a position is a discovery; infinite where there is none.
    rate
        False-discovery rate.
    parts, names
        (n, s) standard-normal scores of the single statistics, and their names.
    reference
        (n,) bool, the positions that were used as reference in the end.
    widths
        Standard deviations of the pooling, in the unit of the positions.
    expected
        Residuals and frames of the last round.
    periods
        How often the lattice that the scan suggests repeats in it; NaN where there is none. It is not used
        below `MIN_PERIODS`.
    problem
        Why there are no scores, or None.
    laws
        Of the maximum: for scores with or without turns, and a number of modes.
    """

    score: np.ndarray
    found: np.ndarray
    threshold: float
    rate: float
    parts: np.ndarray
    names: tuple[str, ...]
    reference: np.ndarray
    widths: tuple[float, ...]
    expected: Expected | None
    periods: float = float("nan")
    problem: str | None = None
    laws: Mapping[tuple[bool, int], MaximumLaw] = field(default_factory=dict)

    def carrier(self, row: int) -> tuple[str, float]:
        """Which statistic carries the score of a position, and the width over which it was pooled."""
        at = int(np.nanargmax(self.parts[row]))
        name = self.names[at].rpartition(", width ")[0]
        return name, self.widths[at * len(self.widths) // len(self.names)]


TOO_FEW = (
    "broken: want at least {least} usable positions in the reference to tell what is unusual, got {found}; "
    "name a larger one with --reference, or --reference all"
)


def find_broken(
    harmonics: np.ndarray,
    modes: CoarseModes,
    *,
    latent: np.ndarray | None,
    angle: np.ndarray | None,
    reference: np.ndarray,
    layout: Layout,
    rng: np.random.Generator,
    options: BrokenOptions | None = None,
    laws: Mapping[tuple[bool, int], MaximumLaw] | None = None,
) -> Broken:
    """Score every position against the reference.

    Parameters
    ----------
    harmonics
        (n, ring, order) whitened, about the scan's mean of order 0.
    modes
        Made from the same plan.
    latent, angle
        Of a model, (n, D) in units of their posterior sd and (n,) rad; None where nothing was trained.
    reference
        (n,) bool: where the crystal is taken for perfect. Positions in it that turn out unusual are left out.
    layout
        Where the positions lie and which are usable.
    rng
        Draws the law of the maximum.
    options
        See `BrokenOptions`.
    laws
        Of an earlier result with the same options: they need not be drawn again.
    """
    options = BrokenOptions() if options is None else options
    n = len(harmonics)
    if reference.shape != (n,) or layout.usable.shape != (n,):
        raise ShapeError(
            f"broken: want reference and usable ({n},), got {reference.shape}, {layout.usable.shape}"
        )
    values = modes.of(harmonics)
    rings = np.asarray(harmonics[:, :, 0].real, np.float64)
    usable = layout.usable & np.isfinite(values).all(axis=1)
    layout = Layout(
        positions=layout.positions, usable=usable, grid_shape=layout.grid_shape, steps=layout.steps
    )
    length = _alike_over(values, modes, layout)
    widths = tuple(width * length for width in options.widths)
    trusted = reference & usable
    if trusted.sum() < MIN_POSITIONS:
        return _nothing(n, options, widths, int(trusted.sum()))
    pools = [Pool(layout, width) for width in widths]
    known = dict(laws or {})
    for last in [False] * (CLEANING_STEPS - 1) + [True]:
        expected, periods = _expectation(
            values,
            modes,
            rings,
            latent=latent,
            angle=angle,
            trusted=trusted,
            layout=layout,
            widths=widths,
            neighbours=options.neighbours,
        )
        # an angle was read off the same noise: turned by it, residuals against the lattice would add up
        turns = angle is not None and expected.from_own_pattern
        key = (turns, len(modes.order))
        if key not in known:
            known[key] = law_of_maximum(modes, widths, turns=turns, rng=rng)
        scores = pooled_scores(expected, rings, modes, pools, trusted, turns=turns)
        parts = np.stack(list(scores.values()), axis=1)
        parts[~usable] = np.nan
        score = known[key].score(parts.max(axis=1))
        if not last:
            # discoveries only: to leave out what merely stands high in noise would raise it further
            smaller = reference & usable & ~discoveries(score, rate=options.rate)[0]
            trusted = smaller if smaller.sum() >= MIN_POSITIONS else trusted
    single = score.astype(np.float32)  # as stored, so that whoever compares finds the same positions
    found, threshold = discoveries(single, rate=options.rate)
    return Broken(
        score=single,
        found=found,
        threshold=threshold,
        rate=options.rate,
        parts=parts,
        names=tuple(scores),
        reference=trusted,
        widths=widths,
        expected=expected,
        periods=periods,
        laws=known,
    )


def _expectation(
    values: np.ndarray,
    modes: CoarseModes,
    rings: np.ndarray,
    *,
    latent: np.ndarray | None,
    angle: np.ndarray | None,
    trusted: np.ndarray,
    layout: Layout,
    widths: tuple[float, ...],
    neighbours: int,
) -> tuple[Expected, float]:
    """On the lattice where there is one that leaves no more than positions of equal latents do.

    Also how many periods of it the scan holds; of fewer than two it cannot say what repeats.
    """
    freedoms = float(modes.freedoms.sum())
    lattice = find_lattice(values, layout, trusted, noise=freedoms, freedoms=freedoms)
    periods = float("nan") if lattice is None else lattice.periods
    if lattice is not None and periods < MIN_PERIODS:
        lattice = None
    found = []
    if lattice is not None:
        found.append(
            expect_on_lattice(
                lattice, values, modes.order, rings, angle=angle, reference=trusted, layout=layout
            )
        )
    if latent is not None or lattice is None:
        found.append(
            expect(
                values,
                modes.order,
                rings,
                latent=latent,
                angle=angle,
                reference=trusted,
                layout=layout,
                apart=APART_WIDTHS * max(widths),
                neighbours=neighbours,
            )
        )
    best = min(found, key=lambda one: _left(one, trusted) - (0 if one.from_own_pattern else LATTICE_FAVOUR))
    return best, periods


def _left(expected: Expected, trusted: np.ndarray) -> float:
    """Residual energy of the reference, per mode."""
    return float(np.mean(np.abs(expected.residual[trusted]) ** 2))


def _alike_over(values: np.ndarray, modes: CoarseModes, layout: Layout) -> float:
    good = layout.usable
    centred = np.where(good[:, None], values - values[good].mean(axis=0), 0) if good.any() else values
    return correlation_length(centred, layout, noise=float(modes.freedoms.sum()))


def _nothing(n: int, options: BrokenOptions, widths: tuple[float, ...], trusted: int) -> Broken:
    return Broken(
        score=np.full(n, np.nan, np.float32),
        found=np.zeros(n, bool),
        threshold=float("inf"),
        rate=options.rate,
        parts=np.zeros((n, 0)),
        names=(),
        reference=np.zeros(n, bool),
        widths=widths,
        expected=None,
        problem=TOO_FEW.format(least=MIN_POSITIONS, found=trusted),
    )
