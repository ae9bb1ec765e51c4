"""The pass over a scan: the same for any runner and any blocks, equal to NumPy; the store holds all of it."""

import numpy as np
import pytest

from orbistem.errors import FormatError, InputError
from orbistem.harmonics.reduce import HarmonicsReduction, HarmonicsTransform, reduce_scan
from orbistem.harmonics.steerable_pca import steerable_basis
from orbistem.harmonics.store import create, open_store
from orbistem.plan import Plan
from orbistem.scan import Block, Scan
from orbistem.stream import Inline, Threads
from orbistem.testing import threefold_mean

RUNNERS_RTOL = 1e-10  # float64 sums of a few hundred float32 harmonics


@pytest.fixture
def plan():
    mean = threefold_mean(24, electrons_per_px=5.0)
    return Plan(mean=mean, pixel_valid=np.ones((24, 24), bool), centre_px=(11.5, 11.5), gain=1.0)


@pytest.fixture
def scan(plan, rng):
    counts = rng.poisson(plan.mean, (6, 7, 24, 24)).astype(np.uint16)
    measured = np.ones((6, 7), bool)
    measured[2, 3] = measured[5, 6] = False
    return Scan.from_array(counts, measured=measured)


def test_a_plan_is_a_transform(plan):
    assert isinstance(plan, HarmonicsTransform)


def test_moments_equal_numpy(plan, scan):
    rows = []
    moments = reduce_scan(
        plan, scan, runner=Inline(), sink=lambda start, h: rows.append((start, h)), block_size=10
    )
    assert [start for start, _ in rows] == [0, 10, 20, 30, 40]
    harmonics = np.concatenate([h for _, h in rows])
    measured = scan.measured.ravel()
    assert np.isnan(harmonics[~measured]).all()
    direct = plan.harmonics(scan.patterns.reshape(-1, 24, 24))
    np.testing.assert_allclose(harmonics[measured], direct[measured], atol=1e-5)
    use = harmonics[measured].astype(np.complex128)
    np.testing.assert_allclose(moments.mean, use.mean(axis=0), atol=1e-12)
    assert moments.n == 40
    for m in (0, 1, 3):
        about = use[:, :, m] - (use[:, :, m].mean(axis=0) if m == 0 else 0)
        expected = (about[:, :, None] * about[:, None, :].conj()).real.mean(axis=0) / (2 if m else 1)
        np.testing.assert_allclose(moments.second_moment[m], expected, atol=1e-10)
    np.testing.assert_allclose(moments.order0_mean, use[:, :, 0].real.mean(axis=0), atol=1e-12)


def test_runners_and_blocks_agree(plan, scan):
    def run(runner, block_size):
        return reduce_scan(plan, scan, runner=runner, sink=lambda *_: None, block_size=block_size)

    first = run(Inline(), 10)
    threaded = run(Threads(2), 10)
    assert np.array_equal(first.second_moment, threaded.second_moment)
    assert np.array_equal(first.mean, threaded.mean)
    for block_size in (1, 7, 42):
        other = run(Inline(), block_size)
        scale = np.abs(first.second_moment).max()
        # single precision matrix products depend on the number of rows in the last bit
        np.testing.assert_allclose(other.second_moment, first.second_moment, atol=1e-5 * scale)


def test_merge_adds(plan, scan, rng):
    reduction = HarmonicsReduction(plan)
    harmonics = plan.harmonics(scan.patterns.reshape(-1, 24, 24))
    cuts = np.sort(rng.integers(0, len(harmonics), 3))
    state = reduction.start()
    for part in np.split(harmonics, cuts):
        state = reduction.merge(state, reduction.sums(part))
    whole = reduction.sums(harmonics)
    np.testing.assert_allclose(state.second, whole.second, rtol=RUNNERS_RTOL, atol=1e-10)
    np.testing.assert_allclose(state.total, whole.total, rtol=RUNNERS_RTOL, atol=1e-10)


def test_it_is_a_reduction_of_the_stream(plan, scan):
    moments = Inline().run(HarmonicsReduction(plan), scan, block_size=10)
    alone = reduce_scan(plan, scan, runner=Inline(), sink=lambda *_: None, block_size=10)
    assert np.array_equal(moments.second_moment, alone.second_moment)


def test_frames_without_any_value_do_not_spoil_the_sums(plan, rng):
    frames = rng.poisson(plan.mean, (4, 24, 24)).astype(np.float32)
    frames[1] = np.nan
    reduction = HarmonicsReduction(plan)
    state = reduction.add(reduction.start(), Block(start=0, frames=frames, measured=np.ones(4, bool)))
    assert state.n == 3
    assert np.isfinite(state.second).all()


def test_nothing_measured_is_an_input_error(plan, scan):
    nothing = scan.replace(measured=np.zeros(scan.scan_shape, bool))
    with pytest.raises(InputError, match="usable"):
        reduce_scan(plan, nothing, runner=Inline(), sink=lambda *_: None)


def test_the_store_keeps_everything(plan, scan, tmp_path):
    path = tmp_path / "coefficients ä.zarr"
    store = create(path, n_positions=scan.n_positions, harmonics_shape=plan.harmonics_shape)
    moments = reduce_scan(plan, scan, runner=Threads(2), sink=store.write_harmonics, block_size=9)
    basis = steerable_basis(10 * plan.noise, plan.noise, plan.grid.carried, n_samples=moments.n, max_kept=12)
    coefficients = store.write_basis(basis, noise=plan.noise, order0_mean=moments.order0_mean)
    centred = plan.with_order0_mean(moments.order0_mean)
    expected = basis.coefficients(centred.harmonics(scan.patterns.reshape(-1, 24, 24)))
    measured = scan.measured.ravel()
    np.testing.assert_allclose(coefficients[measured], expected[measured], atol=1e-4)
    assert np.isnan(coefficients[~measured]).all()
    again = open_store(path)
    assert again.read("steerable").dtype == np.complex64
    np.testing.assert_array_equal(again.read("order"), basis.order)
    np.testing.assert_array_equal(again.read("eigenvalue"), basis.eigenvalue)
    np.testing.assert_array_equal(again.read("noise"), plan.noise)
    assert again.n_positions == 42
    assert sum(len(block) for _, block in again.blocks()) == 42


def test_a_missing_store_is_named(tmp_path):
    with pytest.raises(FormatError, match="coefficients"):
        open_store(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    import zarr

    zarr.open_group(str(tmp_path / "empty"), mode="w")
    with pytest.raises(FormatError, match="harmonics"):
        open_store(tmp_path / "empty")
