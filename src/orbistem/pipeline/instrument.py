"""Whose fault: verdicts repeated with the instrument moved within its own uncertainty.

A centre that is a tenth of a pixel off, an ellipse of a third of a percent, or descan that is not quite known
breaks symmetries, too. So the harmonics are read again with centre, descan and ellipse moved by two of their
standard deviations either way, and with the mask grown by a pixel; a verdict that changes in any of these may
be the instrument's.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from orbistem.config import FitConfig
from orbistem.harmonics.reduce import reduce_scan
from orbistem.harmonics.store import create, open_store
from orbistem.pipeline.broken import Comparison, measure_broken, modes_of
from orbistem.pipeline.descriptors import Descriptors, describe_symmetry
from orbistem.pipeline.places import Finding, which_of_pattern
from orbistem.pipeline.preparation import Preparation
from orbistem.pipeline.reduction import STORE_NAME
from orbistem.pipeline.vacuum import vacuum_harmonics
from orbistem.plan import Plan
from orbistem.prepare.descan import descan_shift
from orbistem.prepare.tiles import scan_coordinates
from orbistem.progress import Progress
from orbistem.scan import Scan
from orbistem.scan.ellipse import Ellipse, ellipse_matrix
from orbistem.stream import Runner
from orbistem.symmetry import POINT_GROUP
from orbistem.symmetry.broken import Broken, BrokenOptions
from orbistem.symmetry.which import which_of_single, which_operation

__all__ = ["Instrument", "Move", "check_instrument", "instrument_moves", "worth_checking"]

SIGMAS = 2.0
"""Everything is moved by so many of its standard deviations."""
GIVEN_SD_PX = 0.05
"""Taken for the uncertainty of a centre that was given."""
QUICK_VALUES = 2**23
"""A scan of so many numbers is checked without being asked: at most thirteen times the seconds that it takes
to read it and to judge it, 7 s each for 32 × 32 patterns of 48 px on a busy machine."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Move:
    """The instrument, moved: what was done, and the plan that follows."""

    name: str
    plan: Plan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Instrument:
    """Verdicts that the instrument may have made.

    Attributes
    ----------
    moves
        What was tried.
    point_group, broken
        (n,) float32: 1 where the verdict changes in any move, 0 where it stands, NaN where there is none;
        None where nothing was judged.
    places
        By name of the place: lowest and highest score of each operation over the moves.
    record
        Entry of run.json.
    """

    moves: tuple[str, ...]
    point_group: NDArray[np.float32] | None
    broken: NDArray[np.float32] | None
    places: dict[str, list[tuple[float, float]]]
    record: dict[str, Any]

    def maps(self) -> dict[str, NDArray[np.float32]]:
        """Maps for ``maps.nc``."""
        found = {"point_group_by_instrument": self.point_group, "broken_by_instrument": self.broken}
        return {name: values for name, values in found.items() if values is not None}


def worth_checking(scan: Scan, config: FitConfig) -> bool:
    """Whether the check was asked for, or takes little time."""
    asked = config.symmetry.check_instrument
    if asked is not None:
        return asked
    return scan.n_positions * scan.detector_shape[0] * scan.detector_shape[1] <= QUICK_VALUES


def instrument_moves(plan: Plan, prepared: Preparation, scan: Scan) -> tuple[Move, ...]:
    """Plans with one part of the instrument moved each.

    Parameters
    ----------
    plan
        Of the run.
    prepared
        Knows the uncertainties.
    scan
        Where its positions lie.
    """
    bare = replace(plan, order0_mean=None)
    moves: list[Move] = []
    sd = tuple(one if np.isfinite(one) and one > 0 else GIVEN_SD_PX for one in prepared.centre.sd_px)
    for axis, name in enumerate(("ky", "kx")):
        for sign in (1, -1):
            centre = list(plan.centre_px)
            centre[axis] += sign * SIGMAS * sd[axis]
            moves.append(
                Move(
                    name=f"centre by {sign * SIGMAS * sd[axis]:+.3f} px along {name}",
                    plan=replace(bare, centre_px=(centre[0], centre[1])),
                )
            )
    moves += _descan_moves(bare, prepared, scan)
    moves += _ellipse_moves(bare, prepared)
    grown = plan.pixel_valid & ~binary_dilation(~plan.pixel_valid)
    if not plan.pixel_valid.all() and grown.any():
        moves.append(Move(name="mask grown by a pixel", plan=replace(bare, pixel_valid=grown)))
    return tuple(moves)


