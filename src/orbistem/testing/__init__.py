"""Laws that transforms, models and descriptors must obey, for your own tests as well as for ours.

Every `assert_…` compares what is with what should be over many random draws, raises AssertionError with the
worst case and the tolerance, and returns the worst error, so that a benchmark may print it. Nothing here is
used by the rest of the package. Randomness is an argument.
"""

from orbistem.testing.laws import (
    assert_adjoint,
    assert_isotropic_is_order_zero,
    assert_parseval,
    assert_projects,
    assert_rotation_equivariant,
    assert_rotation_invariant,
    complex_normal,
)
from orbistem.testing.noise import assert_unit_noise, full_basis, noise_values, signal_basis
from orbistem.testing.patterns import (
    beam_stop,
    isotropic_patterns,
    pure_order_patterns,
    smooth_patterns,
    threefold_mean,
)

__all__ = [
    "assert_adjoint",
    "assert_isotropic_is_order_zero",
    "assert_parseval",
    "assert_projects",
    "assert_rotation_equivariant",
    "assert_rotation_invariant",
    "assert_unit_noise",
    "beam_stop",
    "complex_normal",
    "full_basis",
    "isotropic_patterns",
    "noise_values",
    "pure_order_patterns",
    "signal_basis",
    "smooth_patterns",
    "threefold_mean",
]
