"""What the report shows of single patterns: ``examples.nc``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orbistem.models.protocol import Encoding
from orbistem.pipeline.classes import SiteClasses
from orbistem.pipeline.frames import read_at_rest
from orbistem.pipeline.static import static_pattern
from orbistem.plan import Plan
from orbistem.prepare.mask import MaskResult
from orbistem.result import TrainedModel
from orbistem.scan import Scan

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["build_examples", "choose_examples"]

N_EXAMPLES = 8
OUTLIER_SHARE = 0.01
"""The rarest latents are no examples of anything."""
FAULT_NAMES = ("masked", "hot", "dead", "never finite", "saturated", "beam stop")
"""Why a pixel is not used; "masked" by the user or the file."""


def choose_examples(z: NDArray[Any], active: tuple[bool, ...], n: int = N_EXAMPLES) -> NDArray[np.int64]:
    """Positions spread over the latent manifold: each the farthest from those before; sorted along latent 1.

    Parameters
    ----------
    z
        (position, D), NaN where not usable.
    active
        Latents that count.
    n
        How many.
    """
    rows = np.flatnonzero(np.isfinite(z).all(axis=1))
    if not len(rows):
        return np.empty(0, np.int64)
    use = np.asarray(active, bool)
    points = np.asarray(z[rows][:, use] if use.any() else z[rows], np.float64)
    low, high = np.quantile(points, [OUTLIER_SHARE / 2, 1 - OUTLIER_SHARE / 2], axis=0)
    inside = ((points >= low) & (points <= high)).all(axis=1)
    rows, points = (rows[inside], points[inside]) if inside.sum() >= n else (rows, points)
    chosen = [int(np.argmin(((points - np.median(points, axis=0)) ** 2).sum(axis=1)))]
    distance = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(n, len(rows)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    chosen.sort(key=lambda at: float(points[at, 0]))
    return np.asarray(rows[chosen], np.int64)


def pixel_faults(pixel_valid: NDArray[np.bool_], mask: MaskResult | None) -> NDArray[np.int8]:
    """0 for pixels in use, else one more than the place in `FAULT_NAMES`, (ky, kx)."""
    fault = np.where(pixel_valid, 0, 1).astype(np.int8)
    if mask is None:
        return fault
    for number, pixels in enumerate((mask.hot, mask.dead, mask.missing, mask.saturated), start=2):
        if pixels:
            fault[tuple(np.array(pixels).T)] = number
    fault[mask.beam_stop] = 6
    return np.where(pixel_valid, 0, fault).astype(np.int8)


def build_examples(
    scan: Scan,
    plan: Plan,
    *,
    model: TrainedModel | None,
    encoding: Encoding | None,
    active: tuple[bool, ...],
    classes: SiteClasses | None = None,
    mask: MaskResult | None = None,
) -> xr.Dataset:
    """Mean pattern, background and mask; with a model also decoded patterns beside measured ones.

    Parameters
    ----------
    scan
        To read the measured patterns.
    plan
        To bring them to electrons.
    model, encoding, active
        Of the run; None where nothing was trained.
    classes
        Where these were asked for.
    mask
        Why pixels are not used, where that was looked for.
    """
    import xarray as xr

    units = {"units": "electrons" if plan.gain is not None else "counts"}
    detector, stack = ("ky", "kx"), ("example", "ky", "kx")
    mean = np.where(plan.pixel_valid, plan.mean, 0) if model is None else plan.clean_mean
    layers: dict[str, Any] = {
        "mean": (detector, mean.astype(np.float32), units | {"long_name": "mean pattern"}),
        "pixel_valid": (detector, plan.pixel_valid.astype(np.int8), {"long_name": "pixels in use"}),
        "pixel_fault": (
            detector,
            pixel_faults(plan.pixel_valid, mask),
            {
                "long_name": "why a pixel is not used",
                "flag_values": np.arange(len(FAULT_NAMES) + 1, dtype=np.int8),
                "flag_meanings": " ".join(("used", *(name.replace(" ", "_") for name in FAULT_NAMES))),
            },
        ),
    }
    if model is not None and encoding is not None:
        chosen = choose_examples(encoding.z, active)
        layers["background"] = (
            detector,
            static_pattern(model),
            units | {"long_name": "static background"},
        )
        if len(chosen):
            z, angle = encoding.z[chosen], encoding.angle[chosen]
            hand = None if encoding.handedness is None else encoding.handedness[chosen]
            layers |= {
                "template": (stack, model.decode(z, angle, hand), units | {"long_name": "decoded pattern"}),
                "nearest": (
                    stack,
                    plan.electrons(read_at_rest(scan, chosen, plan)),
                    units | {"long_name": "measured pattern"},
                ),
                "example_latent": (("example", "latent_dim"), np.asarray(z, np.float32)),
                "example_position": (("example",), chosen),
                "example_angle": (("example",), np.asarray(angle, np.float32), {"units": "rad"}),
            }
    if classes is not None and len(classes.found):
        layers["class_average"] = (
            ("class_index", *detector),
            classes.pattern,
            units | {"long_name": "mean pattern of each class, members turned back by their angles"},
        )
    coordinates = {}
    for name, axis, centre, size in zip(
        detector, scan.detector_axes, plan.centre_px, plan.detector_shape, strict=True
    ):
        values = (np.arange(size) - centre) * axis.scale
        coordinates[name] = (name, values, {"units": axis.units})
    return xr.Dataset(layers, coords=coordinates)
