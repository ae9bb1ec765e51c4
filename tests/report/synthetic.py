"""A made-up run directory: smooth latents on a hexagonal lattice, as `fit` would leave it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

Kind = Literal["grid", "list", "line", "cell"]

LATTICE_ANGSTROM = 2.46
DETECTOR_PX = 48
DOSE_ELECTRONS = 2.0e4
EXAMPLES = 8


def write_run(
    directory: Path, *, kind: Kind = "grid", side: int = 48, rng: np.random.Generator, **changes: Any
) -> Path:
    """Write maps.nc, examples.nc, run.json and config.toml; ``changes`` replace keys of run.json."""
    directory.mkdir(parents=True)
    maps = synthetic_maps(kind=kind, side=side, rng=rng)
    maps.to_netcdf(directory / "maps.nc", engine="h5netcdf")
    synthetic_examples(maps, rng=rng).to_netcdf(directory / "examples.nc", engine="h5netcdf")
    run = synthetic_run(maps) | changes
    (directory / "run.json").write_text(json.dumps(run, ensure_ascii=False), encoding="utf-8")
    (directory / "config.toml").write_text(CONFIG, encoding="utf-8")
    return directory


def synthetic_maps(*, kind: Kind, side: int, rng: np.random.Generator) -> xr.Dataset:
    """Maps with three latents, the last one dead; one corner was not measured."""
    y, x, dims, coords, attrs = _positions(kind, side, rng)
    latent, angle, order = _sites(y, x)
    spread = np.hypot(latent[..., 0], latent[..., 1])
    sd = np.where(order == 0, np.pi / np.sqrt(3), 0.04 + 0.5 * np.exp(-6 * spread))
    angle = np.mod(angle + np.minimum(sd, 1.0) * 0.3 * rng.standard_normal(angle.shape), 2 * np.pi)
    latent = latent + 0.06 * rng.standard_normal(latent.shape)
    latent[..., 2] = 0.03 * rng.standard_normal(angle.shape)
    residual = rng.gamma(400, 1 / 400, angle.shape) * (1 + 0.25 * np.exp(-((latent[..., 0] - 1) ** 2) * 8))
    unit = "1/Å"
    variables = {
        "latent": (latent, "1", "latent"),
        "latent_sd": (
            np.full(latent.shape, 0.06) + (latent[..., 2:] * 0 + [0, 0.03, 0.9]),
            "1",
            "sd of latent",
        ),
        "angle": (angle, "rad", "angle"),
        "angle_sd": (sd, "rad", "sd of angle"),
        "angle_order": (order, "1", "rotation order of the site"),
        "evidence": (-60 + 12 * rng.standard_normal(angle.shape) - 20 * residual, "nat", "evidence"),
        "residual": (residual, "1", "residual"),
        "com_y": (0.02 * np.sin(angle) * spread, unit, "centre of mass, y"),
        "com_x": (0.02 * np.cos(angle) * spread, unit, "centre of mass, x"),
        "dose": (rng.poisson(DOSE_ELECTRONS * (1 - 0.05 * spread)), "electrons", "dose"),
    }
    missing = (y < np.quantile(y, 0.12)) & (x > np.quantile(x, 0.9))
    data: dict[str, Any] = {}
    for name, (values, units, long_name) in variables.items():
        array = np.array(values, dtype=np.float32)
        array[missing] = np.nan
        own_dims = (*dims, "latent_dim") if array.ndim > len(dims) else dims
        data[name] = (own_dims, array, {"units": units, "long_name": long_name})
    maps = xr.Dataset(data, coords=coords, attrs=attrs)
    maps["latent"].attrs["active"] = np.array([1, 1, 0], dtype=np.int8)
    return maps


def synthetic_examples(maps: xr.Dataset, *, rng: np.random.Generator) -> xr.Dataset:
    """Decoded and measured patterns at eight places of the latent manifold."""
    latent = maps["latent"].values.reshape(-1, 3)
    angle = maps["angle"].values.ravel()
    usable = np.flatnonzero(np.isfinite(angle))
    chosen = usable[np.argsort(latent[usable, 0])][np.linspace(0, usable.size - 1, EXAMPLES).astype(int)]
    template = np.stack([_pattern(latent[i], angle[i]) for i in chosen])
    valid = np.ones((DETECTOR_PX, DETECTOR_PX), dtype=np.int8)
    valid[:24, 22:25] = 0
    valid[40, 7] = 0
    fault = np.where(valid == 0, 6, 0).astype(np.int8)  # a beam stop ...
    fault[40, 7] = 2  # ... and a hot pixel
    mean = template.mean(axis=0)
    detector, stack = ("ky", "kx"), ("example", "ky", "kx")
    electrons = {"units": "electrons"}
    return xr.Dataset(
        {
            "mean": (detector, mean, electrons),
            "background": (detector, mean, electrons),
            "pixel_valid": (detector, valid),
            "pixel_fault": (detector, fault),
            "template": (stack, template.astype(np.float32), electrons),
            "nearest": (stack, rng.poisson(template).astype(np.float32), electrons),
            "example_latent": (("example", "latent_dim"), latent[chosen]),
            "example_position": (("example",), chosen.astype(np.int64)),
            "example_angle": (("example",), angle[chosen]),
        },
        coords={
            "ky": ("ky", (np.arange(DETECTOR_PX) - 23.4) * 0.05, {"units": "1/Å"}),
            "kx": ("kx", (np.arange(DETECTOR_PX) - 23.9) * 0.05, {"units": "1/Å"}),
        },
    )


def synthetic_run(maps: xr.Dataset) -> dict[str, Any]:
    """The content of run.json."""
    steps = np.arange(0, 3000, 50)
    rise = 1 - np.exp(-steps / 300)
    shape = list(maps["angle"].shape)
    eigenvalues = [
        [float(v) for v in 1 + 0.25 / (1 + np.arange(14)) + 40 * np.exp(-0.5 * m - 1.4 * np.arange(14))]
        for m in range(13)
    ]
    return {
        "schema": 1,
        "versions": {"orbistem": "0.1.0", "python": "3.11.9", "numpy": "2.4.0", "jax": "0.10.2"},
        "seed": 0,
        "checksums": {"input": "sha256:" + "0123456789abcdef" * 4},
        "input": {
            "path": "/data/Graphen Lücke <1>.hspy",
            "format": "hspy",
            "shape": [*shape, DETECTOR_PX, DETECTOR_PX],
            "dtype": "uint16",
            "found": ["axes and units of scan and detector"],
            "assumed": ["the scan is not rotated against the detector"],
        },
        "timings_s": {"prepare": 1.9, "reduce": 4.2, "train": 23.1, "map": 2.2, "report": 2.0},
        "training": {
            "patterns_per_s": 17400.0,
            "steps": 3000,
            "kept_coefficients": 24,
            "active_units": 2,
            "heldout_evidence": -83.2,
            "curve": {
                "step": steps.tolist(),
                "train": (-120 + 38 * rise).tolist(),
                "heldout": (-121 + 37.5 * rise - 0.0003 * steps).tolist(),
            },
            "restarts": [
                {"start": "scan mean", "seed": 0, "heldout": -83.2},
                {"start": "zero", "seed": 1, "heldout": -84.9},
            ],
        },
        "noise": {"gain": 1.02, "unit_variance": 1.004},
        "centre": {"px": [23.4, 23.9], "sd_px": [0.03, 0.04], "method": "half turn of the mean pattern"},
        "ellipse": {
            "ratio": 1.02,
            "angle_rad": 0.6,
            "found": [1.02, 0.6],
            "disk_px": [23.4, 23.9, 16.0],
            "semi_angle_mrad": 21.3,
        },
        "descan": {"model": "plane", "parts": _descan_parts()},
        "lines": {
            "shift_columns": [0.1] * 20 + [3.0, None] + [0.1] * 25,
            "drift_columns": 4.7,
            "jumps": [21],
        },
        "whitening": {
            "chosen": "poisson",
            "why": "it keeps 88 % of the information, the root 61 %",
            "information_poisson": 0.88,
            "information_sqrt": 0.61,
        },
        "basis": {"kept": 24, "edge": [1.31] + [1.22] * 12, "eigenvalues": eigenvalues},
        "certificate": {
            "latent_change_turned_coefficients": 3.1e-5,
            "latent_change_turned_pixels": 0.012,
            "angle_error_deg": 0.21,
            "restarts_agree": True,
            "sentence": "Turning a pattern changes its latents by 1.2 % of their spread, its angle by 0.21°.",
        },
        "problems": [],
        "words": [
            "The centre was found from the half-turn symmetry of the mean pattern.",
            "The counts were whitened linearly, since this keeps more information than the root.",
            "24 coefficients stand above the noise edge and were kept.",
        ],
        "scores": {"explained_variance": 0.953, "repeat_error": 0.071, "active_units": 2},
    }


def _descan_parts() -> dict[str, Any]:
    """Shifts of 4 x 4 parts of a scan: a plane, and some hundredths of a pixel beside it."""
    y, x = np.indices((4, 4)).reshape(2, -1) / 3 - 0.5
    model = np.stack([1.3 * y - 1.7 * x, 1.7 * y + x], axis=1)
    beside = 0.03 * np.stack([np.cos(7 * y + 3 * x), np.sin(5 * x - 2 * y)], axis=1)
    place = np.stack([y, x], axis=1)
    return {
        "place": place.tolist(),
        "shift_px": (model + beside).tolist(),
        "model_px": model.tolist(),
    }


def _positions(
    kind: Kind, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], dict[str, Any], dict[str, Any]]:
    step, unit = 0.21, {"units": "A"}
    if kind == "list":
        y, x = rng.uniform(0, side * step, (2, side * side // 4))
        coords = {"position_y": ("position", y, unit), "position_x": ("position", x, unit)}
        return y, x, ("position",), coords, {}
    if kind == "line":
        y = np.arange(side * 4)[:, None] * step / 4
        coords = {"y": ("y", y[:, 0], unit), "x": ("x", [0.0], unit)}
        return y, np.full_like(y, 0.9), ("y", "x"), coords, {}
    index = np.arange(side, dtype=float)
    if kind == "cell":
        first = np.array([0.0, LATTICE_ANGSTROM]) / side
        second = np.array([LATTICE_ANGSTROM * np.sqrt(0.75), LATTICE_ANGSTROM / 2]) / side
        columns, rows = np.meshgrid(index, index)
        y, x = (columns[..., None] * first + rows[..., None] * second).transpose(2, 0, 1)
        coords = {"y": ("y", index, {"units": "px"}), "x": ("x", index, {"units": "px"})}
        return y, x, ("y", "x"), coords, {"a1": first, "a2": second}
    x, y = np.meshgrid(index * step, index * step)
    coords = {"y": ("y", index * step, unit), "x": ("x", index * step, unit)}
    return y, x, ("y", "x"), coords, {}


def _sites(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents (..., 3), angle and rotation order on a hexagonal lattice."""
    wave = 4 * np.pi / (np.sqrt(3) * LATTICE_ANGSTROM)
    directions = np.deg2rad([0, 120, 240])
    phases = [wave * (np.cos(a) * y + np.sin(a) * x) for a in directions]
    even, odd = sum(np.cos(p) for p in phases), sum(np.sin(p) for p in phases)
    slope_y = -sum(np.cos(a) * np.sin(p) for a, p in zip(directions, phases, strict=True))
    slope_x = -sum(np.sin(a) * np.sin(p) for a, p in zip(directions, phases, strict=True))
    latent = np.stack([even / 1.6, odd / 1.9, 0 * even], axis=-1)
    slope = np.hypot(slope_y, slope_x)
    order = np.where(slope < 0.12, np.where(even > 2.5, 6.0, 3.0), 1.0)
    order[slope < 0.03] = 0.0
    return latent, np.mod(np.arctan2(slope_y, slope_x), 2 * np.pi), order


def _pattern(latent: np.ndarray, angle_rad: float) -> np.ndarray:
    """Expected electrons of a disk with a bright arc, shape (ky, kx)."""
    ky, kx = np.meshgrid(np.arange(DETECTOR_PX) - 23.4, np.arange(DETECTOR_PX) - 23.9, indexing="ij")
    radius, turned = np.hypot(ky, kx), np.arctan2(ky, kx) - angle_rad
    disk = 1 / (1 + np.exp(np.clip(2 * (radius - 16), -30, 30)))
    detail = 1 + 0.25 * latent[0] * np.cos(3 * turned) * radius / 16 + 0.2 * latent[1] * np.cos(turned)
    halo = 0.02 * np.exp(-radius / 12)
    return DOSE_ELECTRONS / 800 * (disk * np.clip(detail, 0.05, None) + halo)


CONFIG = """# everything needed to repeat the run
[input]
path = "/data/Graphen Lücke <1>.hspy"

[prepare]
centre_px = [23.4, 23.9]
whitening = "poisson"

[model]
latent_dim = 3
seed = 0
"""
