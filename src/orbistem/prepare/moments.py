"""Everything that one pass over a scan can tell: moments per pixel, totals per position, the noise.

The sums add over blocks, so that the same numbers come from one block, from many, or from a cluster. Only the
differences between neighbouring frames stop at block borders.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import InputError, ShapeError
from orbistem.prepare.neighbours import LAGS, MAX_LAG_PX, noise_of_block, overlap
from orbistem.scan import Block

_CHUNK_VALUES = 2**17  # float64 values worked on at once: 1 MB stays in a core's cache

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class MomentsResult:
    """Moments of a scan, in the units of its stored values.

    Attributes
    ----------
    n : int
        Usable positions that entered the sums.
    dtype : str
        Type of the stored values, e.g. ``"uint16"``.
    integers : bool
        Whether all sampled values were whole numbers.
    mean, variance, minimum, maximum : (ky, kx)
        Over the usable positions; NaN for a pixel that was never finite. The variance holds noise and
        structure.
    count : (ky, kx)
        Finite values of each pixel.
    totals, peak : (n_positions,)
        Sum and largest value of each pattern over the valid pixels; NaN where the position is not usable.
    com : (n_positions, 2)
        Centre of mass (y, x) in pixels, sum(k I) / sum(I); NaN where not usable.
    usable : (n_positions,) bool
        Measured, and neither all missing nor constant (an all-zero pattern is constant).
    diff_variance, diff2_variance : (ky, kx)
        Variance from first and second differences of patterns that follow one another: noise with little, and
        with still less, of the structure. NaN where no pair was seen.
    diff2_mean : (ky, kx)
        Mean of the patterns behind `diff2_variance`, weighted as their noise enters it. They are a calm
        choice, so it differs from `mean`.
    n_diff, n_lag : int
        Second differences behind them, and behind `lag_products`.
    lag_products : (len(LAGS), ky, kx)
        Mean of d(p) d(p + lag) / 6 of second differences d; 0 where p + lag leaves the frame.
    """

    n: int
    dtype: str
    integers: bool
    mean: Floats
    variance: Floats
    minimum: Floats
    maximum: Floats
    count: NDArray[np.int64]
    totals: Floats
    peak: Floats
    com: Floats
    usable: Bools
    diff_variance: Floats
    diff2_variance: Floats
    diff2_mean: Floats
    n_diff: int
    n_lag: int
    lag_products: Floats

    @property
    def trimmed_mean(self) -> Floats:
        """Mean without the smallest and the largest value of each pixel: one cosmic ray cannot move it."""
        if self.n < 8:
            return self.mean
        trimmed: Floats = (self.mean * self.count - self.minimum - self.maximum) / np.maximum(
            self.count - 2, 1
        )
        return trimmed

    @property
    def noise_autocorrelation(self) -> Floats:
        """Noise autocorrelation over all pixels, shape (7, 7), 1 in the middle; see `autocorrelation`."""
        return autocorrelation(self, np.isfinite(self.diff2_variance))


@dataclass(frozen=True, kw_only=True, slots=True)
class MomentsState:
    """Partial sums. Everything but the per-position arrays has the detector's size."""

    dtype: str = ""
    integers: bool = True
    n: int = 0
    total: Floats
    squares: Floats
    minimum: Floats
    maximum: Floats
    count: NDArray[np.int64]
    positions: tuple[Floats, ...] = ()  # one (n, 5) array a block: usable, total, peak, com y, com x
    diff: Floats
    diff_count: Floats
    diff2: Floats
    diff2_count: Floats
    diff2_mean: Floats
    n_diff: int = 0
    lags: Floats
    n_lag: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """The reduction. It knows no scheduler: any runner of `orbistem.stream` takes it.

    Parameters
    ----------
    detector_shape : (ky, kx)
    pixel_valid : (ky, kx) bool, optional
        Pixels known to be bad beforehand; they do not count in totals, peaks, centres of mass and usability.
    """

    detector_shape: tuple[int, int]
    pixel_valid: Bools | None = None

    def __post_init__(self) -> None:
        if self.pixel_valid is not None and self.pixel_valid.shape != self.detector_shape:
            raise ShapeError(
                f"pixel_valid: want {self.detector_shape} like the detector, got {self.pixel_valid.shape}"
            )

    def start(self) -> MomentsState:
        """Return sums of nothing."""
        shape = self.detector_shape
        return MomentsState(
            total=np.zeros(shape),
            squares=np.zeros(shape),
            minimum=np.full(shape, np.inf),
            maximum=np.full(shape, -np.inf),
            count=np.zeros(shape, np.int64),
            diff=np.zeros(shape),
            diff_count=np.zeros(shape),
            diff2=np.zeros(shape),
            diff2_count=np.zeros(shape),
            diff2_mean=np.zeros(shape),
            lags=np.zeros((len(LAGS), *shape)),
        )

    def add(self, state: MomentsState, block: Block) -> MomentsState:
        """Return the sums with one more block."""
        return self.merge(state, self._of_block(block))

    def merge(self, left: MomentsState, right: MomentsState) -> MomentsState:
        """Return the sums of two runs of blocks, the left before the right."""
        if not right.dtype or not left.dtype:
            return left if left.dtype else right
        merged = {f.name: getattr(left, f.name) + getattr(right, f.name) for f in fields(MomentsState)}
        merged["dtype"] = left.dtype
        merged["integers"] = left.integers and right.integers
        merged["minimum"] = np.minimum(left.minimum, right.minimum)
        merged["maximum"] = np.maximum(left.maximum, right.maximum)
        return MomentsState(**merged)

    def finish(self, state: MomentsState) -> MomentsResult:
        """Return the moments.

        Raises
        ------
        InputError
            No position is usable.
        """
        if state.n == 0:
            raise InputError(
                "want patterns with signal, got only patterns that are constant, zero or not finite; "
                "check --dataset, --shape and --dtype"
            )
        seen = state.count > 0
        count = np.where(seen, state.count, 1)
        mean = np.where(seen, state.total / count, np.nan)
        variance = np.where(seen, np.maximum(state.squares / count - (state.total / count) ** 2, 0.0), np.nan)
        variance[state.minimum == state.maximum] = 0.0  # not the rounding error of a constant
        positions = np.concatenate(state.positions)
        lags = np.zeros_like(state.lags)
        for lag, (dy, dx) in enumerate(LAGS):
            here, _ = overlap(self.detector_shape, dy, dx)
            lags[lag][here] = state.lags[lag][here] / (6 * max(state.n_lag, 1))
        return MomentsResult(
            n=state.n,
            dtype=state.dtype,
            integers=state.integers,
            mean=mean,
            variance=variance,
            minimum=np.where(seen, state.minimum, np.nan),
            maximum=np.where(seen, state.maximum, np.nan),
            count=state.count,
            totals=positions[:, 1],
            peak=positions[:, 2],
            com=positions[:, 3:5],
            usable=positions[:, 0] > 0,
            diff_variance=_ratio(state.diff, 2 * state.diff_count),
            diff2_variance=_ratio(state.diff2, 6 * state.diff2_count),
            diff2_mean=_ratio(state.diff2_mean, state.diff2_count),
            n_diff=state.n_diff,
            n_lag=state.n_lag,
            lag_products=lags,
        )

    def _of_block(self, block: Block) -> MomentsState:
        frames = np.asarray(block.frames)
        if frames.ndim != 3 or frames.shape[1:] != self.detector_shape:
            raise ShapeError(f"frames: want (n, {self.detector_shape}), got {frames.shape}")
        frames = frames.view(np.uint8) if frames.dtype == np.bool_ else frames
        n, pixels = len(frames), frames[0].size if len(frames) else 0
        flat = frames.reshape(n, pixels)
        positions = np.full((n, 5), np.nan)
        positions[:, 0] = 0.0
        if n == 0:
            return self.start()
        valid = np.ones(pixels, bool) if self.pixel_valid is None else self.pixel_valid.ravel()
        ky, kx = np.indices(self.detector_shape).reshape(2, pixels)
        weights = np.stack([valid, valid * ky, valid * kx], axis=1).astype(np.float64)
        sums = _Sums(pixels)
        step = max(1, _CHUNK_VALUES // max(pixels, 1))
        measured = np.asarray(block.measured, bool)
        for first in range(0, n, step):
            part = slice(first, first + step)
            positions[part] = sums.add(flat[part], measured[part], valid, weights)
        noise = noise_of_block(frames, positions[:, 0] > 0)
        shape = self.detector_shape
        return MomentsState(
            dtype=str(block.frames.dtype),
            integers=noise.integers,
            n=sums.n,
            total=sums.total.reshape(shape),
            squares=sums.squares.reshape(shape),
            minimum=sums.minimum.reshape(shape),
            maximum=sums.maximum.reshape(shape),
            count=sums.count.reshape(shape),
            positions=(positions,),
            diff=noise.diff,
            diff_count=noise.diff_count,
            diff2=noise.diff2,
            diff2_count=noise.diff2_count,
            diff2_mean=noise.diff2_mean,
            n_diff=noise.n_diff,
            lags=noise.lags,
            n_lag=noise.n_lag,
        )


class _Sums:
    """Running sums over the chunks of one block."""

    def __init__(self, pixels: int) -> None:
        self.n = 0
        self.total = np.zeros(pixels)
        self.squares = np.zeros(pixels)
        self.minimum = np.full(pixels, np.inf)
        self.maximum = np.full(pixels, -np.inf)
        self.count = np.zeros(pixels, np.int64)

    def add(self, frames: NDArray[np.generic], measured: Bools, valid: Bools, weights: Floats) -> Floats:
        """Add frames (n, pixels); return usable, total, peak, com y, com x, shape (n, 5)."""
        values = frames.astype(np.float64)
        missing = None
        if frames.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                missing = ~finite
        inside = frames if bool(valid.all()) else frames[:, valid]
        if missing is None:
            lowest, peak = inside.min(axis=1), inside.max(axis=1)
        else:
            values[missing] = np.nan
            lowest = np.fmin.reduce(values[:, valid], axis=1)
            peak = np.fmax.reduce(values[:, valid], axis=1)
            values[missing] = 0.0
        peak = peak.astype(np.float64)
        usable = measured & (peak > lowest.astype(np.float64))  # False for NaN, too
        rows = np.full((len(frames), 5), np.nan)
        rows[:, 0] = usable
        if not usable.any():
            return rows
        if not usable.all():
            values, frames = values[usable], frames[usable]
            missing = None if missing is None else missing[usable]
        moments = values @ weights
        rows[usable, 1] = moments[:, 0]
        rows[usable, 2] = peak[usable]
        with np.errstate(divide="ignore", invalid="ignore"):
            rows[usable, 3:5] = moments[:, 1:] / moments[:, :1]
        ones = np.ones(len(values))
        self.n += len(values)
        self.total += ones @ values
        if missing is None:
            self.count += len(values)
            low, high = frames.min(axis=0), frames.max(axis=0)
        else:
            self.count += len(values) - missing.sum(axis=0)
            low = np.where(missing, np.inf, values).min(axis=0)
            high = np.where(missing, -np.inf, values).max(axis=0)
        np.minimum(self.minimum, low, out=self.minimum)
        np.maximum(self.maximum, high, out=self.maximum)
        np.multiply(values, values, out=values)
        self.squares += ones @ values
        return rows


def autocorrelation(
    moments: MomentsResult, valid: Bools, *, over: Literal["root", "mean"] = "root"
) -> Floats:
    """Autocorrelation of the noise between detector pixels, from second differences of neighbouring patterns.

    Parameters
    ----------
    moments : MomentsResult
    valid : (ky, kx) bool
        Pixels to use; both pixels of a pair must be valid.
    over
        What a sum of covariances is divided by: the sum of root products of the two variances, or of their
        means. With means that of a point spread comes out right also where brightness changes from pixel to
        pixel: all pixels together then hold Σ f times the autocorrelation of the spread.

    Returns
    -------
    (7, 7)
        Correlation at (dy, dx) = (-3..3, -3..3): sum of covariances over the sum that `over` names.
        NaN where no pair of pixels is left.
    """
    size = 2 * MAX_LAG_PX + 1
    rho = np.full((size, size), np.nan)
    variance = moments.lag_products[LAGS.index((0, 0))]
    sd = np.sqrt(np.where(valid, variance, 0.0))
    use = valid & (sd > 0)
    for lag, (dy, dx) in enumerate(LAGS):
        here, there = overlap(variance.shape, dy, dx)
        both = use[here] & use[there]
        if over == "root":
            scale = float((sd[here] * sd[there])[both].sum())
        else:
            scale = 0.5 * float((sd[here] ** 2 + sd[there] ** 2)[both].sum())
        if scale > 0:
            value = float(moments.lag_products[lag][here][both].sum()) / scale
            rho[MAX_LAG_PX + dy, MAX_LAG_PX + dx] = rho[MAX_LAG_PX - dy, MAX_LAG_PX - dx] = value
    return rho


def _ratio(total: Floats, count: Floats) -> Floats:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
