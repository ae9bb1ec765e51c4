"""Differences between patterns that follow one another: the noise with little of the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LAG_PX = 3  # the noise autocorrelation reaches this far: wider than any charge cloud
LAGS: tuple[tuple[int, int], ...] = tuple(
    (dy, dx) for dy in range(MAX_LAG_PX + 1) for dx in range(-MAX_LAG_PX, MAX_LAG_PX + 1) if dy > 0 or dx >= 0
)  # one half plane; the other follows by symmetry
_CHUNK_VALUES = 2**17  # float64 values worked on at once: 1 MB stays in a core's cache
_DIFF_VALUES = 2**20  # values of second differences wanted per block, and for the autocorrelation:
_LAG_VALUES = 2**19

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourNoise:
    """Sums over the sampled differences of one block."""

    integers: bool
    diff: Floats
    diff_count: Floats
    diff2: Floats
    diff2_count: Floats
    n_diff: int
    diff2_mean: Floats
    lags: Floats
    n_lag: int


def noise_of_block(frames: NDArray[np.generic], usable: Bools) -> NeighbourNoise:
    """Differences of an evenly spread sample of triples of frames that follow one another."""
    shape = frames.shape[1:]
    pixels = int(np.prod(shape))
    flat = frames.reshape(len(frames), pixels)
    starts = np.flatnonzero(usable[:-2] & usable[1:-1] & usable[2:])
    starts = _calm(flat, _spread(starts, max(_DIFF_VALUES // pixels, len(frames) // 16, 1)))
    diff, diff_count, diff2, diff2_count, diff2_mean = (np.zeros(pixels) for _ in range(5))
    lags = np.zeros((len(LAGS), pixels))
    n_lag = min(len(starts), max(_LAG_VALUES // pixels, len(frames) // 64, 1))
    with_lags = np.zeros(len(starts), bool)
    with_lags[_spread(np.arange(len(starts)), n_lag)] = True
    integers = True
    step = max(1, _CHUNK_VALUES // (4 * pixels))
    for first in range(0, len(starts), step):
        at = starts[first : first + step]
        a, b, c = (flat[at + i].astype(np.float64) for i in range(3))
        if frames.dtype.kind == "f":
            for values in (a, b, c):
                values[~np.isfinite(values)] = np.nan  # infinite minus infinite would warn
            integers = integers and bool((a == np.rint(a))[np.isfinite(a)].all())
        one = b - a
        two = (c - b) - one
        level = (a + 4 * b + c) / 6
        if frames.dtype.kind == "f":
            known_one, known_two = np.isfinite(one), np.isfinite(two)
            one[~known_one], two[~known_two], level[~known_two] = 0.0, 0.0, 0.0
            diff_count += known_one.sum(axis=0)
            diff2_count += known_two.sum(axis=0)
        else:
            diff_count += len(at)
            diff2_count += len(at)
        diff += np.einsum("np,np->p", one, one)
        diff2 += np.einsum("np,np->p", two, two)
        diff2_mean += level.sum(axis=0)
        for frame in two[with_lags[first : first + step]]:
            for lag, (dy, dx) in enumerate(LAGS):
                ahead = dy * shape[1] + dx  # products that wrap around a row are dropped in `finish`
                if ahead >= pixels:
                    continue
                lags[lag, : pixels - ahead] += frame[: pixels - ahead] * frame[ahead:]
    return NeighbourNoise(
        integers=integers,
        diff=diff.reshape(shape),
        diff_count=diff_count.reshape(shape),
        diff2=diff2.reshape(shape),
        diff2_count=diff2_count.reshape(shape),
        n_diff=len(starts),
        diff2_mean=diff2_mean.reshape(shape),
        lags=lags.reshape(-1, *shape),
        n_lag=int(with_lags.sum()),
    )


def _calm(flat: NDArray[np.generic], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triples without a jump of the sample: line ends, grain boundaries.

    Squared second difference per count; the lower tail of its distribution is noise alone and says where
    the upper one ends.
    """
    if len(starts) < 20:
        return starts
    some = slice(None, None, max(1, flat.shape[1] // 4096))
    score = np.empty(len(starts))
    step = max(1, _CHUNK_VALUES // 4096)
    for first in range(0, len(starts), step):
        at = starts[first : first + step]
        a, b, c = (flat[at + i, some].astype(np.float64) for i in range(3))
        if flat.dtype.kind == "f":
            for values in (a, b, c):
                values[~np.isfinite(values)] = 0.0
        total = np.abs((a + b + c).sum(axis=1))
        score[first : first + step] = ((a - 2 * b + c) ** 2).sum(axis=1) / np.maximum(total, 1e-300)
    low, quarter = np.quantile(score, (0.05, 0.25))
    sd = (quarter - low) / (1.645 - 0.674)
    calm: NDArray[np.int64] = starts[score <= quarter + (0.674 + 4) * sd]
    return calm


def overlap(shape: tuple[int, ...], dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of p and of p + (dy, dx) where both lie in the frame."""
    ky, kx = shape
    here = slice(max(0, -dy), max(0, ky - max(0, dy))), slice(max(0, -dx), max(0, kx - max(0, dx)))
    there = slice(max(0, dy), max(0, ky + min(0, dy))), slice(max(0, dx), max(0, kx + min(0, dx)))
    return here, there


def _spread(values: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """At most `wanted` of the values, evenly spread."""
    if len(values) <= wanted:
        return values
    return values[np.linspace(0, len(values) - 1, wanted).round().astype(np.int64)]
