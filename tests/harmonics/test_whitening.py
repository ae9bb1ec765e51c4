"""Weights, the root, and the choice between them."""

import numpy as np
import pytest

from orbistem.harmonics.rings import polar_coordinates
from orbistem.harmonics.whitening import (
    ROOT_WORTH,
    azimuthal_mean,
    choose_whitening,
    linear_weight,
    root,
    root_inverse,
    root_moments,
)

POLAR = polar_coordinates((48, 48), centre_px=(23.5, 23.5))
ALL = np.ones((48, 48), bool)


def test_the_azimuthal_mean_of_an_isotropic_image_is_the_image():
    image = np.exp(-((POLAR.radius_px / 12) ** 2))
    np.testing.assert_allclose(azimuthal_mean(image, POLAR, pixel_valid=ALL), image, atol=0.01)


def test_invalid_pixels_do_not_count(rng):
    image = np.ones((48, 48))
    valid = rng.uniform(size=(48, 48)) > 0.2
    image[~valid] = np.nan
    np.testing.assert_allclose(azimuthal_mean(image, POLAR, pixel_valid=valid), 1)
    assert not azimuthal_mean(image, POLAR, pixel_valid=np.zeros_like(valid)).any()


def test_weights_are_the_inverse_root_of_the_azimuthal_mean():
    weight = linear_weight(np.full((48, 48), 4.0), POLAR, pixel_valid=POLAR.radius_px > 3)
    np.testing.assert_allclose(weight[POLAR.radius_px > 3], 0.5)
    assert not weight[POLAR.radius_px <= 3].any()


@pytest.mark.parametrize("level", [0.02, 0.5, 3.0, 40.0, 59.0, 61.0, 500.0])
def test_root_moments_are_those_of_poisson_counts(rng, level):
    draws = root(rng.poisson(level, 200_000).astype(np.float64))
    mean, variance = root_moments(np.array([level]))
    assert mean[0] == pytest.approx(draws.mean(), abs=5 * draws.std() / np.sqrt(len(draws)) + 1e-4)
    assert variance[0] == pytest.approx(draws.var(), rel=0.03, abs=1e-3)


def test_the_inverse_of_the_mean_root():
    """Of the mean of roots, not of the root: the latter is a quarter of an electron too low."""
    level = np.array([0.0, 1e-3, 0.1, 3.0, 59.0, 61.0, 1e3, 1e8])
    found = root_inverse(root_moments(level)[0])
    np.testing.assert_allclose(found, level, rtol=1e-3, atol=1e-9)
    assert (np.diff(root_inverse(np.linspace(0, 50, 999))) >= 0).all()
    assert root_inverse(np.array([-1.0]))[0] == 0


def test_negative_counts_are_clipped_inside_the_root_only():
    assert root(np.array([-5.0]))[0] == 0


def test_low_doses_are_whitened_linearly():
    mean = 0.05 * np.exp(-((POLAR.radius_px / 12) ** 2))
    weight = linear_weight(mean, POLAR, pixel_valid=ALL)
    choice = choose_whitening(mean, mean * 1.2, weight, pixel_valid=ALL)
    assert choice.chosen == "poisson"
    assert choice.information_poisson > choice.information_sqrt
    assert "chosen: patterns stay additive" in choice.why


def test_bright_disks_are_whitened_by_the_root():
    mean = np.full((48, 48), 20.0)
    azimuth = POLAR.azimuth_rad
    disks = (np.abs(POLAR.radius_px - 15) < 2) & (np.cos(6 * azimuth) > 0.7)
    mean[disks] = 5000
    weight = linear_weight(mean, POLAR, pixel_valid=ALL)
    choice = choose_whitening(mean, mean + 0.01 * mean**1.5, weight, pixel_valid=ALL)
    assert choice.chosen == "sqrt"
    given = choose_whitening(mean, 2 * mean, weight, pixel_valid=ALL, wanted="poisson")
    assert given.chosen == "poisson"
    assert "given by the user" in given.why


def test_a_little_more_information_is_no_reason_to_give_up_additive_patterns():
    mean = 400 * np.exp(-((POLAR.radius_px / 20) ** 2))
    ring = np.abs(POLAR.radius_px - 12) < 2
    mean[ring] *= 1 + 0.6 * np.cos(6 * POLAR.azimuth_rad)[ring]
    weight = linear_weight(mean, POLAR, pixel_valid=ALL)
    choice = choose_whitening(mean, mean + 0.01 * mean**1.5, weight, pixel_valid=ALL)
    assert 1.02 < choice.information_sqrt / choice.information_poisson < ROOT_WORTH
    assert choice.chosen == "poisson"
