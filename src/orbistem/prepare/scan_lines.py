"""What goes wrong along the lines of a scan: fly-back patterns, lines that are rolled, lines that jump.

A scan generator that takes a pattern while the beam flies back, or starts a line too late, leaves traces that
no single pattern shows: a last column that fits to nothing, a seam inside the lines in the place of their
ends. Thumbnails of the patterns, weighted like counts, are compared with those of their neighbours; a seam
must show in every line, so that a grain boundary is not taken for one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from orbistem.scan import Scan

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MIN_LINES, MIN_COLUMNS = 4, 8
NOVEL = 2.0
"""A fly-back pattern lies this many times farther (squared) from everything else than patterns usually do."""
SEAM = 2.0
"""A seam is this many times wider (squared) than usual steps along a line."""
SEAM_SHARE = 20
"""A rolled line has its seam in the first or last 1 / 20 of its columns (but in three at least)."""
MAX_ROWS, LIBRARY = 64, 512
JUMP_COLUMNS = 1.0
MIN_AGREEMENT = 0.5
"""Of neighbouring lines, where they are moved best; 1: the same structure."""
MIN_GAIN = 0.15
CHANCES = 6.0
"""Agreement and gain stand so many standard deviations above what noise makes."""
MIN_STRUCTURE = 0.02
MIN_DRIFT, DRIFT_SIGMA = 2.0, 4.0
"""A steady step from line to line is worth a sentence from so many columns over the scan on, and so many
standard deviations."""


class Problem(StrEnum):
    """What is said about lines that are not left out; texts take the facts."""

    SEAM = (
        "every line has a seam between columns {before} and {after} (counted from 0), and its end goes on in "
        "the next: the scan seems to be rolled by {roll:+d} columns; give --roll {roll} to roll it back"
    )
    JUMPS = (
        "{count} line{s} jump{verb} sideways against the line before (line {lines}): what looks broken there "
        "may be the scan"
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinesFit:
    """What was found along the lines.

    Attributes
    ----------
    fly_back
        (n_positions,) bool: patterns taken while the beam flew back.
    columns
        Columns of the scan that hold them; for a file without lines the place within a period.
    period
        Patterns of a line, where a file without lines shows them; else None.
    roll
        Columns that the scan seems to be rolled by; 0 where it does not.
    line_shift
        (line - 1,) columns by which each line is moved against the one before; NaN where not known.
    drift
        Columns by which the last line lies beside the first if every line is moved as usual; NaN where not
        known.
    jumps
        Lines that jump against the one before.
    notes, remarks, problems
        Sentences: on what is left out, on what is not, and on what to be wary of.
    """

    fly_back: Bools
    columns: tuple[int, ...] = ()
    period: int | None = None
    roll: int = 0
    line_shift: Floats = field(default_factory=lambda: np.empty(0))
    drift: float = float("nan")
    jumps: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def find_line_faults(scan: Scan, thumbnails: NDArray[np.float32], usable: Bools) -> LinesFit:
    """Look for fly-back patterns, rolled lines and lines that jump.

    Parameters
    ----------
    scan
        A grid or a line; in a list of positions nothing is looked for.
    thumbnails : (position, bin)
        See `thumbnails.Thumbnails`.
    usable : (position,) bool
    """
    nothing = np.zeros(scan.n_positions, bool)
    if scan.positions is not None or int(usable.sum()) < MIN_LINES * MIN_COLUMNS:
        return LinesFit(fly_back=nothing)
    pictures = _weighted(thumbnails, usable)
    n_lines, n_columns = scan.scan_shape
    if n_columns == 1:
        return _of_one_line(pictures)
    if n_lines < MIN_LINES or n_columns < MIN_COLUMNS:
        return LinesFit(fly_back=nothing)
    grid = pictures.reshape(n_lines, n_columns, -1)
    columns = _fly_back_columns(grid)
    notes, problems = [], []
    fly_back = nothing.reshape(scan.scan_shape)
    if columns:
        fly_back[:, list(columns)] = True
        notes.append(_fly_back_words(columns))
    keep = np.setdiff1d(np.arange(n_columns), columns)
    seam = None if columns else _seam(grid)
    roll = 0
    if seam is not None:
        roll = seam + 1 if seam + 1 <= n_columns // 2 else seam + 1 - n_columns
        problems.append(Problem.SEAM.format(before=seam, after=seam + 1, roll=roll))
    shift, jumps = _line_shifts(grid[:, keep])
    if jumps:
        problems.append(_jump_words(jumps))
    drift, remarks = drift_of(shift)
    return LinesFit(
        fly_back=fly_back.reshape(-1),
        columns=columns,
        roll=roll,
        line_shift=shift,
        drift=drift,
        jumps=jumps,
        notes=tuple(notes),
        remarks=remarks,
        problems=tuple(problems),
    )


def _weighted(thumbnails: NDArray[np.float32], usable: Bools) -> Floats:
    """Deviations from the mean in units of counting noise (up to one factor); NaN where not usable."""
    pictures = thumbnails.astype(np.float64)
    mean = pictures[usable].mean(axis=0)
    lit = mean > 1e-3 * max(float(mean.max()), np.finfo(float).tiny)
    if not lit.any():  # dark frames: none of them stands out
        return np.where(usable[:, None], 0.0, np.nan)
    weighted: Floats = (pictures[:, lit] - mean[lit]) / np.sqrt(mean[lit])
    weighted[~usable] = np.nan
    return weighted


def _apart(a: Floats, b: Floats) -> Floats:
    """Mean squared distance of pictures, NaN where one is missing."""
    return np.asarray(((a - b) ** 2).mean(axis=-1))


def _smallest(distances: list[Floats]) -> Floats:
    """Smallest over the list, NaN where all are NaN."""
    return np.asarray(np.fmin.reduce(distances))


def _fly_back_columns(grid: Floats) -> tuple[int, ...]:
    """First or last column, where its patterns fit to nothing else in every line."""
    n_lines, n_columns = grid.shape[:2]
    rows = np.unique(np.linspace(1, n_lines - 2, min(n_lines - 2, MAX_ROWS)).round().astype(int))
    novel = np.full((len(rows), n_columns), np.nan)
    for column in range(n_columns):
        others = [
            other for other in range(column - 3, column + 4) if 0 <= other < n_columns and other != column
        ]
        near = [_apart(grid[rows, column], grid[rows + dy, other]) for dy in (-1, 0, 1) for other in others]
        novel[:, column] = _smallest(near)
    found = []
    for column in (0, n_columns - 1):
        inner = novel[:, 1:-1][np.isfinite(novel[:, 1:-1])]
        here = novel[:, column][np.isfinite(novel[:, column])]
        if len(here) < MIN_LINES or len(inner) < MIN_LINES * MIN_COLUMNS:
            continue
        # compared with all of the rest, too: a grain boundary at the edge is no fly-back
        far = _from_library(grid, rows, column)
        typical = max(float(np.median(inner)), np.finfo(float).tiny)
        if np.quantile(np.fmin(here, far), 0.1) > max(NOVEL * typical, float(np.quantile(inner, 0.98))):
            found.append(column)
    return tuple(found)


def _from_library(grid: Floats, rows: NDArray[np.int64], column: int) -> Floats:
    """Smallest squared distance of a column's patterns from patterns of all other columns, (row,)."""
    other = np.delete(grid, column, axis=1).reshape(-1, grid.shape[-1])
    other = other[np.isfinite(other[:, 0])]
    other = other[np.unique(np.linspace(0, len(other) - 1, LIBRARY).round().astype(int))]
    here = grid[rows, column]
    here = here[np.isfinite(here[:, 0])]
    return np.array([_apart(other, one).min() for one in here])


