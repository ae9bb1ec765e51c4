"""Patterns with a known content and a known angle: a disk with a lobe and a threefold modulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.plan import Plan

PX = 24
CENTRE = ((PX - 1) / 2, (PX - 1) / 2)
DOSE = 1e6


@dataclass(frozen=True, kw_only=True)
class Lobes:
    clean: np.ndarray  # (n, ky, kx) electrons
    frames: np.ndarray  # (n, ky, kx) counts
    content: np.ndarray  # (n,) 0 to 1
    angle: np.ndarray  # (n,) rad
    plan: Plan


def draw(content: np.ndarray, angle: np.ndarray, *, dose: float = DOSE) -> np.ndarray:
    """Expected electrons (n, PX, PX): the same content is the same pattern up to the turn."""
    y, x = np.indices((PX, PX), dtype=float) - (PX - 1) / 2
    radius, azimuth = np.hypot(y, x) / PX, np.arctan2(y, x)
    disk = 1 / (1 + np.exp((radius - 0.32) / 0.02))
    turned = azimuth - angle[:, None, None]
    share = content[:, None, None]
    shape = 1.5 * share * radius * np.cos(turned) + 2 * radius**2 * np.cos(2 * turned + 0.5)
    shape += (1 - share) * 6 * radius**2 * np.cos(3 * turned)
    patterns = disk * (1 + shape) + 1e-3
    return dose * patterns / disk.sum()


def make(rng: np.random.Generator, *, n: int = 16, dose: float = DOSE) -> Lobes:
    """n contents, each at 10 angles evenly spaced, so that the mean pattern is isotropic."""
    content = np.repeat(rng.uniform(0.2, 0.8, n), 10)
    angle = (rng.uniform(0, 2 * np.pi, (n, 1)) + 2 * np.pi * np.arange(10) / 10).ravel()
    clean = draw(content, angle, dose=dose)
    plan = Plan(mean=clean.mean(axis=0), pixel_valid=np.ones((PX, PX), bool), centre_px=CENTRE, gain=1.0)
    frames = rng.poisson(clean).astype(np.uint16)
    return Lobes(clean=clean, frames=frames, content=content, angle=angle, plan=plan)


def explained(lobes: Lobes, model) -> float:
    """Share of the clean variation that a model's prediction explains."""
    apart = ((model.predict(lobes.frames) - lobes.clean) * lobes.plan.weight) ** 2
    signal = ((lobes.clean - lobes.plan.clean_mean) * lobes.plan.weight) ** 2
    return float(1 - apart.sum() / signal.sum())
