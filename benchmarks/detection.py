"""Find one displaced sulphur atom of a column in ZnS, and how small its displacement may be.

    python benchmarks/detection.py [--crystal zns-110,zns-001] [--doses 1e5,1e6] [--smallest 1e4,1e5,1e6,1e7]
        [--draws 4] [--seed 0] [--keep DIR] [--figure FILE.png]

200 kV, 20 mrad, 5 nm thick. Area under the ROC curve for "within 1 Å of the column" against "beyond 4 Å" of
`broken` without a network, of the centre of mass and of PCA, and of a filter that knows crystal and defect.
Then the smallest displacement whose area is 0.95, dose by dose. The other methods may use what `broken` must
find out: their mean over equal places of all cells is taken off, and each has the pooling that suits it best.
Exit status 1 where a displacement of 10 pm is found worse than wanted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from broken import find
from machine import describe
from requirements_table import Sense, Table
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

import orbistem
from orbistem.simulate import Variant, expose, find_recipe
from orbistem.simulate.multislice import clean_patterns
from orbistem.simulate.recipes import Recipe
from orbistem.simulate.run import build_for, scan_positions
from orbistem.symmetry import pooled_scores

SCANS = {"zns-110": (48, 60), "zns-001": (36, 36)}
"""Positions (y, x) over 16.2 × 19.1 Å and 16.2 × 16.2 Å."""
PX = 48
REACH_A = {"zns-110": 4.5, "zns-001": 3.5}
"""Beyond, the pattern is taken for that of the perfect crystal; 10 pm and 10⁶ electrons change it by 1 noise
unit² at 3.5 Å, by 1,800 at the column."""
NEAR_A, FAR_A = 1.0, 4.0
SMALL_A, LARGE_A = 0.1, 0.4
"""Displacements that are simulated; others follow from a parabola through these and none."""
DISPLACEMENTS_PM = (1.0, 1.7, 3.0, 5.0, 9.0, 16.0, 28.0, 50.0)
FOUND = 0.95
WANT: dict[float, tuple[Sense, float]] = {1e6: (">=", 0.99), 1e5: (">=", 0.95)}
WIDTHS_A = (0.0, 0.3, 0.5, 0.8, 1.2, 1.7)
COMPONENTS = 10
OURS, LIMIT = "broken", "limit: knows crystal and defect"
COM_ALONE, COM_CELLS = "COM magnitude", "COM apart from the other cells"
PCA_ALONE, PCA_CELLS = "PCA error", "PCA apart from the other cells"
METHODS = (OURS, COM_ALONE, COM_CELLS, PCA_ALONE, PCA_CELLS, LIMIT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A scan of 3 × n cells with the column in the middle.

    Attributes
    ----------
    perfect
        (n, ky, kx) fraction of the beam in each pixel, perfect crystal.
    linear, square
        (m, ky, kx) change per Å and per Å² of displacement at the positions `changed`.
    changed
        (m,) flat indices.
    distance
        (n,) Å from the column.
    grid, cell
        Positions (y, x) of the scan and of one cell.
    steps
        Å, (y, x).
    columns
        (c, 2) int: shift (y, x) from the column to each column like it.
    """

    perfect: np.ndarray
    linear: np.ndarray
    square: np.ndarray
    changed: np.ndarray
    distance: np.ndarray
    grid: tuple[int, int]
    cell: tuple[int, int]
    steps: tuple[float, float]
    columns: np.ndarray

    def clean(self, displacement_a: float) -> np.ndarray:
        """Noise-free patterns with the atom displaced."""
        found = self.perfect.copy()
        found[self.changed] += displacement_a * self.linear + displacement_a**2 * self.square
        return np.maximum(found, 0)

    @classmethod
    def of(cls, crystal: str, keep: Path) -> Scene:
        """Simulate, or read what was kept."""
        recipe = find_recipe(f"{crystal}-displaced")
        (ny, nx), cells = SCANS[crystal], recipe.cells
        cell = (ny // cells[0], nx // cells[1])
        positions, steps = scan_positions(recipe, _built(recipe, 0.0), (ny, nx))
        column = _built(recipe, SMALL_A).defects[0]
        distance = np.hypot(*(positions - column).T)
        changed = np.flatnonzero(distance < REACH_A[crystal])
        y, x = np.divmod(np.arange(ny * nx), nx)
        first = np.flatnonzero((y < cell[0]) & (x < cell[1]))
        file = keep / f"detection-{crystal}-{orbistem.__version__}.npz"
        if not file.is_file():
            once = _patterns(recipe, positions[first], 0.0)
            apart = [_patterns(recipe, positions[changed], by) for by in (SMALL_A, LARGE_A)]
            keep.mkdir(parents=True, exist_ok=True)
            np.savez(file, once=once, small=apart[0], large=apart[1])
        with np.load(file) as kept:
            once, small, large = (kept[name].astype(np.float64) for name in ("once", "small", "large"))
        perfect = once[(y % cell[0]) * cell[1] + x % cell[1]]
        small, large = (small - perfect[changed]) / SMALL_A, (large - perfect[changed]) / LARGE_A
        square = (large - small) / (LARGE_A - SMALL_A)
        to_steps = np.linalg.inv(steps)
        shifts = [
            tuple(int(one) for one in np.rint((i * v1 + j * v2) @ to_steps)[::-1])
            for v1, v2 in [_built(recipe, 0.0).vectors]
            for i in range(-8, 9)
            for j in range(-8, 9)
        ]
        inside = {(dy % ny, dx % nx) for dy, dx in shifts}
        return cls(
            perfect=perfect,
            linear=small - SMALL_A * square,
            square=square,
            changed=changed,
            distance=distance,
            grid=(ny, nx),
            cell=cell,
            steps=(float(steps[1, 1]), float(steps[0, 0])),
            columns=np.array(sorted(inside)),
        )


def _built(recipe: Recipe, displacement_a: float):  # type: ignore[no-untyped-def]
    variant = Variant(displacement=displacement_a, direction_deg=0.0)
    return build_for(recipe, recipe.optics, detector_px=PX, variant=variant)


def _patterns(recipe: Recipe, positions: np.ndarray, displacement_a: float) -> np.ndarray:
    return clean_patterns(
        _built(recipe, displacement_a), positions, optics=replace(recipe.optics), detector_px=PX
    )


def broken(counts: np.ndarray, scene: Scene, seed: int) -> np.ndarray:
    """Score of each position, default settings, no network.

    Few draws of the law of the maximum: it turns a score into another of the same rank, which the area under
    the ROC curve does not see.
    """
    pooled_scores.DRAWS = pooled_scores.DRAWN_AT_ONCE
    found = find(counts, scene.steps, seed, grid=scene.grid)
    return np.asarray(found.score)


def com(counts: np.ndarray, scene: Scene) -> np.ndarray:
    """Centre of mass (n, 2), px."""
    y, x = np.indices((PX, PX)) - (PX - 1) / 2
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    return np.stack([flat @ y.ravel(), flat @ x.ravel()], axis=1) / flat.sum(axis=1)[:, None]


def pca(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n, 10) and squared error (n,) of principal components of the roots of counts in 2 × 2 px."""
    half = PX // 2
    binned = counts.reshape(len(counts), half, 2, half, 2).sum(axis=(2, 4), dtype=np.float32)
    root = 2 * np.sqrt(binned.reshape(len(counts), -1) + np.float32(3 / 8))
    root -= root.mean(axis=0)
    _, axes = np.linalg.eigh(root.T @ root)
    axes = axes[:, ::-1][:, :COMPONENTS]
    weights = root @ axes
    return weights, np.sum((root - weights @ axes.T) ** 2, axis=1)


def judge(name: str, counts: np.ndarray, scene: Scene, clean: np.ndarray, draw: int) -> float:
    """Area under the ROC curve of one method on one draw."""
    if name == OURS:
        return area(broken(counts, scene, draw), scene)
    if name == LIMIT:
        return limit(counts, scene, clean)
    if name.startswith("COM"):
        found = com(counts, scene)
        if name == COM_ALONE:
            return best_area(np.linalg.norm(found - found.mean(axis=0), axis=1)[:, None], scene)
        return best_area(apart_from_other_cells(found, scene), scene)
    weights, left = pca(counts)
    if name == PCA_ALONE:
        return best_area(left[:, None], scene)
    return best_area(apart_from_other_cells(weights, scene), scene)


def apart_from_other_cells(values: np.ndarray, scene: Scene) -> np.ndarray:
    """Values (n, q) less their mean over the same place in all cells, each over its spread."""
    (ny, nx), (cy, cx) = scene.grid, scene.cell
    cells = values.reshape(ny // cy, cy, nx // cx, cx, -1)
    apart = (cells - cells.mean(axis=(0, 2), keepdims=True)).reshape(len(values), -1)
    return np.asarray(apart / apart.std(axis=0))


def best_area(values: np.ndarray, scene: Scene) -> float:
    """The best over widths of pooling; one value: more, less or different, several: size of the vector."""
    table = (values - np.median(values, axis=0)).reshape(*scene.grid, -1)
    areas = []
    for width in WIDTHS_A:
        sigma = (width / scene.steps[0], width / scene.steps[1], 0)
        pooled = (gaussian_filter(table, sigma, mode="reflect") if width else table).reshape(values.shape)
        ways = [np.linalg.norm(pooled, axis=1)]
        if values.shape[1] == 1:
            ways += [pooled[:, 0], -pooled[:, 0]]
        areas += [area(way, scene) for way in ways]
    return max(areas)


def area(score: np.ndarray, scene: Scene) -> float:
    """Area under the ROC curve."""
    near, far = scene.distance < NEAR_A, scene.distance > FAR_A
    return float(roc_auc_score(near[near | far], score[near | far]))


def limit(counts: np.ndarray, scene: Scene, clean: np.ndarray) -> float:
    """Log likelihood ratio at each column; a position takes that of its own, others none."""
    floor = 1e-12
    table = counts.reshape(*scene.grid, PX, PX)
    rows = np.stack(np.divmod(scene.changed, scene.grid[1]), axis=1)
    gain = np.log(np.maximum(clean[scene.changed], floor) / np.maximum(scene.perfect[scene.changed], floor))
    best = np.full(scene.grid, -np.inf)
    near = (scene.distance < NEAR_A).reshape(scene.grid)
    for shift in scene.columns:
        y, x = ((rows + shift) % scene.grid).T
        ratio = float(np.einsum("mab,mab->", table[y, x].astype(np.float64), gain))
        best = np.where(np.roll(near, tuple(shift), (0, 1)), np.maximum(best, ratio), best)
    near_any = np.isfinite(best).ravel()
    use = near_any & ((scene.distance < NEAR_A) | (scene.distance > FAR_A))
    return float(roc_auc_score(scene.distance[use] < NEAR_A, best.ravel()[use]))


def mean_area(name: str, scene: Scene, displacement_a: float, dose: float, draws: int, seed: int) -> float:
    """Mean over draws of the area under the ROC curve of a method."""
    clean = scene.clean(displacement_a)
    found = []
    for draw in range(draws):
        counts = expose(clean, dose=dose, rng=np.random.default_rng([seed, draw]))
        found.append(judge(name, counts, scene, clean, draw))
    return float(np.mean(found))


def smallest(name: str, scene: Scene, dose: float, draws: int, seed: int) -> float:
    """Displacement, pm, at which the area passes 0.95; 0 below all tried, infinite above."""
    areas: dict[int, float] = {-1: 0.5, len(DISPLACEMENTS_PM): 1.0}
    low, high = -1, len(DISPLACEMENTS_PM)
    while high - low > 1:
        middle = (low + high) // 2
        areas[middle] = mean_area(name, scene, DISPLACEMENTS_PM[middle] / 100, dose, draws, seed)
        low, high = (low, middle) if areas[middle] >= FOUND else (middle, high)
    if low < 0:
        return 0.0
    if high == len(DISPLACEMENTS_PM):
        return float("inf")
    part = (FOUND - areas[low]) / max(areas[high] - areas[low], 1e-12)
    logs = np.log(DISPLACEMENTS_PM)
    return float(np.exp(logs[low] + part * (logs[high] - logs[low])))


def draw(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Smallest displacement against dose."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(found), 3.8), layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    styles = {
        OURS: ("o-", "#1f6f8b"),
        COM_ALONE: ("s:", "#d1495b"),
        COM_CELLS: ("s-", "#d1495b"),
        PCA_ALONE: ("^:", "#e3a857"),
        PCA_CELLS: ("^-", "#e3a857"),
        LIMIT: ("--", "#303030"),
    }
    for ax, (crystal, by_dose) in zip(axes, found.items(), strict=True):
        doses = [float(dose) for dose in by_dose]
        for name, (style, colour) in styles.items():
            values = [by_dose[dose].get(name, np.inf) for dose in by_dose]
            some = [(dose, value) for dose, value in zip(doses, values, strict=True) if 0 < value < np.inf]
            if some:
                ax.plot(*zip(*some, strict=True), style, color=colour, label=name)
        ax.set(xscale="log", yscale="log", xlabel="electrons per pattern", title=crystal)
        ax.set_ylabel("smallest displacement found (pm)")
        ax.set_ylim(DISPLACEMENTS_PM[0] * 0.9, DISPLACEMENTS_PM[-1] * 1.1)
        ticks = DISPLACEMENTS_PM
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def numbers(text: str) -> list[float]:
        return [float(one) for one in text.split(",") if one]

    parser.add_argument("--crystal", default=",".join(SCANS))
    parser.add_argument("--doses", type=numbers, default=[1e5, 1e6], help="for the displacement of 10 pm")
    parser.add_argument("--smallest", type=numbers, default=[1e4, 1e5, 1e6, 1e7], help="empty for none")
    parser.add_argument("--methods", default=",".join(METHODS), help="for the smallest displacement")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--smallest-draws", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "orbistem-benchmarks")
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    print(describe())
    table = Table()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for crystal in given.crystal.split(","):
        scene = Scene.of(crystal, given.keep)
        for dose in given.doses:
            table.head(f"{crystal}, one atom by 10 pm, {dose:.0e} electrons, {given.draws} draws: area")
            for name in METHODS:
                value = mean_area(name, scene, 0.1, dose, given.draws, given.seed)
                table.line(name, value, want=WANT.get(dose) if name == OURS else None)
        found[crystal] = {}
        for dose in given.smallest:
            table.head(f"{crystal}, {dose:.0e} electrons: smallest displacement with an area of {FOUND}")
            row = {}
            for name in given.methods.split(","):
                row[name] = smallest(name, scene, dose, given.smallest_draws, given.seed)
                table.line(name, row[name], "pm")
            found[crystal][f"{dose:g}"] = row
    if given.figure is not None and given.smallest:
        draw(found, given.figure)
        text = json.dumps(found, indent=1).replace("Infinity", "null")
        given.figure.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
