"""Odd files and wrong options: one plain sentence, and what was assumed is always said."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from raster import DETECTOR, FRAMES, counts, said

from orbistem.errors import FormatError, InputError, OptionError, OrbistemError, VersionError
from orbistem.io import describe, open_scan, save_scan
from orbistem.io.axes import make_axis
from orbistem.io.formats.folder import natural_key
from orbistem.scan import Axis, Scan


def test_rows_of_unequal_length(rng, tmp_path):
    np.save(tmp_path / "scan.npy", counts(rng, 479))
    line = open_scan(tmp_path / "scan.npy")
    assert line.scan_shape == (479, 1)
    assert "24 x 20 less 1" in said(line)
    assert "--shape" in said(line)
    folded = open_scan(tmp_path / "scan.npy", shape=(*FRAMES, *DETECTOR))
    assert folded.scan_shape == FRAMES
    assert np.argwhere(~folded.measured).tolist() == [[23, 19]]
    assert not folded.block(470, 480).measured[-1]
    assert np.array_equal(folded.block(0, 479).frames, np.load(tmp_path / "scan.npy"))
    assert "1 less than 24 x 20" in said(folded)
    in_memory = open_scan(np.load(tmp_path / "scan.npy"), shape=FRAMES)
    assert np.array_equal(in_memory.measured, folded.measured)
    with pytest.raises(OptionError, match=r"want 479 positions .* got 24 x 21 = 504; .*24 x 20 less 1"):
        open_scan(tmp_path / "scan.npy", shape=(24, 21))
    with pytest.raises(OptionError, match="want patterns of 16 x 12"):
        open_scan(tmp_path / "scan.npy", shape=(24, 20, 12, 16))


@pytest.mark.parametrize("shape", [(0, 480, 16, 12), (-1, 20), (24,), (1, 2, 3, 4, 5), ("a", "b")])
def test_impossible_shapes(rng, shape):
    with pytest.raises(OptionError, match=r"^shape: want .*, got .*; give"):
        open_scan(counts(rng), shape=shape)


def test_flat_hdf5_is_a_line_unless_folded(rng, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"] = counts(rng)
    assert "480 = 24 x 20" in said(open_scan(tmp_path / "a.h5"))
    assert open_scan(tmp_path / "a.h5", shape=FRAMES).scan_shape == FRAMES
    assert open_scan(tmp_path / "a.h5", shape=(20, 24)).scan_shape == (20, 24)


def test_four_axes_without_names_are_assumed(rng):
    scan = open_scan(counts(rng).reshape(*FRAMES, *DETECTOR))
    assert "taken as (y, x, ky, kx)" in " ".join(scan.provenance.assumed)


def test_rectangular_scans_keep_their_order(rng, tmp_path):
    frames = counts(rng, 400).reshape(10, 40, *DETECTOR)
    frames[0, 39] *= 3
    save_scan(Scan.from_array(frames), tmp_path / "a.hspy")
    block = open_scan(tmp_path / "a.hspy").block(0, 400)
    assert block.frames.sum(axis=(1, 2)).argmax() == 39


def test_single_patterns_and_axes_of_length_one(rng, tmp_path):
    np.save(tmp_path / "one.npy", counts(rng, 1)[0])
    assert describe(open_scan(tmp_path / "one.npy"))["scan_shape"] == [1, 1]
    assert open_scan(counts(rng, 24)[:, None]).scan_shape == (24, 1)
    with pytest.raises(InputError, match="two-dimensional"):
        open_scan(counts(rng)[:, :, :1])


def test_natural_order_of_frames(rng, tmp_path):
    from rsciio import tiff

    frames = counts(rng, 12)
    for index, frame in enumerate(frames):
        axes = [
            {"name": n, "size": s, "scale": 1.0, "offset": 0.0, "units": "", "navigate": False}
            for n, s in zip("yx", DETECTOR, strict=True)
        ]
        signal = {"data": frame, "axes": axes, "metadata": {"General": {}}, "original_metadata": {}}
        tiff.file_writer(str(tmp_path / f"frame_{index + 1}.tif"), signal)
    (tmp_path / "notes.txt").write_text("hello")
    scan = open_scan(tmp_path, shape=(4, 3))
    assert np.array_equal(scan.block(0, 12).frames, frames)
    assert "from frame_1.tif to frame_12.tif" in said(scan)
    assert "1 other files" in said(scan)
    assert sorted(["a10", "a2", "a1_10", "a1_9"], key=natural_key) == ["a1_9", "a1_10", "a2", "a10"]
    (tmp_path / "frame_7.tif").write_bytes((tmp_path / "frame_7.tif").read_bytes()[:40])
    with pytest.raises(OrbistemError, match="frame_7"):
        scan.block(0, 12)


def test_frames_named_by_x_and_y(rng, tmp_path):
    frames = counts(rng, 12).reshape(3, 4, *DETECTOR)
    for y in range(3):
        for x in range(4):
            np.save(tmp_path / f"scan_x{x:03d}_y{y:03d}.npy", frames[y, x])
    scan = open_scan(tmp_path)
    assert scan.scan_shape == (3, 4)
    assert np.array_equal(scan.block(0, 12).frames, frames.reshape(-1, *DETECTOR))


def test_boolean_frames(rng, tmp_path):
    frames = counts(rng) > 2
    np.save(tmp_path / "a.npy", frames)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = frames
    for name in ("a.npy", "a.h5"):
        block = open_scan(tmp_path / name).block(0, 480)
        assert block.frames.dtype == np.bool_
        assert block.frames.sum() == frames.sum()


def test_names_and_units_as_bytes(rng, tmp_path):
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file["root/cube/data"] = counts(rng, 480).reshape(*FRAMES, *DETECTOR)
        names = (b"Ry", b"Rx", b"Qy", b"Qx")
        units = (b"nm", "µm".encode("latin-1"), b"A^-1", "1/Å".encode())
        for index, size in enumerate((*FRAMES, *DETECTOR)):
            dim = file.create_dataset(f"root/cube/dim{index + 1}", data=np.arange(size) * 0.5 + 1)
            dim.attrs["name"], dim.attrs["units"] = np.bytes_(names[index]), np.bytes_(units[index])
    scan = open_scan(tmp_path / "a.emd")
    assert [axis.units for axis in (*scan.scan_axes, *scan.detector_axes)] == ["nm", "µm", "1/Å", "1/Å"]
    assert scan.scan_axes[0] == Axis(name="y", scale=0.5, offset=1.0, units="nm")
    assert not scan.provenance.assumed


def test_metadata_that_stop_others(rng, tmp_path):
    path = tmp_path / "a.hspy"
    save_scan(Scan.from_array(counts(rng).reshape(*FRAMES, *DETECTOR)), path)
    with h5py.File(path, "r+") as file:
        group = file["Experiments/a"]
        group["original_metadata"].attrs.create("note", "Å µ".encode("latin-1"))
        group["original_metadata/table"] = np.zeros((3, 4, 5))
        for index, units in enumerate(("<undefined>", b"k_A^-1", "furlong", "mrad")):
            group[f"axis-{index}"].attrs["units"] = units
        group["axis-0"].attrs["scale"], group["axis-1"].attrs["scale"] = 0.0, -0.5
        group["axis-3"].attrs["scale"] = np.nan
    scan = open_scan(path)
    assert scan.scan_shape == FRAMES
    assert [axis.units for axis in (*scan.scan_axes, *scan.detector_axes)] == ["px", "1/Å", "furlong", "px"]
    assert scan.scan_axes[1].scale == 0.5
    for words in ("uncalibrated", "negative scale -0.5", "unknown unit 'furlong'", "scale nan"):
        assert words in said(scan)


@pytest.mark.parametrize(
    "units", [None, "", "<undefined>", "A^-1", "1/Å", "k_A^-1", "mrad", "rad", "px", "um", 7]
)
@pytest.mark.parametrize("scale", [None, 0, -0.5, 1, "x", np.inf])
def test_no_axis_stops_a_file(units, scale):
    axis, _ = make_axis("ky", scale=scale, units=units)
    assert axis.scale > 0
    assert axis.units


def test_newer_generations_are_named(rng, tmp_path):
    path = tmp_path / "a.hspy"
    save_scan(Scan.from_array(counts(rng)), path)
    with h5py.File(path, "r+") as file:
        file.attrs["file_format_version"] = "3.9"
    assert open_scan(path).n_positions == 480
    with h5py.File(path, "r+") as file:
        file.attrs["file_format_version"] = "99.0"
    with pytest.raises(VersionError, match=r"version 99\.0 .* this reads 3"):
        open_scan(path)


def test_a_read_only_folder_and_a_writer_elsewhere(rng, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = counts(rng)
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert open_scan(path).block(0, 2).frames.shape == (2, *DETECTOR)
    finally:
        tmp_path.chmod(0o755)
        path.chmod(0o644)
    with h5py.File(path, "r") as held:
        assert np.array_equal(open_scan(path).block(0, 2).frames, held["data"][:2])
    writer = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print(flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", writer, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as elsewhere:
        elsewhere.stdout.readline()
        try:
            assert open_scan(path).block(0, 2).frames.shape == (2, *DETECTOR)
        except FormatError as error:
            pytest.fail(f"a lock stopped reading: {error}")
        finally:
            elsewhere.stdin.close()
    marked = writer.replace("'r+')", "'r+', libver='latest'); f.swmr_mode = True")
    with h5py.File(path, "w", libver="latest") as file:
        file["data"] = counts(rng)
    arguments[2] = marked
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as elsewhere:
        elsewhere.stdout.readline()
        with pytest.raises(FormatError, match="open for writing in another program"):
            open_scan(path)
        elsewhere.stdin.close()


def test_several_stacks_are_listed(rng, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"], file["two/three"] = counts(rng, 5), counts(rng, 6)
        file["picture"] = np.zeros((5, 5, 3), np.uint8)
        file["empty"] = np.zeros((0, 5, 5))
    with pytest.raises(FormatError, match=r"several stacks.*--dataset: one \(5, 16, 12\).*two/three \(6"):
        open_scan(tmp_path / "a.h5")
    assert open_scan(tmp_path / "a.h5", dataset="two").n_positions == 6
    with pytest.raises(OptionError, match="has no array four"):
        open_scan(tmp_path / "a.h5", dataset="four")
    with pytest.raises(InputError, match="no empty axis"):
        open_scan(tmp_path / "a.h5", dataset="empty")
    np.savez(tmp_path / "a.npz", one=counts(rng, 5), two=counts(rng, 6), scale=1.0)
    with pytest.raises(FormatError, match=r"several stacks.*--dataset: one"):
        open_scan(tmp_path / "a.npz")
    with pytest.raises(OptionError, match="has no key three"):
        open_scan(tmp_path / "a.npz", dataset="three")
    with pytest.raises(OptionError, match="leave"):
        open_scan(counts(rng), dataset="x")


def damaged(rng, tmp_path):
    np.save(tmp_path / "cut.npy", counts(rng))
    with h5py.File(tmp_path / "cut.h5", "w") as file:
        file["data"] = counts(rng)
    np.savez_compressed(tmp_path / "cut.npz", data=counts(rng))
    for name in ("cut.npy", "cut.h5", "cut.npz"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "noise.xyz").write_bytes(bytes(rng.integers(0, 256, 5000, dtype=np.uint8)))
    (tmp_path / "noise.dm4").write_bytes(bytes(rng.integers(0, 256, 5000, dtype=np.uint8)))
    (tmp_path / "noise.mib").write_bytes(b"MQ1," + bytes(3000))
    (tmp_path / "text.npy").write_text("not at all")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.zeros((3, 4, 5), complex))
    (tmp_path / "folder").mkdir()
    return [*sorted(tmp_path.iterdir()), tmp_path / "absent.h5"]


def test_damaged_files_are_one_sentence(rng, tmp_path):
    for path in damaged(rng, tmp_path):
        with pytest.raises(OrbistemError) as caught:
            open_scan(path)
        text = str(caught.value)
        assert "\n" not in text, path
        assert path.stem in text or path.name == "complex.npy", path


def test_masks(rng, tmp_path):
    valid = rng.random(DETECTOR) > 0.3
    np.save(tmp_path / "mask.npy", valid)
    np.savez(tmp_path / "mask.npz", mask=valid)
    for mask in (valid, valid.astype(float), tmp_path / "mask.npy", tmp_path / "mask.npz"):
        assert np.array_equal(open_scan(counts(rng), mask=mask).pixel_valid, valid)
    with pytest.raises(ValueError, match="mask: want"):
        open_scan(counts(rng), mask=valid.T)


def test_a_live_array_of_a_wrong_kind():
    with pytest.raises(InputError, match="got dict"):
        open_scan({})


PEAK_MEMORY_PROGRAM = """
import sys
from dataclasses import dataclass
from orbistem.io import open_scan
from orbistem.stream import Threads

