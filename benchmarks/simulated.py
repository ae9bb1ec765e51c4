"""Simulated primitive-cell scans for the benchmarks: noise-free patterns (kept between runs) and counts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import orbistem
from orbistem.simulate import expose, simulate

CELL = 24
DETECTOR_PX = 64
ROTATION_ORDER = {"graphene": 6, "mos2": 3}
DRAWS = {1e7: 1}
DEFAULT_DRAWS = 4


def clean_patterns(structure: str, keep: Path | None = None) -> np.ndarray:
    """Noise-free patterns (576, 64, 64) of one primitive cell, 24 × 24 positions: fractions of the beam.

    Parameters
    ----------
    structure
        "graphene" or "mos2".
    keep
        Folder where they are kept for the next run; by default one in the system's temporary folder.
    """
    folder = keep or Path(tempfile.gettempdir()) / "orbistem-benchmarks"
    file = folder / f"{structure}-{orbistem.__version__}.npy"
    if file.is_file():
        return np.asarray(np.load(file))
    scan, _ = simulate(structure, seed=0, dose=None, scan_shape=(CELL, CELL), detector_px=DETECTOR_PX)
    clean = np.asarray(scan.patterns).reshape(-1, DETECTOR_PX, DETECTOR_PX)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(file, clean)
    return clean


def n_draws(dose: float) -> int:
    """How many noise draws of the cell are fitted together at this dose."""
    return DRAWS.get(dose, DEFAULT_DRAWS)


def draw_counts(clean: np.ndarray, *, dose: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Poisson counts (n · 576, 64, 64): n draws of the cell, one after another."""
    return expose(np.tile(clean, (n, 1, 1)), dose=dose, rng=rng)


def as_scan(counts: np.ndarray) -> orbistem.Scan:
    """One scan of 24 columns, the draws stacked along y."""
    scan: orbistem.Scan = orbistem.open(counts.reshape(-1, CELL, *counts.shape[1:]))
    return scan