def _descan_moves(plan: Plan, prepared: Preparation, scan: Scan) -> list[Move]:
    """A plane that changes the shift by its uncertainty (root mean square over the scan)."""
    descan = prepared.descan
    if descan is None or plan.descan_px is None or plan.shift_px is None or not np.isfinite(descan.sd_px):
        return []
    if not len(plan.descan_px):  # only single patterns were followed
        return []
    place = scan_coordinates(scan)
    moves = []
    for term, name in enumerate(("y", "x")):
        slope = np.zeros_like(plan.descan_px)
        slope[term] = 1.0
        spread = float(np.sqrt(np.mean(descan_shift(slope, place) ** 2)))
        if spread <= 0:
            continue
        for sign in (1, -1):
            by = sign * SIGMAS * descan.sd_px
            shift = plan.shift_px + descan_shift(slope * (by / spread), place)
            moves.append(
                Move(name=f"descan by {by:+.3f} px (rms) along {name}", plan=replace(plan, shift_px=shift))
            )
    return moves


def _ellipse_moves(plan: Plan, prepared: Preparation) -> list[Move]:
    """A further stretch by the uncertainty of the ratio, and by what was found and left alone."""
    fit = prepared.ellipse
    if fit is None or not np.isfinite(fit.ratio_sd) or fit.ratio_sd <= 0:
        return []
    left = 0.0 if fit.found is None or fit.ellipse[0] != 1 else fit.found[0] - 1
    by = SIGMAS * fit.ratio_sd + left
    moves = []
    for angle_deg in (0, 45, 90, 135):
        more = ellipse_matrix((1 + by, float(np.deg2rad(angle_deg))))
        ellipse = _ellipse_of(ellipse_matrix(plan.ellipse) @ more)
        moves.append(
            Move(
                name=f"ellipse by {100 * by:.2f} % along {angle_deg}°",
                plan=replace(plan, ellipse=ellipse),
            )
        )
    return moves


def _ellipse_of(matrix: NDArray[Any]) -> Ellipse:
    """Ratio and azimuth of the ellipse that a matrix on (y, x) makes of a circle."""
    size, axes = np.linalg.eigh(matrix @ matrix.T)
    long = axes[:, 1]
    return float(np.sqrt(size[1] / size[0])), float(np.arctan2(long[0], long[1]) % np.pi)


WHY_STILL = {
    "centre": "it is not known how surely it was found",
    "descan": "none was corrected, so none has an uncertainty",
    "ellipse": "the edge of the bright disk says nothing of it",
    "mask": "no pixel is masked",
}
"""Parts of the instrument by the first word of their moves, and why one may not be moved."""


