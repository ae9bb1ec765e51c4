"""Find defects that change the mass and one that does not, and judge the scores of a perfect crystal.

    python benchmarks/broken.py [--dose 1e5,3e4,1e4] [--draws 20] [--seed 0] [--keep DIR]
                                [--only roc|perfect|null]

Area under the ROC curve for "within 2 Å of the defect" against "beyond 4 Å": vacancy, threefold silicon and
Stone-Wales defect in graphene, 64 × 64 positions, beside other methods, each with the pooling that suits it
best, and beside the limit (a filter that knows crystal and defect). Then `broken` on a perfect crystal, and
on small scans (16 × 16 patterns of 32 px) of few electrons in which nothing is broken. No network is trained:
what is expected comes from the lattice. Exit status 1 where a figure falls short.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from machine import describe
from requirements_table import Sense, Table
from scipy.ndimage import gaussian_filter
from scipy.stats import beta, kstest
from sklearn.metrics import roc_auc_score

import orbistem
from orbistem.pipeline.broken import modes_of
from orbistem.plan import Plan
from orbistem.simulate import expose, recipes, simulate
from orbistem.symmetry.broken import Broken, BrokenOptions, find_broken
from orbistem.symmetry.pooling import Layout

DEFECTS = ("graphene-vacancy", "graphene-si3", "graphene-stone-wales")
PERFECT = "graphene-perfect"
LIMITS: dict[str, dict[float, tuple[Sense, float]]] = {
    "graphene-vacancy": dict.fromkeys((1e5, 3e4, 1e4), (">=", 0.995)),
    "graphene-si3": dict.fromkeys((1e5, 3e4, 1e4), (">=", 0.995)),
    "graphene-stone-wales": {1e5: (">=", 0.995), 3e4: (">=", 0.97), 1e4: (">=", 0.90)},
}
NEAR_A, FAR_A = 2.0, 4.0
WIDTHS_A = (0.0, 0.6, 0.8, 1.1, 1.5, 2.0)
PX = 64
CENTRE = (PX - 1) / 2
DARK_FROM_PX = 20.0  # the bright disc ends at 17
COMPONENTS = 10
NEIGHBOURS = 80
NULL_DRAWS = {20.0: 100, 1000.0: 60}
APART_STEPS = 3.0  # times the widest pooling, between positions that count as independent


def clean_scan(name: str, keep: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Noise-free patterns (4096, 64, 64), distance to the defect (4096,) and steps (y, x) in Å."""
    file = keep / f"{name}-{orbistem.__version__}.npz"
    if not file.is_file():
        if name == PERFECT:
            perfect = recipes._graphene_defect(name, "graphene without a defect", lambda specimen: specimen)
            recipes.SIMULATIONS = (*recipes.SIMULATIONS, perfect)
        scan, truth = simulate(name, seed=0, dose=None, scan_shape=(64, 64), detector_px=PX)
        keep.mkdir(parents=True, exist_ok=True)
        np.savez(
            file,
            patterns=np.asarray(scan.patterns).reshape(-1, PX, PX),
            distance=truth.defect_distance.ravel(),
            steps=[axis.scale for axis in scan.scan_axes],
        )
    with np.load(file) as kept:
        y, x = kept["steps"]
        return kept["patterns"], kept["distance"], (float(y), float(x))


def find(
    counts: np.ndarray, steps: tuple[float, float], seed: int, *, grid: tuple[int, int] = (64, 64)
) -> Broken:
    """`broken` of counts (n, ky, kx) of square detectors with default settings, untrained."""
    shape = counts.shape[1:]
    centre = (shape[0] - 1) / 2
    plan = Plan(
        mean=counts.mean(axis=0), pixel_valid=np.ones(shape, bool), centre_px=(centre, centre), gain=1.0
    )
    harmonics = plan.harmonics(counts)
    harmonics[:, :, 0] -= harmonics[:, :, 0].mean(axis=0)
    return find_broken(
        harmonics,
        modes_of(plan, BrokenOptions()),
        latent=None,
        angle=None,
        reference=np.ones(len(counts), bool),
        layout=Layout.grid(grid, steps=steps),
        rng=np.random.default_rng(seed),
    )


