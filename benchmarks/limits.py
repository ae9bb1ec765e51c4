"""What one pattern can tell where its turn is unknown: explained variance with the true templates.

    python benchmarks/limits.py [--structure graphene] [--doses 1e4,1e5] [--coefficients 7,26,400] [--seed 0]
                                [--keep DIR]

The posterior mean over the noise-free patterns of one cell, in the circle that a rotation maps onto itself,
with the Poisson likelihood of the counts read through some or all angular harmonics. "known": the pattern is
one of the cell as it lies, which is what the oracles of `graphene.py` know. "any turn, static part at rest":
its deviation from the scan's mean may be turned by any angle, which is what OrbitVAE may assume (a static
background is learned). "any turn": the mean turns along. No model, no training: a limit for any method that
sees one pattern at a time.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from graphene import Truth, true_plan, white_axes
from machine import describe
from requirements_table import Table
from simulated import DETECTOR_PX, ROTATION_ORDER, clean_patterns, draw_counts

TURNS = {1e4: 144, 1e5: 288}
MOST_TURNS = 576
LEAST_ELECTRONS = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Harmonics:
    """Whitened harmonics, the most varying first; orders above 0 have unit noise in each of two parts.

    Attributes
    ----------
    order
        (K,).
    counts, library
        (n, K) complex, of noisy and of noise-free patterns.
    waves
        (pixel, K) complex: harmonics = electrons @ waves.
    """

    order: np.ndarray
    counts: np.ndarray
    library: np.ndarray
    waves: np.ndarray


def harmonics(truth: Truth, counts: np.ndarray) -> Harmonics:
    """All harmonics in the axes in which the library varies most, order by order."""
    plan = true_plan(truth)
    none = plan.harmonics(np.zeros((1, *truth.static.shape)))

    def linear(patterns: np.ndarray) -> np.ndarray:
        return np.asarray(plan.harmonics(patterns) - none, np.complex128)

    pixels = truth.static.size
    unit = np.eye(pixels).reshape(pixels, *truth.static.shape)
    waves = np.concatenate([linear(unit[i : i + 512]) for i in range(0, pixels, 512)])
    seen, library = linear(counts), linear(truth.electrons)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for m in range(plan.grid.n_orders):
        rings, white = white_axes(plan, m)
        apart = (library[:, rings, m] - library[:, rings, m].mean(axis=0)) @ white
        strength, turn = np.linalg.eigh((apart.conj().T @ apart).real)
        axes = white @ turn
        each = [values[:, rings, m] @ axes for values in (seen, library, waves)]
        parts.append((np.full(len(strength), m), strength / (2 if m else 1), *each))
    order, strength, seen, library, waves = (
        np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)
    )
    rank = np.argsort(-strength)
    return Harmonics(order=order[rank], counts=seen[:, rank], library=library[:, rank], waves=waves[:, rank])


def limit(truth: Truth, found: Harmonics, *, kept: int, turns: int, static: bool) -> float:
    """Explained variance of the posterior mean over library and turns, read through `kept` harmonics.

    static: the mean of the library does not turn.
    """
    order = found.order[:kept]

    def real(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values.real, values.imag[..., order > 0]], axis=-1)

    mean = truth.electrons.mean(axis=0).ravel()
    log_ratio = np.log(np.maximum(truth.electrons.reshape(len(truth.electrons), -1), LEAST_ELECTRONS) / mean)
    waves = real(found.waves[:, :kept])
    natural = np.linalg.solve((waves.T * mean) @ waves, waves.T @ (mean[:, None] * log_ratio.T)).T
    drawn = natural @ waves.T
    potential = (np.expm1(drawn) - (drawn if static else 0)) @ mean
    rest = found.library.mean(axis=0) if static else np.zeros_like(found.library[0])
    grid = np.arange(turns) * (2 * np.pi / turns)
    log_p = np.empty((len(found.counts), len(natural), turns), np.float32)
    for i, angle in enumerate(grid):
        back = (found.counts - rest)[:, :kept] * np.exp(1j * order * angle)
        log_p[:, :, i] = real(back) @ natural.T - potential
    log_p -= log_p.max(axis=(1, 2), keepdims=True)
    p = np.exp(log_p, out=log_p)
    p /= p.sum(axis=(1, 2), keepdims=True)
    turned = np.exp(-1j * np.outer(grid, found.order)).astype(np.complex64)
    library = (found.library - rest).astype(np.complex64)
    predicted = rest + np.einsum("nsa,sm,am->nm", p, library, turned, optimize=True)
    apart = found.library - found.library.mean(axis=0)
    return float(1 - np.sum(np.abs(found.library - predicted) ** 2) / np.sum(np.abs(apart) ** 2))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structure", choices=tuple(ROTATION_ORDER), default="graphene")
    parser.add_argument(
        "--doses", type=lambda text: [float(part) for part in text.split(",")], default=[1e4, 1e5]
    )
    parser.add_argument(
        "--coefficients", type=lambda text: [int(k) for k in text.split(",")], default=[7, 26, 400]
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder where noise-free patterns are kept")
    given = parser.parse_args()
    print(describe())
    clean = clean_patterns(given.structure, given.keep)
    table = Table()
    for dose in given.doses:
        truth = Truth.of(clean, dose)
        counts = draw_counts(clean, dose=dose, n=1, rng=np.random.default_rng(given.seed))
        found = harmonics(truth, counts)
        turns = TURNS.get(dose, MOST_TURNS)
        table.head(
            f"{given.structure}, {dose:.0e} electrons, {DETECTOR_PX} px: explained variance, turn "
            "known; any turn, static part at rest; any turn"
        )
        for kept in given.coefficients:
            row = tuple(
                limit(truth, found, kept=kept, turns=n, static=static)
                for n, static in ((1, False), (turns, True), (turns, False))
            )
            table.line(f"{kept} harmonics", row)
    return table.close()


if __name__ == "__main__":
    raise SystemExit(main())
