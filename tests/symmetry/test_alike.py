"""Groups of few patterns: found whatever the angles, and none where there are none."""

import numpy as np
import pytest

from orbistem.errors import ShapeError
from orbistem.symmetry.alike import alike, group_alike

RINGS, ORDERS = 6, 9
NOISE = np.broadcast_to(np.eye(RINGS), (ORDERS, RINGS, RINGS))


def complex_normal(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def turned(template, angles):
    return template * np.exp(-1j * np.arange(ORDERS) * np.asarray(angles)[:, None, None])


def grains(rng, sizes, signal):
    templates = signal * complex_normal(rng, len(sizes), RINGS, ORDERS)
    parts = [turned(one[None], rng.uniform(0, 2 * np.pi, n)) for one, n in zip(templates, sizes, strict=True)]
    true = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    patterns = np.concatenate(parts)
    return patterns + complex_normal(rng, *patterns.shape), true


def test_alike_does_not_depend_on_angles(rng):
    patterns = complex_normal(rng, 5, RINGS, ORDERS)
    patterns[:, :, 0] = patterns[:, :, 0].real
    before = alike(patterns)
    after = alike(turned(patterns, 2 * np.pi * rng.integers(0, 360, 5) / 360))
    assert np.allclose(before, after, atol=1e-12)
    assert np.allclose(np.diag(before), 1)
    assert (np.abs(before) <= 1 + 1e-12).all()


@pytest.mark.parametrize("sizes", [(6, 3), (5, 4, 3), (12, 12)])
def test_grains_are_found(rng, sizes):
    for _ in range(5):
        patterns, true = grains(rng, sizes, 2.0)
        found = group_alike(patterns, NOISE)
        assert found.n_groups == len(sizes)
        assert np.array_equal(found.label, true)
        assert found.silhouette > 0.25


def test_noise_and_one_grain_are_one_group(rng):
    for size in (5, 9, 30):
        for _ in range(5):
            noise = complex_normal(rng, size, RINGS, ORDERS)
            assert group_alike(noise, NOISE).n_groups == 1
            one = complex_normal(rng, RINGS, ORDERS) * 5 + noise
            assert group_alike(one, NOISE).n_groups == 1


def test_unknown_patterns_belong_to_none(rng):
    patterns, true = grains(rng, (6, 4), 2.0)
    patterns[2] = np.nan
    found = group_alike(patterns, NOISE)
    assert found.label[2] == 0
    assert np.array_equal(np.delete(found.label, 2), np.delete(true, 2))
    assert group_alike(patterns[:3], NOISE).label.tolist() == [1, 1, 0]
    with pytest.raises(ShapeError, match="want"):
        alike(patterns[0])
