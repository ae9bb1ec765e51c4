"""`broken`: a defect stands out, a perfect crystal does not, and scores are standard normal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from orbistem.errors import OptionError, ShapeError
from orbistem.pipeline.broken import modes_of
from orbistem.plan import Plan
from orbistem.symmetry.broken import MIN_PERIODS, BrokenOptions, find_broken
from orbistem.symmetry.calibration import (
    MaximumLaw,
    chi_square_score,
    discoveries,
    normal_ranks,
    standardise,
    unskewed,
)
from orbistem.symmetry.coarse import CoarseModes, coarse_modes
from orbistem.symmetry.expected import expect
from orbistem.symmetry.lattice import expect_on_lattice, find_lattice
from orbistem.symmetry.pooling import Layout, Pool, correlation_length

RINGS, ORDERS, SIDE = 6, 5, 40
RECIPROCAL = np.array([[0.11, 0.03], [-0.02, 0.13]])  # cycles per step
DEFECT = (20.0, 20.0)
SCORE_ATOL = 0.02  # single precision, before probabilities of the tail become deviates


def make_modes() -> CoarseModes:
    noise = np.repeat(np.eye(RINGS)[None], ORDERS, axis=0)
    profile = np.array([9.0, 9, 9, 1, 1, 1])
    return coarse_modes(noise, np.ones((RINGS, ORDERS), bool), ring_level=None, profile=profile, n_rings=3)


def noise_of(rng: np.random.Generator, n: int) -> np.ndarray:
    drawn = rng.standard_normal((n, RINGS, ORDERS)) + 1j * rng.standard_normal((n, RINGS, ORDERS))
    drawn[:, :, 0] = drawn[:, :, 0].real
    return drawn.astype(np.complex64)


def crystal(rng: np.random.Generator, *, size: float) -> np.ndarray:
    """Harmonics (n, ring, order) of a perfect crystal, without noise."""
    y, x = np.divmod(np.arange(SIDE * SIDE), SIDE)
    wave = np.exp(2j * np.pi * np.stack([y, x], axis=1) @ RECIPROCAL.T)
    wave = np.concatenate([wave, wave[:, :1] * wave[:, 1:]], axis=1)
    shape = (3, RINGS, ORDERS)
    forth = size * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    back = size * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    back[..., 0] = forth[..., 0].conj()
    return np.einsum("nw,wjm->njm", wave, forth) + np.einsum("nw,wjm->njm", wave.conj(), back)


def distance() -> np.ndarray:
    y, x = np.divmod(np.arange(SIDE * SIDE), SIDE)
    return np.hypot(y - DEFECT[0], x - DEFECT[1])


def judged(harmonics: np.ndarray, rng: np.random.Generator, **changes: object):
    return find_broken(
        harmonics,
        make_modes(),
        latent=None,
        angle=None,
        reference=np.ones(len(harmonics), bool),
        layout=Layout.grid((SIDE, SIDE)),
        rng=rng,
        options=BrokenOptions(**changes),
    )


def test_a_defect_stands_out(rng):
    clean = crystal(rng, size=0.5)
    bump = np.exp(-0.5 * (distance() / 3) ** 2)[:, None, None] * np.ones((RINGS, ORDERS)) * 0.6
    found = judged((clean + bump + noise_of(rng, SIDE**2)).astype(np.complex64), rng)
    assert not found.expected.from_own_pattern  # the lattice was found
    assert found.score[distance() < 3].min() > found.score[distance() > 15].max()
    assert found.found[distance() < 3].all()
    assert np.isfinite(found.threshold)


@settings(max_examples=3, deadline=None, phases=(Phase.explicit, Phase.generate))  # seconds each
@given(st.integers(0, 2**32 - 1), st.floats(0, 2 * np.pi), st.booleans())
def test_scores_do_not_change_when_all_patterns_turn_or_are_mirrored(seed, angle, mirrored):
    rng = np.random.default_rng(seed)
    bump = np.exp(-0.5 * (distance() / 3) ** 2)[:, None, None] * np.ones((RINGS, ORDERS)) * 0.3
    seen = (crystal(rng, size=0.5) + bump + noise_of(rng, SIDE**2)).astype(np.complex64)
    turned = (seen.conj() if mirrored else seen) * np.exp(-1j * angle * np.arange(ORDERS))
    before = judged(seen, np.random.default_rng(1))
    after = judged(turned.astype(np.complex64), np.random.default_rng(1))
    np.testing.assert_allclose(after.score, before.score, atol=SCORE_ATOL)
    np.testing.assert_allclose(after.widths, before.widths, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e4), st.integers(0, 2**32 - 1))
def test_what_scores_read_does_not_change_with_the_intensity(gain, seed):
    """A file in other units holds the same electrons, once its gain is known: the same whitened harmonics."""
    counts = np.random.default_rng(seed).poisson(3.0, (6, 16, 16))

    def harmonics(gain):
        seen = counts * gain
        every = np.ones((16, 16), bool)
        plan = Plan(mean=seen.mean(axis=0) / gain, pixel_valid=every, centre_px=(7.5, 7.5), gain=gain)
        return plan.harmonics(seen)

    np.testing.assert_allclose(harmonics(gain), harmonics(1.0), atol=1e-4)


def test_a_vacancy_of_scattering_stands_out(rng):
    """Less of order 0 outside the bright disc only."""
    clean = crystal(rng, size=0.5)
    clean[:, 3:, 0] -= 0.8 * np.exp(-0.5 * (distance() / 3) ** 2)[:, None]
    found = judged((clean + noise_of(rng, SIDE**2)).astype(np.complex64), rng)
    assert found.score[distance() < 2].min() > found.score[distance() > 15].max()


def test_a_perfect_crystal_scores_standard_normal(rng):
    clean, scores, any_found = crystal(rng, size=0.5), [], 0
    for _ in range(4):
        found = judged((clean + noise_of(rng, SIDE**2)).astype(np.complex64), rng)
        table = found.score.reshape(SIDE, SIDE)
        step = int(np.ceil(3 * max(found.widths)))
        scores.append(table[step // 4 :: step, step // 4 :: step].ravel())
        any_found += bool(found.found.any())
    assert kstest(np.concatenate(scores), "norm").pvalue > 1e-3
    assert any_found <= 1  # 5 % each


def test_the_threshold_finds_the_discoveries_in_what_is_stored(rng):
    clean = crystal(rng, size=0.5)
    bump = np.exp(-0.5 * (distance() / 3) ** 2)[:, None, None] * np.ones((RINGS, ORDERS)) * 0.3
    found = judged((clean + bump + noise_of(rng, SIDE**2)).astype(np.complex64), rng)
    assert found.score.dtype == np.float32
    np.testing.assert_array_equal(found.score >= np.float64(found.threshold), found.found)
    name, width = found.carrier(int(np.argmax(found.score)))
    assert f"{name}, width {width:.3g}" == found.names[int(np.argmax(found.parts[np.argmax(found.score)]))]


def null_counts(rng: np.random.Generator, electrons: float, side: int) -> np.ndarray:
    """Nothing but shot noise of a disk over a faint background."""
    y, x = np.indices((32, 32)) - 15.5
    mean = 1 / (1 + np.exp((np.hypot(y, x) - 9) / 0.5)) + 0.01
    return rng.poisson(electrons * mean / mean.sum(), (side**2, 32, 32))


def score_counts(counts: np.ndarray, seed: int, side: int):
    plan = Plan(
        mean=counts.mean(axis=0), pixel_valid=np.ones((32, 32), bool), centre_px=(15.5, 15.5), gain=1.0
    )
    harmonics = plan.harmonics(counts)
    harmonics[:, :, 0] -= harmonics[:, :, 0].mean(axis=0)
    return find_broken(
        harmonics,
        modes_of(plan, BrokenOptions()),
        latent=None,
        angle=None,
        reference=np.ones(side**2, bool),
        layout=Layout.grid((side, side)),
        rng=np.random.default_rng(seed),
    )


@pytest.mark.parametrize("electrons", [20, 1000])
def test_shot_noise_of_few_electrons_breaks_nothing(rng, electrons):
    """Pooled over a good part of a small scan: what the mean takes, and Poisson's tails, are allowed for."""
    found = [score_counts(null_counts(rng, electrons, 16), seed, 16) for seed in range(3)]
    assert sum(bool(one.found.any()) for one in found) <= 1  # one in twenty each: more, once in 140
    assert all(np.isfinite(one.score).all() for one in found)


