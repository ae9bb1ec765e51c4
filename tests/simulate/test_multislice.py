"""The patterns obey physics: probability, symmetry, attraction by the nucleus, convergence with the box."""

import dataclasses

import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.simulate import Optics, clean_patterns
from orbistem.simulate.multislice import bin_weights, box_extent, even_multiple, wavelength
from orbistem.simulate.recipes import find_recipe
from orbistem.simulate.run import build_for
from orbistem.simulate.structures import graphene, mos2

OPTICS = Optics()
PX = 32
EXTENT_A = box_extent(OPTICS, detector_px=PX)  # 25 Å
SYMMETRY_RTOL = 0.02  # square pixels and a rectangular box; worst seen 0.008


def azimuth_and_radius(px=PX):
    k = np.arange(px) - (px - 1) / 2
    ky, kx = np.meshgrid(k, k, indexing="ij")
    return np.arctan2(ky, kx), np.hypot(ky, kx)


@pytest.fixture(scope="module")
def cell_scan():
    """One primitive cell of graphene, 12 × 12 positions, noise-free."""
    specimen = graphene(extent=EXTENT_A)
    y, x = np.divmod(np.arange(144), 12)
    positions = (x[:, None] * specimen.vectors[0] + y[:, None] * specimen.vectors[1]) / 12
    return clean_patterns(specimen, positions, optics=OPTICS, detector_px=PX)


def test_wavelength_of_textbooks():
    assert wavelength(60.0) == pytest.approx(0.04866, abs=1e-5)
    assert wavelength(200.0) == pytest.approx(0.02508, abs=1e-5)
    assert wavelength(300.0) == pytest.approx(0.01969, abs=1e-5)


@pytest.mark.parametrize("px", [8, 9])
def test_pixels_share_samples_by_area_about_the_middle(px):
    weights = bin_weights(40, 1.0, detector_px=px, half_angle_mrad=10.0)
    inside = np.abs(np.arange(40) - 20) < 9
    np.testing.assert_allclose(weights.sum(axis=0)[inside], 1.0)  # nothing is lost
    np.testing.assert_allclose(weights.sum(axis=1), 20.0 / px)  # all pixels are equally wide
    # a flat line is mirror symmetric about (N - 1) / 2
    np.testing.assert_allclose(weights[:, 1:], weights[::-1, :0:-1], atol=1e-12)


def test_grid_sizes_are_quick_and_large_enough():
    for wanted, of in ((2.0, 1), (97.3, 7), (281.2, 21), (1000.5, 36)):
        n = even_multiple(wanted, of=of)
        assert n >= wanted
        assert n % 2 == 0
        assert n % of == 0
        assert n < 1.2 * wanted + 2 * of


def test_columns_are_as_symmetric_as_the_crystal():
    """Strontium, which does not lie on the coarse grid of an arbitrary number of points: 4mm."""
    recipe = find_recipe("srtio3")
    specimen = build_for(recipe, recipe.optics, detector_px=32)
    (pattern,) = clean_patterns(specimen, np.zeros((1, 2)), optics=recipe.optics, detector_px=32)
    for image in (np.rot90(pattern), pattern[::-1], pattern.T):
        np.testing.assert_allclose(image, pattern, atol=1e-5 * pattern.max())


def test_patterns_are_fractions_of_the_beam(cell_scan):
    total = cell_scan.sum(axis=(1, 2))
    assert cell_scan.dtype == np.float32
    assert cell_scan.min() >= 0
    assert total.max() <= 1 + 1e-5
    assert total.min() > 0.99  # a layer of carbon scatters little beyond 62 mrad


def test_rotated_positions_give_rotated_patterns():
    """c_m(q) = c_m(p) exp(-i m α) for low orders inside the bright disk, 64 px."""
    specimen = graphene(extent=box_extent(OPTICS, detector_px=64))
    positions, (x, y) = [], (5, 1)
    for _ in range(6):
        positions.append((x * specimen.vectors[0] + y * specimen.vectors[1]) / 24)
        x, y = -y, x + y
    patterns = clean_patterns(specimen, np.array(positions), optics=OPTICS, detector_px=64)
    azimuth, radius = azimuth_and_radius(64)
    disk = np.clip(14 - radius, 0, 1)
    turn = np.pi / 3 * np.arange(6)
    for order in (1, 2, 3):
        c = (patterns * disk * np.exp(-1j * order * azimuth)).sum(axis=(1, 2))
        assert np.abs(c - c[0] * np.exp(-1j * order * turn)).max() < SYMMETRY_RTOL * abs(c[0]), order
        if order != 3:  # three sixths of a turn are the same both ways
            assert np.abs(c - c[0] * np.exp(1j * order * turn)).max() > abs(c[0])


