"""Point defects of graphene whose rings differ from hexagons: their bonds, and where the atoms settle.

The network of bonds defines each defect. Atoms near it settle in the plane by a valence force field
(springs on bond lengths and on bond angles); this gives the shape to a few hundredths of an ångström, not
an energy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from orbistem.simulate.structures import GRAPHENE_A, Specimen, broken, copy_atoms, nearest_atom

BOND_A = GRAPHENE_A / np.sqrt(3)
SILICON_BOND_A = 1.87  # Si–C with four neighbours in one plane
SILICON_BOND_3_A, SILICON_HEIGHT_A = 1.77, 0.9  # Si–C with three neighbours, silicon above the layer
RECONSTRUCTED_BOND_A = (
    1.95  # the weak bond across a single vacancy (Jahn–Teller); 1.9–2.1 in published calculations
)
RELAXED_RADIUS_A = 10.0  # atoms beyond stay where they are
ANGLE_STIFFNESS = 0.3  # weight of (cos θ − cos θ0)·bond against a bond's stretch, in Å


def stone_wales(specimen: Specimen) -> Specimen:
    """Turn the bond at (0, 1.5 bonds) by 90°: two pentagons and two heptagons."""
    network = _Network.of(specimen)
    first, second = network.vertical_bond(specimen, x=0.0)
    place = network.middle(first, second)
    network.turn_bond(first, second)
    return network.settled(specimen, place)


def jahn_teller_vacancy(specimen: Specimen) -> Specimen:
    """Take one atom away and let two of its three neighbours bond weakly: a pentagon and a ring of nine."""
    network = _Network.of(specimen)
    gone, above = network.vertical_bond(specimen, x=0.0)
    place = network.positions[gone] - specimen.origin
    left, right = (n for n in network.neighbours(gone) if n != above)
    network.remove(gone)
    network.connect(left, right, RECONSTRUCTED_BOND_A)
    return network.settled(specimen, place)


def divacancy(specimen: Specimen) -> Specimen:
    """Take both atoms of one bond away and close the rings: two pentagons and an octagon."""
    network = _Network.of(specimen)
    place = network.close_divacancy(*network.vertical_bond(specimen, x=0.0))
    return network.settled(specimen, place)


def divacancy_555_777(specimen: Specimen) -> Specimen:
    """Divacancy with one bond of its octagon turned by 90°: three pentagons and three heptagons."""
    network = _Network.of(specimen)
    place = network.close_divacancy(*network.vertical_bond(specimen, x=0.0))
    network.turn_bond(*network.vertical_bond(specimen, x=-GRAPHENE_A))
    return network.settled(specimen, place)


def threefold_silicon(specimen: Specimen) -> Specimen:
    """One silicon atom in place of a carbon atom; it stands above the layer."""
    network = _Network.of(specimen)
    atom = network.vertical_bond(specimen, x=0.0)[0]
    for other in network.neighbours(atom):
        network.connect(atom, other, float(np.sqrt(SILICON_BOND_3_A**2 - SILICON_HEIGHT_A**2)))
    network.symbols[atom] = "Si"
    found = network.settled(specimen, network.positions[atom] - specimen.origin)
    found.atoms.positions[atom, 2] += SILICON_HEIGHT_A
    return found


def fourfold_silicon(specimen: Specimen) -> Specimen:
    """One silicon atom in a divacancy, bound to its four neighbours in the plane."""
    network = _Network.of(specimen)
    first, second = network.vertical_bond(specimen, x=0.0)
    place = network.middle(first, second)
    around = [n for n in network.neighbours(first) + network.neighbours(second) if n not in (first, second)]
    network.remove(second)
    for other in around:
        network.connect(first, other, SILICON_BOND_A)
    network.positions[first] = place + specimen.origin
    network.symbols[first] = "Si"
    return network.settled(specimen, place)


@dataclass(kw_only=True, slots=True)
class _Network:
    """Atoms of one layer and the bonds between them, while a defect is built."""

    positions: np.ndarray  # (n, 2), Å, in the box
    bonds: dict[tuple[int, int], float]  # (lower index, higher index): length at rest, Å
    origin: np.ndarray
    symbols: dict[int, str] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, specimen: Specimen) -> _Network:
        from scipy.spatial import cKDTree

        positions = specimen.atoms.positions[:, :2].copy()
        pairs = cKDTree(positions).query_pairs(1.1 * BOND_A)  # bonds across the box's edge are not needed
        return cls(positions=positions, bonds=dict.fromkeys(sorted(pairs), BOND_A), origin=specimen.origin)

    def vertical_bond(self, specimen: Specimen, *, x: float) -> tuple[int, int]:
        """Lower and upper atom of the bond along y whose middle is at (x, 1.5 bonds) from the origin."""
        return nearest_atom(specimen, (x, BOND_A)), nearest_atom(specimen, (x, 2 * BOND_A))

    def middle(self, i: int, j: int) -> np.ndarray:
        """Middle of two atoms, from the origin."""
        return np.asarray(self.positions[[i, j]].mean(axis=0) - self.origin)

    def neighbours(self, atom: int) -> list[int]:
        return sorted(j if i == atom else i for i, j in self.bonds if atom in (i, j))

    def connect(self, i: int, j: int, length: float = BOND_A) -> None:
        self.bonds[(min(i, j), max(i, j))] = length

    def disconnect(self, i: int, j: int) -> None:
        self.bonds.pop((min(i, j), max(i, j)), None)

    def remove(self, atom: int) -> None:
        for other in self.neighbours(atom):
            self.disconnect(atom, other)
        self.removed.add(atom)

    def turn_bond(self, i: int, j: int) -> None:
        """Turn a bond by 90° about its middle; each end takes the two outer neighbours on its new side."""
        outer = [n for n in self.neighbours(i) + self.neighbours(j) if n not in (i, j)]
        middle = self.positions[[i, j]].mean(axis=0)
        x, y = self.positions[i] - middle
        axis = np.array([-y, x])
        outer.sort(key=lambda n: float((self.positions[n] - middle) @ axis))
        for atom, side, own in ((i, 1, outer[2:]), (j, -1, outer[:2])):
            for n in outer:
                self.disconnect(atom, n)
            for n in own:
                self.connect(atom, n)
            self.positions[atom] = middle + side * axis

    def close_divacancy(self, first: int, second: int) -> np.ndarray:
        """Remove two bound atoms, bond the other two neighbours of each; the place, from the origin."""
        place = self.middle(first, second)
        for atom, other in ((first, second), (second, first)):
            left, right = (n for n in self.neighbours(atom) if n != other)
            self.connect(left, right)
        self.remove(first)
        self.remove(second)
        return place

    def settled(self, specimen: Specimen, place: np.ndarray) -> Specimen:
        """The specimen with these atoms; those near `place` at the minimum of the force field."""
        from scipy.optimize import least_squares

        away = np.hypot(*(self.positions - self.origin - place).T)
        moving = np.array([i for i in np.flatnonzero(away < RELAXED_RADIUS_A) if i not in self.removed])
        near = set(moving.tolist())
        bonds = [(i, j, length) for (i, j), length in self.bonds.items() if i in near or j in near]
        ends = np.array([(i, j) for i, j, _ in bonds])
        rest = np.array([length for _, _, length in bonds])
        corners = np.array(
            [
                (here, one, other, len(around))
                for here in moving.tolist()
                for around in [self.neighbours(here)]
                for k, one in enumerate(around)
                for other in around[k + 1 :]
                if len(around) == 3  # two-fold atoms bend freely; a fourfold atom is held by its bonds
            ]
        )

        def strain(free: np.ndarray) -> np.ndarray:
            r = self.positions.copy()
            r[moving] = free.reshape(-1, 2)
            stretch = np.linalg.norm(r[ends[:, 0]] - r[ends[:, 1]], axis=1) - rest
            one, other = r[corners[:, 1]] - r[corners[:, 0]], r[corners[:, 2]] - r[corners[:, 0]]
            cosine = np.sum(one * other, axis=1) / (
                np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
            )
            return np.concatenate([stretch, ANGLE_STIFFNESS * BOND_A * (cosine + 0.5)])

        found = least_squares(strain, self.positions[moving].ravel(), method="trf", x_scale=0.1)
        atoms = copy_atoms(specimen.atoms)
        atoms.positions[:, :2] = self.positions
        atoms.positions[moving, :2] = found.x.reshape(-1, 2)
        for atom, symbol in self.symbols.items():
            atoms.symbols[atom] = symbol
        kept = [i for i in range(len(atoms)) if i not in self.removed]
        return broken(specimen, atoms[kept], place)