def test_patterns_turned_at_random_have_no_lattice_and_break_nothing(rng):
    """Each differs from their mean, none more than the others do."""
    side = 20
    differ = np.zeros((side**2, RINGS, ORDERS), complex)
    differ[:, :, 3] = 2.0 * np.exp(1j * rng.uniform(0, 2 * np.pi, (side**2, 1)))
    modes, layout = make_modes(), Layout.grid((side, side))
    found = []
    for seed in range(4):
        drawn = rng.standard_normal((2, side**2, RINGS, ORDERS))
        harmonics = differ + drawn[0] + 1j * drawn[1] * (np.arange(ORDERS) > 0)
        found.append(
            find_broken(
                harmonics.astype(np.complex64),
                modes,
                latent=None,
                angle=None,
                reference=np.ones(side**2, bool),
                layout=layout,
                rng=np.random.default_rng(seed),
            )
        )
    assert all(one.expected.of_one_mean for one in found)
    assert sum(bool(one.found.any()) for one in found) <= 1


def test_cumulants_of_few_electrons(rng):
    """Sums of squares of pooled modes have the mean, variance and skewness that are stated."""
    counts = null_counts(rng, 20, 100)
    plan = Plan(
        mean=counts.mean(axis=0), pixel_valid=np.ones((32, 32), bool), centre_px=(15.5, 15.5), gain=1.0
    )
    modes = modes_of(plan, BrokenOptions())
    harmonics = plan.harmonics(counts)
    harmonics[:, :, 0] -= harmonics[:, :, 0].mean(axis=0)
    energy = np.sum(np.abs(modes.of(harmonics)) ** 2, axis=1)
    freedom = modes.freedoms.sum()
    assert energy.mean() == pytest.approx(freedom, rel=0.03)
    assert energy.var() == pytest.approx(2 * freedom + modes.cumulants.fourth.sum(), rel=0.15)
    assert modes.cumulants.fourth.sum() > 2 * freedom  # at 20 electrons most of the variance is Poisson's
    mass = harmonics[:, :, 0].real @ modes.mass[-1]
    assert np.mean(mass**3) == pytest.approx(modes.cumulants.mass_third[-1], rel=0.15)


