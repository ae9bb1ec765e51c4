"""Drawing and reading kept coefficients."""

import numpy as np
import pytest

from orbistem.harmonics.basis_patterns import basis_patterns
from orbistem.plan import Plan
from orbistem.testing import beam_stop, signal_basis, smooth_patterns, threefold_mean


@pytest.fixture(params=[False, True], ids=["whole", "beam stop"])
def drawn(request, rng):
    valid = beam_stop(40) if request.param else np.ones((40, 40), bool)
    mean = threefold_mean(40, electrons_per_px=5.0)
    plan = Plan(mean=mean, pixel_valid=valid, centre_px=(19.5, 19.5), gain=1.0)
    basis = signal_basis(plan, smooth_patterns(rng, n=50, px=40, max_order=6), n_samples=500)
    return plan, basis, basis_patterns(plan.analyser, basis, weight=plan.weight)


def random_pairs(rng, basis):
    pairs = rng.normal(size=(5, basis.n_kept, 2))
    pairs[:, basis.order == 0, 1] = 0
    return pairs


def test_reading_undoes_drawing(rng, drawn):
    _, basis, patterns = drawn
    pairs = random_pairs(rng, basis)
    flat = patterns.draw(pairs).reshape(5, -1)
    np.testing.assert_allclose((flat @ patterns.analysis.T).reshape(pairs.shape), pairs, atol=1e-6)


def test_reading_is_what_the_plan_reads(rng, drawn):
    plan, basis, patterns = drawn
    frames = rng.poisson(plan.mean, (6, 40, 40)).astype(np.float32)
    coefficients = basis.coefficients(plan.harmonics(frames))
    whitened = (frames - plan.background) * plan.weight
    read = (whitened.reshape(6, -1) @ patterns.analysis.T).reshape(6, -1, 2)
    np.testing.assert_allclose(read[..., 0] + 1j * read[..., 1], coefficients, atol=1e-3)


def test_what_is_drawn_is_smooth(rng, drawn):
    """No checkerboard, not even beside a gap."""
    _, basis, patterns = drawn
    images = patterns.draw(random_pairs(rng, basis))
    power = np.abs(np.fft.fft2(images)) ** 2
    assert power[:, 17:24, 17:24].sum() < 1e-3 * power.sum()
