"""Which operation a difference breaks: known differences, and noise alone."""

from __future__ import annotations

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.symmetry.broken import Broken
from orbistem.symmetry.coarse import CoarseModes, coarse_modes
from orbistem.symmetry.expected import Expected
from orbistem.symmetry.which import MIRROR_AXES, which_operation

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


def judged(rng: np.random.Generator, difference: np.ndarray) -> dict[str, float]:
    modes = make_modes()
    found = which_operation(broken_with(rng, modes, difference), modes, np.ones(N, bool))
    return {one.name: one.score for one in found.operations}


def test_a_threefold_difference_breaks_the_half_turn_and_keeps_the_third(rng):
    scores = judged(rng, np.where(make_modes().order == 3, 0.5, 0))
    assert scores["half-turn (Friedel pairs)"] > 5
    assert scores["turn by 60°"] > 5
    assert abs(scores["turn by 120°"]) < 4


def test_a_real_difference_keeps_the_mirror_at_zero_only(rng):
    scores = judged(rng, np.where(make_modes().order == 1, 0.5, 0))
    assert abs(scores["mirror, axis at 0°"]) < 4
    assert scores["mirror, axis at 90°"] > 5


def test_the_axis_of_a_mirror_is_an_azimuth(rng):
    """A pattern symmetric about azimuth 30°: c_m has the phase -m 30°."""
    modes = make_modes()
    difference = np.where(modes.order > 0, 0.5, 0) * np.exp(-1j * modes.order * np.pi / 6)
    scores = judged(rng, difference)
    mirrors = {name: score for name, score in scores.items() if name.startswith("mirror")}
    assert min(mirrors, key=mirrors.get) == "mirror, axis at 30°"
    assert len(mirrors) == MIRROR_AXES


def test_noise_breaks_nothing(rng):
    for score in judged(rng, np.zeros(len(make_modes().order))).values():
        assert abs(score) < 4


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
