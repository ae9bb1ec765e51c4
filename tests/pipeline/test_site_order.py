"""The order of the angle gives way to turns that the pattern refutes, and to nothing else."""

import numpy as np
import pytest

from orbistem.pipeline.site_order import REFUTED, allowed_order

FOLDS = (2, 3, 4, 6)


def p_of(*refuted):
    return np.array([[REFUTED / 10 if fold in refuted else 0.5 for fold in FOLDS]])


@pytest.mark.parametrize(
    ("order", "refuted", "left"),
    [
        (4, (), 4),
        (4, (4,), 2),
        (4, (2, 4), 1),
        (6, (6,), 3),
        (6, (3, 6), 2),
        (6, (2, 3, 6), 1),
        (3, (2, 4, 6), 3),
        (1, (2, 3, 4, 6), 1),
        (0, (2, 3, 4, 6), 0),
        (12, (), 12),
        (5, (2, 3, 4, 6), 5),
    ],
)
def test_largest_divisor_that_is_not_refuted_is_left(order, refuted, left):
    assert allowed_order(np.array([order], np.float32), p_of(*refuted), folds=FOLDS) == left


def test_what_is_not_known_refutes_nothing():
    order = np.array([4, np.nan, 0], np.float32)
    found = allowed_order(order, np.full((3, 4), np.nan), folds=FOLDS)
    np.testing.assert_array_equal(found, order)
    assert found.dtype == np.float32
