"""The named simulations: one frozen `Recipe` each in `SIMULATIONS`.

The command line, tests and benchmarks loop over that tuple; `simulate` in `run.py` runs one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from orbistem.errors import OptionError
from orbistem.simulate import defects, structures, variants
from orbistem.simulate.bulk import BULK
from orbistem.simulate.multislice import Optics
from orbistem.simulate.recipe import Recipe
from orbistem.simulate.structures import Specimen
from orbistem.simulate.variants import Variant

__all__ = ["SIMULATIONS", "Recipe", "find_recipe"]

NEAR_GRAPHENE_ATOM = (0.0, structures.GRAPHENE_A / np.sqrt(3))
PAPER_A = 2.464
"""Lattice constant of the paper's graphene, Å: a rectangular cell of 2.464 × 4.268 Å."""
PAPER_BOX_A = 20 * PAPER_A - 0.01
"""Least width of the paper's box: 20 × 12 cells."""


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
    *BULK,
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
