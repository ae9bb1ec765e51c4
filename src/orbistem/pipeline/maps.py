"""From per-position numbers to ``maps.nc``: named, calibrated, NaN where a position is not usable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orbistem.metrics import active_latents
from orbistem.models.protocol import Encoding
from orbistem.pipeline.classes import SiteClasses
from orbistem.pipeline.descriptors import Descriptors
from orbistem.pipeline.orientation import Orientation
from orbistem.pipeline.preparation import Preparation
from orbistem.pipeline.scan_frame import ScanFrame
from orbistem.scan import Scan
from orbistem.symmetry.alike import Groups
from orbistem.symmetry.broken import Broken

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["LatentSort", "beam_maps", "build_maps", "sort_latents"]

Floats = NDArray[np.floating[Any]]

MIN_SD = 1e-6

LONG_NAMES = {
    "latent": "what the local structure is, whichever way it is turned",
    "latent_sd": "standard deviation of latent in repeated measurements",
    "angle": "angle of the local structure, from +kx to +ky",
    "angle_sd": "standard deviation of angle: width of one peak of its posterior",
    "angle_order": "rotation order of the site; 0: no preferred angle",
    "evidence": "log probability of the pattern",
    "residual": "reduced chi-square against shot noise",
    "orientation": "angle against positions of equal latents in the reference region",
    "handedness": "mirror image (-1) or not (+1) of the template",
    "com_y": "centre of mass from the pattern centre, along ky",
    "com_x": "centre of mass from the pattern centre, along kx",
    "dose": "total of the pattern",
    "group": "group of patterns that are alike after rotation, the largest first; 1 where there is only one",
    "broken": "difference from the reference crystal, standard-normal score",
    "point_group_by_instrument": "1: the point group changes within the uncertainty of the instrument",
    "broken_by_instrument": "1: whether symmetry is broken changes within the uncertainty of the instrument",
}
DIRECTIONS = ("angle", "mirror_angle", "polar_angle")
"""What is told in the axes of the scan, too."""
UNITS = {"angle": "rad", "angle_sd": "rad", "orientation": "rad", "evidence": "nat"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentSort:
    """Order and sign of the latents, and which are active (in the new order)."""

    order: tuple[int, ...]
    sign: tuple[float, ...]
    active: tuple[bool, ...]


def sort_latents(z: Floats, z_sd: Floats) -> LatentSort:
    """Most active latent first (spread over sd); signs so that the distribution leans to the positive side.

    Parameters
    ----------
    z, z_sd
        (n, D); rows with NaN are left out.
    """
    good = np.isfinite(z).all(axis=1) & np.isfinite(z_sd).all(axis=1)
    z, z_sd = np.asarray(z[good], np.float64), np.asarray(z_sd[good], np.float64)
    if not len(z):
        n = z.shape[1]
        return LatentSort(order=tuple(range(n)), sign=(1.0,) * n, active=(False,) * n)
    activity: NDArray[np.float64] = z.std(axis=0) / np.maximum(np.sqrt(np.mean(z_sd**2, axis=0)), MIN_SD)
    order = np.argsort(-activity, kind="stable")
    skewness: NDArray[np.float64] = np.mean((z - z.mean(axis=0)) ** 3, axis=0)
    active = np.asarray(active_latents(z, z_sd))[order]
    return LatentSort(
        order=tuple(int(one) for one in order),
        sign=tuple(-1.0 if skewness[one] < 0 else 1.0 for one in order),
        active=tuple(bool(flag) for flag in active),
    )


def beam_maps(scan: Scan, prepared: Preparation) -> dict[str, NDArray[np.float32]]:
    """Dose and centre of mass of every position, (n,), NaN where not usable.

    The centre of mass is counted from where the pattern's centre lies at that position, in the units of the
    detector axes. Detector pixels that were masked only after the pass (hot ones, say) are taken out with
    their mean.
    """
    moments, plan = prepared.moments, prepared.plan
    given = np.asarray(scan.pixel_valid)
    later = given & ~plan.pixel_valid
    y, x = np.indices(given.shape, dtype=np.float64)
    out = np.where(later, np.nan_to_num(moments.mean - plan.offset), 0.0)
    electrons = moments.totals - plan.offset * given.sum() - out.sum()
    found = {"dose": electrons / plan.counts_per_electron}
    shift = np.zeros((1, 2)) if plan.shift_px is None else plan.shift_px
    for name, grid, axis, of_frame, centre in (
        ("com_y", y, scan.detector_axes[0], moments.com[:, 0], plan.centre_px[0] + shift[:, 0]),
        ("com_x", x, scan.detector_axes[1], moments.com[:, 1], plan.centre_px[1] + shift[:, 1]),
    ):
        apart = plan.offset * float(grid.sum(where=given)) + float((out * grid).sum())
        first = of_frame * moments.totals - apart
        with np.errstate(divide="ignore", invalid="ignore"):
            found[name] = (first / electrons - centre) * axis.scale
    return {
        name: np.where(prepared.usable & np.isfinite(values), values, np.nan).astype(np.float32)
        for name, values in found.items()
    }


def build_maps(
    scan: Scan,
    prepared: Preparation,
    *,
    encoding: Encoding | None,
    active: tuple[bool, ...] = (),
    orientation: Orientation | None = None,
    descriptors: Descriptors | None = None,
    frame: ScanFrame | None = None,
    broken: Broken | None = None,
    groups: Groups | None = None,
    by_instrument: Mapping[str, Floats] | None = None,
    classes: SiteClasses | None = None,
) -> xr.Dataset:
    """All maps of a run.

    Parameters
    ----------
    scan
        Gives shape, axes and positions.
    prepared
        Gives what needs no model.
    encoding
        One row a position; None where nothing was trained.
    active
        Which latents carry information.
    orientation
        Where a reference region was given.
    descriptors
        Maps of symmetry.
    frame
        How the scan lies against the detector.
    broken
        Where a reference was given or asked for.
    groups
        Of a scan that is too small for a model.
    by_instrument
        Flags of verdicts that the instrument may have made, (n,) each.
    classes
        Where these were asked for.
    """
    import xarray as xr

    dims, coordinates = scan_coordinates(scan)
    shape = scan.scan_shape
    layers: dict[str, Floats] = {}
    if encoding is not None:
        layers |= {
            "latent": encoding.z,
            "latent_sd": encoding.z_sd,
            "angle": encoding.angle,
            "angle_sd": encoding.angle_sd,
            "angle_order": encoding.angle_order,
            "evidence": encoding.evidence,
            "residual": encoding.residual,
        }
        if orientation is not None:
            layers["orientation"] = orientation.angle
        if encoding.handedness is not None:
            layers["handedness"] = encoding.handedness
    if broken is not None:
        layers["broken"] = broken.score
    if groups is not None:
        layers["group"] = np.where(groups.label > 0, groups.label, np.nan)
    layers |= by_instrument or {}
    layers |= beam_maps(scan, prepared)
    units = UNITS | {
        "com_y": scan.detector_axes[0].units,
        "com_x": scan.detector_axes[1].units,
        "dose": "electrons" if prepared.plan.gain is not None else "counts",
    }
    variables = {}
    for name, values in layers.items():
        whole = np.where(_like(prepared.usable, values), values, np.nan).astype(np.float32)
        own_dims = (*dims, "latent_dim") if values.ndim == 2 else dims
        variables[name] = (
            own_dims,
            whole.reshape(*shape, *values.shape[1:]),
            {"units": units.get(name, "1"), "long_name": LONG_NAMES[name]},
        )
    for variable, values in () if descriptors is None else descriptors.maps:
        whole = np.where(_like(prepared.usable, values), values, np.nan).astype(np.float32)
        own_dims = dims if variable.dim is None else (*dims, variable.dim)
        if variable.dim is not None:
            coordinates[variable.dim] = (variable.dim, np.array(variable.labels), {"units": "1"})
        words = {"units": variable.units, "long_name": variable.long_name}
        variables[variable.name] = (
            own_dims,
            whole.reshape(*shape, *values.shape[1:]),
            words | {name: _plain(value) for name, value in variable.attributes.items()},
        )
    frame = frame or ScanFrame()
    attributes = _attributes(scan, prepared) | frame.attributes()
    maps = xr.Dataset(variables, coords=coordinates, attrs=attributes)
    maps = maps.assign(_in_scan_axes(maps, frame) if frame.known else {})
    if encoding is not None:
        maps["latent"].attrs["active"] = np.array(active, dtype=np.int8)
    if orientation is not None:
        maps["orientation"].attrs["crystal_order"] = orientation.order
    if broken is not None:
        maps["broken"].attrs |= {
            "threshold": broken.threshold,
            "false_discovery_rate": broken.rate,
            "pooling_widths": np.array(broken.widths),
        }
    return maps if classes is None else maps.assign(_class_maps(classes, dims, shape))


def _in_scan_axes(maps: xr.Dataset, frame: ScanFrame) -> dict[str, Any]:
    """Directions and centres of mass again, in the axes of the scan: comparable with the image."""
    found: dict[str, Any] = {}
    for name in DIRECTIONS:
        if name in maps:
            one = maps[name]
            period = 2 * np.pi / int(one.attrs.get("order", 1))
            values = np.mod(frame.azimuth(one.values), period).astype(np.float32)
            words = {"long_name": f"{name} in the axes of the scan, from +x to +y"}
            found[f"{name}_scan"] = (one.dims, values, dict(one.attrs) | words)
    for axis, values in zip("yx", frame.vector(maps["com_y"].values, maps["com_x"].values), strict=True):
        one = maps[f"com_{axis}"]
        words = {"long_name": f"centre of mass from the pattern centre, along the scan's {axis}"}
        found[f"com_{axis}_scan"] = (one.dims, values.astype(np.float32), dict(one.attrs) | words)
    return found


def _class_maps(classes: SiteClasses, dims: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Any]:
    """Class, the only whole number among the maps, and the probability of each class."""
    found, n = classes.found, len(classes.found)
    label = found.label.astype(np.int16).reshape(shape)
    about: dict[str, Any] = {
        "units": "1",
        "long_name": "class of the site, the most frequent first; -1: not usable",
    }
    if not n:
        return {"class": (dims, label, about)}
    about["flag_values"] = np.arange(n, dtype=np.int16)
    about["flag_meanings"] = " ".join(f"class_{c}_{name}" for c, name in enumerate(classes.point_group))
    chance = found.probability.astype(np.float32).reshape(*shape, n)
    return {
        "class": (dims, label, about),
        "class_p": ((*dims, "class_index"), chance, {"units": "1", "long_name": "probability of each class"}),
    }


def group_words(groups: Groups) -> tuple[str, ...]:
    """How many groups of patterns that are alike there are, and how large they are."""
    known = groups.label[groups.label > 0]
    if len(known) < 2:
        return ()
    if groups.n_groups < 2:
        return (f"After rotation the {len(known)} patterns do not fall into groups that differ.",)
    sizes = ", ".join(str(int((known == one).sum())) for one in range(1, groups.n_groups + 1))
    return (
        f"After rotation the {len(known)} patterns fall into {groups.n_groups} groups of patterns that are "
        f"alike, of {sizes} (mean silhouette {groups.silhouette:.2f}; map `group`).",
    )


def scan_coordinates(scan: Scan) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Dimensions and coordinates of the maps."""
    if scan.positions is not None:
        units = {"units": scan.position_units}
        names = {"position_y": "scan position, y", "position_x": "scan position, x"}
        return ("position",), {
            name: ("position", np.asarray(scan.positions[:, column]), units | {"long_name": long_name})
            for column, (name, long_name) in enumerate(names.items())
        }
    coordinates = {}
    for axis, size, name in zip(scan.scan_axes, scan.scan_shape, ("y", "x"), strict=True):
        if scan.scan_vectors is not None:
            values, unit = np.arange(size, dtype=np.float64), "1"
        else:
            values, unit = axis.coordinates(size), axis.units
        coordinates[name] = (name, values, {"units": unit, "long_name": f"scan position, {name}"})
    return ("y", "x"), coordinates


def _attributes(scan: Scan, prepared: Preparation) -> dict[str, Any]:
    plan = prepared.plan
    attributes: dict[str, Any] = {
        "whitening": plan.whitening,
        "centre_px": np.array(plan.centre_px),
        "ellipse_ratio": float(plan.ellipse[0]),
        "ellipse_angle_rad": float(plan.ellipse[1]),
        "gain": float("nan") if plan.gain is None else float(plan.gain),
    }
    if plan.descan_px is not None:
        attributes["descan_px"] = np.asarray(plan.descan_px, np.float64).ravel()
    if scan.scan_vectors is not None:
        attributes |= {
            "a1": np.array(scan.scan_vectors[0]),
            "a2": np.array(scan.scan_vectors[1]),
            "a_units": scan.scan_axes[-1].units,
        }
    return attributes


def _plain(value: Any) -> Any:
    return np.array(value) if isinstance(value, tuple) else value


def _like(usable: NDArray[np.bool_], values: Floats) -> NDArray[np.bool_]:
    return usable if values.ndim == 1 else usable[:, None]
