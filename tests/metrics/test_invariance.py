import itertools

import numpy as np
import pytest

from orbistem.errors import ShapeError
from orbistem.metrics import fold_error, repeat_error, rotation_error, spread


def all_pairs(n):
    return np.array(list(itertools.combinations(range(n), 2)))


def test_all_pairs_of_different_positions_give_exactly_one(rng):
    z = rng.normal(size=(40, 3)) * [3.0, 1.0, 0.1]
    assert fold_error(z, all_pairs(40)) == pytest.approx(1.0, abs=1e-12)


def test_equal_positions_give_zero_and_scale_does_not_matter(rng):
    half = rng.normal(size=(30, 2))
    z = np.concatenate([half, half])
    pairs = np.stack([np.arange(30), np.arange(30) + 30], axis=1)
    assert fold_error(z, pairs) == 0.0
    noisy = z + 0.1 * rng.normal(size=z.shape)
    assert fold_error(7 * noisy + 5, pairs) == pytest.approx(fold_error(noisy, pairs))


def test_fold_error_by_hand():
    # positions 0, 2: variance 2, spread sqrt(2 * 2) = 2; their distance is 2
    assert fold_error(np.array([[0.0], [2.0]]), np.array([[0, 1]])) == pytest.approx(1.0)
    # 0, 0, 3, 3: variance 3, spread sqrt(6); distances 0 and 3: rms sqrt(4.5)
    z = np.array([[0.0], [0.0], [3.0], [3.0]])
    assert fold_error(z, np.array([[0, 1], [1, 2]])) == pytest.approx(np.sqrt(4.5 / 6))


def test_a_collapsed_latent_is_not_folded():
    assert np.isnan(fold_error(np.zeros((10, 2)), all_pairs(10)))


def test_unmeasured_positions_are_left_out(rng):
    z = rng.normal(size=(20, 2))
    holed = np.vstack([z, np.full((1, 2), np.nan)])
    pairs = all_pairs(20)
    assert fold_error(holed, np.vstack([pairs, [[0, 20]]])) == pytest.approx(fold_error(z, pairs))


def test_repeat_and_rotation_error_against_known_noise(rng):
    clean = rng.normal(size=(20000, 2))
    sd = 0.2
    draws = [clean + sd * rng.normal(size=clean.shape) for _ in range(2)]
    # |difference|² = 2 · 2 sd², spread² = 2 · 2 (1 + sd²)
    assert repeat_error(*draws) == pytest.approx(sd / np.sqrt(1 + sd**2), rel=0.03)
    assert rotation_error(clean, clean + 0.1) == pytest.approx(0.1 * np.sqrt(2) / spread(clean))


def test_wrong_shapes_are_refused(rng):
    with pytest.raises(ShapeError, match="latent_dim"):
        fold_error(np.zeros(5), np.zeros((1, 2), int))
    with pytest.raises(ShapeError, match="pairs"):
        fold_error(np.zeros((5, 1)), np.zeros(2, int))
    with pytest.raises(ShapeError, match="equal shapes"):
        repeat_error(np.zeros((5, 1)), np.zeros((5, 2)))
