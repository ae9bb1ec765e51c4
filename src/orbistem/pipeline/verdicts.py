"""Verdicts on symmetry: single places, then everything again with the instrument moved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.harmonics.store import open_store
from orbistem.io import open_scan
from orbistem.models.protocol import Encoding
from orbistem.pipeline.descriptors import Descriptors
from orbistem.pipeline.instrument import Instrument, check_instrument, worth_checking
from orbistem.pipeline.places import (
    Finding,
    asked_places,
    describe_findings,
    discovered_places,
    judge_difference,
    judge_pattern,
)
from orbistem.pipeline.preparation import MIN_PATTERNS, Preparation
from orbistem.pipeline.reduction import STORE_NAME
from orbistem.plan import Plan
from orbistem.progress import Progress
from orbistem.scan import Scan
from orbistem.stream import Runner
from orbistem.symmetry.broken import Broken

__all__ = ["Verdicts", "judge"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verdicts:
    """What was judged.

    Attributes
    ----------
    findings
        Of single places.
    instrument
        None where it was not checked.
    record
        Entries of run.json: `places` and `instrument`.
    words
        For the report.
    """

    findings: tuple[Finding, ...]
    instrument: Instrument | None
    record: dict[str, Any]
    words: tuple[str, ...]


def judge(
    directory: Path,
    scan: Scan,
    plan: Plan,
    prepared: Preparation,
    config: FitConfig,
    *,
    descriptors: Descriptors,
    broken: Broken | None,
    encoding: Encoding | None,
    active: tuple[bool, ...],
    rows: NDArray[np.integer[Any]] | None,
    runner: Runner,
    block_size: int,
    scratch: Path,
    progress: Progress,
) -> Verdicts:
    """Judge the places that were asked for and the strongest discoveries.

    Parameters
    ----------
    directory
        Holds ``coefficients.zarr``.
    scan, plan, prepared, config, descriptors
        Of the run.
    broken, encoding, active, rows
        See `check_instrument`.
    runner, block_size, scratch, progress
        How and where the harmonics are read again.
    """
    store = open_store(directory / STORE_NAME)
    findings: list[Finding] = []
    places = asked_places(scan, config)
    if places:
        background = _background(plan, prepared, config)
        for place in places:
            found = judge_pattern(
                place,
                plan,
                store,
                descriptors.basis,
                scan=scan,
                totals=prepared.electrons,
                background=background,
            )
            findings += [] if found is None else [found]
    if broken is not None and broken.problem is None:
        findings += [judge_difference(place, plan, broken) for place in discovered_places(broken, scan)]
    instrument = None
    if worth_checking(scan, config):
        instrument = check_instrument(
            scan,
            plan,
            prepared,
            config,
            descriptors=descriptors,
            broken=broken,
            encoding=encoding,
            active=active,
            rows=rows,
            findings=tuple(findings),
            runner=runner,
            block_size=block_size,
            scratch=scratch,
            progress=progress,
        )
    moves = {} if instrument is None else instrument.places
    record: dict[str, Any] = {}
    if findings:
        record["places"] = describe_findings(tuple(findings), plan, scan, moves=moves)
    if instrument is not None:
        record["instrument"] = instrument.record
    lost = [place.name for place in places if place.name not in {one.place.name for one in findings}]
    return Verdicts(
        findings=tuple(findings),
        instrument=instrument,
        record=record,
        words=tuple(f"{name[:1].upper()}{name[1:]} holds no usable pattern." for name in lost),
    )


def _background(plan: Plan, prepared: Preparation, config: FitConfig) -> NDArray[np.float64]:
    """Static background in electrons, as the descriptors take it off; none of it turns."""
    if config.prepare.background is not None:
        vacuum = np.asarray(open_scan(config.prepare.background).patterns, np.float64)
        vacuum = vacuum.reshape(-1, *plan.detector_shape).sum(axis=0)
        use = plan.pixel_valid
        return np.asarray(vacuum * plan.mean[use].sum() / max(float(vacuum[use].sum()), 1e-300))
    azimuthal = config.model.background in ("azimuthal", "none")
    if azimuthal or prepared.moments.n < MIN_PATTERNS:
        return np.zeros(plan.detector_shape)
    return np.asarray(plan.clean_mean)
