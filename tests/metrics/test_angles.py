import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.metrics import angle_error, resultant, winding_number


def test_errors_are_reduced_by_the_order_of_the_site():
    got = np.radians([61.0, 119.0, 200.0, 10.0])
    found = angle_error(np.zeros(4), got, np.radians([60.0, 0.0, 0.0, 0.0]), np.array([1, 3, 2, 0]))
    np.testing.assert_allclose(found.errors_deg, [1.0, -1.0, 20.0, np.nan], atol=1e-9)
    assert found.n_judged == 3
    assert found.median_deg == pytest.approx(1.0)
    assert found.share_within(1.5) == pytest.approx(2 / 3)


def test_whole_turns_do_not_matter(rng):
    p, q, turn = rng.uniform(-10, 10, size=(3, 50))
    first = angle_error(p, q, turn, 1)
    second = angle_error(p + 2 * np.pi, q - 4 * np.pi, turn, 1)
    np.testing.assert_allclose(first.errors_deg, second.errors_deg, atol=1e-9)


@pytest.mark.parametrize("constant_deg", [0.0, 33.0, 200.0, 359.0])
def test_one_constant_is_found_among_sites_of_mixed_order_and_outliers(rng, constant_deg):
    order = rng.choice([1, 2, 3, 6], size=300)
    truth = rng.uniform(0, 2 * np.pi, size=300)
    jumps = 2 * np.pi / order * rng.integers(0, 6, size=300)
    seen = truth + np.radians(constant_deg) + jumps + np.radians(rng.normal(scale=0.2, size=300))
    seen[:30] += 1.0
    found = angle_error(np.zeros(300), seen, truth, order, subtract_constant=True)
    assert found.median_deg < 0.3
    away = (found.constant_deg - constant_deg + 180) % 360 - 180
    assert abs(away) < 0.1
    assert found.share_beyond_1deg == pytest.approx(0.1, abs=0.05)


def test_random_angles_have_a_median_error_of_a_quarter_turn(rng):
    found = angle_error(np.zeros(20000), rng.uniform(0, 2 * np.pi, 20000), 0.0, 1)
    assert found.median_deg == pytest.approx(90, abs=2)


def test_nothing_to_judge_is_nan():
    assert np.isnan(angle_error(np.zeros(3), np.zeros(3), 0.0, 0).median_deg)
    with pytest.raises(OptionError, match="order"):
        angle_error(np.zeros(3), np.zeros(3), 0.0, -1)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_star_is_found_with_its_centre_and_sign(rng, sign):
    positions = rng.uniform(-100, 100, size=(300, 2))
    azimuth = np.arctan2(positions[:, 0] + 27.0, positions[:, 1] - 11.0)
    angle = sign * (azimuth + 0.4) + np.pi * rng.integers(0, 2, size=300)
    angle[:3] = np.nan
    found = resultant(angle, positions)
    assert found.value == pytest.approx(1.0, abs=1e-6)
    assert found.sign == sign
    np.testing.assert_allclose(found.centre, (-27.0, 11.0), atol=0.01)


def test_random_angles_follow_no_star(rng):
    assert resultant(rng.uniform(0, 2 * np.pi, 500), rng.normal(size=(500, 2))).value < 0.3


@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 2])
def test_vortices_are_counted(turns):
    y, x = np.mgrid[:48, :48] - 24.0
    assert winding_number(turns * np.arctan2(y, x) + 1.0, (24.0, 24.0)) == turns
    assert winding_number(turns * np.arctan2(y, x), (24.0, 24.0), radius=5.0) == turns


def test_a_vortex_elsewhere_is_not_counted_and_noise_and_holes_do_not_hurt(rng):
    y, x = np.mgrid[:64, :64]
    angle = np.arctan2(y - 20.0, x - 15.0) + rng.normal(scale=0.5, size=(64, 64))
    angle[::7, ::5] = np.nan
    assert winding_number(angle, (20.0, 15.0)) == 1
    assert winding_number(angle, (45.0, 45.0)) == 0


def test_angles_of_higher_order_count_their_own_turns():
    y, x = np.mgrid[:48, :48] - 24.0
    assert winding_number(np.arctan2(y, x) / 2, (24.0, 24.0), order=2) == 1


def test_centre_of_mass_winds_round_the_virus_particles(measured_data):
    counts = np.load(measured_data / "cryo4dstem-rotavirus-a" / "scan4d.npz")["data"].astype(float)
    k = np.arange(32) - 15.5
    total = counts.sum(axis=(2, 3))
    com_x, com_y = (counts.sum(axis=2) @ k) / total, (counts.sum(axis=3) @ k) / total
    angle = np.arctan2(com_y - com_y.mean(), com_x - com_x.mean())
    assert [winding_number(angle, c) for c in ((17.0, 14.0), (38.0, 32.0), (45.0, 10.0), (29.0, 55.0))] == [
        1,
        1,
        1,
        1,
    ]
