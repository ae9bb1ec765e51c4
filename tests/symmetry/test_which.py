"""Which operation a difference breaks: known differences, and noise alone."""

from __future__ import annotations

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.groups import Operation, PointGroup
from orbistem.symmetry import Components
from orbistem.symmetry.broken import Broken
from orbistem.symmetry.coarse import CoarseModes, coarse_modes
from orbistem.symmetry.expected import Expected
from orbistem.symmetry.group_and_parts import GroupVerdict, own_operations, whole_and_parts
from orbistem.symmetry.which import (
    MIRROR_AXES,
    BrokenOperation,
    Carrier,
    Which,
    moved,
    pattern_operations,
    which_of_single,
    which_operation,
)
from orbistem.testing import complex_normal

RINGS, ORDERS, N = 4, 7, 400


def make_modes() -> CoarseModes:
    noise = np.repeat(np.eye(RINGS)[None], ORDERS, axis=0)
    return coarse_modes(
        noise, np.ones((RINGS, ORDERS), bool), ring_level=None, profile=np.ones(RINGS), n_rings=4
    )


def broken_with(rng: np.random.Generator, modes: CoarseModes, difference: np.ndarray) -> Broken:
    """All positions differ by `difference` (mode,), seen in frames turned at random, with unit noise."""
    drawn = rng.standard_normal((N, len(modes.order))) + 1j * rng.standard_normal((N, len(modes.order)))
    drawn[:, modes.order == 0] = drawn[:, modes.order == 0].real
    phase = np.exp(1j * modes.order * rng.uniform(0, 2 * np.pi, (N, 1)))
    expected = Expected(
        residual=(drawn + difference) * phase,
        phase=phase,
        rings=np.zeros((N, RINGS)),
        spread=np.zeros(N),
        from_own_pattern=False,
    )
    return Broken(
        score=np.zeros(N, np.float32),
        found=np.zeros(N, bool),
        threshold=np.inf,
        rate=0.05,
        parts=np.zeros((N, 1)),
        names=("x",),
        reference=np.ones(N, bool),
        widths=(1.0,),
        expected=expected,
    )


def which(rng: np.random.Generator, difference: np.ndarray, **named: object) -> Which:
    modes = make_modes()
    return which_operation(broken_with(rng, modes, difference), modes, np.ones(N, bool), **named)


def turns(found: Which) -> dict[str, float]:
    return {one.name: one.score for one in found.operations if not one.operation.mirror}


def mirrors(found: Which) -> dict[int, float]:
    """Scores by azimuth of the axis, whole multiples of 15 degrees."""
    return {
        round(np.rad2deg(one.operation.angle_rad / 2) / 15) * 15 % 180: one.score
        for one in found.operations
        if one.operation.mirror
    }


def test_a_threefold_difference_breaks_the_half_turn_and_keeps_the_third(rng):
    found = which(rng, np.where(make_modes().order == 3, 0.5, 0))
    scores = turns(found)
    assert scores["half-turn (Friedel pairs)"] > 5
    assert scores["turn by 60°"] > 5
    assert abs(scores["turn by 120°"]) < 4
    assert found.operations[0].carrier.order == 3
    assert found.operations[0].broken


def test_a_difference_along_one_axis_keeps_that_mirror_only(rng):
    found = which(rng, np.where(make_modes().order == 1, 0.5, 0))
    assert mirrors(found)[0] < 4
    assert mirrors(found)[90] > 5


def test_the_axis_of_a_mirror_is_an_azimuth(rng):
    """A pattern symmetric about azimuth 37°: c_m has the phase -m 37°."""
    modes = make_modes()
    difference = np.where(modes.order > 0, 0.5, 0) * np.exp(-1j * modes.order * np.deg2rad(37))
    found = which(rng, difference)
    lines = [one for one in found.operations if one.operation.mirror]
    best = min(lines, key=lambda one: one.score)
    assert np.rad2deg(best.operation.angle_rad / 2) == pytest.approx(37, abs=1)
    assert best.name == "mirror, axis at 37°"
    assert len(lines) == MIRROR_AXES


def test_the_same_operations_can_be_tried_again(rng):
    difference = np.where(make_modes().order == 1, 0.5 + 0.2j, 0)
    first = which(rng, difference)
    again = which(rng, 1j * difference, like=first)
    assert [one.name for one in again.operations] == [one.name for one in first.operations]


def test_moved_modes_are_those_of_the_turned_and_mirrored_pattern():
    order = np.array([0, 1, 2, 3])
    values = np.array([1.0, 2j, 0.5, 1 + 1j])
    third = Operation(angle_rad=2 * np.pi / 3, mirror=False)
    line = Operation(angle_rad=0.8, mirror=True)
    thrice = values
    for _ in range(3):
        thrice = moved(thrice, order, third)
    np.testing.assert_allclose(thrice, values)
    np.testing.assert_allclose(moved(moved(values, order, line), order, line), values)


def test_noise_breaks_nothing(rng):
    found = which(rng, np.zeros(len(make_modes().order)))
    assert not any(one.broken for one in found.operations)


def test_noise_breaks_an_operation_as_rarely_as_stated(rng):
    """The largest mode and the sum of all, two looks: no more than one in a hundred at 2.33."""
    modes = make_modes()
    broken = broken_with(rng, modes, np.zeros(len(modes.order)))
    found = [which_operation(broken, modes, np.array([row])).operations[:4] for row in range(N)]
    scores = np.array([[one.score for one in row] for row in found])
    assert np.mean(scores > 2.33) < 0.02


