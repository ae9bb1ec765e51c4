"""The site's point group: the largest of the ten in the plane that agrees with the noise of the pattern.

A pattern that keeps a group has no energy in what the group forbids: the orders that are no multiple of n,
and, with mirrors, the part of the others that is odd about the best line. Their weighted energy

    T = Σ_{m ≢ 0 mod n} w |c_m|² + Σ_{m ≡ 0 mod n} w (odd part of c_m)²

is tested against its law under noise alone (`energy_tests`). The parts of T that would be left if only a
subgroup held are tested, too: its own orders, and with mirrors the part of them that is even about its own
lines, say more about a step down to it than all together. The smallest p counts, times the number of tests.
The line is fitted to the same pattern, which makes the test with mirrors conservative.

To agree is not enough: where there is no signal every group agrees. A group is *claimed* only where a
pattern without it would have been noticed:

- turns: a pattern that knows nothing of the group has the share 1 - 1/n of its energy in forbidden orders;
  that much energy must lie well above the noise of T;
- mirrors: the phases must say so. Their likelihood with all phases on one line, wherever it lies, is compared
  with that of independent, uniform phases of the same amplitudes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import OptionError
from orbistem.groups import POINT_GROUPS, PointGroup
from orbistem.symmetry.components import Components
from orbistem.symmetry.descriptor import Descriptor, Variable
from orbistem.symmetry.energy_tests import EnergyTests
from orbistem.symmetry.n_fold import FOLDS

__all__ = ["LEVEL", "POINT_GROUP", "UNDECIDED", "PointGroupFit", "point_group"]

LEVEL = 0.01
"""A group is given up where noise alone would look as bad this often, at most: the p values are somewhat too
large. Lower levels call more of what is weakly broken perfect: the third of the MoS2 sites, whose pattern is
almost sixfold, is seen for what it is in 0.977 of draws at 10⁶ electrons with 0.01, in 0.92 with 0.001."""
UNDECIDED = 0
"""Code of a pattern in which nothing speaks against a symmetry and nothing for it."""
EVIDENCE = 1.0
"""Log of how much likelier mirrors must make the phases: e to 1, nearly "substantial" (Jeffreys, 1961)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PointGroupFit:
    """Point group of every pattern.

    Parameters
    ----------
    code
        Shape (n,), int: 0 for undecided, else 1 + the index in `orbistem.groups.POINT_GROUPS`.
    p
        Probability that noise alone breaks the group as much, shape (n,); NaN where undecided.
    p_all
        The same for each of the ten groups, shape (n, 10).
    claimed
        Whether each group could be told from its absence, shape (n, 10), bool.
    """

    code: np.ndarray
    p: np.ndarray
    p_all: np.ndarray
    claimed: np.ndarray

    @property
    def names(self) -> np.ndarray:
        """Schoenflies names, shape (n,); "" where undecided."""
        names: np.ndarray = np.array(["", *(group.name for group in POINT_GROUPS)])[self.code]
        return names


def point_group(components: Components, *, level: float = LEVEL) -> PointGroupFit:
    """Largest point group that agrees with the noise and is not there for want of signal.

    Parameters
    ----------
    components
        Of n patterns.
    level
        Significance at which a group is given up, in (0, 0.5).
    """
    if not 0 < level < 0.5:
        raise OptionError(f"level: want a probability in (0, 0.5), got {level}; give for instance 0.001")
    test = EnergyTests(components)
    n = len(components)
    p_all = np.ones((n, len(POINT_GROUPS)))
    claimed = np.zeros((n, len(POINT_GROUPS)), bool)
    turns: dict[int, int] = {}
    for i, group in enumerate(POINT_GROUPS):  # turns alone come first
        if not group.mirrors:
            turns[group.order] = i
            p_all[:, i], claimed[:, i] = test.turns(group.order, level)
        else:
            p_all[:, i], noticed = test.mirrors(group.order, level)
            rows = np.flatnonzero(claimed[:, turns[group.order]] & noticed & (p_all[:, i] >= level))
            claimed[rows, i] = test.mirror_evidence(rows, group.order) >= EVIDENCE
    code, p = _choose(p_all, claimed, level)
    finite = np.isfinite(components.values).all(axis=1)
    return PointGroupFit(
        code=np.where(finite, code, UNDECIDED),
        p=np.where(finite, p, np.nan),
        p_all=np.where(finite[:, None], p_all, np.nan),
        claimed=claimed & finite[:, None],
    )


def _choose(p_all: np.ndarray, claimed: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Largest group that agrees and is claimed; among equals the likelier.

    Undecided where only C1 is left although larger ones agree.
    """
    agrees = p_all >= level
    size = np.array([group.size for group in POINT_GROUPS], float)
    merit = np.where(agrees & claimed, size + 0.5 * p_all, 0.0)
    best = np.argmax(merit, axis=1)
    p = np.take_along_axis(p_all, best[:, None], axis=1)[:, 0]
    identity = POINT_GROUPS.index(PointGroup.from_name("C1"))
    undecided = (best == identity) & (agrees.sum(axis=1) > 1)
    return np.where(undecided, UNDECIDED, best + 1), np.where(undecided, np.nan, p)


def _maps(components: Components) -> tuple[np.ndarray, ...]:
    found = point_group(components)
    code = np.where(np.isfinite(components.values).all(axis=1), found.code, np.nan)
    turns = [POINT_GROUPS.index(PointGroup.from_name(f"C{n}")) for n in FOLDS]
    return code, found.p, with_powers(found.p_all[:, turns])


def with_powers(p: np.ndarray) -> np.ndarray:
    """P values (n, fold) of turns, for a turn and its powers: two quarter turns make the half-turn.

    The smallest of them times their number (Bonferroni), so that no turn is kept whose power is refuted.
    """
    found = np.empty_like(p)
    for i, n in enumerate(FOLDS):
        powers = [j for j, d in enumerate(FOLDS) if n % d == 0]
        found[:, i] = np.minimum(len(powers) * p[:, powers].min(axis=1), 1.0)
    return found


POINT_GROUP = Descriptor(
    name="point_group",
    variables=(
        Variable(
            name="point_group",
            long_name="largest point group that agrees with the noise; 0: not enough signal to tell",
            attributes={
                "flag_values": tuple(range(len(POINT_GROUPS) + 1)),
                "flag_meanings": " ".join(("undecided", *(group.name for group in POINT_GROUPS))),
                "level": LEVEL,
            },
        ),
        Variable(
            name="point_group_p",
            long_name="probability that noise alone breaks the point group as much as the pattern does",
        ),
        Variable(
            name="n_fold_p",
            long_name="probability that noise alone breaks a turn by 360°/order, or a power of it, as much "
            "as the pattern does",
            dim="order",
            labels=FOLDS,
        ),
    ),
    compute=_maps,
)
