"""Descan: the pattern wanders over the detector as the beam moves over the sample.

Lenses below the sample bring the scanned beam back to one place of the detector, and never quite; the rest
grows with the distance from the middle of the scan, as a plane in a good microscope and with some curvature
in others. The shift of each part of the scan is measured against all others (`registration`), and a plane or
a quadratic is fitted to the shifts, robustly. It is believed only where it is significant, large enough to
matter, and explains most of what the parts differ by: a sample whose patterns differ from place to place
must not look like descan.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from orbistem.errors import OptionError
from orbistem.prepare.registration import at_rest, first_look, register, seen
from orbistem.prepare.tiles import TileMeans

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
DescanModel = Literal["none", "plane", "quadratic"]

N_TERMS = {"none": 0, "plane": 2, "quadratic": 5}
MIN_TILES = 6
MAX_SIDE_PX = 128
"""Larger patterns are registered on a coarser grid."""


class Problem(StrEnum):
    """What can keep the descan from being trusted."""

    FEW = "the scan is too small to tell descan from the sample; give --descan none, or --centre"


@dataclass(frozen=True, kw_only=True, slots=True)
class DescanOptions:
    """How the wandering of the pattern is found.

    Attributes
    ----------
    model : str
        "auto" takes no more than is significant; "none", "plane" and "quadratic" are taken as given.
    coefficients_px : tuple of float, optional
        The shift where it is known: for each term in y, x (plane) or y, x, y², yx, x² (quadratic), with y and
        x from -1/2 to 1/2 across the scan, the shift along ky and along kx. Nothing is estimated then.
    p_limit : float
        Largest probability of so good a fit by chance.
    min_range_px : float
        A smaller movement over the whole scan is left alone.
    min_explained : float
        Share of the variance of the shifts that the model must explain.
    per_pattern : str
        "auto" also follows every single pattern by the edge of its bright disk, where the dose allows it, and
        shrinks its shift towards the model (`each_centre`): for a beam that jumps between positions. It reads
        the file once more. "none" leaves single patterns alone.
    """

    model: Literal["auto", "none", "plane", "quadratic"] = "auto"
    coefficients_px: tuple[float, ...] | None = None
    p_limit: float = 1e-4
    min_range_px: float = 0.1
    min_explained: float = 0.6
    per_pattern: Literal["none", "auto"] = "none"

    def __post_init__(self) -> None:
        if self.model not in ("auto", *N_TERMS):
            raise OptionError(f"descan: want auto, none, plane or quadratic, got {self.model!r}; choose one")
        if self.per_pattern not in ("none", "auto"):
            raise OptionError(f"per_pattern: want none or auto, got {self.per_pattern!r}; choose one")
        given = self.coefficients_px
        if given is not None and (len(given) not in (4, 10) or not np.isfinite(given).all()):
            raise OptionError(
                f"coefficients_px: want 4 (plane) or 10 (quadratic) finite numbers, got {given}; correct them"
            )
        if not (0 < self.p_limit < 1 and 0 < self.min_explained < 1 and self.min_range_px >= 0):
            raise OptionError(
                "descan: want p_limit and min_explained between 0 and 1 and min_range_px >= 0, got "
                f"{self.p_limit}, {self.min_explained} and {self.min_range_px}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DescanFit:
    """How the pattern wanders; trust it if `problem` is None.

    Attributes
    ----------
    model : str
        "none", "plane" or "quadratic".
    coefficients_px : (term, 2)
        See `DescanOptions`; no rows for "none".
    sd_px : float
        Root mean square uncertainty of the shift over the scan, along one axis; NaN where not estimated.
    range_px : float
        Largest distance between the shifts of two positions.
    explained : float
        Share of the variance of the tiles' shifts that the model explains.
    tile_place, tile_shift_px, tile_model_px : (tile, 2)
        Where the parts of the scan lie, what was measured there, and what the model says.
    mean : (ky, kx) or None
        Mean pattern at rest, stored units; NaN where nothing was measured. None without descan.
    why : str
        What was done, in words.
    problem : Problem or None
    """

    model: DescanModel
    coefficients_px: Floats
    sd_px: float
    range_px: float
    explained: float
    tile_place: Floats
    tile_shift_px: Floats
    tile_model_px: Floats
    mean: Floats | None
    why: str
    problem: Problem | None = None

    def of_tiles(self, tiles: TileMeans, place: Floats) -> Floats:
        """Model shift (tile, 2) of each part of the scan, with the same zero as over all positions."""
        return _of_tiles(self.coefficients_px, tiles, place)

    def within_tiles(self, tiles: TileMeans) -> Floats:
        """Covariance (tile, 2, 2) of the model shift within each part of the scan, px²."""
        y, x = tiles.place.T
        zero, one = np.zeros_like(y), np.ones_like(y)
        slopes = np.stack(  # of the terms along y and x, (tile, term, 2)
            [np.stack([one, zero, 2 * y, x, zero]), np.stack([zero, one, zero, y, 2 * x])], axis=-1
        ).transpose(1, 0, 2)[:, : len(self.coefficients_px)]
        jacobian = np.einsum("tpi,pj->tji", slopes, self.coefficients_px)
        return np.asarray(jacobian @ tiles.spread @ jacobian.transpose(0, 2, 1))


def descan_shift(coefficients_px: Floats, place: Floats) -> Floats:
    """Shift of the pattern at each position, (n, 2), about the mean over the scan.

    Parameters
    ----------
    coefficients_px : (term, 2)
        Of a plane or a quadratic.
    place : (n, 2)
        Of all positions; see `tiles.scan_coordinates`.
    """
    if not len(coefficients_px):
        return np.zeros((len(place), 2))
    shift: Floats = _terms(place)[:, : len(coefficients_px)] @ coefficients_px
    return np.asarray(shift - shift.mean(axis=0))


def find_descan(
    tiles: TileMeans, place: Floats, valid: Bools, *, options: DescanOptions | None = None
) -> DescanFit:
    """Find how the pattern wanders over the scan.

    Parameters
    ----------
    tiles : TileMeans
    place : (n_positions, 2)
        Of all positions of the scan.
    valid : (ky, kx) bool
        Pixels to believe: no hot or dead ones, no beam stop.
    options : DescanOptions, optional

    Returns
    -------
    DescanFit
    """
    options = options or DescanOptions()
    if options.coefficients_px is not None:
        given = np.array(options.coefficients_px, np.float64).reshape(-1, 2)
        return _known(tiles, place, valid, given)
    if options.model == "none":
        return _nothing(tiles, "descan was not looked for, as asked for")
    if len(tiles.n) < MIN_TILES:
        problem = None if options.model == "auto" else Problem.FEW
        return _nothing(tiles, "the scan is too small to look for descan", problem=problem)
    weights = tiles.n.astype(np.float64)
    means, small_valid, factor = _coarser(tiles.mean, valid)
    if options.model == "auto":
        quick = factor * first_look(means, weights, small_valid)
        choice = _choose(quick, tiles.place, weights, place, options)
        if choice.model == "none":
            return _nothing(tiles, choice.why, shift=quick, explained=choice.explained)
    found = register(means, weights, small_valid)
    shift = factor * found.shift_px
    choice = _choose(shift, tiles.place, weights, place, options)
    if choice.model == "none":
        return _nothing(tiles, choice.why, shift=shift, explained=choice.explained)
    of_tiles = _of_tiles(choice.coefficients, tiles, place)
    return DescanFit(
        model=choice.model,
        coefficients_px=choice.coefficients,
        sd_px=choice.sd_px,
        range_px=_range(descan_shift(choice.coefficients, place)),
        explained=choice.explained,
        tile_place=tiles.place,
        tile_shift_px=shift,
        tile_model_px=of_tiles,
        mean=_mean_at_rest(tiles, of_tiles, valid),
        why=choice.why,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Choice:
    model: DescanModel
    coefficients: Floats
    sd_px: float
    explained: float
    why: str


def _choose(
    shift: Floats, tile_place: Floats, weights: Floats, place: Floats, options: DescanOptions
) -> _Choice:
    """The largest model that is called for."""
    fits = {name: _fit(shift, tile_place, weights, N_TERMS[name]) for name in ("none", "plane", "quadratic")}
    model: DescanModel = "none"
    reasons = []
    for name, before in (("plane", "none"), ("quadratic", "plane")):
        larger, smaller = fits[name], fits[before]
        p = _chance(smaller, larger, shift, tile_place, weights)
        change = descan_shift(larger.coefficients, place) - descan_shift(smaller.coefficients, place)
        moves = _range(change)
        # the plane must explain most of what the tiles differ by; the curvature much of what the plane leaves
        explained = 1 - larger.spread(shift, tile_place, weights) / max(
            smaller.spread(shift, tile_place, weights), np.finfo(float).tiny
        )
        wanted = options.model in (name, "quadratic")
        needed = options.min_explained if name == "plane" else options.min_explained / 2
        found = p < options.p_limit and moves >= options.min_range_px and explained >= needed
        reasons.append((name, moves, p, explained))
        if wanted or (options.model == "auto" and found):
            model = name  # type: ignore[assignment]
        elif name == "plane":
            break
    chosen = fits[model]
    name, moves, p, explained = reasons[-1]
    how = f"{moves:.2g} px over the scan, chance {p:.1g}, {explained:.0%} of the variance of the shifts"
    total = 1 - chosen.spread(shift, tile_place, weights) / max(
        fits["none"].spread(shift, tile_place, weights), np.finfo(float).tiny
    )
    if model == "none":
        why = f"no descan: a plane through the shifts of {len(shift)} parts of the scan is not needed ({how})"
    else:
        moved = _range(descan_shift(chosen.coefficients, place))
        why = (
            f"the pattern wanders by {moved:.2f} px over the scan, as a {model} "
            f"({'given by the user' if options.model != 'auto' else 'chosen'}; fitted to the shifts of "
            f"{len(shift)} parts of the scan, explains {total:.0%} of their variance, "
            f"uncertainty {chosen.sd_px(tile_place, place):.2g} px)"
        )
    return _Choice(
        model=model,
        coefficients=chosen.coefficients,
        sd_px=chosen.sd_px(tile_place, place),
        explained=total,
        why=why,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Fit:
    """Robust fit of some terms and a constant."""

    solution: Floats  # (1 + term, 2)
    covariance: Floats  # (1 + term, 1 + term), of the solution along one axis
    trust: Floats  # (tile,) weight of each tile, 0 … 1, besides its number of patterns

    @property
    def coefficients(self) -> Floats:
        return self.solution[1:]

    def spread(self, shift: Floats, place: Floats, weights: Floats) -> float:
        """Robust mean square of the residuals: outliers are cut at three deviations."""
        square = ((shift - _design(place, len(self.solution) - 1) @ self.solution) ** 2).sum(axis=1)
        limit = 9 * max(float(np.median(square)), np.finfo(float).tiny)
        return float(np.average(np.minimum(square, limit), weights=weights))

    def sd_px(self, tile_place: Floats, place: Floats) -> float:
        """Root mean square uncertainty over the scan."""
        design = _design(place, len(self.solution) - 1)
        return float(np.sqrt(np.mean(np.einsum("nt,tu,nu->n", design, self.covariance, design))))


def _fit(shift: Floats, place: Floats, weights: Floats, n_terms: int) -> _Fit:
    """Least squares, repeated with Tukey's weights (Huber & Ronchetti, Robust Statistics, 2009)."""
    design = _design(place, n_terms)
    trust = np.ones(len(shift))
    solution = np.zeros((design.shape[1], 2))
    inverse: Floats = np.eye(design.shape[1])
    for _ in range(20):
        w = weights * trust
        matrix = (design * w[:, None]).T @ design
        inverse = np.asarray(np.linalg.pinv(matrix, hermitian=True), np.float64)
        solution = inverse @ ((design * w[:, None]).T @ shift)
        distance = np.hypot(*(shift - design @ solution).T)
        scale = max(float(np.median(distance)) / 1.1774, 1e-6)  # median of a Rayleigh distribution
        trust = np.maximum(1 - (distance / (4.685 * scale)) ** 2, 0.0) ** 2
    left = shift - design @ solution
    w = weights * trust
    freedom = max(2 * (float(trust.sum()) - design.shape[1]), 1.0)
    variance = float((w[:, None] * left**2).sum()) / freedom
    return _Fit(solution=solution, covariance=variance * inverse, trust=trust)


