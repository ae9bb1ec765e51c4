import numpy as np
import pytest
from matplotlib.figure import Figure
from report.synthetic import synthetic_examples, synthetic_maps

from orbistem.plot.latent import latent_plane, manifold
from orbistem.plot.patterns import FAULTS, centre_cross, fault_overlay, mask_overlay, outline, pattern


@pytest.fixture
def ax():
    return Figure(figsize=(3, 3)).add_subplot()


@pytest.mark.parametrize("scale", ["linear", "root", "log", "signed"])
@pytest.mark.parametrize("image", [np.zeros((6, 8)), np.full((6, 8), np.nan), -np.ones((6, 8))])
def test_every_scale_bears_every_pattern(ax, scale, image):
    pattern(ax, image, scale=scale, colour_bar=True)
    ax.figure.canvas.draw()


def test_axes_are_measured_from_the_centre(ax):
    drawn = pattern(ax, np.ones((6, 8)), centre_px=(2.0, 3.0), pixel_scale=(0.1, 0.5), unit="mrad")
    assert drawn.get_extent() == pytest.approx([-1.75, 2.25, 0.35, -0.25])
    assert ax.get_xlabel() == "kx (mrad)"


def test_masked_pixels_do_not_count_for_the_limits(ax, rng):
    image = rng.poisson(20, size=(16, 16)).astype(float)
    valid = np.ones((16, 16), dtype=bool)
    valid[4:9, 4:9] = False
    image[~valid] = 1e6
    drawn = pattern(ax, image, valid=valid)
    assert drawn.norm.vmax < 100
    overlay = mask_overlay(ax, valid, drawn=drawn)
    np.testing.assert_array_equal(overlay.get_array()[..., 3] > 0, ~valid)


def test_every_fault_has_its_colour(ax):
    drawn = pattern(ax, np.ones((6, 8)))
    fault = np.zeros((6, 8), np.int8)
    fault[0, : len(FAULTS)] = np.arange(1, len(FAULTS) + 1)
    overlay = fault_overlay(ax, fault, drawn=drawn).get_array()
    np.testing.assert_array_equal(overlay[..., 3] > 0, fault > 0)
    assert len(np.unique(overlay[0, : len(FAULTS), :3], axis=0)) == len(FAULTS)


def test_the_order_of_faults_is_that_of_the_file():
    from orbistem.pipeline.examples import FAULT_NAMES

    assert tuple(FAULTS) == FAULT_NAMES


def test_an_outline_is_closed_and_moves_nothing(ax):
    pattern(ax, np.ones((6, 8)), colour_bar=True)
    view = ax.get_xlim(), ax.get_ylim()
    (line,) = outline(ax, [[0, 0], [0, 30], [30, 30]])
    assert line.get_xdata().tolist() == [0, 30, 30, 0]
    assert (ax.get_xlim(), ax.get_ylim()) == view


def test_ticks_of_a_root_scale_stand_apart(ax):
    drawn = pattern(ax, np.linspace(0, 123.0, 48).reshape(6, 8), colour_bar=True)
    ticks = [float(drawn.norm(t)) for t in drawn.colorbar.get_ticks()]
    assert len(ticks) >= 3
    assert min(np.diff(ticks)) > 0.08


def test_the_centre_is_a_cross_with_its_uncertainty(ax):
    pattern(ax, np.ones((6, 8)))
    assert len(centre_cross(ax, centre=(2, 3), reach=1.0)) == 2
    *_, ellipse = centre_cross(ax, centre=(2, 3), centre_sd=(0.1, 0.2), reach=1.0)
    assert (ellipse.width, ellipse.height) == pytest.approx((0.8, 0.4))


@pytest.mark.parametrize("rows", [2, 3])
def test_the_manifold_has_one_scale_per_row(rng, rows):
    examples = synthetic_examples(synthetic_maps(kind="grid", side=12, rng=rng), rng=rng)
    axes = Figure(figsize=(8, 3)).subplots(rows, 8)
    drawn = manifold(
        axes,
        examples["template"],
        examples["nearest"],
        background=examples["mean"],
        valid=examples["pixel_valid"],
    )
    assert len(drawn) == rows * 8
    for row in range(rows):
        assert len({image.norm.vmax for image in drawn[row * 8 : row * 8 + 8]}) == 1


@pytest.mark.parametrize("colour", ["angle", "residual"])
@pytest.mark.parametrize("second", [1, None])
def test_every_position_is_a_point_of_the_latent_plane(ax, rng, colour, second):
    maps = synthetic_maps(kind="grid", side=12, rng=rng)
    drawn = latent_plane(ax, maps, second=second, colour=colour, examples=[[0, 0, 0], [1, 1, 0]])
    assert len(drawn.get_offsets()) == 144
    np.testing.assert_allclose(
        drawn.get_offsets()[:, 0].filled(np.nan), maps["latent"].values[..., 0].ravel()
    )
    ax.figure.canvas.draw()
