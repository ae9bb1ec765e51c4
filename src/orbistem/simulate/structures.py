"""Specimens: atoms in a periodic box, the perfect crystal that they belong to, and where they depart from it.

Conventions
-----------
Lengths are in Å. x runs along the columns of a scan, y along its rows, z along the beam. Every specimen
has an *origin*: a site of high symmetry (the hexagon centre of graphene, the metal column elsewhere) that
sits near the middle of the box. Scan positions and defects are given relative to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orbistem.errors import OptionError

if TYPE_CHECKING:
    from ase import Atoms

GRAPHENE_A = 2.46
MOS2_A, MOS2_SULPHUR_Z = 3.16, 1.56
ZNS_A, GAAS_A, SRTIO3_A = 5.409, 5.653, 3.905
SINGLE_LAYER_BOX_A = 4.0  # height of the box round a layer one atom thick


@dataclass(frozen=True, kw_only=True, slots=True)
class Specimen:
    """Atoms in an orthogonal periodic box, and the crystal behind them.

    Attributes
    ----------
    atoms
        The box that the beam goes through; orthogonal cell, periodic in x and y.
    crystal
        One periodic cell of the perfect crystal with the specimen's origin at (0, 0); used for symmetry only.
    origin
        (x, y) of the origin inside the box.
    vectors
        (2, 2), rows a1 and a2: primitive translations of the crystal as seen along the beam.
    repeat
        (x, y) size of the smallest rectangle that repeats.
    defects
        (n, 2) places, relative to the origin, where the crystal is broken; (0, 2) if it is perfect.
    slice_thickness
        Thickness of a multislice step.
    """

    atoms: Atoms
    crystal: Atoms
    origin: np.ndarray
    vectors: np.ndarray
    repeat: np.ndarray
    defects: np.ndarray
    slice_thickness: float


def _cell(symbols: str, xyz: list[tuple[float, float, float]], size: tuple[float, float, float]) -> Atoms:
    from ase import Atoms

    return Atoms(symbols, positions=xyz, cell=size, pbc=True)


def copy_atoms(atoms: Atoms) -> Atoms:
    """Atoms that can be changed without changing the given ones."""
    return atoms[:]


def perfect(
    rectangle: Atoms, vectors: list[list[float]], *, extent: float, layers: int = 1, slice_thickness: float
) -> Specimen:
    """Repeat a rectangular cell, whose corner is the origin, until the box is at least `extent` wide."""
    size = rectangle.cell.lengths()
    nx, ny = (max(1, int(np.ceil(extent / length - 1e-9))) for length in size[:2])
    atoms = rectangle * (nx, ny, layers)
    atoms.wrap()
    return Specimen(
        atoms=atoms,
        crystal=rectangle,
        origin=np.array([nx // 2 * size[0], ny // 2 * size[1]]),
        vectors=np.array(vectors, dtype=np.float64),
        repeat=size[:2].copy(),
        defects=np.empty((0, 2)),
        slice_thickness=slice_thickness,
    )


def _hexagonal(a: float) -> list[list[float]]:
    return [[a, 0.0], [a / 2, a * np.sqrt(3) / 2]]


def graphene(*, extent: float, a: float = GRAPHENE_A) -> Specimen:
    """One layer of graphene; the origin is a hexagon centre, a zigzag row runs along x.

    Parameters
    ----------
    extent
        Smallest width of the box, Å.
    a
        Lattice constant, Å.
    """
    bond, z = a / np.sqrt(3), SINGLE_LAYER_BOX_A / 2
    cell = _cell(
        "C4",
        [(0, bond, z), (0, 2 * bond, z), (a / 2, bond / 2, z), (a / 2, 2.5 * bond, z)],
        (a, 3 * bond, SINGLE_LAYER_BOX_A),
    )
    return perfect(cell, _hexagonal(a), extent=extent, slice_thickness=SINGLE_LAYER_BOX_A)


def mos2(*, extent: float) -> Specimen:
    """One layer of 1H-MoS2; the origin is the molybdenum column."""
    a, d, half = MOS2_A, MOS2_A / np.sqrt(3), MOS2_SULPHUR_Z
    z = half + 1.0
    cell = _cell(
        "Mo2S4",
        [
            (0, 0, z),
            (a / 2, 1.5 * d, z),
            *((0, d, z + dz) for dz in (-half, half)),
            *((a / 2, 2.5 * d, z + dz) for dz in (-half, half)),
        ],
        (a, 3 * d, 2 * z),
    )
    return perfect(cell, _hexagonal(a), extent=extent, slice_thickness=2 * z / 3)


def zincblende_001(*, extent: float, thickness: float, symbols: tuple[str, str], a: float) -> Specimen:
    """Zincblende along [001]; the origin is a column of the first element; the x axis is [100]."""
    first, second = symbols
    h, q = a / 2, a / 4
    fcc = [(0.0, 0.0, 0.0), (h, h, 0.0), (h, 0.0, h), (0.0, h, h)]
    cell = _cell(f"{first}4{second}4", fcc + [(x + q, y + q, z + q) for x, y, z in fcc], (a, a, a))
    layers = max(1, round(thickness / a))
    return perfect(cell, [[h, 0.0], [0.0, h]], extent=extent, layers=layers, slice_thickness=a / 4)


def zincblende_110(*, extent: float, thickness: float, symbols: tuple[str, str], a: float) -> Specimen:
    """Zincblende along [110]: dumbbells; the origin is a column of the first element; y is [001]."""
    first, second = symbols
    w, h = a / np.sqrt(2), a  # rectangle: [1-10]/2 along x, [001] along y; [110]/2 along the beam
    cell = _cell(
        f"{first}2{second}2",
        [(0, 0, 0), (w / 2, h / 2, w / 2), (w / 2, h / 4, 0), (0, 3 * h / 4, w / 2)],
        (w, h, w),
    )
    layers = max(1, round(thickness / w))
    vectors = [[w, 0.0], [w / 2, h / 2]]
    return perfect(cell, vectors, extent=extent, layers=layers, slice_thickness=w / 2)


def zincblende_111(*, extent: float, thickness: float, symbols: tuple[str, str], a: float) -> Specimen:
    """Zincblende along [111]; the origin is a column; x is [1-10].

    Layers are stacked ABC, the second element straight above the first. In projection every column holds both
    elements, and the lattice is √3 times finer than that of a layer: p6mm, which the order of the atoms along
    the beam breaks to p3m1 where upper Laue zones matter.
    """
    first, second = symbols
    w, spacing = a / np.sqrt(2), a / np.sqrt(3)
    h = w * np.sqrt(3)
    xyz = []
    for rise in (0.0, 0.75 * spacing):
        for layer in range(3):
            for x, y in ((0.0, 0.0), (w / 2, h / 2)):
                xyz.append((x, (y + layer * h / 3) % h, layer * spacing + rise))
    cell = _cell(f"{first}6{second}6", xyz, (w, h, 3 * spacing))
    layers = max(1, round(thickness / (3 * spacing)))
    vectors = [[w / 2, h / 6], [0.0, h / 3]]
    return perfect(cell, vectors, extent=extent, layers=layers, slice_thickness=spacing)


def strontium_titanate(
    *, extent: float, thickness: float, polar_shift: tuple[float, float] = (0.0, 0.0)
) -> Specimen:
    """SrTiO3 along [001]; the origin is a strontium column.

    Parameters
    ----------
    polar_shift
        Displacement (x, y) of every titanium atom, Å; (0, 0) is the cubic crystal.
    """
    a, h = SRTIO3_A, SRTIO3_A / 2
    x, y = polar_shift
    cell = _cell("SrTiO3", [(0, 0, 0), (h + x, h + y, h), (h, h, 0), (h, 0, h), (0, h, h)], (a, a, a))
    layers = max(1, round(thickness / a))
    return perfect(cell, [[a, 0.0], [0.0, a]], extent=extent, layers=layers, slice_thickness=h)


def remove_atom(specimen: Specimen, near: tuple[float, float]) -> Specimen:
    """The specimen without the atom nearest to `near` ((x, y) from the origin, Å): an unrelaxed vacancy."""
    index = nearest_atom(specimen, near)
    place = specimen.atoms.positions[index, :2] - specimen.origin
    others = [i for i in range(len(specimen.atoms)) if i != index]
    return broken(specimen, specimen.atoms[others], place)


def replace_atom(
    specimen: Specimen, near: tuple[float, float], *, symbol: str, of: str | None = None
) -> Specimen:
    """Another element in place of the atom (of element `of`) nearest to `near`, unrelaxed: an antisite."""
    atoms = copy_atoms(specimen.atoms)
    index = nearest_atom(specimen, near, of)
    place = atoms.positions[index, :2] - specimen.origin
    atoms.symbols[index] = symbol
    return broken(specimen, atoms, place)


def displace_atom(
    specimen: Specimen, near: tuple[float, float], *, by: tuple[float, float], of: str | None = None
) -> Specimen:
    """One atom (the topmost, of element `of`, of the column nearest to `near`) moved by `by`, (x, y) in Å."""
    atoms = copy_atoms(specimen.atoms)
    index = nearest_atom(specimen, near, of)
    place = atoms.positions[index, :2] - specimen.origin
    atoms.positions[index, :2] += by
    return broken(specimen, atoms, place)


def nearest_atom(specimen: Specimen, near: tuple[float, float], of: str | None = None) -> int:
    """Index of the atom nearest in projection to (x, y) from the origin; among equals the first along z.

    With `of`, of the atoms of that element.
    """
    away = np.hypot(*(specimen.atoms.positions[:, :2] - specimen.origin - near).T)
    if of is not None:
        away = np.where(np.array([one == of for one in specimen.atoms.symbols]), away, np.inf)
    tied = np.flatnonzero(away < away.min() + 1e-3)
    return int(tied[np.argmin(specimen.atoms.positions[tied, 2])])


def broken(specimen: Specimen, atoms: Atoms, place: np.ndarray) -> Specimen:
    """The specimen with other atoms and one more defect, at (x, y) from the origin."""
    size = specimen.atoms.cell.lengths()[:2]
    if np.any(np.abs(place) > size / 2):
        raise OptionError(
            f"defect: want a place inside the box of {size} Å, got {place}; choose one nearer the origin"
        )
    return Specimen(
        atoms=atoms,
        crystal=specimen.crystal,
        origin=specimen.origin,
        vectors=specimen.vectors,
        repeat=specimen.repeat,
        defects=np.vstack([specimen.defects, place]),
        slice_thickness=specimen.slice_thickness,
    )
