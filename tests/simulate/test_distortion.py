import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.simulate import DetectorOptions, expose
from orbistem.simulate.distortion import beam_stop, distort, ellipse_matrix


def disk(px, *, radius=None, soft=1.0):
    y, x = np.indices((px, px)) - (px - 1) / 2
    edge = ((px / 4 if radius is None else radius) - np.hypot(y, x)) / soft
    return np.clip(edge + 0.5, 0, 1)[None]


def second_moments(pattern):
    y, x = np.indices(pattern.shape, dtype=float)
    total = pattern.sum()
    y, x = y - (y * pattern).sum() / total, x - (x * pattern).sum() / total
    products = ((y * y, y * x), (y * x, x * x))
    return np.array([[(product * pattern).sum() for product in row] for row in products]) / total


def test_the_ellipse_stretches_along_its_angle_and_keeps_areas():
    matrix = ellipse_matrix((1.02, 0.3))
    assert np.linalg.det(matrix) == pytest.approx(1)
    along = np.array([np.sin(0.3), np.cos(0.3)])
    np.testing.assert_allclose(matrix @ along, np.sqrt(1.02) * along)
    np.testing.assert_allclose(ellipse_matrix((1.0, 2.0)), np.eye(2))


def test_second_moments_transform_as_the_ellipse_says():
    ellipse = (1.1, 0.7)
    before = disk(96, soft=3.0)
    after = distort(before, np.zeros((1, 2)), ellipse=ellipse)
    assert after.sum() == pytest.approx(before.sum(), rel=1e-3)
    matrix = ellipse_matrix(ellipse)
    expected = matrix @ second_moments(before[0]) @ matrix.T
    np.testing.assert_allclose(second_moments(after[0]), expected, rtol=2e-3, atol=0.05)


def test_finer_patterns_are_moved_in_detector_pixels_and_summed():
    fine = disk(96, radius=20.0, soft=3.0)
    still = distort(fine, np.zeros((1, 2)), binning=2)
    np.testing.assert_allclose(still[0], fine[0].reshape(48, 2, 48, 2).sum(axis=(1, 3)), atol=1e-12)
    moved = distort(fine, np.array([[1.5, -2.0]]), binning=2)
    y, x = np.indices((48, 48)) - 23.5
    com = [(k * moved[0]).sum() / moved.sum() for k in (y, x)]
    np.testing.assert_allclose(com, [1.5, -2.0], atol=1e-3)
    with pytest.raises(OptionError, match="binning"):
        distort(fine, np.zeros((1, 2)), binning=5)


def test_a_beam_stop_hides_a_bar_up_to_the_middle(rng):
    dark = beam_stop((33, 33), 5.0)
    assert (dark[16, 0], dark[16, 18], dark[16, 20]) == (True, True, False)
    assert (dark[14, 5], dark[13, 5]) == (True, False)
    counts = expose(
        np.full((20, 33, 33), 1 / 33**2), dose=1e5, rng=rng, options=DetectorOptions(beam_stop_px=5.0)
    )
    assert counts[:, dark].max() == 0
    assert counts[:, ~dark].min() > 0


def test_wrong_ellipses_are_refused():
    with pytest.raises(OptionError, match="ellipse"):
        DetectorOptions(ellipse=(0.9, 0.0))
