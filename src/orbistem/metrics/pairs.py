"""Which positions of a scan must be alike up to a turn: from the truth, or from the scan's own symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import OptionError
from orbistem.scan import Truth

SHIFTS = 6
"""Each position of a site is paired with at most so many others of it, evenly spread."""
FAR_FROM_DEFECT_A = 4.0
"""Positions nearer to a defect are no copies of others."""
LEAST_POSITIONS = 2
"""Of a site that a clustering is asked for: a rectangular cell of ZnS [110] has two of each general site."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """Pairs of positions p, q: the pattern at q is the one at p, turned.

    Attributes
    ----------
    rows
        (m, 2) int, flat positions p and q.
    turn
        (m,) rad, from +kx to +ky.
    order
        (m,) int: the turn is known modulo 2π/order.
    """

    rows: np.ndarray
    turn: np.ndarray
    order: np.ndarray


def truth_pairs(truth: Truth) -> Pairs:
    """Pairs of positions of one site, far from defects.

    Parameters
    ----------
    truth
        Of the scan; `site`, `angle` and `point_group` are used.

    Examples
    --------
    >>> import numpy as np
    >>> truth = Truth(
    ...     site=np.array([[0, 0, 1]]),
    ...     angle=np.array([[0.0, np.pi, 0.0]]),
    ...     point_group=np.array([["C1", "C1", "D3"]]),
    ...     defect_distance=np.full((1, 3), np.inf),
    ... )
    >>> truth_pairs(truth).rows.tolist()
    [[0, 1], [1, 0]]
    """
    use = np.flatnonzero(judged(truth))
    site, angle = truth.site.ravel(), truth.angle.ravel()
    order = np.array([int(name[1:]) for name in truth.point_group.ravel().tolist()])
    rows = []
    for one in np.unique(site[use]):
        members = use[site[use] == one]
        n = len(members)
        shifts = np.unique(np.linspace(1, n - 1, min(SHIFTS, n - 1)).astype(int)) if n > 1 else ()
        rows += [np.stack([members, np.roll(members, -shift)], axis=1) for shift in shifts]
    found = np.concatenate(rows) if rows else np.empty((0, 2), int)
    p, q = found.T
    return Pairs(rows=found, turn=(angle[q] - angle[p]) % (2 * np.pi), order=order[p])


def fold_pairs(scan_shape: tuple[int, ...], fold: int, *, within: float | None = None) -> Pairs:
    """Pairs of a grid whose middle is an axis of rotation, such as a scan over beam tilts.

    Parameters
    ----------
    scan_shape
        (y, x).
    fold
        2; or 4, for a square grid.
    within
        Largest distance from the middle, positions; None takes all.
    """
    if len(scan_shape) != 2 or fold not in (2, 4) or (fold == 4 and scan_shape[0] != scan_shape[1]):
        raise OptionError(
            f"scan_fold: want 2 for a grid or 4 for a square one, got {fold} for {scan_shape}; leave it out"
        )
    ny, nx = scan_shape
    y, x = np.indices(scan_shape)
    above, beside = y - (ny - 1) / 2, x - (nx - 1) / 2
    use = np.hypot(above, beside) <= (np.inf if within is None else within)
    use &= np.hypot(above, beside) > 0
    rows, turns = [], []
    for k in range(1, fold):
        for _ in range(4 // fold):
            above, beside = beside, -above  # a quarter turn from +x to +y
        to_y = np.rint(above + (ny - 1) / 2).astype(int)
        to_x = np.rint(beside + (nx - 1) / 2).astype(int)
        rows.append(np.stack([np.flatnonzero(use), (to_y * nx + to_x)[use]], axis=1))
        turns.append(np.full(int(use.sum()), 2 * np.pi * k / fold))
    found = np.concatenate(rows)
    return Pairs(rows=found, turn=np.concatenate(turns), order=np.ones(len(found), int))


def judged(truth: Truth) -> np.ndarray:
    """Which positions (n,) are as in the perfect crystal: those far from every defect."""
    away = truth.defect_distance.ravel()
    return np.asarray(~(away < FAR_FROM_DEFECT_A))


def judged_sites(truth: Truth) -> np.ndarray:
    """Which positions (n,) belong to sites that a clustering can be asked for: with two members or more."""
    use = judged(truth)
    site = truth.site.ravel()
    _, place, count = np.unique(site[use], return_inverse=True, return_counts=True)
    use[use] = count[place] >= LEAST_POSITIONS
    return use
