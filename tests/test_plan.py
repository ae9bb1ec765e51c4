"""The plan: counts of any kind become whitened harmonics, and it can be replayed."""

import json
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest

from orbistem.errors import InputError, OptionError, ShapeError
from orbistem.harmonics.rotation import turn
from orbistem.harmonics.whitening import root_moments
from orbistem.plan import Plan, reference_total
from orbistem.testing import smooth_patterns, threefold_mean

PX = 32


ROOT_TABLE_RTOL = 1e-3  # of the table of mean roots, below 60 electrons


def make_plan(*, dose=20.0, valid=None, **named):
    mean = threefold_mean(PX, electrons_per_px=dose)
    return Plan(
        **{
            "mean": mean,
            "pixel_valid": np.ones((PX, PX), bool) if valid is None else valid,
            "centre_px": (15.5, 15.5),
            "gain": 1.0,
            **named,
        }
    )


def counts_of(rng, plan, n=6):
    return rng.poisson(plan.mean, (n, PX, PX))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("whitening", ["poisson", "sqrt"])
def test_the_type_of_the_counts_does_not_matter(rng, dtype, whitening):
    plan = make_plan(whitening=whitening)
    counts = np.minimum(counts_of(rng, plan), 255)
    found = plan.harmonics(counts.astype(dtype))
    assert found.dtype == np.complex64
    assert found.shape == (6, *plan.harmonics_shape)
    np.testing.assert_allclose(found, plan.harmonics(counts.astype(np.float64)), atol=1e-4)


def test_gain_and_offset_are_undone(rng):
    plan = make_plan()
    counts = counts_of(rng, plan)
    scaled = replace(plan, gain=7.5, offset=1000.0)
    stored = (counts * 7.5 + 1000).astype(np.float64)
    np.testing.assert_allclose(scaled.harmonics(stored), plan.harmonics(counts), atol=1e-3)
    np.testing.assert_allclose(scaled.electrons(stored), counts, atol=1e-4)


def test_an_unknown_gain_counts_as_one(rng):
    plan = make_plan(gain=None)
    counts = counts_of(rng, plan)
    np.testing.assert_array_equal(plan.harmonics(counts), make_plan().harmonics(counts))
    np.testing.assert_allclose(plan.with_noise_scale(4.0).noise, 4 * plan.noise)


def test_negative_values_are_kept(rng):
    plan = make_plan()
    counts = counts_of(rng, plan).astype(np.float32)
    shifted = plan.harmonics(counts - 100)
    difference = shifted - plan.harmonics(counts)
    other = plan.harmonics(counts + 100) - plan.harmonics(counts)
    np.testing.assert_allclose(difference, -other, atol=1e-3 * np.abs(other).max())
    assert plan.electrons(counts - 100).min() < 0


@pytest.mark.parametrize("whitening", ["poisson", "sqrt"])
def test_bad_pixels_have_no_influence(rng, whitening):
    valid = np.ones((PX, PX), bool)
    y, x = rng.integers(0, PX, (2, 20))
    valid[y, x] = False
    plan = make_plan(valid=valid, whitening=whitening)
    counts = counts_of(rng, plan).astype(np.float32)
    spoilt = counts.copy()
    spoilt[:, ~valid] = rng.choice([np.nan, np.inf, 1e9, 0], (6, (~valid).sum()))
    np.testing.assert_array_equal(plan.harmonics(spoilt), plan.harmonics(counts))
    np.testing.assert_array_equal(plan.electrons(spoilt), plan.electrons(counts))
    assert np.isfinite(plan.electrons(spoilt)).all()


def test_a_bad_mean_at_bad_pixels_does_not_matter(rng):
    valid = np.ones((PX, PX), bool)
    valid[10, 12] = valid[20, 20] = False
    plan = make_plan(valid=valid)
    mean = plan.mean.copy()
    mean[10, 12], mean[20, 20] = np.nan, 1e9
    counts = counts_of(rng, plan)
    np.testing.assert_allclose(replace(plan, mean=mean).harmonics(counts), plan.harmonics(counts), atol=1e-5)


@pytest.mark.parametrize("whitening", ["poisson", "sqrt"])
@pytest.mark.parametrize("normalise", ["none", "total"])
def test_a_missing_pixel_carries_no_signal(rng, whitening, normalise):
    """On average over many draws, harmonics with missing pixels equal those of whole frames."""
    plan = make_plan(dose=4.0, whitening=whitening, normalise=normalise)
    counts = counts_of(rng, plan, n=3000).astype(np.float32)
    holes = counts.copy()
    holes[:, 14:18, 20:24] = np.nan
    whole, missing = plan.harmonics(counts), plan.harmonics(holes)
    error = np.abs((missing - whole).mean(axis=0))
    spread = np.sqrt(np.var(missing - whole, axis=0) / len(counts))
    touched = spread > 1e-3
    assert touched.sum() > 20
    assert np.all(error[touched] < 5 * spread[touched] + 2e-3)


