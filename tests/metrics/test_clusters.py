import numpy as np
import pytest

from orbistem.metrics import nmi, orbit_count, ring_contrast, site_accuracy


def blobs(rng, *, n=40, noise=0.05):
    site = np.repeat([7, 2, 5], n)
    centres = {7: (0, 0), 2: (3, 0), 5: (0, 4)}
    return np.array([centres[s] for s in site]) + noise * rng.normal(size=(3 * n, 2)), site


def test_separate_sites_are_found_whatever_their_names(rng):
    z, site = blobs(rng)
    assert site_accuracy(z, site) == 1.0
    assert nmi(z, site) == pytest.approx(1.0)


def test_a_third_of_the_labels_wrong_counts_as_such(rng):
    z, site = blobs(rng)
    wrong = site.copy()
    wrong[site == 7] = np.where(np.arange(40) % 2, 7, 2)  # half of the first blob bears the second's name
    assert site_accuracy(z, wrong) == pytest.approx(100 / 120)


def test_noise_tells_nothing_and_holes_are_left_out(rng):
    z, site = blobs(rng)
    assert nmi(rng.normal(size=z.shape), site) < 0.1
    z[::5] = np.nan
    assert site_accuracy(z, site) == 1.0


def test_rotated_copies_multiply_components():
    azimuth = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    angles = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    # one class, orders 1, 2 and 3, each turned copy apart: two components an order
    turned = np.stack([sum(np.cos(m * (azimuth - a)) for m in (1, 2, 3)) for a in angles])
    assert orbit_count(turned) == 6
    assert orbit_count(np.ones((5, 3))) == 0
    assert orbit_count(np.outer(np.arange(4.0), [1.0, 2.0])) == 1


def ring_map(rng, centre, height):
    y, x = np.indices((64, 64))
    away = np.hypot(y - centre[0], x - centre[1])
    return rng.normal(size=(64, 64)) + height * ((away >= 2) & (away <= 4))


def test_ring_contrast_is_height_over_noise(rng):
    places = [(20.0, 30.0), (50.0, 50.0)]
    found = np.mean([ring_contrast(ring_map(rng, (20.0, 30.0), 8.0), places) for _ in range(30)], axis=0)
    np.testing.assert_allclose(found, [8.0, 0.0], atol=0.5)


def test_a_second_ring_nearby_is_not_taken_for_surroundings(rng):
    image = ring_map(rng, (30.0, 30.0), 10.0) + ring_map(rng, (30.0, 38.0), 10.0)
    both = ring_contrast(image, [(30.0, 30.0), (30.0, 38.0)])
    assert (both > 5).all()


def test_ring_contrast_of_nothing(rng):
    assert np.isnan(ring_contrast(np.zeros((40, 40)), [(20.0, 20.0)])).all()
    assert ring_contrast(np.zeros((40, 40)), []).shape == (0,)
    holed = ring_map(rng, (20.0, 30.0), 8.0)
    holed[18:20, 28:31] = np.nan
    assert ring_contrast(holed, [(20.0, 30.0)])[0] > 5


def test_total_counts_of_the_virus_scan_show_no_rings(measured_data):
    counts = np.load(measured_data / "cryo4dstem-rotavirus-a" / "scan4d.npz")["data"]
    total = counts.sum(axis=(2, 3), dtype=float)
    assert np.abs(ring_contrast(total, [(48.0, 21.0), (21.0, 60.0), (41.0, 18.0)])).max() < 2


def test_latents_that_take_fewer_values_than_there_are_sites():
    z = np.repeat(np.eye(2), [4, 8], axis=0)
    site = np.repeat([0, 1, 2], 4)
    assert site_accuracy(z, site) == pytest.approx(8 / 12)
