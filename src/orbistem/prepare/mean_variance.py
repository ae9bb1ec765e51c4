"""The lower edge of the cloud of points (mean, variance): what is left of the variance without the sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from orbistem.prepare.moments import MomentsResult

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MIN_PATTERNS = 4
FALL_LIMIT = 1.6  # noise per count may exceed the gain by this factor in the dark; more is compression
SYSTEMATIC = 0.015  # what structure and robust weights moved the gain of 40 simulated scans by, at most 0.03
DIM_LIMIT = 1.15  # the curve should pass the dimmest points, where there is no offset
SPLITS = 8  # interleaved sets of pixels that give the uncertainty
_QUANTILE = 0.25  # of the variances in a bin of equal means: below it lies little structure
_NORMAL_QUANTILE = -0.674
_DIFF2_FACTOR = 3.9  # relative variance of overlapping second differences, times n: 2 (1 + 2 (16 + 1) / 36)


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """Pixels: mean, variance, and the samples that it stands on (its relative variance is factor / n)."""

    mean: Floats
    variance: Floats
    n: float
    factor: float
    lowest: float  # of all values
    name: str

    def only(self, which: Bools | slice) -> Points:
        """Some of the points."""
        return Points(
            mean=self.mean[which],
            variance=self.variance[which],
            n=self.n,
            factor=self.factor,
            lowest=self.lowest,
            name=self.name,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The noise, read_variance + gain (mean - offset), and whether the points rise along it."""

    gain: float
    curve: float
    read_variance: float
    offset: float
    rising: bool
    dim: float  # smallest variance over mean among the dimmest bins, whatever the line

    def at(self, mean: Floats) -> Floats:
        """Variance of the noise at these means."""
        return self.read_variance + self.gain * np.maximum(mean - self.offset, 0)


def choose_points(moments: MomentsResult, use: Bools) -> tuple[Points, Bools] | None:
    """The estimate of the variance that holds least of the sample, and which of its pixels are evenly lit."""
    if moments.n < MIN_PATTERNS:
        return None
    use = use & (moments.variance > 0)
    if use.sum() < 16:
        return None
    n = float(moments.n)
    points = Points(
        mean=moments.mean[use],
        variance=moments.variance[use] * n / (n - 1),
        n=n,
        factor=2.0,
        lowest=float(np.min(moments.minimum[use])),
        name="the scan's variance",
    )
    even = _even(moments, use)[use]
    if moments.n_diff < MIN_PATTERNS or not np.isfinite(moments.diff2_variance[use]).all():
        return points, even
    # All patterns give the more precise number: neighbours must be quieter to be worth it.
    near_mean = moments.diff2_mean[use]
    lit = (near_mean > 0) & (points.mean > 0.01 * points.mean.max())
    near_ratio = moments.diff2_variance[use][lit] / near_mean[lit]
    share = float(np.mean(near_ratio * points.mean[lit] / points.variance[lit])) if lit.any() else 1.0
    if share >= (0.95 if moments.n_diff > n / 2 else 0.8):
        return points, even
    near = Points(
        mean=near_mean,
        variance=moments.diff2_variance[use],
        n=float(moments.n_diff),
        factor=_DIFF2_FACTOR,
        lowest=points.lowest,
        name="the variance between neighbouring patterns",
    )
    return near, even


def fit_line(points: Points, even: Bools, *, offset: float | None) -> tuple[Line, float] | None:
    """The line and the sd of its slope, or None where there are too few points.

    Evenly lit pixels give the line, if it also holds for the others; else all pixels do.
    """
    everything = _bins(points)
    if len(everything[0]) < 3:
        return None
    line = None
    for part in (points.only(even), points):
        if len(part.mean) < max(100, 0.3 * len(points.mean)) and part is not points:
            continue
        line = _fit(part, everything, offset)
        if line is not None and line.rising:
            gains = [
                split.gain
                for k in range(SPLITS)
                if (split := _fit(part.only(slice(k, None, SPLITS)), everything, offset)) is not None
            ]
            spread = float(np.std(gains, ddof=1)) / np.sqrt(len(gains)) if len(gains) > 3 else 0.3 * line.gain
            return line, float(np.hypot(spread, SYSTEMATIC * line.gain))
    return None if line is None else (line, 0.0)


