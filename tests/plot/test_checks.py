import numpy as np
import pytest
from matplotlib.figure import Figure

from orbistem.plot.checks import ARROW_LENGTH, line_drift, shift_field


@pytest.fixture
def ax():
    return Figure(figsize=(3, 3)).add_subplot()


def test_arrows_point_where_the_pattern_went(ax):
    place = np.array([[-0.5, 0.0], [0.25, -0.25]])
    drawn = shift_field(ax, place, [[0.0, 2.0], [1.0, 0.0]], longest_px=2.0)
    np.testing.assert_allclose(drawn.XY, place[:, ::-1])
    np.testing.assert_allclose(drawn.U, [2.0, 0.0])  # +kx is to the right
    np.testing.assert_allclose(drawn.V, [0.0, 1.0])
    bottom, top = ax.get_ylim()
    assert bottom > top  # and +ky downwards, as in the pattern
    assert 2.0 / drawn.scale == pytest.approx(ARROW_LENGTH)
    ax.figure.canvas.draw()


def test_drift_adds_up_and_jumps_are_marked(ax):
    line, marks = line_drift(ax, [0.5, np.nan, 0.5, 4.0], [4, 99])
    np.testing.assert_allclose(line.get_ydata(), [0.0, 0.5, 1.0, 1.5, 5.5])  # unknown: as usual
    assert marks.get_xdata().tolist() == [4]
    assert marks.get_ydata().tolist() == [5.5]


def test_a_steady_scan_looks_steady(ax):
    (line,) = line_drift(ax, np.full(9, 0.01), [])
    low, high = ax.get_ylim()
    assert high - low == pytest.approx(2.0)
    assert np.isfinite(line.get_ydata()).all()