def test_a_high_symmetry_site_has_only_its_own_orders(cell_scan):
    azimuth, radius = azimuth_and_radius()
    ring = (radius > 9) & (radius < 14)

    def power(pattern, order):
        return abs((pattern * ring * np.exp(-1j * order * azimuth)).sum())

    hexagon, atom = cell_scan[0], cell_scan[4 * 12 + 4]
    for order in (1, 2, 3, 5):
        assert power(hexagon, order) < 0.05 * power(hexagon, 6)
    assert power(atom, 3) > 10 * max(power(atom, order) for order in (1, 2, 5))


def test_electrons_are_drawn_towards_the_nucleus():
    """A probe right of an atom is deflected to the left, one below it upwards: fixes axis order and sign."""
    specimen = mos2(extent=EXTENT_A)
    away = 0.4
    positions = np.array([[away, 0.0], [-away, 0.0], [0.0, away], [0.0, -away]])
    patterns = clean_patterns(specimen, positions, optics=OPTICS, detector_px=PX)
    k = np.arange(PX) - (PX - 1) / 2
    com_x, com_y = patterns.sum(axis=1) @ k, patterns.sum(axis=2) @ k
    assert com_x[0] < -0.2 < 0.2 < com_x[1]
    assert com_y[2] < -0.2 < 0.2 < com_y[3]
    assert np.abs(com_y[:2]).max() < 0.1 * np.abs(com_x[:2]).min()


def test_a_wider_box_changes_little(cell_scan):
    specimen = graphene(extent=2 * EXTENT_A)
    positions = np.array([specimen.vectors[0] * 3 / 12 + specimen.vectors[1] * 1 / 12])
    wide = clean_patterns(specimen, positions, optics=OPTICS, detector_px=PX)[0]
    narrow = cell_scan[1 * 12 + 3]
    # the edge of the disk is cut by samples of 2 mrad against 1 mrad: only it differs
    inner = azimuth_and_radius()[1] < 6.5
    assert np.abs(wide - narrow)[inner].max() < 0.05 * wide[inner].mean()
    assert wide.sum() == pytest.approx(narrow.sum(), abs=1e-3)


def test_source_size_is_a_blur_of_the_scan(cell_scan):
    sd = 0.25
    optics = dataclasses.replace(OPTICS, source_sd=sd)
    specimen = graphene(extent=EXTENT_A)
    position = (2 * specimen.vectors[0] + 5 * specimen.vectors[1]) / 12
    found = clean_patterns(specimen, position[None], optics=optics, detector_px=PX)[0]
    # exact: the scan is periodic, so a Gaussian multiplies its Fourier coefficients over positions
    scan = cell_scan.reshape(12, 12, PX, PX).astype(float)
    h = np.fft.fftfreq(12, 1 / 12)
    reciprocal = np.linalg.inv(specimen.vectors).T  # rows b1, b2 without 2π
    g = h[:, None, None] * reciprocal[1] + h[None, :, None] * reciprocal[0]
    damp = np.exp(-2 * np.pi**2 * sd**2 * (g**2).sum(axis=-1))
    blurred = np.fft.ifft2(np.fft.fft2(scan, axes=(0, 1)) * damp[..., None, None], axes=(0, 1)).real
    inner = azimuth_and_radius()[1] < 14
    variation = (scan - scan.mean(axis=(0, 1))).std(axis=(0, 1))[inner].mean()
    assert np.abs(found - blurred[5, 2])[inner].mean() < 0.05 * variation


def test_phonons_scatter_out_of_the_bragg_disks_and_repeat_with_their_seed():
    optics = dataclasses.replace(OPTICS, phonon_configurations=2, phonon_sd=0.1)
    specimen = mos2(extent=EXTENT_A)
    still = clean_patterns(specimen, np.zeros((1, 2)), optics=OPTICS, detector_px=PX)
    first, again = (
        clean_patterns(
            specimen, np.zeros((1, 2)), optics=optics, detector_px=PX, rng=np.random.default_rng(3)
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - still).sum() > 0.01
    with pytest.raises(OptionError, match="rng"):
        clean_patterns(specimen, np.zeros((1, 2)), optics=optics, detector_px=PX)


def test_repeated_runs_are_identical(cell_scan):
    specimen = graphene(extent=EXTENT_A)
    again = clean_patterns(specimen, np.zeros((1, 2)), optics=OPTICS, detector_px=PX)
    np.testing.assert_allclose(again[0], cell_scan[0], atol=1e-8)


def test_a_scan_that_leaves_the_box_is_refused():
    specimen = graphene(extent=EXTENT_A)
    with pytest.raises(OptionError, match="larger box"):
        clean_patterns(specimen, np.array([[0.0, 0.0], [30.0, 0.0]]), optics=OPTICS, detector_px=PX)
    blurred = dataclasses.replace(OPTICS, defocus=500.0)
    with pytest.raises(OptionError, match="defocus less"):
        clean_patterns(specimen, np.zeros((1, 2)), optics=blurred, detector_px=PX)


@pytest.mark.parametrize(
    "wrong",
    [{"voltage_kv": 0.0}, {"source_sd": -1.0}, {"half_angle_mrad": 20.0}, {"semiangle_mrad": float("nan")}],
)
def test_impossible_optics_are_refused_when_written(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Optics(**wrong)
