"""Counts per electron, from the line between variance and mean.

Counting gives each pixel the variance gain x mean (x counts per electron), amplifiers add a constant, and whatever
the sample does from place to place adds more, roughly as the square of the mean. So the truth is the lower edge of
the cloud of points (mean, variance). Differences between patterns that follow one another carry less of the sample;
whichever estimate of the variance lies lowest is taken. Data that were compressed (logarithm, gamma) or drawn have
no such line, and then there is no gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from orbistem.errors import OptionError
from orbistem.prepare.moments import MAX_LAG_PX, MomentsResult, autocorrelation

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MIN_PATTERNS = 4
_QUANTILE = 0.25  # of the variances in a bin of equal means: below it lies little structure
_NORMAL_QUANTILE = -0.674
_DIFF2_FACTOR = 3.9  # relative variance of overlapping second differences, times n: 2 (1 + 2 (16 + 1) / 36)
_SPLITS = 8  # interleaved sets of pixels that give the uncertainty


class Problem(StrEnum):
    """Why there is no gain."""

    NOT_LINEAR = (
        "the data are not linear in counts (compressed, processed or drawn): the variance does not follow the mean; "
        "open the raw counts, or give --gain"
    )
    TOO_FEW = "too few patterns or lit pixels to find the gain; give --gain"


@dataclass(frozen=True, kw_only=True, slots=True)
class CountsOptions:
    """How the gain is found.

    Attributes
    ----------
    gain : float or None
        Counts per electron where known; then nothing is estimated but what it implies.
    offset : float or None
        Counts without any electron where known.
    snap : float
        Whole-number counts with a gain this close to 1 (or within two sd) count electrons one by one.
    fall_limit : float
        Noise per count may exceed the gain by this factor in the darkest pixels; more is compression.
    shared_limit : float
        Correlation between neighbouring pixels from which they are no separate measurements.
    """

    gain: float | None = None
    offset: float | None = None
    snap: float = 0.1
    fall_limit: float = 1.6
    shared_limit: float = 0.9

    def __post_init__(self) -> None:
        if self.gain is not None and not (np.isfinite(self.gain) and self.gain > 0):
            raise OptionError(f"gain: want a positive number of counts per electron, got {self.gain}")
        if self.offset is not None and not np.isfinite(self.offset):
            raise OptionError(f"offset: want a finite number of counts, got {self.offset}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CountsFit:
    """Counts per electron, or the reason why there is none.

    Attributes
    ----------
    gain, gain_sd : float or None
        Counts per electron: the slope of variance over mean in single pixels. With it the noise of a pixel has unit
        variance.
    offset : float
        Counts without any electron.
    read_variance : float
        Variance without any electron, counts squared.
    dose : float
        Mean electrons per pattern over the valid pixels; mean counts where `gain` is None.
    correlated : float
        Sum of the noise autocorrelation over |lag| <= 3 pixels; 1 where pixels are independent. `gain * correlated`
        is the noise per count of large areas: where electrons spread over pixels, that is counts per electron.
    why : str
        What was done, in words.
    warnings : tuple of str
    problem : Problem or None
    """

    gain: float | None
    gain_sd: float | None
    offset: float
    read_variance: float
    dose: float
    correlated: float
    why: str
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Points:
    """Valid pixels: mean, variance, and how many samples the variance stands on (relative variance = factor / n)."""

    mean: Floats
    variance: Floats
    n: float
    factor: float
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    gain: float
    curve: float
    read_variance: float
    offset: float
    linear: bool

    def at(self, mean: Floats) -> Floats:
        return self.read_variance + self.gain * np.maximum(mean - self.offset, 0)


def estimate_gain(
    moments: MomentsResult, valid: Bools, *, options: CountsOptions | None = None
) -> CountsFit:
    """Find counts per electron, offset and dose.

    Parameters
    ----------
    moments : MomentsResult
    valid : (ky, kx) bool
        Pixels to use: no hot, dead or saturated ones.
    options : CountsOptions, optional

    Returns
    -------
    CountsFit
    """
    options = options or CountsOptions()
    use = valid & np.isfinite(moments.mean) & (moments.count > 1)
    counts = float(np.where(use, moments.mean, 0.0).sum())
    if options.gain is not None:
        return _given(moments, use, options.gain, counts, options)
    if moments.integers and np.nanmax(np.where(use, moments.maximum, 0)) <= 1:
        return _one_bit(moments, use, counts)
    points = _choose(moments, use)
    line = None if points is None else _fit(points, moments, use, options)
    if points is None or line is None:
        return _failed(Problem.TOO_FEW, counts, "the gain was not estimated")
    noise_only = use & np.isfinite(moments.diff2_variance)
    noise_only &= moments.diff2_variance <= 1.3 * line.at(moments.mean)
    rho = autocorrelation(moments, noise_only)
    first = float(np.nanmean([rho[MAX_LAG_PX, MAX_LAG_PX + 1], rho[MAX_LAG_PX + 1, MAX_LAG_PX]]))
    if not line.linear:
        return _failed(Problem.NOT_LINEAR, counts, f"{points.name} against the mean is no rising line")
    if first > options.shared_limit:
        why = f"the fluctuations of neighbouring pixels are the same (correlation {first:.2f})"
        return _failed(Problem.NOT_LINEAR, counts, why)
    gain, sd = line.gain, _uncertainty(points, moments, use, options, line.gain)
    why = f"slope of {points.name} over the mean: {gain:.4g} +- {sd:.2g} counts per electron"
    if moments.integers and abs(gain - 1) <= max(options.snap, 2 * sd):
        why += "; whole numbers and a slope near 1: single electrons were counted, gain 1"
        gain = 1.0
    correlated, warning = _correlated(moments, rho, int(noise_only.sum()), gain)
    offset = line.offset if options.offset is None else options.offset
    return CountsFit(
        gain=gain,
        gain_sd=sd,
        offset=offset,
        read_variance=line.read_variance,
        dose=(counts - offset * int(use.sum())) / gain,
        correlated=correlated,
        why=why,
        warnings=warning,
    )


def _given(
    moments: MomentsResult, use: Bools, gain: float, counts: float, options: CountsOptions
) -> CountsFit:
    offset = options.offset or 0.0
    quiet = use & (moments.diff2_variance <= 1.3 * gain * np.maximum(moments.mean - offset, 0))
    correlated, warning = _correlated(moments, autocorrelation(moments, quiet), int(quiet.sum()), gain)
    return CountsFit(
        gain=gain,
        gain_sd=0.0,
        offset=offset,
        read_variance=0.0,
        dose=(counts - offset * int(use.sum())) / gain,
        correlated=correlated,
        why=f"gain {gain:g} given",
        warnings=warning,
    )


def _one_bit(moments: MomentsResult, use: Bools, counts: float) -> CountsFit:
    """Zeros and ones: each one is an electron, and the variance says nothing more."""
    brightest = float(np.quantile(moments.mean[use], 0.99)) if use.any() else 0.0
    warnings: tuple[str, ...] = ()
    if brightest > 0.1:
        lost = 1 - brightest / -np.log1p(-min(brightest, 0.999))
        warnings = (
            f"one-bit counts with a mean of {brightest:.2f} in the brightest pixels: about {lost:.0%} of the electrons "
            "there arrive together and are counted once; sum shorter frames, or use less beam",
        )
    return CountsFit(
        gain=1.0,
        gain_sd=0.0,
        offset=0.0,
        read_variance=0.0,
        dose=counts,
        correlated=1.0,
        why="zeros and ones: each one is an electron, gain 1",
        warnings=warnings,
    )


def _failed(problem: Problem, counts: float, why: str) -> CountsFit:
    return CountsFit(
        gain=None,
        gain_sd=None,
        offset=0.0,
        read_variance=0.0,
        dose=counts,
        correlated=float("nan"),
        why=f"{why}; the dose is in counts",
        problem=problem,
    )


def _choose(moments: MomentsResult, use: Bools) -> _Points | None:
    """The estimate of the variance that holds least of the sample."""
    if moments.n < MIN_PATTERNS:
        return None
    use = use & (moments.variance > 0)
    if use.sum() < 16:
        return None
    mean, n = moments.mean[use], float(moments.n)
    everything = _Points(
        mean=mean, variance=moments.variance[use] * n / (n - 1), n=n, factor=2.0, name="the scan's variance"
    )
    if moments.n_diff < MIN_PATTERNS or not np.isfinite(moments.diff2_variance[use]).all():
        return everything
    near = _Points(
        mean=mean,
        variance=moments.diff2_variance[use],
        n=float(moments.n_diff),
        factor=_DIFF2_FACTOR,
        name="the variance between neighbouring patterns",
    )
    # All patterns give the more precise number: neighbours must be quieter to be worth it.
    weight = 1 / np.maximum(everything.variance, 1e-300)
    quieter = float((near.variance * weight).mean()) < 0.95
    return near if quieter else everything


def _fit(points: _Points, moments: MomentsResult, use: Bools, options: CountsOptions) -> _Line | None:
    lowest, highest = float(np.nanmin(moments.minimum[use])), float(points.mean.max())
    mean, variance, error = _bins(points)
    if len(mean) < 3:
        return None
    # Values that are never negative bound the noise of the dark: a clipped Gaussian has mean 0.4 sd.
    room = 6 * max(float(mean[0]), 0.0) ** 2 if lowest >= 0 else np.inf
    offset = options.offset or 0.0
    gain, curve, read = _envelope(mean - offset, variance, error, room)
    if options.offset is None and lowest > 0:
        pedestal = _pedestal(mean, variance, error, lowest)
        if pedestal is not None:
            offset, room = pedestal, np.inf
            gain, curve, read = _envelope(mean - offset, variance, error, room)
    if not gain > 0:
        return _Line(gain=1.0, curve=curve, read_variance=read, offset=offset, linear=False)
    line = _Line(gain=gain, curve=curve, read_variance=read, offset=offset, linear=True)
    dark = mean <= mean[0] + 0.2 * (highest - mean[0])
    dark[: max(2, len(mean) // 4)] = True
    excess = variance / np.maximum(line.at(mean), 1e-300)
    falls = np.average(excess[dark]) > options.fall_limit and excess[~dark].min(initial=np.inf) < 0.6 * np.max(
        excess[dark]
    )
    below = excess < 0.6
    if (falls and np.median(excess[dark]) > options.fall_limit) or below.sum() > len(mean) // 4:
        return _Line(gain=gain, curve=curve, read_variance=read, offset=offset, linear=False)
    return line


def _bins(points: _Points) -> tuple[Floats, Floats, Floats]:
    """Mean, lower edge of the variance, and its relative error, in bins of equal pixel numbers by mean."""
    order = np.argsort(points.mean, kind="stable")
    n_bins = int(np.clip(len(order) // 40, 3, 24))
    means, edges, errors = [], [], []
    electron = float(np.median(points.variance / np.maximum(points.mean, 1e-300)))
    for part in np.array_split(order, n_bins):
        mean, variance = float(points.mean[part].mean()), points.variance[part]
        ratio = electron / mean if mean > 0 else 0.0
        spread = float(np.sqrt((points.factor + min(ratio, points.n)) / points.n))
        if spread < 0.25:
            scaled = variance * (mean / np.maximum(points.mean[part], 1e-300)) if mean > 0 else variance
            edge = float(np.quantile(scaled, _QUANTILE)) / (1 + _NORMAL_QUANTILE * spread)
        else:  # too few events a pixel for quantiles: the mean is unbiased
            edge = float(variance.mean())
        if edge <= 0:
            continue
        means.append(mean)
        edges.append(edge)
        errors.append(np.hypot(1.3 * spread / np.sqrt(len(part)), 0.02))
    return np.array(means), np.array(edges), np.array(errors)


def _envelope(mean: Floats, variance: Floats, error: Floats, room: float) -> tuple[float, float, float]:
    """Gain, curvature and read variance of the lower edge: a + g m + c m^2, none negative, a <= room.

    Asymmetric least squares in relative deviations: a point below the curve weighs nine times one above it.
    """
    scale = max(float(np.abs(mean).max()), 1e-300)
    m = np.maximum(mean, 0) / scale
    columns = np.stack([m, m**2, np.ones_like(m)], axis=1)
    weight = 1 / (error * variance)

    def solve(design: Floats, target: Floats) -> Floats:
        tilt = np.ones_like(target)
        answer = np.zeros(design.shape[1])
        for _ in range(50):
            root = weight * np.sqrt(tilt)
            answer = optimize.nnls(design * root[:, None], target * root)[0]
            new = np.where(design @ answer > target, 0.9, 0.1)
            if (new == tilt).all():
                break
            tilt = new
        return answer

    g, c, a = solve(columns, variance)
    if a > room:
        a = room
        g, c = solve(columns[:, :2], np.maximum(variance - a, 0))
    return float(g) / scale, float(c) / scale**2, float(a)


def _pedestal(mean: Floats, variance: Floats, error: Floats, lowest: float) -> float | None:
    """Offset at which variance and mean are proportional, where that fits far better than no offset."""

    def miss(offset: float) -> float:
        gain, curve, read = _envelope(mean - offset, variance, error, np.inf)
        m = np.maximum(mean - offset, 0)
        off = (read + gain * m + curve * m**2 - variance) / (variance * error)
        return float((np.where(off > 0, 0.9, 0.1) * off**2).sum()) + 1e-3 * (curve > 0)

    trials = np.linspace(0, float(mean.min()), 41)
    misses = [miss(t) for t in trials]
    best = int(np.argmin(misses))
    if best == 0 or misses[best] > 0.3 * misses[0] or trials[best] < 0.2 * lowest:
        return None
    return float(trials[best])


def _uncertainty(
    points: _Points, moments: MomentsResult, use: Bools, options: CountsOptions, gain: float
) -> float:
    gains = []
    for split in range(_SPLITS):
        part = _Points(
            mean=points.mean[split::_SPLITS],
            variance=points.variance[split::_SPLITS],
            n=points.n,
            factor=points.factor,
            name=points.name,
        )
        line = _fit(part, moments, use, options) if len(part.mean) >= 16 else None
        if line is not None:
            gains.append(line.gain)
    if len(gains) < 3:
        return 0.3 * gain
    return max(float(np.std(gains, ddof=1)) / np.sqrt(len(gains)), 1e-4 * gain)


def _correlated(
    moments: MomentsResult, rho: Floats, pixels: int, gain: float
) -> tuple[float, tuple[str, ...]]:
    total = float(np.nansum(rho)) if np.isfinite(rho[MAX_LAG_PX, MAX_LAG_PX]) else 1.0
    error = float(np.sqrt(rho.size / max(moments.n_lag * pixels, 1)))
    if abs(total - 1) <= 0.1 + 3 * error:
        return total, ()
    return total, (
        f"the noise of neighbouring pixels is correlated (sum {total:.2f}, not 1): electrons spread over pixels, so "
        f"the gain {gain:.3g} makes the noise of a pixel right but is not counts per electron, which is nearer to "
        f"{gain * total:.3g}",
    )
