"""Single places of a scan: which operations each keeps or breaks, what carries it, and the picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.errors import OptionError
from orbistem.harmonics.basis_patterns import basis_patterns
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.harmonics.store import CoefficientStore
from orbistem.pipeline.broken import CAVEAT, layout_of, modes_of, modes_up_to
from orbistem.pipeline.descriptors import noise_factor
from orbistem.pipeline.frames import read_at_rest
from orbistem.pipeline.turned import image_under
from orbistem.plan import Plan
from orbistem.scan import Scan
from orbistem.symmetry import ComponentBasis, Components
from orbistem.symmetry.broken import Broken, BrokenOptions
from orbistem.symmetry.coarse import CoarseModes
from orbistem.symmetry.group_and_parts import GroupVerdict, whole_and_parts
from orbistem.symmetry.pooled_scores import SINGLE
from orbistem.symmetry.which import (
    BROKEN_SCORE,
    BrokenOperation,
    Which,
    fine_values,
    moved,
    pattern_operations,
    which_of_single,
    which_operation,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Finding",
    "Place",
    "asked_places",
    "describe_findings",
    "discovered_places",
    "fine_modes",
    "judge_difference",
    "judge_pattern",
    "with_pictures",
]

MOST_DISCOVERIES = 3
NOTHING_Z = 2.0
"""Standard deviations of the strongest ring and order below which a place shows nothing."""
APART_WIDTHS = 3.0
"""Discoveries nearer than so many pooling widths are one."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Place:
    """Some positions under one name; `rows` are flat indices.

    `single`: their patterns differ from the reference each in its own way.
    """

    name: str
    rows: NDArray[np.int64]
    single: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Finding:
    """What is found at a place.

    Attributes
    ----------
    place
        Where.
    of
        "pattern": the pattern itself, about the static background; "difference": what is left of it against
        the reference.
    which
        Operations, and what carries them.
    picture, change
        (ky, kx) pattern or difference, and by how much `shown` changes it, in units of the shot noise of a
        pixel of one pattern; NaN where the detector is blind.
    shown
        The operation.
    group
        Of a pattern: its point group, beside the operation of it that fits worst.
    """

    place: Place
    of: str
    which: Which
    picture: NDArray[np.floating[Any]]
    change: NDArray[np.floating[Any]]
    shown: BrokenOperation
    group: GroupVerdict | None = None


def asked_places(scan: Scan, config: FitConfig) -> tuple[Place, ...]:
    """Places that the configuration names.

    Raises
    ------
    OptionError
        A place lies outside the scan.
    """
    found = []
    for at in config.symmetry.at:
        if len(at) != len(scan.scan_shape) or any(a >= n for a, n in zip(at, scan.scan_shape, strict=False)):
            raise OptionError(
                f"at: want a position inside a scan of {' x '.join(map(str, scan.scan_shape))}, got "
                f"{','.join(map(str, at))}; correct it"
            )
        row = np.ravel_multi_index(at, scan.scan_shape)
        found.append(Place(name=f"position {', '.join(map(str, at))}", rows=np.array([row], np.int64)))
    for y0, y1, x0, x1 in config.symmetry.regions:
        inside = np.zeros(scan.scan_shape, bool)
        if scan.is_grid:
            inside[y0:y1, x0:x1] = True
        if not inside.any() or y1 > scan.scan_shape[0] or x1 > scan.scan_shape[1]:
            raise OptionError(
                f"region: want one inside a grid of {' x '.join(map(str, scan.scan_shape))} positions, got "
                f"{y0}:{y1},{x0}:{x1}; correct it"
            )
        found.append(Place(name=f"region {y0}:{y1}, {x0}:{x1}", rows=np.flatnonzero(inside)))
    return tuple(found)


def discovered_places(broken: Broken, scan: Scan) -> tuple[Place, ...]:
    """The strongest discoveries, each with the positions that were pooled with it."""
    if broken.expected is None or not broken.found.any():
        return ()
    positions = layout_of(scan, np.isfinite(broken.score)).positions
    found: list[Place] = []
    taken: list[int] = []
    for row in np.argsort(-np.nan_to_num(broken.score, nan=-np.inf)):
        if not broken.found[row] or len(found) == MOST_DISCOVERIES:
            break
        apart = np.linalg.norm(positions[taken] - positions[row], axis=1)
        if (apart < APART_WIDTHS * max(broken.widths)).any():
            continue
        by, width = broken.carrier(int(row))
        single = by == f"{SINGLE}, more"
        near = np.linalg.norm(positions - positions[row], axis=1) <= (width if single else min(broken.widths))
        at = ", ".join(str(int(one)) for one in np.unravel_index(row, scan.scan_shape))
        taken.append(int(row))
        found.append(
            Place(
                name=f"around position {at}",
                rows=np.flatnonzero(near & np.isfinite(broken.score)),
                single=single,
            )
        )
    return tuple(found)


