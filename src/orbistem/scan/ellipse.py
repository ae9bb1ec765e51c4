"""An ellipse on the detector: what projector lenses make of a circle."""

from __future__ import annotations

import numpy as np

__all__ = ["Ellipse", "ellipse_matrix"]

Ellipse = tuple[float, float]
"""Long over short axis of what should be a circle, and the azimuth of the long axis, radian, +kx to +ky."""


def ellipse_matrix(ellipse: Ellipse) -> np.ndarray:
    """Map (y, x) of the true pattern to (y, x) on the detector, 2 × 2; areas are kept.

    >>> ellipse_matrix((1.21, 0.0)).round(3).tolist()
    [[0.909, 0.0], [0.0, 1.1]]
    """
    ratio, angle_rad = ellipse
    along = np.array([np.sin(angle_rad), np.cos(angle_rad)])
    across = np.array([np.cos(angle_rad), -np.sin(angle_rad)])
    stretch = np.sqrt(ratio)
    return np.asarray(stretch * np.outer(along, along) + np.outer(across, across) / stretch)
