"""Classes of sites: as many as there are, the same for every turn; what members share is their template."""

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.symmetry.classes import ClassMeans, ClassOptions, find_classes, upright
from orbistem.symmetry.components import Components
from orbistem.symmetry.point_group import point_group
from orbistem.testing import complex_normal

CENTRES = np.array([[0.0, 0, 0], [20, 0, 0], [0, 15, 5], [-15, -15, 0]])
ORDER = np.sort(np.concatenate([np.arange(1, 13), np.arange(1, 13), np.arange(1, 7)]))


def clustered(rng, counts=(90, 60, 40, 25)):
    site = rng.permutation(np.repeat(np.arange(4), counts))
    return CENTRES[site] + rng.normal(size=(len(site), 3)) * [1.0, 1.5, 1.0], site


def test_as_many_classes_as_there_are(rng):
    latent, site = clustered(rng)
    usable = np.ones(len(site), bool)
    usable[::17] = False
    found = find_classes(latent, usable, options=ClassOptions(auto=True, most=7), rng=rng)
    assert len(found) == 4
    assert found.problem is None
    assert len(found.tried) == 7
    np.testing.assert_array_equal(found.label[usable], site[usable])  # both are in order of frequency
    np.testing.assert_array_equal(found.label[~usable], -1)
    assert np.isnan(found.probability[~usable]).all()
    np.testing.assert_allclose(found.probability[usable].sum(axis=1), 1)
    np.testing.assert_allclose(found.centre, CENTRES, atol=1.0)


def test_noise_alone_is_one_class(rng):
    latent = rng.normal(size=(300, 2))
    found = find_classes(latent, np.ones(300, bool), options=ClassOptions(auto=True, most=4), rng=rng)
    assert len(found) == 1


def test_a_given_number_is_kept(rng):
    latent, site = clustered(rng)
    found = find_classes(latent, np.ones(len(site), bool), options=ClassOptions(number=2), rng=rng)
    assert len(found) == 2
    assert found.tried == ()


def test_what_cannot_be_sorted_is_said(rng):
    for latent in (np.zeros((100, 0)), np.full((100, 2), np.nan)):
        found = find_classes(latent, np.ones(100, bool), options=ClassOptions(auto=True), rng=rng)
        assert len(found) == 0
        assert "No classes" in found.problem
        assert np.all(found.label == -1)
        assert found.probability.shape == (100, 0)


@pytest.mark.parametrize("wrong", [{"number": 0}, {"number": 2, "auto": True}, {"most": 1000}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(OptionError, match="classes"):
        ClassOptions(**wrong)


def scattered(rng, template, *, n=200, width=0.0):
    """Turned and mirrored copies of a template with noise; `width`: what members differ by beyond noise."""
    angle, mirrored = rng.uniform(0, 2 * np.pi, n), rng.random(n) < 0.5
    own = template + width * complex_normal(rng, (n, len(ORDER)))
    seen = np.where(mirrored[:, None], own.conj(), own) * np.exp(-1j * angle[:, None] * ORDER)
    seen = seen + complex_normal(rng, seen.shape)
    components = Components(
        values=seen, variance=np.ones(seen.shape), order=ORDER, weight=np.ones(len(ORDER))
    )
    return components, angle, mirrored


def part_of(components, rows):
    return Components(
        values=components.values[rows],
        variance=components.variance[rows],
        order=components.order,
        weight=components.weight,
    )


def mean_of(components, angle, mirrored, weight=None, cuts=()):
    weight = np.ones((len(angle), 1)) if weight is None else weight
    means = ClassMeans(weight.shape[1], ORDER)
    for rows in np.split(np.arange(len(angle)), cuts):
        means.add(part_of(components, rows), angle=angle[rows], mirrored=mirrored[rows], weight=weight[rows])
    return means


def test_turned_and_mirrored_copies_have_their_template_for_mean(rng):
    template = 10 * complex_normal(rng, (len(ORDER),))
    components, angle, mirrored = scattered(rng, template)
    back = upright(components.values, ORDER, angle=angle, mirrored=mirrored)
    mean = mean_of(components, angle, mirrored).of(0)
    np.testing.assert_allclose(mean.components.values[0], back.mean(axis=0))
    assert mean.effective == pytest.approx(len(angle))
    error = np.abs(mean.components.values[0] - template) ** 2 / 2
    assert np.mean(error) == pytest.approx(1 / len(angle), rel=0.5)
    assert np.all(mean.components.variance[0] < 0.5)


def test_blocks_add_up(rng):
    components, angle, mirrored = scattered(rng, 10 * complex_normal(rng, (len(ORDER),)))
    weight = rng.random((len(angle), 2)) * (rng.random((len(angle), 2)) < 0.7)
    whole = mean_of(components, angle, mirrored, weight)
    parts = mean_of(components, angle, mirrored, weight, cuts=(13, 150))
    for c in range(2):
        one, other = whole.of(c), parts.of(c)
        for name in ("values", "variance", "spread"):
            np.testing.assert_allclose(getattr(one.components, name), getattr(other.components, name))
        assert one.effective == pytest.approx(other.effective)


def test_a_class_without_members_has_no_mean(rng):
    components, angle, mirrored = scattered(rng, np.zeros(len(ORDER), complex), n=5)
    means = mean_of(components, angle, mirrored, np.zeros((5, 1)))
    assert means.of(0) is None


def threefold(rng):
    phase = rng.integers(0, 2, len(ORDER)) * np.pi
    return 15 * np.exp(1j * phase) * (ORDER % 3 == 0)


@pytest.mark.parametrize("width", [0.0, 2.0])
def test_the_point_group_of_the_mean_is_that_of_the_template(rng, width):
    """Also where members differ by more than the noise: what they differ by is no symmetry broken by all."""
    wanted = 0
    for _ in range(20):
        found = point_group(mean_of(*scattered(rng, threefold(rng), width=width)).of(0).components)
        wanted += found.names[0] == "D3"
    assert wanted >= 19


def test_many_patterns_show_a_symmetry_broken_below_the_noise_of_one(rng):
    single = whole = 0
    for _ in range(20):
        template = threefold(rng) + 0.5 * complex_normal(rng, (len(ORDER),)) * (ORDER % 3 != 0)
        components, angle, mirrored = scattered(rng, template, n=1000)
        single += point_group(part_of(components, slice(0, 1))).names[0] == "D3"
        mean = mean_of(components, angle, mirrored).of(0)
        whole += point_group(mean.components).names[0] in ("C1", "D1", "")
    assert single >= 15
    assert whole >= 19
