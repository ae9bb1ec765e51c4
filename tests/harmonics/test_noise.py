"""The noise covariance is exact, and the coefficients have unit noise at any dose, beside gaps too."""

import numpy as np
import pytest

from orbistem.errors import ShapeError
from orbistem.harmonics.analyser import make_analyser
from orbistem.harmonics.circular import make_grid
from orbistem.harmonics.noise import is_possible, noise_covariance
from orbistem.plan import Plan
from orbistem.testing import (
    assert_parseval,
    assert_unit_noise,
    beam_stop,
    full_basis,
    noise_values,
    signal_basis,
    smooth_patterns,
    threefold_mean,
)

EXACT_RTOL = 1e-10


def plan_of(px, dose, *, masked):
    valid = beam_stop(px) if masked else np.ones((px, px), bool)
    mean = threefold_mean(px, electrons_per_px=dose)
    return Plan(mean=mean, pixel_valid=valid, centre_px=((px - 1) / 2, (px - 1) / 2), gain=1.0)


def covariance_of_impulses(analyser, spread):
    """Covariance per real degree of freedom from the whole pixel covariance, without any shortcut."""
    parts = analyser(np.eye(len(analyser.gather)))
    real, imaginary = parts.real.transpose(2, 1, 0), parts.imag.transpose(2, 1, 0)
    total = real @ spread @ real.transpose(0, 2, 1) + imaginary @ spread @ imaginary.transpose(0, 2, 1)
    total[1:] /= 2
    return total


@pytest.mark.parametrize("masked", [False, True])
def test_parseval_against_the_exact_noise_covariance(masked):
    plan = plan_of(32, 2.0, masked=masked)
    variance = plan.clean_mean.ravel()[plan.analyser.gather]
    expected = covariance_of_impulses(plan.analyser, np.diag(variance))
    np.testing.assert_allclose(plan.noise, expected, atol=EXACT_RTOL * expected.max())
    trace = np.einsum("mjj->m", plan.noise)
    mean_square = np.sum(
        np.abs(plan.analyser(np.eye(len(variance)))) ** 2 * variance[:, None, None], axis=(0, 1)
    )
    mean_square[1:] /= 2
    assert_parseval(mean_square, trace, rtol=EXACT_RTOL)


def test_correlated_pixels_have_the_covariance_of_the_formula(rng):
    px = 20
    valid = rng.uniform(size=(px, px)) > 0.05
    grid = make_grid((px, px), centre_px=(9.3, 9.6), pixel_valid=valid)
    analyser = make_analyser(grid, weight=rng.uniform(1, 2, (px, px)))
    variance = rng.uniform(1, 3, (px, px))
    shift = np.arange(-3, 4)
    rho = np.exp(-(shift[:, None] ** 2 + shift[None, :] ** 2) / 1.5)
    rho[np.hypot(*np.meshgrid(shift, shift)) > 3] = 0
    y, x = np.divmod(analyser.gather, px)
    dy, dx = y[:, None] - y, x[:, None] - x
    near = (np.abs(dy) <= 3) & (np.abs(dx) <= 3)
    root = np.sqrt(variance.ravel()[analyser.gather])
    spread = np.where(near, rho[np.clip(dy, -3, 3) + 3, np.clip(dx, -3, 3) + 3], 0) * root * root[:, None]
    expected = covariance_of_impulses(analyser, spread)
    found = noise_covariance(analyser, variance, autocorrelation=rho)
    np.testing.assert_allclose(found, expected, atol=EXACT_RTOL * expected.max())


def test_independent_pixels_are_a_special_case(rng):
    plan = plan_of(24, 2.0, masked=True)
    alone = np.zeros((7, 7))
    alone[3, 3] = 1
    found = noise_covariance(plan.analyser, plan.clean_mean, autocorrelation=alone)
    np.testing.assert_allclose(found, plan.noise, atol=EXACT_RTOL * plan.noise.max())


def test_an_even_autocorrelation_is_refused():
    plan = plan_of(24, 2.0, masked=False)
    with pytest.raises(ShapeError, match="odd"):
        noise_covariance(plan.analyser, plan.clean_mean, autocorrelation=np.ones((2, 2)))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dose", [0.02, 2.0, 200.0])
def test_kept_coefficients_have_unit_noise(rng, dose, masked):
    plan = plan_of(64, dose, masked=masked)
    signal = smooth_patterns(rng, n=100, px=64, max_order=16) * np.sqrt(dose)
    basis = signal_basis(plan, signal, n_samples=1000)
    assert basis.n_kept > 20
    values, fourth_cumulant = noise_values(plan, basis, rng=rng, n=1000)
    assert_unit_noise(values, fourth_cumulant=fourth_cumulant)


@pytest.mark.parametrize("masked", [False, True])
def test_all_coefficients_have_unit_noise(rng, masked):
    plan = plan_of(48, 2.0, masked=masked)
    values, fourth_cumulant = noise_values(plan, full_basis(plan), rng=rng, n=1000)
    assert_unit_noise(values, fourth_cumulant=fourth_cumulant)


def test_both_parts_of_an_order_have_equal_noise_beside_a_gap():
    grid = make_grid((64, 64), centre_px=(31.5, 31.5), pixel_valid=beam_stop(64))
    analyser = make_analyser(grid, weight=np.ones((64, 64)))
    for ring in analyser.maps:
        real, imaginary = ring.matrix[:, 1::2], ring.matrix[:, 2::2]
        noise = np.sum(real**2, axis=0), np.sum(imaginary**2, axis=0)
        np.testing.assert_allclose(noise[0], noise[1], rtol=0.05)
        mixed = np.sum(real * imaginary, axis=0)
        assert np.all(np.abs(mixed) <= 0.05 * noise[0])


@pytest.mark.parametrize("whitening", ["poisson", "sqrt"])
def test_masked_rings_fake_no_orders(rng, whitening):
    """Isotropic counts, a beam stop and dead pixels: orders above 0 are consistent with zero."""
    y, x = np.indices((64, 64)) - 31.5
    radius = np.hypot(y, x)
    mean = 20 / (1 + np.exp((radius - 18) / 1.5)) + 0.5
    valid = beam_stop(64)
    valid[tuple(rng.integers(0, 64, (2, 15)))] = False
    plan = Plan(mean=mean, pixel_valid=valid, centre_px=(31.5, 31.5), gain=1.0, whitening=whitening)
    n = 2000
    harmonics = plan.harmonics(rng.poisson(mean, (n, 64, 64)).astype(np.uint16))
    # mean over the draws, in standard errors, complex: |mean|² / (2 G / n) has expectation 1
    power = np.abs(harmonics.mean(axis=0)) ** 2
    error = 2 * np.einsum("mjj->jm", plan.noise) / n
    ratio = power[:, 1:][plan.grid.carried[:, 1:]] / error[:, 1:][plan.grid.carried[:, 1:]]
    assert ratio.mean() == pytest.approx(1, abs=0.3)
    assert ratio.max() < 18  # exp(-18) for each of some hundred


def test_structure_cut_off_at_the_largest_lag_is_no_noise():
    lag = np.abs(np.arange(-3, 4))
    spread = np.exp(-(lag[:, None] ** 2 + lag[None, :] ** 2) / 1.2)
    assert is_possible(spread)
    assert not is_possible(1 - 0.1 * np.hypot(lag[:, None], lag[None, :]))
    assert not is_possible(np.full((7, 7), np.nan))
