"""Named simulations of crystals some nanometres thick: zincblende along three axes, and SrTiO3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from orbistem.simulate import structures, variants
from orbistem.simulate.multislice import Optics
from orbistem.simulate.recipe import Recipe
from orbistem.simulate.structures import Specimen
from orbistem.simulate.variants import Variant

OPTICS = Optics(voltage_kv=200.0, semiangle_mrad=20.0, half_angle_mrad=40.0)
THICKNESS_A = 50.0
SAMPLES_PER_PIXEL = 2.0
MATERIALS = {
    "zns": (("Zn", "S"), "ZnS", "sulphur", structures.ZNS_A),
    "gaas": (("Ga", "As"), "GaAs", "arsenic", structures.GAAS_A),
}
ELEMENTS = {"Zn": "zinc", "Ga": "gallium"}
BUILD = {
    "001": structures.zincblende_001,
    "110": structures.zincblende_110,
    "111": structures.zincblende_111,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How zincblende is scanned along one axis.

    Attributes
    ----------
    near
        (x, y) from the origin of a column with the second element, in lattice constants: it gets broken.
    scan_shape, cells, broken_shape
        Positions (y, x) over one cell; cells (y, x) of the scan with something wrong in its middle, and its
        positions.
    primitive
        Whether the perfect crystal is scanned along its lattice vectors.
    """

    near: tuple[float, float]
    scan_shape: tuple[int, int]
    cells: tuple[int, int]
    broken_shape: tuple[int, int]
    primitive: bool = False


VIEWS = {
    "001": View(near=(0.25, 0.25), scan_shape=(24, 24), cells=(3, 3), broken_shape=(48, 48)),
    "110": View(near=(1 / np.sqrt(8), 0.25), scan_shape=(32, 24), cells=(3, 5), broken_shape=(48, 60)),
    "111": View(
        near=(0.0, 0.0), scan_shape=(24, 24), cells=(3, 5), broken_shape=(60, 56), primitive=True
    ),  # every column holds both elements
}
WHOLE = Variant(thickness=THICKNESS_A)
POLAR = Variant(displacement=0.1, direction_deg=0.0, thickness=THICKNESS_A)


def _thick(variant: Variant) -> float:
    return THICKNESS_A if variant.thickness is None else variant.thickness


def _zincblende(material: str, direction: str, variant: Variant, *, extent: float) -> Specimen:
    symbols, _, _, a = MATERIALS[material]
    return BUILD[direction](extent=extent, thickness=_thick(variant), symbols=symbols, a=a)


Change = Callable[[Specimen, Variant], Specimen]


def _changed(material: str, direction: str, change: Change, variant: Variant, *, extent: float) -> Specimen:
    return change(_zincblende(material, direction, variant, extent=extent), variant)


def _antisite(
    specimen: Specimen, variant: Variant, *, near: tuple[float, float], symbols: tuple[str, str]
) -> Specimen:
    del variant
    first, second = symbols
    return structures.replace_atom(specimen, near, symbol=first, of=second)


def _along(material: str, direction: str) -> tuple[Recipe, ...]:
    """The perfect crystal along one axis, and those with something wrong."""
    symbols, formula, second, a = MATERIALS[material]
    view = VIEWS[direction]
    near = (view.near[0] * a, view.near[1] * a)
    build = partial(_zincblende, material, direction)
    perfect = Recipe(
        name=f"{material}-{direction}",
        title=f"{formula} zincblende along [{direction}], 5 nm thick",
        build=partial(build, WHOLE),
        optics=OPTICS,
        scan="primitive" if view.primitive else "rectangle",
        scan_shape=view.scan_shape,
        samples_per_pixel=SAMPLES_PER_PIXEL,
        build_variant=build,
        variant=WHOLE,
    )
    kinds: tuple[tuple[str, str, Change, Variant], ...] = (
        (
            "displaced",
            f"one {second} atom of a column displaced by 10 pm",
            partial(variants.displaced_column_atom, near=near, symbol=symbols[1]),
            POLAR,
        ),
        (
            "column",
            f"one {'' if view.primitive else second + ' '}column displaced by 10 pm",
            partial(variants.displaced_column, near=near),
            POLAR,
        ),
        (
            "gradient",
            f"{second} displaced against {ELEMENTS[symbols[0]]} by -10 to 10 pm along x",
            partial(variants.polar_gradient, symbol=symbols[1]),
            POLAR,
        ),
        (
            "antisite",
            f"one {ELEMENTS[symbols[0]]} atom in the place of {second}",
            partial(_antisite, near=near, symbols=symbols),
            WHOLE,
        ),
    )
    return (perfect, *(_broken(material, direction, *kind) for kind in kinds))


def _broken(material: str, direction: str, name: str, title: str, change: Change, variant: Variant) -> Recipe:
    """Zincblende with something wrong in the middle of a scan of some 16 × 19 Å."""
    view = VIEWS[direction]
    build = partial(_changed, material, direction, change)
    return Recipe(
        name=f"{material}-{direction}-{name}",
        title=f"{MATERIALS[material][1]} along [{direction}], 5 nm thick, {title}",
        build=partial(build, variant),
        optics=OPTICS,
        scan="rectangle",
        scan_shape=view.broken_shape,
        cells=view.cells,
        samples_per_pixel=SAMPLES_PER_PIXEL,
        build_variant=build,
        variant=variant,
    )


def _titanate(variant: Variant, *, extent: float) -> Specimen:
    x, y = variant.shift.tolist()
    return structures.strontium_titanate(extent=extent, thickness=_thick(variant), polar_shift=(x, y))


def _titanate_recipe(name: str, title: str, variant: Variant) -> Recipe:
    return Recipe(
        name=name,
        title=title,
        build=partial(_titanate, variant),
        optics=OPTICS,
        samples_per_pixel=SAMPLES_PER_PIXEL,
        build_variant=_titanate,
        variant=variant,
    )


BULK: tuple[Recipe, ...] = (
    *(recipe for material in MATERIALS for direction in BUILD for recipe in _along(material, direction)),
    _titanate_recipe("srtio3", "SrTiO3 along [001], cubic, 5 nm thick", WHOLE),
    _titanate_recipe(
        "srtio3-polar", "SrTiO3 along [001], titanium moved by 10 pm along x, 5 nm thick", POLAR
    ),
)
