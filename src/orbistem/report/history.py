"""From run.json to what the training figures draw: evidence of every restart, numbers per angular order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orbistem.plot.training import EvidenceCurve
from orbistem.report.files import numbers, section

__all__ = ["evidence_history", "per_order"]


def evidence_history(training: Mapping[str, Any]) -> list[EvidenceCurve]:
    """Curves of all restarts; a restart without a curve of its own is a point at the end."""
    restarts = [r for r in training.get("restarts") or [] if isinstance(r, Mapping)]
    main = section(training, "curve")
    last = numbers(main.get("step"))[-1:] or [1.0]
    best = max((_final(r) for r in restarts), default=float("nan"))
    curves, owner = [], None
    for restart in restarts:
        chosen = owner is None and _final(restart) == best
        owner = restart if chosen else owner
        own = section(restart, "curve") or (main if chosen else {})
        name = ", ".join(f"{k} {restart[k]}" for k in ("start", "seed") if k in restart)
        heldout = numbers(own.get("heldout")) or [_final(restart)]
        step = numbers(own.get("step")) or last
        train = numbers(own.get("train"))
        curves.append(
            EvidenceCurve(
                name=name or "restart",
                step=step,
                train=train if len(train) == len(step) else [],
                heldout=heldout if len(heldout) == len(step) else [],
                chosen=chosen,
            )
        )
    if not curves and main:
        step, train, heldout = (numbers(main.get(name)) for name in ("step", "train", "heldout"))
        curves = [EvidenceCurve(name="", step=step, train=train, heldout=heldout, chosen=True)]
    return curves


def _final(restart: Mapping[str, Any]) -> float:
    heldout = restart.get("heldout")
    values = numbers(heldout) if isinstance(heldout, list) else numbers([heldout])
    return max(values, default=float("nan"))


def per_order(values: object) -> dict[int, list[float]]:
    """Lists per angular order, from a list (index: order) or a table (name: order)."""
    if isinstance(values, Mapping):
        pairs = [(int(order), entry) for order, entry in values.items()]
    elif isinstance(values, list):
        pairs = list(enumerate(values))
    else:
        return {}
    return {order: numbers(entry if isinstance(entry, list) else [entry]) for order, entry in pairs}
