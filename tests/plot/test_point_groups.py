"""One colour a group; what is not measured stays grey."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from orbistem.groups import POINT_GROUPS
from orbistem.plot.point_groups import GROUP_COLOURS, point_group_map
from orbistem.symmetry.point_group import POINT_GROUP


@pytest.fixture
def maps():
    code = np.array([[0, 1, np.nan], [8, 10, 5]])
    attributes = dict(POINT_GROUP.variables[0].attributes) | {"long_name": "point group"}
    return xr.Dataset(
        {"point_group": (("y", "x"), code, attributes)}, coords={"y": [0.0, 1], "x": [0.0, 1, 2]}
    )


def test_every_group_has_its_own_colour():
    assert set(GROUP_COLOURS) == {"undecided", *(group.name for group in POINT_GROUPS)}
    assert len(set(GROUP_COLOURS.values())) == len(GROUP_COLOURS)


def test_the_map_shows_what_was_found(maps):
    ax = Figure().add_subplot()
    drawn = point_group_map(ax, maps)
    colours = np.asarray(drawn.get_array())
    assert colours[0, 2, 3] == 0
    assert colours[0, 0].tolist() == [1, 1, 1, 1]
    assert not np.array_equal(colours[1, 0], colours[1, 1])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == ["C1", "C6", "D3", "D6", "undecided"]