def _chance(smaller: _Fit, larger: _Fit, shift: Floats, place: Floats, weights: Floats) -> float:
    """Probability that a fit improves so much by chance: F test with the weights of the larger one."""
    w = (weights * larger.trust)[:, None]
    n_small, n_large = len(smaller.solution), len(larger.solution)
    again = np.linalg.lstsq(np.sqrt(w) * _design(place, n_small - 1), np.sqrt(w) * shift, rcond=None)[0]
    before = float((w * (shift - _design(place, n_small - 1) @ again) ** 2).sum())
    after = float((w * (shift - _design(place, n_large - 1) @ larger.solution) ** 2).sum())
    added, freedom = 2 * (n_large - n_small), 2 * (float(larger.trust.sum()) - n_large)
    if freedom < 2:
        return 1.0
    ratio = max(before - after, 0.0) / added / max(after / freedom, 1e-30 * before + 1e-200)
    return float(stats.f.sf(ratio, added, freedom))


def _terms(place: Floats) -> Floats:
    y, x = place.T
    return np.stack([y, x, y * y, y * x, x * x], axis=1)


def _design(place: Floats, n_terms: int) -> Floats:
    return np.concatenate([np.ones((len(place), 1)), _terms(place)[:, :n_terms]], axis=1)


def _range(shift: Floats) -> float:
    """Largest distance between two shifts, at most 1 % too small: widths in 24 directions."""
    angle = np.pi / 24 * np.arange(24)
    return float(np.ptp(shift @ np.stack([np.sin(angle), np.cos(angle)]), axis=0).max(initial=0.0))


