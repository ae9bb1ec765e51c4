"""Specimens with a number to choose, [111], two layers, the paper's geometry, scattered positions."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from orbistem.errors import OptionError
from orbistem.simulate import Optics, Variant, find_recipe, simulate
from orbistem.simulate.run import build_for, scan_positions
from orbistem.simulate.structures import GRAPHENE_A, ZNS_A, Specimen
from orbistem.simulate.truth import derive_truth, plane_group
from orbistem.simulate.variants import bilayer_graphene

EXTENT_A = 14.0
BOND_A = GRAPHENE_A / np.sqrt(3)


def periodic_neighbours(atoms, within):
    """Number of neighbours of every atom nearer than `within`, periodic."""
    size = atoms.cell.lengths()
    tree = cKDTree(atoms.positions % size, boxsize=size)
    return np.array([len(found) - 1 for found in tree.query_ball_point(atoms.positions % size, within)])


@pytest.mark.parametrize("name", ["zns-111", "gaas-111", "zns-110", "zns-001"])
def test_zincblende_has_four_neighbours_of_the_other_kind(name):
    a = ZNS_A if name.startswith("zns") else 5.653
    crystal = find_recipe(name).build(extent=EXTENT_A).atoms
    assert (periodic_neighbours(crystal, 1.01 * a * np.sqrt(3) / 4) == 4).all()


def test_along_111_every_column_is_alike():
    specimen = find_recipe("zns-111").build(extent=EXTENT_A)
    group = plane_group(specimen)
    assert group.proper.sum() == 6  # p6mm, as projected
    assert len(group.matrices) == 12
    np.testing.assert_allclose(np.linalg.norm(specimen.vectors, axis=1), ZNS_A / np.sqrt(6))


@pytest.mark.parametrize("twist", [0.0, 13.17, 21.79, 32.2])
def test_both_layers_are_whole(twist):
    """Every atom has three bonds within its layer, across the edges of the cell; the density is right."""
    specimen = bilayer_graphene(Variant(twist_deg=twist), extent=EXTENT_A)
    atoms = specimen.atoms
    area = np.prod(atoms.cell.lengths()[:2])
    assert len(atoms) == round(area / (GRAPHENE_A**2 * np.sqrt(3) / 4) * 2)
    assert (periodic_neighbours(atoms, 1.02 * BOND_A) == 3).all()


@pytest.mark.parametrize("twist", [13.17, 21.79])
def test_the_layers_are_twisted_by_what_is_said(twist):
    atoms = bilayer_graphene(Variant(twist_deg=twist), extent=30.0).atoms
    directions = []
    for height in np.unique(np.round(atoms.positions[:, 2], 6)):
        layer = atoms.positions[np.isclose(atoms.positions[:, 2], height), :2]
        pairs = np.array(sorted(cKDTree(layer).query_pairs(1.02 * BOND_A)))
        bonds = layer[pairs[:, 1]] - layer[pairs[:, 0]]
        directions.append(np.angle(np.mean(np.exp(6j * np.arctan2(bonds[:, 1], bonds[:, 0])))) / 6)
    apart = np.degrees(directions[1] - directions[0]) % 60
    assert min(apart, 60 - apart) == pytest.approx(twist, abs=0.01)


def test_symmetry_of_two_layers():
    twisted = plane_group(bilayer_graphene(Variant(twist_deg=21.79), extent=EXTENT_A))
    assert twisted.proper.sum() == 6  # about the common hexagon centre
    bernal = plane_group(bilayer_graphene(Variant(twist_deg=0.0), extent=EXTENT_A))
    assert bernal.proper.sum() == 6  # as projected: single atoms round double ones


def test_an_impossible_twist_lists_the_possible_ones():
    with pytest.raises(OptionError, match=r"21\.79"):
        bilayer_graphene(Variant(twist_deg=3.0), extent=EXTENT_A)


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        (f"{material}-{axis}-{kind}", moved)
        for material in ("zns", "gaas")
        for axis in ("001", "110", "111")
        for kind, moved in (("displaced", 1), ("column", None), ("antisite", 0))
        if not (axis == "111" and moved is None)  # these columns hold both elements
    ],
)
def test_what_is_displaced_and_whither(name, moved):
    recipe = find_recipe(name)
    second = "S" if name.startswith("zns") else "As"
    perfect = find_recipe(name.rsplit("-", 1)[0]).build(extent=EXTENT_A)
    given = Variant() if moved == 0 else Variant(displacement=0.2, direction_deg=90.0)
    broken = recipe.builder(given)(extent=EXTENT_A)
    apart = broken.atoms.positions - perfect.atoms.positions
    rows = np.flatnonzero(np.abs(apart).max(axis=1) > 1e-9)
    if moved == 0:
        changed = np.flatnonzero(broken.atoms.numbers != perfect.atoms.numbers)
        assert len(rows) == 0
        assert [perfect.atoms.symbols[i] for i in changed] == [second]
        assert broken.atoms.symbols[int(changed[0])] == ("Zn" if second == "S" else "Ga")
        return
    period = {"001": 1.0, "110": 1 / np.sqrt(2), "111": np.sqrt(3)}[name.split("-")[1]]
    layers = round(perfect.atoms.cell.lengths()[2] / (period * (ZNS_A if second == "S" else 5.653)))
    assert len(rows) == (layers if moved is None else moved)
    np.testing.assert_allclose(apart[rows], np.tile([0, 0.2, 0], (len(rows), 1)), atol=1e-9)
    assert {perfect.atoms.symbols[i] for i in rows} == {second}
    place = perfect.atoms.positions[rows[0], :2] - perfect.origin
    np.testing.assert_allclose(broken.defects, place[None], atol=1e-9)


def test_a_gradient_changes_sign_at_the_origin():
    perfect = find_recipe("zns-110").build(extent=40.0)
    polar = find_recipe("zns-110-gradient").build(extent=40.0)
    apart = polar.atoms.positions - perfect.atoms.positions
    x = perfect.atoms.positions[:, 0] - perfect.origin[0]
    sulphur = perfect.atoms.numbers == 16
    assert not apart[~sulphur].any()
    np.testing.assert_allclose(apart[sulphur, 0], np.clip(x[sulphur] / 10, -1, 1) * 0.1, atol=1e-9)
    assert len(polar.defects) == 0


def test_a_polar_titanate_may_point_anywhere():
    specimen = find_recipe("srtio3-polar").builder(Variant(direction_deg=45.0))(extent=8.0)
    group = plane_group(specimen)
    assert group.proper.sum() == 1
    assert len(group.matrices) == 2  # the mirror along the diagonal


def test_the_thickness_is_whole_periods_near_that_asked_for():
    for name, period in (("zns-110", ZNS_A / np.sqrt(2)), ("gaas-001-displaced", 5.653), ("srtio3", 3.905)):
        thin = find_recipe(name).builder(Variant(thickness=20.0))(extent=8.0).atoms.cell.lengths()[2]
        assert thin == pytest.approx(period * round(20.0 / period))
        usual = find_recipe(name).build(extent=8.0).atoms.cell.lengths()[2]
        assert usual == pytest.approx(period * round(50.0 / period))
    with pytest.raises(OptionError, match="thickness: want more than 0"):
        Variant(thickness=0.0)


def test_another_grid_over_the_same_crystal():
    """A rectangle in the place of the primitive cell: the columns of the truth repeat with the crystal."""
    scan, truth = simulate(
        "graphene", seed=0, dose=None, scan_shape=(4, 4), detector_px=12, grid="rectangle", cells=(1, 2)
    )
    assert scan.scan_vectors is None
    np.testing.assert_array_equal(truth.site[:, :2], truth.site[:, 2:])
    oblique, _ = simulate("srtio3", seed=0, dose=None, scan_shape=(2, 2), detector_px=12, grid="primitive")
    assert oblique.scan_vectors is not None


def test_numbers_that_a_specimen_does_not_take():
    with pytest.raises(OptionError, match="takes none of these"):
        simulate("graphene", seed=0, variant=Variant(twist_deg=21.79))
    with pytest.raises(OptionError, match="takes displacement, direction_deg"):
        simulate("srtio3-polar", seed=0, variant=Variant(twist_deg=21.79))
    with pytest.raises(OptionError, match="less than 2"):
        Variant(displacement=5.0)


def test_the_geometry_of_the_paper():
    """24 × 14 positions over a cell of 4.268 × 2.464 Å, the box 12 × 20 cells, a pixel a sample of it."""
    recipe = find_recipe("graphene-paper")
    specimen = build_for(recipe, recipe.optics, detector_px=recipe.detector_px)
    size = specimen.atoms.cell.lengths()
    np.testing.assert_allclose(specimen.repeat, [2.464, 4.268], atol=5e-4)
    np.testing.assert_allclose(size[:2], [20 * 2.464, 12 * 4.268], atol=5e-3)
    positions, steps = scan_positions(recipe, specimen, recipe.scan_shape)
    assert len(positions) == 24 * 14
    np.testing.assert_allclose(np.diag(steps), [2.464 / 14, 4.268 / 24], atol=1e-4)
    assert (recipe.optics.voltage_kv, recipe.optics.semiangle_mrad) == (60.0, 32.0)


def test_scattered_positions_are_a_list_with_their_own_truth():
    options = {"seed": 3, "dose": 1e4, "scan_shape": (4, 4), "detector_px": 12}
    scan, truth = simulate("graphene", irregular=True, **options)
    assert scan.scan_shape == (16,)
    assert scan.positions.shape == (16, 2)
    assert truth.site.shape == (16,)
    assert len(np.unique(truth.site)) == 16  # no two are alike
    again, _ = simulate("graphene", irregular=True, **options)
    np.testing.assert_array_equal(scan.patterns, again.patterns)


def test_a_rectangular_lattice_by_hand():
    """p2mm, one atom in a cell of 3 × 4 Å: corner, middles of edges and centre 2mm, lines between them m."""
    graphene = find_recipe("graphene").build(extent=4.0)
    from ase import Atoms

    crystal = Atoms("Fe", positions=[(0, 0, 0)], cell=(3.0, 4.0, 3.0), pbc=True)
    specimen: Specimen = replace(
        graphene, atoms=crystal, crystal=crystal, vectors=np.diag([3.0, 4.0]), repeat=np.array([3.0, 4.0])
    )
    group = plane_group(specimen)
    assert group.proper.sum() == 2
    assert len(group.matrices) == 4
    y, x = np.divmod(np.arange(16), 4)
    truth = derive_truth(specimen, np.stack([x * 3 / 4, y * 4 / 4], axis=1), (4, 4))
    expected = np.full((4, 4), "C1")
    expected[::2, :] = expected[:, ::2] = "D1"
    expected[::2, ::2] = "D2"
    assert (truth.point_group == expected).all()
    # a general position and its half turn; mirrors do not join sites
    assert truth.site[1, 1] == truth.site[3, 3]
    assert truth.angle[3, 3] == pytest.approx(np.pi)
    assert truth.site[1, 1] != truth.site[1, 3]
    assert truth.site[1, 3] == truth.site[3, 1]


def test_optics_of_bulk_and_paper_fit_their_detectors():
    for name in ("graphene-paper", "zns-110-displaced"):
        optics: Optics = find_recipe(name).optics
        assert optics.half_angle_mrad > optics.semiangle_mrad
