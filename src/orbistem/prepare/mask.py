"""Pixels that cannot be believed: hot, dead, missing, saturated, or behind the beam stop.

A hot or dead pixel is told from a sharp feature by its neighbours: optics and detector spread every real
peak over some of them, so a spike or a pit that stands alone is the detector's. Both must also be many
standard deviations of the counting noise away, so that the same thresholds serve at any dose. For the beam
stop see `beam_stop`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from orbistem.errors import OptionError
from orbistem.prepare.beam_stop import find_beam_stop, half_shadow_px, half_turn
from orbistem.prepare.centre import find_centre
from orbistem.prepare.moments import MomentsResult

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Pixels = tuple[tuple[int, int], ...]

_EIGHT = np.ones((3, 3), bool)
MIN_PATTERNS = 3
_SMALL_PX = 6  # a cluster of dead pixels is no larger


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskOptions:
    """What is looked for, and how sure it must be.

    Attributes
    ----------
    hot, dead, saturated, beam_stop : bool
        Look for it.
    sigma : float
        A hot pixel stands this many standard deviations of its mean above its neighbours, and `hot_ratio`
        times.
    hot_ratio : float
        See `sigma`.
    support : float
        A spike is real when its four neighbours rise by more than this share of it above the next ring.
    dark_ratio : float
        Dead and shadowed pixels have less than this share of what they should have.
    min_counts : float
        Electrons over the whole scan that a pixel should have before it can be called dead or shadowed.
    min_beam_stop_px : int
        Smallest area of a beam stop.
    """

    hot: bool = True
    dead: bool = True
    saturated: bool = True
    beam_stop: bool = True
    sigma: float = 8.0
    hot_ratio: float = 2.5
    support: float = 0.03
    dark_ratio: float = 0.1
    min_counts: float = 20.0
    min_beam_stop_px: int = 8

    def __post_init__(self) -> None:
        for name in ("sigma", "hot_ratio", "min_counts", "min_beam_stop_px"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name}: want a positive number, got {getattr(self, name)}")
        for name in ("support", "dark_ratio"):
            if not 0 < getattr(self, name) < 1:
                raise OptionError(f"{name}: want a number between 0 and 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskResult:
    """Pixels to use, and why the others are not.

    Attributes
    ----------
    valid : (ky, kx) bool
    hot, dead, missing, saturated : tuple of (y, x)
        Missing pixels were never finite. Saturated ones are clipped at the detector's ceiling in some
        patterns.
    beam_stop : (ky, kx) bool
    spiked : tuple of int
        Flat positions whose pattern holds a spike far above all others (cosmic ray, streak).
    notes : tuple of str
        Sentences that say what was found.
    problem : str or None
        Most of the detector is masked.
    """

    valid: Bools
    hot: Pixels
    dead: Pixels
    missing: Pixels
    saturated: Pixels
    beam_stop: Bools
    spiked: tuple[int, ...]
    notes: tuple[str, ...]
    problem: str | None = None


def find_bad_pixels(
    moments: MomentsResult, *, pixel_valid: Bools | None = None, options: MaskOptions | None = None
) -> MaskResult:
    """Find the pixels of a scan that cannot be believed.

    Parameters
    ----------
    moments : MomentsResult
    pixel_valid : (ky, kx) bool, optional
        Pixels already known to be good; the others stay masked and are not listed.
    options : MaskOptions, optional

    Returns
    -------
    MaskResult
    """
    options = options or MaskOptions()
    missing = moments.count == 0
    known = ~missing if pixel_valid is None else pixel_valid & ~missing
    nothing = np.zeros(known.shape, bool)
    if moments.n < MIN_PATTERNS:  # too few to tell a detector's fault from the pattern
        options = replace(options, hot=False, dead=False, saturated=False, beam_stop=False)
    electron = counts_per_electron(moments, known)
    saturated = known & _saturated(moments) if options.saturated else nothing
    good = known & ~saturated
    hot = nothing
    for _ in range(2 if options.hot else 0):  # the second time without the hot neighbours of hot pixels
        hot = hot | (good & _hot(moments, known & ~hot, electron, options))
    dead = good & _dead(moments, known & ~hot, electron, options) if options.dead else nothing
    good &= ~hot & ~dead
    shadow = nothing
    if options.beam_stop:
        shadow = find_beam_stop(
            moments.mean,
            good,
            electron / max(moments.n, 1),
            dark_ratio=options.dark_ratio,
            min_counts=options.min_counts,
            min_px=options.min_beam_stop_px,
        )
    valid = good & ~shadow
    spiked = find_spiked(moments)
    listed = missing if pixel_valid is None else missing & pixel_valid
    share = 1 - valid.sum() / valid.size
    return MaskResult(
        valid=valid,
        hot=_pixels(hot),
        dead=_pixels(dead),
        missing=_pixels(listed),
        saturated=_pixels(saturated),
        beam_stop=shadow,
        spiked=spiked,
        notes=_notes(hot, dead, listed, saturated, shadow, spiked),
        problem=f"{share:.0%} of the pixels are masked; check the mask, or give --mask"
        if share > 0.5
        else None,
    )


def with_half_shadow(mask: MaskResult, autocorrelation: Floats) -> MaskResult:
    """Mask the half shadow about a beam stop, too, where electrons spread over pixels.

    The noise of neighbouring pixels then is correlated; see `beam_stop.half_shadow_px`.

    Parameters
    ----------
    mask
        With the shadow itself.
    autocorrelation
        Of the noise, (7, 7), 1 in the middle; see `moments.autocorrelation`.
    """
    steps = half_shadow_px(autocorrelation)
    if not mask.beam_stop.any() or steps == 0:
        return mask
    shadow = ndimage.binary_dilation(mask.beam_stop, structure=_EIGHT, iterations=steps)
    notes = tuple(note for note in mask.notes if not note.startswith("a beam stop"))
    note = f"a beam stop of {shadow.sum()} pixels masked, with a half shadow of {steps} px"
    return replace(mask, valid=mask.valid & ~shadow, beam_stop=shadow, notes=(*notes, note))


def counts_per_electron(moments: MomentsResult, valid: Bools) -> float:
    """Rough counts per electron: median of variance over mean where there is signal; rather too large.

    Good enough for thresholds; `orbistem.prepare.counts.estimate_gain` does it properly.
    """
    near = np.isfinite(moments.diff2_variance)
    variance = np.where(near, moments.diff2_variance, moments.variance)
    mean = np.where(near, moments.diff2_mean, moments.mean)
    lit = valid & (mean > 0) & (variance > 0)
    if not lit.any():
        return 1.0
    lit &= mean >= np.quantile(mean[lit], 0.25)
    ratio = float(np.median(variance[lit] / mean[lit]))
    return max(ratio, 1.0) if moments.integers else ratio


def _hot(moments: MomentsResult, good: Bools, electron: float, options: MaskOptions) -> Bools:
    mean = moments.trimmed_mean
    ring = _neighbours(mean, good, 1)
    second = np.sort(np.where(np.isfinite(ring), ring, -np.inf), axis=0)[-2]  # one neighbour may be hot, too
    second = np.where(np.isfinite(second), second, 0.0)
    level = np.maximum(second, 0.0)
    n = max(moments.n, 1)
    counting = electron * np.maximum(level, electron / n)
    varies = np.maximum(_median(_neighbours(moments.variance, good, 1)), np.nan_to_num(moments.variance))
    sd = np.sqrt(np.maximum(counting, varies) / n)
    excess = mean - second
    outer = _median(_neighbours(mean, good, 2))
    cross = _median(_neighbours(mean, good, 1)[[1, 3, 4, 6]])
    support = cross - outer
    alone = support <= options.support * (mean - outer) + 3 * sd
    spike = (excess > options.sigma * sd) & (mean > options.hot_ratio * level) & alone
    # A pixel that never changes is stuck, if it lies above neighbours that change.
    still = moments.minimum == moments.maximum
    alive = _median(_neighbours(mean, good & ~still, 1))
    stuck = (
        still
        & (mean - alive > options.sigma * np.sqrt(np.maximum(electron * alive, varies) / n))
        & (mean > 0)
    )
    hot: Bools = good & (spike | stuck)
    return hot & ~_whole_beam(moments, hot, electron)


def _whole_beam(moments: MomentsResult, hot: Bools, electron: float) -> Bools:
    """A single pixel that holds much of the signal and counts like the rest is the focused beam."""
    beam = np.zeros_like(hot)
    if hot.sum() == 1:
        y, x = (int(i[0]) for i in np.nonzero(hot))
        total = float(np.nansum(np.maximum(moments.mean, 0)))
        varies = moments.variance[y, x] > 0.25 * electron * moments.mean[y, x]
        beam[y, x] = moments.mean[y, x] > 0.2 * total and varies
    return beam


def _dead(moments: MomentsResult, good: Bools, electron: float, options: MaskOptions) -> Bools:
    mean = np.where(good, moments.mean, np.nan)
    brightest = np.nanmax(np.concatenate([_neighbours(mean, good, 1), np.zeros((1, *mean.shape))]), axis=0)
    dark = good & (mean <= options.dark_ratio * brightest) & (brightest > 0)
    stuck = dark & (moments.minimum == moments.maximum)
    pits = _pits(mean, dark, good, moments.n / electron, options)
    pits |= _pits(mean, stuck, good, moments.n / electron, options)
    dead: Bools = pits & ~_repeated(mean, pits, good)
    return dead


def _repeated(mean: Floats, pits: Bools, good: Bools) -> Bools:
    """All of the pits, if their half turns are pits as well: then they belong to the pattern."""
    if pits.sum() < 4:
        return np.zeros_like(pits)
    fit = find_centre(mean, pixel_valid=good)
    if fit.problem is not None:
        return np.zeros_like(pits)
    near = ndimage.binary_dilation(pits).astype(np.float64)
    share = float((half_turn(near, fit.centre_px)[pits] > 0.5).mean())
    return pits if share > 0.5 else np.zeros_like(pits)


def _pits(mean: Floats, dark: Bools, good: Bools, electrons: float, options: MaskOptions) -> Bools:
    """Small dark islands in light; `electrons` per count over the whole scan."""
    label, count = ndimage.label(dark, structure=_EIGHT)
    dead = np.zeros_like(dark)
    sizes = np.bincount(label.ravel(), minlength=count + 1)
    boxes = ndimage.find_objects(label)
    for index in range(1, count + 1):
        if sizes[index] > _SMALL_PX:
            continue
        box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in boxes[index - 1])
        inside = label[box] == index
        border = ndimage.binary_dilation(inside, structure=_EIGHT) & ~inside & good[box]
        around = np.sort(mean[box][border])
        if len(around) < 3:
            continue
        expected = float(around[1])
        seen = float(mean[box][inside].max())
        if seen < options.dark_ratio * expected and electrons * expected >= options.min_counts:
            dead[box] |= inside
    return dead


def _saturated(moments: MomentsResult) -> Bools:
    """Pixels at a ceiling of 2^b - 1 that several share, in more than a stray pattern."""
    ceiling = float(np.nanmax(moments.maximum))
    bits = np.log2(ceiling + 1) if ceiling > 0 else 0.0
    if not moments.integers or bits < 6 or bits != round(bits):
        return np.zeros(moments.mean.shape, bool)
    at_top = moments.maximum == ceiling
    gap = ceiling - moments.mean
    # For a share p of patterns at the top: gap^2 / variance <= (1 - p) / p
    often = gap**2 <= np.clip(moments.n / 4, 9, 200) * moments.variance
    clipped: Bools = at_top & often
    never_moves = at_top & (moments.minimum == ceiling)
    return clipped if clipped.sum() - never_moves.sum() >= 2 or never_moves.sum() >= 4 else ~np.isfinite(gap)


def find_spiked(moments: MomentsResult) -> tuple[int, ...]:
    """Flat positions of the few patterns with a value far above all others: cosmic rays, a streak."""
    peak = moments.peak[moments.usable]
    if len(peak) < 8:
        return ()
    usual = float(np.quantile(peak, 0.95))
    high = np.flatnonzero(moments.usable & (moments.peak > 8 * max(usual, 1e-300)) & (moments.peak > 0))
    if moments.integers:
        high = high[moments.peak[high] > 20]  # one electron more than none is no spike
    return tuple(int(i) for i in high) if len(high) <= max(3, len(peak) // 100) else ()


def _neighbours(image: Floats, good: Bools, radius: int) -> Floats:
    """Neighbours in the square ring at this distance, shape (8 radius, ky, kx), NaN where not good."""
    ky, kx = image.shape
    padded = np.pad(np.where(good, image, np.nan), radius, constant_values=np.nan)
    steps = range(-radius, radius + 1)
    ring = [
        padded[radius + dy : radius + dy + ky, radius + dx : radius + dx + kx]
        for dy in steps
        for dx in steps
        if max(abs(dy), abs(dx)) == radius
    ]
    return np.stack(ring)


def _median(stack: Floats) -> Floats:
    """Median over the first axis, ignoring NaN; 0 where nothing is known."""
    ordered = np.sort(stack, axis=0)  # NaN last
    known = np.isfinite(stack).sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum((known - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, np.maximum(known // 2, 0)[None].clip(0, len(stack) - 1), axis=0)[0]
    middle = 0.5 * (low + high)
    return np.where(known > 0, middle, 0.0)


def _pixels(mask: Bools) -> Pixels:
    return tuple((int(y), int(x)) for y, x in np.argwhere(mask))


def _notes(
    hot: Bools, dead: Bools, missing: Bools, saturated: Bools, shadow: Bools, spiked: tuple[int, ...]
) -> tuple[str, ...]:
    notes = []
    for name, mask in (("hot", hot), ("dead", dead), ("never finite", missing)):
        if mask.any():
            at = ", ".join(str(pixel) for pixel in _pixels(mask)[:5])
            more = ", ..." if mask.sum() > 5 else ""
            notes.append(f"{mask.sum()} {name} pixel{'s' * int(mask.sum() > 1)} masked, (y, x): {at}{more}")
    if saturated.any():
        notes.append(
            f"{saturated.sum()} saturated pixels masked; record with less beam or a shorter dwell time"
        )
    if shadow.any():
        notes.append(f"a beam stop of {shadow.sum()} pixels masked")
    if spiked:
        at = ", ".join(map(str, spiked[:5]))
        notes.append(
            f"{len(spiked)} pattern{'s' * (len(spiked) > 1)} with a spike far above all others, at {at}"
        )
    return tuple(notes)
