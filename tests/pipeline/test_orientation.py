"""A grain that is turned against the reference, found modulo the crystal's rotation order."""

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.models.protocol import Encoding
from orbistem.pipeline.orientation import measure_orientation, reference_positions
from orbistem.scan import Scan


def two_grains(rng, *, order, turned_by, n=600):
    """Latents on a circle; each occurs at `order` angles; angles have a gauge that depends on the latent."""
    phase = rng.uniform(0, 2 * np.pi, 2 * n)
    z = np.stack([np.cos(phase), np.sin(phase)], axis=1) + 0.01 * rng.standard_normal((2 * n, 2))
    angle = 2 * np.pi / order * rng.integers(0, order, 2 * n) + 1.5 * np.sin(phase)
    angle[n:] += turned_by
    ones = np.ones(2 * n, np.float32)
    return Encoding(
        z=z,
        z_sd=0 * z,
        angle=angle,
        angle_sd=ones,
        angle_order=ones.astype(int),
        evidence=ones,
        residual=ones,
    )


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_a_turned_grain_is_found(rng, order):
    turned_by = np.deg2rad(17.0)
    found = measure_orientation(two_grains(rng, order=order, turned_by=turned_by), np.arange(600))
    assert found.order == order
    assert np.rad2deg(np.median(found.angle[600:])) == pytest.approx(17.0, abs=0.5)
    apart = np.exp(1j * order * found.angle[:600])
    assert abs(np.angle(apart.mean())) / order < 0.02


def test_positions_without_latents_have_no_orientation(rng):
    encoding = two_grains(rng, order=3, turned_by=0.3)
    encoding.z[700] = np.nan
    assert np.isnan(measure_orientation(encoding, np.arange(600)).angle[700])


def test_the_region_must_lie_in_a_grid():
    grid = Scan.from_array(np.zeros((4, 5, 8, 8)))
    assert reference_positions(grid, (1, 3, 0, 2)).tolist() == [5, 6, 10, 11]
    with pytest.raises(OptionError, match="region inside 4 x 5"):
        reference_positions(grid, (7, 9, 0, 2))
    with pytest.raises(OptionError, match="grid"):
        reference_positions(Scan.from_array(np.zeros((4, 8, 8)), positions=np.zeros((4, 2))), (0, 1, 0, 1))
