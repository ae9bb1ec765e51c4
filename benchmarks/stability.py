"""Fit the same crystal from several seeds and see whether the results are alike.

    python benchmarks/stability.py [--dose 1e6] [--seeds 0,1,...,9] [--same-counts] [--keep DIR]

Simulated graphene, one primitive cell, one noise draw; a seed draws the counts (unless --same-counts) and
seeds the fit. Wanted at 10⁶ electrons: the explained variance differs by at most 0.02 between the best and
the worst seed, the fold error by at most 0.01. Exit status 1 where one falls short.

The fold error of a fit's own counts holds the luck of those counts: a pattern whose noise is rare lies far
from its equivalents however the model was trained. That of a draw which no fit has seen, the same for all,
tells the trainings alone, and so does --same-counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from graphene import Truth
from machine import describe
from requirements_table import Table
from simulated import CELL, ROTATION_ORDER, as_scan, clean_patterns, draw_counts

import orbistem
from orbistem.config import FitConfig
from orbistem.metrics import explained_variance, fold_error
from orbistem.simulate import primitive_cell_pairs

WANT_EXPLAINED, WANT_FOLD = 0.02, 0.01
UNSEEN_SEED = 1001
STRUCTURE = "graphene"


def one(clean: np.ndarray, dose: float, seed: int, *, draw_seed: int) -> tuple[float, float, float, float]:
    """Of one fit: explained variance, fold error, its median, and the fold error of unseen counts."""
    counts = draw_counts(clean, dose=dose, n=1, rng=np.random.default_rng(draw_seed))
    model = orbistem.fit(as_scan(counts), config=FitConfig(seed=seed)).model
    if model is None:
        return (float("nan"),) * 4
    truth = Truth.of(clean, dose)
    explained = explained_variance(truth.electrons, model.predict(counts), truth.static, truth.weight)
    z = np.asarray(model.encode(counts).z, np.float64)
    pairs = primitive_cell_pairs(CELL, ROTATION_ORDER[STRUCTURE]).pairs
    apart = np.linalg.norm(z[pairs[:, 0]] - z[pairs[:, 1]], axis=1)
    scale = np.sqrt(2 * np.trace(np.atleast_2d(np.cov(z.T))))
    unseen = draw_counts(clean, dose=dose, n=1, rng=np.random.default_rng(UNSEEN_SEED))
    elsewhere = fold_error(np.asarray(model.encode(unseen).z, np.float64), pairs)
    return explained, fold_error(z, pairs), float(np.median(apart) / scale), elsewhere


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dose", type=float, default=1e6)
    parser.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=list(range(10))
    )
    parser.add_argument("--same-counts", action="store_true", help="only the fit differs")
    parser.add_argument("--keep", type=Path, help="folder where noise-free patterns are kept")
    given = parser.parse_args()
    print(describe())
    clean = clean_patterns(STRUCTURE, given.keep)
    table = Table()
    table.head(
        f"{STRUCTURE}, {given.dose:.0e} electrons per pattern: explained variance, fold error, its median; "
        "fold error of unseen counts"
    )
    rows = []
    for seed in given.seeds:
        started = time.perf_counter()
        rows.append(one(clean, given.dose, seed, draw_seed=0 if given.same_counts else seed))
        table.line(f"seed {seed}, {time.perf_counter() - started:.0f} s", rows[-1])
    explained, fold, _, unseen = np.array(rows).T
    table.line("explained variance: best less worst", float(np.ptp(explained)), want=("<=", WANT_EXPLAINED))
    table.line("fold error: largest less smallest", float(np.ptp(fold)), want=("<=", WANT_FOLD))
    table.line(
        "fold error of unseen counts: largest less smallest", float(np.ptp(unseen)), want=("<=", WANT_FOLD)
    )
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
