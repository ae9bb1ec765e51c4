"""The static background: what all patterns share and what does not turn with the sample.

Harmonics are measured about the *azimuthal* mean, so a static background shows as an offset of the orders
above 0: aperture edge, residual aberrations, detector gain.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from orbistem.errors import OptionError, ShapeError

Background = Literal["mean", "azimuthal", "none", "given"]


def static_harmonics(
    background: Background, *, mean_harmonics: np.ndarray, given: np.ndarray | None = None
) -> np.ndarray:
    """Harmonics of the static background above order 0, to be subtracted from those of every pattern.

    Parameters
    ----------
    background
        "mean": the scan mean (right for one orientation); "azimuthal" and "none": nothing above order 0
        (right for many grains; the origin of order 0 is the scan mean anyway); "given": a vacuum pattern.
    mean_harmonics
        Mean over the scan, shape (ring, order).
    given
        Harmonics of the vacuum pattern by the same plan, scaled to the scan's total, shape (ring, order).

    Returns
    -------
    Shape (ring, order), complex128; zero in order 0.
    """
    if background == "given":
        if given is None:
            raise OptionError("background: want the harmonics of a given pattern, got none; give the file")
        if given.shape != mean_harmonics.shape:
            raise ShapeError(
                f"background: want {mean_harmonics.shape}, got {given.shape}; use the plan of the scan"
            )
        source = given
    else:
        source = mean_harmonics if background == "mean" else np.zeros_like(mean_harmonics)
    static = np.array(source, dtype=np.complex128)
    static[:, 0] = 0
    return static
