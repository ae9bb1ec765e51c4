"""Specimens with a number to choose: how far an atom is displaced and whither, how two layers are twisted."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from orbistem.errors import OptionError
from orbistem.simulate import structures
from orbistem.simulate.structures import Specimen, broken, copy_atoms, nearest_atom

LAYER_DISTANCE_A = 3.35
TWIST_TOLERANCE_DEG = 0.3
LARGEST_TWIST_INDEX = 6
MAX_THICKNESS_A = 2000.0
GRADIENT_WIDTH_A = 20.0
"""Across this width the displacement of a gradient goes from minus to plus its amount."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Numbers that some specimens take; None leaves the default.

    Attributes
    ----------
    displacement
        Å.
    direction_deg
        Direction of the displacement, from +x to +y.
    twist_deg
        Angle between two layers.
    thickness
        Å along the beam; the nearest whole number of the crystal's periods is taken, at least one.
    """

    displacement: float | None = None
    direction_deg: float | None = None
    twist_deg: float | None = None
    thickness: float | None = None

    def __post_init__(self) -> None:
        if self.displacement is not None and not 0 <= self.displacement < 2:
            raise OptionError(
                f"displacement: want 0 Å or more and less than 2 Å, got {self.displacement}; try 0.1"
            )
        if self.thickness is not None and not 0 < self.thickness <= MAX_THICKNESS_A:
            raise OptionError(
                f"thickness: want more than 0 Å and at most {MAX_THICKNESS_A:g} Å, got {self.thickness}; "
                "try 50"
            )

    def given(self) -> tuple[str, ...]:
        """Names of what is not left to the default."""
        return tuple(entry.name for entry in fields(self) if getattr(self, entry.name) is not None)

    def over(self, defaults: Self) -> Self:
        """These numbers where given, else the defaults."""
        return replace(defaults, **{name: getattr(self, name) for name in self.given()})

    @property
    def shift(self) -> np.ndarray:
        """Displacement (x, y), Å."""
        direction = np.deg2rad(self.direction_deg or 0.0)
        return (self.displacement or 0.0) * np.array([np.cos(direction), np.sin(direction)])


def displaced_column_atom(
    specimen: Specimen, variant: Variant, *, near: tuple[float, float], symbol: str | None = None
) -> Specimen:
    """One atom (of an element, where given) of the column nearest to `near` displaced."""
    x, y = variant.shift.tolist()
    return structures.displace_atom(specimen, near, by=(x, y), of=symbol)


def displaced_column(specimen: Specimen, variant: Variant, *, near: tuple[float, float]) -> Specimen:
    """The whole column nearest to `near` displaced."""
    atoms = copy_atoms(specimen.atoms)
    place = atoms.positions[nearest_atom(specimen, near), :2].copy()
    column = np.hypot(*(atoms.positions[:, :2] - place).T) < 1e-3
    atoms.positions[column, :2] += variant.shift
    return broken(specimen, atoms, place - specimen.origin)


def polar_gradient(specimen: Specimen, variant: Variant, *, symbol: str) -> Specimen:
    """All atoms of one element displaced against the others, from minus to plus the amount along x.

    The displacement grows linearly over `GRADIENT_WIDTH_A` about the origin and is constant beyond. There is
    no defect: everywhere the crystal is nearly perfect and nowhere quite.
    """
    atoms = copy_atoms(specimen.atoms)
    moved = np.array([one == symbol for one in atoms.symbols])
    along = (atoms.positions[moved, 0] - specimen.origin[0]) / (GRADIENT_WIDTH_A / 2)
    atoms.positions[moved, :2] += np.clip(along, -1, 1)[:, None] * variant.shift
    return replace(specimen, atoms=atoms)


def bilayer_graphene(variant: Variant, *, extent: float) -> Specimen:
    """Two layers of graphene about a common hexagon centre, each turned by half the twist.

    Only twists after which the layers share a lattice are possible: cos(twist) = (m² + 4mn + n²) /
    (2(m² + mn + n²)) (Lopes dos Santos et al., Phys. Rev. Lett. 99, 256802 (2007)); the nearest one with
    m, n up to 6 is taken. Twist 0 is Bernal (AB) stacking.

    Raises
    ------
    OptionError
        No such twist lies within 0.3°; the text lists the possible ones.
    """
    from ase import Atoms

    twist = variant.twist_deg or 0.0
    m, n = (1, 1) if twist == 0 else _twist_indices(twist)
    a = structures.GRAPHENE_A
    length = a * np.sqrt(m * m + m * n + n * n) if twist else a
    width, height = length, length * np.sqrt(3)
    exact = 0.0 if twist == 0 else _twist(m, n)
    places, heights = [], []
    for layer, (sign, z) in enumerate(((-1, 1.0), (1, 1.0 + LAYER_DISTANCE_A))):
        shift = np.array([0.0, a / np.sqrt(3)]) * (layer if twist == 0 else 0)
        xy = _layer(width, height, _axis_turn(m, n) * (twist != 0), sign * np.deg2rad(exact) / 2, shift)
        places.append(xy)
        heights.append(np.full(len(xy), z))
    positions = np.column_stack([np.concatenate(places), np.concatenate(heights)])
    size = (width, height, 2.0 + LAYER_DISTANCE_A)
    cell = Atoms(f"C{len(positions)}", positions=positions, cell=size, pbc=True)
    vectors = [[length, 0.0], [length / 2, height / 2]]
    return structures.perfect(cell, vectors, extent=extent, slice_thickness=(2.0 + LAYER_DISTANCE_A) / 2)


def _twist(m: int, n: int) -> float:
    return float(np.degrees(np.arccos((m * m + 4 * m * n + n * n) / (2 * (m * m + m * n + n * n)))))


def _twist_indices(twist: float) -> tuple[int, int]:
    """Indices of the smallest common lattice whose twist is near the wanted one."""
    known = {
        (m, n): _twist(m, n)
        for n in range(2, LARGEST_TWIST_INDEX + 1)
        for m in range(1, n)
        if np.gcd(m, n) == 1 and (n - m) % 3
    }
    near = {mn: angle for mn, angle in known.items() if abs(angle - twist) < TWIST_TOLERANCE_DEG}
    if not near:
        angles = ", ".join(f"{angle:.2f}" for angle in sorted(known.values()))
        raise OptionError(f"twist_deg: want 0 or near one of {angles}, got {twist}; choose one of these")
    return min(near, key=lambda mn: mn[0] ** 2 + mn[0] * mn[1] + mn[1] ** 2)


def _axis_turn(m: int, n: int) -> float:
    """Turn that brings the common lattice vector, midway between those of the layers, onto x, rad."""
    first = n * np.array([1.0, 0.0]) + m * np.array([0.5, np.sqrt(3) / 2])
    second = m * np.array([1.0, 0.0]) + n * np.array([0.5, np.sqrt(3) / 2])
    both = first / np.linalg.norm(first) + second / np.linalg.norm(second)
    return -float(np.arctan2(both[1], both[0]))


def _layer(width: float, height: float, turn: float, twist: float, shift: np.ndarray) -> np.ndarray:
    """Atoms (n, 2) of one layer, turned about a hexagon centre at 0, in [0, width) × [0, height)."""
    a, bond = structures.GRAPHENE_A, structures.GRAPHENE_A / np.sqrt(3)
    reach = int(np.ceil(2 * (width + height) / a))
    i, j = (one.ravel() for one in np.meshgrid(np.arange(-reach, reach), np.arange(-reach, reach)))
    corner = i[:, None] * np.array([a, 0.0]) + j[:, None] * np.array([a / 2, a * np.sqrt(3) / 2])
    up = np.array([0.0, bond])
    atoms = np.concatenate([corner + up, corner - up]) + shift
    angle = turn + twist
    cos, sin = np.cos(angle), np.sin(angle)
    xy = atoms @ np.array([[cos, sin], [-sin, cos]])
    tiny = 1e-6
    inside = (xy > -tiny).all(axis=1) & (xy[:, 0] < width - tiny) & (xy[:, 1] < height - tiny)
    return np.asarray(np.where(np.abs(xy[inside]) < tiny, 0.0, xy[inside]))
