"""The frozen, ordered steps from stored counts to whitened harmonics; fit, transform, encode replay them."""

from orbistem.plan.plan import Normalise, Plan, reference_total, require_light

__all__ = ["Normalise", "Plan", "reference_total", "require_light"]
