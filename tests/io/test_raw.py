"""Files without a description: raw numbers, and the two cameras that write them."""

import os

import numpy as np
import pytest
from raster import DETECTOR, FRAMES, counts, said

from orbistem.errors import FormatError, OptionError
from orbistem.io import open_scan


def test_raw_files(rng, tmp_path):
    frames = counts(rng)
    path = tmp_path / "x.raw"
    path.write_bytes(frames.tobytes())
    with pytest.raises(FormatError, match=rf"{path.stat().st_size} bytes.*--shape Y,X,KY,KX and --dtype"):
        open_scan(path)
    for options in ({"dtype": "uint16"}, {"shape": (*FRAMES, *DETECTOR)}, {"offset": 3}):
        with pytest.raises(FormatError, match="--dtype"):
            open_scan(path, **options)
    with pytest.raises(OptionError, match="dtype: want"):
        open_scan(path, shape=(*FRAMES, *DETECTOR), dtype="nonsense")
    with pytest.raises(OptionError, match=r"want 480 positions .* got 24 x 30"):
        open_scan(path, shape=(24, 30, *DETECTOR), dtype="uint16")
    with pytest.raises(OptionError, match="offset"):
        open_scan(path, shape=(*FRAMES, *DETECTOR), dtype="uint16", offset=-1)
    some = open_scan(path, shape=(20, 20, *DETECTOR), dtype="<u2")
    assert "bytes at the end" in said(some)
    assert np.array_equal(some.block(0, 400).frames, frames[:400])
    path.write_bytes(frames.tobytes()[:-5])
    short = open_scan(path, shape=(*FRAMES, *DETECTOR), dtype="<u2")
    assert (~short.measured).sum() == 1
    listed = open_scan(path, shape=(479, *DETECTOR), dtype="<u2", positions=rng.random((479, 2)))
    assert listed.scan_shape == (479,)


def test_empad_shape_from_the_name(rng, tmp_path):
    frames = rng.random((84, 130, 128)).astype("<f4")
    frames.tofile(tmp_path / "scan_x14_y6.raw")
    scan = open_scan(tmp_path / "scan_x14_y6.raw")
    assert scan.scan_shape == (6, 14)
    assert np.array_equal(scan.block(13, 30).frames, frames[13:30, :128])
    assert "130 x 128" in " ".join(scan.provenance.assumed)
    os.rename(tmp_path / "scan_x14_y6.raw", tmp_path / "scan.raw")
    with pytest.raises(FormatError, match="--shape"):
        open_scan(tmp_path / "scan.raw")
