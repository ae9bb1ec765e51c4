import numpy as np
import pytest
import xarray as xr
from report.synthetic import synthetic_maps

from orbistem.plot.layout import scan_layout, unit_label


def test_a_grid_is_drawn_with_whole_cells():
    y, x = ("y", [0.0, 2.0, 4.0], {"units": "nm"}), ("x", [1.0, 1.5], {"units": "um"})
    layout = scan_layout(xr.Dataset(coords={"y": y, "x": x}))
    assert layout.kind == "grid"
    np.testing.assert_allclose(layout.y, [-1, 1, 3, 5])
    np.testing.assert_allclose(layout.x, [0.75, 1.25, 1.75])
    assert (layout.y_label, layout.x_label) == ("y (nm)", "x (µm)")


def test_uneven_steps_make_a_mesh():
    layout = scan_layout(xr.Dataset(coords={"y": [0.0, 1.0], "x": [0.0, 1.0, 5.0]}))
    assert layout.kind == "mesh"
    assert layout.x.shape == layout.y.shape == (3, 4)


def test_without_coordinates_positions_are_counted():
    layout = scan_layout(xr.Dataset({"dose": (("y", "x"), np.ones((3, 4)))}))
    np.testing.assert_allclose(layout.x, [-0.5, 0.5, 1.5, 2.5, 3.5])
    assert layout.x_label == "x (px)"


@pytest.mark.parametrize("shape", [(5, 1), (1, 5)])
def test_one_row_is_a_line_whichever_way_it_runs(shape):
    layout = scan_layout(xr.Dataset({"dose": (("y", "x"), np.ones(shape))}))
    assert layout.kind == "line"
    assert layout.x.size == 6
    assert layout.x_label[0] == ("y" if shape[1] == 1 else "x")


def test_markers_scale_with_the_positions(rng):
    maps = synthetic_maps(kind="list", side=20, rng=rng)
    wider = maps.assign_coords(position_y=maps.position_y * 7, position_x=maps.position_x * 7)
    assert scan_layout(wider).diameter == pytest.approx(7 * scan_layout(maps).diameter)
    assert scan_layout(wider).aspect == pytest.approx(scan_layout(maps).aspect)


def test_a_primitive_cell_lies_on_its_lattice_vectors(rng):
    maps = synthetic_maps(kind="cell", side=8, rng=rng)
    layout = scan_layout(maps)
    centre_y = (layout.y[:-1, :-1] + layout.y[1:, 1:]) / 2
    centre_x = (layout.x[:-1, :-1] + layout.x[1:, 1:]) / 2
    first, second = maps.attrs["a1"], maps.attrs["a2"]
    expected = 5 * first + 2 * second  # x = 5, y = 2
    np.testing.assert_allclose([centre_y[2, 5], centre_x[2, 5]], expected, atol=1e-12)


@pytest.mark.parametrize(("given", "shown"), [("A", "Å"), ("um", "µm"), ("1", ""), (None, ""), ("nm", "nm")])
def test_units_as_printed(given, shown):
    assert unit_label(given) == shown
