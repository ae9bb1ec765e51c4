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


def test_lines_and_those_that_jump(ax):
    points, marks, usual = line_drift(ax, [0.5, np.nan, 0.5, 4.0], [4, 99], usual=0.5)
    assert points.get_xdata().tolist() == [1, 3]  # counted from 0; the first has none before it
    assert points.get_ydata().tolist() == [0.5, 0.5]
    assert marks.get_xdata().tolist() == [4]
    assert marks.get_ydata().tolist() == [4.0]
    assert list(usual.get_ydata()) == [0.5, 0.5]


def test_a_steady_scan_looks_steady(ax):
    assert len(line_drift(ax, np.full(9, 0.01), [], usual=np.nan)) == 1
    assert ax.get_ylim() == (-1.0, 1.0)
    line_drift(ax, np.full(9, np.nan), [], usual=np.nan)
    ax.figure.canvas.draw()