def test_a_brighter_frame_fills_its_holes_brighter(rng):
    plan = make_plan()
    frame = 3 * plan.mean[None]
    frame[0, 12, 20] = np.nan
    assert plan.electrons(frame)[0, 12, 20] == pytest.approx(3 * plan.mean[12, 20], rel=1e-4)


def test_a_frame_without_any_value_is_nan(rng):
    plan = make_plan(normalise="total")
    frames = counts_of(rng, plan).astype(np.float32)
    frames[2] = np.nan
    harmonics = plan.harmonics(frames)
    assert np.isnan(harmonics[2]).all()
    assert np.isfinite(np.delete(harmonics, 2, axis=0)).all()


def test_normalising_makes_totals_equal(rng):
    plan = make_plan(normalise="total", reference_total=5000.0)
    frames = counts_of(rng, plan) * rng.uniform(0.5, 2, (6, 1, 1))
    np.testing.assert_allclose(plan.electrons(frames).sum(axis=(1, 2)), 5000, rtol=1e-5)
    np.testing.assert_allclose(plan.harmonics(frames), plan.harmonics(2 * frames), atol=1e-3)


def test_an_almost_empty_frame_is_not_blown_up():
    plan = make_plan(normalise="total")
    faint = np.zeros((1, PX, PX), np.float32)
    faint[0, 3, 3] = 1
    assert plan.electrons(faint).max() <= 20 * 1.001


def test_the_reference_total_keeps_the_noise(rng):
    totals = rng.uniform(500, 5000, 400)
    expected = 1 / np.mean(1 / totals)
    assert reference_total(totals) == pytest.approx(expected)
    assert reference_total(np.append(totals, [np.nan, 0, 1])) == pytest.approx(expected)
    with pytest.raises(InputError, match="total"):
        reference_total(np.array([0, np.nan]))


def test_noise_is_known_for_normalised_frames(rng):
    plan = make_plan(dose=30.0)
    level = rng.uniform(0.4, 2.5, 3000)
    totals = level * plan.mean.sum()
    reference = reference_total(totals)
    mean = plan.mean * reference / plan.mean.sum()
    normalised = replace(plan, mean=mean, normalise="total", reference_total=reference)
    harmonics = normalised.harmonics(rng.poisson(level[:, None, None] * plan.mean))
    variance = harmonics[:, 4:, 1:9].var(axis=0) / 2
    expected = np.einsum("mjj->jm", normalised.noise)[4:, 1:9]
    assert np.mean(variance / expected) == pytest.approx(1, abs=0.02)


def test_non_square_pixels_are_circles_again():
    """The same pattern sampled twice as finely along y has the same harmonics, up to the pixel area."""
    y, x = np.indices((64, 64)) - 31.5
    fine_y = np.exp(-(((np.hypot(y / 2, x / 2) - 7) / 3) ** 2)) * (1.2 + np.cos(3 * np.arctan2(y, x)))
    stretched = fine_y[:, ::2] * 2  # x pixels twice as wide as y pixels, about x = 15.75
    square = Plan(mean=fine_y, pixel_valid=np.ones((64, 64), bool), centre_px=(31.5, 31.5), gain=1.0)
    wide = Plan(
        mean=stretched,
        pixel_valid=np.ones((64, 32), bool),
        centre_px=(31.5, 15.75),
        pixel_scale=(1.0, 2.0),
        gain=1.0,
    )
    a, b = square.harmonics(2 * fine_y[None]), wide.harmonics(2 * stretched[None])
    for j in (6, 8, 10):
        assert np.argmax(np.abs(b[0, j])) == np.argmax(np.abs(a[0, j]))
        assert np.angle(b[0, j, 3]) == pytest.approx(np.angle(a[0, j, 3]), abs=0.02)


def test_turned_frames_have_turned_harmonics(rng):
    plan = make_plan(mean=np.full((PX, PX), 50.0))
    from orbistem.harmonics.rotation import turn_pixels

    frames = 50 + smooth_patterns(rng, n=5, px=PX, max_order=4)
    turned = 50 + turn_pixels(frames - 50, by_rad=np.pi / 2, centre_px=(15.5, 15.5))
    orders = np.arange(plan.grid.n_orders)
    expected = turn(plan.harmonics(frames), by_rad=np.pi / 2, orders=orders)
    np.testing.assert_allclose(plan.harmonics(turned), expected, atol=1e-4)