def area(score: np.ndarray, distance: np.ndarray) -> float:
    """Area under the ROC curve."""
    use = (distance < NEAR_A) | (distance > FAR_A)
    return float(roc_auc_score(distance[use] < NEAR_A, score[use]))


def best_area(values: np.ndarray, distance: np.ndarray, steps: tuple[float, float]) -> float:
    """The best over widths of pooling and over "more", "less" and "different"."""
    centred = (values - np.median(values)).reshape(64, 64)
    areas = []
    for width in WIDTHS_A:
        sigma = (width / steps[0], width / steps[1])
        pooled = gaussian_filter(centred, sigma, mode="reflect").ravel() if width else centred.ravel()
        areas += [area(way, distance) for way in (pooled, -pooled, np.abs(pooled))]
    return max(areas)


def other_methods(counts: np.ndarray) -> dict[str, np.ndarray]:
    """One number a position for each method."""
    y, x = np.indices((PX, PX)) - CENTRE
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    total = flat.sum(axis=1)
    com = np.stack([flat @ y.ravel(), flat @ x.ravel()], axis=1) / total[:, None]
    root = 2 * np.sqrt(flat + 3 / 8)
    root -= root.mean(axis=0)
    _, axes = np.linalg.eigh(root.T @ root)
    axes = axes[:, ::-1][:, :COMPONENTS]
    weights = root @ axes
    turned = counts[:, ::-1, ::-1].reshape(len(counts), -1)
    return {
        "annular dark field": flat[:, (np.hypot(y, x) > DARK_FROM_PX).ravel()].sum(axis=1),
        "centre of mass, magnitude": np.linalg.norm(com - com.mean(axis=0), axis=1),
        "PCA reconstruction error": np.sum((root - weights @ axes.T) ** 2, axis=1),
        "S-STEM, half-turn": np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(flat, turned, strict=True)]),
        "plain chi-square": _chi_square(counts, weights),
    }


