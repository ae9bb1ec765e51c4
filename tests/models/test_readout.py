"""The read-out draws fine detail that turns with the site."""

import numpy as np
import pytest

from orbistem.harmonics.rings import polar_coordinates
from orbistem.models.readout import Readout
from orbistem.models.readout_fit import fit_readout

PX, N = 32, 400
CENTRE_PX = (15.4, 15.7)
EXPLAINED = 0.9  # of the variance that the coarse part leaves


def scene(rng, *, noise=0.02):
    """Residual patterns with fine rings, features that say how strong they are, and angles."""
    polar = polar_coordinates((PX, PX), centre_px=CENTRE_PX)
    radius, azimuth = polar.radius_px[None], polar.azimuth_rad[None]
    hidden = rng.normal(size=(N, 3))
    angle = rng.uniform(0, 2 * np.pi, N)
    strong, weak = hidden[:, 0, None, None], hidden[:, 1, None, None]
    turned = azimuth - angle[:, None, None]
    fine = strong * np.cos(3 * turned) * np.sin(1.5 * radius) * np.exp(-((radius - 8) ** 2) / 18)
    fine = fine + 0.5 * weak * np.cos(turned) * np.cos(1.2 * radius) * np.exp(-((radius - 6) ** 2) / 18)
    static = 0.3 * np.cos(azimuth) * np.exp(-((radius - 9) ** 2) / 8)
    clean = fine + static
    return clean + noise * rng.normal(size=clean.shape), clean, hidden, angle, static[0]


def fitted(residual, hidden, angle, *, noise=0.02, valid=None):
    """With the mean residual added to every pattern."""
    return fit_readout(
        residual,
        hidden,
        angle,
        np.full(len(residual), 1e-3),
        noise_variance=np.full((PX, PX), noise**2),
        pixel_valid=np.ones((PX, PX), bool) if valid is None else valid,
        centre_px=CENTRE_PX,
        static=np.where(True if valid is None else valid, residual.mean(axis=0), 0),
    )


def explained(clean, drawn, use=...):
    moving = clean - clean.mean(axis=0)
    return 1 - np.sum((clean - drawn)[:, use] ** 2) / np.sum(moving[:, use] ** 2)


def test_fine_rings_are_drawn(rng):
    residual, clean, hidden, angle, _ = scene(rng)
    readout = fitted(residual[:300], hidden[:300], angle[:300])
    assert explained(clean[300:], readout.draw(hidden[300:], angle[300:])) > EXPLAINED


def test_noise_is_not_drawn(rng):
    """Noise as large as the detail is averaged away."""
    residual, clean, hidden, angle, _ = scene(rng, noise=0.5)
    readout = fitted(residual[:300], hidden[:300], angle[:300], noise=0.5)
    assert explained(clean[300:], readout.draw(hidden[300:], angle[300:])) > 0.8
    nothing = fitted(rng.normal(size=(300, PX, PX)), hidden[:300], angle[:300], noise=1.0)
    moving = nothing.draw(hidden[300:], angle[300:]) - nothing.static
    assert np.mean(moving**2) < 2e-3


def test_masked_pixels_do_not_count(rng):
    residual, clean, hidden, angle, _ = scene(rng)
    valid = np.ones((PX, PX), bool)
    valid[14:18, :12] = False
    residual[:, ~valid] = 1e3
    readout = fitted(residual[:300], hidden[:300], angle[:300], valid=valid)
    drawn = readout.draw(hidden[300:], angle[300:])
    assert explained(clean[300:], drawn, valid) > 0.8
    assert not readout.static[~valid].any()


def test_an_unknown_angle_draws_the_mean(rng):
    residual, _, hidden, angle, _ = scene(rng)
    readout = fitted(residual, hidden, angle)
    sharp = readout.draw(hidden, angle) - readout.static
    blurred = readout.draw(hidden, angle, np.full(N, np.pi)) - readout.static
    assert np.mean(blurred**2) < 0.05 * np.mean(sharp**2)


def test_without_features_only_the_static_part_is_left(rng):
    residual, _, hidden, angle, static = scene(rng)
    readout = fitted(residual, np.zeros_like(hidden), angle)
    drawn = readout.draw(np.zeros_like(hidden), angle)
    np.testing.assert_allclose(drawn.mean(axis=0), residual.mean(axis=0), atol=0.02)
    assert np.mean((drawn - static) ** 2) < 0.05 * np.mean(residual**2)


@pytest.mark.parametrize("with_sd", [False, True])
def test_what_is_stored_draws_the_same(rng, with_sd):
    residual, _, hidden, angle, _ = scene(rng)
    readout = fitted(residual, hidden, angle)
    again = Readout.from_parts(readout.arrays(), readout.facts())
    sd = np.full(N, 0.1) if with_sd else None
    assert np.array_equal(again.draw(hidden, angle, sd), readout.draw(hidden, angle, sd))
    for array in readout.arrays().values():
        assert array.dtype == np.float32


@pytest.mark.parametrize("aligned", [False, True])
def test_mirror_images_teach_the_same_detail(rng, aligned):
    """Chiral detail, half of the patterns mirrored; also with few angles, where means do not vanish."""
    polar = polar_coordinates((PX, PX), centre_px=CENTRE_PX)
    radius, azimuth = polar.radius_px[None], polar.azimuth_rad[None]
    hidden, mirrored = rng.normal(size=(N, 3)), rng.random(N) < 0.5
    angle = 0.4 + rng.integers(0, 2, N) * np.pi if aligned else rng.uniform(0, 2 * np.pi, N)
    strong, weak = (1 + hidden[:, 0])[:, None, None], hidden[:, 1, None, None]
    turned = (azimuth - angle[:, None, None]) * np.where(mirrored, -1, 1)[:, None, None]
    rings = np.sin(1.5 * radius) * np.exp(-((radius - 8) ** 2) / 18)
    clean = (strong * np.cos(3 * turned) + weak * np.sin(2 * turned + 0.5)) * rings
    residual = clean + 0.02 * rng.normal(size=clean.shape)
    fit, rest = slice(None, 300), slice(300, None)
    readout = fit_readout(
        residual[fit],
        hidden[fit],
        angle[fit],
        np.full(300, 1e-3),
        noise_variance=np.full((PX, PX), 0.02**2),
        pixel_valid=np.ones((PX, PX), bool),
        centre_px=CENTRE_PX,
        static=residual[fit].mean(axis=0),
        mirrored=mirrored[fit],
    )
    again = Readout.from_parts(readout.arrays(), readout.facts())
    drawn = again.draw(hidden[rest], angle[rest], mirrored=mirrored[rest])
    inside = polar.radius_px < 14
    assert explained(clean[rest], drawn, inside) > EXPLAINED
    assert explained(clean[rest], again.draw(hidden[rest], angle[rest]), inside) < 0.7
