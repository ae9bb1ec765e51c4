"""The certificate of a model that is invariant, and of some that are not."""

import numpy as np
import pytest
from pipeline.plain_vae import PlainVAE

from orbistem.models.protocol import Encoding


class TurnsItsLatents(PlainVAE):
    """A liar: the latents follow the phase of a coefficient."""

    def encode(self, coefficients):
        honest = super().encode(coefficients)
        moving = coefficients - self.offset
        first = int(np.flatnonzero(self.order > 0)[0])
        z = np.stack([moving[:, first].real, moving[:, first].imag], axis=1).astype(np.float32)
        return _with(honest, z=z)


class ForgetsItsAngle(PlainVAE):
    """Another one: every angle is 1 rad."""

    def encode(self, coefficients):
        honest = super().encode(coefficients)
        return _with(honest, angle=np.ones_like(honest.angle))


def _with(encoding, **changes):
    return Encoding(**{name: getattr(encoding, name) for name in Encoding.__dataclass_fields__} | changes)


def test_latents_that_turn_are_noticed(scan, quick_fit, monkeypatch):
    monkeypatch.setattr("orbistem.pipeline.training.OrbitVAE", TurnsItsLatents)
    certificate = quick_fit(scan).run["certificate"]
    assert certificate["latent_change_turned_coefficients"] == pytest.approx(1, abs=0.2)  # unrelated
    assert certificate["latent_change_turned_pixels"] > 0.5


def test_angles_that_do_not_turn_are_noticed(scan, quick_fit, monkeypatch):
    monkeypatch.setattr("orbistem.pipeline.training.OrbitVAE", ForgetsItsAngle)
    certificate = quick_fit(scan).run["certificate"]
    assert certificate["angle_error_deg"] > 10
    assert certificate["latent_change_turned_coefficients"] < 1e-5


def test_the_static_background_does_not_turn(scan, quick_fit):
    from orbistem.pipeline.static import static_coefficients, static_pattern

    model = quick_fit(scan).model
    static = static_coefficients(model)
    np.testing.assert_allclose(model.coefficients(static_pattern(model)[None])[0], static, atol=0.05)
    assert (static[model.basis.order == 0] == 0).all()