def _chi_square(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Against the mean of the patterns with the nearest PCA weights, 16 × 16 bins, without itself."""
    from scipy.spatial import cKDTree

    binned = counts.reshape(len(counts), 16, 4, 16, 4).sum(axis=(2, 4)).reshape(len(counts), -1).astype(float)
    _, near = cKDTree(weights).query(weights, k=NEIGHBOURS + 1)
    expected = np.stack([binned[rows].mean(axis=0) for rows in near[:, 1:]])
    return np.asarray(np.sum((binned - expected) ** 2 / np.maximum(expected, 0.5), axis=1))


def limit_area(
    counts: np.ndarray, defect: np.ndarray, perfect: np.ndarray, distance: np.ndarray, dose: float
) -> float:
    """Log likelihood ratio of the defect on each site; a position takes the best within 2 Å."""
    floor = 1e-12
    gain = np.log(np.maximum(defect, floor) / np.maximum(perfect, floor)).reshape(64, 64, -1)
    loss = dose * (defect - perfect).sum(axis=(1, 2)).reshape(64, 64)
    seen = counts.reshape(64, 64, -1)
    near = (distance < NEAR_A).reshape(64, 64)
    best = np.full((64, 64), -np.inf)
    for down in range(0, 64, 8):  # half a rectangular cell; the scan holds 4 × 8 of them
        for right in range(4 * (down // 8 % 2), 64, 8):
            shift = (down, right)
            ratio = np.einsum("yxp,yxp->", seen, np.roll(gain, shift, (0, 1)), optimize=True) - loss.sum()
            best = np.where(np.roll(near, shift, (0, 1)), np.maximum(best, ratio), best)
    return area(best.ravel(), distance)


def roc(doses: list[float], seed: int, keep: Path, table: Table) -> None:
    """The table of all methods."""
    perfect, _, _ = clean_scan(PERFECT, keep)
    for name in DEFECTS:
        clean, distance, steps = clean_scan(name, keep)
        for dose in doses:
            table.head(f"{name}, {dose:.0e} electrons per pattern: area under the ROC curve")
            counts = expose(clean, dose=dose, rng=np.random.default_rng(seed))
            found = find(counts, steps, seed)
            table.line("broken", area(found.score, distance), want=LIMITS[name].get(dose))
            for method, values in other_methods(counts).items():
                table.line(method, best_area(values, distance, steps))
            table.line("limit: knows crystal and defect", limit_area(counts, clean, perfect, distance, dose))
            near, far = distance < NEAR_A, distance > FAR_A
            table.line(
                "discovered within 2 Å, and beyond 4 Å", tuple(found.found[at].mean() for at in (near, far))
            )


def perfect_crystal(draws: int, seed: int, keep: Path, table: Table) -> None:
    """Standard-normal score and false discoveries where nothing is broken."""
    clean, _, steps = clean_scan(PERFECT, keep)
    for dose in (1e3, 1e4, 1e5, 1e6):
        passed, discovered, pooled = 0, 0, []
        for draw in range(draws):
            counts = expose(clean, dose=dose, rng=np.random.default_rng([seed, draw]))
            found = find(counts, steps, draw)
            apart = [int(np.ceil(APART_STEPS * max(found.widths) / step)) for step in steps]
            some = found.score.reshape(64, 64)[apart[0] // 4 :: apart[0], apart[1] // 4 :: apart[1]].ravel()
            passed += kstest(some, "norm").pvalue > 0.01
            discovered += bool(found.found.any())
            pooled.append(some)
        table.head(f"perfect graphene, {dose:.0e} electrons per pattern, {draws} draws")
        every = np.concatenate(pooled)
        table.line("share of draws with Kolmogorov-Smirnov p > 0.01", passed / draws, want=(">=", 0.9))
        rate = found.rate
        most = rate + 3 * np.sqrt(rate * (1 - rate) / draws)
        table.line("share of scans with any discovery", discovered / draws, want=("<=", most))
        table.line("mean and standard deviation of the score", (every.mean(), every.std()))
        table.line("Kolmogorov-Smirnov p of all draws together", kstest(every, "norm").pvalue)


def null_counts(kind: str, dose: float, rng: np.random.Generator) -> np.ndarray:
    """(256, 32, 32) of a disk, of threefold patterns turned at random, or of a small crystal."""
    y, x = np.indices((32, 32)) - 15.5
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    disk = 1 / (1 + np.exp((radius - 9) / 0.5)) + 0.01
    disk, inside = disk / disk.sum(), np.clip(radius / 9, 0, 1)
    down, right = (at.reshape(-1, 1, 1) for at in np.divmod(np.arange(256), 16))
    if kind == "turned":
        turn = rng.uniform(0, 2 * np.pi, (256, 1, 1))
        disk = disk * (1 + 0.5 * np.cos(3 * (azimuth - turn)) * inside**2)
    elif kind == "crystal":
        across = np.cos(azimuth) * np.cos(2 * np.pi * right / 6)
        disk = disk * (1 + 0.3 * inside * (across + np.sin(azimuth) * np.cos(2 * np.pi * down / 6)))
    return rng.poisson(np.broadcast_to(dose * disk, (256, 32, 32)))


def null_scans(seed: int, table: Table) -> None:
    """Share of scans with a discovery where there is nothing to discover."""
    for dose, draws in NULL_DRAWS.items():
        table.head(f"nothing broken, {dose:.0f} electrons per pattern: scans with a discovery, of {draws}")
        for kind in ("disk", "turned", "crystal"):
            rngs = [np.random.default_rng([seed, draw]) for draw in range(draws)]
            n = sum(
                bool(find(null_counts(kind, dose, rng), (1.0, 1.0), draw, grid=(16, 16)).found.any())
                for draw, rng in enumerate(rngs)
            )
            low = float(beta.ppf(0.005, n, draws - n + 1)) if n else 0.0
            table.line(f"{kind}, {n}: lower end of the 99 % interval", low, want=("<=", BrokenOptions().rate))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dose", type=lambda text: [float(d) for d in text.split(",")], default=[1e5, 3e4, 1e4]
    )
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "orbistem-benchmarks")
    parser.add_argument("--only", choices=("roc", "perfect", "null"))
    given = parser.parse_args()
    print(describe())
    table = Table()
    parts = {
        "roc": partial(roc, given.dose, given.seed),
        "perfect": partial(perfect_crystal, given.draws, given.seed),
    }
    for name, part in parts.items():
        if given.only in (None, name):
            part(given.keep, table)
    if given.only in (None, "null"):
        null_scans(given.seed, table)
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
