"""The point group: false alarms as rare as stated, claims only where there is something to see."""

import numpy as np
import pytest
from scipy.stats import binom

from orbistem.errors import OptionError
from orbistem.groups import POINT_GROUPS
from orbistem.harmonics.reduce import HarmonicsReduction
from orbistem.plan import Plan
from orbistem.symmetry import Components, component_basis, point_group
from orbistem.symmetry.energy_tests import EnergyTests
from orbistem.testing import complex_normal

DRAWS = 1000
NAMES = [group.name for group in POINT_GROUPS]
ORDER = np.sort(np.concatenate([np.arange(1, 13), np.arange(1, 13), np.arange(1, 7)]))


def symmetric(rng, group, *, strength):
    """Coefficients of a pattern with exactly this point group, turned by a random angle."""
    size = strength * rng.uniform(0.7, 1.3, len(ORDER))
    phase = rng.integers(0, 2, len(ORDER)) * np.pi if group.mirrors else rng.uniform(0, 2 * np.pi, len(ORDER))
    values = size * np.exp(1j * phase)
    return values * (ORDER % group.order == 0) * np.exp(-1j * ORDER * rng.uniform(0, 2 * np.pi))


def draws(rng, clean, n=DRAWS):
    values = clean + complex_normal(rng, (n, len(ORDER)))
    return Components(values=values, variance=np.ones(values.shape), order=ORDER, weight=np.ones(len(ORDER)))


def at_most(count, level, n=DRAWS):
    """Whether the 99 % binomial interval of a count contains, or lies below, the stated rate."""
    return count <= binom.ppf(0.995, n, level)


@pytest.mark.parametrize("group", POINT_GROUPS, ids=lambda group: group.name)
def test_the_group_is_found_and_rarely_given_up(rng, group):
    clean = symmetric(rng, group, strength=15)
    found = point_group(draws(rng, clean))
    assert np.mean(found.names == group.name) > 0.98
    p = found.p_all[:, NAMES.index(group.name)]
    for level in (0.05, 0.01, 0.001):
        assert at_most(np.sum(p < level), level)


def test_nothing_is_claimed_where_nothing_is_seen(rng):
    found = point_group(draws(rng, np.zeros(len(ORDER), complex)))
    assert np.mean(found.names == "") > 0.99
    assert np.isnan(found.p[found.names == ""]).all()


def test_one_wave_says_nothing_about_mirrors(rng):
    clean = np.zeros(len(ORDER), complex)
    clean[np.flatnonzero(ORDER == 2)[0]] = 40
    assert np.mean(point_group(draws(rng, clean)).names == "D2") < 0.1


def test_the_evidence_for_mirrors_is_fair(rng):
    """Uniform phases: the likelihood ratio has the mean 1, so it exceeds x at most once in x."""
    size = 6 * rng.uniform(0.3, 1.5, len(ORDER))
    values = size * np.exp(2j * np.pi * rng.random((DRAWS, len(ORDER))))
    weight = np.full(len(ORDER), 0.9)
    one = Components(values=values, variance=np.ones(values.shape), order=ORDER, weight=weight)
    evidence = EnergyTests(one).mirror_evidence(np.arange(DRAWS), 2)
    for log_odds in (0.5, 1.0, 2.0):
        assert at_most(np.sum(evidence > log_odds), np.exp(-log_odds))
    mirrored = Components(
        values=np.abs(values) * np.exp(-1j * ORDER * 0.4),
        variance=one.variance,
        order=ORDER,
        weight=weight,
    )
    assert np.all(EnergyTests(mirrored).mirror_evidence(np.arange(DRAWS), 2) > 5)


def test_single_turns_have_the_stated_rate(rng):
    group = POINT_GROUPS[NAMES.index("D4")]
    tests = EnergyTests(draws(rng, symmetric(rng, group, strength=15)))
    for order in (2, 4):
        for level in (0.05, 0.01, 0.001):
            assert at_most(np.sum(tests.turn(order) < level), level)
    assert np.all(tests.turn(3) < 1e-3)


