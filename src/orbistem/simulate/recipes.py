"""The named simulations: one frozen `Recipe` each in `SIMULATIONS`.

The command line, tests and benchmarks loop over that tuple; `simulate` in `run.py` runs one of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np

from orbistem.errors import OptionError
from orbistem.simulate import defects, structures, variants
from orbistem.simulate.multislice import SAMPLES_PER_PIXEL, Optics
from orbistem.simulate.structures import Specimen
from orbistem.simulate.variants import Variant

DEFAULT_DETECTOR_PX = 64


class BuildSpecimen(Protocol):
    """Makes specimens."""

    def __call__(self, *, extent: float) -> Specimen:
        """Make one whose box is at least `extent` Å wide."""


class BuildVariant(Protocol):
    """Makes specimens with a number to choose."""

    def __call__(self, variant: Variant, *, extent: float) -> Specimen:
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
    detector_px
        Default number of detector pixels along each side.
    build_variant, variant
        For a specimen with a number to choose: makes it, and the default numbers; it does not take what is
        None in `variant`.
    """

    name: str
    title: str
    build: BuildSpecimen
    optics: Optics = dataclasses.field(default_factory=Optics)
    scan: Literal["primitive", "rectangle"] = "primitive"
    scan_shape: tuple[int, int] = (24, 24)
    cells: tuple[int, int] = (1, 1)
    samples_per_pixel: float = SAMPLES_PER_PIXEL
    detector_px: int = DEFAULT_DETECTOR_PX
    build_variant: BuildVariant | None = None
    variant: Variant = dataclasses.field(default_factory=Variant)

    def builder(self, variant: Variant) -> BuildSpecimen:
        """What makes the specimen with these numbers.

        Raises
        ------
        OptionError
            A number that this specimen does not take.
        """
        taken = self.variant.given()
        wrong = [name for name in variant.given() if name not in taken]
        if wrong:
            raise OptionError(
                f"{wrong[0]}: want a simulation that takes it, got {self.name}, which takes "
                f"{', '.join(taken) or 'none of these'}; leave it out"
            )
        if self.build_variant is None:
            return self.build
        return partial(self.build_variant, variant.over(self.variant))


NEAR_GRAPHENE_ATOM = (0.0, structures.GRAPHENE_A / np.sqrt(3))
BULK_OPTICS = Optics(voltage_kv=200.0, semiangle_mrad=20.0, half_angle_mrad=40.0)
BULK_THICKNESS_A = 50.0
PAPER_A = 2.464
"""Lattice constant of the paper's graphene, Å: a rectangular cell of 2.464 × 4.268 Å."""
PAPER_BOX_A = 20 * PAPER_A - 0.01
"""Least width of the paper's box: 20 × 12 cells."""
ZNS_110, ZNS_001 = (
    partial(along, thickness=BULK_THICKNESS_A, symbols=("Zn", "S"), a=structures.ZNS_A)
    for along in (structures.zincblende_110, structures.zincblende_001)
)
NEAR_SULPHUR = (structures.ZNS_A / np.sqrt(8), structures.ZNS_A / 4)
NEAR_SULPHUR_001 = (structures.ZNS_A / 4, structures.ZNS_A / 4)
POLAR = Variant(displacement=0.1, direction_deg=0.0)


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
    along = {
        "001": structures.zincblende_001,
        "110": structures.zincblende_110,
        "111": structures.zincblende_111,
    }[direction]
    return Recipe(
        name=f"{material}-{direction}",
        title=f"{''.join(symbols)} zincblende along [{direction}], 5 nm thick",
        build=partial(along, thickness=BULK_THICKNESS_A, symbols=symbols, a=a),
        optics=BULK_OPTICS,
        scan="primitive" if direction == "111" else "rectangle",
        scan_shape=(32, 24) if direction == "110" else (24, 24),
        samples_per_pixel=2.0,
    )


def _zns_110(change: Callable[[Specimen], Specimen], *, extent: float) -> Specimen:
    return change(ZNS_110(extent=extent))


def _zns_110_variant(
    change: Callable[[Specimen, Variant], Specimen], variant: Variant, *, extent: float
) -> Specimen:
    return change(ZNS_110(extent=extent), variant)