def test_skewed_scores_become_normal(rng):
    drawn = (rng.gamma(16.0, size=20_000) - 16) / 4  # skewness 1/2
    assert kstest(unskewed(drawn, np.full(len(drawn), 0.5)), "norm").statistic < 0.01
    assert kstest(unskewed(-drawn, np.full(len(drawn), -0.5)), "norm").statistic < 0.01
    np.testing.assert_array_equal(unskewed(drawn, np.zeros(len(drawn))), drawn)


def test_noise_that_the_mean_takes_away_is_known(rng):
    """Pools as wide as the scan, some positions outside the reference."""
    layout, n = Layout.grid((12, 12)), 144
    reference = np.arange(n) < 100
    pool = Pool(layout, 3.0)
    drawn = []
    for _ in range(600):
        found = expect(
            rng.standard_normal((n, 1)).astype(complex),
            np.array([0]),
            np.zeros((n, RINGS)),
            latent=None,
            angle=None,
            reference=reference,
            layout=layout,
            apart=3.0,
            neighbours=80,
        )
        drawn.append(pool.mean(found.residual.real)[:, 0])
    stated = pool.variance(np.ones((n, 1)))[:, 0] * found.left(pool)
    assert found.of_one_mean
    np.testing.assert_allclose(np.var(drawn, axis=0), stated, rtol=0.35)
    assert np.mean(np.var(drawn, axis=0) / stated) == pytest.approx(1, rel=0.05)
    assert stated[:50].mean() < stated[-20:].mean() / 2  # outside, the mean adds noise


