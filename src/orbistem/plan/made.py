"""What follows from a plan and is worth keeping while it is used: made once, when it is first needed."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orbistem.harmonics.steps import Setup, Steps, make_steps
from orbistem.harmonics.wandering import Wandering, choose_step
from orbistem.plan.stored import pair

if TYPE_CHECKING:
    from orbistem.plan.plan import Plan

__all__ = ["Made", "kept", "setup_of", "sharing"]


@dataclass(slots=True, eq=False)
class Made:
    """Steps at rest, those of a wandering pattern, and the noise covariance before `Plan.noise_scale`."""

    steps: Steps
    wandering: Wandering | None = None
    noise: np.ndarray | None = None


_KEPT: weakref.WeakKeyDictionary[Plan, Made] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def kept(plan: Plan) -> Made:
    """What follows from a plan."""
    with _LOCK:
        steps = _KEPT.get(plan)
        if steps is None:
            steps = _KEPT[plan] = _make(plan)
    return steps


def sharing(plan: Plan, new: Plan) -> Plan:
    """`new`, which differs in nothing that the steps depend on, with the steps that `plan` has made."""
    with _LOCK:
        steps = _KEPT.get(plan)
        if steps is not None:
            _KEPT[new] = steps
    return new


def _make(plan: Plan) -> Made:
    setup = setup_of(plan, plan.ring_orders)
    steps = make_steps(setup, with_noise=plan.shift_px is None)
    if plan.shift_px is None:
        return Made(steps=steps)
    step_px = choose_step(plan.shift_px, plan.detector_shape)
    profile = np.asarray(plan.rest_profile, np.float64)
    return Made(steps=steps, wandering=Wandering(setup=setup, still=steps, step_px=step_px, profile=profile))


def setup_of(plan: Plan, ring_orders: tuple[int, ...] | None) -> Setup:
    """The part of a plan that the steps are made of; rings may be left to carry what they can."""
    return Setup(
        mean=plan.mean,
        pixel_valid=plan.pixel_valid,
        centre_px=pair(plan.centre_px),
        pixel_scale=pair(plan.pixel_scale),
        ellipse=pair(plan.ellipse),
        rings=plan.rings,
        whitening=plan.whitening,
        gain=1.0 if plan.gain is None else plan.gain,
        offset=plan.offset,
        normalise=plan.normalise != "none",
        reference_total=plan.reference_total,
        autocorrelation=plan.autocorrelation,
        spread_px=plan.spread_px,
        ring_orders=ring_orders,
        moves=plan.shift_px is not None,
    )
