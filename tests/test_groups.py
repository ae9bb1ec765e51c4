import itertools

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.groups import GROUPS, POINT_GROUPS, Group, PointGroup

ATOL = 1e-12  # sines and cosines of a few turns, float64


def _contains(matrices, wanted):
    return any(np.allclose(matrix, wanted, atol=ATOL) for matrix in matrices)


@pytest.mark.parametrize("group", POINT_GROUPS, ids=lambda group: group.name)
def test_operations_form_a_group(group):
    matrices = [operation.matrix() for operation in group.operations()]
    assert len(matrices) == group.size
    np.testing.assert_allclose(matrices[0], np.eye(2), atol=ATOL)
    for left, right in itertools.product(matrices, repeat=2):
        assert _contains(matrices, left @ right)
        assert left is right or not np.allclose(left, right, atol=ATOL)
    for matrix, operation in zip(matrices, group.operations(), strict=True):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(2), atol=ATOL)
        assert np.linalg.det(matrix) == pytest.approx(-1 if operation.mirror else 1)


def test_there_are_ten_and_names_lead_back():
    assert len({group.name for group in POINT_GROUPS}) == 10
    for group in POINT_GROUPS:
        assert PointGroup.from_name(group.name) is group
        assert PointGroup.from_name(group.international) is group


@pytest.mark.parametrize("small", POINT_GROUPS, ids=lambda group: group.name)
@pytest.mark.parametrize("large", POINT_GROUPS, ids=lambda group: group.name)
def test_subgroup_means_contained(small, large):
    inside = [operation.matrix() for operation in large.operations()]
    contained = all(_contains(inside, operation.matrix()) for operation in small.operations())
    assert small.is_subgroup(of=large) == contained


def test_turn_and_mirror_act_on_harmonics_as_documented():
    # f(phi) = cos(m (phi - phi0)) has c_m ~ exp(-i m phi0); its site moves with the matrix.
    order, phi0 = 3, 0.4
    for operation in PointGroup.from_name("D6").operations():
        x, y = operation.matrix() @ [np.cos(phi0), np.sin(phi0)]
        c = np.exp(-1j * order * phi0)
        c = np.conj(c) if operation.mirror else c
        c = c * np.exp(-1j * order * operation.angle_rad)
        assert np.exp(-1j * order * np.arctan2(y, x)) == pytest.approx(c)


def test_fit_groups():
    assert [group.name for group in GROUPS if group.continuous] == ["SO2", "O2"]
    for group in GROUPS:
        assert Group.from_name(group.name) is group
        angles = group.angles(144)
        assert len(angles) == (144 if group.continuous else group.order)
        assert angles[0] == 0
        np.testing.assert_allclose(np.diff(angles), 2 * np.pi / len(angles), atol=ATOL)


@pytest.mark.parametrize("kind", [Group, PointGroup])
def test_an_unknown_name_is_refused(kind):
    with pytest.raises(OptionError, match=r"want one of .*C6.*got 'C5'"):
        kind.from_name("C5")
