"""The named simulations, and `simulate`, which runs one and returns a scan with its truth.

One simulation = one frozen `Recipe` in `SIMULATIONS`; the command line, tests and benchmarks loop over
that tuple.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np

from orbistem.errors import MissingExtraError, OptionError
from orbistem.progress import Progress
from orbistem.scan import Axis, Provenance, Scan, Truth
from orbistem.simulate import defects, structures
from orbistem.simulate.detector import DetectorOptions, expose
from orbistem.simulate.multislice import SAMPLES_PER_PIXEL, Optics, box_extent, clean_patterns, probe_margin
from orbistem.simulate.structures import Specimen
from orbistem.simulate.truth import derive_truth

DEFAULT_DETECTOR_PX = 64


class BuildSpecimen(Protocol):
    """Makes specimens."""

    def __call__(self, *, extent: float) -> Specimen:
        """Make one whose box is at least `extent` Å wide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that a named simulation needs.

    Attributes
    ----------
    name, title
        Name on the command line, and what it is in a few words.
    build
        Makes the specimen.
    optics
        The microscope.
    scan
        "primitive": positions along the lattice vectors a1 and a2, one primitive cell. "rectangle": a
        rectangle of `cells` (y, x) repeats of the crystal's rectangular cell about the origin. Either way
        the scan's end is its begin.
    scan_shape
        Default (y, x) number of positions.
    cells
        Size of a rectangular scan in rectangular cells, (y, x).
    samples_per_pixel
        Diffraction samples across a detector pixel; they set the width of the box, and so the time.
    """

    name: str
    title: str
    build: BuildSpecimen
    optics: Optics = dataclasses.field(default_factory=Optics)
    scan: Literal["primitive", "rectangle"] = "primitive"
    scan_shape: tuple[int, int] = (24, 24)
    cells: tuple[int, int] = (1, 1)
    samples_per_pixel: float = SAMPLES_PER_PIXEL


NEAR_GRAPHENE_ATOM = (0.0, structures.GRAPHENE_A / np.sqrt(3))
BULK_OPTICS = Optics(voltage_kv=200.0, semiangle_mrad=20.0, half_angle_mrad=40.0)
BULK_THICKNESS_A = 50.0


def _graphene_with(change: Callable[[Specimen], Specimen], *, extent: float) -> Specimen:
    return change(structures.graphene(extent=extent))


def _graphene_defect(name: str, title: str, change: Callable[[Specimen], Specimen]) -> Recipe:
    return Recipe(
        name=name,
        title=title,
        build=partial(_graphene_with, change),
        scan="rectangle",
        scan_shape=(64, 64),
        cells=(4, 8),  # 17.04 × 19.68 Å
        samples_per_pixel=2.0,  # 4,096 positions; the rim does not matter below 10⁶ electrons
    )


def _zincblende(material: str, direction: str) -> Recipe:
    symbols, a = {"zns": (("Zn", "S"), structures.ZNS_A), "gaas": (("Ga", "As"), structures.GAAS_A)}[material]
    along = {"001": structures.zincblende_001, "110": structures.zincblende_110}[direction]
    return Recipe(
        name=f"{material}-{direction}",
        title=f"{''.join(symbols)} zincblende along [{direction}], 5 nm thick",
        build=partial(along, thickness=BULK_THICKNESS_A, symbols=symbols, a=a),
        optics=BULK_OPTICS,
        scan="rectangle",
        scan_shape=(24, 24) if direction == "001" else (32, 24),
        samples_per_pixel=2.0,
    )


SIMULATIONS: tuple[Recipe, ...] = (
    Recipe(name="graphene", title="graphene, one primitive cell", build=structures.graphene),
    _graphene_defect(
        "graphene-vacancy",
        "graphene with one atom missing, not relaxed",
        partial(structures.remove_atom, near=NEAR_GRAPHENE_ATOM),
    ),
    _graphene_defect(
        "graphene-si3", "graphene with a silicon atom on three bonds", defects.threefold_silicon
    ),
    _graphene_defect(
        "graphene-vacancy-59",
        "graphene with one atom missing, rings 5-9, relaxed",
        defects.jahn_teller_vacancy,
    ),
    _graphene_defect("graphene-si4", "graphene with a silicon atom on four bonds", defects.fourfold_silicon),
    _graphene_defect(
        "graphene-divacancy", "graphene with a relaxed divacancy, rings 5-8-5", defects.divacancy
    ),
    _graphene_defect(
        "graphene-555-777", "graphene with a relaxed divacancy, rings 555-777", defects.divacancy_555_777
    ),
    _graphene_defect(
        "graphene-stone-wales", "graphene with one bond turned by 90°, relaxed", defects.stone_wales
    ),
    Recipe(name="mos2", title="1H-MoS2, one layer, one primitive cell", build=structures.mos2),
    _zincblende("zns", "001"),
    _zincblende("zns", "110"),
    _zincblende("gaas", "001"),
    _zincblende("gaas", "110"),
    Recipe(
        name="srtio3",
        title="SrTiO3 along [001], cubic, 5 nm thick",
        build=partial(structures.strontium_titanate, thickness=BULK_THICKNESS_A),
        optics=BULK_OPTICS,
        samples_per_pixel=2.0,
    ),
    Recipe(
        name="srtio3-polar",
        title="SrTiO3 along [001], titanium moved by 10 pm along x, 5 nm thick",
        build=partial(structures.strontium_titanate, thickness=BULK_THICKNESS_A, polar_shift=0.1),
        optics=BULK_OPTICS,
        samples_per_pixel=2.0,
    ),
)


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises
    ------
    OptionError
        Unknown name; the text lists the known ones.
    """
    for recipe in SIMULATIONS:
        if recipe.name == name:
            return recipe
    known = ", ".join(recipe.name for recipe in SIMULATIONS)
    raise OptionError(f"simulation: want one of {known}; got {name!r}")


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
    detector_px: int = DEFAULT_DETECTOR_PX,
    optics: Optics | None = None,
    detector: DetectorOptions | None = None,
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
        Pixels along each side; the field of view stays as the optics say.
    optics
        Another microscope than the recipe's.
    detector
        Imperfections of the camera.
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
    shape = recipe.scan_shape if scan_shape is None else scan_shape
    if min(shape) < 1:
        raise OptionError(
            f"scan_shape: want two positive integers (y, x), got {shape}; give for instance 24,24"
        )
    if detector_px < 4:
        raise OptionError(f"detector_px: want at least 4, got {detector_px}; give for instance 64")
    _require_extra()
    optics = recipe.optics if optics is None else optics
    specimen = build_for(recipe, optics, detector_px=detector_px)
    positions, steps = scan_positions(recipe, specimen, shape)
    phonon_rng, camera_rng = np.random.default_rng(seed).spawn(2)
    clean = clean_patterns(
        specimen, positions, optics=optics, detector_px=detector_px, rng=phonon_rng, progress=progress
    )
    patterns = (
        clean
        if dose is None
        else expose(clean, dose=dose, rng=camera_rng, options=detector, scan_shape=(shape[0], shape[1]))
    )
    pixel_mrad = 2 * optics.half_angle_mrad / detector_px
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
        provenance=_provenance(recipe, optics, dose, seed),
    )
    return scan, derive_truth(specimen, positions, shape)