def fine_modes(plan: Plan) -> CoarseModes:
    """Modes as fine as the harmonics are: one for each ring and order."""
    n_rings, n_orders = plan.harmonics_shape
    return modes_up_to(plan, max_order=n_orders - 1, n_rings=n_rings)


def which_of_pattern(
    place: Place,
    plan: Plan,
    store: CoefficientStore,
    basis: ComponentBasis,
    *,
    totals: NDArray[Any],
    like: Which | None = None,
) -> tuple[Which, Components] | None:
    """Operations of the mean pattern of a place, and it; None where none of its positions is usable."""
    harmonics = store.rows(place.rows)
    good = np.isfinite(harmonics).all(axis=(1, 2))
    if not good.any():
        return None
    factor = noise_factor(plan, totals)
    components = basis.components(
        harmonics[good], noise_factor=None if factor is None else factor[place.rows[good]]
    ).pooled()
    modes = fine_modes(plan)
    values = fine_values(harmonics[good], basis.static, modes)
    return pattern_operations(components, values, modes, like=like), components


def judge_pattern(
    place: Place,
    plan: Plan,
    store: CoefficientStore,
    basis: ComponentBasis,
    *,
    scan: Scan,
    totals: NDArray[Any],
    background: NDArray[np.floating[Any]],
) -> Finding | None:
    """What the mean pattern of a place keeps and breaks.

    Parameters
    ----------
    place
        Its positions.
    plan, store, basis
        Of the run.
    scan
        To read the patterns that the picture shows.
    totals
        Electrons of each pattern, (position,).
    background
        Static background in electrons, (ky, kx).
    """
    found = which_of_pattern(place, plan, store, basis, totals=totals)
    if found is None:
        return None
    which, components = found
    frames = plan.electrons(read_at_rest(scan, place.rows, plan))
    valid = plan.pixel_valid & np.isfinite(frames).all(axis=0)
    about = (np.nan_to_num(frames).mean(axis=0) - background) * _per_electron(plan)
    shown = _to_show(which)
    image, seen = image_under(np.where(valid, about, 0), valid, plan, shown.operation)
    change = np.where(valid & seen, about - image, np.nan)
    return Finding(
        place=place,
        of="pattern",
        which=which,
        picture=np.where(valid, about, np.nan),
        change=change,
        shown=shown,
        group=whole_and_parts(which, components),
    )


def judge_difference(place: Place, plan: Plan, broken: Broken) -> Finding:
    """What the difference of a place from the reference keeps and breaks."""
    modes = modes_of(plan, BrokenOptions())
    which = (which_of_single if place.single else which_operation)(broken, modes, place.rows)
    shown = _to_show(which)
    change = which.difference - moved(which.difference, which.order, shown.operation)
    drawn = _draw(np.stack([which.difference, change]), modes, plan)
    return Finding(place=place, of="difference", which=which, picture=drawn[0], change=drawn[1], shown=shown)


def describe_findings(
    findings: tuple[Finding, ...], plan: Plan, scan: Scan, *, moves: dict[str, list[tuple[float, float]]]
) -> list[dict[str, Any]]:
    """Entries of run.json, one a place.

    Parameters
    ----------
    findings
        Of all places.
    plan, scan
        Say which radius a ring has.
    moves
        For places by name: lowest and highest score of each operation while the instrument was moved.
    """
    axis = scan.detector_axes[1]
    entries = []
    for one in findings:
        ranges = moves.get(one.place.name)
        operations = []
        for i, operation in enumerate(one.which.operations):
            radius_px = _radius_px(plan, operation.carrier.ring)
            entry: dict[str, Any] = {
                "name": operation.name,
                "broken": operation.broken,
                "score": operation.score,
                "order": operation.carrier.order,
                "radius_px": radius_px,
                "radius": radius_px * abs(axis.scale),
                "units": axis.units,
            }
            if np.isfinite(operation.correlation):
                entry |= {
                    "correlation": operation.correlation,
                    "correlation_sd": operation.correlation_sd,
                }
            if ranges is not None:
                low, high = min(ranges[i][0], operation.score), max(ranges[i][1], operation.score)
                entry |= {"score_moved": [low, high], "by_instrument": low < BROKEN_SCORE <= high}
            operations.append(entry)
        entries.append(
            ({} if one.group is None else {"group": _of_group(one.group)})
            | {
                "name": one.place.name,
                "of": one.of,
                "patterns": len(one.place.rows),
                "sentence": _sentence(one, operations, plan),
                "shown": one.shown.name,
                "operations": operations,
                "caveat": CAVEAT,
            }
        )
    return entries


