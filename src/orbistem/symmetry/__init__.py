"""Symmetry of single patterns, from their harmonics: kept, broken, and how sure that is.

A descriptor that needs no model is one file and one line in `DESCRIPTORS`; maps and tests loop over it.
"""

from orbistem.symmetry.components import ComponentBasis, Components, component_basis
from orbistem.symmetry.descriptor import Descriptor, Variable
from orbistem.symmetry.mirror import MIRROR, Mirror, mirror
from orbistem.symmetry.n_fold import FOLDS, N_FOLD, n_fold
from orbistem.symmetry.point_group import POINT_GROUP, PointGroupFit, point_group
from orbistem.symmetry.polar import POLAR, Polar, polar
from orbistem.symmetry.ratio import Share
from orbistem.symmetry.sstem import SSTEM, sstem

__all__ = [
    "DESCRIPTORS",
    "FOLDS",
    "POINT_GROUP",
    "ComponentBasis",
    "Components",
    "Descriptor",
    "Mirror",
    "PointGroupFit",
    "Polar",
    "Share",
    "Variable",
    "component_basis",
    "mirror",
    "n_fold",
    "point_group",
    "polar",
    "sstem",
]

DESCRIPTORS: tuple[Descriptor, ...] = (N_FOLD, MIRROR, SSTEM, POINT_GROUP, POLAR)
