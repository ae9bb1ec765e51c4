"""The scores of one fitted method on one case (docs/design.md, section 4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orbistem.metrics import (
    active_units,
    angle_error,
    explained_variance,
    fold_error,
    nmi,
    oracle,
    orbit_count,
    repeat_error,
    rotation_error,
    site_accuracy,
)
from orbistem.models.protocol import Encoding, PatternModel
from orbistem.pipeline.comparison_case import Case

__all__ = ["COLUMNS", "Cost", "Scores", "measure_cost", "score_model", "score_oracle"]

SAMPLE_S = 0.02
UNKNOWN = float("nan")
HANDS_APART = 2.0
"""Distance between a site and its mirror image for the clustering, in spreads of the latents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One row of the table; NaN where a score has no meaning or nothing is known to judge it by.

    Attributes
    ----------
    method, title, invariant
        Which method.
    dose
        Electrons per pattern; NaN for measured data.
    fold_error
        Of positions that are alike up to a turn: 0 folded, 1 like strangers.
    repeat_error
        Of two noise draws of one position.
    rotation_error
        Of patterns and copies turned in pixels by any angle.
    quarter_error
        The same for turns by 90°, 180° and 270°, which need no interpolation.
    angle_error_deg, angle_within_1deg
        Median and share of the angle errors of these positions.
    angles_judged
        Share of them whose angle could be judged.
    explained
        Explained variance: of the clean signal; on held-out patterns, corrected for the noise, where it is
        unknown.
    explained_ratio
        The same over that of the oracle.
    active_units
        Latents in use.
    site_accuracy, nmi
        Of k-means on the latents (and the hand, where mirror images share them) against the true sites.
    orbit_count
        Principal components of the latents that hold 95 % of their variance.
    latent_dim
        Number of latents.
    seconds, peak_mb
        Of fitting, preparation included; memory above that held before.
    problem
        Why there is nothing, or None.
    """

    method: str
    title: str
    invariant: bool
    dose: float
    fold_error: float = UNKNOWN
    repeat_error: float = UNKNOWN
    rotation_error: float = UNKNOWN
    quarter_error: float = UNKNOWN
    angle_error_deg: float = UNKNOWN
    angle_within_1deg: float = UNKNOWN
    angles_judged: float = UNKNOWN
    explained: float = UNKNOWN
    explained_ratio: float = UNKNOWN
    active_units: float = UNKNOWN
    site_accuracy: float = UNKNOWN
    nmi: float = UNKNOWN
    orbit_count: float = UNKNOWN
    latent_dim: float = UNKNOWN
    seconds: float = UNKNOWN
    peak_mb: float = UNKNOWN
    problem: str | None = None


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("fold_error", "fold error", ".3f"),
    ("repeat_error", "repeat error", ".3f"),
    ("rotation_error", "rotation error", ".3f"),
    ("quarter_error", "quarter turns", ".3f"),
    ("angle_error_deg", "angle error, °", ".2f"),
    ("angle_within_1deg", "within 1°", ".2f"),
    ("explained", "explained variance", ".3f"),
    ("explained_ratio", "over oracle", ".3f"),
    ("active_units", "active units", ".0f"),
    ("site_accuracy", "site accuracy", ".2f"),
    ("nmi", "NMI", ".2f"),
    ("orbit_count", "orbit count", ".0f"),
    ("seconds", "seconds", ".1f"),
    ("peak_mb", "peak MB", ".0f"),
)
"""Attribute, heading and format of each column of the table."""


@dataclass(slots=True)
class Cost:
    """Seconds and peak memory of what was done inside `measure_cost`."""

    seconds: float = UNKNOWN
    peak_mb: float = UNKNOWN


@contextmanager
def measure_cost() -> Iterator[Cost]:
    """Time, and largest resident memory above that at the start, sampled fifty times a second."""
    import psutil

    process, cost, done = psutil.Process(), Cost(), threading.Event()
    before = highest = process.memory_info().rss

    def watch() -> None:
        nonlocal highest
        while not done.wait(SAMPLE_S):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    started = time.perf_counter()
    watcher.start()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - started
        done.set()
        watcher.join()
        cost.peak_mb = (max(highest, process.memory_info().rss) - before) / 2**20


def score_model(
    model: PatternModel, case: Case, blank: Scores, *, cost: Cost, oracle_explained: float, seed: int
) -> Scores:
    """All scores of a fitted model.

    Parameters
    ----------
    model
        Fitted to ``case.frames[case.fitted]``.
    blank
        The row with nothing but the method's name.
    cost
        Of the fit.
    oracle_explained
        Explained variance of the oracle, or NaN.
    seed
        Of the clusterings.
    """
    found = model.encode(case.frames)
    z, z_sd = np.asarray(found.z, np.float64), np.asarray(found.z_sd, np.float64)
    good = np.isfinite(z).all(axis=1)
    if not good.any():
        return replace(blank, seconds=cost.seconds, peak_mb=cost.peak_mb, problem="no latent at this dose")
    fresh, repeat, quarter = z[case.turned_rows], UNKNOWN, UNKNOWN
    if case.again is not None:
        fresh = np.asarray(model.encode(case.again[case.turned_rows]).z, np.float64)
        repeat = repeat_error(z[case.turned_rows], fresh)
    if case.quarter is not None:
        quarter = rotation_error(fresh, np.asarray(model.encode(case.quarter).z, np.float64))
    fold = UNKNOWN
    if case.pairs is not None and len(case.pairs.rows):
        fold = fold_error(z, case.pairs.rows)
    accuracy = information = UNKNOWN
    if case.site is not None and (asked := (case.site >= 0) & good).any():
        sites = _with_sign(z, found)[asked]
        accuracy = site_accuracy(sites, case.site[asked], seed=seed)
        information = nmi(sites, case.site[asked], seed=seed)
    error, within, n_judged = _angles(found, case)
    explained = _explained(model, case)
    return replace(
        blank,
        fold_error=fold,
        repeat_error=repeat,
        rotation_error=rotation_error(fresh, np.asarray(model.encode(case.turned).z, np.float64)),
        quarter_error=quarter,
        angle_error_deg=error,
        angle_within_1deg=within,
        angles_judged=n_judged,
        explained=explained,
        explained_ratio=explained / oracle_explained,
        active_units=active_units(z, z_sd),
        site_accuracy=accuracy,
        nmi=information,
        orbit_count=orbit_count(z[good]),
        latent_dim=z.shape[1],
        seconds=cost.seconds,
        peak_mb=cost.peak_mb,
    )


def score_oracle(case: Case) -> Scores:
    """What the best answer to one pattern explains; only where the clean patterns are known."""
    assert case.clean is not None
    library = case.clean[: len(case.clean) // case.draws]
    index = np.arange(len(case.clean)) % len(library)
    counts = case.plan.electrons(case.frames)
    with measure_cost() as cost:
        explained = oracle(counts, library, index, static=case.static, weight=case.weight)
    return Scores(
        method="oracle",
        title="oracle",
        invariant=True,
        dose=case.dose,
        explained=explained,
        explained_ratio=1.0,
        seconds=cost.seconds,
        peak_mb=cost.peak_mb,
    )


def _with_sign(z: NDArray[np.float64], found: Encoding) -> NDArray[np.float64]:
    """Latents, and which hand where mirror images share them: true sites are alike up to a turn only."""
    if found.handedness is None:
        return z
    spread = float(np.sqrt(np.nansum(np.nanvar(z, axis=0))))
    return np.column_stack([z, np.where(np.asarray(found.handedness) < 0, HANDS_APART * spread, 0.0)])


def _angles(found: Encoding, case: Case) -> tuple[float, float, float]:
    if case.pairs is None or not len(case.pairs.rows):
        return UNKNOWN, UNKNOWN, UNKNOWN
    p, q = case.pairs.rows.T
    claimed = np.nan_to_num(np.asarray(found.angle_order, np.float64)).astype(int)
    order = np.lcm(case.pairs.order, np.lcm(claimed[p], claimed[q]))  # 0: no preferred angle
    angle = np.asarray(found.angle, np.float64)
    error = angle_error(angle[p], angle[q], case.pairs.turn, order)
    return error.median_deg, error.share_within(1.0), error.n_judged / len(error.errors_deg)


def _explained(model: PatternModel, case: Case) -> float:
    if case.clean is not None:
        return explained_variance(case.clean, model.predict(case.frames), case.static, case.weight)
    frames = case.frames[case.judged]
    seen, predicted = case.plan.electrons(frames), np.asarray(model.predict(frames), np.float64)
    good = np.isfinite(predicted).all(axis=(1, 2))
    noise = case.plan.noise_scale * float((case.weight * case.static).sum()) * int(good.sum())
    missed = float((case.weight * (seen[good] - predicted[good]) ** 2).sum()) - noise
    total = float((case.weight * (seen[good] - case.static) ** 2).sum()) - noise
    return 1 - missed / total if total > 0 else UNKNOWN
