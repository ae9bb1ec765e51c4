"""Classes of a run: in the maps, the examples, the record and the report."""

import json

import numpy as np
import xarray as xr
from pipeline.small import small_config

from orbistem.symmetry.classes import ClassOptions

CONFIG = small_config(classes=ClassOptions(number=2))


def test_classes_are_stored_everywhere(whole_fit, scan, tmp_path):
    holes = np.ones(scan.scan_shape, bool)
    holes[0, :3] = False
    whole_fit(scan.replace(measured=holes), config=CONFIG)
    folder = tmp_path / "run"
    maps = xr.load_dataset(folder / "maps.nc", engine="h5netcdf")
    label, chance = maps["class"], maps["class_p"]
    assert label.dtype.kind == "i"
    assert label.dims == ("y", "x")
    assert chance.dims == ("y", "x", "class_index")
    assert (label.values[0, :3] == -1).all()
    assert np.isnan(chance.values[0, :3]).all()
    inside = label.values >= 0
    assert inside.sum() == label.size - 3
    np.testing.assert_allclose(chance.values[inside].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(label.values[inside], chance.values[inside].argmax(axis=1))
    members = np.bincount(label.values[inside])
    assert members[0] >= members[1] > 0
    run = json.loads((folder / "run.json").read_text())
    assert [one["members"] for one in run["classes"]["classes"]] == members.tolist()
    assert all(one["point_group"] for one in run["classes"]["classes"])
    assert any("2 classes" in text for text in run["words"])
    page = (folder / "report.html").read_text()
    assert 'id="classes"' in page
    assert "Aligned class averages" in page


def test_the_averages_are_aligned(quick_fit, scan, tmp_path):
    """Patterns turn at random, so their plain mean is round; the mean of a class is not."""
    quick_fit(scan, config=CONFIG)
    examples = xr.load_dataset(tmp_path / "run" / "examples.nc", engine="h5netcdf")
    averages, mean = examples["class_average"].values, examples["mean"].values
    assert averages.shape == (2, *mean.shape)
    static = examples["background"].values
    uneven = np.sqrt(np.mean((averages - static) ** 2, axis=(1, 2)))
    plain = np.sqrt(np.mean((mean - static) ** 2))
    assert np.all(uneven > 3 * plain)


def test_without_being_asked_there_are_none(quick_fit, scan):
    maps = quick_fit(scan).maps
    assert "class" not in maps
