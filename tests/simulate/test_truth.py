"""Truth against cases that one can derive by hand from the International Tables."""

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.simulate import find_orbits, find_recipe, primitive_cell_pairs
from orbistem.simulate.run import scan_positions
from orbistem.simulate.truth import derive_truth, plane_group

EXTENT_A = 12.0


def specimen_of(name):
    return find_recipe(name).build(extent=EXTENT_A)


def cell_positions(specimen, n):
    y, x = np.divmod(np.arange(n * n), n)
    return (x[:, None] * specimen.vectors[0] + y[:, None] * specimen.vectors[1]) / n


@pytest.mark.parametrize(
    ("name", "rotations", "mirrors"),
    [
        ("graphene", 6, True),  # p6mm
        ("mos2", 3, True),  # p3m1
        ("srtio3", 4, True),  # p4mm
        ("zns-001", 4, True),  # p4mm, as projected
        ("zns-110", 1, True),  # cm: dumbbells have two ends
        ("srtio3-polar", 1, True),  # pm
    ],
)
def test_plane_groups(name, rotations, mirrors):
    group = plane_group(specimen_of(name))
    assert group.proper.sum() == rotations
    assert len(group.matrices) == rotations * (2 if mirrors else 1)
    expected = np.arange(rotations) * 2 * np.pi / rotations
    np.testing.assert_allclose(np.sort(group.angles[group.proper]), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "n", "expected"),
    [
        # p6mm: hexagon centre 6mm; two atoms 3m; three bonds 2mm
        ("graphene", 6, {(0, 0): "D6", (2, 2): "D3", (4, 4): "D3", (3, 0): "D2", (0, 3): "D2", (3, 3): "D2"}),
        # p3m1: three sites of 3m (Mo, S, hollow), no twofold axis
        ("mos2", 6, {(0, 0): "D3", (2, 2): "D3", (4, 4): "D3", (3, 0): "D1", (0, 3): "D1"}),
        # p4mm: corner and middle 4mm, edges 2mm
        ("srtio3", 4, {(0, 0): "D4", (2, 2): "D4", (2, 0): "D2", (0, 2): "D2", (1, 0): "D1", (1, 1): "D1"}),
    ],
)
def test_site_point_groups(name, n, expected):
    specimen = specimen_of(name)
    truth = derive_truth(specimen, cell_positions(specimen, n), (n, n))
    for (x, y), point_group in expected.items():
        assert truth.point_group[y, x] == point_group, (x, y)


def test_orbit_counts_of_graphene():
    """24 × 24: under p6 (576 − 1 − 2 − 3) / 6 general orbits and three special ones; mirrors join pairs."""
    specimen = specimen_of("graphene")
    group = plane_group(specimen)
    positions = cell_positions(specimen, 24)
    rotations = find_orbits(group, positions)
    everything = find_orbits(group, positions, mirrors=True)
    assert rotations.site.max() + 1 == 95 + 3
    on_mirror = (
        int((np.char.startswith(rotations.point_group, "D")).sum()) - 6
    )  # without the six special sites
    off_mirror = 570 - on_mirror
    assert everything.site.max() + 1 == on_mirror // 6 + off_mirror // 12 + 3
    assert not rotations.mirrored.any()
    assert everything.mirrored.any()


@pytest.mark.parametrize(
    ("name", "shape", "cells", "sites"),
    [
        ("zns-001", (24, 24), 4, (144 - 1 - 1 - 2) / 4 + 3),  # p4 of one lattice cell, 12 x 12 positions
        ("gaas-001", (12, 12), 4, (36 - 1 - 1 - 2) / 4 + 3),
        ("zns-110", (32, 24), 2, 384),  # no rotation: every position of a lattice cell by itself
        ("graphene-vacancy", (32, 32), 64, None),
    ],
)
def test_positions_a_lattice_vector_apart_are_one_site(name, shape, cells, sites):
    """Over a rectangle of several lattice cells, each with a copy of every position."""
    recipe = find_recipe(name)
    specimen = recipe.build(extent=EXTENT_A)
    positions, _ = scan_positions(recipe, specimen, shape)
    orbits = find_orbits(plane_group(specimen), positions)
    reduced = positions @ np.linalg.inv(specimen.vectors)
    place = np.round((reduced % 1.0) * 1e6).astype(int) % 1_000_000
    _, cell_place = np.unique(place, axis=0, return_inverse=True)
    assert len(np.unique(np.stack([cell_place, orbits.site]), axis=1).T) == cell_place.max() + 1
    assert (np.bincount(cell_place) == cells).all()
    if sites is not None:
        assert orbits.site.max() + 1 == sites
    same = orbits.angle - orbits.angle[np.unique(cell_place, return_index=True)[1]][cell_place]
    np.testing.assert_allclose(np.exp(1j * same * orbits.rotation_order), 1, atol=1e-9)