def _of_one_line(pictures: Floats) -> LinesFit:
    """Fly-back patterns in a file that does not say where its lines end: they come once a period."""
    n = len(pictures)
    near = []
    for by in (1, 2, 3):
        step = _apart(pictures[by:], pictures[:-by])
        near += [np.r_[np.full(by, np.nan), step], np.r_[step, np.full(by, np.nan)]]
    found = _period(_smallest(near))
    if found is None:
        return LinesFit(fly_back=np.zeros(n, bool))
    period, place = found
    fly_back = np.arange(n) % period == place
    lines = n // period
    return LinesFit(
        fly_back=fly_back,
        columns=(place,),
        period=period,
        notes=(
            f"one pattern in {period} fits to none of its neighbours, as when the beam flies back after "
            f"{lines} lines of {period} patterns each: these {int(fly_back.sum())} are left out; give "
            f"--shape {lines},{period},... to fold the file",
        ),
    )


def _period(novel: Floats) -> tuple[int, int] | None:
    """Shortest period with a place, at its start or end, whose patterns all fit to nothing near them."""
    n = len(novel)
    known = np.isfinite(novel)
    limit = NOVEL * max(float(np.median(novel[known])), np.finfo(float).tiny)
    for period in range(MIN_COLUMNS, n // MIN_LINES + 1):
        if n % period:
            continue
        for place in (0, period - 1):
            here = np.arange(n) % period == place
            few, rest = novel[here & known], novel[~here & known]
            if len(few) >= MIN_LINES and np.quantile(few, 0.1) > max(limit, float(np.quantile(rest, 0.98))):
                return period, place
    return None


def _fly_back_words(columns: tuple[int, ...]) -> str:
    names = " and ".join(str(column) for column in columns)
    return (
        f"the patterns of column {names} fit to nothing else in any line, as when the beam flies back: "
        "they are left out ([leave_out] fly_back = false keeps them)"
    )


def _seam(grid: Floats) -> int | None:
    """Column before a seam near the start or end of the lines, where the lines' ends join instead."""
    n_lines, n_columns = grid.shape[:2]
    rows = np.unique(np.linspace(0, n_lines - 2, min(n_lines - 1, MAX_ROWS)).round().astype(int))
    step = np.stack([_apart(grid[rows, c], grid[rows, c + 1]) for c in range(n_columns - 1)], axis=1)
    around = _smallest([_apart(grid[rows, -1], grid[rows + by, 0]) for by in (0, 1)])
    known = np.isfinite(around) & np.isfinite(step).all(axis=1)
    if known.sum() < MIN_LINES:
        return None
    step, around = step[known], around[known]
    typical = max(float(np.median(step)), np.finfo(float).tiny)
    reach = max(3, n_columns // SEAM_SHARE)
    candidates = [*range(reach), *range(n_columns - 1 - reach, n_columns - 1)]
    best = max(candidates, key=lambda c: float(np.quantile(step[:, c], 0.1)))
    width = float(np.median(step[:, best]))
    in_every_line = float(np.quantile(step[:, best], 0.1)) > max(
        float(np.quantile(np.delete(step, best, axis=1), 0.9)), typical
    )
    joined = float(np.median(around)) < typical + 0.25 * (width - typical)
    return best if width > SEAM * typical and in_every_line and joined else None


def _line_shifts(grid: Floats) -> tuple[Floats, tuple[int, ...]]:
    """Columns by which each line is moved against the one before, and the lines that jump."""
    n_lines, n_columns, n_bins = grid.shape
    reach = min(n_columns // 4, 8)
    lags = np.arange(-reach, reach + 1)
    values = np.nan_to_num(grid)
    # neighbours in a line share structure and no noise: their product says how strong the structure is
    power = (values**2).sum(axis=(1, 2)) / n_columns
    structure = (values[:, 1:] * values[:, :-1]).sum(axis=(1, 2)) / (n_columns - 1)
    structure = np.maximum(structure, MIN_STRUCTURE * np.maximum(power, 1e-200))
    scale = np.sqrt(structure[1:]) * np.sqrt(structure[:-1])
    agreement = np.zeros((n_lines - 1, len(lags)))
    for i, lag in enumerate(lags):
        a = values[:-1, max(0, -lag) : n_columns - max(0, lag)]
        b = values[1:, max(0, lag) : n_columns - max(0, -lag)]
        agreement[:, i] = (a * b).sum(axis=(1, 2)) / (n_columns - abs(lag)) / scale
    chance = np.sqrt(power[1:] * power[:-1]) / (scale * np.sqrt(n_columns * n_bins))
    best = agreement.argmax(axis=1)
    peak = agreement.max(axis=1)
    known = (peak > MIN_AGREEMENT) & (peak > CHANCES * chance)
    shift = np.where(known, lags[best] + _vertex(agreement, best), np.nan)
    if not known.any():
        return shift, ()
    usual = float(np.nanmedian(shift))
    usual_lag = int(np.clip(np.rint(usual), -reach, reach)) + reach
    gain = peak - agreement[:, usual_lag]
    spread = float(np.median(np.abs(shift - usual)[known]))
    far = np.nan_to_num(np.abs(shift - usual)) >= max(JUMP_COLUMNS, 5 * spread)
    clear = (gain > MIN_GAIN) & (gain > CHANCES * chance) & (np.abs(lags[best]) < reach)
    return shift, tuple(int(line) for line in np.flatnonzero(far & clear) + 1)


def drift_of(line_shift: Floats) -> tuple[float, tuple[str, ...]]:
    """Columns from the first line to the last at the usual shift of a line, and a sentence where it matters.

    One scan cannot tell drift from structure that lies aslant, and the sentence says so.

    Parameters
    ----------
    line_shift
        (line - 1,), NaN where not known.

    Returns
    -------
    float
        NaN where most lines do not show it.
    tuple of str
    """
    known = line_shift[np.isfinite(line_shift)]
    if 2 * len(known) < len(line_shift) or len(known) < MIN_LINES:
        return float("nan"), ()
    usual = float(np.median(known))
    sd = 1.2533 * 1.4826 * float(np.median(np.abs(known - usual))) / np.sqrt(len(known))  # of a median
    drift = usual * len(line_shift)
    if abs(drift) < MIN_DRIFT or abs(usual) < DRIFT_SIGMA * sd:
        return drift, ()
    return drift, (
        f"most lines of the scan lie {usual:+.2f} columns beside the line before, {drift:+.1f} columns from "
        "the first to the last: the scan drifts, or the structure lies aslant (a second scan, turned, tells)",
    )


def _vertex(agreement: Floats, best: NDArray[np.int64]) -> Floats:
    """Place of the peak between the lags, from a parabola through three of them."""
    inside = np.clip(best, 1, agreement.shape[1] - 2)
    rows = np.arange(len(agreement))
    low, top, high = (agreement[rows, inside + step] for step in (-1, 0, 1))
    bend = low - 2 * top + high
    part = np.where(bend < 0, 0.5 * (low - high) / np.where(bend < 0, bend, -1.0), 0.0)
    return np.where(inside == best, np.clip(part, -0.5, 0.5), 0.0)


def _jump_words(jumps: tuple[int, ...]) -> str:
    some = ", ".join(map(str, jumps[:5])) + (", ..." if len(jumps) > 5 else "")
    one = len(jumps) == 1
    return Problem.JUMPS.format(count=len(jumps), s="" if one else "s", verb="s" if one else "", lines=some)
