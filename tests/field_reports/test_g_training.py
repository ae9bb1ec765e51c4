"""Section G of the field reports: training, graphics memory, what encode and decode agree on."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from field_reports.base import base_patterns
from pipeline.conftest import _own_cache, cache_home, real_run
from pipeline.small import small_config, small_model, small_scan

import orbistem
import orbistem.models.infer as infer
from orbistem.scan import Scan

__all__ = ["_own_cache", "cache_home", "real_run"]


@pytest.mark.slow
def test_report_59_latents_are_used_where_the_dose_allows_it(rng):
    result = orbistem.fit(Scan.from_array(base_patterns(rng, dose=100_000.0)))
    active = result.maps.latent.attrs["active"]
    assert active.sum() >= 1
    latent = result.maps.latent.values[..., active.astype(bool)]
    sd = result.maps.latent_sd.values[..., active.astype(bool)]
    assert (np.nanstd(latent, axis=(0, 1)) > 2 * np.nanmedian(sd, axis=(0, 1))).all()
    pruned = int((active == 0).sum())
    assert result.run["training"]["active_units"] == int(active.sum())
    assert not pruned or any("latent" in text for text in (*result.run["words"], *result.problems))
    # the two halves of the scan differ in the ring: the latents tell them apart
    columns = latent[..., 0].mean(axis=0)
    apart = abs(columns[:10].mean() - columns[10:].mean())
    assert apart > 3 * max(columns[:10].std(), columns[10:].std())


@pytest.mark.slow
@pytest.mark.parametrize("dose", [300.0, 20.0])
def test_report_59_noise_is_not_shown_as_latents(rng, dose):
    """At 300 electrons the ring alone still tells the halves of the scan apart, at 20 nothing does."""
    result = orbistem.fit(Scan.from_array(base_patterns(rng, dose=dose)))
    active = result.maps.latent.attrs["active"].astype(bool)
    assert dose > 100 or not active.any()
    if not active.any():
        assert any("at this dose" in text for text in result.problems)
        assert np.isnan(result.maps.latent.values).all()
    for latent in np.moveaxis(result.maps.latent.values[..., active], -1, 0):
        left, right = latent[:, :10], latent[:, 10:]
        assert abs(left.mean() - right.mean()) > 3 * max(left.std(), right.std())


def test_report_62_one_block_on_the_device_at_a_time(real_run, monkeypatch):
    scan, result = real_run
    vae, coefficients = result.model.vae, result.model.coefficients(scan.block(0, 120).frames)
    many = np.tile(coefficients, (50 * 256 // 120 + 1, 1))[: 50 * 256]
    whole = infer.infer_batch
    block_shape = (256, many.shape[1], 2)
    held = []

    def count(net, block, *arguments, **named):
        held.append(sum(array.shape == block_shape for array in jax.live_arrays()))
        n, d = len(block), vae.latent_dim
        names = ("angle", "angle_sd", "angle_order", "evidence", "misfit", "handedness")
        names += ("odds", "unlike", "size", "hands_apart")
        filled = dict.fromkeys(names, np.zeros(n))
        return infer.Inferred(
            z=np.zeros((n, d)),
            covariance=np.zeros((n, d, d)),
            mode=np.zeros((n, d)),
            pattern=np.array(block),
            power=np.zeros(block.shape[:2]),
            **filled,
        )

    monkeypatch.setattr(infer, "infer_batch", count)
    assert len(vae.encode(many).z) == len(many)
    assert len(held) == 50
    assert max(held) <= 3  # this block and the one before

    def small_device(net, block, *arguments, **named):
        if len(block) > 64:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory allocating 1 byte")
        return whole(net, block, *arguments, **named)

    monkeypatch.setattr(infer, "infer_batch", whole)
    expected = vae.encode(coefficients[:100])
    monkeypatch.setattr(infer, "infer_batch", small_device)
    found = vae.encode(coefficients[:100])
    assert np.isfinite(found.z).all()
    np.testing.assert_allclose(found.z, expected.z, atol=0.5 * float(expected.z.std()))
    monkeypatch.setattr(infer, "MIN_BATCH", 256)
    with pytest.raises(jax.errors.JaxRuntimeError):
        vae.encode(coefficients[:100])


def test_report_63_decode_takes_what_encode_returns(rng):
    """With a model that is trained: one of 60 steps calls most of a pattern model error and shrinks z."""
    scan, model = small_scan(rng), small_model()
    model = replace(model, train=replace(model.train, steps=400), scout_steps=100)
    result = orbistem.fit(scan, config=small_config(model=model))
    frames = scan.block(0, 10).frames
    encoding = result.model.encode(frames)
    assert encoding.z.shape == (10, result.model.latent_dim)
    assert encoding.angle.shape == (10,)
    decoded = result.model.decode(encoding.z, encoding.angle)
    assert decoded.shape == frames.shape
    again = result.model.encode(decoded)
    close = np.abs(again.z - encoding.z) / np.maximum(encoding.z.std(axis=0), 1e-9)
    assert np.median(close) < 0.5
    turned = result.model.decode(encoding.z, encoding.angle + 2 * np.pi)
    np.testing.assert_allclose(turned, decoded, rtol=1e-3, atol=1e-3 * decoded.max())
