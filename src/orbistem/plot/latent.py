"""The latent space: where the positions lie in it, and what its points look like as patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from orbistem.plot.layout import unit_label
from orbistem.plot.maps import TEXT_COLOUR, plain_text, style_axes
from orbistem.plot.patterns import PatternScale, pattern
from orbistem.plot.scale import Limits, angle_colours, even_limits, signed_limits

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.image import AxesImage

__all__ = ["latent_plane", "manifold"]

Floats = npt.NDArray[np.float64]


def latent_plane(
    ax: Axes,
    maps: xr.Dataset,
    *,
    first: int = 0,
    second: int | None = 1,
    colour: str = "angle",
    examples: npt.ArrayLike | None = None,
) -> PathCollection:
    """Draw every position as a point in the plane of two latents.

    Parameters
    ----------
    ax
        Where to draw.
    maps
        The maps of a run.
    first, second
        Latents across and upwards, counted from 0. Without a second one the angle goes upwards, in degrees.
    colour
        Variable that colours the points. "angle" is drawn in cyclic colours with opacity by certainty, any
        other in even colours with a colour bar.
    examples
        Shape (example, latent_dim): points to be marked and numbered from 1.
    """
    latent = np.asarray(maps["latent"].values, dtype=np.float64).reshape(-1, maps["latent"].shape[-1])
    across = latent[:, first]
    upwards = np.rad2deg(_flat(maps, "angle")) if second is None else latent[:, second]
    size = float(np.clip(9000.0 / max(across.size, 1), 2.0, 22.0))
    if colour == "angle":
        rgba = angle_colours(
            _flat(maps, "angle"), angle_sd_rad=_flat(maps, "angle_sd"), angle_order=_flat(maps, "angle_order")
        )
        rgba[:, 3] = 0.12 + 0.78 * rgba[:, 3]  # an uncertain angle still has a certain place in this plane
        drawn = ax.scatter(across, upwards, s=size, c=rgba, linewidths=0)
    else:
        values = _flat(maps, colour)
        limits = even_limits(values)
        drawn = ax.scatter(
            across, upwards, s=size, c=values, cmap="viridis", vmin=limits.low, vmax=limits.high, linewidths=0
        )
        bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.03, 0.0, 0.045, 1.0)), extend=limits.extend)
        style_axes(bar.ax)
        unit = unit_label(maps[colour].attrs.get("units"))
        name = str(maps[colour].attrs.get("long_name", colour))
        bar.ax.set_ylabel(plain_text(f"{name} ({unit})" if unit else name), fontsize=8)
    if examples is not None and second is not None:
        _number_examples(ax, np.asarray(examples, dtype=np.float64)[:, [first, second]])
    ax.set_xlabel(f"latent {first + 1} (posterior sd)")
    ax.set_ylabel("angle (°)" if second is None else f"latent {second + 1} (posterior sd)")
    style_axes(ax)
    return drawn


def manifold(
    axes: npt.NDArray[np.object_],
    decoded: npt.ArrayLike,
    measured: npt.ArrayLike,
    *,
    background: npt.ArrayLike | None = None,
    valid: npt.ArrayLike | None = None,
    unit: str = "electrons",
) -> list[AxesImage]:
    """Draw points of the latent manifold as patterns, above measured patterns of the nearest positions.

    Parameters
    ----------
    axes
        Shape (2, example), or (3, example) for a third row: decoded pattern minus ``background``.
    decoded, measured
        Shape (example, ky, kx). Each row has one scale, so that its patterns compare.
    background
        Shape (ky, kx); needed for a third row.
    valid
        Shape (ky, kx), bool: False at pixels that are not used.
    unit
        Unit of the intensities, for the labels.

    Returns
    -------
    list of matplotlib.image.AxesImage
        Row by row.
    """
    templates = np.asarray(decoded, dtype=np.float64)
    rows: list[tuple[str, Floats, Limits, PatternScale]] = []
    nearest = np.asarray(measured, dtype=np.float64)
    rows.append(("decoded", templates, _from_zero(templates, valid), "root"))
    rows.append(("measured", nearest, _from_zero(nearest, valid), "root"))
    if len(axes) > 2 and background is not None:
        change = templates - np.asarray(background, dtype=np.float64)
        rows.append(("decoded\nminus mean", change, signed_limits(_used(change, valid)), "signed"))
    drawn = []
    for row_axes, (name, images, limits, scale) in zip(axes, rows, strict=False):
        for ax, image in zip(row_axes, images, strict=False):
            drawn.append(pattern(ax, image, scale=scale, valid=valid, limits=limits, frame=False))
        sign = "±" if scale == "signed" else "0–"
        label = plain_text(f"{name}\n{sign}{limits.high:.3g} {unit}")
        row_axes[0].set_ylabel(label, fontsize=7.5, color=TEXT_COLOUR)
    for number, ax in enumerate(axes[0], start=1):
        ax.set_title(str(number), fontsize=9, color=TEXT_COLOUR)
    return drawn


def _flat(maps: xr.Dataset, name: str) -> Floats:
    return np.asarray(maps[name].values, dtype=np.float64).ravel()


def _used(images: Floats, valid: npt.ArrayLike | None) -> Floats:
    return images if valid is None else images[..., np.asarray(valid, dtype=bool)]


def _from_zero(images: Floats, valid: npt.ArrayLike | None) -> Limits:
    limits = even_limits(_used(images, valid))
    return Limits(low=min(0.0, limits.low), high=limits.high, extend=limits.extend)


def _number_examples(ax: Axes, points: Floats) -> None:
    for number, (x, y) in enumerate(points, start=1):
        box = {
            "boxstyle": "circle,pad=0.18",
            "facecolor": "white",
            "edgecolor": TEXT_COLOUR,
            "linewidth": 0.7,
        }
        ax.annotate(
            str(number), (x, y), ha="center", va="center", fontsize=7, color=TEXT_COLOUR, bbox=box, zorder=5
        )
