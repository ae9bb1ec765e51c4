"""`broken` of a run: reference region, harmonics of the store, latents of the model; words for the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.errors import OptionError, one_line
from orbistem.harmonics.store import open_store
from orbistem.models.protocol import Encoding
from orbistem.pipeline.orientation import reference_positions, with_hand
from orbistem.pipeline.reduction import STORE_NAME
from orbistem.plan import Plan
from orbistem.scan import Scan
from orbistem.symmetry.broken import MIN_PERIODS, Broken, BrokenOptions, find_broken
from orbistem.symmetry.coarse import CoarseModes, coarse_modes
from orbistem.symmetry.expected import Expected
from orbistem.symmetry.few_counts import electron_cumulants
from orbistem.symmetry.pooling import Layout
from orbistem.symmetry.reference import densest

__all__ = [
    "Comparison",
    "Reference",
    "asked_reference",
    "describe_broken",
    "measure_broken",
    "modes_of",
    "modes_up_to",
    "reference_rows",
]

CAVEAT = (
    "Mistilt and thickness break the symmetry of convergent-beam patterns too, and so does a beam that "
    "wanders: a position that stands out is not yet a defect of the crystal."
)
FEW_PERIODS = (
    "The scan holds fewer than two periods of the lattice that it suggests, so nothing says what repeats, "
    "and no lattice was used. "
)
NO_LATTICE = "No lattice was found that repeats at least twice within the scan. "
STRONGEST = 5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reference:
    """What positions are compared with.

    Attributes
    ----------
    rows
        Flat indices; None: the densest part of the latent space.
    """

    rows: NDArray[np.integer] | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Comparison:
    """What stays the same where positions are compared with a reference again and again.

    Attributes
    ----------
    scan
        Shape and steps.
    usable
        (n,).
    reference
        See `asked_reference`.
    encoding, active
        Latents and angles, the angles as turns against templates that vary smoothly with the latents; and
        which latents carry information. None and nothing where nothing was trained.
    seed
        Of the run; draws the law of the maximum.
    """

    scan: Scan
    usable: NDArray[np.bool_]
    reference: Reference
    encoding: Encoding | None = None
    active: tuple[bool, ...] = ()
    seed: int = 0


def asked_reference(scan: Scan, config: FitConfig) -> Reference | None:
    """The reference that the configuration asks for; None where it asks for none.

    Raises
    ------
    OptionError
        It lies outside the scan, or its file does not suit.
    """
    region, name = config.prepare.reference, config.prepare.reference_name
    if region is None and name is None:
        return None
    return Reference(rows=reference_rows(scan, region, name))


def reference_rows(scan: Scan, region: tuple[int, int, int, int] | None, name: str | None) -> Any:
    """Flat indices of the reference region; None for the automatic one.

    Parameters
    ----------
    scan
        Gives the shape.
    region
        y0, y1, x0, x1.
    name
        "auto", "all", or a ``.npy`` file that is not 0 inside the region.
    """
    if region is not None:
        return reference_positions(scan, region)
    if name is None or name == "auto":
        return None
    if name == "all":
        return np.arange(scan.n_positions)
    path = Path(name)
    if not path.is_file():
        raise OptionError(
            "reference: want auto (the densest part of the latents), all, Y0:Y1,X0:X1 or an existing .npy "
            f"mask of the scan, got {name}; choose one"
        )
    try:
        mask = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise OptionError(
            f"reference: want a .npy file, got {path} ({one_line(error)}); save it with numpy"
        ) from error
    if mask.shape != scan.scan_shape:
        raise OptionError(
            f"reference: want a mask of shape {scan.scan_shape}, got {mask.shape} in {path}; "
            "give one value a position"
        )
    if not np.isfinite(np.asarray(mask, np.float64)).all():
        raise OptionError(f"reference: want a mask of true and false, got NaN or Inf in {path}; correct it")
    rows = np.flatnonzero(mask)
    if not len(rows):
        raise OptionError(f"reference: want a mask that is not 0 somewhere, got zeros in {path}; correct it")
    return rows


def modes_of(plan: Plan, options: BrokenOptions) -> CoarseModes:
    """Modes that broken symmetry is looked for in."""
    modes = modes_up_to(plan, max_order=options.max_order, n_rings=options.n_rings)
    if plan.gain is None or plan.whitening != "poisson":
        return modes
    cumulants = electron_cumulants(
        plan.analyser, plan.clean_mean, order=modes.order, vectors=modes.vectors, mass=modes.mass
    )
    return replace(modes, cumulants=cumulants)


def modes_up_to(plan: Plan, *, max_order: int, n_rings: int) -> CoarseModes:
    """Modes of the plan's harmonics up to an order, in so many rings."""
    mean = plan.clean_mean.reshape(1, -1)[:, plan.analyser.gather]
    profile = np.asarray(plan.analyser(mean)[0, :, 0].real)
    return coarse_modes(
        plan.noise,
        plan.grid.carried,
        ring_level=profile if plan.whitening == "poisson" else None,
        profile=profile,
        max_order=max_order,
        n_rings=n_rings,
    )


