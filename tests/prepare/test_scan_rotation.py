"""The rotation of the scan from the field of centres of mass: rarely claimed of noise."""

import numpy as np
import pytest

from orbistem.prepare.scan_rotation import Problem, find_scan_rotation, turn_to_scan


@pytest.mark.parametrize("shape", [(3, 3), (9, 9), (12, 30)])
def test_noise_has_no_rotation(rng, shape):
    claimed = [find_scan_rotation(rng.normal(size=(*shape, 2))).problem is None for _ in range(300)]
    assert sum(claimed) <= 3  # less than once in a thousand, as BY_CHANCE says


@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_a_lattice_of_attracting_columns_turned_against_the_detector(rng, noise):
    """Whatever the steps of the scan; the half turn is settled by the sharpness of the columns."""
    y, x = np.indices((30, 34)) * np.array([0.8, 1.0])[:, None, None]
    field = np.zeros((30, 34, 2))
    for atom in np.ndindex(4, 5):
        dy, dx = y - 7 * atom[0] - 2, x - 7 * atom[1] - 3
        pull = np.exp(-(dy**2 + dx**2) / 4)
        field -= np.stack([dy * pull, dx * pull], axis=-1)
    field += noise * rng.normal(size=field.shape)
    on_detector = turn_to_scan(field, np.deg2rad(-77.0))
    found = find_scan_rotation(on_detector, steps=(0.8, 1.0))
    assert found.problem is None
    assert np.rad2deg(found.angle_rad) == pytest.approx(77, abs=2 if noise else 0.5)


def test_equal_attraction_and_repulsion_leave_the_half_turn_open():
    y, x = np.indices((24, 24)) * (2 * np.pi / 8)
    wave = np.stack([np.sin(y), np.sin(x)], axis=-1)  # divergence as often deep as high
    assert find_scan_rotation(wave).problem is Problem.HALF_TURN


@pytest.mark.parametrize(("step", "claimed"), [(0.2, True), (0.7, False), (0.83, False), (1.0, False)])
def test_a_honeycomb_in_steps_too_wide_for_its_atoms_leaves_the_half_turn_open(step, claimed):
    """With three steps a period the shallow between atoms looks like the deep."""
    y, x = np.indices((24, 24)) * step
    a = 2.46
    atoms = [
        (a * (np.sqrt(3) / 2 * i + shift / np.sqrt(3)), a * (j + i / 2))
        for i in range(-2, 16)
        for j in range(-10, 14)
        for shift in (0.0, 1.0)
    ]
    field = np.zeros((24, 24, 2))
    for ay, ax in atoms:
        dy, dx = y - ay, x - ax
        pull = np.exp(-(dy**2 + dx**2) / (2 * 0.5**2))
        field -= np.stack([dy * pull, dx * pull], axis=-1)
    found = find_scan_rotation(field, steps=(step, step))
    if claimed:
        assert found.problem is None
        assert np.rad2deg(found.angle_rad) == pytest.approx(0, abs=2)
    else:
        assert found.problem is not None
