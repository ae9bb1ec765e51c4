"""The image of a pattern under a turn or a mirror about its centre, pixel by pixel: for pictures only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.groups import Operation
from orbistem.plan import Plan
from orbistem.scan.ellipse import ellipse_matrix

__all__ = ["image_under"]

SEEN = 0.99
WITHIN_PX = 0.5
"""A pixel reaches so far beyond its middle."""


def image_under(
    pattern: NDArray[Any], valid: NDArray[np.bool_], plan: Plan, operation: Operation
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Image of a pattern, and which of its pixels are known.

    Parameters
    ----------
    pattern
        (ky, kx), finite.
    valid
        (ky, kx) bool: what of it is measured.
    plan
        Centre, pitch of the pixels, ellipse.
    operation
        What is done to the true pattern, before it is stretched.
    """
    from scipy.ndimage import affine_transform

    scale = np.asarray(plan.pixel_scale, np.float64)
    stretch = np.diag(np.min(np.abs(scale)) / scale) @ ellipse_matrix(plan.ellipse)
    of_xy = operation.matrix()  # acts on (kx, ky)
    back = stretch @ np.linalg.inv(of_xy[::-1, ::-1]) @ np.linalg.inv(stretch)
    centre = np.asarray(plan.centre_px, np.float64)
    offset = centre - back @ centre
    image = affine_transform(np.asarray(pattern, np.float64), back, offset=offset, order=3, mode="nearest")
    share = affine_transform(valid.astype(np.float64), back, offset=offset, order=1, mode="nearest")
    from_where = np.einsum("ij,jyx->iyx", back, np.indices(valid.shape)) + offset[:, None, None]
    last = np.array(valid.shape)[:, None, None] - 1
    inside = ((from_where > -WITHIN_PX) & (from_where < last + WITHIN_PX)).all(axis=0)
    return image, inside & (share > SEEN)
