"""What the lenses behind the specimen do to a pattern: they move it (descan) and stretch it (ellipse).

A pattern drawn on a finer grid than the detector's stands for a continuous one that is constant over each
fine pixel. Moved and stretched, its fine pixels share what they hold in proportion to area, and the
detector's sum over theirs: a sharp edge then keeps its shape wherever it falls between pixels. For a shift
that is exact.
"""

from __future__ import annotations

import numpy as np

from orbistem.errors import OptionError, require_stack
from orbistem.scan.ellipse import Ellipse, ellipse_matrix


def distort(
    patterns: np.ndarray, shifts_px: np.ndarray, *, ellipse: Ellipse = (1.0, 0.0), binning: int = 1
) -> np.ndarray:
    """Patterns as they arrive on the detector.

    Parameters
    ----------
    patterns
        (n, binning · ky, binning · kx), intensity of each fine pixel.
    shifts_px
        (n, 2), in detector pixels.
    ellipse
        See `orbistem.scan.ellipse`; about the middle of the frame, before the shift.
    binning
        Fine pixels across one of the detector.

    Returns
    -------
    numpy.ndarray
        (n, ky, kx), float64.
    """
    from scipy.ndimage import map_coordinates

    require_stack("patterns", patterns)
    ny, nx = patterns.shape[1:]
    if binning < 1 or ny % binning or nx % binning:
        raise OptionError(
            f"binning: want a divisor of both sides of {(ny, nx)}, got {binning}; draw finer patterns"
        )
    middle = np.array([(ny - 1) / 2, (nx - 1) / 2])
    grid = np.indices((ny, nx), dtype=np.float64).reshape(2, -1) - middle[:, None]
    back = np.linalg.inv(ellipse_matrix(ellipse))
    out = np.empty((len(patterns), ny // binning, nx // binning))
    for i, (pattern, shift) in enumerate(zip(patterns, shifts_px, strict=True)):
        source = back @ (grid - binning * np.asarray(shift, np.float64)[:, None]) + middle[:, None]
        fine = map_coordinates(pattern.astype(np.float64), source, order=1, mode="constant")
        parts = fine.reshape(ny // binning, binning, nx // binning, binning)
        out[i] = parts.sum(axis=(1, 3))
    return out


def beam_stop(detector_shape: tuple[int, int], width_px: float) -> np.ndarray:
    """Shadow of a bar from the left edge to the middle, with a round end: (ky, kx) bool, True where dark."""
    ky, kx = detector_shape
    y, x = np.indices(detector_shape, dtype=np.float64)
    y -= (ky - 1) / 2
    x -= (kx - 1) / 2
    return np.asarray(np.where(x <= 0, np.abs(y), np.hypot(y, x)) <= width_px / 2)
