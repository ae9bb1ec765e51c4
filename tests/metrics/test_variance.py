import numpy as np
import pytest

from orbistem.errors import InputError, ShapeError
from orbistem.metrics import active_units, explained_variance, oracle, oracle_linear, posterior_mean


@pytest.fixture
def library(rng):
    """Twenty smooth patterns of 12 × 12 pixels, about 3,000 electrons each."""
    return 20 * (1.2 + rng.uniform(-1, 1, size=(20, 12, 12)))


def test_explained_variance_by_hand():
    true = np.array([[[1.0, 3.0]], [[3.0, 1.0]]])
    static = np.array([[2.0, 2.0]])
    weight = np.ones((1, 2))
    assert explained_variance(true, true, static, weight) == 1.0
    assert explained_variance(true, np.broadcast_to(static, true.shape), static, weight) == 0.0
    half = (true + static) / 2  # a quarter of the squares is left
    assert explained_variance(true, half, static, weight) == pytest.approx(0.75)
    # only the first pixel counts, and there the model is wrong by 1 in one of two patterns
    model = np.array([[[1.0, 9.0]], [[2.0, 9.0]]])
    assert explained_variance(true, model, static, np.array([[0.5, 0.0]])) == pytest.approx(0.5)


def test_positions_without_an_answer_are_left_out():
    true = np.array([[[1.0, 3.0]], [[3.0, 1.0]]])
    model = true.copy()
    model[1] = np.nan
    assert explained_variance(true, model, np.array([[2.0, 2.0]]), np.ones((1, 2))) == 1.0


def test_blocks_do_not_change_the_score(rng):
    true = rng.normal(size=(600, 4, 4))
    model = true + 0.5 * rng.normal(size=true.shape)
    weight = rng.uniform(0, 1, size=(4, 4))
    expected = 1 - ((true - model) ** 2 * weight).sum() / (true**2 * weight).sum()
    assert explained_variance(true, model, np.zeros((4, 4)), weight) == pytest.approx(expected, rel=1e-12)


def test_posterior_mean_by_hand():
    # two members, one pixel: Poisson 1 and 3; two counts: likelihood ratio (3/1)² e^{-2}
    odds = 9 * np.exp(-2.0)
    expected = (1 + 3 * odds) / (1 + odds)
    assert posterior_mean(np.array([[2]]), np.array([[1.0], [3.0]]))[0, 0] == pytest.approx(expected)


def test_posterior_mean_does_not_overflow_at_high_dose(rng):
    library = 1e6 * rng.uniform(0.5, 1.5, size=(5, 100))
    library[0, 0] = 0.0
    found = posterior_mean(rng.poisson(library), library)
    np.testing.assert_allclose(found, library)


def test_oracle_rises_with_dose_and_beats_any_other_answer(rng, library):
    scores = []
    for dose in (1e-3, 0.05, 1.0, 30.0):
        expected = dose * library
        static = expected.mean(axis=0)
        index = np.tile(np.arange(20), 20)
        counts = rng.poisson(expected[index])
        weight = np.full(static.shape, 1 / static.mean())
        score = oracle(counts, expected, index, static=static, weight=weight)
        scores.append(score)
        raw = explained_variance(expected[index], counts.astype(float), static, weight)
        assert score > raw
    assert scores == sorted(scores)
    assert scores[0] < 0.1
    assert scores[-1] == pytest.approx(1.0, abs=1e-9)


def test_linear_oracle_equals_the_exact_one_where_poisson_is_gaussian(rng, library):
    # nearly equal, bright patterns: Poisson noise is Gaussian with the variance of the mean pattern
    expected = 4000 + 2 * (library - library.mean())
    static = expected.mean(axis=0)
    index = np.tile(np.arange(20), 40)
    counts = rng.poisson(expected[index])
    weight = 1 / static

    def whiten(patterns):
        return ((patterns - static) * np.sqrt(weight)).reshape(len(patterns), -1)

    exact = oracle(counts, expected, index, static=static, weight=weight)
    linear = oracle_linear(whiten(counts), whiten(expected), expected, index, static=static, weight=weight)
    assert 0.1 < exact < 0.99
    assert linear == pytest.approx(exact, abs=0.02)


def test_a_complex_coefficient_has_two_degrees_of_freedom(rng, library):
    index = np.arange(20)
    real = rng.normal(size=(20, 6))
    paired = real[:, :3] + 1j * real[:, 3:]
    noisy = real + rng.normal(size=real.shape)
    kind = {"static": library.mean(axis=0), "weight": np.ones((12, 12))}
    assert oracle_linear(noisy, real, library, index, **kind) == pytest.approx(
        oracle_linear(noisy[:, :3] + 1j * noisy[:, 3:], paired, library, index, **kind)
    )


def test_invalid_pixels_have_no_say(rng, library):
    static = library.mean(axis=0)
    index = np.arange(20)
    counts = rng.poisson(library)
    weight = 1 / static
    weight[:3] = 0
    kind = {"static": static, "weight": weight}
    before = oracle(counts, library, index, **kind)
    counts[:, :3] = 60000
    assert oracle(counts, library, index, **kind) == before


def test_active_units_are_those_known_better_than_they_vary(rng):
    z = rng.normal(size=(500, 4)) * [1.0, 0.9, 0.05, 1.0]
    sd = np.broadcast_to([0.1, 0.3, 1.0, 0.8], z.shape).copy()
    assert active_units(z, sd) == 2
    z[3], sd[5] = np.nan, np.nan
    assert active_units(z, sd) == 2


def test_wrong_shapes_and_empty_masks_are_refused(library):
    static = library.mean(axis=0)
    with pytest.raises(ShapeError, match="one detector"):
        explained_variance(library, library[:, :-1], static, static)
    with pytest.raises(InputError, match="mask"):
        explained_variance(library, library, static, np.zeros_like(static))
    with pytest.raises(ShapeError, match="truth_index"):
        oracle(library, library, np.arange(3), static=static, weight=static)
