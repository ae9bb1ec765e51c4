import numpy as np
import pytest
from scipy.spatial import cKDTree

from orbistem.errors import OptionError
from orbistem.simulate import SIMULATIONS, find_recipe
from orbistem.simulate.structures import (
    broken,
    displace_atom,
    graphene,
    nearest_atom,
    remove_atom,
    replace_atom,
    zincblende_110,
)

EXTENT_A = 30.0


def bonds_of(specimen, longest=2.0):
    """Number of neighbours of each atom within `longest` Å, away from the box's edge."""
    places = specimen.atoms.positions
    tree = cKDTree(places)
    counts = np.array([len(found) - 1 for found in tree.query_ball_point(places, longest)])
    inner = np.all(np.abs(places[:, :2] - specimen.origin) < 10, axis=1)
    return counts[inner]


@pytest.mark.parametrize("recipe", SIMULATIONS, ids=lambda recipe: recipe.name)
def test_every_specimen_is_well_made(recipe):
    specimen = recipe.build(extent=EXTENT_A)
    size = specimen.atoms.cell.lengths()
    assert (specimen.atoms.cell.angles() == 90).all()
    assert (size[:2] >= EXTENT_A).all()
    assert (np.abs(specimen.origin - size[:2] / 2) < specimen.repeat).all()
    z = specimen.atoms.positions[:, 2]
    assert z.min() >= 0
    assert z.max() <= size[2]
    # the box is whole repeats of the rectangle, and the rectangle is whole lattice vectors
    np.testing.assert_allclose(size[:2] / specimen.repeat, np.round(size[:2] / specimen.repeat), atol=1e-9)
    whole = np.diag(specimen.repeat) @ np.linalg.inv(specimen.vectors)
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
    places = specimen.atoms.get_scaled_positions()
    assert len(np.unique(np.round(places, 6) % 1.0, axis=0)) == len(specimen.atoms)


@pytest.mark.parametrize("recipe", SIMULATIONS, ids=lambda recipe: recipe.name)
def test_perfect_specimens_repeat_with_their_vectors(recipe):
    specimen = recipe.build(extent=EXTENT_A)
    if len(specimen.defects) or recipe.name.endswith("gradient"):
        return
    size = specimen.atoms.cell.lengths()[:2]
    for element in np.unique(specimen.atoms.numbers):
        places = specimen.atoms.positions[specimen.atoms.numbers == element, :2]
        columns = cKDTree(places % size, boxsize=size)
        for vector in specimen.vectors:
            assert columns.query((places + vector) % size)[0].max() < 1e-6


def test_graphene_has_three_bonds_of_142_pm():
    assert set(bonds_of(graphene(extent=EXTENT_A), longest=1.43).tolist()) == {3}
    assert set(bonds_of(graphene(extent=EXTENT_A), longest=1.41).tolist()) == {0}


@pytest.mark.parametrize(
    ("name", "removed", "coordination"),
    [
        ("graphene-vacancy", 1, {3: None, 2: 3}),
        ("graphene-vacancy-59", 1, {3: None, 2: 1}),
        ("graphene-si3", 0, {3: None}),
        ("graphene-si4", 1, {3: None, 4: 1}),
        ("graphene-divacancy", 2, {3: None}),
        ("graphene-555-777", 2, {3: None}),
        ("graphene-stone-wales", 0, {3: None}),
    ],
)
def test_defects_have_the_right_bonds(name, removed, coordination):
    specimen = find_recipe(name).build(extent=EXTENT_A)
    perfect = graphene(extent=EXTENT_A)
    assert len(specimen.atoms) == len(perfect.atoms) - removed
    counts = bonds_of(specimen, longest=2.05)
    assert set(counts.tolist()) == set(coordination)
    for bonds, number in coordination.items():
        if number is not None:
            assert (counts == bonds).sum() == number
    distances = specimen.atoms.get_all_distances(mic=True)[np.triu_indices(len(specimen.atoms), 1)]
    assert distances.min() > 1.3  # no bond is crushed


@pytest.mark.parametrize(
    ("name", "rings"),
    [
        ("graphene-vacancy-59", {5: 1, 9: 1}),
        ("graphene-divacancy", {5: 2, 8: 1}),
        ("graphene-555-777", {5: 3, 7: 3}),
        ("graphene-stone-wales", {5: 2, 7: 2}),
    ],
)
def test_defects_have_the_rings_of_their_names(name, rings):
    found = ring_sizes(find_recipe(name).build(extent=EXTENT_A))
    assert {size: number for size, number in found.items() if size != 6} == rings


def ring_sizes(specimen):
    """Faces of the planar graph of bonds within 8 Å of the defect: follow every edge, turning right."""
    places = specimen.atoms.positions[:, :2]
    around = {}
    for i, j in cKDTree(places).query_pairs(2.05):
        around.setdefault(i, []).append(j)
        around.setdefault(j, []).append(i)
    for i, others in around.items():
        others.sort(key=lambda j, i=i: np.arctan2(*(places[j] - places[i])[::-1]))
    middle = specimen.origin + specimen.defects[0]
    seen, sizes = set(), {}
    for start in [(i, j) for i, others in around.items() for j in others]:
        edge, ring = start, []
        while edge not in seen:
            seen.add(edge)
            ring.append(edge[0])
            i, j = edge
            others = around[j]
            edge = (j, others[(others.index(i) + 1) % len(others)])
        inside = len(ring) < 20  # the face round everything is longer
        if ring and inside and np.hypot(*(places[ring].mean(axis=0) - middle)) < 8:
            sizes[len(ring)] = sizes.get(len(ring), 0) + 1
    return sizes


def test_silicon_stands_above_the_layer_at_its_bond_length():
    specimen = find_recipe("graphene-si3").build(extent=EXTENT_A)
    silicon = int(np.flatnonzero(specimen.atoms.numbers == 14)[0])
    away = np.sort(specimen.atoms.get_distances(silicon, range(len(specimen.atoms)), mic=True))
    np.testing.assert_allclose(away[1:4], 1.77, atol=0.08)  # the lattice pulls back a little
    heights = specimen.atoms.positions[:, 2]
    assert heights[silicon] - np.median(heights) == pytest.approx(0.9)


def test_changing_a_specimen_leaves_the_original():
    perfect = zincblende_110(extent=15.0, thickness=12.0, symbols=("Zn", "S"), a=5.409)
    before = perfect.atoms.positions.copy()
    moved = displace_atom(perfect, (0.0, 0.0), by=(0.1, 0.0))
    swapped = replace_atom(perfect, (0.0, 0.0), symbol="S")
    gone = remove_atom(perfect, (0.0, 0.0))
    np.testing.assert_array_equal(perfect.atoms.positions, before)
    assert np.abs(moved.atoms.positions - before).max() == pytest.approx(0.1)
    assert (swapped.atoms.numbers != perfect.atoms.numbers).sum() == 1
    assert len(gone.atoms) == len(perfect.atoms) - 1
    assert perfect.atoms.numbers[nearest_atom(perfect, (0.0, 0.0))] == 30


def test_a_defect_outside_the_box_is_refused():
    specimen = graphene(extent=EXTENT_A)
    with pytest.raises(OptionError, match="inside the box"):
        broken(specimen, specimen.atoms, np.array([50.0, 0.0]))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(OptionError, match=r"graphene-vacancy.*mos2.*got 'graphite'"):
        find_recipe("graphite")
