"""Fit EBSD patterns of nickel grains whose orientations are known: kikuchipy's master pattern on a screen.

    pip install kikuchipy
    python benchmarks/ebsd.py [--seed 0] [--only screen|sample|centre]

32 × 32 positions over 14 grains of three orientations, each grain turned at random. In "screen" the turns
are about the screen's normal: they turn the pattern about the projection centre, exactly, and the fit must
find the three orientations and every grain's turn. In "sample" they are about the normal of a sample that is
tilted by 70 degrees: no turn of the pattern, so every grain is a pattern of its own. In "centre" they are
as in "screen", and nobody says where the projection centre is.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from machine import describe
from requirements_table import Table

import orbistem
from orbistem.config import FitConfig, PrepareOptions
from orbistem.metrics import nmi, site_accuracy

SHAPE, PX = (32, 32), 60
DOSE = 3e5
CENTRE_PX = (27.5, 31.5)
"""Projection centre: not the middle of the screen, (29.5, 29.5)."""
ORIENTATIONS_DEG = ((20.0, 10.0), (40.0, 25.0), (50.0, 60.0))
"""Second and third Euler angle (Bunge); the first is the turn."""
N_GRAINS = 14


def grains(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grain of every position (y, x); orientation and turn (degrees) of every grain."""
    seeds = rng.uniform(0, 1, (N_GRAINS, 2)) * SHAPE
    y, x = np.indices(SHAPE)
    grain = np.argmin((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2, axis=-1)
    return grain, np.arange(N_GRAINS) % len(ORIENTATIONS_DEG), rng.uniform(0, 360, N_GRAINS)


def on_screen(orientation: np.ndarray, turn_deg: np.ndarray, tilt_deg: float) -> np.ndarray:
    """Noise-free patterns (grain, ky, kx); 90 degrees of tilt: the turns are about the screen's normal."""
    import kikuchipy
    from orix.quaternion import Rotation

    master = kikuchipy.data.nickel_ebsd_master_pattern_small(projection="lambert")
    centre = ((CENTRE_PX[1] + 0.5) / PX, (CENTRE_PX[0] + 0.5) / PX, 0.6)
    screen = kikuchipy.detectors.EBSDDetector(shape=(PX, PX), pc=centre, sample_tilt=tilt_deg, tilt=0)
    euler = np.column_stack([turn_deg, np.array(ORIENTATIONS_DEG)[orientation]])
    found = master.get_patterns(
        Rotation.from_euler(np.deg2rad(euler)),
        screen,
        energy=20,
        dtype_out="float32",
        compute=True,
        show_progressbar=False,
    )
    return np.asarray(found.data, np.float64)


def recorded(clean: np.ndarray, grain: np.ndarray, rng: np.random.Generator) -> orbistem.Scan:
    """What a camera counts: bands on a bright hump that does not turn with them."""
    ky, kx = np.indices((PX, PX))
    hump = np.exp(-((ky - 24) ** 2 + (kx - 30) ** 2) / (2 * 22**2))
    low, high = clean.min(axis=(1, 2), keepdims=True), clean.max(axis=(1, 2), keepdims=True)
    rates = hump * (0.6 + 0.4 * (clean - low) / (high - low))
    rates *= DOSE / rates.sum(axis=(1, 2), keepdims=True)
    scan: orbistem.Scan = orbistem.open(rng.poisson(rates[grain]).astype(np.uint16))
    return scan


def turn_errors_deg(
    angle_rad: np.ndarray, grain: np.ndarray, orientation: np.ndarray, turn_deg: np.ndarray
) -> np.ndarray:
    """Errors of the turn between positions of equal orientation, degrees; a constant each is free."""
    # a larger first Euler angle turns the pattern anticlockwise on the screen: its azimuth falls
    off = np.exp(1j * (angle_rad + np.deg2rad(turn_deg)[grain]))
    errors = []
    for one in range(len(ORIENTATIONS_DEG)):
        here = off[orientation[grain] == one]
        here = here[np.isfinite(here)]
        errors.append(np.abs(np.rad2deg(np.angle(here / np.median(here.real + 1j * here.imag)))))
    return np.concatenate(errors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("screen", "sample", "centre"))
    given = parser.parse_args()
    print(describe())
    table = Table()
    for name, tilt_deg, centre in (
        ("screen", 90.0, CENTRE_PX),
        ("centre", 90.0, None),
        ("sample", 70.0, CENTRE_PX),
    ):
        if given.only not in (None, name):
            continue
        rng = np.random.default_rng(given.seed)
        grain, orientation, turn_deg = grains(rng)
        scan = recorded(on_screen(orientation, turn_deg, tilt_deg), grain, rng)
        table.head({"screen": "turns about the screen's normal, projection centre given",
                    "centre": "the same, projection centre not given",
                    "sample": "turns about the normal of a sample tilted by 70 degrees"}[name])  # fmt: skip
        started = time.perf_counter()
        result = orbistem.fit(
            scan, config=FitConfig(seed=given.seed, prepare=PrepareOptions(centre_px=centre))
        )
        print(
            f"  {time.perf_counter() - started:.0f} s; {result.run['training']['active_units']} latents in "
            f"use; centre {np.round(result.run['centre']['px'], 2)}, truth {CENTRE_PX}"
        )
        z = result.maps.latent.values.reshape(-1, result.maps.sizes["latent_dim"])
        true = name == "screen"
        flat = grain.ravel()
        table.line(
            "positions with the right orientation",
            site_accuracy(z, orientation[flat]),
            want=(">=", 0.95) if true else None,
        )
        table.line("information that latents share with the grains", nmi(z, flat))
        errors = turn_errors_deg(result.maps.angle.values.ravel(), flat, orientation, turn_deg)
        table.line("turns, median error", float(np.median(errors)), "deg", want=("<=", 2.0) if true else None)
        table.line("turns within 5 degrees", float((errors < 5).mean()), want=(">=", 0.9) if true else None)
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
