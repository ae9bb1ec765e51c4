"""Section D of the field reports: chunks, compression, damage, paths."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from field_reports.base import SCAN_SHAPE, said

from orbistem.errors import ClosedError, FormatError
from orbistem.io import open_scan
from orbistem.scan import Scan

BUDGET_MIB = 700
"""The imports, three blocks of 128 MiB and their working copies."""
PROCESSOR_S = 120
"""Processor time, whatever else runs: unpacking each chunk for each pattern would take an hour."""
PASS_PROGRAM = """
import sys, time
from orbistem.cli.app import run
status = run(["info", sys.argv[1], "--json", "-q", "--memory", "512MB"])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak, time.process_time(), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_report_39_chunks_across_the_scan(tmp_path, rng):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        chunks = (64, 64, 8, 8)
        data = file.create_dataset("data", (64, 64, 128, 128), np.uint16, chunks=chunks, compression="gzip")
        for ky in range(0, 128, 8):
            rates = np.full((64, 64, 8, 128), 0.2)
            data[:, :, ky : ky + 8] = rng.poisson(rates)
    arguments = [sys.executable, "-c", PASS_PROGRAM, str(tmp_path / "a.h5")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    peak_kib, processor_s = done.stderr.split()[-2:]
    assert int(peak_kib) / 1024 < BUDGET_MIB
    assert float(processor_s) < PROCESSOR_S
    assert json.loads(done.stdout)["estimate"]["patterns"] == 64 * 64


def test_report_43_locks_and_closed_files(tmp_path, base):
    path = tmp_path / "folder" / "a.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["data"] = base
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert open_scan(path).block(0, 2).frames.shape == (2, 32, 32)
    finally:
        path.parent.chmod(0o755)
        path.chmod(0o644)
    with h5py.File(path, "r") as file:
        dataset = file["data"]
        scan = open_scan(dataset)
    assert np.array_equal(scan.block(0, 480).frames, base.reshape(-1, 32, 32))  # opened again by itself
    with pytest.raises(ClosedError, match="closed file; open the file by its path"):
        open_scan(dataset)
    writer = (
        "import h5py, sys; f = h5py.File(sys.argv[1], 'r+', libver='latest'); f.swmr_mode = True; "
        "print(flush=True); sys.stdin.read()"
    )
    with h5py.File(path, "w", libver="latest") as file:
        file["data"] = base
    command = [sys.executable, "-c", writer, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as elsewhere:
        elsewhere.stdout.readline()
        with pytest.raises(FormatError, match="open for writing in another program; close it there"):
            open_scan(path)
        elsewhere.stdin.close()


def write_zarr3(folder, patterns, chunks=(5, 7, 32, 16)):
    """Format 3 by hand: raw little-endian bytes, no compression."""
    array = folder / "patterns"
    array.mkdir(parents=True)
    group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    (folder / "zarr.json").write_text(json.dumps(group))
    about = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": patterns.shape,
        "data_type": patterns.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": ["y", "x", "ky", "kx"],
    }
    (array / "zarr.json").write_text(json.dumps(about))
    grid = [-(-size // chunk) for size, chunk in zip(patterns.shape, chunks, strict=True)]
    for place in np.ndindex(*grid):
        part = np.zeros(chunks, patterns.dtype)
        piece = patterns[tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunks, strict=True))]
        part[tuple(slice(0, n) for n in piece.shape)] = piece
        path = array / "c" / "/".join(map(str, place))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part.tobytes())


def test_report_44_zarr_by_its_content(tmp_path, base):
    import zarr

    from orbistem.io import save_scan

    save_scan(Scan.from_array(base), tmp_path / "b.zspy")
    (tmp_path / "b.zspy").rename(tmp_path / "b.zarr")
    assert np.array_equal(open_scan(tmp_path / "b.zarr").block(0, 480).frames, base.reshape(-1, 32, 32))
    write_zarr3(tmp_path / "three.zarr", base)
    scan = open_scan(tmp_path / "three.zarr")
    assert scan.scan_shape == SCAN_SHAPE
    assert scan.provenance.format == "Zarr 3"
    assert not any("axes" in text for text in scan.provenance.assumed)
    assert np.array_equal(scan.block(0, 480).frames, base.reshape(-1, 32, 32))
    with zarr.ZipStore(str(tmp_path / "b.zarr.zip"), mode="w") as store:
        zarr.open_group(store, mode="w").create_dataset("patterns", data=base)
    assert np.array_equal(open_scan(tmp_path / "b.zarr.zip").block(0, 480).frames, base.reshape(-1, 32, 32))


@pytest.mark.skipif(os.name == "nt", reason="such long paths cannot be made there")
def test_report_44_a_missing_part_deep_down_names_its_path(tmp_path, base):
    import zarr

    deep = tmp_path / ("d" * 120) / ("e" * 120) / "b.zarr"
    group = zarr.open_group(zarr.DirectoryStore(str(deep)), mode="w")
    group.create_dataset("patterns", data=base[:2], chunks=(1, 20, 32, 32))
    (deep / "patterns" / ".zarray").write_text("{")
    with pytest.raises(FormatError, match=r"paths have up to \d{3} characters"):
        open_scan(deep)
    (deep / "patterns" / ".zarray").unlink()
    with pytest.raises(FormatError, match=r"paths have up to \d{3} characters"):
        open_scan(deep)


def test_report_46_blockfile_with_odd_text_in_its_note(orbistem, tmp_path, rng):
    from rsciio import blockfile

    counts = rng.poisson(3, (100, 100, 8, 8)).astype(np.uint8)
    axes = [
        {"name": n, "size": s, "scale": 1.0, "offset": 0.0, "units": u, "navigate": n in "yx"}
        for n, s, u in zip(("y", "x", "dy", "dx"), counts.shape, ("nm", "nm", "cm", "cm"), strict=True)
    ]
    signal = {"data": counts, "axes": axes, "original_metadata": {}, "attributes": {"_lazy": False}}
    signal["metadata"] = {"General": {"title": "t"}, "Signal": {"signal_type": ""}}
    path = tmp_path / "a.blo"
    blockfile.file_writer(str(path), signal)
    content = bytearray(path.read_bytes())
    content[300:302] = b"\xe9\xb5"
    path.write_bytes(content)
    scan = open_scan(path)
    assert hasattr(scan.patterns, "dask")
    assert scan.scan_shape == (100, 100)
    assert np.array_equal(scan.block(0, 10_000).frames, counts.reshape(-1, 8, 8))
    assert orbistem("info", path).status == 0
    assert said(scan)
