"""The pipeline with the real model, trained for a few steps."""

import json

import numpy as np
import pytest
import xarray as xr
from pipeline.small import small_config, small_scan

import orbistem
from orbistem.errors import FormatError, InputError, ShapeError, VersionError
from orbistem.pipeline.fit import fit


def test_a_loaded_model_encodes_like_the_fitted_one(real_run):
    scan, result = real_run
    loaded = orbistem.load(result.directory)
    assert json.dumps(loaded.run) == json.dumps(orbistem.result.plain(result.run))
    xr.testing.assert_identical(loaded.maps, xr.load_dataset(result.directory / "maps.nc", engine="h5netcdf"))
    encoding = loaded.model.encode(scan)
    np.testing.assert_allclose(encoding.z, result.model.encode(scan).z, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(encoding.angle, result.maps.angle.values.ravel(), atol=1e-3)


def test_decode_takes_what_encode_returns(real_run):
    scan, result = real_run
    frames = np.asarray(scan.patterns).reshape(-1, 32, 32)
    encoding = result.model.encode(frames)
    decoded = result.model.decode(encoding.z, encoding.angle)
    assert decoded.shape == frames.shape
    assert decoded.dtype == np.float32
    mean = frames.mean(axis=0)
    weight = 1 / np.maximum(mean, 1)
    better = ((decoded - frames) ** 2 * weight).sum()
    assert better < ((mean - frames) ** 2 * weight).sum()
    np.testing.assert_allclose(decoded.sum(axis=(1, 2)), frames.sum(axis=(1, 2)), rtol=0.05)


def test_with_a_polar_zero_patterns_are_decoded_as_before_and_storage_keeps_it(real_run, tmp_path):
    """Angles count from each template's own direction, decode undoes it, files say it."""
    from orbistem.result import TrainedModel

    scan, result = real_run
    frames = np.asarray(scan.patterns).reshape(-1, 32, 32)
    polar = result.model.with_angle_zero("polar")
    before, after = result.model.encode(frames), polar.encode(frames)
    np.testing.assert_array_equal(before.z, after.z)
    assert np.abs(np.exp(1j * (after.angle - before.angle)) - 1).max() > 0.1  # another zero indeed
    np.testing.assert_allclose(
        polar.decode(after.z, after.angle), result.model.decode(before.z, before.angle), rtol=1e-3, atol=0.05
    )
    own = polar.own_turn(after.z, after.angle)
    np.testing.assert_allclose(np.exp(1j * own), np.exp(1j * before.angle.astype(float)), atol=1e-4)
    polar.save(tmp_path / "model")
    again = TrainedModel.load(tmp_path / "model").encode(frames)
    np.testing.assert_allclose(np.exp(1j * again.angle), np.exp(1j * after.angle), atol=1e-4)
    free = polar.with_angle_zero("free").encode(frames)
    np.testing.assert_allclose(np.exp(1j * free.angle), np.exp(1j * before.angle), atol=1e-5)


def test_encode_gives_nan_for_what_is_not_usable(real_run):
    scan, result = real_run
    frames = np.asarray(scan.patterns, np.float32).reshape(-1, 32, 32)[:5].copy()
    frames[1] = 0
    frames[3] = np.nan
    encoding = result.model.encode(frames)
    assert np.isnan(encoding.z).any(axis=1).tolist() == [False, True, False, True, False]
    assert np.isnan(encoding.angle_order).tolist() == [False, True, False, True, False]


def test_wrong_shapes_are_refused(real_run):
    _, result = real_run
    with pytest.raises(ShapeError, match="pass patterns"):
        result.model.encode(np.zeros((32, 32)))
    with pytest.raises(ShapeError, match="same detector"):
        result.model.encode(np.zeros((3, 16, 16)))
    with pytest.raises(ShapeError, match="decode: want z"):
        result.model.decode(np.zeros((3, 7)), np.zeros(3))


def test_a_newer_model_is_refused_and_a_damaged_one_is_named(real_run, tmp_path):
    from orbistem.result import TrainedModel

    _, result = real_run
    result.model.save(tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))
    assert not list(tmp_path.rglob("*.pkl"))
    (tmp_path / "model" / "model.json").write_text(json.dumps(facts | {"version": "1.9"}), encoding="utf-8")
    TrainedModel.load(tmp_path / "model")  # a newer minor version only adds
    (tmp_path / "model" / "model.json").write_text(json.dumps(facts | {"version": "2.0"}), encoding="utf-8")
    with pytest.raises(VersionError, match=r"in model format 2\.0, this is"):
        TrainedModel.load(tmp_path / "model")
    (tmp_path / "model" / "model.json").write_text(json.dumps(facts), encoding="utf-8")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(FormatError, match=r"model\.safetensors"):
        TrainedModel.load(tmp_path / "model")
    with pytest.raises(InputError, match="finished fit"):
        TrainedModel.load(tmp_path)


def test_a_newer_run_is_refused(real_run, tmp_path):
    with pytest.raises(InputError, match="orbistem fit wrote"):
        orbistem.load(tmp_path)
    _, result = real_run
    (tmp_path / "maps.nc").write_bytes((result.directory / "maps.nc").read_bytes())
    (tmp_path / "run.json").write_text('{"schema": 7}', encoding="utf-8")
    with pytest.raises(VersionError, match="schema 1, got 7"):
        orbistem.load(tmp_path)


def test_equal_seeds_give_equal_maps(real_run, tmp_path):
    scan, result = real_run
    again = fit(scan, config=small_config(), directory=tmp_path / "again")
    xr.testing.assert_identical(again.maps, result.maps)


@pytest.mark.slow
def test_a_cluster_gives_the_same_maps(real_run, tmp_path):
    from distributed import LocalCluster

    from orbistem.stream import Distributed

    scan, result = real_run
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        found = fit(
            small_scan(np.random.default_rng(2021)),
            config=small_config(),
            directory=tmp_path / "run",
            runner=Distributed(cluster.scheduler_address),
        )
    for name in result.maps:
        np.testing.assert_allclose(found.maps[name], result.maps[name], rtol=1e-6, atol=1e-6, err_msg=name)
    assert scan.scan_shape == found.maps.angle.shape