def test_a_scan_of_one_cell_has_no_lattice(rng):
    """Its second harmonic is no lattice of the scan."""
    y, x = np.divmod(np.arange(SIDE**2), SIDE)

    def seen(periods):
        wave = sum(
            size * np.cos(2 * np.pi * periods * k * at / SIDE + k)
            for at in (y, x)
            for k, size in ((1, 2.0), (2, 1.0), (3, 0.5))
        )
        harmonics = wave[:, None, None] * np.ones((RINGS, ORDERS)) + noise_of(rng, SIDE**2)
        return judged(harmonics.astype(np.complex64), rng)

    one, four = seen(1), seen(4)
    assert four.periods == pytest.approx(4, rel=0.02)
    assert not four.expected.from_own_pattern
    assert one.expected.of_one_mean
    assert not one.periods >= MIN_PERIODS


def test_unusable_positions_have_no_score(rng):
    harmonics = (crystal(rng, size=0.5) + noise_of(rng, SIDE**2)).astype(np.complex64)
    harmonics[7] = np.nan
    found = judged(harmonics, rng)
    assert np.isnan(found.score[7])
    assert np.isfinite(np.delete(found.score, 7)).all()


def test_too_few_reference_positions_is_said(rng):
    harmonics = noise_of(rng, SIDE**2)
    reference = np.zeros(SIDE**2, bool)
    reference[:20] = True
    found = find_broken(
        harmonics,
        make_modes(),
        latent=None,
        angle=None,
        reference=reference,
        layout=Layout.grid((SIDE, SIDE)),
        rng=rng,
    )
    assert "at least 100" in found.problem
    assert "got 20" in found.problem
    assert "--reference" in found.problem
    assert np.isnan(found.score).all()


def test_shapes_are_checked(rng):
    with pytest.raises(ShapeError):
        find_broken(
            noise_of(rng, 4),
            make_modes(),
            latent=None,
            angle=None,
            reference=np.ones(3, bool),
            layout=Layout.grid((2, 2)),
            rng=rng,
        )
    with pytest.raises(OptionError):
        BrokenOptions(widths=())
    with pytest.raises(OptionError):
        BrokenOptions(rate=0.0)


@pytest.mark.parametrize("size", [0.5, 30.0])  # strong waves: their frequencies must be known the better
def test_the_lattice_is_found_and_leaves_noise(rng, size):
    modes, layout = make_modes(), Layout.grid((SIDE, SIDE))
    harmonics = (crystal(rng, size=size) + noise_of(rng, SIDE**2)).astype(np.complex64)
    values, everywhere = modes.of(harmonics), np.ones(SIDE**2, bool)
    freedoms = float(modes.freedoms.sum())
    lattice = find_lattice(values, layout, everywhere, noise=freedoms, freedoms=freedoms)
    coordinates = RECIPROCAL @ np.linalg.inv(lattice.reciprocal)  # the same lattice: whole numbers, det ±1
    assert np.allclose(coordinates, np.round(coordinates), atol=0.02)
    assert abs(abs(np.linalg.det(np.round(coordinates))) - 1) < 1e-9
    left = expect_on_lattice(
        lattice,
        values,
        modes.order,
        harmonics[:, :, 0].real.astype(float),
        angle=None,
        reference=everywhere,
        layout=layout,
    ).residual
    assert np.sum(np.abs(left) ** 2, axis=1).mean() == pytest.approx(freedoms, rel=0.03)


def lattice_of(clean: np.ndarray, rng: np.random.Generator):
    modes = make_modes()
    values = modes.of((clean + noise_of(rng, SIDE**2)).astype(np.complex64))
    freedoms = float(modes.freedoms.sum())
    everywhere = np.ones(SIDE**2, bool)
    return find_lattice(values, Layout.grid((SIDE, SIDE)), everywhere, noise=freedoms, freedoms=freedoms)


