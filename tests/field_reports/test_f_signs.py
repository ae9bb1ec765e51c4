"""Section F of the field reports: signs of rotations, and conventions of axes."""

import numpy as np
import pytest
from field_reports.base import base_rates

from orbistem.io import open_scan
from orbistem.prepare.moments import Moments
from orbistem.prepare.scan_rotation import Problem, find_scan_rotation, turn_to_scan
from orbistem.scan import Scan
from orbistem.stream import Inline

SHAPE = (15, 19)


def point_charge():
    """Deflections (y, x) in the axes of the scan: towards the middle."""
    y, x = np.indices(SHAPE) - np.array([7.0, 9.0])[:, None, None]
    return -np.stack([y, x], axis=-1) / (4 + y**2 + x**2)[..., None]


def patterns_with(com_px):
    """Disks on a detector of 32 x 28 px, moved by com_px (y, x, 2)."""
    ky, kx = np.indices((32, 28))
    dy = ky - 15.5 - com_px[..., 0][..., None, None]
    dx = kx - 13.5 - com_px[..., 1][..., None, None]
    return 100 / (1 + np.exp(2 * (np.hypot(dy, dx) - 8)))


def as_seen(field, degrees):
    """The field in the detector's axes, where the scan's +x has this azimuth: from +kx towards +ky."""
    angle = np.deg2rad(degrees)
    y, x = field[..., 0], field[..., 1]
    return np.stack([np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y], axis=-1)


@pytest.mark.parametrize("degrees", [0, 90, -30, 179, -120])
def test_report_55_scan_rotation_has_the_right_sign(degrees, rng):
    scan = Scan.from_array(patterns_with(2 * as_seen(point_charge(), degrees)))
    moments = Inline().run(Moments(detector_shape=(32, 28)), scan, block_size=50)
    com = moments.com.reshape(*SHAPE, 2) - (15.5, 13.5)
    found = find_scan_rotation(com)
    assert found.problem is None
    assert np.rad2deg(found.angle_rad) == pytest.approx(degrees, abs=0.5)
    turned = turn_to_scan(com, found.angle_rad)
    divergence = np.gradient(turned[..., 0], axis=0) + np.gradient(turned[..., 1], axis=1)
    curl = np.gradient(turned[..., 0], axis=1) - np.gradient(turned[..., 1], axis=0)
    assert divergence[7, 9] < 0
    assert divergence.argmin() == 7 * 19 + 9
    assert np.abs(curl).max() < 0.02 * abs(divergence[7, 9])
    assert found.curl_share < 1e-3
    assert find_scan_rotation(rng.normal(size=(*SHAPE, 2))).problem is Problem.NO_SOURCES
    assert find_scan_rotation(np.zeros((*SHAPE, 2))).problem is Problem.NO_SOURCES


def test_report_55_the_angle_of_a_chiral_pattern_has_the_right_sign():
    """A chiral pattern turned clockwise on a screen (rows downwards) has a growing azimuth."""
    ky, kx = np.indices((33, 33)) - 16.0
    radius, azimuth = np.hypot(ky, kx), np.arctan2(ky, kx)

    def chiral(turn):
        a = azimuth - turn
        return np.exp(-0.5 * ((radius - 10) / 2) ** 2) * (2 + np.cos(a) + 0.5 * np.sin(2 * a))

    before, after = chiral(0.3), chiral(0.3 + np.pi / 2)
    assert np.allclose(np.rot90(before, -1), after, atol=1e-4)  # clockwise; the middle pixel has no azimuth
    harmonic = [(np.exp(-1j * azimuth) * pattern).sum() for pattern in (before, after)]
    assert np.angle(harmonic[1] / harmonic[0]) == pytest.approx(-np.pi / 2, abs=1e-3)
    rates = base_rates(shape=(4, 4), detector=(33, 33), centre_px=(16.0, 16.0), dose=1.0)
    third = (rates * np.exp(-3j * azimuth)).sum(axis=(-2, -1))
    y, x = np.indices((4, 4))
    expected = 2 * np.pi / 3 * np.mod(2 * y / 4 + x / 4, 1)
    assert np.abs(np.angle(third * np.exp(3j * expected))).max() < 0.05  # pixels of a ring 1 px wide


@pytest.mark.parametrize("by", [2, -2])
def test_report_57_rolled_lines(orbistem, tmp_path, base, by):
    rolled = np.roll(base.reshape(-1, 32, 32), by, axis=0).reshape(base.shape)
    np.save(tmp_path / "scan.npy", rolled)
    done = orbistem("info", tmp_path / "scan.npy")
    seam = "columns 1 and 2" if by > 0 else "columns 17 and 18"
    assert f"a seam between {seam}" in done.out
    assert f"--roll {by}" in done.out
    assert np.array_equal(open_scan(tmp_path / "scan.npy").block(0, 480).frames, rolled.reshape(-1, 32, 32))
    back = open_scan(tmp_path / "scan.npy", roll=by)
    known = back.measured.reshape(-1)
    assert known.sum() == 478
    assert np.array_equal(back.block(0, 480).frames[known], base.reshape(-1, 32, 32)[known])
    assert "seam" not in orbistem("info", tmp_path / "scan.npy", "--roll", str(by)).out
    np.save(tmp_path / "scan.npy", base)
    assert "seam" not in orbistem("info", tmp_path / "scan.npy").out
