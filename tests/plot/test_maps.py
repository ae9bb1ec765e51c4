import numpy as np
import pytest
from matplotlib.figure import Figure
from report.synthetic import synthetic_maps

from orbistem.plot.maps import active_latents, angle_map, latents_beside_counts, scalar_map

KINDS = ["grid", "list", "line", "cell"]


@pytest.fixture
def ax():
    return Figure(figsize=(3, 3)).add_subplot()


@pytest.mark.parametrize("kind", KINDS)
def test_the_artist_holds_the_values(ax, rng, kind):
    maps = synthetic_maps(kind=kind, side=12, rng=rng)
    drawn = scalar_map(ax, maps, "latent", index=1)
    expected = maps["latent"].values[..., 1].ravel()
    shown = np.ma.filled(drawn.get_array().astype(float), np.nan).ravel()
    np.testing.assert_allclose(shown, expected)
    ax.figure.canvas.draw()


@pytest.mark.parametrize("kind", KINDS)
def test_the_angle_map_draws_on_every_kind_of_scan(ax, rng, kind):
    angle_map(ax, synthetic_maps(kind=kind, side=12, rng=rng))
    ax.figure.canvas.draw()


@pytest.mark.parametrize("kind", ["grid", "list", "cell"])
def test_y_grows_downwards_and_axes_have_units(ax, rng, kind):
    scalar_map(ax, synthetic_maps(kind=kind, side=12, rng=rng), "dose", kind="counts")
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "x (Å)"
    assert ax.get_ylabel() == "y (Å)"


def test_missing_positions_are_neutral_grey(ax, rng):
    maps = synthetic_maps(kind="grid", side=12, rng=rng)
    drawn = scalar_map(ax, maps, "residual", kind="ratio")
    rgba = drawn.to_rgba(drawn.get_array())[np.isnan(maps["residual"].values)]
    assert rgba.size
    assert np.ptp(rgba[:, :3], axis=1).max() < 0.05


def test_a_signed_map_is_neutral_at_zero(ax, rng):
    drawn = scalar_map(ax, synthetic_maps(kind="grid", side=12, rng=rng), "com_x", kind="signed")
    assert drawn.norm(0.0) == pytest.approx(0.5)
    assert drawn.colorbar.ax.get_ylabel() == "1/Å"


def test_text_from_a_file_starts_no_formula(ax, rng):
    maps = synthetic_maps(kind="grid", side=12, rng=rng)
    maps["dose"].attrs.update(long_name="dose $x^", units="$_{")
    scalar_map(ax, maps, "dose")
    ax.figure.canvas.draw()


def test_all_missing_still_draws(ax, rng):
    maps = synthetic_maps(kind="grid", side=12, rng=rng)
    maps["dose"][:] = np.nan
    scalar_map(ax, maps, "dose")
    ax.figure.canvas.draw()


def test_counts_latents_and_angle_stand_in_one_row(rng):
    fig = Figure(figsize=(12, 3))
    maps = synthetic_maps(kind="grid", side=12, rng=rng)
    assert len(latents_beside_counts(fig, maps)) == 4  # two of three latents are active
    fig.clear()
    assert len(latents_beside_counts(fig, maps, latent=2, angle=False)) == 2
    fig.canvas.draw()


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [([1, 1, 0], [True, True, False]), (2, [True, True, False]), (0, [False] * 3), (3, [True] * 3)],
)
def test_active_latents_from_flags_or_a_count(rng, attribute, expected):
    maps = synthetic_maps(kind="grid", side=6, rng=rng)
    maps["latent"].attrs["active"] = attribute
    assert active_latents(maps) == expected
