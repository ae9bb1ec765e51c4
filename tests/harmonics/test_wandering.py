"""Harmonics about a centre that wanders: known noise, and a mean pattern that leaves no trace of its way."""

import numpy as np

from orbistem.plan import Plan
from orbistem.prepare.rest import Geometry, PatternAtRest, drawn

PX, CENTRE = 40, (19.5, 19.5)


def make_plan(rng, *, n):
    radii = np.arange(0, 40, 0.25)
    profile = 60 / (1 + np.exp(2.0 * (radii - 11))) + 0.5
    geometry = Geometry(centre_px=CENTRE)
    rest = PatternAtRest(geometry=geometry, profile=profile, remainder=np.zeros((PX, PX)))
    shift = rng.uniform(-1.2, 1.2, (n, 2))
    valid = np.ones((PX, PX), bool)
    valid[rng.integers(0, PX, 8), rng.integers(0, PX, 8)] = False
    plan = Plan(
        mean=drawn(profile, geometry.radius_px((PX, PX))), pixel_valid=valid, centre_px=CENTRE, gain=1.0
    )
    return plan.with_descan(shift, np.zeros((2, 2)), profile), rest, shift


def test_the_moving_mean_leaves_the_same_harmonics_everywhere(rng):
    plan, rest, shift = make_plan(rng, n=60)
    frames = np.stack([rest.at(by) for by in shift])
    found = plan.harmonics(frames, np.arange(60))
    noise = np.sqrt(np.einsum("mjj->jm", plan.noise))
    apart = np.abs(found - found.mean(axis=0))[:, plan.grid.carried] / noise[plan.grid.carried]
    assert apart.max() < 0.3  # of the noise of one pattern; without the correction more than 10
    blind = plan.harmonics(frames)
    assert (np.abs(blind - blind.mean(axis=0))[:, plan.grid.carried] / noise[plan.grid.carried]).max() > 3


def test_noise_is_that_of_the_covariance(rng):
    plan, rest, shift = make_plan(rng, n=1500)
    frames = rng.poisson(np.stack([rest.at(by) for by in shift]))
    found = plan.harmonics(frames, np.arange(1500))
    variance = found.real.var(axis=0)
    expected = np.einsum("mjj->jm", plan.noise)
    ratio = (variance / np.maximum(expected, 1e-30))[plan.grid.carried]
    assert abs(ratio.mean() - 1) < 0.03
    again = Plan.from_dict(plan.to_dict(), plan.arrays())
    np.testing.assert_allclose(again.harmonics(frames[:20], np.arange(20)), found[:20], atol=1e-3)  # float32


def test_uncertain_shifts_are_noise(rng):
    plan, rest, shift = make_plan(rng, n=1500)
    sd_px = 0.05
    unsure = plan.with_descan(shift, np.zeros((2, 2)), plan.rest_profile, shift_sd_px=sd_px)
    frames = np.stack([rest.at(by) for by in shift + rng.normal(0, sd_px, shift.shape)])
    found = plan.harmonics(frames, np.arange(1500))
    added = np.einsum("mjj->jm", unsure.noise - plan.noise)[:, 1]
    rings = plan.grid.carried[:, 1] & (added > 0.02 * added.max())
    measured = found[:, :, 1].real.var(axis=0)
    assert np.abs(measured / np.maximum(added, 1e-30) - 1)[rings].max() < 0.25
    assert Plan.from_dict(unsure.to_dict(), unsure.arrays()).shift_sd_px == sd_px
