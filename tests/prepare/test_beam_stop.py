"""Nothing that the beam stop darkens is left in, whatever the spread and wherever the stop ends."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from orbistem.prepare.beam_stop import find_beam_stop, half_shadow_px
from orbistem.simulate.distortion import beam_stop

PX = 64
LOSS = 0.02
"""Share of its light that a pixel may miss and yet be kept; measured: at most 1.3 %."""


def lit(ky=PX):
    y, x = np.indices((ky, ky)) - (ky - 1) / 2
    return 120 / (1 + np.exp(3 * (np.hypot(y, x) - 16))) + 0.05


@pytest.mark.parametrize("spread_px", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("width_px", [3.0, 5.0, 8.0])
def test_the_end_in_the_middle_is_masked_too(spread_px, width_px):
    """The half turn of the end is as dark as the end itself: only the rings beside it tell."""
    bright, stop = lit(), beam_stop((PX, PX), width_px)
    dark = np.where(stop, 0.0, bright)
    if spread_px:
        bright, dark = gaussian_filter(bright, spread_px), gaussian_filter(dark, spread_px)
    found = find_beam_stop(dark, np.ones((PX, PX), bool), 1 / 2000, dark_ratio=0.1, min_counts=20.0, min_px=8)
    lag = np.arange(-3, 4)
    along = np.exp(-(lag**2) / (4 * max(spread_px, 0.1) ** 2))
    steps = half_shadow_px(np.outer(along, along))
    assert (steps == 0) == (spread_px == 0)
    whole = binary_dilation(found, np.ones((3, 3)), iterations=steps) if steps else found
    in_disk = lit() > 60
    assert (dark / bright)[~whole & in_disk].min() > 1 - LOSS
    too_much = whole & in_disk & ~binary_dilation(stop, np.ones((3, 3)), iterations=steps + 2)
    assert not too_much.any()
