"""Training the model on the kept coefficients, and encoding every position with it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.harmonics.count_nodes import CountNodes, count_nodes
from orbistem.harmonics.steerable_pca import FAINT_SIGNAL
from orbistem.metrics import active_units
from orbistem.models.orbit import USUAL, OrbitVAE, OrbitVAEOptions
from orbistem.models.protocol import Encoding, Restart, TrainingReport
from orbistem.models.selection import USUAL_LATENTS
from orbistem.pipeline.maps import sort_latents
from orbistem.pipeline.preparation import Preparation, as_sentence
from orbistem.pipeline.reduction import Reduced
from orbistem.pipeline.vacuum import vacuum_harmonics
from orbistem.plan import Plan
from orbistem.progress import Progress
from orbistem.result import TrainedModel

__all__ = ["NOTHING_TRAINED", "Training", "counted_nodes", "describe_training", "train_model"]

COUNTS_TOLERANCE = 0.1
"""Noise must be that of counts within this share for its change with the signal to be believed."""
HANDS_WORDS = (
    "a pattern and its mirror image count as the same site (group O2): their latents are equal, and "
    "handedness says which of the two is where; --group SO2 keeps them apart"
)
FAINT_WORDS = (
    "a pattern holds only {signal:.0f} nats of signal: if this is one crystal in one orientation, "
    "--group auto --latent-dim auto lets held-out evidence decide whether turns of its lattice, and fewer "
    "latents, are enough, and learns more from the same counts (it takes several times as long)"
)
AGREEMENT = 0.9
"""Trainings agree where one predicts this share of the variation of the other's latents."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Training:
    """A trained model and what it says about every position.

    Attributes
    ----------
    model, encoding, report
        None where nothing was trained.
    coefficients
        (position, K) that it was trained on.
    active
        Which latents carry information.
    restarts_agree
        None where only one training was made.
    words, problems, scores
        For the record.
    """

    model: TrainedModel | None = None
    encoding: Encoding | None = None
    report: TrainingReport | None = None
    coefficients: NDArray[np.complex64] = field(default_factory=lambda: np.empty((0, 0), np.complex64))
    active: tuple[bool, ...] = ()
    restarts_agree: bool | None = None
    words: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)


NOTHING_TRAINED = Training()


def train_model(
    reduced: Reduced, prepared: Preparation, config: FitConfig, *, checkpoint: Path | None, progress: Progress
) -> Training:
    """Train on all usable positions, encode all of them, and put the latents in order.

    Parameters
    ----------
    reduced
        Basis and coefficients.
    prepared
        Says which positions are usable.
    config
        Options and seed.
    checkpoint
        Folder from which an interrupted training goes on.
    progress
        Told how far the training is.
    """
    if reduced.basis.n_kept == 0:
        n, d = len(reduced.coefficients), config.model.net.latent_dim or USUAL_LATENTS
        return Training(
            encoding=_unknown(n, d),
            active=(False,) * d,
            problems=(
                "No latent at this dose: nothing rises above the noise, so the latents are empty; "
                "sum neighbouring patterns, bin the detector, or record more electrons.",
            ),
        )
    usable = np.asarray(prepared.usable)
    background = _background(reduced.plan, config, reduced)
    rows = reduced.coefficients if usable.all() else reduced.coefficients[usable]
    options = config.model
    if options.group == USUAL and reduced.plan.gain is None:
        # how unlike its mirror image a site must be to have a hand is counted in nats of a known noise
        options = dataclasses.replace(options, group="SO2")
    vae, report = OrbitVAE.fit(
        rows if background is None else rows - background,
        basis=reduced.basis,
        counts=counted_nodes(reduced),
        options=options,
        seed=config.seed,
        progress=progress,
        checkpoint=checkpoint,
        threads=config.compute.threads,
    )
    d = vae.latent_dim
    model = TrainedModel(
        plan=reduced.plan,
        basis=reduced.basis,
        vae=vae,
        latent_order=tuple(range(d)),
        latent_sign=(1.0,) * d,
        background=background,
    )
    encoding = model.encode_coefficients(reduced.coefficients, usable)
    sort = sort_latents(encoding.z, encoding.z_sd)
    order, sign = list(sort.order), np.asarray(sort.sign, np.float32)
    model = TrainedModel(
        plan=reduced.plan,
        basis=reduced.basis,
        vae=vae,
        latent_order=sort.order,
        latent_sign=sort.sign,
        background=background,
    )
    encoding = dataclasses.replace(encoding, z=encoding.z[:, order] * sign, z_sd=encoding.z_sd[:, order])
    words, problems = _say(report, sort.active)
    if config.model.group == USUAL and vae.group == "O2":
        words = (*words, as_sentence(HANDS_WORDS))
    if any(sort.active) and _would_gain_by_evidence(reduced, config.model):
        words = (*words, as_sentence(FAINT_WORDS.format(signal=reduced.basis.signal_nats)))
    scores = {
        "active_units": active_units(encoding.z, encoding.z_sd),
        "residual_median": float(np.nanmedian(encoding.residual)),
    }
    if not any(sort.active):
        nothing = np.full_like(encoding.z, np.nan)
        encoding = dataclasses.replace(encoding, z=nothing, z_sd=nothing)
    return Training(
        model=model,
        encoding=encoding,
        report=report,
        coefficients=reduced.coefficients,
        active=sort.active,
        restarts_agree=None if report.agreement is None else report.agreement >= AGREEMENT,
        words=words,
        problems=problems,
        scores=scores,
    )


