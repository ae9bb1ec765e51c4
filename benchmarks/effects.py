"""Fit simulated graphene from a bad microscope, and compare with a perfect one.

    python benchmarks/effects.py [--seeds 0,1,2] [--only clean|corrected|uncorrected]

10⁵ electrons per pattern, 48 × 48 positions over 2 × 2 primitive cells. The bad microscope has a descan of
3 px, 2 % ellipticity, 20 hot pixels, a beam stop and a point spread of 1 px. It is fitted as it comes, and
once with everything that finds these effects switched off. A seed draws counts and training alike, for both
microscopes; what is judged is the ratio of the medians over all seeds. Exit status 1 where one falls short.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe
from requirements_table import Table

import orbistem
from orbistem.config import FitConfig
from orbistem.metrics import fold_error, repeat_error
from orbistem.prepare.descan import DescanOptions, descan_shift
from orbistem.prepare.ellipse import EllipseOptions
from orbistem.prepare.mask import MaskOptions
from orbistem.prepare.tiles import scan_coordinates
from orbistem.result import Result
from orbistem.simulate import DetectorOptions, expose, primitive_cell_pairs
from orbistem.simulate.multislice import SAMPLES_PER_PIXEL, clean_patterns
from orbistem.simulate.recipes import find_recipe
from orbistem.simulate.run import build_for, scan_positions
from orbistem.simulate.variants import Variant

CELL, REPEATS, DETECTOR_PX, FINER, DOSE = 24, 2, 64, 2, 1e5
SCAN_SHAPE = (REPEATS * CELL, REPEATS * CELL)
TRUE_CENTRE_PX = (DETECTOR_PX - 1) / 2
BAD = DetectorOptions(
    descan_px=((1.3, 1.7), (-1.7, 1.0)),  # 3 px between two corners
    ellipse=(1.02, 0.6),
    hot_pixels=20,
    beam_stop_px=5.0,
    psf_sd_px=1.0,
)
BLIND = FitConfig(
    descan=DescanOptions(model="none"),
    ellipse=EllipseOptions(ratio=1.0),
    mask=MaskOptions(hot=False, dead=False, beam_stop=False, saturated=False),
)


def fine_patterns() -> np.ndarray:
    """Noise-free patterns (576, 128, 128) of one primitive cell, finer than the detector; kept."""
    file = Path(tempfile.gettempdir()) / "orbistem-benchmarks" / f"graphene-fine-{orbistem.__version__}.npy"
    if file.is_file():
        return np.asarray(np.load(file))
    recipe = dataclasses.replace(find_recipe("graphene"), samples_per_pixel=SAMPLES_PER_PIXEL / FINER)
    specimen = build_for(recipe, recipe.optics, detector_px=FINER * DETECTOR_PX, variant=Variant())
    positions, _ = scan_positions(recipe, specimen, (CELL, CELL))
    patterns = clean_patterns(specimen, positions, optics=recipe.optics, detector_px=FINER * DETECTOR_PX)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, patterns)
    return patterns


def as_scan(fine: np.ndarray, detector: DetectorOptions, seed: int) -> orbistem.Scan:
    """What the camera records, 48 × 48 positions."""
    cell = fine.reshape(CELL, CELL, *fine.shape[1:])
    whole = np.tile(cell, (REPEATS, REPEATS, 1, 1)).reshape(-1, *fine.shape[1:])
    counts = expose(
        whole,
        dose=DOSE,
        rng=np.random.default_rng(seed),
        options=detector,
        scan_shape=SCAN_SHAPE,
        binning=FINER,
    )
    scan: orbistem.Scan = orbistem.open(counts.reshape(*SCAN_SHAPE, DETECTOR_PX, DETECTOR_PX))
    return scan


def errors(result: Result) -> tuple[float, float]:
    """Fold error over symmetry-equivalent positions of each cell, and repeat error between the cells."""
    z = result.maps.latent.values
    if not np.isfinite(z).any():
        return float("nan"), float("nan")
    cells = z.reshape(REPEATS, CELL, REPEATS, CELL, -1).transpose(0, 2, 1, 3, 4)
    cells = cells.reshape(REPEATS**2, CELL**2, -1)
    pairs = primitive_cell_pairs(CELL, 6).pairs
    rows = np.concatenate([pairs + CELL**2 * draw for draw in range(REPEATS**2)])
    apart = [repeat_error(cells[a], cells[b]) for a in range(REPEATS**2) for b in range(a)]
    return fold_error(cells.reshape(-1, z.shape[-1]), rows), float(np.sqrt(np.mean(np.square(apart))))


def centre_error(result: Result, scan: orbistem.Scan) -> float:
    """Root mean square distance between the centre that was used and the true one, px."""
    place = scan_coordinates(scan)
    true = TRUE_CENTRE_PX + descan_shift(np.array(BAD.descan_px), place)
    found = np.array(result.run["centre"]["px"]) + np.zeros_like(true)
    coefficients = np.array(result.run["descan"]["coefficients_px"], np.float64).reshape(-1, 2)
    found = found + descan_shift(coefficients, place)
    return float(np.sqrt(np.mean(np.sum((found - true) ** 2, axis=1))))


def ellipse_error(result: Result) -> float:
    """Largest relative error of a radius that the wrong ellipse makes, twice: as a ratio of axes."""
    found = result.run["ellipse"]["ratio"], result.run["ellipse"]["angle_rad"]
    parts = [np.log(ratio) * np.exp(2j * angle) for ratio, angle in (found, BAD.ellipse)]
    return float(abs(parts[0] - parts[1]))


def fit(scan: orbistem.Scan, config: FitConfig, table: Table, title: str) -> Result:
    """One fit with default settings, and what it was."""
    table.head(title)
    started = time.perf_counter()
    result = orbistem.fit(scan, config=config)
    training = result.run["training"]
    print(
        f"  {time.perf_counter() - started:.0f} s; K {training['kept_coefficients']}, "
        f"{training['active_units']} latents in use, {training['steps']} steps; "
        f"descan {result.run['descan']['model']} in steps of {result.run['descan']['step_px']:.2f} px; "
        f"problems: {len(result.problems)}",
        flush=True,
    )
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", choices=("clean", "corrected", "uncorrected"))
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    print(describe())
    table, fine = Table(), fine_patterns()
    folds: dict[str, list[float]] = {}
    for name, detector, base, title in (
        ("clean", DetectorOptions(), FitConfig(), "perfect microscope"),
        ("corrected", BAD, FitConfig(), "bad microscope, default settings"),
        ("uncorrected", BAD, BLIND, "bad microscope, nothing corrected"),
    ):
        if given.only not in (None, name):
            continue
        corrected = name == "corrected"
        for seed in seeds[:1] if name == "uncorrected" else seeds:  # how it fails is seen at once
            scan = as_scan(fine, detector, seed)
            result = fit(scan, base.replace(seed=seed), table, f"{title}, seed {seed}")
            fold, repeat = errors(result)
            folds.setdefault(name, []).append(fold)
            table.line("fold error", fold)
            table.line("repeat error", repeat)
            if name != "clean":
                off = centre_error(result, scan)
                table.line("centre error, rms", off, "px", want=("<=", 0.1) if corrected else None)
                stretch = 100 * ellipse_error(result)
                table.line("error of the ellipse", stretch, "%", want=("<=", 0.2) if corrected else None)
        if name != "clean" and "clean" in folds:
            table.head(f"{title}, all seeds")
            table.line(
                "fold error / that of the perfect microscope, medians",
                float(np.median(folds[name]) / np.median(folds["clean"])),
                want=("<=", 1.2) if corrected else (">=", 1.2),
            )
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
