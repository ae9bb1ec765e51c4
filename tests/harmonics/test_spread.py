"""Electrons that spread over pixels: the width is found, and the noise is right beside a sharp edge too."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from orbistem.harmonics.analyser import make_analyser
from orbistem.harmonics.circular import make_grid
from orbistem.harmonics.noise import noise_covariance
from orbistem.harmonics.spread import arriving, spread_covariance, spread_of
from orbistem.plan import Plan
from orbistem.prepare.moments import Moments, autocorrelation
from orbistem.scan import Scan
from orbistem.stream import Inline

PX = 32


def disk(px=PX, radius=9.0):
    """A bright disk with a sharp edge on a dim ground, electrons."""
    y, x = np.indices((px, px)) - (px - 1) / 2
    return np.where(np.hypot(y, x) < radius, 40.0, 0.4)


def recorded(rng, arrive, n, spread_px):
    return gaussian_filter(rng.poisson(arrive, (n, *arrive.shape)).astype(float), (0, spread_px, spread_px))


def kernel_power(spread_px):
    one = np.zeros((33, 33))
    one[16, 16] = 1
    return float((gaussian_filter(one, spread_px) ** 2).sum())


@pytest.mark.parametrize("spread_px", [0.5, 0.8, 1.0, 1.3])
def test_the_width_is_found_beside_a_sharp_edge(rng, spread_px):
    frames = recorded(rng, disk(), 600, spread_px)
    scan = Scan.from_array(frames.astype(np.float32).reshape(20, 30, PX, PX))
    moments = Inline().run(Moments(detector_shape=(PX, PX)), scan)
    found = spread_of(autocorrelation(moments, np.ones((PX, PX), bool), over="mean"))
    assert found == pytest.approx(spread_px, rel=0.02)


def test_what_is_no_gaussian_is_not_taken_for_one():
    nothing = np.zeros((7, 7))
    nothing[3, 3] = 1
    cross = nothing.copy()
    cross[2:5, 3] = cross[3, 2:5] = 0.9
    shared = 0.3 ** np.hypot(*np.mgrid[-3:4, -3:4]) ** 1.2  # charge sharing: a sharp peak with tails
    for rho in (nothing, cross, shared, np.full((7, 7), np.nan)):
        rho[3, 3] = 1
        assert spread_of(rho) is None


def test_a_sharp_edge_comes_back():
    arrive = disk()
    blurred = gaussian_filter(arrive, 1.0)
    found = arriving(blurred, 1.0)
    np.testing.assert_allclose(gaussian_filter(found, 1.0), blurred, rtol=0.05)
    # waves of two pixels pass the spread with 1/140 of their height: the last of the edge is gone
    assert np.abs(found - arrive).sum() < 0.4 * np.abs(blurred - arrive).sum()
    assert found.min() > 0
    assert found.sum() == pytest.approx(arrive.sum(), rel=1e-3)


def test_the_covariance_is_that_of_spread_electrons(rng):
    arrive, spread_px = disk(), 1.0
    kappa = kernel_power(spread_px)
    frames = recorded(rng, arrive, 4000, spread_px).reshape(4000, -1) / kappa
    pixels = rng.permutation(np.flatnonzero(np.ones(PX * PX)))[:300]
    mean = gaussian_filter(arrive, spread_px) / kappa
    model = spread_covariance(mean, mean, spread_px, pixels).toarray()
    measured = np.cov(frames[:, pixels].T)
    scale = np.sqrt(np.outer(np.diag(model), np.diag(model)))
    # 4,000 patterns know a correlation to 0.016; the rest is what the iteration leaves of the edge
    assert np.sqrt(np.mean(((measured - model) / scale) ** 2)) < 0.03
    assert np.median(np.diag(measured) / np.diag(model)) == pytest.approx(1, abs=0.02)


def test_harmonics_have_unit_noise_where_an_autocorrelation_is_not_enough(rng):
    arrive, spread_px = disk(), 1.0
    kappa = kernel_power(spread_px)
    mean = gaussian_filter(arrive, spread_px) / kappa
    frames = recorded(rng, arrive, 3000, spread_px)
    valid = np.ones((PX, PX), bool)
    valid[15:17, :12] = False
    plan = Plan(mean=mean, pixel_valid=valid, centre_px=((PX - 1) / 2,) * 2, gain=kappa, spread_px=spread_px)
    found = plan.harmonics(frames.astype(np.float32))

    def ratios(noise):
        """Largest and smallest variance over the stated one, over all combinations of rings."""
        both = []
        for m in (0, 1, 2, 5):
            rings = np.flatnonzero(plan.grid.carried[:, m])
            c = found[:, rings, m] - found[:, rings, m].mean(axis=0)
            second = (c.conj().T @ c).real / len(c) / (1 if m == 0 else 2)
            both.append(np.linalg.eigvals(np.linalg.solve(noise[m][np.ix_(rings, rings)], second)).real)
        return np.concatenate(both)

    exact = ratios(plan.noise)
    assert exact.min() > 0.75
    assert exact.max() < 1.35  # 3,000 patterns and 7 rings: about 1.1 by chance
    square = np.add.outer(np.arange(-3, 4) ** 2, np.arange(-3, 4) ** 2)
    rough = ratios(
        noise_covariance(plan.analyser, plan.clean_mean, autocorrelation=np.exp(-square / 4 / spread_px**2))
    )
    assert np.ptp(np.log(rough)) > 1.5 * np.ptp(np.log(exact))


def test_a_plan_keeps_its_spread():
    plan = Plan(
        mean=disk(), pixel_valid=np.ones((PX, PX), bool), centre_px=(15.5, 15.5), gain=1.0, spread_px=0.8
    )
    again = Plan.from_dict(plan.to_dict(), plan.arrays())
    assert again.spread_px == 0.8
    np.testing.assert_array_equal(again.noise, plan.noise)


def test_no_spread_is_independent_pixels():
    grid = make_grid((20, 20), centre_px=(9.5, 9.5))
    analyser = make_analyser(grid, weight=np.ones((20, 20)))
    mean = disk(20, 5.0)
    narrow = noise_covariance(analyser, mean, spread_px=0.05, mean=mean)
    np.testing.assert_allclose(narrow, analyser.noise_covariance(mean), rtol=1e-3, atol=1e-3 * mean.max())
