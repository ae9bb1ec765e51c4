import numpy as np
import pytest
from matplotlib.figure import Figure

from orbistem.plot.training import EvidenceCurve, eigenvalue_spectrum, evidence_curves


@pytest.fixture
def ax():
    return Figure(figsize=(3, 3)).add_subplot()


def test_the_fall_from_the_start_does_not_flatten_the_curve(ax):
    step = np.arange(100)
    rise = -90 - 1e6 * np.exp(-step) - 5 * np.exp(-step / 30)
    evidence_curves(ax, [EvidenceCurve(name="", step=step, train=rise, heldout=rise - 1, chosen=True)])
    low, high = ax.get_ylim()
    assert high - low < 40


def test_only_the_chosen_restart_is_strong(ax):
    curves = [
        EvidenceCurve(name="seed 0", step=[0, 1], train=[-3, -1], heldout=[-3, -2], chosen=True),
        EvidenceCurve(name="seed 1", step=[1], train=[], heldout=[-2.5]),
    ]
    lines = evidence_curves(ax, curves)
    assert [line.get_alpha() for line in lines] == [1.0, 1.0, 0.5]
    ax.figure.canvas.draw()


def test_eigenvalues_are_split_at_the_edge(ax):
    below, above, _edge = eigenvalue_spectrum(ax, {0: [9.0, 1.0, 0.0], 3: [1.5, 0.9]}, edge={0: 1.3, 3: 1.2})
    assert len(above.get_offsets()) == 2
    assert len(below.get_offsets()) == 2  # a vanishing eigenvalue has no place on a logarithmic axis


def test_nothing_to_draw_is_no_error(ax):
    assert evidence_curves(ax, []) == []
    assert eigenvalue_spectrum(ax, {}) == []
    ax.figure.canvas.draw()
