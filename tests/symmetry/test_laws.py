"""Laws of all descriptors: invariant under rotation and scale, in [0, 1], equivariant under mirror."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbistem.groups import Operation
from orbistem.symmetry import DESCRIPTORS, Components, mirror, n_fold, point_group, polar, sstem
from orbistem.symmetry.coarse import CoarseModes
from orbistem.symmetry.which import pattern_operations

SMALL = settings(max_examples=25, deadline=None)
SCORE_ATOL = 1e-3  # of three mirror lines of nearly equal worth not the best may be taken; else 1e-8
ANGLES = {"mirror_angle", "polar_angle"}
SHARES = {"n_fold", "mirror", "point_group_p", "n_fold_p"}


@st.composite
def patterns(draw, n=3):
    """Components of a few patterns: some n-fold, some mirror symmetric, with more or less noise."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    fold, strength = draw(st.sampled_from([1, 2, 3, 4, 6])), 10 ** draw(st.floats(0, 3))
    order = np.sort(rng.integers(1, 13, draw(st.integers(3, 30))))
    parts = rng.normal(size=(n, len(order), 2))
    signal = parts[..., 0] + (0 if draw(st.booleans()) else 1j * parts[..., 1])
    noise = rng.normal(size=(n, len(order))) + 1j * rng.normal(size=(n, len(order)))
    weight = rng.uniform(0.2, 1, len(order))
    values = strength * signal * (order % fold == 0) + noise
    return Components(values=values, variance=np.ones(values.shape), order=order, weight=weight)


def with_values(components, values, *, scale=1.0):
    return Components(
        values=values,
        variance=components.variance * scale**2,
        order=components.order,
        weight=components.weight,
    )


def maps_of(components):
    return {
        variable.name: values
        for descriptor in DESCRIPTORS
        for variable, values in zip(descriptor.variables, descriptor.compute(components), strict=True)
    }


def apart(left, right, name):
    difference = left - right
    if name in ANGLES:
        period = np.pi if name == "mirror_angle" else 2 * np.pi
        difference = (difference + period / 2) % period - period / 2
    return np.nanmax(np.abs(difference), initial=0.0)


@SMALL
@given(patterns(), st.floats(0, 2 * np.pi))
def test_scores_do_not_change_when_the_pattern_turns(components, angle):
    turned = with_values(components, components.values * np.exp(-1j * components.order * angle))
    before, after = maps_of(components), maps_of(turned)
    for name, values in before.items():
        assert np.array_equal(np.isnan(values), np.isnan(after[name]))
        if name not in ANGLES:
            assert apart(after[name], values, name) < SCORE_ATOL * max(1, np.nanmax(values, initial=1))


@SMALL
@given(patterns(n=1), st.floats(0, 2 * np.pi))
def test_a_mirror_line_turns_with_the_pattern(components, angle):
    turned = with_values(components, components.values * np.exp(-1j * components.order * angle))
    before, after = mirror(components), mirror(turned)
    if before.value[0] > 0.999:  # elsewhere two lines may be equally good
        line = Operation(angle_rad=2 * (before.angle[0] + angle), mirror=True)
        assert sstem(turned, operations=(line,)).value[0, 0] == pytest.approx(after.value[0], abs=SCORE_ATOL)


@SMALL
@given(patterns())
def test_mirror_images_have_the_same_scores(components):
    image = with_values(components, components.values.conj())
    before, after = maps_of(components), maps_of(image)
    for name, values in before.items():
        if name not in ANGLES:
            assert apart(after[name], values, name) < SCORE_ATOL * max(1, np.nanmax(values, initial=1))


def judged(components):
    """Operations of one pattern: the same numbers serve as modes that say what carries them."""
    k = len(components.order)
    modes = CoarseModes(
        order=components.order,
        vectors=np.eye(k),
        noise_share=np.eye(k),
        ring_level=None,
        mass=np.zeros((2, k)),
        mass_share=np.zeros((2, k)),
        mass_overlap=np.zeros((2, k)),
        shift=np.zeros(k),
    )
    return pattern_operations(components, components.values[0], modes).operations


@SMALL
@given(patterns(n=1), st.floats(0, 2 * np.pi), st.booleans(), st.floats(1e-3, 1e3))
def test_verdicts_on_turns_are_invariant(components, angle, mirrored, scale):
    """Of turned, mirrored and brighter patterns; the best mirror is as good as before."""
    values = components.values.conj() if mirrored else components.values
    turned = values * np.exp(-1j * components.order * angle) * scale
    before, after = judged(components), judged(with_values(components, turned, scale=scale))
    for one, other in zip(before[:5], after[:5], strict=True):  # four turns, and the best mirror
        assert other.score == pytest.approx(one.score, abs=0.02, rel=1e-3)
        if np.isfinite(one.correlation):
            assert abs(one.correlation) <= 1
            assert other.correlation == pytest.approx(one.correlation, abs=10 * SCORE_ATOL)


@SMALL
@given(patterns(n=1), st.floats(0, np.pi))
def test_the_correlation_with_a_mirror_image_turns_and_flips_with_the_pattern(components, line):
    def about(of, azimuth):
        operation = Operation(angle_rad=2 * azimuth, mirror=True)
        return sstem(of, operations=(operation,)).value[0, 0]

    turned = with_values(components, components.values * np.exp(-1j * components.order * 0.6))
    image = with_values(components, components.values.conj())
    before = about(components, line)
    for after in (about(turned, line + 0.6), about(image, -line), about(components, line + np.pi)):
        assert np.isnan(before) == np.isnan(after)
        if np.isfinite(before):
            assert after == pytest.approx(before, abs=SCORE_ATOL)


