"""Counts per electron, from the line between variance and mean.

Counting gives each pixel the variance gain x mean (x counts per electron), amplifiers add a constant, and
whatever the sample does from place to place adds more, roughly as the square of the mean. So the truth is
the lower edge of the cloud of points (mean, variance). Differences between patterns that follow one another
carry less of the sample; whichever estimate of the variance lies lowest is taken. Data that were compressed
(logarithm, gamma) or drawn have no such line, and then there is no gain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from orbistem.errors import OptionError
from orbistem.prepare.mean_variance import choose_points, fit_line
from orbistem.prepare.moments import MomentsResult, autocorrelation
from orbistem.prepare.neighbours import MAX_LAG_PX

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Problem(StrEnum):
    """Why there is no gain."""

    NOT_LINEAR = (
        "the data are not linear in counts (compressed, processed or drawn): "
        "the variance does not follow the mean; open the raw counts, or give --gain"
    )
    TOO_FEW = "too few patterns or lit pixels to find the gain; give --gain"
    BELOW_ZERO = (
        "the counts are below zero on average (dark frames, or more than the dark level was subtracted): "
        "there is no dose; subtract the right dark frame, or give --gain"
    )


OVERLAP = 35 / 18
"""Second differences that overlap correlate by -2/3 and 1/6: products of them count for fewer, by the sum of
the squares 1 + 2 (4/9 + 1/36)."""


ABOVE_DIM = 1.15
"""A slope above variance over mean in the dimmest pixels by this factor is not that of counting."""


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
    shared_limit : float
        Correlation between neighbouring pixels from which they are no separate measurements.
    """

    gain: float | None = None
    offset: float | None = None
    snap: float = 0.1
    shared_limit: float = 0.9

    def __post_init__(self) -> None:
        if self.gain is not None and not (np.isfinite(self.gain) and self.gain > 0):
            raise OptionError(f"gain: want a positive number of counts per electron, got {self.gain}")
        if self.offset is not None and not np.isfinite(self.offset):
            raise OptionError(f"offset: want a finite number of counts, got {self.offset}")
        if not (0 <= self.snap <= 1 and 0 <= self.shared_limit <= 1):
            raise OptionError(
                f"snap, shared_limit: want numbers from 0 to 1, got {self.snap} and {self.shared_limit}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CountsFit:
    """Counts per electron, or the reason why there is none.

    Attributes
    ----------
    gain, gain_sd : float or None
        The slope of variance over mean in single pixels. With it the noise of a pixel
        has unit variance.
    offset : float
        Counts without any electron.
    read_variance : float
        Variance without any electron, counts squared.
    dose : float
        Mean electrons per pattern over the valid pixels; mean counts where `gain` is None.
    correlated : float
        Sum of the noise autocorrelation over |lag| <= 3 pixels; 1 where pixels are independent. `gain *
        correlated` is the noise per count of large areas: where electrons spread over pixels, that is
        counts per electron.
    together : float
        `correlated` where it is clearly not 1, else 1: an electron makes `gain * together` counts.
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
    together: float = 1.0


def estimate_gain(moments: MomentsResult, valid: Bools, *, options: CountsOptions | None = None) -> CountsFit:
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
    found = _estimate(moments, valid, options or CountsOptions())
    return replace(found, warnings=found.warnings + _wrapped(moments))


def _estimate(moments: MomentsResult, valid: Bools, options: CountsOptions) -> CountsFit:
    known = valid & np.isfinite(moments.mean) & (moments.count > 0)
    counts = float(np.where(known, moments.mean, 0.0).sum())
    use = known & (moments.count > 1)
    if options.gain is not None:
        return _given(moments, use, options.gain, counts, options)
    if counts <= (options.offset or 0.0) * int(known.sum()):
        return _failed(Problem.BELOW_ZERO, counts, "there is no light")
    if _holds_bits(moments, known):
        return _one_bit(moments, known, counts)
    chosen = choose_points(moments, use)
    fitted = None if chosen is None else fit_line(*chosen, offset=options.offset)
    if chosen is None or fitted is None:
        return _failed(Problem.TOO_FEW, counts, "the gain was not estimated")
    points, (line, sd) = chosen[0], fitted
    if not line.rising:
        return _failed(Problem.NOT_LINEAR, counts, f"{points.name} against the mean is no rising line")
    gain = line.gain
    dim_one = points.lowest == 0 and abs(line.dim - 1) <= options.snap
    # a small detector has too few pixels to split: then the sd says only that it is not known
    singles = moments.integers and dim_one and abs(gain - 1) <= options.snap
    if sd > 0.25 * gain and not singles:
        return _failed(
            Problem.NOT_LINEAR, counts, f"{points.name} scatters about the line ({gain:.2g} +- {sd:.2g})"
        )
    noise = line.at(np.nan_to_num(moments.diff2_mean))
    quiet = _quiet(moments, use, noise)
    rho = autocorrelation(moments, quiet)
    first = 0.5 * float(rho[MAX_LAG_PX, MAX_LAG_PX + 1] + rho[MAX_LAG_PX + 1, MAX_LAG_PX])
    if first > options.shared_limit:
        why = f"the fluctuations of neighbouring pixels are the same (correlation {first:.2f})"
        return _failed(Problem.NOT_LINEAR, counts, why)
    why = f"slope of {points.name} over the mean: {gain:.4g} +- {sd:.2g} counts per electron"
    # Where the sample varies much, only the dimmest pixels show the counting.
    near_one = abs(gain - 1) <= max(options.snap, 2 * sd) and sd < 0.15
    hidden: tuple[str, ...] = ()
    curved = line.curve * float(points.mean.max()) > 0.5 * gain
    above_dim = gain > ABOVE_DIM * line.dim  # nowhere is it dim enough for the counting alone
    if moments.integers and (near_one or dim_one):
        where = "a slope near 1" if near_one else f"variance/mean {line.dim:.2f} in the dimmest pixels"
        why += f"; whole numbers and {where}: single electrons were counted, gain 1"
        gain = 1.0
    elif moments.integers and points.lowest == 0 and gain > 1 and curved and (gain < 2 or above_dim):
        why += "; whole numbers from 0, so single electrons were probably counted, gain 1"
        hidden = ("the sample varies more than the counting noise everywhere; give --gain if it is not 1",)
        gain = 1.0
    correlated, warning = _correlated(moments, rho, quiet, gain, noise * gain / line.gain)
    together = correlated if warning else 1.0
    offset = line.offset if options.offset is None else options.offset
    if counts <= offset * int(use.sum()):
        return _failed(Problem.BELOW_ZERO, counts, f"{why}, but no light")
    return CountsFit(
        gain=gain,
        gain_sd=sd,
        offset=offset,
        read_variance=line.read_variance,
        dose=(counts - offset * int(use.sum())) / (gain * together),
        correlated=correlated,
        together=together,
        why=why,
        warnings=hidden + warning,
    )


def _holds_bits(moments: MomentsResult, known: Bools) -> bool:
    """Whether all counts are zeros and ones, of both kinds."""
    if not moments.integers or not known.any():
        return False
    low, high = moments.minimum[known], moments.maximum[known]
    return bool(low.min() >= 0 and high.max() == 1)


def _wrapped(moments: MomentsResult) -> tuple[str, ...]:
    """The hint that large counts were stored as negative numbers: no amplifier goes that far below zero."""
    kind = np.dtype(moments.dtype)
    if kind.kind != "i" or kind.itemsize > 2:
        return ()
    half = 2 ** (8 * kind.itemsize - 1)
    low = np.isfinite(moments.minimum) & (moments.minimum < -half / 4)
    if not low.any():
        return ()
    return (
        f"{int(low.sum())} pixels hold large negative counts (down to {np.nanmin(moments.minimum):g}): this "
        f"looks like unsigned data read as {kind.name}; read it as u{kind.name}, for raw data with --dtype",
    )


def _given(
    moments: MomentsResult, use: Bools, gain: float, counts: float, options: CountsOptions
) -> CountsFit:
    offset = options.offset or 0.0
    noise = gain * np.maximum(np.nan_to_num(moments.diff2_mean) - offset, 0)
    quiet = _quiet(moments, use, noise)
    correlated, warning = _correlated(moments, autocorrelation(moments, quiet), quiet, gain, noise)
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
            f"one-bit counts with a mean of {brightest:.2f} in the brightest pixels: about {lost:.0%} of the "
            "electrons there arrive together and are counted once; sum shorter frames, or use less beam",
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


def _quiet(moments: MomentsResult, use: Bools, noise: Floats) -> Bools:
    """Pixels whose surroundings vary by little more than the noise: the quietest half, at least."""
    known = use & np.isfinite(moments.diff2_variance) & (noise > 0)
    if not known.any():
        return known
    filled = np.where(known, moments.diff2_variance, 0.0)
    expected = np.where(known, noise, 0.0)
    near = ndimage.uniform_filter(expected, 5, mode="constant")
    excess = ndimage.uniform_filter(filled, 5, mode="constant") / np.maximum(near, 1e-300)
    quiet: Bools = known & (excess <= max(1.05, float(np.quantile(excess[known], 0.5))))
    return quiet


def _correlated(
    moments: MomentsResult, rho: Floats, quiet: Bools, gain: float, noise: Floats
) -> tuple[float, tuple[str, ...]]:
    """Sum of the autocorrelation within 2 px above its level at 3 px, and the warning that it may call for.

    What still correlates at 3 px is the sample's doing: no detector spreads an electron so far. What the
    sample adds to the variance of the quiet pixels may be correlated over half of the 24 neighbours, and is
    allowed for.
    """
    if not np.isfinite(rho).all():
        return 1.0, ()
    inner = rho[1:-1, 1:-1]
    level = max(float(rho.sum() - inner.sum()) / (rho.size - inner.size), 0.0)
    total = 1 + float((inner - level).sum()) - (1 - level)
    weights = noise[quiet]  # bright pixels weigh more, so that fewer count
    pixels = float(weights.sum() ** 2 / max((weights**2).sum(), 1e-300))
    error = float(np.sqrt(2 * rho.size * OVERLAP / max(moments.n_lag * pixels, 1.0)))
    sample = max(float(moments.diff2_variance[quiet].sum() / noise[quiet].sum()) - 1, 0.0)
    if abs(total - 1) <= 0.1 + 3 * error + 12 * sample:
        return total, ()
    return total, (
        f"the noise of neighbouring pixels is correlated (sum {total:.2f}, not 1): electrons spread over "
        f"pixels, so the gain {gain:.3g} makes the noise of a pixel right but is not counts per electron, "
        f"which is nearer to {gain * total:.3g}",
    )
