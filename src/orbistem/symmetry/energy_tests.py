"""What speaks against a symmetry, and what for mirrors: the tests behind the point group and operations.

A pattern that keeps a symmetry has no energy in what the symmetry forbids. The weighted energy of forbidden
parts is, without signal, a sum of weighted χ² with known weights; its tail is taken from the χ² with the same
three moments (Imhof, Biometrika 48, 419 (1961); Liu, Tang & Zhang, Comput. Stat. Data Anal. 53, 853 (2009)).
"""

from __future__ import annotations

from copy import copy

import numpy as np

from orbistem.symmetry.components import CLASSES, MIN_WEIGHT, Components
from orbistem.symmetry.mirror import best_line, squares_by_order

__all__ = ["EnergyTests"]

POWER = 2.0
"""Energy of a pattern without the group, over the least that would be noticed."""
SPREAD_MARGIN = 1.15
"""Factor on the variance of the energy: orders share a little noise where a pattern is uneven along its
circles, and few counts scatter more than Gaussian noise. Draws of graphene and MoS2 at 10⁵ and 10⁶ electrons
ask for 1.04 to 1.18."""
EVEN_MARGIN = 1.25
"""A further factor for the part that is even about a line: a pattern with structure couples the noise of its
orders, what is even with what is even. Draws of graphene at 10⁴ ask for 1.2 to 1.4."""
PIXEL_ERROR = 0.03
"""Square pixels show a turned pattern to within this share of its amplitude only; less breaks no symmetry.
The error is 0.024 for sharp disks (design, §1b.8); ZnS [111] at 64 px asks for 0.029."""
MIN_VARIANCE = 0.05
"""Noise of a component never counts as less than this share of the mean over components."""
SETTLED = 1e-6
"""Where turns alone give up a group at this p value, what its mirrors say is not asked."""
POINTS_PER_WAVE = 8
LINE_SD_POINTS = 2.0
"""The likelihood of a line is summed on a grid with so many points in its width."""
Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class EnergyTests:
    """Sums over components that all tests of some patterns share.

    Parameters
    ----------
    components
        Of n patterns.
    """

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
        self.squares, self.orders = squares_by_order(components, chosen)
        self.across, self.up = (
            np.ascontiguousarray(self.squares.real),
            np.ascontiguousarray(self.squares.imag),
        )

    def turns(self, order: int, level: float) -> tuple[np.ndarray, np.ndarray]:
        """P value (n,) of the group C_n, and whether its absence would be noticed."""
        n = len(self.components)
        if order == 1:
            return np.ones(n), np.ones(n, bool)
        p = _smallest([self._turn_part(classes) for classes in _breaches(order)])
        second = self._null(2.0 * (np.arange(CLASSES) % order != 0))[1]
        return p, self._noticed(1 - 1 / order, second, level)

    def mirrors(self, order: int, level: float) -> tuple[np.ndarray, np.ndarray]:
        """P value (n,) of the group D_n; and whether an odd part as large as the even would be noticed."""
        allowed = np.arange(CLASSES) % order == 0
        period = int(np.gcd.reduce(self.orders[self.orders % order == 0], initial=0))
        steps = [
            (classes, step)  # the line is known modulo π/period
            for prime, classes in _steps_down(order)
            for step in range(prime * period // order)
        ]
        n_parts = len(steps) + (3 if order > 1 else 2)
        p, open_ = np.ones(len(self.signal)), np.arange(len(self.signal))
        if order > 1:
            p = np.minimum(n_parts * _tail(*self._turn_part(~allowed)), 1.0)
            open_ = np.flatnonzero(~(p < SETTLED))
        p[open_] = np.minimum(
            p[open_], self._rows(open_)._mirror_parts(order, allowed, steps, period, n_parts)
        )
        return p, self._noticed(1 / 2, self._null(1.0 * allowed)[1], level)

    def _mirror_parts(
        self, order: int, allowed: np.ndarray, steps: list[tuple[np.ndarray, int]], period: int, n_parts: int
    ) -> np.ndarray:
        """Smallest p value (n,) of what is odd about the best line and of what subgroups allow, corrected."""
        multiple = self.orders % order == 0
        line, even_minus_odd = best_line(self.squares[:, multiple], self.orders[multiple])
        odd = (self.raw[:, allowed].sum(axis=1) - even_minus_odd) / 2
        both = odd + self.raw[:, ~allowed].sum(axis=1)
        parts = [(odd, *self._null(1.0 * allowed)), (both, *self._null(np.where(allowed, 1.0, 2.0)))]
        parts += [self._even_part(classes, line + np.pi * step / period) for classes, step in steps]
        return _smallest(parts, of=n_parts)

    def turn(self, order: int) -> np.ndarray:
        """P value (n,) of the one operation, a turn by 2π/order."""
        return _tail(*self._turn_part(np.arange(CLASSES) % order != 0))

    def mirror(self, line_rad: np.ndarray) -> np.ndarray:
        """P value (n,) of the mirror with its line at an azimuth (n,)."""
        every = np.ones(CLASSES, bool)
        energy = self.raw.sum(axis=1) - self._even_part(every, line_rad)[0]
        return _tail(energy, *self._null(1.0 * every))

    def mirror_evidence(self, rows: np.ndarray, order: int) -> np.ndarray:
        """Log of how much likelier the phases of some patterns are with the mirrors of D_n than without.

        With mirrors the multiples of n lie on one line, up or down, with the amplitude that the scan lets
        expect (variance τ²); without, their phases are uniform. Given its modulus r in units of noise, one
        component then says κ cos 2(φ - line) - log I₀(κ) with κ = r²/4 · τ²/(1 + τ²): the law of an axis of
        von Mises. The line itself is not known: the likelihood is averaged over all. For phases that are
        uniform the ratio has the mean 1, so that it exceeds x at most once in x.
        """
        from scipy.special import ive

        components = self.components
        use = np.flatnonzero((components.order % order == 0) & (components.weight > MIN_WEIGHT))
        if not len(use):
            return np.zeros(len(rows))
        values = components.values[np.ix_(rows, use)].astype(np.complex128)
        noise = components.variance[np.ix_(rows, use)].astype(np.float64)
        noise = np.maximum(noise, MIN_VARIANCE * components.variance[rows].mean(axis=1, keepdims=True))
        power = np.abs(values) ** 2
        noise = noise + PIXEL_ERROR**2 * power
        weight = np.minimum(components.weight[use].astype(np.float64), 1 - 1e-6)
        share = 2 * weight / (1 + weight)  # τ² = 2 weight / (1 - weight): all of a wave is in its even part
        known = share * power / (4 * noise)
        waves = components.order[use] // order
        member = waves[:, None] == np.arange(int(waves.max()) + 1)
        per_wave = (share * values**2 / (4 * noise)) @ member
        sharp = float(np.sqrt((known @ waves**2).max(initial=0)))
        least = max(POINTS_PER_WAVE * int(waves.max()), 2 * np.pi * LINE_SD_POINTS * sharp)
        n_points = 1 << int(np.ceil(np.log2(least)))
        spectrum = np.zeros((len(rows), n_points // 2 + 1), np.complex128)
        spectrum[:, : per_wave.shape[1]] = per_wave * (n_points / 2)
        on_lines = np.fft.irfft(spectrum, n_points, axis=1)
        uniform = (np.log(ive(0, known)) + known).sum(axis=1)
        highest = on_lines.max(axis=1)
        mean = np.exp(on_lines - highest[:, None]).mean(axis=1)
        evidence: np.ndarray = highest + np.log(mean) - uniform
        return evidence

    def _rows(self, rows: np.ndarray) -> EnergyTests:
        """The same of some patterns."""
        some = copy(self)
        for name in ("raw", "signal", "squares", "across", "up"):
            setattr(some, name, getattr(self, name)[rows])
        some.cumulant = tuple(sums[rows] for sums in self.cumulant)
        return some

    def _noticed(self, share: float, second: np.ndarray, level: float) -> np.ndarray:
        """Whether a test with that noise would notice some share of the pattern's energy."""
        with np.errstate(invalid="ignore"):
            enough = share * self.signal >= POWER * _quantile(level) * np.sqrt(2 * second)
        return np.asarray(enough & (second > 0))

    def _turn_part(self, classes: np.ndarray) -> Part:
        """Energy in some classes of orders, and its null distribution."""
        return (self.raw[:, classes].sum(axis=1), *self._null(2.0 * classes))

    def _even_part(self, classes: np.ndarray, line_rad: np.ndarray) -> Part:
        """Energy in some classes of orders that is even about a line (n,), and its null distribution."""
        use = classes[self.orders % CLASSES]
        turns = np.asarray(line_rad)[:, None] * (self.orders[use] / np.pi)
        phase = (2 * np.pi * (turns - np.rint(turns))).astype(self.across.dtype)
        even_minus_odd = np.sum(self.across[:, use] * np.cos(phase) - self.up[:, use] * np.sin(phase), axis=1)
        first, second, third = self._null(1.0 * classes)
        energy = (self.raw[:, classes].sum(axis=1) + even_minus_odd) / 2
        return energy, first, EVEN_MARGIN * second, EVEN_MARGIN**1.5 * third

    def _null(self, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of weights, their squares and cubes, given the degrees of freedom of each class."""
        first, second, third = (sums @ freedom for sums in self.cumulant)
        error = PIXEL_ERROR**2 * np.maximum(self.signal, 0)
        weight = np.divide(second, first, out=np.zeros_like(first), where=first > 0)
        third = third + 3 * error * weight**2  # of a non-central χ²
        second = second + 2 * error * weight
        first = first + error
        if self.components.doubt is not None:
            second = second + float(freedom @ self.components.doubt @ freedom) / 2
        return first, second, third


def _breaches(order: int) -> list[np.ndarray]:
    """Classes of orders that C_n forbids: all of them, and those that a maximal subgroup would allow."""
    modulo = np.arange(CLASSES)
    found = [modulo % order != 0] if order > 1 else []
    return found + [classes for prime, classes in _steps_down(order) if order > prime]


def _steps_down(order: int) -> list[tuple[int, np.ndarray]]:
    """Maximal subgroups C_{n/prime}: the prime, and the classes of orders that only they allow."""
    modulo = np.arange(CLASSES)
    primes = [prime for prime in (2, 3) if order % prime == 0]
    return [(prime, (modulo % order != 0) & (modulo % (order // prime) == 0)) for prime in primes]


def _smallest(parts: list[Part], *, of: int | None = None) -> np.ndarray:
    """Smallest of several p values, for having looked at so many, or at `of` (Bonferroni)."""
    smallest = np.min([_tail(*part) for part in parts], axis=0)
    return np.asarray(np.minimum((of or len(parts)) * smallest, 1.0))


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
