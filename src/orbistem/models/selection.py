"""Group and number of latents where they are left open: held-out evidence decides.

Each candidate is fitted as any fit is, on the same patterns, and judged by the evidence of the same held-out
patterns after refinement. One with more freedom (mirror images are the same site; a further latent) is taken
only where its evidence is higher by more than one standard error of the mean difference. First the group,
with the given or usual number of latents; then one latent more at a time, as long as all are in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from orbistem.groups import Group
from orbistem.harmonics.count_nodes import CountNodes
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.models.fitting import Fitted, fit_one
from orbistem.models.orbit import AUTO, OrbitVAE, OrbitVAEOptions
from orbistem.models.protocol import TrainingReport
from orbistem.progress import Progress

__all__ = ["USUAL_LATENTS", "better_by", "fit_orbit_vae"]

USUAL_LATENTS, MOST_LATENTS = 3, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tried:
    options: OrbitVAEOptions
    fitted: Fitted
    evidence: np.ndarray


def fit_orbit_vae(
    coefficients: np.ndarray,
    *,
    basis: SteerableBasis,
    counts: CountNodes | None,
    options: OrbitVAEOptions,
    seed: int,
    progress: Progress | None,
    checkpoint: Path | None,
) -> tuple[OrbitVAE, TrainingReport]:
    """See `OrbitVAE.fit`."""

    def fit(group: str, latent_dim: int, folder: Path | None) -> tuple[OrbitVAEOptions, Fitted]:
        chosen = replace(
            options, group=Group.from_name(group).name, net=replace(options.net, latent_dim=latent_dim)
        )
        return chosen, fit_one(
            coefficients,
            basis=basis,
            counts=counts,
            options=chosen,
            seed=seed,
            progress=progress,
            checkpoint=folder,
        )

    n = options.net.latent_dim or USUAL_LATENTS
    if options.group != AUTO and options.net.latent_dim:
        _, only = fit(options.group, n, checkpoint)
        return only.model, only.report

    def attempt(group: str, latent_dim: int) -> _Tried:
        folder = None if checkpoint is None else checkpoint / f"{group}-{latent_dim}"
        chosen, fitted = fit(group, latent_dim, folder)
        return _Tried(options=chosen, fitted=fitted, evidence=fitted.evidence())

    best = attempt("SO2" if options.group == AUTO else options.group, n)
    words: list[str] = []
    if options.group == AUTO:
        best = _compare(best, attempt("O2", n), "taking mirror images for the same site", words)
    if not options.net.latent_dim:
        best = _more_latents(best, attempt, words)
    report = replace(best.fitted.report, words=(*best.fitted.report.words, *words))
    return best.fitted.model, report


def better_by(evidence: np.ndarray, than: np.ndarray) -> tuple[float, float]:
    """Mean gain in evidence of the same patterns, and its standard error, nats."""
    gain = evidence - than
    return float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))


def _more_latents(best: _Tried, attempt: Callable[[str, int], _Tried], words: list[str]) -> _Tried:
    while best.fitted.model.active.all() and best.fitted.model.latent_dim < MOST_LATENTS:
        n = best.fitted.model.latent_dim + 1
        last, best = best, _compare(best, attempt(best.options.group, n), f"{n} latents", words)
        if best is last:
            break
    return best


def _compare(simple: _Tried, other: _Tried, name: str, words: list[str]) -> _Tried:
    """The simpler one, unless the other is better by more than its error; what was found is said."""
    gain, error = better_by(other.evidence, simple.evidence)
    taken = gain > error
    words.append(
        f"held-out evidence of {name} against without: {gain:+.2f} ± {error:.2f} nats per pattern; "
        + ("taken" if taken else "left")
    )
    return other if taken else simple
