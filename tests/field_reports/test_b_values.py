"""Section B of the field reports: number types, byte order, special numbers."""

import h5py
import numpy as np
import pytest
import xarray as xr
from field_reports.base import SCAN_SHAPE, base_patterns, base_rates, write_mrc

from orbistem.io import open_scan
from orbistem.prepare.counts import Problem, estimate_gain
from orbistem.prepare.mask import find_bad_pixels
from orbistem.prepare.moments import Moments
from orbistem.scan import Scan
from orbistem.stream import Inline


def measured(patterns):
    scan = patterns if isinstance(patterns, Scan) else Scan.from_array(patterns)
    return Inline().run(Moments(detector_shape=scan.detector_shape), scan, block_size=100)


def prepared(patterns):
    moments = measured(patterns)
    mask = find_bad_pixels(moments)
    return moments, mask, estimate_gain(moments, mask.valid)


def test_report_20_unsigned_mrc_and_wrapped_counts(orbistem, tmp_path, rng):
    rates = base_rates(shape=(6, 5), dose=1.0)
    frames = rng.poisson(rates * 50_000 / rates.max()).astype("<u2").reshape(-1, 32, 32)
    write_mrc(tmp_path / "velox.mrc", frames, mode=6, cell_px=(32.0, 32.0, 0.0))
    scan = open_scan(tmp_path / "velox.mrc", shape=(6, 5))
    read = scan.block(0, 30).frames
    assert read.min() >= 0
    assert np.array_equal(read, frames)
    write_mrc(tmp_path / "other.mrc", frames.view("<i2"), mode=1, cell_px=(32.0, 32.0, 0.0))
    done = orbistem("info", tmp_path / "other.mrc", "--shape", "6,5,32,32")
    assert done.status == 0
    assert "looks like unsigned data" in done.out
    assert "looks like unsigned data" not in orbistem("info", tmp_path / "velox.mrc").out
    np.save(
        tmp_path / "dark.npy",
        rng.normal(0, 5, (6, 5, 32, 32)).round().astype(np.int16) + frames.reshape(6, 5, 32, 32) // 4,
    )
    assert "looks like unsigned data" not in orbistem("info", tmp_path / "dark.npy").out


def test_report_22_one_bit_frames(orbistem, tmp_path, rng):
    bits = base_patterns(rng, dose=100.0) > 0
    np.save(tmp_path / "bits.npy", bits)
    with h5py.File(tmp_path / "bits.h5", "w") as file:
        file["data"] = bits
    for name in ("bits.npy", "bits.h5"):
        done = orbistem("info", tmp_path / name, "--json")
        assert done.status == 0
        estimate = done.summary["estimate"]
        assert estimate["dose"] == pytest.approx(bits.sum() / 480, rel=1e-9)
        assert estimate["gain"] == 1.0
        assert any("counted once" in note for note in estimate["notes"])
    few = base_patterns(rng, dose=5.0) > 0
    np.save(tmp_path / "few.npy", few)
    notes = orbistem("info", tmp_path / "few.npy", "--json").summary["estimate"]["notes"]
    assert not any("counted once" in note for note in notes)


def test_report_25_not_a_number(orbistem, quick_toml, tmp_path, base, rng):
    patterns = base.astype(np.float32)
    spoiled = patterns.copy()
    frames = spoiled.reshape(-1, 32, 32)
    chosen = rng.permutation(480)[:31]
    for index in chosen[:30]:
        frames[index, rng.integers(0, 32), rng.integers(0, 32)] = np.nan
    dead = [(3, 7), (21, 12)]
    for y, x in dead:
        frames[:, y, x] = np.nan
    frames[chosen[30]] = np.nan
    _, mask, _ = prepared(spoiled)
    assert sorted(mask.missing) == dead
    maps = {}
    mask_file = np.ones((32, 32))
    for y, x in dead:
        mask_file[y, x] = 0
    np.save(tmp_path / "mask.npy", mask_file)
    for name, array in (("clean", patterns), ("spoiled", spoiled)):
        np.save(tmp_path / f"{name}.npy", array)
        arguments = ("--config", quick_toml, "--mask", tmp_path / "mask.npy", "--gain", "1")
        done = orbistem("fit", tmp_path / f"{name}.npy", "-o", tmp_path / name, *arguments)
        assert done.status == 0, done.err
        with xr.open_dataset(tmp_path / name / "maps.nc", engine="h5netcdf") as opened:
            maps[name] = opened.load()
    lost = np.isnan(maps["spoiled"].dose.values).ravel()
    assert np.flatnonzero(lost).tolist() == [chosen[30]]
    for variable in ("latent", "angle", "evidence"):
        assert np.isnan(maps["spoiled"][variable].values.reshape(480, -1)[chosen[30]]).all()
    untouched = np.setdiff1d(np.arange(480), chosen)
    dose = [maps[name].dose.values.ravel()[untouched] for name in ("clean", "spoiled")]
    assert np.allclose(*dose, rtol=1e-6)