@pytest.mark.parametrize("name", ["graphene", "mos2", "srtio3", "zns-110"])
@pytest.mark.parametrize("mirrors", [False, True])
def test_the_stated_operation_leads_from_the_representative_to_the_site(name, mirrors, rng):
    """Columns about the representative, turned as stated, are those about the site."""
    specimen = specimen_of(name)
    positions = cell_positions(specimen, 12)
    orbits = find_orbits(plane_group(specimen), positions, mirrors=mirrors)
    for at in rng.choice(len(positions), size=20, replace=False):
        first = np.flatnonzero(orbits.site == orbits.site[at])[0]
        c, s = np.cos(orbits.angle[at]), np.sin(orbits.angle[at])
        turn = np.array([[c, -s], [s, c]])
        if orbits.mirrored[at]:
            turn = turn @ np.diag([1.0, -1.0])
        here = neighbourhood(specimen, positions[at], np.eye(2))
        there = neighbourhood(specimen, positions[first], turn)
        away = np.linalg.norm(here[:, None] - there[None], axis=-1)
        assert max(away.min(axis=0).max(), away.min(axis=1).max()) < 1e-6


def neighbourhood(specimen, place, turn):
    """Columns within 4.0137 Å of a place, turned: rows (element, x, y)."""
    crystal = specimen.crystal * (9, 9, 1)
    size = specimen.crystal.cell.lengths()[:2]
    away = (crystal.positions[:, :2] - 4 * size - place) @ turn.T
    near = np.hypot(*away.T) < 4.0137
    return np.column_stack([crystal.numbers[near], away[near]])


@pytest.mark.parametrize(("name", "order"), [("graphene", 6), ("mos2", 3), ("srtio3", 4)])
def test_pairs_agree_with_the_orbits(name, order):
    specimen = specimen_of(name)
    orbits = find_orbits(plane_group(specimen), cell_positions(specimen, 12))
    found = primitive_cell_pairs(12, order)
    p, q = found.pairs.T
    assert (orbits.site[p] == orbits.site[q]).all()
    period = 2 * np.pi / orbits.rotation_order[p]
    away = orbits.angle[q] - orbits.angle[p] - found.angle
    np.testing.assert_allclose((away + period / 2) % period - period / 2, 0, atol=1e-9)
    np.testing.assert_array_equal(found.site_order, orbits.rotation_order)


def test_pairs_by_hand():
    found = primitive_cell_pairs(4, 2)
    assert len(found.pairs) == 12  # 16 positions, four are their own opposites
    assert [5, 15] in found.pairs.tolist()  # (1, 1) and (3, 3)
    np.testing.assert_allclose(found.angle, np.pi)
    with pytest.raises(OptionError, match="order 2, 3, 4 or 6"):
        primitive_cell_pairs(4, 5)


def test_distance_to_the_defect():
    specimen = find_recipe("graphene-vacancy").build(extent=30.0)
    positions = np.array([[0.0, 0.0], specimen.defects[0], [3.0, 4.0] + specimen.defects[0]])
    truth = derive_truth(specimen, positions, (3, 1))
    np.testing.assert_allclose(truth.defect_distance.ravel(), [2.46 / np.sqrt(3), 0.0, 5.0])
    perfect = derive_truth(specimen_of("graphene"), positions, (3, 1))
    assert np.isinf(perfect.defect_distance).all()
