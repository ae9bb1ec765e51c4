"""Cross-correlation finds the turn, its width and the symmetry."""

import numpy as np

from orbistem.models.alignment import align, align_scan, turn_back

ORDER = np.array([0, 1, 2, 3, 4, 6])
ANGLE_RAD = 1e-9  # Newton's steps converge quadratically


def test_the_turn_of_a_copy(rng):
    template = 50 * (rng.normal(size=(40, 6)) + 1j * rng.normal(size=(40, 6)))
    by = rng.uniform(0, 2 * np.pi, 40)
    found = align(turn_back(template, -by, ORDER), template, ORDER)
    assert np.abs(np.exp(1j * found.angle) - np.exp(1j * by)).max() < ANGLE_RAD
    assert (found.order == 1).all()


def test_the_width_is_the_spread_over_noise_draws(rng):
    template = 8 * (rng.normal(size=6) + 1j * rng.normal(size=6))
    noise = rng.normal(size=(4000, 6)) + 1j * rng.normal(size=(4000, 6))
    found = align(template + noise, template, ORDER)
    apart = np.angle(np.exp(1j * found.angle))
    assert np.isclose(apart.std(), np.median(found.sd), rtol=0.1)  # 4 standard errors of 4,000 draws


def test_peaks_tell_the_symmetry(rng):
    template = np.zeros((3, 6), complex)
    template[0, 3] = 20  # order 3 alone
    template[1, [2, 4, 5]] = 20  # orders 2, 4, 6: half turns
    template[2, 0] = 20  # isotropic
    assert align(template, template, ORDER).order.tolist() == [3, 2, 0]


def test_angles_of_unlike_patterns_share_a_zero_where_latents_are_near(rng):
    content = np.sort(rng.uniform(0, 1, 300))
    by = rng.uniform(0, 2 * np.pi, 300)
    template = np.zeros((300, 6), complex)
    template[:, 1], template[:, 2] = 40 * (1 - content), 40j
    template[:, 3] = 40 * content
    found = align_scan(turn_back(template, -by, ORDER), content[:, None], ORDER, seed=0)
    zero = np.angle(np.exp(1j * (found - by)))
    steps = np.abs(np.angle(np.exp(1j * np.diff(np.unwrap(zero)))))
    assert np.degrees(np.median(steps)) < 1
    assert np.degrees(np.quantile(steps, 0.99)) < 20