def _displaced_zns_001(variant: Variant, *, extent: float) -> Specimen:
    return variants.displaced_column_atom(ZNS_001(extent=extent), variant, near=NEAR_SULPHUR_001)


def _broken_zns_110(name: str, title: str, build: BuildSpecimen) -> Recipe:
    """ZnS along [110] with something wrong in the middle of a scan of 3 × 5 rectangular cells."""
    return Recipe(
        name=f"zns-110-{name}",
        title=f"ZnS along [110], 5 nm thick, {title}",
        build=build,
        optics=BULK_OPTICS,
        scan="rectangle",
        scan_shape=(48, 60),
        cells=(3, 5),  # 16.2 × 19.1 Å
        samples_per_pixel=2.0,
    )


def _polar_zns_110(name: str, title: str, change: Callable[[Specimen, Variant], Specimen]) -> Recipe:
    """The same, with a displacement to choose."""
    build = partial(_zns_110_variant, change)
    recipe = _broken_zns_110(name, title, partial(build, POLAR))
    return dataclasses.replace(recipe, build_variant=build, variant=POLAR)


def _polar_titanate(variant: Variant, *, extent: float) -> Specimen:
    x, y = variant.shift.tolist()
    return structures.strontium_titanate(extent=extent, thickness=BULK_THICKNESS_A, polar_shift=(x, y))


def _paper_graphene(*, extent: float) -> Specimen:
    return structures.graphene(extent=extent, a=PAPER_A)


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
    Recipe(
        name="graphene-paper",
        title="graphene as in the paper: 24 × 14 positions, 256 pixels, 60 kV, 32 mrad",
        build=_paper_graphene,
        optics=Optics(semiangle_mrad=32.0, half_angle_mrad=126.42),  # a pixel is a sample of the box
        scan="rectangle",
        scan_shape=(24, 14),
        samples_per_pixel=1.0,
        detector_px=256,
    ),
    Recipe(
        name="bilayer-graphene",
        title="two layers of graphene, Bernal stacking, one primitive cell; or twisted",
        build=partial(variants.bilayer_graphene, Variant(twist_deg=0.0)),
        build_variant=variants.bilayer_graphene,
        variant=Variant(twist_deg=0.0),
    ),
    Recipe(
        name="bilayer-graphene-twisted",
        title="two layers of graphene twisted by 21.79°, one primitive cell",
        build=partial(variants.bilayer_graphene, Variant(twist_deg=21.79)),
        scan_shape=(36, 36),
        build_variant=variants.bilayer_graphene,
        variant=Variant(twist_deg=21.79),
    ),
    Recipe(name="mos2", title="1H-MoS2, one layer, one primitive cell", build=structures.mos2),
    _zincblende("zns", "001"),
    _zincblende("zns", "110"),
    _zincblende("zns", "111"),
    _zincblende("gaas", "001"),
    _zincblende("gaas", "110"),
    _zincblende("gaas", "111"),
    _polar_zns_110(
        "displaced",
        "one sulphur atom of a column displaced by 10 pm",
        partial(variants.displaced_column_atom, near=NEAR_SULPHUR),
    ),
    _polar_zns_110(
        "column",
        "one sulphur column displaced by 10 pm",
        partial(variants.displaced_column, near=NEAR_SULPHUR),
    ),
    _polar_zns_110(
        "gradient",
        "sulphur displaced against zinc by -10 to 10 pm along x",
        partial(variants.polar_gradient, symbol="S"),
    ),
    _broken_zns_110(
        "antisite",
        "one zinc atom in the place of sulphur",
        partial(_zns_110, partial(structures.replace_atom, near=NEAR_SULPHUR, symbol="Zn")),
    ),
    Recipe(
        name="zns-001-displaced",
        title="ZnS along [001], 5 nm thick, one sulphur atom of a column displaced by 10 pm",
        build=partial(_displaced_zns_001, POLAR),
        optics=BULK_OPTICS,
        scan="rectangle",
        scan_shape=(48, 48),
        cells=(3, 3),  # 16.2 × 16.2 Å
        samples_per_pixel=2.0,
        build_variant=_displaced_zns_001,
        variant=POLAR,
    ),
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
        build=partial(_polar_titanate, POLAR),
        optics=BULK_OPTICS,
        samples_per_pixel=2.0,
        build_variant=_polar_titanate,
        variant=POLAR,
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
