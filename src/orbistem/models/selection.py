"""Group and number of latents where they are left open: held-out evidence decides.

Each candidate is fitted as any fit is, on the same patterns, and judged by the evidence of the same held-out
patterns after refinement. One with more freedom (mirror images are the same site; a further latent) is taken
only where its evidence is higher by more than one standard error of the mean difference. First the group,
with the given or usual number of latents: turns by any angle, mirror images, turns by 60° or 90° only (a
crystal of one orientation), and where that is better, mirror images again (with an open number also with one
latent less, since the hand takes the place of a sign); then one latent more at a time, as long as all are in
use; where none is added, one less at a time, as long as none is missed.
Where a candidate is trained once, the chosen one is trained again, from other starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from orbistem.groups import Group
from orbistem.models.fitting import Fitted
from orbistem.models.orbit import AUTO, USUAL, OrbitVAE, OrbitVAEOptions
from orbistem.models.protocol import TrainingReport

__all__ = ["USUAL_LATENTS", "Fit", "better_by", "fit_selected"]

USUAL_LATENTS, MOST_LATENTS = 3, 5
CHOSEN = 3
"""Long trainings of what was chosen, where one each was enough to choose; the best one is kept."""
LATTICE_TURNS = (6, 4)
"""Turns of a lattice. They hold those of its subgroups; among them the luck of single trainings decided."""


class Fit(Protocol):
    """A fit of some patterns, `fitting.fit_one` with all else given."""

    def __call__(self, *, options: OrbitVAEOptions, checkpoint: Path | None) -> Fitted:
        """Fit with a given group and number of latents."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tried:
    fitted: Fitted
    evidence: np.ndarray


def fit_selected(
    fit: Fit, *, options: OrbitVAEOptions, checkpoint: Path | None
) -> tuple[OrbitVAE, TrainingReport]:
    """Fit once where group and number of latents are given, else as often as the choice takes."""
    group, n = options.group, options.net.latent_dim
    if group != AUTO and n:
        only = fit(options=options, checkpoint=checkpoint)
        return only.model, only.report

    @cache
    def attempt(group: str, latent_dim: int, *, restarts: int = options.restarts) -> _Tried:
        chosen = replace(
            options,
            group=USUAL if group == USUAL else Group.from_name(group).name,
            net=replace(options.net, latent_dim=latent_dim),
            restarts=restarts,
        )
        again = "" if restarts == options.restarts else f"-{restarts}"
        folder = None if checkpoint is None else checkpoint / f"{group}-{latent_dim}{again}"
        fitted = fit(options=chosen, checkpoint=folder)
        return _Tried(fitted=fitted, evidence=fitted.evidence())

    words: list[str] = []
    best = attempt("SO2" if group == AUTO else group, n or USUAL_LATENTS)
    needs_any_turn = options.angle_zero == "polar" or options.net.mirrored
    lattice = group == AUTO and not needs_any_turn
    if group == AUTO:
        other = attempt("O2", n or USUAL_LATENTS)
        best = _compare(best, other, "taking mirror images for the same site", words)
    if lattice:
        best = _few_turns(best, attempt, n or USUAL_LATENTS, words)
        best = _mirrors_too(best, attempt, (n,) if n else (USUAL_LATENTS, USUAL_LATENTS - 1), words)
    if not n:
        usual = best
        best = _other_latents(usual, attempt, words, step=1)
        if best is usual:
            best = _other_latents(usual, attempt, words, step=-1)
    model = best.fitted.model
    long = [one for one in best.fitted.report.restarts if one.steps == model.options.train.steps]
    if len(long) == 1 and not options.restarts:
        words.append(f"group {model.group} with {model.latent_dim} latents was then trained {CHOSEN} times")
        best = attempt(model.group, model.latent_dim, restarts=CHOSEN)
    report = replace(best.fitted.report, words=(*best.fitted.report.words, *words))
    return best.fitted.model, report


def better_by(evidence: np.ndarray, than: np.ndarray) -> tuple[float, float]:
    """Mean gain in evidence of the same patterns, and its standard error, nats."""
    gain = evidence - than
    return float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))


def _few_turns(
    any_turn: _Tried, attempt: Callable[[str, int], _Tried], latent_dim: int, words: list[str]
) -> _Tried:
    """A crystal of one orientation is turned by the angles of its lattice only; then angles are absolute."""
    kind = "D" if Group.from_name(any_turn.fitted.model.group).mirrors else "C"
    best = any_turn
    for order in LATTICE_TURNS:
        other = attempt(f"{kind}{order}", latent_dim)
        best = _compare(best, other, f"turns by multiples of {360 // order}° only", words)
    return best


def _mirrors_too(
    best: _Tried, attempt: Callable[[str, int], _Tried], latent_dims: tuple[int, ...], words: list[str]
) -> _Tried:
    """Where few turns are left, the hand of a faint pattern is no longer drowned by them: asked once more."""
    group = Group.from_name(best.fitted.model.group)
    if group.continuous or group.mirrors:
        return best
    for n in latent_dims:
        other = attempt(f"D{group.order}", n)
        latents = "" if n == latent_dims[0] else f" and {n} latents"
        kept = _compare(best, other, f"{group.name} with mirror images for the same site{latents}", words)
        if kept is other:
            return other
    return best


def _other_latents(
    best: _Tried, attempt: Callable[[str, int], _Tried], words: list[str], *, step: int
) -> _Tried:
    """One latent more (`step` 1) or less (-1) at a time, until that is not the better choice.

    A latent too many fits the noise of faint patterns; one that is not in use does not, and may stay.
    """
    model = best.fitted.model
    n = model.latent_dim + step
    if not model.active.all() or not 1 <= n <= MOST_LATENTS:
        return best
    simple, other = sorted((best, attempt(model.group, n)), key=lambda one: one.fitted.model.latent_dim)
    kept = _compare(simple, other, f"{other.fitted.model.latent_dim} latents", words)
    return best if kept is best else _other_latents(kept, attempt, words, step=step)


def _compare(simple: _Tried, other: _Tried, name: str, words: list[str]) -> _Tried:
    """The simpler one, unless the other is better by more than its error; what was found is said."""
    gain, error = better_by(other.evidence, simple.evidence)
    taken = gain > error
    words.append(
        f"held-out evidence of {name} against without: {gain:+.2f} ± {error:.2f} nats per pattern; "
        + ("taken" if taken else "left")
    )
    return other if taken else simple
