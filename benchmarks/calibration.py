"""Do the stated uncertainties hold? Chi-square of held-out patterns, and how often `latent_sd` covers.

    python benchmarks/calibration.py [--doses 1e3,1e4,1e5,1e6] [--draws 4] [--seed 0] [--keep DIR]

Simulated graphene, one primitive cell, the dose is known. The fit sees some noise draws of the cell; judged
are two others, which it has not seen. Exit status 1 where a figure falls short.

Chi-square: squared residuals against the patterns that the model predicts, over what shot noise of the
predicted counts lets expect; over all pixels with the weight 1/f̄, and over the kept coefficients, where the
freedoms of latents and angle are taken off. Coverage: share of patterns whose latent lies within one stated
standard deviation of that of the noise-free pattern, latent by latent; beside it the share within one of the
template nearest to the noise-free pattern.
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
from simulated import as_scan, clean_patterns, draw_counts

import orbistem
from orbistem.config import FitConfig
from orbistem.metrics import active_units, explained_variance
from orbistem.models.orbit import OrbitVAE
from orbistem.result import TrainedModel

CHI_SQUARE = (0.97, 1.03)
COVERAGE = (0.63, 0.73)
HELD_OUT_DRAWS = 2
START_ANGLES, TRIAL_STEPS, STEP = 96, 30, 1e-2
"""Towards the nearest template: angles to start from, steps, and the difference for slopes, sd and rad."""


def chi_square_pixels(counts: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """Over all pixels: squared residuals over predicted counts, both weighted."""
    predicted = np.maximum(predicted.astype(np.float64), 0)
    return float((weight * (counts - predicted) ** 2).sum() / (weight * predicted).sum())


def chi_square_kept(
    model: TrainedModel, counts: np.ndarray, predicted: np.ndarray, latents: int, rng: np.random.Generator
) -> float:
    """Over the kept coefficients; what shot noise lets expect is drawn from the predicted counts."""
    expected = model.expected_coefficients(predicted)
    drawn = rng.poisson(np.maximum(predicted, 0)).astype(np.float32)
    missed = float((np.abs(model.coefficients(counts) - expected) ** 2).sum())
    noise = float((np.abs(model.coefficients(drawn) - expected) ** 2).sum())
    freedoms = model.basis.n_kept + int(np.sum(model.basis.order > 0))
    return missed / noise * freedoms / max(freedoms - latents - 1, 1)


def nearest_latents(model: TrainedModel, coefficients: np.ndarray) -> np.ndarray:
    """Latents (n, latent) whose templates, turned, are nearest to noise-free coefficients (n, k).

    Latents that are not in use stay where the model puts them for measured patterns.
    """
    vae, order, sign = model.vae, list(model.latent_order), np.asarray(model.latent_sign)
    start = model.encode_coefficients(coefficients)
    inner = np.empty_like(start.z, np.float64)
    inner[:, order] = start.z * sign
    given = coefficients if model.background is None else coefficients - model.background
    hands = (None,) if start.handedness is None else (np.ones(len(given)), -np.ones(len(given)))
    ends = [_nearest(vae, given, inner, hand) for hand in hands]
    best = np.argmin([misfit for _, misfit in ends], axis=0)
    z = np.stack([z for z, _ in ends])[best, np.arange(len(given))]
    return z[:, order] * sign


def _nearest(
    vae: OrbitVAE, given: np.ndarray, z: np.ndarray, hand: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Least squares by Levenberg (1944) and Marquardt (1963) from z (n, latent); z and misfit (n,)."""

    def missed(place: np.ndarray) -> np.ndarray:
        left = given - vae.decode(place[:, :-1], place[:, -1], hand)
        return np.concatenate([left.real, left.imag], axis=1).astype(np.float64)

    turns = np.linspace(0, 2 * np.pi, START_ANGLES, endpoint=False)
    at_start = [(missed(np.column_stack([z, np.full(len(z), turn)])) ** 2).sum(axis=1) for turn in turns]
    place = np.column_stack([z, turns[np.argmin(at_start, axis=0)]])
    free = np.eye(place.shape[1])[[*vae.active, True]]
    left, damping = missed(place), np.full(len(place), 1e-2)
    for _ in range(TRIAL_STEPS):
        slope = np.stack([(missed(place + STEP * unit) - left) / STEP for unit in free], axis=2)
        curvature = np.einsum("nki,nkj->nij", slope, slope)
        size = np.einsum("nii->ni", curvature) + 1e-9
        damped = curvature + (damping[:, None] * size)[:, :, None] * np.eye(len(free))
        change = np.linalg.solve(damped, -np.einsum("nki,nk->ni", slope, left)[..., None])[..., 0] @ free
        trial = missed(place + change)
        better = (trial**2).sum(axis=1) < (left**2).sum(axis=1)
        place[better] += change[better]
        left[better] = trial[better]
        damping = np.clip(np.where(better, damping * 0.3, damping * 6), 1e-6, 1e6)
    return place[:, :-1], (left**2).sum(axis=1)


