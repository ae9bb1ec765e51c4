"""The map of classes and the row of averages."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from orbistem.plot.classes import CLASS_COLOURS, class_averages, class_map


@pytest.fixture
def maps(rng):
    label = rng.integers(-1, 3, (6, 5)).astype(np.int16)
    chance = np.full((6, 5, 3), 0.1, np.float32)
    chance[label >= 0, label[label >= 0]] = 0.8
    chance[label < 0] = np.nan
    return xr.Dataset({"class": (("y", "x"), label), "class_p": (("y", "x", "class_index"), chance)})


def test_one_colour_a_class(maps):
    import matplotlib as mpl

    ax = Figure().subplots()
    drawn = np.asarray(class_map(ax, maps).get_array())
    label = maps["class"].values
    for c in range(3):
        np.testing.assert_allclose(
            drawn[label == c][:, :3], [mpl.colors.to_rgb(CLASS_COLOURS[c])] * (label == c).sum()
        )
    assert np.all(drawn[label < 0][:, 3] == 0)
    assert 0.8 < drawn[label >= 0][:, 3].min() < 1
    assert len(ax.get_legend().get_texts()) == 3


def test_averages_stand_above_their_differences(rng):
    axes = Figure().subplots(2, 3, squeeze=False)
    averages = rng.uniform(size=(3, 8, 8))
    drawn = class_averages(axes, averages, mean=averages.mean(axis=0), titles=["a", "b", "c"])
    assert len(drawn) == 6
    assert [ax.get_title() for ax in axes[0]] == ["a", "b", "c"]
    np.testing.assert_allclose(drawn[1].get_array(), averages[0] - averages.mean(axis=0))
