import numpy as np
import pytest

from orbistem.plot import scale

EVEN_STEP_RATIO = 1.6  # largest over smallest step around the circle in OKLab-like distance; hsv has 12


@pytest.mark.parametrize("outlier", [1e3, -1e6, np.inf, np.nan])
def test_one_outlier_spoils_no_limits(rng, outlier):
    values = rng.normal(size=(40, 40))
    clean = scale.even_limits(values)
    values[3, 7] = outlier
    spoiled = scale.even_limits(values)
    assert spoiled.high - spoiled.low < 1.2 * (clean.high - clean.low)


def test_limits_say_on_which_side_values_lie_beyond():
    values = np.linspace(0, 1, 1000)
    assert scale.even_limits(values).extend == "neither"
    assert scale.even_limits(np.append(values, 50)).extend == "max"
    assert scale.even_limits(np.append(values, -50)).extend == "min"
    assert scale.even_limits(np.r_[-50, values, 50]).extend == "both"


def test_without_outliers_the_full_range_is_shown(rng):
    values = rng.uniform(-2, 5, size=500)
    limits = scale.even_limits(values)
    assert (limits.low, limits.high, limits.extend) == (values.min(), values.max(), "neither")


@pytest.mark.parametrize("values", [[], [np.nan], [3.0, 3.0], [0.0], [-2.0]])
@pytest.mark.parametrize("limits", [scale.even_limits, scale.signed_limits, scale.ratio_limits])
def test_limits_always_have_a_width(values, limits):
    found = limits(values)
    assert found.low < found.high


@pytest.mark.parametrize("centre", [0.0, 1.0])
def test_signed_limits_are_symmetric(rng, centre):
    limits = scale.signed_limits(rng.normal(loc=3, size=300), centre=centre)
    assert limits.high - centre == pytest.approx(centre - limits.low)


def test_ratio_limits_are_symmetric_in_the_logarithm(rng):
    limits = scale.ratio_limits(np.exp(rng.normal(size=300)))
    assert limits.low * limits.high == pytest.approx(1)


@pytest.mark.parametrize("factor", [1.25, 1.4, 2, 3.7, 20, 800])
def test_a_ratio_has_a_few_round_ticks_about_one(factor):
    limits = scale.Limits(low=1 / factor, high=factor)
    ticks = scale.nice_ticks(limits)
    assert 3 <= len(ticks) <= 7
    assert 1.0 in ticks
    assert all(limits.low <= tick <= limits.high for tick in ticks)


def test_the_colour_circle_has_no_seam_and_no_flat_part():
    phase = np.linspace(0, 2 * np.pi, 361)
    colours = scale.cyclic_colours(phase)
    assert colours.min() >= 0
    assert colours.max() <= 1
    np.testing.assert_allclose(colours[0], colours[-1], atol=1e-12)
    # The cube root of linear light follows the eye closely enough to tell even from uneven.
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    steps = np.linalg.norm(_oklab(linear[1:]) - _oklab(linear[:-1]), axis=-1)
    assert steps.max() / steps.min() < EVEN_STEP_RATIO


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_equivalent_turns_have_one_colour(rng, order):
    angle = rng.uniform(0, 2 * np.pi, size=50)
    plain = scale.angle_colours(angle, angle_order=order)
    turned = scale.angle_colours(angle + 2 * np.pi / order, angle_order=order)
    np.testing.assert_allclose(turned, plain, atol=1e-9)
    other = scale.angle_colours(angle + np.pi / order, angle_order=order)
    assert np.linalg.norm(other - plain, axis=-1).min() > 0.3


def test_opacity_is_certainty():
    sd = np.linspace(0, np.pi / np.sqrt(3), 20)
    alpha = scale.angle_colours(np.zeros(20), angle_sd_rad=sd)[:, 3]
    assert alpha[0] == 1
    assert np.all(np.diff(alpha) < 0)
    assert alpha[-1] < 0.25
    threefold = scale.angle_colours(np.zeros(20), angle_sd_rad=sd, angle_order=3)[:, 3]
    assert np.all(threefold <= alpha)


def test_no_preferred_angle_is_transparent_and_missing_is_grey():
    colours = scale.angle_colours([1.0, np.nan], angle_sd_rad=[0.1, np.nan], angle_order=[0, np.nan])
    assert colours[0, 3] == 0
    red, green, blue, alpha = colours[1]
    assert alpha == 1
    assert max(red, green, blue) - min(red, green, blue) < 0.05


def _oklab(linear):
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ to_cones.T) @ to_lab.T