def coverage(
    model: TrainedModel, counts: np.ndarray, clean: np.ndarray, *, nearest: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Share of draws within one sd of the noise-free pattern's latent; median miss over that stated.

    nearest: of the template nearest to it instead.
    """
    noisy = model.encode(counts)
    expected = model.expected_coefficients(clean)
    known = nearest_latents(model, expected) if nearest else model.encode_coefficients(expected).z
    still = np.tile(np.asarray(known, np.float64), (len(counts) // len(clean), 1))
    away = np.abs(np.asarray(noisy.z, np.float64) - still) / np.asarray(noisy.z_sd, np.float64)
    good = np.isfinite(away).all(axis=1)
    return (away[good] <= 1).mean(axis=0), np.median(away[good], axis=0) / 0.6745


def run(clean: np.ndarray, dose: float, draws: int, seed: int, table: Table) -> None:
    """One fit."""
    table.head(
        f"graphene, {dose:.0e} electrons per pattern, fitted to {draws} draws of the cell, seed {seed}"
    )
    rng = np.random.default_rng(seed)
    started = time.perf_counter()
    fitted = draw_counts(clean, dose=dose, n=draws, rng=rng)
    result = orbistem.fit(as_scan(fitted), config=FitConfig(seed=seed))
    print(f"  {time.perf_counter() - started:.0f} s; problems: {'; '.join(result.problems) or 'none'}")
    model = result.model
    if model is None:
        return
    counts = draw_counts(clean, dose=dose, n=HELD_OUT_DRAWS, rng=rng)
    truth = Truth.of(clean, dose)
    electrons = np.tile(truth.electrons, (HELD_OUT_DRAWS, 1, 1))
    found, predicted = model.encode(counts), model.predict(counts)
    active = active_units(found.z, found.z_sd)
    table.line("latents in use", active)
    table.line(
        "explained variance, held-out draws",
        explained_variance(electrons, predicted, truth.static, truth.weight),
    )
    value = chi_square_pixels(counts, predicted, truth.weight)
    table.line("chi-square, all pixels: lowest", value, want=(">=", CHI_SQUARE[0]))
    table.line("chi-square, all pixels: highest", value, want=("<=", CHI_SQUARE[1]))
    table.line("the same for the true patterns", chi_square_pixels(counts, electrons, truth.weight))
    value = chi_square_kept(model, counts, predicted, active, rng)
    table.line("chi-square, kept coefficients: lowest", value, want=(">=", CHI_SQUARE[0]))
    table.line("chi-square, kept coefficients: highest", value, want=("<=", CHI_SQUARE[1]))
    electrons = truth.electrons.astype(np.float32)
    covered, miss = coverage(model, counts, electrons)
    covered_nearest, _ = coverage(model, counts, electrons, nearest=True)
    spread = np.asarray(found.z, np.float64).std(axis=0) / np.median(found.z_sd, axis=0)
    for i, (share, ratio, nearest, size) in enumerate(
        zip(covered, miss, covered_nearest, spread, strict=True)
    ):
        if size > 2:  # in use
            table.line(f"latent {i + 1}: within one sd, lowest", float(share), want=(">=", COVERAGE[0]))
            table.line(f"latent {i + 1}: within one sd, highest", float(share), want=("<=", COVERAGE[1]))
            table.line(f"latent {i + 1}: median miss over that stated", float(ratio))
            table.line(f"latent {i + 1}: within one sd of the nearest template", float(nearest))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--doses", type=lambda text: [float(part) for part in text.split(",")], default=[1e3, 1e4, 1e5, 1e6]
    )
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder where noise-free patterns are kept")
    given = parser.parse_args()
    print(describe())
    clean = clean_patterns("graphene", given.keep)
    table = Table()
    for dose in given.doses:
        run(clean, dose, given.draws, given.seed, table)
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
