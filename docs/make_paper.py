"""The paper figure by figure: simulates, fits, draws; writes docs/paper/*.png and docs/paper/figures.json.

    python docs/make_paper.py [--only components,networks,orbits,defects] [--keep FOLDER] [--seconds 120]

Everything is simulated here (extra ``simulate``); noise-free scans are kept in FOLDER. What the pictures show
is said in docs/paper/README.md; the numbers there come from figures.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

import orbistem
from orbistem.config import FitConfig, PrepareOptions
from orbistem.io import save_scan
from orbistem.metrics import Pairs, angle_error, explained_variance, fold_error, truth_pairs
from orbistem.models.conv_vae import ConvVAE
from orbistem.models.linear import LinearModel, LinearOptions
from orbistem.models.spatial_vae import SpatialVAE, SpatialVAEOptions
from orbistem.plan import Plan
from orbistem.scan import Scan, Truth
from orbistem.simulate import Optics, expose, find_recipe, simulate

OUT = Path(__file__).resolve().parent / "paper"
COMPONENTS = 12
ALIKE = 0.8
"""Components whose correlation after the best turn exceeds this are turned copies of each other."""
DOSE_PERFECT, DOSE_DEFECT = 1e6, 1e5
ORBITS_PX = 32
"""Of the detector in figure (c): the published network draws pixel by pixel, and time is short."""


def clean(name: str, keep: Path, tag: str = "", **options: Any) -> tuple[Scan, Truth]:
    """Noise-free scan and truth, simulated once."""
    file = keep / f"{name}{tag}.hspy"
    truth_file = keep / f"{name}{tag}.truth.nc"
    if not (file.is_file() and truth_file.is_file()):
        scan, truth = simulate(name, seed=0, dose=None, **options)
        save_scan(scan, file)
        truth.save(truth_file)
    return orbistem.open(file), Truth.load(truth_file)


def counts_of(scan: Scan, dose: float) -> tuple[np.ndarray, np.ndarray, Plan]:
    """Counts and expected electrons (n, ky, kx), and the plan of the true mean."""
    electrons = dose * np.asarray(scan.block(0, scan.n_positions).frames)
    counts = expose(electrons / dose, dose=dose, rng=np.random.default_rng(0))
    ky, kx = scan.detector_shape
    plan = Plan(
        mean=electrons.mean(axis=0, dtype=np.float64),
        pixel_valid=np.ones((ky, kx), bool),
        centre_px=((ky - 1) / 2, (kx - 1) / 2),
        gain=1.0,
    )
    return counts, electrons, plan


def as_scan(counts: np.ndarray, like: Scan) -> Scan:
    """Counts with the axes of a scan."""
    return Scan.from_array(
        counts.reshape(*like.scan_shape, *like.detector_shape),
        scan_axes=like.scan_axes,
        detector_axes=like.detector_axes,
        scan_vectors=like.scan_vectors,
    )


def variants(images: np.ndarray) -> list[int]:
    """Number of each image's group: those that are turned copies of the group's first, or of its negative."""
    ky, kx = images.shape[1:]
    radii, angles = np.arange(1, min(ky, kx) // 2), np.arange(0, 2 * np.pi, np.pi / 90)
    from scipy.ndimage import map_coordinates

    y = (ky - 1) / 2 + radii[:, None] * np.sin(angles)
    x = (kx - 1) / 2 + radii[:, None] * np.cos(angles)
    rings = np.stack([map_coordinates(one, [y, x], order=1) for one in images])
    rings = np.fft.fft(rings * np.sqrt(radii)[None, :, None], axis=2)
    rings[:, :, 0] = 0  # what a turn does not change says nothing
    size = np.sqrt((np.abs(rings) ** 2).sum(axis=(1, 2)))
    firsts: list[int] = []
    group = []
    for i, image in enumerate(rings):
        for number, j in enumerate(firsts):
            matched = np.fft.ifft((image * np.conj(rings[j])).sum(axis=0)).real * len(angles)
            if np.abs(matched).max() > ALIKE * size[i] * size[j]:
                group.append(number)
                break
        else:
            group.append(len(firsts))
            firsts.append(i)
    return group


def components(keep: Path, seconds: float) -> dict[str, Any]:
    """(a) PCA and NMF of graphene and ZnS: rotated variants become components of their own."""
    del seconds
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(4, COMPONENTS)
    found: dict[str, Any] = {}
    for row, (name, kind) in enumerate(
        (scan, kind) for scan in ("graphene", "zns-110") for kind in ("pca", "nmf")
    ):
        scan, _ = clean(name, keep)
        counts, _, plan = counts_of(scan, DOSE_PERFECT)
        options = LinearOptions(kind=kind, components=COMPONENTS)
        model, _ = LinearModel.fit(counts, plan=plan, options=options)
        images = model.components
        group = variants(images)
        for ax, image, number in zip(axes[row], images, group, strict=True):
            limit = np.abs(image).max()
            colours, least = ("RdBu_r", -limit) if kind == "pca" else ("magma", 0)
            ax.imshow(image, cmap=colours, vmin=least, vmax=limit)
            ax.set_title(f"shape {number + 1}", fontsize=6)
            ax.axis("off")
        first = axes[row][0]
        label = f"{name} {kind.upper()}"
        first.text(-0.4, 0.5, label, rotation=90, transform=first.transAxes, va="center", fontsize=7)
        found[f"{name} {kind}"] = {"components": COMPONENTS, "shapes up to a turn": len(set(group))}
    figure.savefig(OUT / "components.png", dpi=130)
    return found


def networks(keep: Path, seconds: float) -> dict[str, Any]:
    """(b) A convolutional autoencoder gives turned copies latents of their own; OrbitVAE gives them one."""
    scan, truth = clean("graphene", keep)
    counts, _, plan = counts_of(scan, DOSE_PERFECT)
    pairs = truth_pairs(truth)
    conv, _ = ConvVAE.fit(counts, plan=plan, seconds=seconds)
    ours = orbistem.fit(as_scan(counts, scan)).model
    assert ours is not None
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    found: dict[str, Any] = {}
    for ax, (title, model) in zip(
        figure.subplots(1, 2), (("ConvVAE", conv), ("OrbitVAE", ours)), strict=True
    ):
        z = np.asarray(model.encode(counts).z, np.float64)
        found[title] = {"fold error": fold_error(z, pairs.rows)}
        ax.scatter(z[:, 0], z[:, 1], s=3, color="#c8ccd2")
        site = truth.site.ravel()
        largest = np.argsort(-np.bincount(site))[:40:8]
        for one, colour in zip(largest, ("#1f6f8b", "#d1495b", "#e3a857", "#66a182", "#6f4e7c"), strict=True):
            ax.scatter(z[site == one, 0], z[site == one, 1], s=26, color=colour)
        ax.set_title(f"{title}: fold error {found[title]['fold error']:.2f}", fontsize=9)
        ax.set_xlabel("latent 1")
        ax.set_ylabel("latent 2")
    figure.savefig(OUT / "networks.png", dpi=130)
    return found


def angles_apart(angle: np.ndarray, pairs: Pairs) -> float:
    """Median error of the turn between equal sites, degrees, modulo the order of the site."""
    p, q = pairs.rows.T
    return angle_error(angle[p], angle[q], pairs.turn, pairs.order).median_deg


class OrbitRow(NamedTuple):
    """One line of figure (c): numbers by method, and title, first latent and angle of each method."""

    label: str
    shape: tuple[int, ...]
    found: dict[str, Any]
    drawn: list[tuple[str, np.ndarray, np.ndarray]]


def orbit_row(name: str, tag: str, options: dict[str, Any], keep: Path, seconds: float) -> OrbitRow:
    """The published rrVAE and OrbitVAE on one scan."""
    label = f"{name}{tag}".replace(f"-{ORBITS_PX}", "")
    scan, truth = clean(name, keep, tag, detector_px=ORBITS_PX, **options)
    counts, electrons, plan = counts_of(scan, DOSE_PERFECT)
    pairs = truth_pairs(truth)
    published, training = SpatialVAE.fit(counts, plan=plan, options=SpatialVAEOptions(), seconds=seconds)
    ours = orbistem.fit(as_scan(counts, scan)).model
    assert ours is not None
    weight = np.ones(plan.detector_shape)  # as the published loss: without weights
    found: dict[str, Any] = {}
    drawn = []
    for title, model in (("rrVAE", published), ("OrbitVAE", ours)):
        encoding = model.encode(counts)
        z = np.asarray(encoding.z, np.float64)
        found[f"{label} {title}"] = {
            "fold error": fold_error(z, pairs.rows),
            "angle error, median, °": angles_apart(np.asarray(encoding.angle, np.float64), pairs),
            "explained": explained_variance(electrons, model.predict(counts), plan.clean_mean, weight),
        }
        steps = f", {training.steps} steps" if title == "rrVAE" else ""
        drawn.append((title + steps, z[:, 0], np.asarray(encoding.angle)))
    found[f"{label} rrVAE"]["steps of training"] = training.steps
    return OrbitRow(label, scan.scan_shape, found, drawn)


def orbit_cases() -> tuple[tuple[str, str, dict[str, Any]], ...]:
    """Name, tag and options of the simulations of figure (c)."""
    optics = Optics(semiangle_mrad=32.0, half_angle_mrad=64.0)
    blurred = replace(optics, source_sd=0.25, phonon_configurations=4, phonon_sd=0.06)
    return (
        ("graphene-paper", f"-{ORBITS_PX}", {"optics": optics}),
        ("graphene-paper", f"-{ORBITS_PX}-incoherent", {"optics": blurred}),
        ("zns-110", f"-{ORBITS_PX}", {}),
        ("zns-110-column", f"-{ORBITS_PX}", {"scan_shape": (24, 30)}),
    )


def orbits(keep: Path, seconds: float) -> dict[str, Any]:
    """(c) The published rrVAE and OrbitVAE on perfect crystals, coherent and not, and on a broken one."""
    rows: list[OrbitRow] = []
    found: dict[str, Any] = {}
    for name, tag, options in orbit_cases():
        rows.append(orbit_row(name, tag, options, keep, seconds))
        found |= rows[-1].found
        print(json.dumps(found, indent=1, ensure_ascii=False), flush=True)
        draw_orbits(rows)
    return found


def draw_orbits(rows: list[OrbitRow]) -> None:
    """First latent and angle over each scan."""
    figure = Figure(figsize=(8, 2.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for row, one in zip(axes, rows, strict=True):
        for half, (title, latent, angle) in enumerate(one.drawn):
            row[2 * half].imshow(latent.reshape(one.shape), cmap="viridis")
            row[2 * half].set_title(f"{title}, latent 1", fontsize=8)
            row[2 * half + 1].imshow(angle.reshape(one.shape), cmap="twilight", vmin=0, vmax=2 * np.pi)
            row[2 * half + 1].set_title(f"{title}, angle", fontsize=8)
        row[0].set_ylabel(one.label, fontsize=7)
        for ax in row:
            ax.set_xticks([])
            ax.set_yticks([])
    figure.savefig(OUT / "orbits.png", dpi=130)


def defects(keep: Path, seconds: float) -> dict[str, Any]:
    """(d) A vacancy and a silicon atom in graphene at a realistic dose, beside the centre of mass."""
    del seconds
    names = ("graphene-vacancy", "graphene-si3")
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    axes = figure.subplots(len(names), 7)
    found: dict[str, Any] = {}
    for row, name in zip(axes, names, strict=True):
        assert find_recipe(name).scan == "rectangle"
        scan, truth = clean(name, keep, scan_shape=(48, 48))
        counts, _, _ = counts_of(scan, DOSE_DEFECT)
        config = FitConfig(prepare=PrepareOptions(reference_name="auto"))
        maps = orbistem.fit(as_scan(counts, scan), config=config).maps
        com_y, com_x = maps["com_y"].values, maps["com_x"].values
        pictures = (
            ("COM x", com_x - com_x.mean(), "RdBu_r"),
            ("COM y", com_y - com_y.mean(), "RdBu_r"),
            ("COM magnitude", np.hypot(com_x - com_x.mean(), com_y - com_y.mean()), "viridis"),
            ("COM angle", np.arctan2(com_y - com_y.mean(), com_x - com_x.mean()), "twilight"),
            ("OrbitVAE, latent 1", maps["latent"].values[..., 0], "viridis"),
            ("OrbitVAE, angle", maps["angle"].values, "twilight"),
            ("broken", maps["broken"].values, "magma"),
        )
        for ax, (title, values, colours) in zip(row, pictures, strict=True):
            ax.imshow(values, cmap=colours)
            ax.set_title(title, fontsize=8)
            ax.set_xticks([])
            ax.set_yticks([])
        row[0].set_ylabel(name, fontsize=8)
        near = truth.defect_distance < 2
        far = truth.defect_distance > 4
        latents = maps["latent"].values
        score = np.abs(latents - np.median(latents[far], axis=0)).max(axis=-1)
        magnitude = pictures[2][1]
        found[name] = {
            "latent: area under ROC, 2 Å against beyond 4 Å": _area(score[near], score[far]),
            "COM magnitude: the same": max(
                _area(magnitude[near], magnitude[far]), _area(-magnitude[near], -magnitude[far])
            ),
            "broken: the same": _area(maps["broken"].values[near], maps["broken"].values[far]),
        }
    figure.savefig(OUT / "defects.png", dpi=130)
    return found


def _area(inside: np.ndarray, outside: np.ndarray) -> float:
    """Share of pairs in which the one inside is larger."""
    order = np.sort(outside.ravel())
    return float(np.mean(np.searchsorted(order, inside.ravel()) / len(order)))


FIGURES: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    "components": components,
    "networks": networks,
    "orbits": orbits,
    "defects": defects,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(FIGURES))
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "orbistem-paper")
    parser.add_argument("--seconds", type=float, default=120.0, help="for training each network of the paper")
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(exist_ok=True)
    numbers = OUT / "figures.json"
    known = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {}
    for name in given.only.split(","):
        known[name] = FIGURES[name](given.keep, given.seconds)
        print(name, json.dumps(known[name], indent=1, ensure_ascii=False), flush=True)
        numbers.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
