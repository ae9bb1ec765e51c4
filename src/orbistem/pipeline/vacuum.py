"""A vacuum pattern from a file as static background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.errors import OptionError
from orbistem.io import open_scan
from orbistem.plan import Plan

__all__ = ["vacuum_harmonics", "vacuum_pattern"]


def vacuum_pattern(plan: Plan, config: FitConfig) -> NDArray[np.float64] | None:
    """The given vacuum pattern (ky, kx) in electrons, scaled to the total of the mean; None without one.

    Raises
    ------
    OptionError
        The pattern comes from another detector.
    """
    if config.prepare.background is None:
        return None
    scan = open_scan(config.prepare.background)
    if scan.detector_shape != plan.detector_shape:
        raise OptionError(
            f"background: want a pattern of {plan.detector_shape}, got {scan.detector_shape}; "
            "give one from the same detector"
        )
    vacuum = np.zeros(plan.detector_shape)
    for block in scan.iter_blocks(scan.choose_block_size(2**27)):
        vacuum += block.frames.sum(axis=0, dtype=np.float64)
    use = plan.pixel_valid
    vacuum *= plan.mean[use].sum() / max(float(vacuum[use].sum()), np.finfo(float).tiny)
    return vacuum


def vacuum_harmonics(plan: Plan, config: FitConfig) -> NDArray[np.complex64] | None:
    """Harmonics (ring, order) of `vacuum_pattern`; None without one."""
    vacuum = vacuum_pattern(plan, config)
    if vacuum is None:
        return None
    counts = (vacuum * (plan.gain or 1.0) + plan.offset)[None]
    found: NDArray[np.complex64] = plan.harmonics(counts.astype(np.float32))[0]
    return found