def test_a_pattern_is_judged_by_the_tests_of_the_point_group(rng):
    """One wave of order 4, far above the noise: quarter turns are kept, thirds are not."""
    modes = make_modes()
    waves = np.flatnonzero(modes.order > 0)
    values = complex_normal(rng, (1, len(waves))) + 12 * (modes.order[waves] == 4)
    one = Components(
        values=values,
        variance=np.ones(values.shape),
        order=modes.order[waves],
        weight=np.ones(len(waves)),
    )
    fine = np.zeros(len(modes.order), complex)
    fine[waves] = values[0]
    found = pattern_operations(one, fine, modes)
    by_name = {one.name: one for one in found.operations}
    assert not by_name["half-turn (Friedel pairs)"].broken
    assert not by_name["turn by 90°"].broken
    assert by_name["turn by 120°"].broken
    assert by_name["turn by 120°"].carrier.order == 4
    assert by_name["turn by 90°"].correlation > 0.9
    assert by_name["turn by 120°"].correlation < 0


def test_pooling_patterns_averages_signal_and_noise(rng):
    order = np.arange(1, 9)
    values = 3 + complex_normal(rng, (50, 8))
    values[7] = np.nan
    many = Components(values=values, variance=np.ones(values.shape), order=order, weight=np.ones(8))
    pooled = many.pooled()
    np.testing.assert_allclose(pooled.values[0], np.nanmean(values, axis=0))
    np.testing.assert_allclose(pooled.variance, 1 / 49)
    silent = Components(values=values - 3, variance=np.ones(values.shape), order=order, weight=np.ones(8))
    assert abs(silent.pooled().energy().sum()) < 5 * np.sqrt(silent.pooled().energy_variance().sum())


def test_the_strongest_mode_is_named(rng):
    modes = make_modes()
    difference = np.zeros(len(modes.order))
    difference[9] = 0.6
    found = which_operation(broken_with(rng, modes, difference), modes, np.arange(N))
    assert found.strongest() == 9
    assert found.energy[9] > 20
    assert found.ring[9] == pytest.approx(np.flatnonzero(modes.vectors[9])[0], abs=1e-6)


def test_a_region_without_scores_is_refused(rng):
    modes = make_modes()
    with pytest.raises(OptionError, match="region"):
        which_operation(broken_with(rng, modes, np.zeros(len(modes.order))), modes, np.zeros(N, bool))


def test_a_turn_is_kept_only_where_its_powers_are(rng):
    """Order 3 breaks the half-turn; the quarter turn, whose square it is, is broken as well."""
    modes = make_modes()
    waves = np.flatnonzero(modes.order > 0)
    values = complex_normal(rng, (1, len(waves))) + 12 * (modes.order[waves] == 4)
    values += 4 * (modes.order[waves] == 3)
    one = Components(
        values=values, variance=np.ones(values.shape), order=modes.order[waves], weight=np.ones(len(waves))
    )
    fine = np.zeros(len(modes.order), complex)
    fine[waves] = values[0]
    found = pattern_operations(one, fine, modes)
    half, quarter = (found.operations[i] for i in (0, 2))
    assert half.broken
    assert quarter.score >= half.score - 0.5  # for having looked at two
    verdict = whole_and_parts(found, one)
    assert verdict.looks == len(own_operations(found, PointGroup.from_name(verdict.name)))


def test_a_group_is_said_beside_its_weakest_operation(rng):
    found = which(rng, np.where(make_modes().order == 4, 0.5, 0))
    own = own_operations(found, PointGroup.from_name("D4"))
    assert [one.name for one in own[:2]] == ["half-turn (Friedel pairs)", "turn by 90°"]
    assert len(own) == 6
    weak = BrokenOperation(
        name="half-turn", operation=own[0].operation, score=4.0, carrier=Carrier(order=3, ring=1.0, z=3.0)
    )
    verdict = GroupVerdict(name="D4", p=0.014, weakest=weak, looks=6)
    assert verdict.at_odds
    for word in ("D4 (4mm)", "p = 0.014", "half-turn", "3.2e-05", "order 3"):
        assert word in verdict.sentence()
    assert "small tilt" not in GroupVerdict(name="D4", p=0.5, weakest=own[0], looks=6).sentence()
    assert "cannot be told" in GroupVerdict(name="", p=np.nan, weakest=None, looks=0).sentence()


def test_patterns_that_differ_each_in_its_own_way_are_judged_by_their_energy(rng):
    """Threefold differences of random phase: nothing is left of their mean."""
    modes = make_modes()
    broken = broken_with(rng, modes, np.zeros(len(modes.order)))
    near = np.zeros(N, bool)
    near[:40] = True
    phase = np.exp(1j * rng.uniform(0, 2 * np.pi, (40, 1)))
    broken.expected.residual[:40] += 2.0 * phase * (modes.order == 3) * broken.expected.phase[:40]
    alike = which_operation(broken, modes, near)
    found = which_of_single(broken, modes, near)
    assert not alike.operations[0].broken
    scores = turns(found)
    assert scores["half-turn (Friedel pairs)"] > 5
    assert abs(scores["turn by 120°"]) < 4
    assert found.operations[0].carrier.order == 3
    assert found.carrier.order == 3
    assert found.carrier.z > 3
    assert (
        np.abs(found.difference[modes.order == 3]).max()
        > 3 * np.abs(found.difference[modes.order != 3]).max()
    )
