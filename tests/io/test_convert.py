"""`orbistem convert`: there and back with equal counts and calibrations, or nothing at all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli.conftest import orbistem

from orbistem.errors import OutputError
from orbistem.io import open_scan, save_scan
from orbistem.io.save import WRITERS, _chunks
from orbistem.scan import Axis, Scan

__all__ = ["orbistem"]

SHAPE = (5, 4, 9, 7)
DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    ">u2",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "f2",
    "float32",
    ">f4",
    "f8",
]
AXES = (
    Axis(name="y", scale=0.5, offset=-3.25, units="nm"),
    Axis(name="x", scale=0.123456789012345, offset=1e-7, units="µm"),
    Axis(name="ky", scale=0.02, offset=-0.09, units="1/Å"),
    Axis(name="kx", scale=0.03, units="mrad"),
)


def numbers(rng, dtype):
    """Every bit pattern that the type has, NaN and infinity too."""
    kind = np.dtype(dtype)
    raw = rng.integers(0, 256, (*SHAPE, kind.itemsize), dtype=np.uint8)
    return (raw[..., 0] > 127) if kind.kind == "b" else raw.view(kind)[..., 0]


def bits(array):
    array = np.ascontiguousarray(array)
    return array.astype(array.dtype.newbyteorder("=")).view(np.uint8)


def same(left: Scan, right: Scan) -> None:
    n = left.n_positions
    assert right.dtype.newbyteorder("=") == left.dtype.newbyteorder("=")
    assert np.array_equal(bits(left.block(0, n).frames), bits(right.block(0, n).frames))
    assert right.scan_shape == left.scan_shape
    assert right.scan_axes == left.scan_axes
    assert right.detector_axes == left.detector_axes
    assert np.array_equal(right.measured, left.measured)
    assert np.array_equal(right.pixel_valid, left.pixel_valid)
    assert (right.positions is None) == (left.positions is None)
    if left.positions is not None:
        assert np.array_equal(right.positions, left.positions)
        assert right.position_units == left.position_units
    assert (right.scan_vectors is None) == (left.scan_vectors is None)
    assert left.scan_vectors is None or np.array_equal(right.scan_vectors, left.scan_vectors)


def grid(rng, dtype="uint16"):
    return Scan.from_array(
        numbers(rng, dtype),
        scan_axes=AXES[:2],
        detector_axes=AXES[2:],
        pixel_valid=rng.random((9, 7)) > 0.2,
        measured=rng.random((5, 4)) > 0.2,
        scan_vectors=[[1.0, 0.0], [0.5, 0.9]],
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_there_and_back(orbistem, tmp_path, rng, suffix, dtype):
    first = grid(rng, dtype)
    save_scan(first, tmp_path / "a.hspy")
    assert orbistem("convert", tmp_path / "a.hspy", tmp_path / f"b{suffix}").status == 0
    assert orbistem("convert", tmp_path / f"b{suffix}", tmp_path / "c.hspy").status == 0
    there = open_scan(tmp_path / f"b{suffix}")
    assert hasattr(there.patterns, "dask")
    same(first, there)
    same(first, open_scan(tmp_path / "c.hspy"))


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_lists_lines_and_single_patterns(orbistem, tmp_path, rng, suffix):
    counts = numbers(rng, "uint16")
    flat = counts.reshape(20, 9, 7)
    scans = {
        "list": Scan.from_array(flat, positions=rng.random((20, 2)), position_units="µm"),
        "line": Scan.from_array(flat),
        "one": Scan.from_array(flat[0]),
        "row": Scan.from_array(counts[:1]),
        "plain": Scan.from_array(counts),
    }
    for name, scan in scans.items():
        save_scan(scan, tmp_path / f"{name}.hspy")
        done = orbistem("convert", tmp_path / f"{name}.hspy", tmp_path / f"{name}2{suffix}")
        assert done.status == 0, done.err
        same(scan, open_scan(tmp_path / f"{name}2{suffix}"))


def test_options_of_reading_and_what_was_assumed(orbistem, tmp_path, rng):
    counts = numbers(rng, "uint16")
    (tmp_path / "a.raw").write_bytes(b"head" + counts.astype(">u2").tobytes())
    options = ("--shape", "5,4,9,7", "--dtype", ">u2", "--offset", "4")
    done = orbistem("convert", tmp_path / "a.raw", tmp_path / "b.zspy", *options, "--json")
    assert done.status == 0, done.err
    assert done.summary["input"]["shape"] == list(SHAPE)
    assert np.array_equal(open_scan(tmp_path / "b.zspy").block(0, 20).frames, counts.reshape(-1, 9, 7))
    np.save(tmp_path / "c.npy", counts)
    done = orbistem("convert", tmp_path / "c.npy", tmp_path / "d.h5")
    assert "taken as (y, x, ky, kx)" in done.out
    again = open_scan(tmp_path / "d.h5").provenance
    assert any("when it was converted: the axes 5 x 4 x 9 x 7 are taken as" in text for text in again.assumed)


def test_nothing_is_overwritten_by_accident(orbistem, tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_scan(grid(rng), tmp_path / "a.hspy")
    save_scan(grid(rng), tmp_path / "s.zspy")
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "precious").write_text("x")
    (tmp_path / "file.zspy").write_text("x")
    content = (tmp_path / "a.hspy").read_bytes()
    for arguments, words in (
        (("a.hspy", "a.hspy", "--overwrite"), "are the same"),
        (("a.hspy", "./a.hspy"), "are the same"),
        (("s.zspy", "s.zspy/inside.h5"), "inside the other"),
        (("a.hspy", "s.zspy"), "exists; give another name, or --overwrite"),
        (("a.hspy", "folder.zarr", "--overwrite"), "a folder of another kind"),
        (("a.hspy", "file.zspy", "--overwrite"), "a file of another kind"),
        (("a.hspy", "b.tif"), "ends in .hspy"),
        (("a.hspy", "b"), "ends in .hspy"),
        (("a.hspy", "nowhere/b.h5"), "make it first"),
        (("absent.hspy", "b.h5"), "does not exist"),
    ):
        done = orbistem("convert", *arguments)
        assert done.status == 2, arguments
        assert words in done.err
        assert len(done.err.strip().splitlines()) == 1
    assert (tmp_path / "a.hspy").read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"a.hspy", "s.zspy", "folder.zarr", "file.zspy"}
    assert orbistem("convert", "a.hspy", "s.zspy", "--overwrite").status == 0
    same(open_scan("a.hspy"), open_scan("s.zspy"))


def test_a_damaged_source_leaves_no_target(orbistem, tmp_path, rng):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = rng.integers(0, 9, (40, 30, 32, 32)).astype(np.uint16)
        file.create_dataset("data", data=data, chunks=(1, 30, 32, 32), compression="gzip")
        at = file["data"].id.get_chunk_info(30).byte_offset
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[at : at + 400] = b"\xff" * 400
    (tmp_path / "a.h5").write_bytes(content)
    for name in ("b.zspy", "b.hspy"):
        done = orbistem("convert", tmp_path / "a.h5", tmp_path / name)
        assert done.status == 2, done.err
        assert "damaged" in done.err
        assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_chunks_hold_whole_patterns():
    assert _chunks((64, 64, 128, 128), 2) == (2, 64, 128, 128)
    assert _chunks((3, 300, 128, 128), 2) == (1, 128, 128, 128)
    assert _chunks((10, 4096, 4096), 4) == (1, 4096, 4096)
    assert _chunks((5, 4, 9, 7), 1) == (5, 4, 9, 7)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from orbistem.cli import main
main(["convert", sys.argv[1], sys.argv[2], "--overwrite", "-q"])
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of file sizes are those of POSIX")
@pytest.mark.parametrize("suffix", [".hspy", ".zspy"])
def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, rng, suffix):
    source, target = tmp_path / "a.npy", tmp_path / f"b{suffix}"
    np.save(source, rng.integers(0, 2**16, (20, 20, 64, 64), dtype=np.uint16))
    old = grid(rng)
    save_scan(old, target)
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(source), str(target)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "larger than the disk allows" in done.stderr
    same(old, open_scan(target))
    assert {path.name for path in tmp_path.iterdir()} == {"a.npy", target.name}


def test_a_target_in_a_folder_without_rights(tmp_path, rng):
    save_scan(grid(rng), tmp_path / "a.hspy")
    with pytest.raises(OutputError, match="folder on the way is missing"):
        save_scan(grid(rng), Path(tmp_path / "none" / "b.hspy"))
