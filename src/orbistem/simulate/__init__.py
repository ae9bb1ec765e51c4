"""Simulated scans with known truth: structures (ASE), patterns (abTEM), detector, site symmetry.

Importing this package is quick: ASE, abTEM and spglib are loaded when a simulation is asked for.
"""

from orbistem.simulate.detector import DetectorOptions, expose
from orbistem.simulate.multislice import Optics, clean_patterns
from orbistem.simulate.recipes import SIMULATIONS, Recipe, find_recipe
from orbistem.simulate.run import simulate
from orbistem.simulate.structures import Specimen
from orbistem.simulate.truth import Orbits, SymmetryPairs, find_orbits, primitive_cell_pairs
from orbistem.simulate.variants import Variant

__all__ = [
    "SIMULATIONS",
    "DetectorOptions",
    "Optics",
    "Orbits",
    "Recipe",
    "Specimen",
    "SymmetryPairs",
    "Variant",
    "clean_patterns",
    "expose",
    "find_orbits",
    "find_recipe",
    "primitive_cell_pairs",
    "simulate",
]
