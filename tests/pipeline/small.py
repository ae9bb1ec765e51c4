"""A scan that is analysed in a second or two: 12 x 10 positions of 32 x 32 pixels, and options to match."""

from __future__ import annotations

import numpy as np

from orbistem.config import FitConfig
from orbistem.models.orbit import OrbitVAEOptions
from orbistem.models.orbit_vae import OrbitOptions
from orbistem.models.train import TrainOptions
from orbistem.prepare.counts import CountsOptions
from orbistem.scan import Axis, Scan

SCAN_SHAPE = (12, 10)
DETECTOR_PX = 32
CENTRE_PX = (15.6, 15.3)
DOSE = 2e4


def small_patterns(rng: np.random.Generator, *, dose: float = DOSE, shape: tuple[int, int] = SCAN_SHAPE):
    """Counts (y, x, ky, kx), uint16: a disk with a lobe that turns over the scan and varies in strength."""
    ky, kx = np.indices((DETECTOR_PX, DETECTOR_PX), dtype=float)
    y, x = ky - CENTRE_PX[0], kx - CENTRE_PX[1]
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    disk = 1 / (1 + np.exp(2 * (radius - 9)))
    turn = rng.uniform(0, 2 * np.pi, shape)[..., None, None]
    strength = np.linspace(0, 1, shape[1])[None, :, None, None]
    lobe = 0.7 * strength * np.cos(azimuth - turn) * radius / 9
    threefold = 0.4 * (1 - strength) * np.cos(3 * (azimuth - turn)) * (radius / 9) ** 2
    clean = disk * np.clip(1 + lobe + threefold, 0.05, None) + 1e-3
    return rng.poisson(dose * clean / disk.sum()).astype(np.uint16)


def small_scan(rng: np.random.Generator) -> Scan:
    """The patterns as a calibrated scan."""
    return Scan.from_array(
        small_patterns(rng),
        scan_axes=(Axis(name="y", scale=0.5, units="nm"), Axis(name="x", scale=0.5, units="nm")),
        detector_axes=(Axis(name="ky", scale=0.1, units="1/nm"), Axis(name="kx", scale=0.1, units="1/nm")),
    )


def small_model() -> OrbitVAEOptions:
    """Few steps: the model is poor, everything around it is as always."""
    return OrbitVAEOptions(
        net=OrbitOptions(latent_dim=2, encoder_width=8, decoder_width=16, decoder_depth=1, train_angles=24),
        train=TrainOptions(steps=60, batch=32, rounds=6),
        scout_steps=20,
        restarts=1,
        refine_steps=3,
        samples=4,
    )


def small_config(**changes: object) -> FitConfig:
    """Options of a quick fit."""
    options = FitConfig(max_kept=8, counts=CountsOptions(gain=1.0), model=small_model())
    return options.replace(**changes)
