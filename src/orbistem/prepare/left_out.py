"""Patterns that were measured and yet must stay out of everything: cosmic rays, a blanked beam, fly-back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbistem.prepare.moments import MomentsResult
from orbistem.prepare.scan_lines import LinesFit, find_line_faults
from orbistem.scan import Scan

Bools = NDArray[np.bool_]

BLANK = 0.02
"""A pattern with less than this share of the median total was taken with a blanked beam ..."""
MAX_BLANK = 0.25
"""... unless so large a part of the scan looks like that: then it is vacuum seen in dark field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaveOutOptions:
    """Which patterns are left out (NaN in all maps).

    Attributes
    ----------
    fly_back : bool
        Columns that the beam flew back in.
    cosmic : bool
        Patterns with a spike far above all others.
    blank : bool
        Patterns with next to nothing in them. Constant and empty ones are never used.
    """

    fly_back: bool = True
    cosmic: bool = True
    blank: bool = True


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LeftOut:
    """Patterns to leave out, and what else is wrong along the lines of the scan.

    Attributes
    ----------
    positions
        (n_positions,) bool.
    cosmic, blank
        Flat positions.
    lines
        See `scan_lines.LinesFit`.
    notes
        Sentences.
    """

    positions: Bools
    cosmic: tuple[int, ...]
    blank: tuple[int, ...]
    lines: LinesFit
    notes: tuple[str, ...]


def find_left_out(
    scan: Scan,
    moments: MomentsResult,
    thumbnails: NDArray[np.float32],
    *,
    spiked: tuple[int, ...],
    options: LeaveOutOptions | None = None,
) -> LeftOut:
    """Find the patterns to leave out.

    Parameters
    ----------
    scan
    moments
        Of the whole scan.
    thumbnails : (position, bin)
        See `thumbnails.Thumbnails`.
    spiked
        Positions with a spike; see `mask.MaskResult`.
    options

    Returns
    -------
    LeftOut
    """
    options = options or LeaveOutOptions()
    positions = np.zeros(scan.n_positions, bool)
    notes = []
    blank = _blank(moments) if options.blank else ()
    if blank:
        positions[list(blank)] = True
        notes.append(
            f"{_patterns(blank)} with next to nothing in {'it' if len(blank) == 1 else 'them'} (a blanked "
            f"beam?) left out, at {_places(scan, blank)}"
        )
    cosmic = spiked if options.cosmic else ()
    if cosmic:
        positions[list(cosmic)] = True
        notes.append(
            f"{_patterns(cosmic)} with a spike far above all others (a cosmic ray?) left out, at "
            f"{_places(scan, cosmic)}"
        )
    lines = find_line_faults(scan, thumbnails, moments.usable & ~positions)
    if options.fly_back:
        positions |= lines.fly_back
        notes += lines.notes
    notes += lines.remarks
    return LeftOut(positions=positions, cosmic=cosmic, blank=blank, lines=lines, notes=tuple(notes))


def _blank(moments: MomentsResult) -> tuple[int, ...]:
    totals = moments.totals[moments.usable]
    usual = float(np.median(totals))
    if not usual > 0:
        return ()
    low = np.flatnonzero(moments.usable & (np.nan_to_num(moments.totals, nan=np.inf) < BLANK * usual))
    return tuple(int(i) for i in low) if len(low) <= MAX_BLANK * len(totals) else ()


def _patterns(at: tuple[int, ...]) -> str:
    return f"{len(at)} pattern{'' if len(at) == 1 else 's'}"


def _places(scan: Scan, at: tuple[int, ...]) -> str:
    """The first of them: (y, x) on a grid, numbers in a list."""
    if scan.positions is None:
        n_columns = scan.scan_shape[1]
        words = [f"({one // n_columns}, {one % n_columns})" for one in at[:5]]
    else:
        words = [str(one) for one in at[:5]]
    return ", ".join(words) + (", ..." if len(at) > 5 else "")