def with_pictures(examples: xr.Dataset, findings: tuple[Finding, ...]) -> xr.Dataset:
    """``examples.nc`` with the pictures of the places."""
    if not findings:
        return examples
    units = {"units": "sd", "long_name": "in units of the shot noise of one pixel of one pattern"}
    stack = ("place", "ky", "kx")
    return examples.assign(
        place_picture=(stack, np.stack([one.picture for one in findings]).astype(np.float32), units),
        place_change=(stack, np.stack([one.change for one in findings]).astype(np.float32), units),
    )


def _of_group(found: GroupVerdict) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": found.name, "p": found.p, "sentence": found.sentence()}
    if found.weakest is not None:
        entry |= {"weakest_operation": found.weakest.name, "weakest_p": found.weakest.p}
    return entry


def _to_show(which: Which) -> BrokenOperation:
    """The half-turn where it is broken, else the turn or mirror that is broken most."""
    half = which.operations[0]
    return half if half.broken else max(which.operations, key=lambda one: one.score)


def _sentence(one: Finding, operations: list[dict[str, Any]], plan: Plan) -> str:
    subject = "The pattern" if one.of == "pattern" else "The difference from the reference"
    n = len(one.place.rows)
    text = f"{one.place.name[:1].upper()}{one.place.name[1:]} ({n} pattern{'s' if n > 1 else ''}). "
    carrier = one.which.carrier
    if not np.isfinite(carrier.z) or carrier.z < NOTHING_Z:
        return text + f"{subject} does not rise above the noise: which operations it keeps cannot be told."
    if one.place.single:
        text += "Patterns differ each in its own way, so their energies were added, not their differences. "
    text += (
        f"{subject} is strongest in order {carrier.order} at {_radius_px(plan, carrier.ring):.1f} px "
        f"({carrier.z:.0f} standard deviations). "
    )
    turns = [entry for entry in operations if not entry["name"].startswith("mirror")]
    mirrors = [entry for entry in operations if entry["name"].startswith("mirror")]
    broken = [_with_carrier(entry) for entry in turns if entry["broken"]]
    kept = [entry["name"] for entry in turns if not entry["broken"]]
    lines = [entry["name"].rpartition(" ")[2] for entry in mirrors if not entry["broken"]]
    if len(lines) < len(mirrors):
        most = max(mirrors, key=lambda entry: float(entry["score"]))
        which = "all mirrors" if not lines else f"{len(mirrors) - len(lines)} of {len(mirrors)} mirrors"
        broken.append(f"{which}, most that with its {_with_carrier(most).removeprefix('mirror, ')}")
    if lines:
        axes = f"mirror{'s' if len(lines) > 1 else ''} with axis at {', '.join(lines)}"
        kept.append("every mirror" if len(lines) == len(mirrors) else axes)
    text += f"It breaks {'; '.join(broken)}" if broken else "It breaks nothing that the noise lets see"
    text += f". Within the noise it keeps {', '.join(kept)}." if kept else "."
    if one.group is not None:
        text += f" {one.group.sentence()}"
    moving = [entry["name"] for entry in operations if entry.get("by_instrument")]
    if moving:
        text += f" Within the uncertainty of the instrument the verdict changes for: {'; '.join(moving)}."
    return text


def _with_carrier(entry: dict[str, Any]) -> str:
    return f"{entry['name']} (by order {entry['order']} at {entry['radius_px']:.1f} px)"


def _radius_px(plan: Plan, ring: float) -> float:
    radii = plan.grid.radii_px
    return float(np.interp(ring, np.arange(len(radii)), radii))


def _per_electron(plan: Plan) -> NDArray[np.float64]:
    """Units of shot noise per electron, (ky, kx); 0 where the mean is dark."""
    mean = np.maximum(plan.background if plan.whitening == "poisson" else plan.clean_mean, 0)
    floor = 1e-3 * float(mean.max(initial=0))
    return np.asarray(1 / np.sqrt(plan.noise_scale * np.maximum(mean, max(floor, 1e-12))))


def _draw(values: NDArray[Any], modes: CoarseModes, plan: Plan) -> NDArray[np.float64]:
    """Patterns (n, ky, kx) of modes (n, mode), whitened units."""
    none = np.empty(0)
    basis = SteerableBasis(
        order=modes.order,
        vectors=modes.vectors,
        eigenvalue=np.ones(len(modes.order)),
        edge=none,
        spectrum=none,
        noise_level=1.0,
        n_above=0,
    )
    patterns = basis_patterns(plan.analyser, basis, weight=plan.weight)
    drawn = patterns.draw(np.stack([values.real, values.imag], axis=-1))
    return np.where(plan.pixel_valid, drawn, np.nan)
