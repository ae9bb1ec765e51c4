"""Symmetry of single patterns, from their harmonics: kept, broken, and how sure that is.

A descriptor that needs no model is one file and one line in `DESCRIPTORS`; maps and tests loop over it.
"""

from orbistem.symmetry.components import ComponentBasis, Components, component_basis
from orbistem.symmetry.descriptor import Descriptor, Variable
from orbistem.symmetry.n_fold import FOLDS, N_FOLD, n_fold
from orbistem.symmetry.ratio import Share

__all__ = [
    "DESCRIPTORS",
    "FOLDS",
    "ComponentBasis",
    "Components",
    "Descriptor",
    "Share",
    "Variable",
    "component_basis",
    "n_fold",
]

DESCRIPTORS: tuple[Descriptor, ...] = (N_FOLD,)
