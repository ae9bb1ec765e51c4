"""Verdicts on symmetry: against a reference, of single places, then again with the instrument moved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.harmonics.store import open_store
from orbistem.pipeline.broken import Comparison, describe_broken, measure_broken
from orbistem.pipeline.descriptors import Descriptors, static_kind
from orbistem.pipeline.instrument import Instrument, check_instrument, worth_checking
from orbistem.pipeline.places import (
    Finding,
    asked_places,
    describe_findings,
    discovered_places,
    judge_difference,
    judge_pattern,
)
from orbistem.pipeline.preparation import Preparation
from orbistem.pipeline.reduction import STORE_NAME
from orbistem.pipeline.vacuum import vacuum_pattern
from orbistem.plan import Plan
from orbistem.progress import Progress
from orbistem.scan import Scan
from orbistem.stream import Runner
from orbistem.symmetry.broken import Broken

__all__ = ["Verdicts", "judge"]


UNCHECKED = (
    "Verdicts were not repeated with the instrument moved, since that takes long for a scan of this size; "
    "--check-instrument does it."
)


FEW_ELECTRONS = 20.0
"""Below, nobody has measured how often mere noise is taken for a discovery."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verdicts:
    """What was judged.

    Attributes
    ----------
    broken
        Scores of all positions; None without a reference.
    findings
        Of single places.
    instrument
        None where it was not checked.
    record
        Entries of run.json: `broken`, `places` and `instrument`.
    words
        For the report.
    electrons
        In the median pattern.
    """

    broken: Broken | None
    findings: tuple[Finding, ...]
    instrument: Instrument | None
    record: dict[str, Any]
    words: tuple[str, ...]
    electrons: float = float("inf")

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for the record."""
        if self.broken is None:
            return ()
        if self.broken.problem is not None:
            return (self.broken.problem,)
        said: tuple[str, ...] = ()
        if self.electrons < FEW_ELECTRONS and self.broken.found.any():
            said = (
                f"At {self.electrons:.3g} electrons per pattern the false-discovery rate of `broken` is not "
                f"known: it was measured from {FEW_ELECTRONS:g} electrons on.",
            )
        found, usable = int(self.broken.found.sum()), int(np.isfinite(self.broken.score).sum())
        if 2 * found <= usable:
            return said
        return (
            *said,
            f"Most positions ({found} of {usable}) differ from the reference, so it does not describe this "
            "scan: it is too small or of other sites, or the scan holds fewer than two periods of its "
            "lattice; name a region of the perfect crystal before reading them as defects.",
        )


def judge(
    directory: Path,
    scan: Scan,
    plan: Plan,
    prepared: Preparation,
    config: FitConfig,
    *,
    descriptors: Descriptors,
    comparison: Comparison | None,
    runner: Runner,
    block_size: int,
    scratch: Path,
    progress: Progress,
) -> Verdicts:
    """Judge all positions against the reference, places that were asked for, and the strongest discoveries.

    Parameters
    ----------
    directory
        Holds ``coefficients.zarr``.
    scan, plan, prepared, config, descriptors
        Of the run.
    comparison
        With the reference; None where there is none.
    runner, block_size, scratch, progress
        How and where the harmonics are read again.
    """
    broken = None
    record: dict[str, Any] = {}
    if comparison is not None:
        broken = measure_broken(directory, plan, comparison)
        record["broken"] = describe_broken(broken, scan)
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
            comparison=comparison,
            findings=tuple(findings),
            runner=runner,
            block_size=block_size,
            scratch=scratch,
            progress=progress,
        )
    moves = {} if instrument is None else instrument.places
    if findings:
        record["places"] = describe_findings(tuple(findings), plan, scan, moves=moves)
    if instrument is not None:
        record["instrument"] = instrument.record
    lost = [place.name for place in places if place.name not in {one.place.name for one in findings}]
    return Verdicts(
        broken=broken,
        findings=tuple(findings),
        instrument=instrument,
        record=record,
        electrons=float(np.nanmedian(prepared.electrons)) if plan.gain is not None else float("inf"),
        words=(
            *(f"{name[:1].upper()}{name[1:]} holds no usable pattern." for name in lost),
            *((UNCHECKED,) if instrument is None and config.symmetry.check_instrument is None else ()),
        ),
    )


def _background(plan: Plan, prepared: Preparation, config: FitConfig) -> NDArray[np.float64]:
    """Static background in electrons, as the descriptors take it off; none of it turns."""
    vacuum = vacuum_pattern(plan, config)
    if vacuum is not None:
        return vacuum
    if static_kind(config.model.background, prepared.moments.n) in ("azimuthal", "none"):
        return np.zeros(plan.detector_shape)
    return np.asarray(plan.clean_mean)
