"""Rings, hats and orders."""

import numpy as np
import pytest

from orbistem.errors import InputError, OptionError
from orbistem.harmonics.circular import make_grid
from orbistem.harmonics.rings import RingOptions, hat_weights, polar_coordinates, ring_radii


def test_hats_add_up_to_one_between_the_rings(rng):
    radii = np.arange(8) * 1.5
    radius = rng.uniform(0, radii[-1], 200)
    np.testing.assert_allclose(hat_weights(radius, radii_px=radii, spacing_px=1.5).sum(axis=1), 1)


def test_azimuth_grows_from_kx_to_ky():
    azimuth = polar_coordinates((5, 5), centre_px=(2.0, 2.0)).azimuth_rad
    assert azimuth[2, 4] == 0
    assert azimuth[4, 2] == pytest.approx(np.pi / 2)


def test_non_square_pixels_stretch_the_radius():
    polar = polar_coordinates((9, 9), centre_px=(4.0, 4.0), pixel_scale=(2.0, 1.0))
    assert polar.radius_px[0, 4] == 8
    assert polar.radius_px[4, 0] == 4


def test_rings_stay_inside_the_frame():
    for centre in [(15.5, 15.5), (10.0, 20.0)]:
        grid = make_grid((32, 32), centre_px=centre)
        assert all(ring.complete for ring in grid.rings)
        assert grid.dropped == ()


def test_a_centre_at_the_edge_is_an_input_error():
    with pytest.raises(InputError, match="--centre"):
        make_grid((32, 32), centre_px=(0.5, 16.0))


def test_hidden_rings_are_listed_as_dropped():
    y, x = np.indices((32, 32)) - 15.5
    grid = make_grid((32, 32), centre_px=(15.5, 15.5), pixel_valid=np.hypot(y, x) > 6)
    assert grid.rings[1].n_orders == 0
    assert (1, 0) in grid.dropped
    assert not grid.carried[1].any()


def test_radii_are_multiples_of_the_spacing():
    polar = polar_coordinates((40, 40), centre_px=(19.5, 19.5))
    radii = ring_radii(polar, options=RingOptions(spacing_px=2.5))
    np.testing.assert_allclose(np.diff(radii), 2.5)


@pytest.mark.parametrize(
    "wrong", [{"spacing_px": 0.0}, {"max_order": 0}, {"max_condition": 0.5}, {"min_coverage": 0.0}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        RingOptions(**wrong)


def test_wrong_pixel_scale_is_refused():
    with pytest.raises(OptionError, match="pixel_scale"):
        polar_coordinates((4, 4), centre_px=(1.0, 1.0), pixel_scale=(0.0, 1.0))