def check_instrument(
    scan: Scan,
    plan: Plan,
    prepared: Preparation,
    config: FitConfig,
    *,
    descriptors: Descriptors,
    broken: Broken | None,
    comparison: Comparison | None,
    findings: tuple[Finding, ...],
    runner: Runner,
    block_size: int,
    scratch: Path,
    progress: Progress,
) -> Instrument:
    """Repeat all verdicts with the instrument moved.

    Parameters
    ----------
    scan, plan, prepared, config
        Of the run.
    descriptors
        Holds the point groups.
    broken, comparison
        What `measure_broken` returned and was given; latents stay as they are.
    findings
        Of single places.
    runner, block_size
        How the file is read.
    scratch
        Folder for the harmonics of one move at a time.
    """
    code = next(values for variable, values in descriptors.maps if variable.name == "point_group")
    verdict = np.isfinite(code) & (code > 0)
    changed = np.zeros(len(code), bool)
    found = None if broken is None or broken.problem is not None else broken.found
    found_changed = np.zeros(len(code), bool)
    scores: dict[str, list[NDArray[np.float64]]] = {}
    tried = []
    for move in instrument_moves(plan, prepared, scan):
        store = create(
            scratch / STORE_NAME, n_positions=scan.n_positions, harmonics_shape=move.plan.harmonics_shape
        )
        moments = reduce_scan(
            move.plan,
            scan,
            runner=runner,
            sink=store.write_harmonics,
            block_size=block_size,
            progress=progress,
        )
        there = move.plan.with_order0_mean(moments.order0_mean)
        seen = describe_symmetry(
            there,
            open_store(scratch / STORE_NAME),
            config=config,
            totals=prepared.electrons,
            given=vacuum_harmonics(there, config),
            descriptors=(POINT_GROUP,),
        )
        differs = verdict & (seen.maps[0][1] != code)
        changed |= differs
        entry: dict[str, Any] = {"name": move.name, "point_group": int(differs.sum())}
        again = None
        if found is not None and comparison is not None:
            again = measure_broken(scratch, there, comparison, like=broken)
            flipped = again.found != found
            found_changed |= flipped
            entry["broken"] = int(flipped.sum())
        for one in findings:
            if one.of == "pattern":
                pattern = which_of_pattern(
                    one.place, there, store, seen.basis, totals=prepared.electrons, like=one.which
                )
                which = None if pattern is None else pattern[0]
            elif again is not None and again.expected is not None:
                modes = modes_of(there, BrokenOptions())
                judge = which_of_single if one.place.single else which_operation
                which = judge(again, modes, one.place.rows, like=one.which)
            else:
                which = None
            if which is not None:
                scores.setdefault(one.place.name, []).append(np.array([o.score for o in which.operations]))
        tried.append(entry)
    shutil.rmtree(scratch / STORE_NAME, ignore_errors=True)
    places = {
        name: [(float(low), float(high)) for low, high in zip(np.min(many, 0), np.max(many, 0), strict=True)]
        for name, many in scores.items()
    }
    judged = None if found is None or broken is None else np.isfinite(broken.score)
    return Instrument(
        moves=tuple(str(entry["name"]) for entry in tried),
        point_group=np.where(verdict, changed, np.nan).astype(np.float32),
        broken=None if judged is None else np.where(judged, found_changed, np.nan).astype(np.float32),
        places=places,
        record={
            "moves": tried,
            "sentence": _sentence(tried, verdict, changed, found, found_changed),
        },
    )


def _parts(tried: list[dict[str, Any]]) -> str:
    """What was moved, and what was not because nothing is known of it."""
    moved = [part for part in WHY_STILL if any(str(one["name"]).startswith(part) for one in tried)]
    still = [f"{part} not: {why}" for part, why in WHY_STILL.items() if part not in moved]
    return "; ".join([", ".join(moved), *still])


def _sentence(
    tried: list[dict[str, Any]],
    verdict: NDArray[np.bool_],
    changed: NDArray[np.bool_],
    found: NDArray[np.bool_] | None,
    found_changed: NDArray[np.bool_],
) -> str:
    if not tried:
        return "Nothing is known about the uncertainty of the instrument, so verdicts were not repeated."
    text = (
        f"The verdicts were repeated with the instrument moved in {len(tried)} ways ({_parts(tried)}), by "
        f"{SIGMAS:g} standard deviations of what was found: the point group changes at {int(changed.sum())} "
        f"of {int(verdict.sum())} positions"
    )
    if found is not None:
        lost, new = int((found & found_changed).sum()), int((~found & found_changed).sum())
        text += f"; of {int(found.sum())} positions where symmetry is broken {lost} may be the instrument's"
        text += f", and {new} further ones would be found" if new else ""
    return text + "."
