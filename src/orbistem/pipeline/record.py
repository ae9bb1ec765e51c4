"""The record of a run: what becomes config.toml and run.json, and the checksums of everything beside it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orbistem import __version__
from orbistem.config import FitConfig
from orbistem.durable import atomic_write_text, is_dropping, sha256_file, sha256_tree
from orbistem.errors import InputError
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.pipeline.calibration import semi_angle_mrad
from orbistem.pipeline.preparation import Preparation
from orbistem.pipeline.workplace import STATE_FOLDER
from orbistem.prepare.descan import DescanOptions
from orbistem.result import plain
from orbistem.scan import Scan

__all__ = [
    "OF_ITSELF",
    "Verified",
    "check_files",
    "describe_basis",
    "describe_run",
    "file_checksums",
    "replayable",
    "write_run",
]

SCHEMA = 1
MOST_NAMED = 8
PACKAGES = ("numpy", "scipy", "jax", "equinox", "optax", "dask", "zarr", "xarray", "rosettasciio")
RUN_NAME = "run.json"
OF_ITSELF = "sha256"
"""Key in run.json: SHA-256 of its other keys and values, as JSON without spaces and with sorted keys."""


def describe_run(scan: Scan, config: FitConfig, prepared: Preparation, *, checksum: str) -> dict[str, Any]:
    """Everything that is known before training: versions, input, centre, noise, whitening."""
    about = scan.provenance
    return {
        "schema": SCHEMA,
        "versions": versions(),
        "seed": config.seed,
        "checksums": {"input": checksum},
        "input": {
            "path": about.path,
            "format": about.format,
            "dataset": about.dataset,
            "shape": [*scan.scan_shape, *scan.detector_shape],
            "dtype": str(scan.dtype),
            "found": list(about.found),
            "assumed": [*about.assumed, "the scan is not rotated against the detector"],
        },
        "config": config.to_dict(),
        "noise": {
            "gain": prepared.counts.gain,
            "gain_sd": prepared.counts.gain_sd,
            "offset": prepared.counts.offset,
            "dose": prepared.counts.dose,
            "correlated": prepared.counts.correlated,
            "together": prepared.counts.together,
        },
        "centre": {
            "px": list(prepared.centre.centre_px),
            "sd_px": list(prepared.centre.sd_px),
            "method": prepared.centre.method,
        },
        **describe_calibration(scan, prepared),
        "whitening": {
            "chosen": prepared.plan.whitening,
            "why": prepared.whitening.why,
            "information_poisson": prepared.whitening.information_poisson,
            "information_sqrt": prepared.whitening.information_sqrt,
        },
        "patterns": {"all": scan.n_positions, "usable": int(prepared.usable.sum())},
    }


def describe_calibration(scan: Scan, prepared: Preparation) -> dict[str, Any]:
    """Descan, ellipse and lines of the scan: what was found and done, and why."""
    found: dict[str, Any] = {}
    descan, ellipse = prepared.descan, prepared.ellipse
    if descan is not None:
        found["descan"] = {
            "model": descan.model,
            "coefficients_px": descan.coefficients_px.tolist(),
            "range_px": descan.range_px,
            "sd_px": descan.sd_px,
            "explained": descan.explained,
            "step_px": prepared.plan.centre_step_px,
            "why": descan.why,
            "parts": {
                "place": descan.tile_place.tolist(),
                "shift_px": descan.tile_shift_px.tolist(),
                "model_px": descan.tile_model_px.tolist(),
            },
        }
    if prepared.each is not None:
        each = prepared.each
        found["per_pattern"] = {
            "used": each.problem is None,
            "beam_sd_px": each.beam_sd_px,
            "noise_sd_px": float(np.sqrt(np.trace(each.noise) / 2)),
            "left_sd_px": each.left_sd_px,
            "why": each.why,
        }
    if ellipse is not None:
        found["ellipse"] = {
            "ratio": ellipse.ellipse[0],
            "angle_rad": ellipse.ellipse[1],
            "found": None if ellipse.found is None else list(ellipse.found),
            "ratio_sd": ellipse.ratio_sd,
            "disk_px": None if ellipse.disk_px is None else list(ellipse.disk_px),
            "semi_angle_mrad": semi_angle_mrad(scan, ellipse),
            "why": ellipse.why,
        }
    if prepared.left_out is not None:
        lines = prepared.left_out.lines
        found["lines"] = {
            "shift_columns": lines.line_shift.tolist(),
            "drift_columns": lines.drift,
            "jumps": list(lines.jumps),
            "fly_back_columns": list(lines.columns),
            "rolled_by": lines.roll,
        }
    return found


def describe_basis(basis: SteerableBasis) -> dict[str, Any]:
    """Kept coefficients, noise edge and eigenvalues of every order."""
    return {
        "kept": basis.n_kept,
        "above": basis.n_above,
        "edge": list(basis.edge),
        "eigenvalues": [row[np.isfinite(row)].tolist() for row in basis.spectrum],
    }


def replayable(config: FitConfig, prepared: Preparation) -> FitConfig:
    """The configuration with what was found in the place of what was to be found: it repeats the run."""
    counts = prepared.counts
    return config.replace(
        prepare=replace(
            config.prepare,
            centre_px=prepared.plan.centre_px,
            whiten=prepared.plan.whitening,
        ),
        descan=_found_descan(config, prepared),
        ellipse=replace(config.ellipse, ratio=prepared.plan.ellipse[0], angle_rad=prepared.plan.ellipse[1]),
        counts=(
            config.counts
            if counts.gain is None
            else replace(config.counts, gain=float(counts.gain), offset=float(counts.offset))
        ),
    )


def _found_descan(config: FitConfig, prepared: Preparation) -> DescanOptions:
    found = prepared.plan.descan_px
    if found is None or not len(found):
        return replace(config.descan, model="none", coefficients_px=None)
    return replace(config.descan, coefficients_px=tuple(float(c) for c in found.ravel()))


def versions() -> dict[str, str]:
    """Versions of the program, of Python, and of what numbers depend on."""
    found = {"orbistem": __version__, "python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_run(directory: Path, run: Mapping[str, Any]) -> str:
    """Write run.json: plain numbers, NaN as null, and a checksum of all of it, which is returned."""
    content = plain({name: value for name, value in run.items() if name != OF_ITSELF})
    checksum = _content_checksum(content)
    text = json.dumps(content | {OF_ITSELF: checksum}, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(directory / RUN_NAME, text + "\n")
    return checksum


def file_checksums(directory: Path) -> dict[str, str]:
    """SHA-256 of every file of a run but run.json; a Zarr folder counts as one."""
    found = {}
    for entry in sorted(directory.iterdir()):
        if entry.name in (RUN_NAME, STATE_FOLDER) or entry.name.startswith(".") or is_dropping(entry.name):
            continue
        if entry.suffix == ".zarr":
            found[entry.name] = _tree_checksum(entry)
        elif entry.is_dir():
            found |= {f"{entry.name}/{name}": digest for name, digest in sha256_tree(entry).items()}
        elif entry.is_file():  # reading a pipe or a device may never end
            found[entry.name] = sha256_file(entry)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What has become of a run since it was written.

    Attributes
    ----------
    changed
        One sentence for each file that is missing or not as it was; empty if all are well.
    notes
        What does no harm: files that are not of the run, a record without a checksum of its own.
    """

    changed: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_files(directory: Path, run: Mapping[str, Any]) -> Verified:
    """Compare all files of a run, and run.json itself, with the checksums that were noted.

    Raises
    ------
    InputError
        The run holds no checksums.
    """
    wanted = run.get("files")
    if not isinstance(wanted, Mapping) or not wanted:
        raise InputError(f"{directory / RUN_NAME} holds no checksums of files; run orbistem fit again")
    found = file_checksums(directory)
    changed = [f"{name} is missing" for name in wanted if name not in found]
    changed += [
        f"{name} was changed after the run"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    notes = []
    if OF_ITSELF not in run:
        notes.append(f"{RUN_NAME} has no checksum of its own, as older versions wrote it")
    elif run[OF_ITSELF] != _content_checksum({k: v for k, v in run.items() if k != OF_ITSELF}):
        changed.append(f"{RUN_NAME} was changed after the run")
    extra = [name for name in found if name not in wanted]
    if extra:
        more = f" and {len(extra) - MOST_NAMED} more" if len(extra) > MOST_NAMED else ""
        notes.append(f"not part of the run: {', '.join(extra[:MOST_NAMED])}{more}")
    return Verified(changed=tuple(changed), notes=tuple(notes))


def _content_checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _tree_checksum(folder: Path) -> str:
    digest = hashlib.sha256()
    for name, of_file in sha256_tree(folder).items():
        digest.update(f"{name}\0{of_file}\0".encode())
    return digest.hexdigest()
