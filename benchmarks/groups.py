"""What a group with mirrors buys: graphene, one cell, fitted with SO2 and with O2.

    python benchmarks/groups.py [--groups SO2 O2] [--steps 1500] [--dose 1e6] [--side 24]

Prints, for each group, the latents in use, the held-out evidence, the fold error of positions that are turned
and of those that are mirror images of each other, and how the hands of these pairs agree.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from machine import describe

import orbistem
from orbistem.config import FitConfig
from orbistem.metrics import angle_error, fold_error
from orbistem.metrics.pairs import truth_pairs
from orbistem.models.train import TrainOptions
from orbistem.scan import Truth
from orbistem.simulate import simulate

DETECTOR_PX = 48
COLUMNS = ("group", "active", "held out", "turned", "mirrored", "hand same", "hand opposite", "angle °", "s")


def mirror_pairs(truth: Truth) -> np.ndarray:
    """Positions (m, 2) without symmetry that the mirror between the lattice vectors maps onto each other.

    The scan is one primitive cell, r = x a1 + y a2; the mirror through its sixfold axis exchanges x and y.
    """
    group = truth.point_group.astype(str)
    ny, nx = group.shape
    if ny != nx:
        raise ValueError(f"scan: want a square one, got {ny} x {nx}; give --side")
    y0, x0 = np.argwhere(group == "D6")[0]
    y, x = np.indices(group.shape)
    image = ((x - x0 + y0) % ny) * nx + (y - y0 + x0) % nx
    here, there = np.arange(group.size), image.ravel()
    use = (group.ravel() == "C1") & (here != there)
    return np.stack([here[use], there[use]], axis=1)


def row(group: str, *, side: int, dose: float, steps: int) -> tuple[object, ...]:
    """One line of the table."""
    scan, truth = simulate("graphene", seed=1, dose=dose, scan_shape=(side, side), detector_px=DETECTOR_PX)
    model = replace(
        FitConfig().model, group=group, scout_steps=min(300, steps), train=TrainOptions(steps=steps)
    )
    result = orbistem.fit(scan, config=FitConfig(model=model))
    maps, run = result.maps, result.run
    z = maps.latent.values.reshape(-1, maps.sizes["latent_dim"]).astype(float)
    turned, mirrored = truth_pairs(truth), mirror_pairs(truth)
    angle, order = maps.angle.values.ravel().astype(float), maps.angle_order.values.ravel().astype(int)
    p, q = turned.rows.T
    use = np.ones(len(p), bool)
    same = opposite = float("nan")
    if "handedness" in maps:
        hand = np.sign(maps.handedness.values.ravel())
        use = hand[p] == hand[q]
        plain = truth.point_group.ravel()[p].astype(str) == "C1"
        same = float(np.mean(use[plain]))
        opposite = float(np.mean(hand[mirrored[:, 0]] != hand[mirrored[:, 1]]))
    claimed = np.lcm(turned.order, np.lcm(order[p], order[q]))
    error = angle_error(angle[p][use], angle[q][use], turned.turn[use], claimed[use]).median_deg
    return (
        group,
        run["training"]["active_units"],
        run["training"]["heldout_evidence"],
        fold_error(z, turned.rows),
        fold_error(z, mirrored),
        same,
        opposite,
        error,
        sum(run["timings_s"].values()),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--groups", nargs="+", default=["SO2", "O2"])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--dose", type=float, default=1e6)
    parser.add_argument("--side", type=int, default=24)
    given = parser.parse_args()
    print(describe())
    print("  ".join(f"{name:>13}" for name in COLUMNS))
    for group in given.groups:
        cells = row(group, side=given.side, dose=given.dose, steps=given.steps)
        print("  ".join(f"{c:>13}" if isinstance(c, str | int) else f"{c:13.3f}" for c in cells), flush=True)


if __name__ == "__main__":
    main()
