"""The mean pattern at rest is sharp: what parts of a scan blur is undone, and stays undone."""

import numpy as np
import pytest

from orbistem.prepare.rest import Geometry, pattern_at_rest
from orbistem.prepare.tiles import TileMeans

PX, MIDDLE = 48, 23.5
EVERYWHERE = np.ones((PX, PX), bool)


def disk(shift=(0.0, 0.0)):
    """A disk whose rim falls within about two pixels."""
    y, x = np.indices((PX, PX)) - MIDDLE
    return 100 / (1 + np.exp(2 * (np.hypot(y - shift[0], x - shift[1]) - 13)))


@pytest.fixture
def tiles(rng):
    """Parts of a scan within which the pattern wanders by a third of a pixel (root mean square)."""
    centres = rng.uniform(-1.5, 1.5, (36, 2))
    centres -= centres.mean(axis=0)
    within = rng.normal(size=(30, 2)) * 0.33
    within -= within.mean(axis=0)
    covariance = np.cov(within.T, bias=True)
    means = np.stack([np.mean([disk(at + by) for by in within], axis=0) for at in centres])
    ones = np.ones(36, np.int64)
    tiles = TileMeans(mean=means, n=ones, place=centres, spread=np.zeros((36, 2, 2)))
    return tiles, centres, np.broadcast_to(covariance, (36, 2, 2))


def test_what_parts_of_a_scan_blur_is_undone(tiles):
    parts, shift, blur = tiles
    geometry = Geometry(centre_px=(MIDDLE, MIDDLE))
    error = []
    for known in (None, blur):
        rest, _ = pattern_at_rest(parts, shift, EVERYWHERE, geometry, blur=known)
        error.append([np.abs(rest.at(by) - disk(by)).max() for by in ((0.0, 0.0), (0.5, -0.3), (-1.0, 1.2))])
    assert max(error[1]) < 0.25 * min(error[0])


def test_a_sharp_pattern_stays_as_it_is(rng):
    centres = rng.uniform(-1.5, 1.5, (36, 2))
    means = np.stack([disk(at) for at in centres])
    parts = TileMeans(mean=means, n=np.ones(36, np.int64), place=centres, spread=np.zeros((36, 2, 2)))
    geometry = Geometry(centre_px=(MIDDLE, MIDDLE))
    rest, seen = pattern_at_rest(parts, centres, EVERYWHERE, geometry, blur=np.zeros((36, 2, 2)))
    assert seen[8:-8, 8:-8].all()
    for by in ((0.0, 0.0), (0.4, 0.7)):
        np.testing.assert_allclose(rest.at(by), disk(by), atol=0.5)  # of 100
