"""How far mean patterns of parts of a scan have moved against each other, and their mean at rest.

Each pattern is a copy of one template, moved and brighter or darker: T(k) = a M(k - d). For small steps that
is linear in a and d, and solved by least squares with the weights of counts and fewer for outliers; the
template is the mean of all patterns, moved back (Guizar-Sicairos, Thurman & Fienup, Opt. Lett. 33, 156
(2008) refine a
correlation peak to the same end). A reflection that becomes brighter in place changes a pattern symmetrically
about itself, a shift antisymmetrically: so the sample moves the answer less than it moves a centre of mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HUBER = 2.0
"""Residuals beyond so many robust deviations count less."""
STEPS = 10
FLOOR = 0.05
"""Pixels below this share of the bright level are not weighted up further."""
LARGEST_STEP_PX = 1.0
NEAR_PX = 6
"""So far into a gap the deviation of a pattern from the mean is continued from the pixels around it."""
EVEN_STEPS = 2
SEARCH_SHARE = 0.25
"""Largest shift that is looked for, as a share of the frame."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Registration:
    """Shifts (tile, 2) of the patterns, y and x in px, about their mean, and the pattern at rest (ky, kx)."""

    shift_px: Floats
    template: Floats


def first_look(means: Floats, weights: Floats, valid: Bools) -> Floats:
    """Shifts (tile, 2) from one linear step about the plain mean: cheap, too small where they are large."""
    filled = np.stack([fill_gaps(one, valid) for one in means])
    template = np.tensordot(weights / weights.sum(), filled, axes=1)
    shift = np.stack([_step(one, template, valid) for one in means])
    return _about_mean(shift, weights)


def register(means: Floats, weights: Floats, valid: Bools) -> Registration:
    """Find the shifts of mean patterns.

    Parameters
    ----------
    means : (tile, ky, kx)
        NaN where unknown.
    weights : (tile,)
        Patterns behind each.
    valid : (ky, kx) bool
        Pixels to believe.
    """
    filled = np.stack([fill_gaps(one, valid) for one in means])
    middle = int(np.argmin(np.abs(np.arange(len(means)) - (len(means) - 1) / 2)))
    shift = _about_mean(np.stack([_coarse(one, filled[middle]) for one in filled]), weights)
    for _ in range(STEPS):
        template = at_rest(means, weights, shift, valid, filled=filled)
        moved = [move(template, by) for by in shift]
        # what a pixel cannot see is taken from where others see it
        filled = np.stack(
            [np.where(_known(one, valid), one, at) for one, at in zip(means, moved, strict=True)]
        )
        step = np.stack([_step(one, at, valid) for one, at in zip(means, moved, strict=True)])
        shift = _about_mean(shift + step, weights)
        if np.abs(step).max() < 1e-3:
            break
    return Registration(shift_px=shift, template=at_rest(means, weights, shift, valid, filled=filled))


def at_rest(
    means: Floats, weights: Floats, shift: Floats, valid: Bools, *, filled: Floats | None = None
) -> Floats:
    """Mean of the patterns, each moved back by its shift, (ky, kx); what interpolation blurs is put back.

    Parameters
    ----------
    means, weights, valid
        As for `register`.
    shift : (tile, 2)
    filled : (tile, ky, kx), optional
        `means` without gaps.
    """
    if filled is None:
        filled = np.stack([fill_gaps(one, valid) for one in means])
    share = _share_of_seen(means, weights / weights.sum(), shift, valid)
    template: Floats = np.zeros(means.shape[1:])
    for one, by, part in zip(filled, shift, share, strict=True):
        template += part * move(one, -by)
    correction = np.zeros_like(template)
    for one, by, part in zip(filled, shift, share, strict=True):
        correction += part * move(one - move(template, by), -by)
    return template + correction


def even_at_rest(means: Floats, weights: Floats, shift: Floats, valid: Bools) -> Floats:
    """As `at_rest`, with the same share of each pattern in every pixel, also where some are blind.

    Patterns differ from place to place of the sample. A pixel that a hot pixel or the beam stop hides from
    some of them would be the mean of the others, and differ from its neighbours by what the sample does.
    So what a pattern cannot see is the mean of those that can, and its own deviation from it, continued
    over the gap.

    Parameters
    ----------
    means, weights, valid, shift
        As for `at_rest`.
    """
    template = at_rest(means, weights, shift, valid)
    known = np.stack([_known(one, valid) for one in means])
    if known.all():
        return template
    near = np.stack([ndimage.binary_dilation(one, iterations=NEAR_PX) for one in known])
    everywhere = np.ones_like(valid)
    share = _share_of_seen(np.where(near, 0.0, np.nan), weights / weights.sum(), shift, everywhere)
    for _ in range(EVEN_STEPS):
        change = np.zeros_like(template)
        for one, by, part, seen_here in zip(means, shift, share, known, strict=True):
            off = np.where(seen_here, one - move(template, by), 0.0)
            change += part * move(fill_gaps(off, seen_here), -by)
        template = template + change
    return template


