"""Compressed MRCZ, written by hand: the header of MRC, then one Blosc chunk a pattern."""

import struct

import numpy as np
import pytest
from hostile.sound import mrcz_bytes

from orbistem.errors import FormatError, OptionError
from orbistem.io import open_scan

SHAPE = (7, 5, 4)


@pytest.fixture
def frames(rng):
    return rng.poisson(6, SHAPE)


@pytest.mark.parametrize("codec", ["blosclz", "lz4", "lz4hc", "zlib", "zstd"])
@pytest.mark.parametrize("dtype", ["<i2", "<u2", "<f4", ">u2"])
def test_every_codec_and_type(tmp_path, frames, codec, dtype):
    stack = frames.astype(dtype)
    (tmp_path / "a.mrcz").write_bytes(mrcz_bytes(stack, codec=codec))
    scan = open_scan(tmp_path / "a.mrcz")
    assert scan.dtype == np.dtype(dtype)
    assert np.array_equal(scan.block(0, 7).frames, stack)
    assert np.array_equal(scan.block(2, 5).frames, stack[2:5])
    assert scan.detector_axes[0].units == "nm"
    np.testing.assert_allclose([axis.scale for axis in scan.detector_axes], [0.3, 0.2])


def test_it_folds_and_is_read_in_parts(tmp_path, frames):
    (tmp_path / "a.mrc").write_bytes(mrcz_bytes(frames[:6].astype("<u2")))  # the content decides
    scan = open_scan(tmp_path / "a.mrc", shape=(3, 2))
    assert scan.scan_shape == (3, 2)
    assert hasattr(scan.patterns, "dask")
    assert np.array_equal(scan.block(0, 6).frames, frames[:6])


def test_what_mrcz_writes_is_read(tmp_path, frames):
    mrcz = pytest.importorskip("mrcz", reason="the extra dev has it")
    if not mrcz.ioMRC.BLOSC_PRESENT:
        pytest.skip("mrcz compresses only beside the package blosc")
    stack = frames.astype(np.int16)
    mrcz.writeMRC(stack, str(tmp_path / "a.mrcz"), compressor="zstd", backend="blosc1", meta={"a": 1})
    assert np.array_equal(open_scan(tmp_path / "a.mrcz").block(0, 7).frames, stack)


def test_damage_is_one_sentence(tmp_path, frames):
    good = mrcz_bytes(frames.astype("<u2"))

    def opened(content, **named):
        (tmp_path / "a.mrcz").write_bytes(content)
        return open_scan(tmp_path / "a.mrcz", **named).block(0, 7)

    with pytest.raises(FormatError, match=r"cut off: 6 of 7 patterns"):
        opened(good[:-5])
    with pytest.raises(FormatError, match="Blosc 1"):
        opened(good[:1024] + b"\5" + good[1025:])
    with pytest.raises(FormatError, match="where a pattern has 40"):
        opened(good[:1028] + struct.pack("<I", 2**31) + good[1032:])
    with pytest.raises(FormatError, match="complex or 4-bit"):
        opened(good[:12] + struct.pack("<i", 6101) + good[16:])
    with pytest.raises(FormatError, match="copy it again"):
        opened(good[:8] + struct.pack("<i", 2**30) + good[12:])  # 10⁹ patterns claimed
    with pytest.raises(OptionError, match="dataset"):
        opened(good, dataset="x")
