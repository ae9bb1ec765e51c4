import pickle

import numpy as np
import pytest

from orbistem.errors import InputError, OptionError, ShapeError
from orbistem.scan import Axis, Provenance, Scan, Truth


def patterns(rng, shape=(7, 5, 6, 8), dtype=np.uint16):
    return rng.poisson(3, size=shape).astype(dtype)


def lazy(array, chunks):
    import dask.array as da

    return da.from_array(array, chunks=chunks)


@pytest.mark.parametrize("block_size", [1, 2, 3, 5, 7, 11, 34, 35, 99])
@pytest.mark.parametrize("chunks", [None, (2, 3, 6, 8), (7, 5, 3, 3)])
def test_blocks_in_order_hold_every_frame_once(rng, block_size, chunks):
    array = patterns(rng)
    measured = rng.random((7, 5)) > 0.3
    scan = Scan.from_array(array if chunks is None else lazy(array, chunks), measured=measured)
    blocks = list(scan.iter_blocks(block_size))
    assert [block.start for block in blocks] == list(range(0, 35, block_size))
    assert np.array_equal(np.concatenate([block.frames for block in blocks]), array.reshape(-1, 6, 8))
    assert np.array_equal(np.concatenate([block.measured for block in blocks]), measured.reshape(-1))
    assert all(type(block.frames) is np.ndarray and block.frames.dtype == np.uint16 for block in blocks)


def test_a_block_reads_only_what_it_covers(rng):
    asked = []

    class Watched:
        shape, dtype, ndim = (7, 5, 6, 8), np.dtype(np.uint16), 4

        def __getitem__(self, key):
            asked.append(tuple((part.start, part.stop) for part in key[:2]))
            return np.zeros(self.shape, self.dtype)[key]

    from orbistem.io.lazy import as_lazy

    scan = Scan.from_array(as_lazy(Watched()))
    scan.block(3, 22)  # rest of line 0, lines 1 to 3, begin of line 4
    assert asked == [((0, 1), (3, 5)), ((1, 4), (0, 5)), ((4, 5), (0, 2))]


def test_shapes(rng):
    line = Scan.from_array(patterns(rng, (9, 6, 8)))
    assert (line.scan_shape, line.is_grid, line.n_positions) == ((9, 1), True, 9)
    listed = Scan.from_array(patterns(rng, (9, 6, 8)), positions=rng.random((9, 3)))
    assert (listed.scan_shape, listed.is_grid, listed.scan_axes[0].name) == ((9,), False, "position")
    assert listed.positions.shape == (9, 2)
    assert listed.positions.dtype == np.float64
    from_grid = Scan.from_array(patterns(rng), positions=rng.random((35, 2)))
    assert from_grid.scan_shape == (35,)
    single = Scan.from_array(patterns(rng, (6, 8)))
    assert (single.scan_shape, single.detector_shape) == ((1, 1), (6, 8))
    assert Scan.from_array(patterns(rng, (24, 1, 6, 8))).scan_shape == (24, 1)
    assert single.nbytes == 6 * 8 * 2


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.zeros(5), InputError),
        (np.zeros((2, 3, 4, 5, 6)), InputError),
        (np.zeros((0, 8, 8)), InputError),
        (np.zeros((4, 4, 8, 0)), InputError),
        (np.zeros((4, 8, 8), complex), InputError),
        (np.zeros((4, 8, 8), "U3"), InputError),
        (np.zeros((4, 100, 1)), InputError),
    ],
)
def test_refuses_what_is_no_stack(array, kind):
    with pytest.raises(kind, match=r"want .*, got .*; "):
        Scan.from_array(array)


def test_refuses_what_does_not_fit(rng):
    array = patterns(rng)
    with pytest.raises(OptionError, match="want 35 rows"):
        Scan.from_array(array, positions=np.zeros((34, 2)))
    with pytest.raises(OptionError, match="finite"):
        Scan.from_array(array, positions=np.full((35, 2), np.nan))
    with pytest.raises(OptionError, match="two columns"):
        Scan.from_array(array, positions=np.zeros(35))
    with pytest.raises(ShapeError, match="mask"):
        Scan.from_array(array, pixel_valid=np.ones((8, 6)))
    with pytest.raises(InputError, match="at least one valid"):
        Scan.from_array(array, pixel_valid=np.zeros((6, 8)))
    with pytest.raises(ShapeError, match="measured"):
        Scan.from_array(array, measured=np.ones((5, 7)))
    with pytest.raises(OptionError, match="scale above 0"):
        Axis(name="ky", scale=0.0)
    with pytest.raises(OptionError, match="0 <= start"):
        Scan.from_array(array).block(3, 3)


def test_a_scan_is_frozen_and_travels(rng):
    scan = Scan.from_array(patterns(rng))
    with pytest.raises(AttributeError):
        scan.patterns = None
    with pytest.raises(ValueError, match="read-only"):
        scan.measured[0] = False
    masked = scan.with_mask(np.arange(48).reshape(6, 8) > 3)
    assert scan.pixel_valid.all()
    assert (~masked.pixel_valid).sum() == 4
    again = pickle.loads(pickle.dumps(masked))
    assert np.array_equal(again.pixel_valid, masked.pixel_valid)
    assert np.array_equal(again.block(0, 35).frames, scan.block(0, 35).frames)


def test_block_size_fits_memory_and_keeps_lines_and_chunks_whole(rng):
    array = patterns(rng, (40, 10, 16, 16))
    per_frame = 16 * 16 * (2 + 16)
    grid = Scan.from_array(array)
    assert grid.choose_block_size(10**9) == 400
    assert grid.choose_block_size(per_frame * 37) == 30
    assert grid.choose_block_size(per_frame * 7) == 7
    assert grid.choose_block_size(1) == 1
    chunked = Scan.from_array(lazy(array, (8, 10, 16, 16)))
    assert chunked.choose_block_size(per_frame * 170) == 160
    assert chunked.choose_block_size(per_frame * 37) == 30


def test_sentences_add_up():
    about = Provenance(found=("a",)).adding(found=("b",), warnings=("c",))
    assert (about.found, about.assumed, about.warnings) == (("a", "b"), (), ("c",))


@pytest.mark.parametrize("shape", [(4, 3), (12,)])
def test_truth_survives_the_disk(rng, tmp_path, shape):
    truth = Truth(
        site=rng.integers(0, 5, shape),
        angle=rng.random(shape),
        point_group=rng.choice(["C1", "D6"], shape),
        defect_distance=np.where(rng.random(shape) > 0.5, np.nan, 3.0),
    )
    path = tmp_path / "Ümlaut and space.truth.nc"
    truth.save(path)
    again = Truth.load(path)
    for name in ("site", "angle", "point_group"):
        assert np.array_equal(getattr(again, name), getattr(truth, name)), name
    assert np.array_equal(again.defect_distance, truth.defect_distance, equal_nan=True)
    assert again.to_dataset()["angle"].attrs["units"] == "rad"
    with pytest.raises(InputError, match="got no angle"):
        Truth.from_dataset(truth.to_dataset().drop_vars("angle"))
    with pytest.raises(ShapeError, match="like site"):
        Truth(
            site=truth.site, angle=truth.angle[:1], point_group=truth.point_group, defect_distance=truth.angle
        )
