"""A plan as plain scalars and arrays, and back: what model files and interrupted runs hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from orbistem.errors import OptionError
from orbistem.harmonics.rings import RingOptions

if TYPE_CHECKING:
    from orbistem.plan.plan import Plan

__all__ = ["arrays_of", "keywords_of", "pair", "scalars_of"]


def scalars_of(plan: Plan) -> dict[str, Any]:
    """All scalars of a plan; what is unknown is left out."""
    scalars: dict[str, Any] = {
        "detector_shape": list(plan.detector_shape),
        "centre_px": [float(c) for c in plan.centre_px],
        "pixel_scale": [float(s) for s in plan.pixel_scale],
        "gain": plan.gain,
        "offset": float(plan.offset),
        "normalise": plan.normalise,
        "reference_total": plan.reference_total,
        "whitening": plan.whitening,
        "noise_scale": float(plan.noise_scale),
        "rings": asdict(plan.rings),
        "ellipse": [float(part) for part in plan.ellipse],
        "ring_orders": None if plan.ring_orders is None else list(plan.ring_orders),
        "spread_px": plan.spread_px,
        "together": None if plan.together == 1 else float(plan.together),
        "shift_sd_px": plan.shift_sd_px,
        "each_of": plan.each_of,
    }
    return {name: value for name, value in scalars.items() if value is not None}


def arrays_of(plan: Plan) -> dict[str, np.ndarray]:
    """All arrays of a plan, by name; what is unknown is left out."""
    named = {
        "mean": np.asarray(plan.mean, np.float64),
        "pixel_valid": plan.pixel_valid,
        "autocorrelation": plan.autocorrelation,
        "order0_mean": plan.order0_mean,
        "shift_px": plan.shift_px,
        "descan_px": plan.descan_px,
        "rest_profile": plan.rest_profile,
        "each_px": plan.each_px,
    }
    return {name: np.ascontiguousarray(array) for name, array in named.items() if array is not None}


def keywords_of(scalars: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arguments of `Plan` from `scalars_of` and `arrays_of`; KeyError or TypeError where one is odd.

    Raises
    ------
    OptionError
        The arrays do not belong to the scalars.
    """
    known = dict(scalars)
    orders = known.pop("ring_orders", None)
    shape = tuple(known.pop("detector_shape", np.shape(arrays["mean"])))
    if shape != np.shape(arrays["mean"]):
        raise OptionError(f"plan: want a mean of shape {shape}, got {np.shape(arrays['mean'])}; fit again")
    return {
        "mean": np.asarray(arrays["mean"], np.float64),
        "pixel_valid": np.asarray(arrays["pixel_valid"], np.bool_),
        "centre_px": pair(known.pop("centre_px")),
        "pixel_scale": pair(known.pop("pixel_scale", (1.0, 1.0))),
        "rings": RingOptions(**known.pop("rings", {})),
        "autocorrelation": arrays.get("autocorrelation"),
        "order0_mean": arrays.get("order0_mean"),
        "ellipse": pair(known.pop("ellipse", (1.0, 0.0))),
        "shift_px": arrays.get("shift_px"),
        "descan_px": arrays.get("descan_px"),
        "rest_profile": arrays.get("rest_profile"),
        "each_px": arrays.get("each_px"),
        "ring_orders": None if orders is None else tuple(int(n) for n in orders),
        **known,
    }


def pair(values: Any) -> tuple[float, float]:
    """Two numbers."""
    first, second = values
    return float(first), float(second)
