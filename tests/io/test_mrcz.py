"""Compressed MRCZ, written by hand: the header of MRC, then one Blosc chunk a pattern."""

import struct
import sys
import types

import numpy as np
import pytest
from hostile.sound import mrcz_bytes

from orbistem.errors import FormatError, MissingExtraError, OptionError
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


def blosc2_bytes(frames, pack):
    """The header of MRC, then a chunk of Blosc 2 for each pattern."""
    return mrcz_bytes(frames)[:1024] + b"".join(pack(frame.tobytes()) for frame in frames)


def test_chunks_of_blosc_2_go_to_its_package(tmp_path, frames, monkeypatch):
    """With a stand-in for the package: chunks that hold their numbers as they are."""

    def pack(numbers):
        return struct.pack("<4B3I", 5, 1, 0, 2, len(numbers), len(numbers), 16 + len(numbers)) + numbers

    def unpack(chunk):
        if chunk[16] == 255:
            raise ValueError("bad chunk")
        return chunk[16:]

    stack = frames.astype("<u2")
    (tmp_path / "a.mrcz").write_bytes(blosc2_bytes(stack, pack))
    monkeypatch.setitem(sys.modules, "blosc2", None)  # not installed
    with pytest.raises(MissingExtraError, match=r"orbistem\[mrcz\]"):
        open_scan(tmp_path / "a.mrcz")
    monkeypatch.setitem(sys.modules, "blosc2", types.SimpleNamespace(decompress2=unpack))
    assert np.array_equal(open_scan(tmp_path / "a.mrcz").block(0, 7).frames, stack)
    stack[3] = 65535
    (tmp_path / "b.mrcz").write_bytes(blosc2_bytes(stack, pack))
    with pytest.raises(FormatError, match="pattern 3"):
        open_scan(tmp_path / "b.mrcz").block(0, 7)


def test_what_blosc_2_packs_is_read(tmp_path, frames):
    blosc2 = pytest.importorskip("blosc2", reason="the extra mrcz has it")
    stack = frames.astype("<u2")
    content = blosc2_bytes(stack, lambda numbers: blosc2.compress2(numbers, typesize=2))
    (tmp_path / "a.mrcz").write_bytes(content)
    assert np.array_equal(open_scan(tmp_path / "a.mrcz").block(0, 7).frames, stack)


def test_damage_is_one_sentence(tmp_path, frames):
    good = mrcz_bytes(frames.astype("<u2"))

    def opened(content, **named):
        (tmp_path / "a.mrcz").write_bytes(content)
        return open_scan(tmp_path / "a.mrcz", **named).block(0, 7)

    with pytest.raises(FormatError, match=r"cut off: 6 of 7 patterns"):
        opened(good[:-5])
    with pytest.raises(FormatError, match="Blosc version 77, which is unknown"):
        opened(good[:1024] + b"\x4d" + good[1025:])
    with pytest.raises(FormatError, match="where a pattern has 40"):
        opened(good[:1028] + struct.pack("<I", 2**31) + good[1032:])
    with pytest.raises(FormatError, match="complex or 4-bit"):
        opened(good[:12] + struct.pack("<i", 6101) + good[16:])
    with pytest.raises(FormatError, match="copy it again"):
        opened(good[:8] + struct.pack("<i", 2**30) + good[12:])  # 10⁹ patterns claimed
    with pytest.raises(OptionError, match="dataset"):
        opened(good, dataset="x")
