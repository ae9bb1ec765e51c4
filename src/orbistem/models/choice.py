"""Which start is trained longer, and which of several trainings is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np

from orbistem.models.angle import Orders
from orbistem.models.finish import agree, finish, judge
from orbistem.models.orbit import OrbitVAE, OrbitVAEOptions
from orbistem.models.orbit_vae import OrbitNet
from orbistem.models.protocol import Restart

START_MARGIN = 2.0
"""Nats per pattern by which a training must be better to overrule the usual start."""
HOPELESS_MARGIN = 10.0
"""A start whose short training lies this many nats per pattern behind is not tried again (SrTiO3: 18
nats, star: 120; long trainings made up for none of it)."""
NEAR = 1.0
"""Nats per pattern that do not part trainings of bright patterns: by half of that the best of four drew the
hands of graphene apart (10⁶: 0.6 nats on 58 held-out patterns, 0.05 on 576 others; fold error 0.055 instead
of 0.032)."""
ROUNDING = 1e-3
"""Evidence of the same templates from other encoders, nats per pattern: refinement ends nearer than this."""


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


class _Common(TypedDict):
    orders: Orders
    options: OrbitVAEOptions
    seed: int


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
    eigenvalue: np.ndarray,
    options: OrbitVAEOptions,
    seed: int,
    bright: bool,
) -> tuple[Outcome, list[Outcome]]:
    """The training with the best held-out evidence after refinement; all, best first.

    Of those within one standard error of the best, the one wins with which the other trainings agree most; of
    faint patterns one that began as the first did, unless others are better by `START_MARGIN`: another static
    part may pin the angle (cryo scan: of six trainings from the scan mean four wind about three or four of
    the four particles, of two from zero none, with 0.1 nats more or less).
    Where patterns are bright, of those that lie so near or within `NEAR` the one wins whose latents move
    least when noise is added to the patterns: torn latents move most.
    """
    common: _Common = {"orders": orders, "options": options, "seed": seed}
    judged = list(compared)
    winner = judged[0]
    if len(compared) > 1:
        judges = [judge(o.net, o.model_error, train=train, **common) for o in compared]
        evidence = np.stack([one.evidence(heldout) for one in judges])
        judged = [
            replace(o, restart=replace(o.restart, refined=float(row.mean())))
            for o, row in zip(compared, evidence, strict=True)
        ]
        rows = list(range(len(judged))) if bright else _unless_clearly_worse(judged)
        equal = [rows[i] for i in equally_good(evidence[rows], near=NEAR if bright else 0.0)]
        winner = judged[equal[0]]
        if len(equal) > 1 and bright:
            winner = judged[min(equal, key=lambda i: judges[i].repeat_error())]
        elif len(equal) > 1:
            models = [
                finish(o.net, o.model_error, pairs=train, eigenvalue=eigenvalue, only_compared=True, **common)
                for o in judged
            ]
            winner = judged[max(equal, key=lambda i: _consent(i, models, train))]
    nets = {id(o.net) for o in judged}
    others = [o for o in (*judged, *(o for o in trained if id(o.net) not in nets)) if o is not winner]

    def rank(outcome: Outcome) -> tuple[bool, float]:
        value = outcome.restart.refined
        return value is not None, outcome.restart.heldout if value is None else value

    return winner, [winner, *sorted(others, key=rank, reverse=True)]


def _unless_clearly_worse(judged: list[Outcome]) -> list[int]:
    """Trainings that began as the first did, or all where these are behind by more than `START_MARGIN`."""
    refined = [-np.inf if o.restart.refined is None else o.restart.refined for o in judged]
    usual = [i for i, o in enumerate(judged) if o.restart.start == judged[0].restart.start]
    behind = max(refined) - max(refined[i] for i in usual)
    return usual if behind <= START_MARGIN else list(range(len(judged)))


def equally_good(evidence: np.ndarray, *, near: float = 0.0) -> list[int]:
    """Rows of evidence (training, pattern) with a mean within one standard error of the best, best first.

    Nor do `ROUNDING` nats part trainings, of which the error knows nothing, nor `near`.
    """
    mean = evidence.mean(axis=1)
    order = np.argsort(-mean, kind="stable")
    behind = evidence[order[0]] - evidence
    error = behind.std(axis=1) / np.sqrt(evidence.shape[1])
    return [int(i) for i in order if behind[i].mean() <= max(error[i] + ROUNDING, near)]


def _consent(i: int, models: list[OrbitVAE], pairs: np.ndarray) -> float:
    """How much other trainings predict of this one's latents, and this one of theirs."""
    both = [
        agree(a, b, pairs) or 0.0
        for j, other in enumerate(models)
        if j != i
        for a, b in ((models[i], other), (other, models[i]))
    ]
    return float(np.mean(both))
