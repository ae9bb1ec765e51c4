"""The shadow of a beam stop: dark, connected, where the half turn of the pattern is bright.

It has bright pixels right beside it. Where one electron lights several pixels, a half shadow lies about it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from orbistem.prepare.centre import find_centre

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_EIGHT = np.ones((3, 3), bool)
_WIDEST_HALF_SHADOW_PX = 3
HALF_SHADOW = 0.5
"""Share of its light at the edge of the stop; what spreads beyond is `half_shadow_px` wide."""


def find_beam_stop(
    mean: Floats, good: Bools, electron: float, *, dark_ratio: float, min_counts: float, min_px: int
) -> Bools:
    """Pixels behind a beam stop, (ky, kx) bool.

    Parameters
    ----------
    mean : (ky, kx)
        Mean pattern.
    good : (ky, kx) bool
        Pixels to believe.
    electron
        What one electron of the whole scan adds to the mean.
    dark_ratio, min_counts, min_px
        See `mask.MaskOptions`.
    """
    mean = np.where(good, np.maximum(mean, 0), np.nan)
    shadow = np.zeros_like(good)
    for _ in range(3):  # the shadow moves the centre, and the centre the shadow
        fit = find_centre(mean, pixel_valid=good & ~shadow)
        if fit.problem is not None or fit.correlation < 0.5:
            return np.zeros_like(good)
        found = _shadow(mean, good, fit.centre_px, electron, dark_ratio, min_counts, min_px)
        if (found == shadow).all():
            break
        shadow = found
    return shadow


def half_shadow_px(autocorrelation: Floats) -> int:
    """Width of the half shadow, pixels; 0 where the noise of neighbouring pixels is independent.

    For a Gaussian spread of s px the correlation at a distance of one pixel is exp(-1 / 4 s²), and pixels
    within 2 s of the shadow miss more than 1 % of their share.

    Parameters
    ----------
    autocorrelation
        Of the noise, (7, 7), 1 in the middle; see `moments.autocorrelation`.
    """
    middle = autocorrelation.shape[0] // 2
    next_px = 0.5 * float(autocorrelation[middle, middle + 1] + autocorrelation[middle + 1, middle])
    if not 0.05 < next_px < 1:
        return 0
    spread_px = 0.5 / np.sqrt(-np.log(next_px))
    return min(max(int(np.rint(2 * spread_px)), 1), _WIDEST_HALF_SHADOW_PX)


def half_turn(image: Floats, centre: tuple[float, float]) -> Floats:
    """The image turned by 180° about (y, x), (ky, kx); 0 where there is none."""
    y, x = np.indices(image.shape)
    turned: Floats = ndimage.map_coordinates(
        image, [2 * centre[0] - y, 2 * centre[1] - x], order=1, mode="constant", cval=0.0
    )
    return turned


def _shadow(
    mean: Floats,
    good: Bools,
    centre: tuple[float, float],
    electron: float,
    dark_ratio: float,
    min_counts: float,
    min_px: int,
) -> Bools:
    """Dark areas with a bright half turn and bright neighbours; `electron` is that of the mean."""
    filled = np.where(good, mean, 0.0)
    partner = half_turn(filled, centre)
    partner_good = half_turn(good.astype(np.float64), centre) > 0.99
    # The darkest of nine forgives a centre that is 1 px off.
    lowest = ndimage.minimum_filter(np.where(partner_good, partner, 0.0), size=3)
    lit = lowest / electron >= min_counts
    dark = good & lit & (filled <= dark_ratio * lowest)
    around = _around(filled, good, centre)
    around[around / electron < min_counts] = -1.0  # nothing is missed where the whole ring is dark
    label, count = ndimage.label(dark, structure=_EIGHT)
    shadow = np.zeros_like(good)
    for index in range(1, count + 1):
        area = label == index
        if area.sum() < min_px:
            continue
        level = float(np.median(lowest[area]))
        reach = ndimage.binary_dilation(area, structure=_EIGHT, iterations=3) & good
        bright = reach & (filled > 0.3 * level)
        if bright.sum() < 0.3 * (reach & ~area).sum():
            continue  # dark surroundings: a weak reflection, not a shadow
        black = good & (filled <= dark_ratio * np.minimum(around, level))
        width = float(ndimage.distance_transform_edt(area).max())
        steps = int(np.ceil(2 * width)) + 1
        area = ndimage.binary_dilation(area, structure=_EIGHT, iterations=steps, mask=black | area)
        rim = ndimage.binary_dilation(area, structure=_EIGHT) & good
        area |= rim & (filled < 0.7 * partner)
        # where the half turn is hidden, the ring beside the shadow says more
        near = ndimage.binary_dilation(area, structure=_EIGHT, iterations=_WIDEST_HALF_SHADOW_PX)
        beside = _around(filled, good & ~near, centre)
        hidden = half_turn(near.astype(np.float64), centre) > 0.5
        half = good & hidden & (beside / electron >= min_counts) & (filled < HALF_SHADOW * beside)
        shadow |= ndimage.binary_dilation(
            area, structure=_EIGHT, iterations=_WIDEST_HALF_SHADOW_PX, mask=half | area
        )
    return shadow


def _around(image: Floats, good: Bools, centre: tuple[float, float]) -> Floats:
    """Level of the brighter part of each pixel's ring, (ky, kx); a ring without pixels has the next one's."""
    y, x = np.indices(image.shape)
    ring = np.rint(np.hypot(y - centre[0], x - centre[1])).astype(int)
    level = np.zeros(ring.max() + 1)
    for radius in range(len(level) - 1, -1, -1):
        values = image[(ring == radius) & good]
        outer = level[radius + 1] if radius + 1 < len(level) else 0.0
        level[radius] = np.quantile(values, 0.7) if len(values) else outer
    # the brighter of a ring and the next one out: what lies just outside a sharp edge is no shadow
    result: Floats = np.maximum(level, np.append(level[1:], 0.0))[ring]
    return result
