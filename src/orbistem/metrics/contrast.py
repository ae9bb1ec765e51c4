"""Whether a map shows small rings at known places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbistem.errors import ShapeError

RING_PX = (2.0, 4.0)  # inner and outer radius of the ring itself
AROUND_PX = (6.0, 10.0)  # and of the surroundings that it is compared with
NORMAL_MAD = 1.4826  # sd of a normal distribution over its median absolute deviation


def ring_contrast(
    image: np.ndarray,
    centres: Sequence[tuple[float, float]],
    *,
    ring_px: tuple[float, float] = RING_PX,
    around_px: tuple[float, float] = AROUND_PX,
) -> np.ndarray:
    """(Mean on the ring − median of its surroundings) / sd of the surroundings, for each place.

    Parameters
    ----------
    image
        (y, x) map; NaN is left out.
    centres
        (y, x) of the rings.
    ring_px, around_px
        Inner and outer radius of ring and surroundings, positions. Pixels nearer than `around_px[0]` to
        another ring do not count as surroundings. Their sd is 1.48 × the median absolute deviation: the
        noise of single positions, robust against a particle's edge that crosses.

    Returns
    -------
    numpy.ndarray
        One signed contrast per place; NaN where nothing surrounds it or the surroundings are constant.
    """
    image = np.asarray(image, dtype=np.float64)
    if image.ndim != 2:
        raise ShapeError(f"image: want a map (y, x), got {image.shape}; pass one latent")
    y, x = np.indices(image.shape)
    away = np.array([np.hypot(y - cy, x - cx) for cy, cx in centres]).reshape(-1, *image.shape)
    known = np.isfinite(image)
    found = np.full(len(away), np.nan)
    for i, distance in enumerate(away):
        others = np.delete(away, i, axis=0)
        ring = known & (distance >= ring_px[0]) & (distance <= ring_px[1])
        around = known & (distance >= around_px[0]) & (distance <= around_px[1])
        around &= (others >= around_px[0]).all(axis=0)
        if not ring.any() or not around.any():
            continue
        level = np.median(image[around])
        sd = NORMAL_MAD * np.median(np.abs(image[around] - level))
        if sd > 0:
            found[i] = (image[ring].mean() - level) / sd
    return found
