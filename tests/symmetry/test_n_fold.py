"""Shares of n-fold energy: what the definition says, without the bias of the noise, with honest errors."""

import numpy as np
import pytest

from orbistem.symmetry import FOLDS, Components, n_fold
from orbistem.testing import complex_normal

ORDER = np.array([1, 2, 2, 3, 4, 6, 6, 8])
N = 4000


def noisy(rng, signal, *, weight=None):
    """N draws of a signal with unit noise in each part."""
    values = signal + complex_normal(rng, (N, len(ORDER)))
    weight = np.ones(len(ORDER)) if weight is None else weight
    return Components(values=values, variance=np.ones(values.shape), order=ORDER, weight=weight)


def exact(signal, weight):
    energy = weight * np.abs(signal) ** 2
    return np.array([energy[ORDER % n == 0].sum() for n in FOLDS]) / energy.sum()


def test_noise_has_no_bias_and_the_standard_error_is_right(rng):
    signal = 8 * complex_normal(rng, (len(ORDER),))
    weight = rng.uniform(0.3, 1, len(ORDER))
    found = n_fold(noisy(rng, signal, weight=weight))
    want = exact(signal, weight)
    spread = found.value.std(axis=0)
    assert np.all(np.abs(found.value.mean(axis=0) - want) < 5 * spread / np.sqrt(N) + 2e-3)
    np.testing.assert_allclose(np.sqrt(np.mean(found.sd**2, axis=0)), spread, rtol=0.06)


def test_noise_alone_has_no_share(rng):
    found = n_fold(noisy(rng, np.zeros(len(ORDER), complex)))
    assert np.isnan(found.value).all(axis=1).mean() > 0.98


@pytest.mark.parametrize("fold", FOLDS)
def test_a_perfect_n_fold_pattern_has_share_one(rng, fold):
    signal = 30 * complex_normal(rng, (len(ORDER),)) * (ORDER % fold == 0)
    found = n_fold(noisy(rng, signal))
    assert found.value[:, FOLDS.index(fold)].mean() > 0.99
