"""Where the patterns belong: lists of positions beside the file, inside it, and in odd notations."""

import h5py
import numpy as np
import pytest
from raster import FRAMES, counts, said

from orbistem.errors import InputError, OptionError
from orbistem.io import describe, open_scan


@pytest.mark.parametrize(
    "text",
    [
        "{y};{x}\n",
        "{y}, {x}\n",
        "{y}\t{x}\n",
        "{y} {x}\n",
        "{y},{x},0\n",
    ],
)
def test_lists_of_positions(rng, tmp_path, text):
    places = [(y, x) for y in range(24) for x in (range(20) if y % 2 == 0 else range(19, -1, -1))]
    (tmp_path / "scan_coordinates.csv").write_text("".join(text.format(y=y, x=x) for y, x in places))
    np.save(tmp_path / "scan.npy", counts(rng))
    scan = open_scan(tmp_path / "scan.npy", positions="scan_coordinates.csv")
    assert np.array_equal(scan.positions, places)
    assert "scan_coordinates.csv beside the file" in said(open_scan(tmp_path / "scan.npy"))


def test_a_header_decides_the_order_of_columns(rng, tmp_path):
    (tmp_path / "p.csv").write_text(
        "index,x [um],y [um]\n" + "".join(f"{i},{i},{2 * i}\n" for i in range(480))
    )
    scan = open_scan(counts(rng), positions=tmp_path / "p.csv")
    assert np.array_equal(scan.positions[:, 0], 2 * np.arange(480))
    (tmp_path / "p.csv").write_text("1,2\n3\n")
    with pytest.raises(OptionError, match="line 2"):
        open_scan(counts(rng), positions=tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("1,2\n3,4\n")
    with pytest.raises(OptionError, match="want 480 rows, one per pattern, got 2"):
        open_scan(counts(rng), positions=tmp_path / "p.csv")
    with pytest.raises(InputError, match="does not exist"):
        open_scan(tmp_path / "none.npy", positions=tmp_path / "none.csv")


def test_positions_inside_the_file(rng, tmp_path):
    places = rng.random((480, 2))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"], file["entry/positions"], file["entry/places"] = counts(rng), places, places[::-1]
        file["entry/positions"].attrs["units"] = "nm"
    scan = open_scan(tmp_path / "a.h5")
    assert np.array_equal(scan.positions, places)
    assert scan.position_units == "nm"
    assert "positions from entry/positions (columns y, x)" in said(scan)
    other = open_scan(tmp_path / "a.h5", positions="entry/places")
    assert np.array_equal(other.positions, places[::-1])
    assert describe(other)["checksum"] != describe(scan)["checksum"]
    grid = open_scan(tmp_path / "a.h5", shape=FRAMES)
    assert grid.is_grid
    assert "not used, since --shape" in said(grid)
    with pytest.raises(OptionError, match="positions: want"):
        open_scan(tmp_path / "a.h5", positions="entry/nowhere")
    np.savez(tmp_path / "a.npz", data=counts(rng), translation=places)
    assert np.array_equal(open_scan(tmp_path / "a.npz").positions, places[:, ::-1])
    np.save(tmp_path / "a.npy", counts(rng))
    with pytest.raises(OptionError, match="positions: want"):
        open_scan(tmp_path / "a.npy", positions="key")


def test_a_header_with_more_names_than_numbers(rng, tmp_path):
    (tmp_path / "p.csv").write_text("y;y;x\n" + "0;1\n" * 480)
    with pytest.raises(OptionError, match="as many numbers in each line"):
        open_scan(counts(rng), positions=tmp_path / "p.csv")