def test_a_mirror_on_the_known_line_has_the_stated_rate(rng):
    line = 0.7
    clean = 15 * rng.uniform(0.7, 1.3, len(ORDER)) * np.exp(-1j * ORDER * line)
    tests = EnergyTests(draws(rng, clean))
    for level in (0.05, 0.01, 0.001):
        assert at_most(np.sum(tests.mirror(np.full(DRAWS, line)) < level), level)
    assert np.all(tests.mirror(np.full(DRAWS, line + 0.5)) < 1e-3)


def test_a_level_that_is_no_probability_is_refused(rng):
    with pytest.raises(OptionError, match="0\\.001"):
        point_group(draws(rng, np.zeros(len(ORDER), complex), n=2), level=2.0)


PX = 48


def threefold(rng, *, dose, depth):
    """Expected counts of a disk in a weak dark field, with threefold and mirror symmetric structure."""
    y, x = np.indices((PX, PX)) - (PX - 1) / 2
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    disk = 1 / (1 + np.exp((radius - 12) / 0.7))
    dark = 0.02 * np.exp(-((radius - 17) ** 2) / 30)
    structure = 1 + depth * np.exp(-((radius - 8) ** 2) / 12) * np.cos(3 * azimuth + rng.uniform(0, 6))
    pattern = disk * structure + (1 + 2 * depth * 3) * dark
    return dose * pattern / pattern.sum()


def scanned(rng, *, dose):
    """A plan and a basis from a scan of ever brighter sites, and draws of the brightest."""
    sites = [threefold(rng, dose=dose, depth=depth) for depth in np.linspace(0, 0.4, 9)]
    scan = rng.poisson(np.repeat(sites, 40, axis=0)).astype(np.uint32)
    plan = Plan(
        mean=scan.mean(axis=0), pixel_valid=np.ones((PX, PX), bool), centre_px=((PX - 1) / 2,) * 2, gain=1.0
    )
    reduction = HarmonicsReduction(plan)
    moments = reduction.finish(reduction.sums(plan.harmonics(scan)))
    basis = component_basis(plan, moments, static=np.zeros_like(moments.mean))
    counts = rng.poisson(sites[-1], (DRAWS, PX, PX)).astype(np.uint32)
    return basis.components(plan.harmonics(counts))


@pytest.mark.parametrize("dose", [1e4, 1e6])
def test_counts_of_a_bright_site_give_no_false_alarms(rng, dose):
    """A site that scatters more than the mean pattern into the dark field: its noise is its own."""
    found = point_group(scanned(rng, dose=dose))
    for group in ("C3", "D3"):
        for level in (0.05, 0.01, 0.001):
            assert at_most(np.sum(found.p_all[:, NAMES.index(group)] < level), level), (group, level)


def test_the_noise_level_of_a_pattern_is_its_own(rng):
    """Noise of every component as predicted from order 0, on average and against the draws."""
    found = scanned(rng, dose=1e5)
    drawn = (found.values.real.var(axis=0) + found.values.imag.var(axis=0)) / 2
    assert np.sum(drawn) == pytest.approx(np.sum(found.variance.mean(axis=0)), rel=0.03)
    assert np.sum(drawn) > 1.1 * len(drawn)  # louder than the mean pattern


def test_what_turns_settle_is_not_changed_by_the_mirrors(rng, monkeypatch):
    """Where turns alone give up a group, its mirrors are not asked: no verdict depends on it."""
    clean = np.concatenate([draws(rng, symmetric(rng, g, strength=6), 40).values for g in POINT_GROUPS])
    many = Components(values=clean, variance=np.ones(clean.shape), order=ORDER, weight=np.ones(len(ORDER)))
    found = point_group(many)
    monkeypatch.setattr("orbistem.symmetry.energy_tests.SETTLED", 0.0)
    plain = point_group(many)
    np.testing.assert_array_equal(found.code, plain.code)
    np.testing.assert_allclose(found.p_all, plain.p_all, atol=1e-6)
    assert np.sum(plain.p_all < 1e-6) > 100
