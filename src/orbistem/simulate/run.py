"""`simulate` runs a named simulation and returns a scan with its truth."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Literal

import numpy as np

from orbistem.errors import MissingExtraError, OptionError, require_seed
from orbistem.progress import Progress
from orbistem.scan import Axis, Provenance, Scan, Truth
from orbistem.simulate.detector import DetectorOptions, expose, require_dose
from orbistem.simulate.multislice import (
    MAX_POINTS,
    Optics,
    box_extent,
    clean_patterns,
    least_points,
    probe_margin,
)
from orbistem.simulate.recipes import Recipe, find_recipe
from orbistem.simulate.structures import Specimen
from orbistem.simulate.truth import derive_truth
from orbistem.simulate.variants import Variant

FINER_IF_DISTORTED = 2
"""Patterns that are moved or stretched are drawn with so many pixels across one of the detector."""


def scan_positions(
    recipe: Recipe, specimen: Specimen, scan_shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (y·x, 2) in flat scan order, and step vectors (2, 2); both (x, y) in Å from the origin."""
    ny, nx = scan_shape
    if recipe.scan == "primitive":
        steps = specimen.vectors / np.array([[nx], [ny]])
        first = np.zeros(2)
    else:
        size = specimen.repeat * recipe.cells[::-1]
        steps = np.diag(size / (nx, ny))
        first = -specimen.repeat * (np.array(recipe.cells[::-1]) // 2)
    y, x = np.divmod(np.arange(ny * nx), nx)
    return first + np.stack([x, y], axis=1) @ steps, steps


def simulate(
    name: str,
    *,
    seed: int,
    dose: float | None = 1e5,
    scan_shape: tuple[int, int] | None = None,
    detector_px: int | None = None,
    optics: Optics | None = None,
    detector: DetectorOptions | None = None,
    variant: Variant | None = None,
    grid: Literal["primitive", "rectangle"] | None = None,
    cells: tuple[int, int] | None = None,
    irregular: bool = False,
    progress: Progress | None = None,
) -> tuple[Scan, Truth]:
    """Simulate a named scan.

    Parameters
    ----------
    name
        One of the names in `SIMULATIONS`.
    seed
        Seeds all that is random: counts, hot pixels, phonons. Equal seeds give equal scans.
    dose
        Electrons in the beam per pattern; None gives the noise-free fraction of the beam in each pixel,
        float32.
    scan_shape
        (y, x) positions; None takes the recipe's.
    detector_px
        Pixels along each side; the field of view stays as the optics say. None takes the recipe's.
    optics
        Another microscope than the recipe's.
    detector
        Imperfections of the camera.
    variant
        Numbers of the specimen, for those that take some: displacement and its direction, twist, thickness.
    grid
        "primitive": along the lattice vectors over one primitive cell; "rectangle": a rectangle of `cells`.
        None takes the recipe's.
    cells
        Size (y, x) of a rectangle in rectangular cells; None takes the recipe's.
    irregular
        A list of as many positions scattered over the same area, instead of a grid.
    progress
        Told how far the simulation is.

    Returns
    -------
    Scan
        uint16 counts (y, x, ky, kx); scan axes in Å, detector axes in mrad with 0 at (N − 1)/2. A scan along
        lattice vectors carries the step vectors in `scan_vectors`, as (y, x).
    Truth
        Site, angle, point group and distance to the nearest defect for each position.

    Raises
    ------
    OptionError
        Unknown name, or an option out of range.
    MissingExtraError
        abTEM, ASE or spglib is not installed.

    Examples
    --------
    >>> scan, truth = simulate("graphene", seed=0, scan_shape=(6, 6), detector_px=16)
    >>> scan.scan_shape, sorted(set(truth.point_group.ravel().tolist()))
    ((6, 6), ['C1', 'D1', 'D2', 'D3', 'D6'])
    """
    recipe = find_recipe(name)
    require_seed(seed)
    shape = recipe.scan_shape if scan_shape is None else scan_shape
    if min(shape) < 1:
        raise OptionError(
            f"scan_shape: want two positive integers (y, x), got {shape}; give for instance 24,24"
        )
    detector_px = recipe.detector_px if detector_px is None else detector_px
    if detector_px < 4:
        raise OptionError(f"detector_px: want at least 4, got {detector_px}; give for instance 64")
    recipe = _scanned(recipe, grid, cells)
    variant = variant or Variant()
    recipe.builder(variant)  # a wrong number is said first
    if dose is not None:
        require_dose(dose)
    if irregular and detector is not None and np.any(detector.descan_px):
        raise OptionError("descan_px: want a grid, got irregular positions; leave one of them out")
    if dose is None and detector is not None and detector != DetectorOptions():
        raise OptionError("detector: want a dose, since noise-free patterns have no camera; give one")
    _require_extra()
    optics = recipe.optics if optics is None else optics
    finer = FINER_IF_DISTORTED if dose is not None and detector is not None and detector.distorts else 1
    if finer > 1:
        recipe = dataclasses.replace(recipe, samples_per_pixel=recipe.samples_per_pixel / finer)
    drawn_px = finer * detector_px
    specimen = build_for(recipe, optics, detector_px=drawn_px, variant=variant)
    positions, steps = scan_positions(recipe, specimen, shape)
    phonon_rng, camera_rng, place_rng = np.random.default_rng(seed).spawn(3)
    if irregular:
        positions = positions + place_rng.uniform(-0.5, 0.5, positions.shape) @ steps
    clean = clean_patterns(
        specimen, positions, optics=optics, detector_px=drawn_px, rng=phonon_rng, progress=progress
    )
    patterns = (
        clean
        if dose is None
        else expose(
            clean,
            dose=dose,
            rng=camera_rng,
            options=detector,
            scan_shape=(shape[0], shape[1]),
            binning=finer,
        )
    )
    pixel_mrad = 2 * optics.half_angle_mrad / detector_px
    if irregular:
        listed = Scan.from_array(
            patterns,
            positions=positions[:, ::-1],
            position_units="Å",
            detector_axes=(
                _detector_axis("ky", detector_px, pixel_mrad),
                _detector_axis("kx", detector_px, pixel_mrad),
            ),
            provenance=_provenance(recipe, optics, variant, dose, seed),
        )
        return listed, derive_truth(specimen, positions, (len(positions),))
    oblique = bool(abs(steps[0] @ steps[1]) > 1e-9) or recipe.scan == "primitive"
    scan = Scan.from_array(
        patterns.reshape(*shape, detector_px, detector_px),
        scan_axes=tuple(
            Axis(name=axis, scale=float(np.linalg.norm(step)), units="Å")
            for axis, step in (("y", steps[1]), ("x", steps[0]))
        ),
        detector_axes=(
            _detector_axis("ky", detector_px, pixel_mrad),
            _detector_axis("kx", detector_px, pixel_mrad),
        ),
        scan_vectors=steps[:, ::-1] if oblique else None,
        provenance=_provenance(recipe, optics, variant, dose, seed),
    )
    return scan, derive_truth(specimen, positions, shape)


def build_for(
    recipe: Recipe, optics: Optics, *, detector_px: int, variant: Variant | None = None
) -> Specimen:
    """The recipe's specimen in a box large enough for the detector's sampling and for the scan.

    Raises
    ------
    OptionError
        Detector or probe ask for a box that cannot be simulated.
    """
    build = recipe.builder(variant or Variant())
    extent = box_extent(optics, detector_px=detector_px, samples_per_pixel=recipe.samples_per_pixel)
    margin = probe_margin(optics)
    if (points := least_points(extent, optics)) > MAX_POINTS:
        raise OptionError(
            f"detector: want at most {int(detector_px * MAX_POINTS / points)} pixels over this half angle of "
            f"{optics.half_angle_mrad:g} mrad, got {detector_px}; take fewer pixels"
        )
    if (points := least_points(2 * margin, optics)) > MAX_POINTS:
        raise OptionError(
            f"probe: want one that fits a supercell of {2 * margin * MAX_POINTS / points:.0f} Å, got one "
            f"spread over {2 * margin:.0f} Å; take less defocus, smaller aberrations or a smaller angle"
        )
    specimen = build(extent=extent)
    scanned = (
        np.abs(specimen.vectors).sum(axis=0)
        if recipe.scan == "primitive"
        else specimen.repeat * recipe.cells[::-1]
    )
    needed = float(scanned.max() + 2 * margin)
    return specimen if needed <= extent else build(extent=needed)


def _require_extra() -> None:
    for package in ("abtem", "ase", "spglib"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"simulation: want the package {package}, which is not installed; "
                'run pip install "orbistem[simulate]"'
            )


def _detector_axis(name: str, size: int, pixel_mrad: float) -> Axis:
    return Axis(name=name, scale=pixel_mrad, offset=-(size - 1) / 2 * pixel_mrad, units="mrad")


def _scanned(
    recipe: Recipe, grid: Literal["primitive", "rectangle"] | None, cells: tuple[int, int] | None
) -> Recipe:
    """The recipe with another scan."""
    if grid not in (None, "primitive", "rectangle"):
        raise OptionError(f"grid: want primitive or rectangle, got {grid!r}; choose one")
    recipe = recipe if grid is None else dataclasses.replace(recipe, scan=grid)
    if cells is None:
        return recipe
    if recipe.scan == "primitive":
        raise OptionError(
            f"cells: want a rectangle, got the primitive cell of {recipe.name}; leave cells out"
        )
    if min(cells) < 1:
        raise OptionError(f"cells: want two positive integers (y, x), got {cells}; give for instance 1,2")
    return dataclasses.replace(recipe, cells=cells)


def _provenance(
    recipe: Recipe, optics: Optics, variant: Variant, dose: float | None, seed: int
) -> Provenance:
    counts = "noise-free fraction of the beam" if dose is None else f"{dose:g} electrons per pattern"
    chosen = "".join(f", {name} {getattr(variant, name):g}" for name in variant.given())
    return Provenance(
        format="simulation",
        found=(
            f"simulated: {recipe.title}{chosen}; {optics.voltage_kv:g} kV, {optics.semiangle_mrad:g} mrad, "
            f"{counts}, seed {seed}",
        ),
    )
