"""Descan is found where it is, and nowhere else; so is the ellipse."""

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.prepare.descan import DescanOptions, descan_shift, find_descan
from orbistem.prepare.ellipse import EllipseOptions, find_ellipse, normal_form
from orbistem.prepare.tiles import Tiles, scan_coordinates
from orbistem.scan import Scan
from orbistem.stream import Inline, Threads

PX, SCAN_SHAPE = 48, (24, 30)
EVERYWHERE = np.ones((PX, PX), bool)


def disk(shift, *, ellipse=(1.0, 0.0), radius=13.0):
    ratio, angle = ellipse
    y, x = np.indices((PX, PX)) - (PX - 1) / 2
    y, x = y - shift[0], x - shift[1]
    along = (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(ratio)
    across = (-x * np.sin(angle) + y * np.cos(angle)) * np.sqrt(ratio)
    return 40 / (1 + np.exp(2.5 * (np.hypot(along, across) - radius))) + 0.05


def scan_of(shifts, rng):
    frames = np.stack([rng.poisson(disk(shift)) for shift in shifts]).astype(np.uint16)
    return Scan.from_array(frames.reshape(*SCAN_SHAPE, PX, PX))


def places():
    return scan_coordinates(Scan.from_array(np.zeros((*SCAN_SHAPE, 2, 2), np.uint8)))


@pytest.mark.parametrize(
    ("true", "model"),
    [
        ([[1.5, -1.0], [0.5, 2.0]], "plane"),
        ([[1.5, -1.0], [0.5, 2.0], [2.0, 0.0], [0.0, 0.0], [0.0, -2.0]], "quadratic"),
        (np.zeros((0, 2)), "none"),
    ],
)
def test_descan_is_found(rng, true, model):
    true, place = np.array(true, float).reshape(-1, 2), places()
    shifts = descan_shift(true, place)
    scan = scan_of(shifts, rng)
    tiles = Inline().run(Tiles.of(scan), scan)
    found = find_descan(tiles, place, EVERYWHERE)
    assert found.model == model
    error = descan_shift(found.coefficients_px, place) - shifts
    assert np.sqrt(np.mean(np.sum(error**2, axis=1))) < 0.05  # asked for: 0.1 px


def test_tiles_are_the_same_however_they_are_read(rng):
    scan = scan_of(np.zeros((720, 2)), rng)
    whole = Inline().run(Tiles.of(scan), scan, block_size=720)
    parts = Threads(2).run(Tiles.of(scan), scan, block_size=47)
    np.testing.assert_array_equal(whole.n, parts.n)
    np.testing.assert_allclose(whole.mean, parts.mean, rtol=1e-12)
    np.testing.assert_allclose(whole.place, parts.place, atol=1e-12)


def test_a_given_descan_is_taken(rng):
    place = places()
    scan = scan_of(np.zeros((720, 2)), rng)
    tiles = Inline().run(Tiles.of(scan), scan)
    options = DescanOptions(coefficients_px=(1.0, 0.0, 0.0, 0.5))
    found = find_descan(tiles, place, EVERYWHERE, options=options)
    np.testing.assert_allclose(found.coefficients_px, [[1.0, 0.0], [0.0, 0.5]])
    with pytest.raises(OptionError, match="coefficients_px"):
        DescanOptions(coefficients_px=(1.0, 2.0))


@pytest.mark.parametrize("ellipse", [(1.02, 0.6), (1.015, 2.4)])
def test_the_ellipse_of_the_disk_is_found(ellipse):
    found = find_ellipse(disk((0.2, -0.3), ellipse=ellipse), EVERYWHERE)
    apart = [np.log(ratio) * np.exp(2j * angle) for ratio, angle in (found.ellipse, ellipse)]
    assert abs(apart[0] - apart[1]) < 0.002
    assert find_ellipse(disk((0.2, -0.3)), EVERYWHERE).ellipse == (1.0, 0.0)


def test_a_disk_without_an_edge_in_the_frame_is_taken_as_round():
    assert find_ellipse(disk((0, 0), radius=23.0, ellipse=(1.05, 0.0)), EVERYWHERE).ellipse == (1.0, 0.0)
    given = find_ellipse(disk((0, 0)), EVERYWHERE, options=EllipseOptions(ratio=0.5001))
    assert given.ellipse == pytest.approx(normal_form((0.5001, 0.0)))


def test_pixels_that_some_patterns_miss_keep_all_their_share(rng):
    """A hot pixel hides the pattern at rest from some tiles; what these differ by must not show there."""
    from orbistem.prepare.registration import at_rest, even_at_rest, move

    y, x = np.indices((32, 32)) - 15.5
    base = 100 * np.exp(-(y**2 + x**2) / 60)
    shift = rng.uniform(-1.5, 1.5, (16, 2))
    shift -= shift.mean(axis=0)
    bright = np.linspace(0.8, 1.2, 16)
    means = np.stack([b * move(base, by) for b, by in zip(bright, shift, strict=True)])
    valid = np.ones((32, 32), bool)
    valid[12, 14] = valid[18, 17] = False
    error = [
        np.abs(one(means, np.ones(16), shift, valid) - base)[10:22, 10:22].max()
        for one in (at_rest, even_at_rest)
    ]
    assert error[1] < 0.35 * error[0]