def build_for(recipe: Recipe, optics: Optics, *, detector_px: int) -> Specimen:
    """The recipe's specimen in a box large enough for the detector's sampling and for the scan."""
    extent = box_extent(optics, detector_px=detector_px, samples_per_pixel=recipe.samples_per_pixel)
    specimen = recipe.build(extent=extent)
    scanned = (
        np.abs(specimen.vectors).sum(axis=0)
        if recipe.scan == "primitive"
        else specimen.repeat * recipe.cells[::-1]
    )
    needed = float(scanned.max() + 2 * probe_margin(optics))
    return specimen if needed <= extent else recipe.build(extent=needed)


def _require_extra() -> None:
    for package in ("abtem", "ase", "spglib"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"simulation: want the package {package}, which is not installed; "
                'run pip install "orbistem[simulate]"'
            )


def _detector_axis(name: str, size: int, pixel_mrad: float) -> Axis:
    return Axis(name=name, scale=pixel_mrad, offset=-(size - 1) / 2 * pixel_mrad, units="mrad")


def _provenance(recipe: Recipe, optics: Optics, dose: float | None, seed: int) -> Provenance:
    counts = "noise-free fraction of the beam" if dose is None else f"{dose:g} electrons per pattern"
    return Provenance(
        format="simulation",
        found=(
            f"simulated: {recipe.title}; {optics.voltage_kv:g} kV, {optics.semiangle_mrad:g} mrad, "
            f"{counts}, seed {seed}",
        ),
    )
