"""A fit with a group beyond SO(2), end to end."""

import json
import tomllib
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from pipeline.plain_vae import PlainVAE
from pipeline.small import small_config

import orbistem
from orbistem.groups import GroupName
from orbistem.models.protocol import Encoding
from orbistem.pipeline.fit import fit
from orbistem.pipeline.orientation import measure_orientation, with_hand


@pytest.mark.slow
@pytest.mark.parametrize("group", ["O2", "D3"])
def test_a_group_goes_through_the_whole_pipeline(scan, group, tmp_path):
    config = small_config()
    longer = replace(config.model.train, steps=1000)  # in 600 steps a finite group learns no latent
    config = config.replace(model=replace(config.model, group=group, train=longer))
    result = fit(scan, config=config, directory=tmp_path / "run")
    hand = result.maps.handedness
    assert hand.dims == ("y", "x")
    assert np.all(np.abs(hand) <= 1 + 1e-5)
    assert {"units", "long_name"} <= set(hand.attrs)
    stored = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert stored["model"]["group"] == group
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["config"]["model"]["group"] == group
    assert run["certificate"]["latent_change_mirrored_coefficients"] < 0.1
    assert "mirroring" in run["certificate"]["sentence"]
    assert "Handedness" in (tmp_path / "run" / "report.html").read_text()
    loaded = orbistem.load(tmp_path / "run").model
    found = loaded.encode(scan)
    np.testing.assert_allclose(found.handedness, hand.values.ravel(), atol=1e-3)
    decoded = loaded.decode(found.z, found.angle, found.handedness)
    assert np.isfinite(decoded).all()


@pytest.mark.slow
@pytest.mark.parametrize(("group", "latent_dim"), [("auto", 3), ("usual", 0)])
def test_what_is_left_open_is_settled_and_can_be_loaded(scan, group, latent_dim, tmp_path):
    config = small_config()
    net = replace(config.model.net, latent_dim=latent_dim)
    config = config.replace(model=replace(config.model, group=group, net=net))
    result = fit(scan, config=config, directory=tmp_path / "run")
    assert result.model.vae.group in get_args(GroupName)
    n = result.maps.sizes["latent_dim"]
    assert 3 <= n <= 5
    said = " ".join(result.run["words"]).lower()
    if group == "auto":
        assert "held-out evidence of taking mirror images for the same site" in said
        assert "held-out evidence of turns by multiples of 60° only" in said
    stored = tomllib.loads((tmp_path / "run" / "config.toml").read_text())["model"]
    assert (stored["group"], stored["net"]["latent_dim"]) == (group, latent_dim)
    loaded = orbistem.load(tmp_path / "run").model
    kept = result.maps.latent.values.reshape(-1, n)
    used = np.isfinite(kept).all(axis=1)
    np.testing.assert_allclose(loaded.encode(scan).z[used], kept[used], atol=1e-3)


class SeesMirrors(PlainVAE):
    """Claims a group with mirrors, but takes the sign of a phase for a latent."""

    group = "O2"
    mirror_line_rad = None

    def encode(self, coefficients):
        honest = super().encode(coefficients)
        moving = coefficients - self.offset
        turning = np.unique(self.order[self.order > 0])
        one, two = (int(np.flatnonzero(self.order == m)[0]) for m in turning[:2])
        product = moving[:, one] ** self.order[two] * (moving[:, two] ** self.order[one]).conj()
        z = np.repeat(np.angle(product)[:, None], 2, axis=1).astype(np.float32)
        return _with(honest, z=z, handedness=np.ones(len(z), np.float32))

    def decode(self, z, angle, handedness):
        assert np.all(handedness == 1)
        return super().decode(z, angle)

    def predict(self, coefficients):
        found = self.encode(coefficients)
        return super().decode(found.z, found.angle)


def _with(encoding, **changes):
    return Encoding(**{name: getattr(encoding, name) for name in Encoding.__dataclass_fields__} | changes)


def test_latents_that_see_a_mirror_are_noticed(scan, quick_fit, monkeypatch):
    monkeypatch.setattr("orbistem.pipeline.training.OrbitVAE", SeesMirrors)
    certificate = quick_fit(scan).run["certificate"]
    assert certificate["latent_change_turned_coefficients"] < 0.05
    assert certificate["latent_change_mirrored_coefficients"] > 0.3


def test_orientations_compare_positions_of_one_hand(rng):
    """Half of the crystal is the mirror image of the other half; a grain is turned by 0.3."""
    n = 200
    z = rng.normal(size=(n, 2)).astype(np.float32)
    hand = rng.choice(np.float32([-1, 1]), n)
    gauge = np.where(hand > 0, 1.0, 2.5) + 0.05 * z[:, 0]
    z, hand, gauge = (np.concatenate([v, v]) for v in (z, hand, gauge))
    turn = np.repeat([0.0, 0.3], n)
    one = np.ones(2 * n, np.float32)
    encoding = Encoding(
        z=z,
        z_sd=0.1 * np.ones_like(z),
        angle=np.mod(gauge + turn, 2 * np.pi).astype(np.float32),
        angle_sd=0.1 * one,
        angle_order=one.astype(np.int32),
        evidence=one,
        residual=one,
        handedness=hand,
    )
    found = measure_orientation(encoding, np.arange(n))
    error = (found.angle - turn + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(error).max() < 0.1
    assert with_hand(z.astype(float), encoding).shape == (2 * n, 3)