@dataclass(frozen=True)
class Total:
    def start(self): return 0.0
    def add(self, state, block): return state + block.frames.astype(float).sum()
    def merge(self, left, right): return left + right
    def finish(self, state): return state

Threads(2).run(Total(), open_scan(sys.argv[1]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
PEAK_MIB = 800  # three blocks of 128 MiB with their working copies, and the imports


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
@pytest.mark.parametrize("chunks", [(1, 64, 64, 64), (64, 64, 8, 8)])
def test_two_gigabytes_in_little_memory(tmp_path, chunks):
    with h5py.File(tmp_path / "a.h5", "w") as file:  # chunks that were never written take no space
        file.create_dataset("data", (512, 256, 128, 128), np.uint8, chunks=chunks)[0, 0, :8, :8] = 1
    arguments = [sys.executable, "-c", PEAK_MEMORY_PROGRAM, str(tmp_path / "a.h5")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert int(done.stdout) / 1024 < PEAK_MIB


def test_pixels_of_kilometres_are_spatial_frequencies():
    axis, notes = make_axis("ky", scale=1.744e17, offset=-1.1e19, units="nm")
    assert (axis.units, axis.scale, axis.offset) == ("1/nm", pytest.approx(0.1744), pytest.approx(-11))
    assert "taken as a spatial frequency" in notes[0]
    assert make_axis("y", scale=0.5, units="m") == (Axis(name="y", scale=0.5, units="m"), ())


def test_frames_of_a_wider_type_are_not_cut(tmp_path, rng):
    """A folder whose first frame is uint8 and another one uint16 would lose counts."""
    np.save(tmp_path / "1.npy", rng.integers(0, 200, (8, 6), dtype=np.uint8))
    np.save(tmp_path / "2.npy", np.full((8, 6), 1000, np.uint16))
    with pytest.raises(InputError, match=r"2\.npy holds uint16, but 1\.npy uint8"):
        open_scan(tmp_path).patterns.compute()
    np.save(tmp_path / "1.npy", np.full((8, 6), 7, np.uint16))
    np.save(tmp_path / "2.npy", np.full((8, 6), 9, np.uint8))  # what fits is taken
    assert set(np.unique(open_scan(tmp_path).patterns.compute())) == {7, 9}


@pytest.mark.parametrize("size", [512, 2048, 4096, 65536])
def test_hdf5_behind_a_user_block(tmp_path, rng, size):
    counts = rng.integers(0, 9, (4, 3, 8, 6), dtype=np.uint16)
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=size) as file:
        file["data"] = counts
    assert np.array_equal(np.asarray(open_scan(tmp_path / "a.h5").patterns), counts)


def test_a_file_that_was_written_anew_is_not_read_as_the_old_one(tmp_path, rng):
    counts = rng.integers(0, 9, (6, 5, 8, 6), dtype=np.uint16)
    for other in (counts[:2], counts.astype(np.float32), counts[..., :4]):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["data"] = counts
        scan = open_scan(tmp_path / "a.h5")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["data"] = other
        with pytest.raises(FormatError, match="changed since it was opened"):
            scan.patterns.compute()