@SMALL
@given(patterns(), st.floats(0, 2 * np.pi))
def test_a_polar_direction_turns_and_flips_with_the_pattern(components, angle):
    found = polar(components)
    turned = polar(with_values(components, components.values * np.exp(-1j * components.order * angle)))
    image = polar(with_values(components, components.values.conj()))
    assert apart(turned.angle, found.angle + angle, "polar_angle") < 1e-6
    assert apart(image.angle, -found.angle, "polar_angle") < 1e-6


def test_the_error_of_a_polar_direction_is_right(rng):
    clean = np.array([12 * np.exp(-0.7j), 5.0])
    noise = rng.normal(size=(4000, 2)) + 1j * rng.normal(size=(4000, 2))
    drawn = Components(
        values=clean + noise, variance=np.ones((4000, 2)), order=np.array([1, 2]), weight=np.ones(2)
    )
    found = polar(drawn)
    assert found.angle.mean() == pytest.approx(0.7, abs=0.01)
    assert found.angle.std() == pytest.approx(np.sqrt(np.mean(found.angle_sd**2)), rel=0.05)
    assert np.mean(found.value**2) == pytest.approx(144, rel=0.02)


@SMALL
@given(patterns(n=1))
def test_the_line_of_a_mirror_image_is_mirrored(components):
    found = mirror(components)
    image = mirror(with_values(components, components.values.conj()))
    if np.isfinite(found.value[0]):
        line = Operation(angle_rad=-2 * found.angle[0], mirror=True)
        flipped = with_values(components, components.values.conj())
        assert sstem(flipped, operations=(line,)).value[0, 0] == pytest.approx(image.value[0], abs=SCORE_ATOL)


@SMALL
@given(patterns(), st.floats(1e-3, 1e3))
def test_scores_do_not_change_with_the_intensity(components, scale):
    scaled = with_values(components, components.values * scale, scale=scale)
    before, after = maps_of(components), maps_of(scaled)
    for name, values in before.items():
        assert apart(after[name], values, name) < SCORE_ATOL * max(1, np.nanmax(values, initial=1))


@SMALL
@given(patterns())
def test_scores_stay_in_their_range(components):
    for name, values in maps_of(components).items():
        finite = values[np.isfinite(values)]
        if name in SHARES:
            assert np.all((finite >= 0) & (finite <= 1))
        elif name == "sstem":
            assert np.all(np.abs(finite) <= 1)
        elif name.endswith("_sd"):
            assert np.all(finite >= 0)
        elif name == "mirror_angle":
            assert np.all((finite >= 0) & (finite < np.pi))
        elif name == "polar_angle":
            assert np.all((finite >= 0) & (finite <= 2 * np.pi))
        elif name == "polar":
            assert np.all(finite >= 0)


@SMALL
@given(patterns())
def test_single_and_double_precision_agree(components):
    single = Components(
        values=components.values.astype(np.complex64),
        variance=components.variance.astype(np.float32),
        order=components.order,
        weight=components.weight,
    )
    np.testing.assert_allclose(n_fold(single).value, n_fold(components).value, atol=2e-3)
    np.testing.assert_allclose(mirror(single).value, mirror(components).value, atol=2e-3)


def test_names_of_variables_are_unique():
    names = [variable.name for descriptor in DESCRIPTORS for variable in descriptor.variables]
    assert len(names) == len(set(names))
    assert {"n_fold", "mirror", "mirror_angle", "point_group", "point_group_p", "n_fold_p"} <= set(names)


def test_a_missing_pattern_is_missing_everywhere():
    values = np.array([[np.nan, np.nan], [30, 40j]]) + 0j
    two = Components(values=values, variance=np.ones((2, 2)), order=np.array([2, 3]), weight=np.ones(2))
    for name, found in maps_of(two).items():
        assert np.isnan(found[0]).all(), name
    assert point_group(two).code[0] == 0


def test_an_n_fold_turn_is_seen_as_one():
    order = np.array([3, 6, 9])
    values = np.array([[100.0, 50j, 20]])
    one = Components(values=values, variance=np.ones((1, 3)), order=order, weight=np.ones(3))
    third = Operation(angle_rad=2 * np.pi / 3, mirror=False)
    assert sstem(one, operations=(third,)).value[0, 0] == pytest.approx(1)
    assert n_fold(one).value[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("line", [0.0, 0.4, 1.5, 3.0])
def test_standard_errors_of_the_mirror_are_right(rng, line):
    order = np.array([1, 1, 2, 3, 4, 6])
    even, odd = rng.normal(size=6) * 20, rng.normal(size=6) * 4
    clean = (even + 1j * odd) * np.exp(-1j * order * line)
    noise = rng.normal(size=(3000, 6)) + 1j * rng.normal(size=(3000, 6))
    drawn = Components(values=clean + noise, variance=np.ones(noise.shape), order=order, weight=np.ones(6))
    found = mirror(drawn)
    assert found.value.std() == pytest.approx(np.sqrt(np.mean(found.sd**2)), rel=0.15)
    # a few draws may take another line that is nearly as good: the width of the one peak
    angle = (found.angle - np.median(found.angle) + np.pi / 2) % np.pi - np.pi / 2
    width = 1.4826 * np.median(np.abs(angle - np.median(angle)))
    assert width == pytest.approx(np.median(found.angle_sd), rel=0.15)