def test_report_27_gain_of_dark_subtracted_counts(rng):
    import dask.array as da

    electrons = base_patterns(rng).astype(np.float32)
    lost = rng.random((32, 32)) < 0.05
    electrons[..., lost] = 0
    counts = (140 * electrons + rng.normal(0, 5, electrons.shape)).astype(np.float32)
    counts[..., lost] = 0
    moments, _, found = prepared(counts)
    assert counts.min() < 0
    assert moments.minimum.min() == pytest.approx(counts.min())
    assert found.gain == pytest.approx(140, rel=0.05)
    assert np.allclose(moments.mean, counts.mean(axis=(0, 1), dtype=float), atol=1e-6 * 140)
    lazy = Scan.from_array(da.from_array(counts, chunks=(5, 7, 32, 32)))
    moments_lazy, _, found_lazy = prepared(lazy)
    assert found_lazy.gain == pytest.approx(found.gain, rel=1e-6)
    assert np.allclose(moments_lazy.variance, moments.variance, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_report_28_subtraction_does_not_wrap(orbistem, quick_toml, tmp_path, base, dtype):
    from dataclasses import replace

    from orbistem.config import FitConfig
    from orbistem.pipeline.preparation import prepare
    from orbistem.prepare.counts import CountsOptions
    from orbistem.progress import Silent

    counts = (np.minimum(base, 200) + 2).astype(dtype)
    counts[0, 0, :4] = 0
    config = replace(FitConfig(), counts=CountsOptions(gain=1.0, offset=2.0))
    scan = Scan.from_array(counts)
    found = prepare(scan, config, runner=Inline(), block_size=100, progress=Silent())
    electrons = found.plan.electrons(scan.block(0, 480).frames)
    assert electrons.dtype.kind == "f"
    assert electrons.min() >= -2
    assert electrons.max() <= counts.max()
    assert found.counts.dose == pytest.approx((counts.astype(float) - 2).sum() / 480, rel=1e-6)


def test_report_29_saturated_streaks_and_logarithms(orbistem, tmp_path, rng):
    rates = base_rates(dose=8000.0)
    clipped = np.minimum(rng.poisson(rates * 400 / rates.max()), 255).astype(np.uint8)
    _, mask, _ = prepared(clipped)
    always = (clipped == 255).mean(axis=(0, 1)) > 0.5
    assert always.sum() > 100
    saturated = np.zeros((32, 32), bool)
    saturated[tuple(np.transpose(mask.saturated))] = True
    assert saturated[always].all()
    assert any(f"{len(mask.saturated)} saturated" in note for note in mask.notes)

    streak = rng.poisson(rates).astype(np.uint16)
    streak[11, 4, 20, 8:20] = 30_000
    _, mask, _ = prepared(streak)
    assert mask.spiked == (11 * SCAN_SHAPE[1] + 4,)
    assert any("spike" in note for note in mask.notes)

    logarithm = np.round(20 * np.log(1 + rng.poisson(rates))).astype(np.uint8)
    _, _, found = prepared(logarithm)
    assert found.gain is None
    assert found.problem is Problem.NOT_LINEAR
    np.save(tmp_path / "log.npy", logarithm)
    done = orbistem("info", tmp_path / "log.npy")
    assert "not linear in counts" in done.out
    assert "gain       not known" in done.out