def counted_nodes(reduced: Reduced) -> CountNodes | None:
    """Where electrons are counted, if what was measured are counts of independent pixels."""
    plan, basis = reduced.plan, reduced.basis
    counted = plan.gain is not None and plan.whitening == "poisson" and plan.autocorrelation is None
    if not counted or abs(basis.noise_level - 1) > COUNTS_TOLERANCE:
        return None
    return count_nodes(
        plan.grid,
        basis,
        weight=plan.weight,
        electrons=plan.background,
        spread_px=plan.spread_px,
        pixel_scale=plan.pixel_scale,
        ellipse=plan.ellipse,
    )


def describe_training(training: Training) -> dict[str, Any]:
    """The part of run.json about training."""
    report = training.report
    if report is None:
        return {"steps": 0, "kept_coefficients": 0, "active_units": 0, "heldout_evidence": None}
    chosen = report.restarts[-1] if report.restarts else None
    return {
        "patterns_per_s": report.patterns_per_s,
        "first_epoch_s": report.first_epoch_s,
        "steps": report.steps,
        "kept_coefficients": report.kept_coefficients,
        "active_units": int(sum(training.active)),
        "heldout_evidence": report.heldout_evidence,
        "agreement": report.agreement,
        "curve": {} if chosen is None else _curve(chosen),
        "restarts": [
            {
                "start": one.start,
                "seed": one.seed,
                "steps": one.steps,
                "heldout": one.heldout,
                "curve": _curve(one),
            }
            for one in report.restarts
        ],
    }


def _curve(restart: Restart) -> dict[str, list[float]]:
    return {
        "step": list(restart.curve_step),
        "train": list(restart.curve_train),
        "heldout": list(restart.curve_heldout),
    }


def _say(report: TrainingReport, active: tuple[bool, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    problems = _listed(report.problem)
    if not any(active) and not problems:
        problems = (
            "No latent at this dose: apart from rotation the patterns do not differ beyond the noise, so the "
            "latents are empty; sum neighbouring patterns, or record more electrons.",
        )
    return _listed((*_latents_in_use(active), *report.words)), problems


def _would_gain_by_evidence(reduced: Reduced, options: OrbitVAEOptions) -> bool:
    """Where counts are the limit, knowing less freedom helps; not where it was given, or decided already."""
    usual = options.group == USUAL and options.angle_zero == "free" and options.net.latent_dim > 0
    return usual and reduced.plan.gain is not None and reduced.basis.signal_nats < FAINT_SIGNAL


def _latents_in_use(active: tuple[bool, ...]) -> tuple[str, ...]:
    """Over the whole scan; a training judges some of its patterns only."""
    n_active, n = sum(active), len(active)
    said = (
        f"{n_active} of {n} latents are in use; each is given in units of its own median uncertainty, so "
        "that a difference of 10 is ten standard deviations",
    )
    if not 0 < n_active < n:
        return said
    enough = "one latent is" if n_active == 1 else f"{n_active} latents are"
    return (*said, f"{enough} enough at this dose; the others stay within their uncertainty")


def _listed(texts: Any) -> tuple[str, ...]:
    if not texts:
        return ()
    return tuple(as_sentence(text) for text in ((texts,) if isinstance(texts, str) else texts))


def _background(plan: Plan, config: FitConfig, reduced: Reduced) -> NDArray[np.complex64] | None:
    """Coefficients of a given vacuum pattern, scaled to the total of the mean; order 0 stays."""
    vacuum = vacuum_harmonics(plan, config)
    if vacuum is None:
        return None
    kept = reduced.basis.coefficients(vacuum[None])[0]
    return np.where(np.asarray(reduced.basis.order) > 0, kept, 0).astype(np.complex64)


def _unknown(n: int, latent_dim: int) -> Encoding:
    def blank(*shape: int) -> NDArray[np.float32]:
        return np.full(shape, np.nan, np.float32)

    return Encoding(
        z=blank(n, latent_dim),
        z_sd=blank(n, latent_dim),
        angle=blank(n),
        angle_sd=blank(n),
        angle_order=blank(n),
        evidence=blank(n),
        residual=blank(n),
    )