def _of_tiles(coefficients: Floats, tiles: TileMeans, place: Floats) -> Floats:
    """Model shift of each tile, with the same zero as over the whole scan."""
    whole: Floats = _terms(place)[:, : len(coefficients)] @ coefficients
    return np.asarray(_terms(tiles.place)[:, : len(coefficients)] @ coefficients - whole.mean(axis=0))


def _mean_at_rest(tiles: TileMeans, shift: Floats, valid: Bools) -> Floats:
    mean = at_rest(tiles.mean, tiles.n.astype(np.float64), shift, valid)
    return np.where(seen(valid, shift), mean, np.nan)


def _coarser(means: Floats, valid: Bools) -> tuple[Floats, Bools, int]:
    """Patterns of at most `MAX_SIDE_PX`, by averaging over squares of pixels."""
    factor = int(np.ceil(max(valid.shape) / MAX_SIDE_PX))
    if factor == 1:
        return means, valid, 1
    ky, kx = (n // factor for n in valid.shape)
    known = (np.isfinite(means) & valid)[:, : ky * factor, : kx * factor]
    values = np.where(known, means[:, : ky * factor, : kx * factor], 0.0)
    shape = (len(means), ky, factor, kx, factor)
    count = known.reshape(shape).sum(axis=(2, 4))
    whole = values.reshape(shape).sum(axis=(2, 4)) / np.maximum(count, 1)
    enough = count >= factor**2
    return np.where(enough, whole, np.nan), np.asarray(enough.any(axis=0)), factor


def _nothing(
    tiles: TileMeans,
    why: str,
    *,
    shift: Floats | None = None,
    explained: float = float("nan"),
    problem: Problem | None = None,
) -> DescanFit:
    return DescanFit(
        model="none",
        coefficients_px=np.zeros((0, 2)),
        sd_px=float("nan"),
        range_px=0.0,
        explained=explained,
        tile_place=tiles.place,
        tile_shift_px=np.full((len(tiles.n), 2), np.nan) if shift is None else shift,
        tile_model_px=np.zeros((len(tiles.n), 2)),
        mean=None,
        why=why,
        problem=problem,
    )


def _known(tiles: TileMeans, place: Floats, valid: Bools, coefficients: Floats) -> DescanFit:
    of_tiles = _of_tiles(coefficients, tiles, place)
    moved = _range(descan_shift(coefficients, place))
    return DescanFit(
        model="plane" if len(coefficients) == 2 else "quadratic",
        coefficients_px=coefficients,
        sd_px=float("nan"),
        range_px=moved,
        explained=float("nan"),
        tile_place=tiles.place,
        tile_shift_px=np.full((len(tiles.n), 2), np.nan),
        tile_model_px=of_tiles,
        mean=_mean_at_rest(tiles, of_tiles, valid),
        why=f"the pattern wanders by {moved:.2f} px over the scan, as given",
    )