def test_weak_waves_between_strong_ones_make_the_cell_larger(rng):
    """The halves of a centred cell that differ a little; a defect, however strong, is no such thing."""
    clean = crystal(rng, size=1.5)
    bump = 3 * np.exp(-0.5 * (distance() / 3) ** 2)[:, None, None] * np.ones((RINGS, ORDERS))
    cell = abs(np.linalg.det(RECIPROCAL))
    assert abs(np.linalg.det(lattice_of(clean + bump, rng).reciprocal)) == pytest.approx(cell, rel=1e-2)
    y, x = np.divmod(np.arange(SIDE * SIDE), SIDE)
    between = np.cos(2 * np.pi * np.stack([y, x], axis=1) @ RECIPROCAL.sum(axis=0) / 2)
    weak = 0.4 * between[:, None, None] * np.ones((RINGS, ORDERS))
    found = lattice_of(clean + bump + weak, rng)
    assert abs(np.linalg.det(found.reciprocal)) == pytest.approx(cell / 2, rel=1e-2)


def test_waves_of_two_steps_count_once(rng):
    """A cell of four steps: its second order alternates from step to step, and is its own negative."""
    y, x = np.divmod(np.arange(SIDE * SIDE), SIDE)
    waves = (np.cos(np.pi / 2 * y), np.cos(np.pi / 2 * x), np.cos(np.pi * y), np.cos(np.pi * (x + y)))
    clean = sum(wave[:, None, None] * np.ones((RINGS, ORDERS)) for wave in waves)
    found = lattice_of(clean, rng)
    frequency = np.abs(found.waves @ found.reciprocal)
    rim = np.round(frequency[(frequency > 0.49).any(axis=1)] * 2)
    assert sorted(map(tuple, rim.astype(int).tolist())) == [(1, 0), (1, 1)]


def test_a_shift_of_the_centre_of_mass_stands_out(rng):
    modes = make_modes()
    assert np.linalg.norm(modes.shift) == pytest.approx(1)
    assert not modes.shift[modes.order != 1].any()
    clean = crystal(rng, size=0.5)
    away = np.exp(-0.5 * (distance() / 3) ** 2)
    clean[:, :3, 1] += 0.8 * away[:, None]  # on the bright disc
    found = judged((clean + noise_of(rng, SIDE**2)).astype(np.complex64), rng)
    best = found.names[int(np.argmax(found.parts[int(np.argmin(distance()))]))]
    assert best.startswith("centre of mass")
    assert found.score[distance() < 2].min() > found.score[distance() > 15].max()


def test_noise_has_no_lattice(rng):
    modes = make_modes()
    freedoms = float(modes.freedoms.sum())
    values = modes.of(noise_of(rng, SIDE**2))
    layout = Layout.grid((SIDE, SIDE))
    assert find_lattice(values, layout, np.ones(SIDE**2, bool), noise=freedoms, freedoms=freedoms) is None


def test_positions_of_equal_latents_explain_each_other(rng):
    """One kind of site, turned anyhow, over a static background: only noise is left."""
    modes, n = make_modes(), SIDE**2
    latent, angle = rng.uniform(-3, 3, (n, 1)), rng.uniform(0, 2 * np.pi, n)
    shape = rng.standard_normal((2, len(modes.order)))
    own = shape[0] + latent * shape[1]
    static = np.where(modes.order > 0, 3.0 + 1j, 0)
    drawn = modes.of(noise_of(rng, n))
    values = own * np.exp(-1j * modes.order * angle[:, None]) + static + drawn
    found = expect(
        values,
        modes.order,
        np.zeros((n, RINGS)),
        latent=latent,
        angle=angle,
        reference=np.ones(n, bool),
        layout=Layout.grid((SIDE, SIDE)),
        apart=3.0,
        neighbours=80,
    )
    energy = np.sum(np.abs(found.residual) ** 2, axis=1).mean()
    assert energy == pytest.approx(modes.freedoms.sum(), rel=0.06)


