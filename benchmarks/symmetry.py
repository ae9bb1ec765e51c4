"""Symmetry without a model: point groups of simulated crystals, false alarms, measured data, speed.

    python benchmarks/symmetry.py [DATA] [--only groups|alarms|measured|speed] [--keep DIR]

DATA is the folder with the measured data sets; by default $ORBISTEM_TEST_DATA, else ../shared/data beside the
repository; without it that part is left out. Exit status 1 where a figure falls short.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe
from requirements_table import Table
from scipy.stats import binom

import orbistem
from orbistem.config import FitConfig, PrepareOptions
from orbistem.groups import POINT_GROUPS
from orbistem.harmonics.background import static_harmonics
from orbistem.harmonics.reduce import HarmonicsReduction
from orbistem.pipeline.symmetry import measure_symmetry
from orbistem.plan import Plan
from orbistem.simulate.multislice import clean_patterns
from orbistem.simulate.recipes import find_recipe
from orbistem.simulate.run import build_for, scan_positions
from orbistem.simulate.truth import derive_truth
from orbistem.symmetry import DESCRIPTORS, ComponentBasis, component_basis, point_group
from orbistem.symmetry.options import SymmetryOptions

CRYSTALS = ("graphene", "mos2", "srtio3", "zns-001", "zns-110", "zns-111")
NAMES = [group.name for group in POINT_GROUPS]
SCAN = (24, 24)
PX = 64
DRAWS, ALARM_DRAWS = 400, 1000
LEVELS = (0.05, 0.01, 0.001)
SPEED_PATTERNS = 65_536
TILT = "dlacbed-srtio3-001/scan4d_inner.npz"
CRYO = "cryo4dstem-rotavirus-a/scan4d.npz"
README_WITHIN_1 = {"4-fold": 0.992, "2-fold": 0.986, "mirror x": 0.995, "mirror y": 0.990, "diagonal": 0.994}
README_CONTROL = {"rotate the tilt only": 0.754, "rotate the pattern only": 0.755}


def crystal(name: str, *, projected: bool, keep: Path) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free patterns and the point group of each position.

    Truth is the symmetry of the crystal projected along the beam, so each slice of the multislice is as thick
    as the crystal's period: only the zero-order Laue zone. `projected=False`: slices of atomic layers.
    """
    recipe = find_recipe(name)
    specimen = build_for(recipe, recipe.optics, detector_px=PX)
    positions, _ = scan_positions(recipe, specimen, SCAN)
    groups = derive_truth(specimen, positions, SCAN).point_group.ravel()
    file = keep / f"symmetry-{name}-{'projected' if projected else 'layers'}-{orbistem.__version__}.npy"
    if file.is_file():
        return np.load(file), groups
    if projected:
        period = float(specimen.crystal.cell.lengths()[2])
        specimen = dataclasses.replace(specimen, slice_thickness=period)
    clean = clean_patterns(specimen, positions, optics=recipe.optics, detector_px=PX)
    keep.mkdir(parents=True, exist_ok=True)
    np.save(file, clean)
    return clean, groups


def basis_of(clean: np.ndarray, *, dose: float, rng: np.random.Generator) -> tuple[Plan, ComponentBasis]:
    """Plan and components of one noisy scan."""
    counts = rng.poisson(dose * clean).astype(np.uint32)
    plan = Plan(
        mean=counts.mean(axis=0), pixel_valid=np.ones((PX, PX), bool), centre_px=((PX - 1) / 2,) * 2, gain=1.0
    )
    reduction = HarmonicsReduction(plan)
    moments = reduction.finish(reduction.sums(plan.harmonics(counts)))
    static = static_harmonics("mean", mean_harmonics=moments.mean)
    return plan, component_basis(plan, moments, static=static)


def high_symmetry(groups: np.ndarray) -> np.ndarray:
    """Positions on a rotation axis; on a mirror line where the crystal has no axis."""
    axes = np.flatnonzero(~np.isin(groups, ("C1", "D1")))
    return axes if len(axes) else np.flatnonzero(groups == "D1")


