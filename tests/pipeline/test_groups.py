"""Scans too small for a model: groups of patterns that are alike."""

import numpy as np
import pytest

import orbistem
from orbistem.scan import Scan

NICKEL = (
    ("kikuchipy_h5ebsd__patterns.h5", "Scan 1/EBSD/Data/patterns"),
    ("edax_h5ebsd__patterns.h5", None),
    ("oxford_binary__patterns.ebsp", None),
)


def test_two_kinds_of_patterns_are_two_groups(rng):
    ky, kx = np.indices((25, 25)) - 12.0
    radius, azimuth = np.hypot(ky, kx), np.arctan2(ky, kx)
    ring = np.exp(-0.5 * ((radius - 7) / 1.5) ** 2)
    kinds = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]])
    turn = rng.uniform(0, 2 * np.pi, kinds.shape)
    order = np.where(kinds == 0, 3, 4)[..., None, None]
    rates = 20 * ring * (1 + 0.8 * np.cos(order * (azimuth - turn[..., None, None]))) + 1
    result = orbistem.fit(Scan.from_array(rng.poisson(rates).astype(np.uint16)))
    assert np.array_equal(result.maps.group.values, kinds + 1)
    assert any("2 groups of patterns that are alike, of 8, 4" in word for word in result.run["words"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dataset"), NICKEL)
def test_the_nickel_patterns_hold_exactly_two_grains(measured_data, name, dataset):
    scan = orbistem.open(measured_data / "ebsd-nickel-3x3" / name, dataset=dataset)
    groups = orbistem.fit(scan).maps.group.values
    assert np.array_equal(groups, [[2, 1, 1]] * 3)