def test_pooled_noise_is_known(rng):
    usable = rng.random(30 * 20) > 0.2
    pool = Pool(Layout.grid((30, 20), steps=(0.5, 0.7), usable=usable), 1.1)
    drawn = np.stack([pool.mean(rng.standard_normal((600, 1)))[:, 0] for _ in range(400)])
    stated = pool.variance(np.ones((600, 1)))[:, 0]
    assert np.mean(drawn.var(axis=0) / stated) == pytest.approx(1, rel=0.05)
    assert np.allclose(pool.mean(np.ones((600, 1))), 1)


def test_pooling_on_a_list_equals_pooling_on_a_grid_inside(rng):
    grid = Layout.grid((24, 24))
    loose = Layout(positions=grid.positions, usable=grid.usable)
    values = rng.standard_normal((576, 2))
    inside = np.zeros((24, 24), bool)
    inside[8:16, 8:16] = True
    both = [Pool(layout, 1.5).mean(values)[inside.ravel()] for layout in (grid, loose)]
    assert np.allclose(*both, atol=2e-3)  # the list ends at a circle, the grid at a square


def test_correlation_length_of_a_wave(rng):
    """cos falls to a half after a sixth of its period."""
    y, x = np.divmod(np.arange(3600), 60)
    values = np.stack([np.exp(2j * np.pi * y / 18), np.exp(2j * np.pi * x / 18)], axis=1)
    length = correlation_length(values, Layout.grid((60, 60)), noise=0.0)
    assert 3.0 <= length <= 4.0  # one of two waves changes: cut at LONGEST_STEPS


def test_scores_of_chi_square_are_standard_normal(rng):
    drawn = rng.chisquare(20, 20_000) * 3
    score = chi_square_score(drawn, np.array(60.0), np.array(9 * 40.0))
    assert kstest(score, "norm").statistic < 0.02


def test_standardise_keeps_what_chance_explains(rng):
    score = rng.standard_normal(400)
    assert np.array_equal(standardise(score, np.ones(400, bool), independent=400.0), score)
    wide = standardise(4 * score + 3, np.ones(400, bool), independent=400.0)
    assert abs(np.median(wide)) < 1e-9
    assert 0.8 < wide.std() < 1.2


def test_the_law_of_the_maximum(rng):
    law = MaximumLaw(drawn=rng.standard_normal((60_000, 5)).max(axis=1))
    score = law.score(rng.standard_normal((5000, 5)).max(axis=1))
    assert kstest(score, "norm").statistic < 0.03
    assert np.isnan(law.score(np.array([np.nan])))[0]
    assert np.all(np.diff(law.score(np.linspace(-2, 50, 200))) >= 0)


def test_discoveries_of_nothing_and_of_something(rng):
    flags, threshold = discoveries(np.array([np.nan, -1.0, 0.0]), rate=0.05)
    assert not flags.any()
    assert np.isinf(threshold)
    score = np.concatenate([rng.standard_normal(900), np.full(100, 6.0)])
    flags, threshold = discoveries(score, rate=0.05)
    assert flags[-100:].all()
    assert flags[:900].sum() <= 20
    assert threshold <= 6


def test_ranks_are_normal_whatever_the_tails(rng):
    heavy = rng.standard_cauchy(4000)
    assert kstest(normal_ranks(heavy, np.ones(4000, bool)), "norm").statistic < 0.01
    above = normal_ranks(np.array([*heavy, 1e9]), np.array([True] * 4000 + [False]))
    assert above[-1] > above[:-1].max()


def test_angles_read_off_the_noise_do_not_spoil_the_lattice(rng):
    """Angles that follow each pattern's own noise: the scores stay those of a perfect crystal."""
    harmonics = (crystal(rng, size=0.5) + noise_of(rng, SIDE**2)).astype(np.complex64)
    found = find_broken(
        harmonics,
        make_modes(),
        latent=rng.standard_normal((SIDE**2, 1)),
        angle=np.angle(harmonics[:, 0, 1]),
        reference=np.ones(SIDE**2, bool),
        layout=Layout.grid((SIDE, SIDE)),
        rng=rng,
    )
    assert not found.expected.from_own_pattern
    assert abs(found.score.mean()) < 0.8
    assert not any("own frame" in name for name in found.names)
