"""The prior of inference: a density where the latents of the scan lie."""

import jax.numpy as jnp
import numpy as np
import pytest

from orbistem.models.empirical import BROAD_SHARE, MOST_LIKELY, around, log_density

ACTIVITY = np.array([10.0, 3.0])


def nodes(n: int = 200) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def test_density_integrates_to_one() -> None:
    prior = around(nodes(), 8 * np.eye(2), ACTIVITY)
    assert prior is not None
    axis = np.linspace(-5, 5, 401)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    parts = [
        np.exp(np.asarray(log_density(prior, jnp.asarray(z[i : i + 8192], jnp.float32))))
        for i in range(0, len(z), 8192)
    ]
    total = np.concatenate(parts).sum() * (axis[1] - axis[0]) ** 2 / (2 * np.pi)
    assert total == pytest.approx(1, abs=2e-3)


def test_density_is_high_where_the_scan_is_and_broad_far_away() -> None:
    prior = around(nodes(), 8 * np.eye(2), ACTIVITY)
    assert prior is not None
    on, centre, far = np.asarray(log_density(prior, jnp.asarray([[1.0, 0.0], [0.0, 0.0], [4.0, 0.0]])))
    assert on > centre + 2
    assert far == pytest.approx(np.log(BROAD_SHARE) - 8, abs=0.1)


def test_sparse_nodes_leave_no_lumps() -> None:
    """Well-known latents between two nodes are not drawn to either."""
    prior = around(nodes(12), 100 * np.eye(2), ACTIVITY)
    assert prior is not None
    at_node = nodes(12)[0]
    between = nodes(12)[:2].mean(axis=0)
    density = np.asarray(log_density(prior, jnp.asarray([at_node, between], jnp.float32)))
    assert abs(density[0] - density[1]) < 0.3


def test_broad_posteriors_get_more_nodes() -> None:
    sharp, broad = (around(nodes(), np.eye(2), activity) for activity in (ACTIVITY, np.array([1.5, 0.5])))
    assert sharp is not None
    assert broad is not None
    assert sharp.likely == 64
    assert broad.likely == len(broad.nodes) == MOST_LIKELY


def test_few_nodes_keep_the_standard_normal() -> None:
    assert around(nodes(7), np.eye(2), ACTIVITY) is None


def width(prior) -> float:
    return float(np.linalg.det(np.asarray(prior.precision)) ** -0.25)


def test_sites_that_repeat_make_the_density_narrow_and_a_stranger_does_not_widen_it(rng) -> None:
    """Four noisy copies of each of 50 sites, tens of sd apart: as wide as copies differ, not as sites do."""
    sites = 20 * rng.normal(size=(50, 2))
    copies = (np.repeat(sites, 4, axis=0) + rng.normal(size=(200, 2))) / 20
    matrix = 20 * np.eye(2)
    alone, repeated = around(copies[::4], matrix, ACTIVITY), around(copies, matrix, ACTIVITY)
    with_stranger = around(np.concatenate([copies, [[5.0, 0.0]]]), matrix, ACTIVITY)
    assert width(alone) * 20 > 3
    assert width(repeated) * 20 < 1.5
    assert width(with_stranger) == pytest.approx(width(repeated), rel=0.12)