def groups_part(table: Table, keep: Path) -> None:
    """The right point group at positions of high symmetry."""
    table.head(f"Point groups at 10⁶ electrons, {DRAWS} draws of each position of high symmetry")
    rng = np.random.default_rng(0)
    for name in CRYSTALS:
        clean, groups = crystal(name, projected=True, keep=keep)
        plan, basis = basis_of(clean, dose=1e6, rng=rng)
        right: dict[str, list[float]] = {}
        for at in high_symmetry(groups)[:12]:
            counts = rng.poisson(1e6 * np.repeat(clean[at][None], DRAWS, axis=0)).astype(np.uint32)
            found = point_group(basis.components(plan.harmonics(counts)))
            right.setdefault(str(groups[at]), []).append(float(np.mean(found.names == groups[at])))
        shares = np.concatenate([np.asarray(values) for values in right.values()])
        said = ", ".join(f"{group} {np.mean(values):.3f}" for group, values in sorted(right.items()))
        table.line(f"{name} ({said})", float(shares.mean()), want=(">=", 0.99))
    clean, groups = crystal("zns-001", projected=False, keep=keep)
    plan, basis = basis_of(clean, dose=1e6, rng=rng)
    at = int(np.flatnonzero(groups == "D4")[0])
    counts = rng.poisson(1e6 * np.repeat(clean[at][None], DRAWS, axis=0)).astype(np.uint32)
    names = point_group(basis.components(plan.harmonics(counts))).names
    print("  for information: with atomic layers a ZnS [001] column is 2mm (D2), not 4mm: the crystal is 4̄3m")
    table.line("zns-001 by layers, zinc column found as D2", float(np.mean(names == "D2")))


def alarms_part(table: Table, keep: Path) -> None:
    """How often the true group is given up, against the stated rate."""
    table.head(f"False alarms: p of the true group below a level, {ALARM_DRAWS} draws of one position")
    rng = np.random.default_rng(1)
    for name in CRYSTALS:
        clean, groups = crystal(name, projected=True, keep=keep)
        for dose in (1e4, 1e5, 1e6):
            plan, basis = basis_of(clean, dose=dose, rng=rng)
            for group in sorted(set(groups[high_symmetry(groups)])):
                at = int(np.flatnonzero(groups == group)[0])
                counts = rng.poisson(dose * np.repeat(clean[at][None], ALARM_DRAWS, axis=0)).astype(np.uint32)
                p = point_group(basis.components(plan.harmonics(counts))).p_all[:, NAMES.index(group)]
                over = 0
                for level in LEVELS:
                    over += int(np.sum(p < level) > binom.ppf(0.995, ALARM_DRAWS, level))
                rates = " ".join(f"{np.mean(p < level):.3f}" for level in LEVELS)
                what = f"{name} {group} {dose:.0e}: {rates} at .05 .01 .001; levels exceeded"
                table.line(what, float(over), want=("==", 0))


def measured_part(table: Table, data: Path) -> None:
    """Measured data with known answers."""
    table.head("SrTiO3 [001], scan over beam tilt")
    with tempfile.TemporaryDirectory() as folder:
        config = FitConfig(
            prepare=PrepareOptions(normalise="total", centre_px=(15.5, 15.5)),
            symmetry=SymmetryOptions(at=((20, 20),), check_instrument=False),
        )
        result = measure_symmetry(orbistem.open(data / TILT), directory=Path(folder) / "tilt", config=config)
        tilt, (place,) = result.maps, result.run["places"]
        cryo = measure_symmetry(orbistem.open(data / CRYO), directory=Path(folder) / "cryo").maps
    names = np.array(str(tilt["point_group"].attrs["flag_meanings"]).split())
    middle = tilt.isel(y=20, x=20)
    group = str(names[int(middle["point_group"])])
    print(
        f"  middle: {group} (D4 is 4mm), p {float(middle['point_group_p']):.3g}, 4-fold share "
        f"{float(middle['n_fold'].sel(order=4)):.3f} ± {float(middle['n_fold_sd'].sel(order=4)):.3f}, mirror "
        f"{float(middle['mirror']):.3f}, line at {np.rad2deg(float(middle['mirror_angle'])):.1f}°"
    )
    table.line("the middle is 4mm", float(group == "D4"), want=("==", 1))
    for one in place["operations"]:
        known = (
            f"{one['correlation']:.3f} ± {one['correlation_sd']:.3f}" if "correlation" in one else "unknown"
        )
        print(f"    {one['name']}: correlation {known}, {one['score']:.1f} standard deviations from kept")
    for name, value, published in operations(np.load(data / TILT)["data"]):
        table.line(f"{name}, tilts within ±1.0 (data's README: {published})", value)
    table.head("Virus particles in ice")
    names = np.array(str(cryo["point_group"].attrs["flag_meanings"]).split())
    code = cryo["point_group"].values
    found = names[code[np.isfinite(code)].astype(int)]
    print("  " + ", ".join(f"{n}: {c}" for n, c in zip(*np.unique(found, return_counts=True), strict=True)))
    table.line(
        "positions with a 4- or 6-fold group",
        float(np.isin(found, ("C4", "D4", "C6", "D6")).sum()),
        want=("==", 0),
    )


