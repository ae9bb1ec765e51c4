"""Scores: how far a latent map is invariant, how right its angles are, how much of the signal is explained.

Pure functions of arrays. Positions that were not measured (NaN) are left out of every score.
"""

from orbistem.metrics.angles import AngleError, Resultant, angle_error, resultant, winding_number
from orbistem.metrics.clusters import nmi, orbit_count, site_accuracy
from orbistem.metrics.contrast import ring_contrast
from orbistem.metrics.invariance import fold_error, repeat_error, rotation_error, spread
from orbistem.metrics.pairs import Pairs, fold_pairs, judged, judged_sites, truth_pairs
from orbistem.metrics.variance import (
    active_latents,
    active_units,
    explained_variance,
    oracle,
    oracle_linear,
    posterior_mean,
)

__all__ = [
    "AngleError",
    "Pairs",
    "Resultant",
    "active_latents",
    "active_units",
    "angle_error",
    "explained_variance",
    "fold_error",
    "fold_pairs",
    "judged",
    "judged_sites",
    "nmi",
    "oracle",
    "oracle_linear",
    "orbit_count",
    "posterior_mean",
    "repeat_error",
    "resultant",
    "ring_contrast",
    "rotation_error",
    "site_accuracy",
    "spread",
    "truth_pairs",
    "winding_number",
]