@pytest.mark.parametrize("whitening", ["poisson", "sqrt"])
def test_unwhiten_undoes_the_weights(rng, whitening):
    plan = make_plan(whitening=whitening)
    electrons = plan.mean[None] * 1.1
    expected = root_moments(electrons)[0] if whitening == "sqrt" else electrons
    deviation = (expected - plan.background) * plan.weight
    np.testing.assert_allclose(plan.unwhiten(deviation), electrons, rtol=ROOT_TABLE_RTOL)


@pytest.mark.parametrize("whitening", ["poisson", "sqrt"])
def test_expected_harmonics_are_the_mean_over_noise_draws(rng, whitening):
    """Reading the expectation as counts would miss it by many standard errors for roots of few electrons."""
    plan = make_plan(mean=np.full((PX, PX), 3.0), whitening=whitening)
    electrons = np.maximum(3.0 + 0.5 * smooth_patterns(rng, n=1, px=PX, max_order=4), 0.2)
    draws = plan.harmonics(rng.poisson(np.repeat(electrons, 400, axis=0)).astype(np.float32))
    apart = draws.mean(axis=0) - plan.expected_harmonics(electrons)[0]
    error = np.sqrt(np.mean(np.abs(draws - draws.mean(axis=0)) ** 2, axis=0) / 400)
    assert np.mean(np.abs(apart) ** 2) < 1.5 * np.mean(error**2)
    if whitening == "sqrt":
        naive = draws.mean(axis=0) - plan.harmonics(electrons)[0]
        assert np.mean(np.abs(naive) ** 2) > 10 * np.mean(error**2)


def test_the_origin_of_order_zero_is_subtracted(rng):
    plan = make_plan()
    frames = counts_of(rng, plan)
    origin = rng.normal(size=plan.grid.n_rings)
    difference = plan.harmonics(frames) - plan.with_order0_mean(origin).harmonics(frames)
    np.testing.assert_allclose(difference[:, :, 0], np.tile(origin, (6, 1)), atol=1e-4)
    assert not difference[:, :, 1:].any()
    with pytest.raises(ShapeError, match="order0_mean"):
        plan.with_order0_mean(np.zeros(3))


def test_a_plan_survives_text_and_pickle(rng):
    plan = make_plan(
        normalise="total",
        gain=2.5,
        offset=3.0,
        autocorrelation=np.pad([[1.0]], 3),
        together=1.5,
        pixel_scale=(1.0, 1.1),
    )
    plan = plan.with_order0_mean(rng.normal(size=plan.grid.n_rings))
    frames = counts_of(rng, plan)
    text = json.dumps(plan.to_dict())
    for again in (Plan.from_dict(json.loads(text), plan.arrays()), pickle.loads(pickle.dumps(plan))):
        np.testing.assert_array_equal(again.harmonics(frames), plan.harmonics(frames))
        np.testing.assert_array_equal(again.noise, plan.noise)
        assert again.to_dict() == plan.to_dict()
        assert again.counts_per_electron == 2.5 * 1.5


def test_a_wrong_record_is_refused():
    plan = make_plan()
    with pytest.raises(OptionError, match="unknown"):
        Plan.from_dict({**plan.to_dict(), "colour": 3}, plan.arrays())
    with pytest.raises(OptionError, match="shape"):
        Plan.from_dict({**plan.to_dict(), "detector_shape": [3, 3]}, plan.arrays())


@pytest.mark.parametrize(
    "wrong",
    [{"gain": 0.0}, {"gain": np.nan}, {"together": 0.0}, {"noise_scale": 0.0}, {"reference_total": -1.0}],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        make_plan(**wrong)


def test_wrong_arrays_are_refused(rng):
    with pytest.raises(ShapeError, match="mean"):
        make_plan(mean=np.ones((2, PX, PX)))
    with pytest.raises(ShapeError, match="pixel_valid"):
        make_plan(valid=np.ones((3, 3), bool))
    with pytest.raises(InputError, match="signal"):
        make_plan(mean=np.zeros((PX, PX)))
    plan = make_plan()
    with pytest.raises(ShapeError, match=r"frames\[None\]"):
        plan.harmonics(np.zeros((PX, PX)))
    with pytest.raises(ShapeError, match="another detector"):
        plan.harmonics(np.zeros((1, PX, PX + 1)))


def test_blocks_are_read_quickly(rng):
    """Measured: 30,000 patterns of 64 px per second on one core; a loaded machine is slower."""
    plan = Plan(
        mean=threefold_mean(64, electrons_per_px=2.0),
        pixel_valid=np.ones((64, 64), bool),
        centre_px=(31.5, 31.5),
        gain=1.0,
    )
    frames = rng.poisson(plan.mean, (1000, 64, 64)).astype(np.uint16)
    plan.harmonics(frames[:10])
    start = time.perf_counter()
    plan.harmonics(frames)
    assert 1000 / (time.perf_counter() - start) > 1500
