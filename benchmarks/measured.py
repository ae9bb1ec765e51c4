"""Fit the measured data sets with default settings and compare with what is known about them.

    python benchmarks/measured.py [DATA] [--only siemens|srtio3|cryo] [--seeds 0,1,2] [--group O2]
                                  [--latents N|auto]

DATA is the folder with the data sets; by default $ORBISTEM_TEST_DATA, else ../shared/data beside the
repository. Exit status 1 where a figure falls short, 2 where the data are not there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import describe
from model_options import add_model_options, model_options
from requirements_table import Table

import orbistem
from orbistem.config import FitConfig, PrepareOptions
from orbistem.metrics import angle_error, fold_error, resultant, ring_contrast, winding_number
from orbistem.result import Result

SIEMENS = "siemens-star/siemens-star.h5"
SRTIO3 = "dlacbed-srtio3-001/scan4d_inner.npz"
CRYO = "cryo4dstem-rotavirus-a/scan4d.npz"
PARTICLES = ((17, 14), (38, 32), (45, 10), (29, 55))
RINGS = ((48, 21), (21, 60), (41, 18))
TILT_STEPS = 20
TRUE_CENTRE_PX = (15.5, 15.5)


def fit(scan: orbistem.Scan, config: FitConfig) -> tuple[Result, float]:
    """Result and seconds, report included."""
    started = time.perf_counter()
    result = orbistem.fit(scan, config=config)
    return result, time.perf_counter() - started


def note(result: Result, seconds: float) -> None:
    """What the fit chose, in one line."""
    training, run = result.run["training"], result.run
    print(
        f"  {seconds:.0f} s; whitening {run['whitening']['chosen']}, K {training['kept_coefficients']}, "
        f"{training['active_units']} latents in use, {training['steps']} steps, "
        f"{training['patterns_per_s']:.0f} patterns/s; problems: {len(result.problems)}"
    )


def siemens(data: Path, table: Table, configs: tuple[FitConfig, ...]) -> None:
    """The angle follows the spokes of the star."""
    table.head("Siemens star (X-ray ptychography, scattered positions)")
    scan = orbistem.open(data / SIEMENS)
    for config in configs:
        result, seconds = fit(scan, config)
        maps = result.maps
        positions = np.stack([maps.position_y.values, maps.position_x.values], axis=1)
        found = resultant(maps.angle.values, positions)
        note(result, seconds)
        table.line(
            f"resultant of the angle about the star, seed {config.seed}", found.value, want=(">=", 0.945)
        )
        table.line(f"seconds, seed {config.seed}", seconds, "s", want=("<", 90.0))


def srtio3(data: Path, table: Table, configs: tuple[FitConfig, ...]) -> None:
    """Tilts 90° apart about the middle fold onto one latent, with angles 90° apart."""
    table.head("SrTiO3 [001], scan of the beam's tilt")
    scan = orbistem.open(data / SRTIO3, dataset="data")
    for config in configs[:1]:
        result, seconds = fit(scan, replace(config, prepare=PrepareOptions(normalise="total")))
        note(result, seconds)
        n = scan.scan_shape[0]
        middle = n // 2
        y, x = np.indices((n, n))
        inside = np.hypot(y - middle, x - middle) <= TILT_STEPS
        turned = (middle + (x - middle)) * n + middle - (y - middle)  # by 90° from +x to +y
        rows = np.full(n * n, -1)
        rows[inside.ravel()] = np.arange(inside.sum())
        pairs = np.stack([rows[inside.ravel()], rows[turned[inside]]], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        z = result.maps.latent.values[inside]
        angle = result.maps.angle.values[inside].astype(np.float64)
        error = angle_error(angle[pairs[:, 0]], angle[pairs[:, 1]], np.pi / 2, 1)
        off = tuple(
            abs(found - true) for found, true in zip(result.run["centre"]["px"], TRUE_CENTRE_PX, strict=True)
        )
        table.line("fold error for 90° within 20 tilt steps", fold_error(z, pairs), want=("<=", 0.12))
        table.line("share of angles 90° apart within 4°", error.share_within(4.0), want=(">=", 0.99))
        table.line("median angle error", error.median_deg, "°")
        table.line("centre found, off (15.5, 15.5) by", off, "px", want=("<=", 0.3))


def cryo(data: Path, table: Table, configs: tuple[FitConfig, ...]) -> None:
    """The angle winds about the particles, and one latent shows three rings that no total shows."""
    table.head("Virus particles in ice (4D-STEM, low dose)")
    scan = orbistem.open(data / CRYO)
    for config in configs[:1]:
        result, seconds = fit(scan, config)
        note(result, seconds)
        maps = result.maps
        winding = tuple(float(winding_number(maps.angle.values, centre=place)) for place in PARTICLES)
        table.line("winding number about four particles", winding, want=("==", 1.0))
        latent = maps.latent.values
        contrasts = [ring_contrast(latent[..., i], RINGS) for i in range(latent.shape[-1])]
        for i, one in enumerate(contrasts):
            table.line(f"contrast of three rings, latent {i}", tuple(float(c) for c in one))
        table.line("the same, weakest ring of the best latent", _weakest(contrasts), want=(">=", 5.0))
        totals = np.asarray(scan.patterns).sum(axis=(2, 3), dtype=np.float64)
        in_totals = tuple(abs(float(c)) for c in ring_contrast(totals, RINGS))
        table.line("the same in the total counts", in_totals, want=("<", 2.0))
        order = maps.angle_order.values
        claims = float(np.sum(order[np.isfinite(order)] >= 3))
        table.line("positions that claim a rotation order >= 3 by 3 nats", claims, want=("==", 0.0))


def _weakest(contrasts: list[np.ndarray]) -> float:
    """Smallest of the three contrasts in the latent that shows them best; all of one sign."""
    best = 0.0
    for one in contrasts:
        if np.isfinite(one).all():
            best = max(best, float(one.min()), float((-one).min()))
    return best


DATA_SETS: dict[str, tuple[str, Callable[[Path, Table, tuple[FitConfig, ...]], None]]] = {
    "siemens": (SIEMENS, siemens),
    "srtio3": (SRTIO3, srtio3),
    "cryo": (CRYO, cryo),
}


def data_folder(given: Path | None) -> Path:
    """The folder that was given, else $ORBISTEM_TEST_DATA, else ../shared/data beside the repository."""
    if given is not None:
        return given
    if os.environ.get("ORBISTEM_TEST_DATA"):
        return Path(os.environ["ORBISTEM_TEST_DATA"])
    return Path(__file__).resolve().parents[2] / "shared" / "data"


def integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="folder with the data sets")
    parser.add_argument("--only", choices=tuple(DATA_SETS), help="one data set")
    parser.add_argument(
        "--seeds", type=integers, default=(0, 1, 2), help="seeds of the star; the others take the first"
    )
    add_model_options(parser)
    given = parser.parse_args()
    model = model_options(given)
    configs = tuple(FitConfig(seed=seed, model=model) for seed in given.seeds)
    folder = data_folder(given.data)
    chosen = [given.only] if given.only else list(DATA_SETS)
    for name in chosen:
        if not (folder / DATA_SETS[name][0]).is_file():
            print(
                f"measured data: want {folder / DATA_SETS[name][0]}, got nothing there; give the folder",
                file=sys.stderr,
            )
            return 2
    print(describe())
    table = Table()
    for name in chosen:
        DATA_SETS[name][1](folder, table, configs)
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