def _even(moments: MomentsResult, use: Bools) -> Bools:
    """Pixels lit like their surroundings.

    Beside a bright edge, electrons that spread over pixels bring more mean than variance. The dark of a
    detector with an offset or read noise is even, too.
    """
    mean = np.where(use, moments.mean, 0.0)
    near = ndimage.uniform_filter(use.astype(np.float64), 3, mode="constant")
    box = ndimage.uniform_filter(mean, 3, mode="constant") / np.maximum(near, 1e-9)
    even: Bools = use & (mean > 0) & (np.abs(box - mean) < 0.25 * mean)
    if float(np.min(moments.minimum[use])) != 0:
        even |= use & (box < 0.01 * float(mean.max()))
    return even


def _fit(points: Points, everything: tuple[Floats, Floats, Floats], given: float | None) -> Line | None:
    mean, variance, error = _bins(points)
    if len(mean) < 3:
        return None
    all_mean, all_variance, _ = everything
    # Values that are never negative bound the noise of the dark: a clipped Gaussian has mean 0.4 sd.
    room = 6 * max(float(all_mean[0]), 0.0) ** 2 if points.lowest >= 0 else np.inf
    offset = given or 0.0
    if given is None and points.lowest > 0:
        pedestal = _pedestal(mean, variance, error, points.lowest)
        if pedestal is not None:
            offset, room = pedestal, np.inf
    used = len(mean)
    while True:
        gain, curve, read = _envelope(mean[:used] - offset, variance[:used], error[:used], room)
        m = np.maximum(mean[:4] - offset, 0)
        missed = np.median(variance[:4] / np.maximum(read + gain * m + curve * m**2, 1e-100)) > DIM_LIMIT
        if not missed or used <= 6 or points.lowest != 0:
            break
        used = max(6, used * 2 // 3)  # structure bends the curve: closer to the dark it is straighter
    lit = all_mean[:6] > 0
    dim = float(np.min(all_variance[:6][lit] / all_mean[:6][lit])) if lit.any() else float("inf")
    line = Line(gain=gain, curve=curve, read_variance=read, offset=offset, rising=gain > 0, dim=dim)
    if not line.rising:
        return line
    dark = all_mean <= all_mean[0] + 0.2 * (all_mean[-1] - all_mean[0])
    dark[: max(2, len(all_mean) // 4)] = True
    excess = all_variance / np.maximum(line.at(all_mean), 1e-100)
    falls = (
        float(np.median(excess[dark])) > FALL_LIMIT
        and float(excess[~dark].min(initial=np.inf)) < 0.6 * excess[dark].max()
    )
    below = float(np.mean(variance < 0.6 * line.at(mean)))
    return replace(line, rising=not falls and below <= 0.25)


def _bins(points: Points) -> tuple[Floats, Floats, Floats]:
    """Mean, lower edge of the variance, and its relative error, in bins of equal pixel numbers by mean."""
    order = np.argsort(points.mean, kind="stable")
    n_bins = min(int(np.clip(len(order) // 40, 3, 24)), len(order))
    means, edges, errors = [], [], []
    counting, brightest = bool((points.mean >= 0).all()), float(points.mean.max())
    lit = points.mean > 0
    ratios = points.variance[lit] / points.mean[lit]
    electron = float(np.quantile(ratios, 0.1)) if lit.any() else 0.0  # counts of one, low rather than high
    for part in np.array_split(order, n_bins):
        mean, variance = float(points.mean[part].mean()), points.variance[part]
        ratio = electron / mean if mean > 0 else 0.0
        spread = float(np.sqrt((points.factor + min(ratio, points.n)) / points.n))
        if spread < 0.25:
            scaled = variance * (mean / np.maximum(points.mean[part], 1e-100)) if mean > 0 else variance
            edge = float(np.quantile(scaled, _QUANTILE)) / (1 + _NORMAL_QUANTILE * spread)
        else:  # too few events a pixel for quantiles: the mean is unbiased
            edge = float(variance.mean())
        few = electron > 0 and mean * points.n < 10 * electron
        if edge <= 0 or (few and counting and mean < brightest / 100):
            continue
        means.append(mean)
        edges.append(edge)
        errors.append(np.hypot(1.3 * spread / np.sqrt(len(part)), 0.05))
    return np.array(means), np.array(edges), np.array(errors)


def _envelope(mean: Floats, variance: Floats, error: Floats, room: float) -> tuple[float, float, float]:
    """Gain, curvature and read variance of the lower edge: a + g m + c m^2, none negative, a <= room.

    The curve with the fewest terms that describes the points. Points above it hold structure and
    count little; points below it count more, but are not trusted blindly: where electrons spread over
    pixels, the variance dips at edges.
    """
    if mean.min() > 0 and mean.max() < 2 * mean.min():  # no lever to tell one term from another
        return float(np.average(variance / mean, weights=error**-2)), 0.0, 0.0
    scale = max(float(np.abs(mean).max()), 1e-100)
    m = np.maximum(mean, 0) / scale
    columns = np.stack([m, m**2, np.ones_like(m)], axis=1)
    best, lowest_cost = np.zeros(3), np.inf
    for terms in ((0,), (0, 1), (0, 2), (0, 1, 2)):
        answer = np.zeros(3)
        answer[list(terms)], cost = _robust(columns[:, terms], variance, error)
        if answer[2] > room:
            answer[2] = room
            left = [term for term in terms if term != 2]
            target = np.maximum(variance - room, 0.0)
            answer[left], cost = _robust(
                columns[:, left], target, error * variance / np.maximum(target, 1e-100)
            )
        cost += 8 if 1 in terms else 0  # curvature trades with gain: only where it is beyond doubt
        cost += 2 if 2 in terms else 0
        if cost < lowest_cost:
            best, lowest_cost = answer, cost
    return float(best[0]) / scale, float(best[1]) / scale**2, float(best[2])


def _robust(columns: Floats, target: Floats, error: Floats) -> tuple[Floats, float]:
    """Non-negative fit; errors relative to point or curve, Cauchy weights narrow above and wide below.

    The first column is the mean. It starts from the lower edge, since most points may hold structure.
    """
    tiny = 1e-12 * float(np.max(target, initial=0.0)) + 1e-100
    curve, tilt = target, np.ones_like(target)
    for turn in range(60):
        root = np.sqrt(tilt) / (error * np.maximum(np.maximum(target, curve), tiny))
        answer = optimize.nnls(columns * root[:, None], target * root)[0]
        change = float(np.abs(columns @ answer - curve).max())
        curve = columns @ answer
        above = (target - curve) / (error * np.maximum(np.maximum(target, curve), tiny))
        width = np.where(above > 0, 2.0, 6.0)
        tilt = np.where(above < 0, 1.0, 0.1) if turn < 5 else 1 / (1 + (above / width) ** 2)
        if turn > 5 and change <= 1e-6 * float(curve.max()):
            break
    return answer, float((width**2 * np.log1p((above / width) ** 2)).sum())


def _pedestal(mean: Floats, variance: Floats, error: Floats, lowest: float) -> float | None:
    """Offset at which a straight line fits far better than without any, or None."""

    def miss(offset: float) -> float:
        m = np.maximum(mean - offset, 0.0)
        return _robust(np.stack([m, np.ones_like(m)], axis=1), variance, error)[1]

    trials = np.append(np.linspace(0, float(mean.min()), 21), mean[1 : max(2, len(mean) // 4)])
    misses = [miss(trial) for trial in trials]
    best = int(np.argmin(misses))
    if misses[best] + 6 > misses[0] or misses[best] > 0.3 * misses[0] or trials[best] < 0.2 * lowest:
        return None
    return float(trials[best])