def operations(patterns: np.ndarray) -> list[tuple[str, float, float]]:
    """Correlation of each operation on tilt and pattern together, tilts within ±1.0: as the data's README."""
    size, half = patterns.shape[0], patterns.shape[0] // 2
    scan = patterns.astype(np.float64)
    scan /= scan.sum(axis=(2, 3), keepdims=True)
    centre = slice(half - 10, half + 11)  # steps of 0.1
    assert size == 2 * half + 1

    def correlate(image: np.ndarray) -> float:
        left, right = scan[centre, centre].ravel(), image[centre, centre].ravel()
        return float(np.corrcoef(left, right)[0, 1])

    quarter = np.rot90(np.rot90(scan, axes=(0, 1)), axes=(2, 3))
    moved = {
        "4-fold": quarter,
        "2-fold": scan[::-1, ::-1, ::-1, ::-1],
        "mirror x": scan[:, ::-1, :, ::-1],
        "mirror y": scan[::-1, :, ::-1],
        "diagonal": scan.transpose(1, 0, 3, 2),
        "rotate the tilt only": np.rot90(scan, axes=(0, 1)),
        "rotate the pattern only": np.rot90(scan, axes=(2, 3)),
    }
    published = README_WITHIN_1 | README_CONTROL
    return [(name, correlate(image), published[name]) for name, image in moved.items()]


def speed_part(table: Table, keep: Path) -> None:
    """All descriptors of 65,536 patterns from stored coefficients."""
    from orbistem.harmonics.store import create, open_store
    from orbistem.pipeline.descriptors import describe_symmetry

    table.head(f"Speed: {SPEED_PATTERNS} patterns of {PX} px from stored coefficients")
    rng = np.random.default_rng(2)
    clean, _ = crystal("graphene", projected=True, keep=keep)
    plan, _ = basis_of(clean, dose=1e5, rng=rng)
    harmonics = plan.harmonics(rng.poisson(1e5 * np.tile(clean, (8, 1, 1))).astype(np.uint32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coefficients.zarr"
        store = create(path, n_positions=SPEED_PATTERNS, harmonics_shape=plan.harmonics_shape)
        for start in range(0, SPEED_PATTERNS, len(harmonics)):
            store.write_harmonics(start, harmonics[: SPEED_PATTERNS - start])
        started, worked = time.perf_counter(), time.process_time()
        describe_symmetry(plan, open_store(path), config=FitConfig())
        seconds, work = time.perf_counter() - started, time.process_time() - worked
    print(f"  {len(DESCRIPTORS)} descriptors, harmonics {plan.harmonics_shape}")
    table.line("all descriptors", seconds, "s", want=("<", 5))
    table.line("the same, processor seconds of all threads", work, "s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--only", choices=("groups", "alarms", "measured", "speed"))
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "orbistem-benchmarks")
    given = parser.parse_args()
    default = os.environ.get("ORBISTEM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    data = given.data or Path(default)
    print(describe())
    table = Table()
    if given.only in (None, "groups"):
        groups_part(table, given.keep)
    if given.only in (None, "alarms"):
        alarms_part(table, given.keep)
    if given.only in (None, "measured"):
        if data.is_dir():
            measured_part(table, data)
        else:
            print(f"measured data absent: no folder {data}")
    if given.only in (None, "speed"):
        speed_part(table, given.keep)
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
