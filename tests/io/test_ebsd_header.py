"""What the header beside EBSD patterns says: steps of the map, and where each pattern belongs."""

import h5py
import numpy as np
import pytest

from orbistem.io import open_scan

ROWS, COLUMNS = 6, 5
STEPS = {"kikuchipy": ("step_y", "step_x"), "EDAX": ("Step Y", "Step X"), "Bruker Nano": ("YSTEP", "XSTEP"),
         "Oxford Instruments": ("Y Step", "X Step")}  # fmt: skip
SIZES = {"kikuchipy": ("n_rows", "n_columns"), "EDAX": ("nRows", "nColumns"),
         "Bruker Nano": ("NROWS", "NCOLS"), "Oxford Instruments": ("Y Cells", "X Cells")}  # fmt: skip


def write(path, patterns, maker="Bruker Nano", steps=(2.5, 1.5)):
    with h5py.File(path, "w") as file:
        file["Manufacturer"] = maker
        file["1/EBSD/Data/RawPatterns"] = patterns
        for name, value in zip(SIZES[maker] + STEPS[maker], (ROWS, COLUMNS, *steps), strict=True):
            file[f"1/EBSD/Header/{name}"] = [value]
    return path


@pytest.fixture
def raster(rng):
    return rng.integers(0, 200, (ROWS, COLUMNS, 12, 10), dtype=np.uint8)


@pytest.mark.parametrize("maker", sorted(STEPS))
def test_steps_of_the_map_are_kept(tmp_path, raster, maker):
    scan = open_scan(write(tmp_path / "map.h5", raster.reshape(-1, 12, 10), maker))
    assert np.array_equal(np.asarray(scan.patterns), raster)
    assert [(axis.scale, axis.units) for axis in scan.scan_axes] == [(2.5, "µm"), (1.5, "µm")]


@pytest.mark.parametrize("steps", [(0, 0), (np.nan, 1.0), (-1.0, 1.0)])
def test_steps_that_are_none_leave_pixels(tmp_path, raster, steps):
    scan = open_scan(write(tmp_path / "map.h5", raster.reshape(-1, 12, 10), steps=steps))
    assert [axis.units for axis in scan.scan_axes] == ["px", "px"]


def test_another_shape_drops_the_steps(tmp_path, raster):
    scan = open_scan(write(tmp_path / "map.h5", raster.reshape(-1, 12, 10)), shape=(3, 10))
    assert [axis.units for axis in scan.scan_axes] == ["px", "px"]


def test_bruker_patterns_go_to_the_row_and_column_that_are_noted(tmp_path, rng, raster):
    """A region of a map, its patterns in the order in which they were indexed."""
    order = rng.permutation(ROWS * COLUMNS)
    path = write(tmp_path / "map.h5", raster.reshape(-1, 12, 10)[order])
    rows, columns = np.divmod(order, COLUMNS)
    with h5py.File(path, "a") as file:
        file["1/EBSD/SEM/IY"], file["1/EBSD/SEM/IX"] = rows + 7, columns + 3
    scan = open_scan(path)
    assert np.array_equal(np.asarray(scan.patterns), raster)
    assert [(axis.scale, axis.offset) for axis in scan.scan_axes] == [(2.5, 17.5), (1.5, 4.5)]
    with h5py.File(path, "a") as file:
        del file["1/EBSD/SEM/IY"]
        file["1/EBSD/SEM/IY"] = np.zeros(ROWS * COLUMNS)  # two patterns in one place: not believed
    assert any("not used" in text for text in open_scan(path).provenance.warnings)


def hexagonal(rows=7, odd=6, step=0.5):
    """Positions y, x of EDAX's hexagonal maps: every other row has one point less, half a step later."""
    return np.array(
        [
            (row * step * np.sqrt(3) / 2, column * step + (row % 2) * step / 2)
            for row in range(rows)
            for column in range(odd - row % 2)
        ]
    )


def write_hexagonal(path, patterns, positions, grid="HexGrid"):
    with h5py.File(path, "w") as file:
        file["Manufacturer"], file["Scan 1/EBSD/Header/Grid Type"] = "EDAX", [grid.encode()]
        file["Scan 1/EBSD/Header/nRows"], file["Scan 1/EBSD/Header/nColumns"] = [7], [6]
        file["Scan 1/EBSD/Header/Step Y"], file["Scan 1/EBSD/Header/Step X"] = [0.433], [0.5]
        file["Scan 1/EBSD/Data/Pattern"] = patterns
        for axis, name in enumerate(("Y Position", "X Position")):
            file[f"Scan 1/EBSD/Data/{name}"] = positions[:, axis].astype(np.float32)
    return path


def test_a_hexagonal_map_is_a_list_of_positions(tmp_path, rng):
    positions = hexagonal()
    patterns = rng.integers(0, 200, (len(positions), 12, 10), dtype=np.uint8)
    scan = open_scan(write_hexagonal(tmp_path / "map.h5", patterns, positions))
    assert not scan.is_grid
    assert scan.position_units == "µm"
    np.testing.assert_allclose(scan.positions, positions, rtol=1e-6)
    assert np.array_equal(scan.patterns.compute(), patterns)
    assert "hexagonal" in " ".join(scan.provenance.found)
    assert scan.provenance.warnings == ()
    flat = open_scan(tmp_path / "map.h5", shape=(3, 13))  # asked for otherwise
    assert flat.scan_shape == (3, 13)


def test_points_without_valid_data_are_not_measured(tmp_path, rng):
    positions = hexagonal()
    positions[[3, 17]] = -1111111
    patterns = rng.integers(0, 200, (len(positions), 12, 10), dtype=np.uint8)
    scan = open_scan(write_hexagonal(tmp_path / "map.h5", patterns, positions))
    assert np.flatnonzero(~scan.measured).tolist() == [3, 17]
    assert scan.positions.min() >= 0


def test_a_hexagonal_map_without_positions_says_so(tmp_path, rng):
    patterns = rng.integers(0, 200, (42, 12, 10), dtype=np.uint8)
    scan = open_scan(write_hexagonal(tmp_path / "map.h5", patterns, np.zeros((42, 2))))
    assert any("hexagonal" in text for text in scan.provenance.warnings)


def test_a_square_map_that_is_not_full_takes_its_positions(tmp_path, rng):
    """Every other column was left out: no raster of the header's size, but each place is known."""
    rows, columns = np.mgrid[:7, :3]
    positions = 0.5 * np.stack([rows.ravel(), 2 * columns.ravel()], axis=1)
    patterns = rng.integers(0, 200, (21, 12, 10), dtype=np.uint8)
    scan = open_scan(write_hexagonal(tmp_path / "map.h5", patterns, positions, grid="SqrGrid"))
    np.testing.assert_allclose(scan.positions, positions)
    assert any("7 rows and 6 columns" in text for text in scan.provenance.warnings)
