"""The site's point group: the largest of the ten in the plane that agrees with the noise of the pattern.

A pattern that keeps a group has no energy in what the group forbids: the orders that are no multiple of n,
and, with mirrors, the part of the others that is odd about the best line. Their weighted energy

    T = Σ_{m ≢ 0 mod n} w |c_m|² + Σ_{m ≡ 0 mod n} w (odd part of c_m)²

is, without signal, a sum of weighted χ² with known weights; its tail is taken from the χ² with the same
three moments (Imhof, Biometrika 48, 419 (1961); Liu, Tang & Zhang, Comput. Stat. Data Anal. 53, 853 (2009)).
The parts of T that would be left if only a subgroup held are tested, too: its own orders say more about a
step down to it than all together. The smallest p counts, times the number of tests. The line is fitted to the
same pattern, which makes the test with mirrors conservative.

To agree is not enough: where there is no signal every group agrees. A group is *claimed* only where a
pattern without it would have been noticed:

- turns: a pattern that knows nothing of the group has the share 1 - 1/n of its energy in forbidden orders;
  that much energy must lie well above the noise of T;
- mirrors: the phases must say so. Their likelihood with all phases on one line is compared with that of
  independent, uniform phases of the same amplitudes (Laplace's approximation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import OptionError
from orbistem.groups import POINT_GROUPS, PointGroup
from orbistem.symmetry.components import CLASSES, MIN_WEIGHT, Components
from orbistem.symmetry.descriptor import Descriptor, Variable
from orbistem.symmetry.mirror import best_line, squares_by_order

__all__ = ["LEVEL", "POINT_GROUP", "UNDECIDED", "PointGroupFit", "point_group"]

LEVEL = 1e-3
"""A group is given up where noise alone would look as bad this often."""
UNDECIDED = 0
"""Code of a pattern in which nothing speaks against a symmetry and nothing for it."""
POWER = 2.0
"""Energy of a pattern without the group, over the least that would be noticed."""
SPEAKING = 2.5
"""Components of at least this amplitude, in units of noise, have a phase that says something; only such as
rise above the noise in the whole scan are asked."""
SPREAD_MARGIN = 1.15
"""Factor on the variance of T: orders share a little noise where a pattern is uneven along its circles, and
few counts scatter more than Gaussian noise. Draws of graphene and MoS2 at 10⁵ and 10⁶ electrons ask for 1.04
to 1.18."""
DOUBT_SHARE = 1 / 3
"""Part of the uncertainty of a pattern's noise level that stays in T: the same electrons make both. Matters
below 10⁵ electrons; draws of graphene at 10⁴ ask for 0.1 to 0.35."""
PIXEL_ERROR = 0.01
"""Square pixels show a turned pattern to within this share of its amplitude only; less breaks no symmetry."""
MIN_VARIANCE = 0.05
"""Noise of a component never counts as less than this share of the mean over components."""
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
    test = _Test(components)
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
            claimed[rows, i] = test.evidence(rows, group.order) >= EVIDENCE
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


class _Test:
    """Sums over components that all ten tests share."""

    def __init__(self, components: Components) -> None:
        self.components = components
        self.residue = components.order % CLASSES
        member = (self.residue[:, None] == np.arange(CLASSES)).astype(components.variance.dtype)
        chosen = components.weight if components.test_weight is None else components.test_weight
        weight = chosen.astype(components.variance.dtype)
        raw = weight * (components.values.real**2 + components.values.imag**2)
        scale = weight * components.variance
        self.raw = (raw @ member).astype(np.float64)
        first, second, third = ((scale**j @ member).astype(np.float64) for j in (1, 2, 3))
        whole = SPREAD_MARGIN * components.noise_spread().astype(np.float64)
        # noise shared by components widens the third moment as it does the second
        more = np.divide(whole, second, out=np.ones_like(whole), where=second > 0)
        self.cumulant = (first, whole, third * more**1.5)
        self.signal = self.raw.sum(axis=1) - 2 * self.cumulant[0].sum(axis=1)
        self.lines: dict[int, np.ndarray] = {}
        self.squares, self.orders = squares_by_order(components, chosen)

    def turns(self, order: int, level: float) -> tuple[np.ndarray, np.ndarray]:
        """P value of C_n, and whether its absence would be noticed."""
        n = len(self.components)
        if order == 1:
            return np.ones(n), np.ones(n, bool)
        p = self._smallest([self._turn_part(classes) for classes in _breaches(order)])
        second = self._null(2.0 * (np.arange(CLASSES) % order != 0))[1]
        return p, self._noticed(1 - 1 / order, second, level)

    def mirrors(self, order: int, level: float) -> tuple[np.ndarray, np.ndarray]:
        """P value of D_n, its best lines; and whether an odd part as large as the even would be noticed."""
        multiple = self.orders % order == 0
        self.lines[order], even_minus_odd = best_line(self.squares[:, multiple], self.orders[multiple])
        allowed = np.arange(CLASSES) % order == 0
        odd = (self.raw[:, allowed].sum(axis=1) - even_minus_odd) / 2
        both = odd + self.raw[:, ~allowed].sum(axis=1)
        parts = [self._turn_part(classes) for classes in _breaches(order)]
        parts += [(odd, *self._null(1.0 * allowed)), (both, *self._null(np.where(allowed, 1.0, 2.0)))]
        return self._smallest(parts), self._noticed(1 / 2, self._null(1.0 * allowed)[1], level)

    def _noticed(self, share: float, second: np.ndarray, level: float) -> np.ndarray:
        """Whether a test with that noise would notice some share of the pattern's energy."""
        with np.errstate(invalid="ignore"):
            enough = share * self.signal >= POWER * _quantile(level) * np.sqrt(2 * second)
        return np.asarray(enough & (second > 0))

    def _turn_part(self, classes: np.ndarray) -> tuple[np.ndarray, ...]:
        """Energy in some classes of orders, and its null distribution."""
        return (self.raw[:, classes].sum(axis=1), *self._null(2.0 * classes))

    def _null(self, freedom: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sums of weights, their squares and cubes, given the degrees of freedom of each class."""
        first, second, third = (sums @ freedom for sums in self.cumulant)
        first = first + PIXEL_ERROR**2 * np.maximum(self.signal, 0)
        if self.components.doubt is not None:
            second = second + DOUBT_SHARE / 2 * float(freedom @ self.components.doubt @ freedom)
        return first, second, third

    @staticmethod
    def _smallest(parts: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        """Smallest of several p values, for having looked at so many (Bonferroni)."""
        smallest = np.min([_tail(*part) for part in parts], axis=0)
        return np.asarray(np.minimum(len(parts) * smallest, 1.0))

    def evidence(self, rows: np.ndarray, order: int) -> np.ndarray:
        """Log of how much likelier the phases are with mirrors than without, for some patterns.

        With amplitude r and odd part y in units of noise, one component says √(2π) r/2 exp(-y²/2): a phase on
        the line, up or down, against a uniform one. Of the line's azimuth only one in range/width is right.
        """
        line = self.lines[order][rows]
        asked = (self.components.order % order == 0) & (self.components.weight > MIN_WEIGHT)
        use = np.flatnonzero(asked)
        values = self.components.values[np.ix_(rows, use)]
        noise = self.components.variance[np.ix_(rows, use)]
        noise = np.maximum(noise, MIN_VARIANCE * self.components.variance[rows].mean(axis=1, keepdims=True))
        wave = self.components.order[use]
        angle = np.mod(line[:, None] * np.arange(wave.max(initial=0) + 1), 2 * np.pi).astype(noise.dtype)
        aligned = values * (np.cos(angle) + 1j * np.sin(angle)).astype(values.dtype)[:, wave]
        odd, power = aligned.imag**2 / noise, (aligned.real**2 + aligned.imag**2) / noise
        speaks = power >= SPEAKING**2
        said = np.where(speaks, 0.5 * np.log(np.pi / 2 * np.maximum(power, 1)) - odd / 2, 0.0).sum(axis=1)
        width = 1 / np.sqrt(np.maximum((np.where(speaks, power, 0) * wave**2).sum(axis=1), 1e-9))
        lines = np.maximum(np.log(np.pi / order / (np.sqrt(2 * np.pi) * width)), 0)
        evidence: np.ndarray = said - lines
        return evidence


def _breaches(order: int) -> list[np.ndarray]:
    """Classes of orders that C_n forbids: all of them, and those that a maximal subgroup would allow."""
    modulo = np.arange(CLASSES)
    found = [modulo % order != 0] if order > 1 else []
    for prime in (2, 3):
        if order % prime == 0 and order > prime:
            found.append((modulo % order != 0) & (modulo % (order // prime) == 0))
    return found


def _tail(energy: np.ndarray, first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
    """P(Σ λ χ² > energy) from Σ λ, Σ λ², Σ λ³ over the degrees of freedom; 1 where there are none."""
    from scipy.special import gammaincc

    some = second > 0
    safe2, safe3 = np.where(some, second, 1.0), np.where(some, third, 1.0)
    freedom = safe2**3 / safe3**2
    standard = (energy - first) / np.sqrt(2 * safe2)
    argument = np.maximum(standard * np.sqrt(2 * freedom) + freedom, 0)
    return np.where(some, gammaincc(freedom / 2, argument / 2), 1.0)


def _quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(-ndtri(level))


def _maps(components: Components) -> tuple[np.ndarray, ...]:
    found = point_group(components)
    code = np.where(np.isfinite(components.values).all(axis=1), found.code, np.nan)
    return code, found.p


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
    ),
    compute=_maps,
)
