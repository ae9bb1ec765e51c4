"""Files that change or vanish between opening and reading: one sentence, never other numbers."""

import os
import pickle
import shutil

import numpy as np
import pytest
from hostile.sound import SOUND, patterns

from orbistem.errors import FormatError, GoneError, InputError
from orbistem.io import open_scan, save_scan


def _smaller(counts):
    return counts[:, :, ::2, ::2]


@pytest.mark.parametrize("write", SOUND, ids=lambda write: write.__name__)
@pytest.mark.parametrize("change", ["vanish", "smaller", "other type", "cut"])
def test_every_format(tmp_path, write, change):
    counts = patterns()
    path = write(tmp_path / "a", counts)
    scan = open_scan(path)
    if not hasattr(scan.patterns, "dask"):
        return  # read when it was opened
    if change == "vanish":
        path.unlink()
        with pytest.raises(GoneError, match="no longer there"):
            scan.patterns.compute()
        return
    if change == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        (tmp_path / "new").mkdir()
        other = _smaller(counts) if change == "smaller" else (counts + 300).astype(np.int32)
        try:
            new = write(tmp_path / "new" / "a", other)
        except (ValueError, KeyError):
            pytest.skip("the writer knows one shape and type only")
        shutil.move(new, path)
    try:
        found = scan.patterns.compute(scheduler="synchronous")
    except (FormatError, InputError):
        return
    assert change == "other type"  # some writers make one type of everything
    assert np.array_equal(found, np.asarray(open_scan(path).patterns))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_npy_of_another_type_shape_or_order_in_the_same_place(tmp_path, rng, order):
    counts = np.asarray(rng.integers(0, 9, (6, 5, 8, 6), dtype=np.uint16), order=order)
    for other in (
        counts.view(np.int16),
        counts.reshape(5, 6, 8, 6),
        np.asarray(counts, order="F" if order == "C" else "C"),
        np.full((50, 8, 6), 7.0),
    ):
        np.save(tmp_path / "a.npy", counts)
        scan = open_scan(tmp_path / "a.npy")
        np.save(tmp_path / "a.npy", other)
        with pytest.raises(FormatError, match="changed since it was opened"):
            scan.patterns.compute()


def test_raw_numbers_may_grow_but_not_shrink_or_be_others(tmp_path, rng):
    counts = rng.integers(0, 9, (6, 5, 8, 6), dtype=np.uint16)
    path = tmp_path / "a.raw"
    path.write_bytes(counts.tobytes())
    scan = open_scan(path, shape=(6, 5, 8, 6), dtype="uint16")
    path.write_bytes(counts.tobytes() + b"more")
    assert np.array_equal(scan.patterns.compute(), counts)
    for content in (counts.tobytes()[:-9], (counts + 1).tobytes()):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="changed since it was opened"):
            scan.patterns.compute()


def test_a_copy_elsewhere_in_time_is_the_same_file(tmp_path, rng):
    counts = rng.integers(0, 9, (6, 5, 8, 6), dtype=np.uint16)
    np.save(tmp_path / "a.npy", counts)
    scan = pickle.loads(pickle.dumps(open_scan(tmp_path / "a.npy")))
    os.utime(tmp_path / "a.npy", (1, 1))
    assert np.array_equal(scan.patterns.compute(), counts)


@pytest.mark.parametrize("suffix", [".zarr", ".hspy"])
def test_a_store_that_vanished_does_not_read_as_empty(tmp_path, rng, suffix):
    np.save(tmp_path / "a.npy", rng.integers(1, 9, (6, 5, 8, 6), dtype=np.uint16))
    save_scan(open_scan(tmp_path / "a.npy"), tmp_path / f"b{suffix}")
    scan = open_scan(tmp_path / f"b{suffix}")
    (tmp_path / f"b{suffix}").rename(tmp_path / "elsewhere")
    with pytest.raises(GoneError, match="no longer there") as caught:
        scan.patterns.compute()
    assert isinstance(caught.value, FileNotFoundError)  # as callers of Python's own functions expect
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), GoneError)


def test_a_frame_of_a_folder_that_vanished(tmp_path, rng):
    for index in range(6):
        np.save(tmp_path / f"{index}.npy", rng.integers(0, 9, (8, 6), dtype=np.uint16))
    scan = open_scan(tmp_path)
    (tmp_path / "4.npy").unlink()
    with pytest.raises(GoneError, match=r"4\.npy was opened and is no longer there"):
        scan.patterns.compute()


def test_a_file_that_vanished_is_named_when_it_is_converted(tmp_path, rng):
    """The sentence is about the source, not about the target that could not be finished."""
    np.save(tmp_path / "a.npy", rng.integers(0, 9, (6, 5, 8, 6), dtype=np.uint16))
    scan = open_scan(tmp_path / "a.npy")
    (tmp_path / "a.npy").unlink()
    with pytest.raises(GoneError, match=r"a\.npy was opened"):
        save_scan(scan, tmp_path / "b.hspy")
    assert [entry.name for entry in tmp_path.iterdir()] == []
