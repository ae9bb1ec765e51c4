"""What is known about every scan position: from the crystal's symmetry operations, never from patterns.

The symmetry is that of the crystal projected along the beam: atoms are dropped onto the plane, columns of
equal content count as equal. For a layer or a thin crystal this is the symmetry of its patterns; a thick
crystal may break it slightly through upper Laue zones.

A pattern sees mirror images as different (turning does not undo a mirror), so an orbit here is an orbit
under the *rotations and translations* of the plane group: every member equals its representative turned by
`angle`. Orbits under the full group, mirrors included, come with ``mirrors=True``; then `mirrored` says
which members also need a mirror.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orbistem.errors import OptionError
from orbistem.scan import Truth

if TYPE_CHECKING:
    from ase import Atoms

    from orbistem.simulate.structures import Specimen

SAME_PLACE_A = (
    1e-3  # positions nearer than this are one; scan steps are above 1e-2 Å, atoms are placed to 1e-9 Å
)
FAR_HEIGHT_A = 20.0  # height of the cell of the flattened crystal: above any lattice constant here


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlaneGroup:
    """Symmetry operations of a two-dimensional crystal, in its own lattice coordinates.

    Attributes
    ----------
    vectors
        (2, 2), rows a1 and a2 in Å, (x, y).
    matrices
        (g, 2, 2) integer: u → matrix · u + shift for lattice coordinates u.
    shifts
        (g, 2).
    """

    vectors: np.ndarray
    matrices: np.ndarray
    shifts: np.ndarray

    @property
    def proper(self) -> np.ndarray:
        """(g,) bool: a rotation, not a mirror or glide."""
        return np.asarray(np.linalg.det(self.matrices) > 0)

    @property
    def cartesian(self) -> np.ndarray:
        """(g, 2, 2): the same matrices for (x, y) in Å."""
        to_xy = self.vectors.T
        return np.asarray(to_xy @ self.matrices @ np.linalg.inv(to_xy))

    @property
    def angles(self) -> np.ndarray:
        """(g,) rad in [0, 2π): turn of a rotation; for a mirror, the turn that follows the mirror y → −y."""
        matrices = self.cartesian
        return np.asarray(np.round(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]), 12) % (2 * np.pi))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Orbits:
    """Site of every position; arrays of shape (n,).

    Attributes
    ----------
    site
        Number of the orbit, counted from 0 in the order in which they first appear.
    angle
        rad in [0, 2π): the position's pattern is the representative's (the orbit's first position) turned
        by this, from +kx to +ky. The smallest of the equivalent angles.
    mirrored
        True where the representative must first be mirrored (ky → −ky); always False without mirrors.
    rotation_order
        Order n of the rotations that leave the site as it is; 1 for a general position.
    point_group
        Name of the site's point group, mirrors included: "C1" … "D6".
    """

    site: np.ndarray
    angle: np.ndarray
    mirrored: np.ndarray
    rotation_order: np.ndarray
    point_group: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SymmetryPairs:
    """Positions of a primitive-cell scan that are rotated copies of each other.

    Attributes
    ----------
    pairs
        (m, 2) int: flat indices p, q of the scan (C order of (y, x)); p ≠ q.
    angle
        (m,) rad in (0, 2π): the pattern at q is the one at p turned by this angle.
    site_order
        (n_positions,) int: rotation order of each site.
    """

    pairs: np.ndarray
    angle: np.ndarray
    site_order: np.ndarray


def plane_group(specimen: Specimen) -> PlaneGroup:
    """Symmetry of the perfect crystal behind a specimen, projected along the beam.

    Returns
    -------
    PlaneGroup
        Operations modulo the primitive translations, each once; the identity is among them.
    """
    import spglib

    vectors = specimen.vectors
    places, kinds = _columns(specimen.crystal, vectors)
    flat = np.array([[*vectors[0], 0.0], [*vectors[1], 0.0], [0.0, 0.0, FAR_HEIGHT_A]])
    positions = np.column_stack([places, np.zeros(len(places))])
    with warnings.catch_warnings():  # its coming change of error handling: either way is caught below
        warnings.filterwarnings("ignore", "Set OLD_ERROR_HANDLING", DeprecationWarning)
        found = spglib.get_symmetry((flat.tolist(), positions.tolist(), kinds), symprec=SAME_PLACE_A)
    if found is None:
        raise OptionError(
            "crystal: spglib finds no symmetry; want a periodic cell without overlapping columns"
        )
    unique: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    for matrix, shift in zip(found["rotations"], found["translations"], strict=True):
        unique.setdefault(tuple(matrix[:2, :2].ravel().tolist()), (matrix[:2, :2], shift[:2]))
    return PlaneGroup(
        vectors=vectors,
        matrices=np.array([matrix for matrix, _ in unique.values()]),
        shifts=np.array([shift for _, shift in unique.values()]),
    )


def find_orbits(group: PlaneGroup, positions: np.ndarray, *, mirrors: bool = False) -> Orbits:
    """Sort positions into orbits.

    Parameters
    ----------
    group
        The crystal's plane group.
    positions
        (n, 2), (x, y) in Å from the crystal's origin.
    mirrors
        Whether mirror images share an orbit.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    reduced = np.asarray(positions, dtype=np.float64) @ np.linalg.inv(group.vectors)
    tree = cKDTree(_wrap(reduced), boxsize=1.0)
    reach = SAME_PLACE_A / np.linalg.norm(group.vectors, axis=1).max()
    use = np.arange(len(group.matrices)) if mirrors else np.flatnonzero(group.proper)
    images = np.einsum("gij,nj->gni", group.matrices, reduced) + group.shifts[:, None]
    apart_by_lattice = tree.query_pairs(reach, output_type="ndarray")  # the nearest image is one of them only
    rows, columns = [apart_by_lattice[:, 0]], [apart_by_lattice[:, 1]]
    for g in use:
        found = tree.query(_wrap(images[g]), distance_upper_bound=reach)[1]
        hit = np.flatnonzero(found < len(reduced))
        rows.append(hit)
        columns.append(found[hit])
    graph = coo_matrix(
        (np.ones(sum(map(len, rows))), (np.concatenate(rows), np.concatenate(columns))),
        shape=(len(reduced),) * 2,
    )
    label = connected_components(graph, directed=False)[1]
    _, first, site = np.unique(label, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    representative = first[site]
    angle = np.full(len(reduced), np.inf)
    mirrored = np.ones(len(reduced), dtype=bool)
    order = np.zeros(len(reduced), dtype=int)
    improper = np.zeros(len(reduced), dtype=int)
    # proper operations first: a mirror is said only where no rotation does it
    proper, angles = group.proper, group.angles
    for g in sorted(use, key=lambda g: (not proper[g], angles[g])):
        away = images[g][representative] - reduced
        better = _near_lattice(away, reach) & np.isinf(angle)
        angle[better] = angles[g]
        mirrored[better] = not proper[g]
    for g in np.arange(len(images)):
        fixed = _near_lattice(images[g] - reduced, reach)
        if proper[g]:
            order += fixed
        else:
            improper += fixed
    names = np.array([f"{'D' if m else 'C'}{n}" for n, m in zip(order, improper, strict=True)])
    return Orbits(site=rank[site], angle=angle, mirrored=mirrored, rotation_order=order, point_group=names)


def derive_truth(specimen: Specimen, positions: np.ndarray, scan_shape: tuple[int, ...]) -> Truth:
    """Truth of a scan: sites of the perfect crystal behind the specimen, distance to where it is broken.

    Parameters
    ----------
    specimen
        What was scanned.
    positions
        (n, 2), (x, y) in Å from the specimen's origin, in flat scan order.
    scan_shape
        Shape of the scan.

    Returns
    -------
    Truth
        Site and angle follow `Orbits` without mirrors; `defect_distance` is inf in a perfect crystal.
    """
    orbits = find_orbits(plane_group(specimen), positions)
    away = np.full(len(positions), np.inf)
    for defect in specimen.defects:
        away = np.minimum(away, np.hypot(*(np.asarray(positions) - defect).T))
    return Truth(
        site=orbits.site.reshape(scan_shape).astype(np.int64),
        angle=orbits.angle.reshape(scan_shape),
        point_group=orbits.point_group.reshape(scan_shape),
        defect_distance=away.reshape(scan_shape),
    )


def primitive_cell_pairs(n: int, order: int = 6) -> SymmetryPairs:
    """Rotated pairs of an n × n scan of a primitive cell, position = (x·a1 + y·a2) / n about the origin.

    Parameters
    ----------
    n
        Positions along each lattice vector.
    order
        Rotation order of the origin: 6 and 3 (a1 and a2 at 60°), 4 (90°) or 2 (any lattice).

    Examples
    --------
    >>> found = primitive_cell_pairs(6)
    >>> int(found.site_order[0]), len(found.pairs)  # 36 positions: one C6, two C3, three C2, 30 general ones
    (6, 168)
    """
    turns = {6: [[0, -1], [1, 1]], 3: [[-1, -1], [1, 0]], 4: [[0, -1], [1, 0]], 2: [[-1, 0], [0, -1]]}
    if order not in turns or n < 1:
        raise OptionError(f"primitive_cell_pairs: want order 2, 3, 4 or 6 and n >= 1, got {order} and {n}")
    turn = np.array(turns[order])
    y, x = np.divmod(np.arange(n * n), n)
    here = np.arange(n * n)
    where = np.stack([x, y])
    site_order = np.ones(n * n, dtype=int)
    pairs, angles = [], []
    for k in range(1, order):
        where = (turn @ where) % n
        there = where[1] * n + where[0]
        site_order += there == here
        moved = np.flatnonzero(there != here)
        pairs.append(np.stack([here[moved], there[moved]], axis=1))
        angles.append(np.full(len(moved), 2 * np.pi * k / order))
    return SymmetryPairs(pairs=np.concatenate(pairs), angle=np.concatenate(angles), site_order=site_order)


def _columns(crystal: Atoms, vectors: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Atomic columns of one primitive cell: lattice coordinates (m, 2), and a number for each content."""
    reduced = crystal.positions[:, :2] @ np.linalg.inv(vectors)
    reach = SAME_PLACE_A / np.linalg.norm(vectors, axis=1).max()
    places: list[np.ndarray] = []
    contents: list[list[int]] = []
    for place, element in zip(reduced, crystal.numbers, strict=True):
        same = [i for i, other in enumerate(places) if _near_lattice(place - other, reach)]
        if same:
            contents[same[0]].append(int(element))
        else:
            places.append(place)
            contents.append([int(element)])
    kinds = {content: i for i, content in enumerate(sorted({tuple(sorted(c)) for c in contents}), start=1)}
    return np.array(places), [kinds[tuple(sorted(content))] for content in contents]


def _wrap(reduced: np.ndarray) -> np.ndarray:
    wrapped = reduced % 1.0
    wrapped[wrapped >= 1.0] = 0.0  # -1e-17 % 1.0 is 1.0
    return np.asarray(wrapped)


def _near_lattice(difference: np.ndarray, reach: float) -> np.ndarray:
    return np.asarray(np.all(np.abs(difference - np.round(difference)) < reach, axis=-1))