def _share_of_seen(means: Floats, share: Floats, shift: Floats, valid: Bools) -> Floats:
    """What each pattern contributes to each pixel at rest: only those that have seen it, (tile, ky, kx)."""
    known = np.stack([_known(one, valid) for one in means])
    whole = np.broadcast_to(share[:, None, None], means.shape)
    if known.all():
        return np.asarray(whole)
    moved = [_moved_flags(one, -by) for one, by in zip(known, shift, strict=True)]
    parts = share[:, None, None] * np.stack(moved)
    total = parts.sum(axis=0)
    return np.where(total > 0, parts / np.where(total > 0, total, 1.0), whole)


def seen(valid: Bools, shift: Floats) -> Bools:
    """Which pixels of the pattern at rest are measured in one of the shifted patterns at least, (ky, kx)."""
    share = np.zeros(valid.shape)
    for by in shift:
        share = np.maximum(share, _moved_flags(valid, -by))
    return np.asarray(share > 0)


def _moved_flags(flags: Bools, by: Floats) -> Floats:
    """1 where all pixels around a moved place are set, else 0."""
    return np.asarray(ndimage.shift(flags.astype(np.float64), by, order=1, cval=0.0) > 0.99, np.float64)


def move(image: Floats, by: Floats) -> Floats:
    """The image moved by (y, x) px with a cubic spline; the edge is continued."""
    if not np.any(by):
        return image
    moved: Floats = ndimage.shift(image, by, order=3, mode="nearest")
    return moved


def fill_gaps(image: Floats, valid: Bools) -> Floats:
    """The image with its unknown pixels taken from their surroundings, ever wider where there is nothing."""
    known = _known(image, valid)
    if known.all():
        return np.asarray(image, np.float64)
    filled = np.where(known, image, 0.0)
    missing = ~known
    values = filled.copy()
    for sigma in (1.0, 2.0, 4.0, 8.0, 16.0):
        weight = ndimage.gaussian_filter(known.astype(np.float64), sigma, mode="constant")
        level = ndimage.gaussian_filter(values, sigma, mode="constant") / np.maximum(weight, 1e-9)
        here = missing & (weight > 0.05)
        filled[here] = level[here]
        missing &= ~here
        if not missing.any():
            break
    filled[missing] = float(np.mean(image[known])) if known.any() else 0.0
    return filled


def _known(image: Floats, valid: Bools) -> Bools:
    return valid & np.isfinite(image)


def _about_mean(shift: Floats, weights: Floats) -> Floats:
    return shift - np.average(shift, axis=0, weights=weights)


def _step(image: Floats, template: Floats, valid: Bools) -> Floats:
    """One step of (y, x), from T = a (M - step · grad M)."""
    use = _known(image, valid)
    slope = [np.asarray(one) for one in np.gradient(template)]
    least = 1e-6 * float(np.abs(template[use]).max()) + 1e-200  # dark frames have no bright pixels
    bright = max(float(np.quantile(template[use], 0.9)), least)
    weight = 1 / np.maximum(template, FLOOR * bright)
    design = np.stack([template, -slope[0], -slope[1]])[:, use]
    values, weight = image[use], weight[use]
    loss = np.ones_like(weight)
    found = np.array([1.0, 0.0, 0.0])
    for _ in range(4):
        w = weight * loss
        matrix = (design * w) @ design.T
        matrix[np.diag_indices(3)] += 1e-9 * np.trace(matrix) + np.finfo(float).tiny
        found = np.linalg.solve(matrix, (design * w) @ values)
        residual = np.abs(values - found @ design) * np.sqrt(weight)
        least = 1e-12 * float(residual.max(initial=0.0)) + np.finfo(float).tiny  # half of them may be zero
        scale = max(1.4826 * float(np.median(residual)), least)
        loss = 1 / np.maximum(1.0, residual / (HUBER * scale))
    step = found[1:] / found[0] if found[0] > 0 else np.zeros(2)
    return np.asarray(np.clip(step, -LARGEST_STEP_PX, LARGEST_STEP_PX))


def _coarse(image: Floats, reference: Floats) -> Floats:
    """Shift in whole pixels from the peak of the correlation of square roots."""
    a, b = (np.sqrt(np.maximum(one, 0.0)) for one in (image, reference))
    a, b = a - a.mean(), b - b.mean()
    size = [fft.next_fast_len(2 * n, real=True) for n in image.shape]
    product = fft.irfft2(fft.rfft2(a, size) * np.conj(fft.rfft2(b, size)), size)
    reach = [max(int(SEARCH_SHARE * n), 1) for n in image.shape]
    rows, columns = (np.r_[0 : r + 1, n - r : n] for r, n in zip(reach, size, strict=True))
    part = product[np.ix_(rows, columns)]
    at = np.unravel_index(int(np.argmax(part)), part.shape)
    found = [int(rows[at[0]]), int(columns[at[1]])]
    return np.array([f - n if f > n // 2 else f for f, n in zip(found, size, strict=True)], np.float64)
