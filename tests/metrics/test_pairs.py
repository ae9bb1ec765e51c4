"""Pairs that must be alike: from the truth, and from the symmetry of a scan."""

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.metrics import fold_pairs, judged_sites, truth_pairs
from orbistem.scan import Truth


def truth(site, angle, group, away):
    shape = (1, len(site))
    return Truth(
        site=np.array(site).reshape(shape),
        angle=np.array(angle, float).reshape(shape),
        point_group=np.array(group).reshape(shape),
        defect_distance=np.array(away, float).reshape(shape),
    )


def test_pairs_stay_within_a_site_and_know_the_turn():
    given = truth([0, 1, 0, 1], [0, 0, 1.0, 6.0], ["C1", "D3", "C1", "D3"], [np.inf] * 4)
    found = truth_pairs(given)
    rows = [tuple(row) for row in found.rows.tolist()]
    pairs = dict(zip(rows, zip(found.turn, found.order, strict=True), strict=True))
    assert set(pairs) == {(0, 2), (2, 0), (1, 3), (3, 1)}
    assert pairs[0, 2] == (1.0, 1)
    assert pairs[2, 0][0] == pytest.approx(2 * np.pi - 1)
    assert pairs[1, 3] == (6.0, 3)


def test_positions_at_a_defect_are_left_out():
    given = truth([0, 0, 0, 0, 1], [0] * 5, ["C1"] * 5, [1.0, 9, 9, 9, 9])
    assert 0 not in truth_pairs(given).rows
    assert judged_sites(given).tolist() == [False, True, True, True, False]  # site 1 has one member only


def test_many_members_give_a_bounded_number_of_pairs():
    given = truth([0] * 100, [0] * 100, ["C1"] * 100, [np.inf] * 100)
    found = truth_pairs(given).rows
    assert len(found) == 600
    assert (found[:, 0] != found[:, 1]).all()


@pytest.mark.parametrize("shape", [(5, 5), (4, 4)])
def test_a_quarter_turn_goes_from_x_to_y(shape):
    """A map that holds exp(i azimuth) is itself turned by the turn of the pair."""
    y, x = np.indices(shape) - (shape[0] - 1) / 2
    azimuth = np.arctan2(y, x).ravel()
    found = fold_pairs(shape, 4)
    p, q = found.rows.T
    apart = np.exp(1j * (azimuth[q] - azimuth[p] - found.turn))
    assert np.allclose(apart, 1)
    assert len(found.rows) == 3 * (shape[0] * shape[1] - shape[0] % 2)


def test_half_turns_of_any_grid():
    found = fold_pairs((3, 4), 2, within=1.2)
    assert np.allclose(found.turn, np.pi)
    assert {tuple(row) for row in found.rows.tolist()} == {(5, 6), (6, 5), (1, 10), (2, 9), (9, 2), (10, 1)}


def test_wrong_scans():
    with pytest.raises(OptionError, match="square"):
        fold_pairs((3, 4), 4)
    with pytest.raises(OptionError, match="scan_fold"):
        fold_pairs((9,), 2)
