"""Which start is trained longer, and which of several trainings is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orbistem.models.angle import Orders
from orbistem.models.finish import refined_evidence
from orbistem.models.orbit import OrbitVAEOptions
from orbistem.models.orbit_vae import OrbitNet
from orbistem.models.protocol import Restart

START_MARGIN = 2.0
"""Nats per pattern by which a short training must be better to overrule the usual start."""
HOPELESS_MARGIN = 10.0
"""A start whose short training lies this many nats per pattern behind is not tried again (SrTiO3: 18
nats, star: 120; long trainings made up for none of it)."""
HOPELESS_SHARE = 0.1
"""Trainings whose bound lies lower than the best one by this share are not refined to be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A trained net, the model error beside it, and how its training went.

    Attributes
    ----------
    model_error
        (k,) as training followed it.
    patterns_per_s, first_round_s
        Rate without the first round, and seconds until its end; 0 where the training came from a checkpoint.
    """

    net: OrbitNet
    model_error: Any
    restart: Restart
    patterns_per_s: float
    first_round_s: float


def better_start(scouts: list[Outcome]) -> Outcome:
    """The first start (the scan mean), unless another one is clearly better."""
    best = scouts[0]
    for other in scouts[1:]:
        if other.restart.heldout > best.restart.heldout + START_MARGIN:
            best = other
    return best


def long_starts(best: Outcome, scouts: list[Outcome], *, n: int) -> tuple[str, ...]:
    """Starts of the long trainings: the better one twice, then the other unless it is hopeless, and so on."""
    first = best.restart.start
    near = best.restart.heldout - HOPELESS_MARGIN
    others = [o.restart.start for o in scouts if o is not best and o.restart.heldout > near] or [first]
    return tuple(([first, first, *others] * n)[:n])


def choose(
    compared: list[Outcome],
    trained: list[Outcome],
    *,
    train: np.ndarray,
    heldout: np.ndarray,
    orders: Orders,
    options: OrbitVAEOptions,
    seed: int,
) -> tuple[Outcome, list[Outcome]]:
    """The training with the best held-out evidence after refinement; all, best first."""
    refined: dict[int, float] = {}
    if len(compared) > 1:
        best = max(outcome.restart.heldout for outcome in compared)
        for outcome in compared:
            if outcome.restart.heldout > best - HOPELESS_SHARE * abs(best):
                refined[id(outcome)] = refined_evidence(
                    outcome.net,
                    outcome.model_error,
                    train=train,
                    heldout=heldout,
                    orders=orders,
                    options=options,
                    seed=seed,
                )

    def judged(outcome: Outcome) -> Outcome:
        value = refined.get(id(outcome))
        return replace(outcome, restart=replace(outcome.restart, refined=value))

    def rank(outcome: Outcome) -> tuple[bool, float]:
        value = outcome.restart.refined
        return value is not None, outcome.restart.heldout if value is None else value

    winner = max((judged(o) for o in compared), key=rank)
    others = [o for o in map(judged, trained) if o.net is not winner.net]
    return winner, [winner, *sorted(others, key=rank, reverse=True)]
