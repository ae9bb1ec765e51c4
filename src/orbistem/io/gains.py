"""Pixels of a camera that answer one electron with different counts: patterns are divided by a gain map."""

from __future__ import annotations

from typing import Any

import numpy as np

from orbistem.errors import OptionError
from orbistem.scan import Scan

__all__ = ["divided_by"]

UNLIKE = 20.0
"""A pixel so many times more or less sensitive than the median is left out: dividing by it helps nobody."""


def divided_by(scan: Scan, gains: np.ndarray[Any, Any]) -> Scan:
    """The scan with every pattern divided by the pixels' sensitivity, lazily, in single precision.

    Counts of a pixel with sensitivity w are w times the electrons, so that after the division their noise is
    that of counting again.

    Parameters
    ----------
    scan
    gains
        (ky, kx), any scale: its mean over the usable pixels is made 1.

    Raises
    ------
    OptionError
        Another shape than the detector's, or no usable pixel.
    """
    shape = scan.detector_shape
    if gains.shape != shape or gains.dtype.kind not in "iufb":
        raise OptionError(
            f"gain_map: want numbers {shape[0]} x {shape[1]} like the detector, got {gains.dtype} "
            f"{' x '.join(map(str, gains.shape))}; give the map of this camera, cut as the patterns"
        )
    level = gains.astype(np.float64)
    good = np.isfinite(level) & (level > 0)
    if good.any():
        middle = float(np.median(level[good]))
        good &= (level < UNLIKE * middle) & (level * UNLIKE > middle)
    if not good.any():
        raise OptionError("gain_map: want sensitivities above 0, got none; check the file")
    factor = np.zeros(shape, np.float32)
    factor[good] = level[good].mean() / level[good]
    dropped = int((~good & scan.pixel_valid).sum())
    spread = float(level[good].std() / level[good].mean())
    sentence = f"patterns are divided by a gain map (sensitivity {spread:.1%} rms about its mean)"
    if dropped:
        sentence += f"; {dropped} pixels without a usable sensitivity are left out"
    return scan.replace(
        patterns=scan.patterns * factor,
        pixel_valid=scan.pixel_valid & good,
        provenance=scan.provenance.adding(found=(sentence,)),
    )
