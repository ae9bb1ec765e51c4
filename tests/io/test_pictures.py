"""Single pictures: as patterns, masks and gain maps; and what is none."""

import numpy as np
import pytest
import zarr

from orbistem.cli.app import run
from orbistem.errors import FormatError
from orbistem.io import open_scan

iio = pytest.importorskip("imageio.v3", reason="RosettaSciIO reads pictures with it")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_one_picture(tmp_path, rng, suffix):
    picture = rng.integers(0, 255, (20, 16), dtype=np.uint8)
    iio.imwrite(tmp_path / f"a{suffix}", picture)
    scan = open_scan(tmp_path / f"a{suffix}")
    assert (scan.scan_shape, scan.detector_shape) == ((1, 1), (20, 16))
    if suffix != ".jpg":  # which loses some
        assert np.array_equal(np.asarray(scan.patterns)[0, 0], picture)


def test_a_mask_that_was_drawn(tmp_path, rng):
    mask = np.full((12, 10), 255, np.uint8)
    mask[3:5, 2:9] = 0
    iio.imwrite(tmp_path / "mask.png", mask)
    scan = open_scan(rng.poisson(5, (6, 5, 12, 10)), mask=tmp_path / "mask.png")
    assert np.array_equal(scan.pixel_valid, mask > 0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colours_are_refused_by_name(tmp_path, rng, suffix):
    (tmp_path / "frames").mkdir()
    for index in range(3):
        picture = rng.integers(0, 255, (20, 16, 3), dtype=np.uint8)
        iio.imwrite(tmp_path / "frames" / f"{index}{suffix}", picture)
    for path in (tmp_path / "frames", tmp_path / "frames" / f"1{suffix}"):
        with pytest.raises(FormatError, match="colours; save it in shades of grey"):
            open_scan(path)


def test_advice_to_run_code_is_not_passed_on(tmp_path, capsys):
    """Other packages advise to unpickle what one trusts."""
    (tmp_path / "a.prz").write_bytes(b"x" * 50)
    store = zarr.open(str(tmp_path / "b.zarr"), "w")
    store.create_dataset("d", data=np.ones((6, 5, 12, 10)))
    about = (tmp_path / "b.zarr" / "d" / ".zarray").read_text(encoding="utf-8")
    about = about.replace('"filters": null', '"filters": [{"id": "pickle", "protocol": 5}]')
    (tmp_path / "b.zarr" / "d" / ".zarray").write_text(about, encoding="utf-8")
    for name in ("a.prz", "b.zarr"):
        assert run(["info", str(tmp_path / name), "-q"]) == 2
        said = capsys.readouterr().err
        assert "could run code" in said
        assert not any(word in said for word in ("allow_pickle", "trust", "unsafe"))
