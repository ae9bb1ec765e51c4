"""Which static offset belongs to which background."""

import numpy as np
import pytest

from orbistem.errors import OptionError, ShapeError
from orbistem.harmonics.background import static_harmonics
from orbistem.testing import complex_normal


def test_the_mean_is_static_above_order_zero(rng):
    mean = complex_normal(rng, (4, 5))
    static = static_harmonics("mean", mean_harmonics=mean)
    assert not static[:, 0].any()
    np.testing.assert_array_equal(static[:, 1:], mean[:, 1:])
    assert mean[:, 0].any()  # the argument is unchanged


@pytest.mark.parametrize("kind", ["azimuthal", "none"])
def test_nothing_is_static_otherwise(rng, kind):
    assert not static_harmonics(kind, mean_harmonics=complex_normal(rng, (4, 5))).any()


def test_a_given_background_wins(rng):
    mean, given = complex_normal(rng, (2, 4, 5))
    np.testing.assert_array_equal(
        static_harmonics("given", mean_harmonics=mean, given=given)[:, 1:], given[:, 1:]
    )
    with pytest.raises(OptionError, match="background"):
        static_harmonics("given", mean_harmonics=mean)
    with pytest.raises(ShapeError, match="background"):
        static_harmonics("given", mean_harmonics=mean, given=given[:2])