def layout_of(scan: Scan, usable: NDArray[np.bool_]) -> Layout:
    """Positions of a scan in its own unit."""
    if scan.positions is not None:
        return Layout(positions=np.asarray(scan.positions, np.float64), usable=usable)
    ny, nx = scan.scan_shape
    if scan.scan_vectors is not None:  # along lattice vectors: steps are what counts
        vectors = np.asarray(scan.scan_vectors, np.float64)
        return Layout.grid((ny, nx), steps=(_length(vectors[1]), _length(vectors[0])), usable=usable)
    y, x = (axis.scale if axis.scale else 1.0 for axis in scan.scan_axes)
    return Layout.grid((ny, nx), steps=(abs(float(y)), abs(float(x))), usable=usable)


def measure_broken(
    directory: Path, plan: Plan, comparison: Comparison, *, like: Broken | None = None
) -> Broken:
    """Score all positions of a run whose coefficients lie in `directory`.

    Parameters
    ----------
    directory
        Holds ``coefficients.zarr``.
    plan
        With the mean of order 0.
    comparison
        With what, and of what.
    like
        An earlier result whose laws are used again.
    """
    options = BrokenOptions()
    harmonics = _low_orders(directory / STORE_NAME, plan, options.max_order)
    latent = angle = None
    encoding, active = comparison.encoding, comparison.active
    usable = comparison.usable
    if encoding is not None and any(active):
        latent = np.asarray(encoding.z, np.float64)[:, np.asarray(active, bool)]
        angle = np.asarray(encoding.angle, np.float64)
        usable = usable & np.isfinite(latent).all(axis=1)
        latent = with_hand(latent, encoding)
    rows = comparison.reference.rows
    if rows is None:
        perfect = densest(latent, usable)
    else:
        perfect = np.zeros(len(usable), bool)
        perfect[rows] = True
    return find_broken(
        harmonics,
        modes_of(plan, options),
        latent=latent,
        angle=angle,
        reference=perfect,
        layout=layout_of(comparison.scan, usable),
        rng=np.random.default_rng([comparison.seed, 3]),
        options=options,
        laws=None if like is None else like.laws,
    )


def describe_broken(broken: Broken, scan: Scan) -> dict[str, Any]:
    """Entry of run.json: what was compared with what, what stands out, and what else could be the cause."""
    if broken.problem is not None or broken.expected is None:
        return {"sentence": broken.problem, "caveat": CAVEAT}
    n_found, usable = int(broken.found.sum()), int(np.isfinite(broken.score).sum())
    sentence = ""
    if broken.periods < MIN_PERIODS:
        sentence = FEW_PERIODS
    elif broken.expected.of_one_mean and scan.is_grid:
        sentence = NO_LATTICE
    sentence += (
        f"Each position was compared with {_compared_with(broken.expected)} ({int(broken.reference.sum())} "
        f"positions); differences were averaged over Gaussian neighbourhoods with standard deviations of "
        f"{_listed(broken.widths)} {length_unit(scan)}. "
    )
    if not n_found:
        sentence += f"Nothing differs at a false-discovery rate of {100 * broken.rate:g} %."
    else:
        sentence += (
            f"{n_found} of {usable} positions differ at a false-discovery rate of {100 * broken.rate:g} %: "
            f"those with a score of at least {broken.threshold:.2f}."
        )
    strongest = []
    order = np.argsort(-np.nan_to_num(broken.score, nan=-np.inf))[:STRONGEST]
    for row in order[broken.found[order]]:
        place = np.unravel_index(row, scan.scan_shape)
        strongest.append(
            {
                "position": [int(one) for one in place],
                "score": float(broken.score[row]),
                "carried_by": f"{broken.names[int(np.nanargmax(broken.parts[row]))]} {length_unit(scan)}",
            }
        )
    return {
        "sentence": sentence,
        "caveat": CAVEAT,
        "false_discovery_rate": broken.rate,
        "threshold": broken.threshold if n_found else None,
        "found": n_found,
        "reference_positions": int(broken.reference.sum()),
        "widths": [float(width) for width in broken.widths],
        "widths_units": length_unit(scan),
        "strongest": strongest,
    }


def _compared_with(expected: Expected) -> str:
    if not expected.from_own_pattern:
        return "the lattice that the reference repeats on"
    if expected.of_one_mean:
        return "the mean of the reference"
    return "positions of equal latents in the reference"


def _listed(numbers: tuple[float, ...]) -> str:
    *most, last = (f"{one:.3g}" for one in numbers)
    return f"{', '.join(most)} and {last}" if most else last


def length_unit(scan: Scan) -> str:
    """What `layout_of` counts lengths in."""
    if scan.positions is not None:
        return "the unit of the positions"
    units = scan.scan_axes[0].units
    return "scan steps" if units in ("", "px") else units


def _low_orders(path: Path, plan: Plan, max_order: int) -> NDArray[np.complex64]:
    store = open_store(path)
    n_rings, n_orders = plan.harmonics_shape
    kept = np.empty((store.n_positions, n_rings, min(n_orders, max_order + 1)), np.complex64)
    for start, block in store.blocks():
        kept[start : start + len(block)] = block[:, :, : kept.shape[2]]
    if plan.order0_mean is not None:
        kept[:, :, 0] -= plan.order0_mean.astype(np.float32)
    return kept


def _length(vector: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(vector)) or 1.0
