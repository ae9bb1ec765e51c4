"""Pictures of single places and of classes."""

from __future__ import annotations

import numpy as np

from orbistem.plot.classes import class_averages, class_map
from orbistem.plot.patterns import pattern
from orbistem.report.canvas import Picture, map_axes, new_axes, new_figure, pixel_scale, png, valid_pixels
from orbistem.report.files import RunFiles, numbers, section

__all__ = ["class_pictures", "place_pictures"]


def place_pictures(files: RunFiles) -> list[Picture]:
    """What single places look like, and what the most broken operation changes."""
    examples, places = files.examples, files.run.get("places")
    if examples is None or "place_picture" not in examples or not isinstance(places, list):
        return []
    centre_px = numbers(section(files.run, "centre").get("px"))
    middle = (centre_px[0], centre_px[1]) if len(centre_px) == 2 else None
    scale, unit = pixel_scale(files)
    pictures = []
    for index, place in enumerate(places[: examples.sizes["place"]]):
        of_pattern = place.get("of") == "pattern"
        what = "pattern" if of_pattern else "difference from the reference"
        changed = f"{what} minus its image under: {place.get('shown')}"
        for name, title, caption in (
            ("place_picture", what, "About the static background." if of_pattern else "Its smooth modes."),
            ("place_change", changed, "White where the operation is kept."),
        ):
            fig, ax = new_axes()
            pattern(
                ax,
                examples[name].values[index],
                scale="signed",
                pixel_scale=scale,
                centre_px=middle,
                unit=unit,
                colour_bar=True,
                bar_label="standard deviations of shot noise",
            )
            shown = f"{place.get('name')}: {title}"
            pictures.append(Picture(data_uri=png(fig), title=shown[:1].upper() + shown[1:], caption=caption))
    return pictures


def class_pictures(files: RunFiles) -> list[Picture]:
    """The map of the classes, and the aligned average of each above its difference from the mean pattern."""
    if "class" not in files.maps or not np.any(files.maps["class"].values >= 0):
        return []
    fig, ax = map_axes(files)
    class_map(ax, files.maps, title="")
    caption = "The paler, the less certain; grey: not usable."
    pictures = [Picture(data_uri=png(fig), title="Class", caption=caption)]
    examples = files.examples
    if examples is None or "class_average" not in examples:
        return pictures
    averages = examples["class_average"].values
    listed = section(files.run, "classes").get("classes") or []
    titles = [f"{one['class']}: {one['point_group']}, {one['members']}" for one in listed]
    fig = new_figure(1.45 * len(averages) + 0.1, 3.15)
    sides = {"left": 0.02, "right": 0.98, "bottom": 0.02, "top": 0.9, "wspace": 0.06, "hspace": 0.06}
    axes = fig.subplots(2, len(averages), squeeze=False, gridspec_kw=sides)
    class_averages(axes, averages, mean=examples["mean"].values, titles=titles, valid=valid_pixels(files))
    caption = (
        "Mean over the members, each turned back by its angle, as far as kept coefficients draw it; above: "
        "class, point group and number of members. Below: difference from the mean pattern of the scan."
    )
    return [
        *pictures,
        Picture(data_uri=png(fig), title="Aligned class averages", caption=caption, wide=True),
    ]
