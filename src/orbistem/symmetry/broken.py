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
from orbistem.symmetry.calibration import (
    MaximumLaw,
    chi_square_score,
    discoveries,
    normal_ranks,
    standardise,
)
from orbistem.symmetry.coarse import CoarseModes
from orbistem.symmetry.expected import Expected, expect
from orbistem.symmetry.lattice import expect_on_lattice, find_lattice
from orbistem.symmetry.pooling import Layout, Pool, correlation_length

__all__ = ["Broken", "BrokenOptions", "find_broken"]

SMOOTH_ORDER = 2
MIN_POSITIONS = 100
"""Below this many reference positions nothing can be called unusual."""
APART_WIDTHS = 3.0
MIN_NOISE = 0.05
DRAWS, DRAWN_AT_ONCE = 60_000, 5_000
CLEANING_STEPS = 3
LATTICE_FAVOUR = 0.1
"""So much more noise energy per mode may the lattice leave: a defect cannot deceive it."""
CLEANING_SCORE = 3.0
"""Positions above this score are no reference in the next round."""


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
    problem: str | None = None
    laws: Mapping[tuple[bool, int], MaximumLaw] = field(default_factory=dict)


TOO_FEW = "broken: too few reference positions to tell what is unusual; name a larger region with --reference"


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
        return _nothing(n, options, widths)
    pools = [Pool(layout, width) for width in widths]
    known = dict(laws or {})
    for last in [False] * (CLEANING_STEPS - 1) + [True]:
        expected = _expectation(
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
            known[key] = _law_of_maximum(modes, widths, turns=turns, rng=rng)
        scores = _scores(expected, rings, modes, pools, trusted, turns=turns)
        parts = np.stack(list(scores.values()), axis=1)
        parts[~usable] = np.nan
        score = known[key].score(parts.max(axis=1))
        if not last:
            smaller = reference & usable & ~(score > CLEANING_SCORE)
            trusted = smaller if smaller.sum() >= MIN_POSITIONS else trusted
    found, threshold = discoveries(score, rate=options.rate)
    return Broken(
        score=score.astype(np.float32),
        found=found,
        threshold=threshold,
        rate=options.rate,
        parts=parts,
        names=tuple(scores),
        reference=trusted,
        widths=widths,
        expected=expected,
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
) -> Expected:
    """On the lattice where there is one that leaves no more than positions of equal latents do."""
    freedoms = float(modes.freedoms.sum())
    lattice = find_lattice(values, layout, trusted, noise=freedoms, freedoms=freedoms)
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
    return min(found, key=lambda one: _left(one, trusted) - (0 if one.from_own_pattern else LATTICE_FAVOUR))


def _left(expected: Expected, trusted: np.ndarray) -> float:
    """Residual energy of the reference, per mode."""
    return float(np.mean(np.abs(expected.residual[trusted]) ** 2))


def _alike_over(values: np.ndarray, modes: CoarseModes, layout: Layout) -> float:
    good = layout.usable
    centred = np.where(good[:, None], values - values[good].mean(axis=0), 0) if good.any() else values
    return correlation_length(centred, layout, noise=float(modes.freedoms.sum()))


def _scores(
    expected: Expected,
    rings: np.ndarray,
    modes: CoarseModes,
    pools: list[Pool],
    trusted: np.ndarray,
    *,
    turns: bool,
) -> dict[str, np.ndarray]:
    """Standard-normal scores (n,) by name and width: those of `_names`."""
    n = len(expected.residual)
    freedom = modes.freedoms.astype(np.float64)
    variance = modes.variance(expected.rings, n)
    of_residual = variance * np.maximum(1 + expected.spread, MIN_NOISE)[:, None]
    detector = expected.residual * expected.phase.conj()
    energy = np.sum(np.abs(expected.residual) ** 2, axis=1)
    energy_mean, energy_variance = of_residual @ freedom, 2 * (of_residual**2 @ freedom)
    # by rank: with few electrons a sum of squares has tails far heavier than those of chi-square
    single = normal_ranks((energy - energy_mean) / np.sqrt(energy_variance), trusted)
    mass, mass_variance, crystal = _mass(expected, rings, modes, trusted)
    found: dict[str, np.ndarray] = {}
    for pool in pools:
        left = 1 - expected.taken(pool)
        noise = pool.variance(variance) * left[:, None]
        own, turned = pool.mean(expected.residual), pool.mean(detector)
        spread = pool.variance(mass_variance[:, None])[:, 0] * left + pool.left_over(crystal[:, None])[:, 0]
        raw = {
            "smooth": _sum_of_squares(turned, noise, freedom, modes.order <= SMOOTH_ORDER),
            "own frame": _sum_of_squares(own, noise, freedom, modes.order > 0),
            "detector frame": _sum_of_squares(turned, noise, freedom, modes.order > 0),
            "centre of mass": _square(turned @ modes.shift, noise @ modes.shift**2),
            "single patterns": pool.mean(single[:, None])[:, 0] * np.sqrt(pool.effective),
            "dark field": pool.mean(mass[:, None])[:, 0] / np.sqrt(spread),
        }
        if not turns:
            del raw["own frame"]
        independent = float(trusted.sum()) / float(np.median(pool.effective))
        fair = {name: standardise(score, trusted, independent=independent) for name, score in raw.items()}
        for name, score in _both_ways(fair).items():
            found[f"{name}, width {pool.width:.3g}"] = score
    return found


def _both_ways(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Signed scores both ways; a change of mass tells in two of them, together sooner than in each."""
    found = {name: score for name, score in scores.items() if name not in ("single patterns", "dark field")}
    for way, sign in (("more", 1), ("less", -1)):
        found[f"single patterns, {way}"] = sign * scores["single patterns"]
        found[f"dark field, {way}"] = sign * scores["dark field"]
        found[f"smooth and dark field, {way}"] = (scores["smooth"] + sign * scores["dark field"]) / np.sqrt(2)
    return found


def _mass(
    expected: Expected, rings: np.ndarray, modes: CoarseModes, trusted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dark field minus the expected one, its noise, and what a crystal adds to it: (n,) each."""
    dark = modes.mass[-1]
    variance = modes.mass_variance(expected.rings, len(rings))[:, -1]
    mass, crystal = rings @ dark, expected.rings @ dark
    if not expected.from_own_pattern:
        return mass - crystal, variance, np.zeros_like(mass)
    return (
        mass - mass[trusted].mean(),
        variance,
        np.where(trusted, crystal - crystal[trusted].mean(), 0),
    )


def _law_of_maximum(
    modes: CoarseModes, widths: tuple[float, ...], *, turns: bool, rng: np.random.Generator
) -> MaximumLaw:
    """Draw what pooled noise gives at one position: the same sums, over all widths together."""
    freedom = modes.freedoms.astype(np.float64)
    size = np.asarray(widths)
    alike = 2 * np.outer(size, size) / (size[:, None] ** 2 + size**2)  # of averages over Gaussians
    root = np.linalg.cholesky(alike + 1e-9 * np.eye(len(size)))
    overlap = modes.mass_overlap[-1]
    rest = np.sqrt(max(1 - float(overlap @ overlap), 0.0))
    smooth, wave = modes.order <= SMOOTH_ORDER, modes.order > 0

    def square_score(drawn: np.ndarray, use: np.ndarray) -> np.ndarray:
        weight = freedom[use]
        return chi_square_score(
            drawn[:, :, use].sum(axis=2), np.array(weight.sum()), np.array(2 * weight.sum())
        )

    largest = []
    for _ in range(DRAWS // DRAWN_AT_ONCE):
        shape = (DRAWN_AT_ONCE, len(size), len(freedom))
        real = np.einsum("vw,nwq->nvq", root, rng.standard_normal(shape))
        imaginary = np.einsum("vw,nwq->nvq", root, rng.standard_normal(shape))
        squares = real**2 + np.where(wave, imaginary**2, 0)
        other = rng.standard_normal((2, DRAWN_AT_ONCE, len(size))) @ root.T
        scores = {
            "smooth": square_score(squares, smooth),
            "detector frame": square_score(squares, wave),
            "centre of mass": _square(real @ modes.shift + 1j * (imaginary @ modes.shift), np.ones(1)),
            "single patterns": other[0],
            "dark field": real @ overlap + rest * other[1],
        }
        if turns:
            apart = np.einsum("vw,nwq->nvq", root, rng.standard_normal(shape)) ** 2
            apart += np.einsum("vw,nwq->nvq", root, rng.standard_normal(shape)) ** 2
            scores["own frame"] = square_score(apart, wave)
        largest.append(np.max([score.max(axis=1) for score in _both_ways(scores).values()], axis=0))
    return MaximumLaw(drawn=np.concatenate(largest))


def _sum_of_squares(
    pooled: np.ndarray, noise: np.ndarray, freedom: np.ndarray, use: np.ndarray
) -> np.ndarray:
    size = (np.abs(pooled[:, use]) ** 2).sum(axis=1)
    return chi_square_score(size, noise[:, use] @ freedom[use], 2 * (noise[:, use] ** 2 @ freedom[use]))


def _square(pooled: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Score of the size of one complex number; its noise is per real degree of freedom."""
    return chi_square_score(np.abs(pooled) ** 2, 2 * noise, 4 * noise**2)


def _nothing(n: int, options: BrokenOptions, widths: tuple[float, ...]) -> Broken:
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
        problem=TOO_FEW,
    )
