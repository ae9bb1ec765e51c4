"""First pass over the file, and what it tells about microscope and camera; the plan comes later."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.errors import InputError
from orbistem.plan import Plan
from orbistem.prepare.centre import CentreFit, check_centre, find_centre
from orbistem.prepare.counts import CountsFit, estimate_gain
from orbistem.prepare.descan import DescanFit, descan_shift, find_descan
from orbistem.prepare.ellipse import EllipseFit, find_ellipse
from orbistem.prepare.left_out import LeftOut, find_left_out
from orbistem.prepare.mask import MaskResult, find_bad_pixels, find_spiked, with_half_shadow
from orbistem.prepare.moments import Moments, MomentsResult, autocorrelation
from orbistem.prepare.rest import Geometry, PatternAtRest, pattern_at_rest
from orbistem.prepare.thumbnails import Thumbnails
from orbistem.prepare.tiles import TileMeans, Tiles, scan_coordinates
from orbistem.progress import Progress
from orbistem.scan import Scan
from orbistem.stream import Runner, Together
from orbistem.units import normalise_unit

__all__ = [
    "MIN_PATTERNS",
    "Calibration",
    "FirstPass",
    "as_sentence",
    "calibrate",
    "calibration_words",
    "disk_radius_px",
    "edge_words",
    "measure",
    "pixel_scale",
    "semi_angle_mrad",
    "with_rest",
]

MIN_PATTERNS = 32
"""With fewer usable patterns nothing is trained."""
BEYOND_RINGS = 0.05
"""Electrons outside the rings are worth a sentence from this share on."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FirstPass:
    """What one pass over the file tells; `left_out` patterns are in none of it."""

    moments: MomentsResult
    tiles: TileMeans
    left_out: LeftOut


def measure(
    scan: Scan,
    config: FitConfig,
    *,
    runner: Runner,
    block_size: int,
    progress: Progress,
    allow_one: bool = False,
) -> FirstPass:
    """Moments of the whole scan and mean patterns of its parts, in one pass.

    Where patterns are to be left out, the file is read once more without them.

    Raises
    ------
    InputError
        A single pattern, or none that is usable.
    """
    if scan.n_positions == 1 and not allow_one:
        raise InputError(
            f"a fit needs at least 2 patterns, and {MIN_PATTERNS} to train a model, got a single one of "
            f"{scan.detector_shape[0]} x {scan.detector_shape[1]} pixels; give a scan, or "
            "fold the file with --shape Y,X,KY,KX"
        )
    reduction = Moments(detector_shape=scan.detector_shape, pixel_valid=np.asarray(scan.pixel_valid))
    small = Thumbnails(detector_shape=scan.detector_shape, n_positions=scan.n_positions)
    together = Together((reduction, Tiles.of(scan), small))
    moments, tiles, thumbnails = runner.run(together, scan, block_size=block_size, progress=progress)
    spiked = find_spiked(moments)
    left_out = find_left_out(scan, moments, thumbnails, spiked=spiked, options=config.leave_out)
    if left_out.positions.any() and not left_out.positions[moments.usable].all():
        rest = scan.replace(measured=scan.measured & ~left_out.positions.reshape(scan.scan_shape))
        again = Together((reduction, Tiles.of(scan)))
        moments, tiles = runner.run(again, rest, block_size=block_size, progress=progress)
    if moments.n == 1 and not allow_one:
        raise InputError(
            f"want a stack of patterns, got a single usable one among {scan.n_positions}; "
            "check --dataset, --shape and --dtype"
        )
    return FirstPass(moments=moments, tiles=tiles, left_out=left_out)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibration:
    """What the first pass has found about microscope and camera.

    Attributes
    ----------
    moments, left_out, mask, counts, descan, centre, ellipse
        Results of the steps.
    valid
        (ky, kx) bool: pixels to believe.
    pixel_scale, scale_words
        Relative pitch of a detector pixel along y and x; a sentence where pixels are not square.
    mean
        Mean pattern at rest, stored units, (ky, kx); NaN where nothing was measured.
    rest
        The same in a form that can be moved; None without descan.
    wandering_variance
        Variance over the scan that its movement alone makes, stored units squared, (ky, kx).
    """

    moments: MomentsResult
    left_out: LeftOut
    mask: MaskResult
    valid: NDArray[np.bool_]
    counts: CountsFit
    descan: DescanFit
    centre: CentreFit
    ellipse: EllipseFit
    pixel_scale: tuple[float, float]
    scale_words: str | None
    mean: NDArray[np.float64]
    rest: PatternAtRest | None
    wandering_variance: NDArray[np.float64]

    def pattern_place(self, scan: Scan) -> NDArray[np.float64]:
        """Centre of the pattern at each position, (n_positions, 2), px."""
        return np.asarray(
            self.centre.centre_px + descan_shift(self.descan.coefficients_px, scan_coordinates(scan))
        )


def calibrate(scan: Scan, config: FitConfig, first: FirstPass) -> Calibration:
    """Find bad pixels, descan, centre, ellipse and gain.

    Parameters
    ----------
    scan
    config
        Options of the steps, and what the user gave.
    first
        See `measure`.

    Raises
    ------
    InputError
        A centre outside the frame.
    """
    moments, tiles = first.moments, first.tiles
    mask = find_bad_pixels(moments, pixel_valid=np.asarray(scan.pixel_valid), options=config.mask)
    mask = with_half_shadow(mask, autocorrelation(moments, mask.valid))
    valid = mask.valid if mask.valid.any() else np.asarray(scan.pixel_valid)
    place = scan_coordinates(scan)
    descan = find_descan(tiles, place, valid, options=config.descan)
    still, seen = moments.trimmed_mean, valid
    if descan.mean is not None:
        still, seen = descan.mean, np.isfinite(descan.mean)
    centre = _centre(still, seen, config)
    scale, scale_words = pixel_scale(scan)
    ellipse = find_ellipse(still, seen, pixel_scale=scale, options=config.ellipse)
    done = Calibration(
        moments=moments,
        left_out=first.left_out,
        mask=mask,
        valid=valid,
        counts=estimate_gain(moments, valid, options=config.counts),
        descan=descan,
        centre=centre,
        ellipse=ellipse,
        pixel_scale=scale,
        scale_words=scale_words,
        mean=moments.mean,
        rest=None,
        wandering_variance=np.zeros(moments.mean.shape),
    )
    return done if descan.mean is None else with_rest(done, scan, tiles)


def with_rest(
    found: Calibration, scan: Scan, tiles: TileMeans, *, jumps: NDArray[np.float64] | None = None
) -> Calibration:
    """Return a calibration with the mean pattern in the form that can be moved.

    Parameters
    ----------
    found, scan, tiles
    jumps
        Covariance (2, 2) of the shifts of single patterns beyond the smooth model, px²: the mean patterns of
        the parts of the scan are blurred by so much. Default none.
    """
    geometry = Geometry(
        centre_px=found.centre.centre_px, pixel_scale=found.pixel_scale, ellipse=found.ellipse.ellipse
    )
    shift = found.descan.of_tiles(tiles, scan_coordinates(scan))
    blur = found.descan.within_tiles(tiles) + (0.0 if jumps is None else jumps)
    rest, seen = pattern_at_rest(tiles, shift, found.valid, geometry, blur=blur)
    moved = [rest.at(by) for by in shift]
    share = tiles.n / tiles.n.sum()
    middle = np.tensordot(share, moved, axes=1)
    wandering = np.tensordot(share, [(one - middle) ** 2 for one in moved], axes=1)
    wandering += _within(moved, share, blur)
    mean = np.where(seen, rest.at((0.0, 0.0)), np.nan)
    return replace(found, rest=rest, mean=mean, wandering_variance=wandering)


def _within(
    moved: list[NDArray[np.float64]], share: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Variance of the pixels, (ky, kx), that the movement within the parts of a scan makes."""
    total = np.zeros(moved[0].shape)
    for one, part, c in zip(moved, share, covariance, strict=True):
        y, x = np.gradient(one)
        total += part * (c[0, 0] * y * y + 2 * c[0, 1] * y * x + c[1, 1] * x * x)
    return total


def disk_radius_px(ellipse: EllipseFit) -> float | None:
    """Radius of the bright disk; None where no sharp edge was found."""
    return None if ellipse.disk_px is None or ellipse.found is None else ellipse.disk_px[2]


def semi_angle_mrad(scan: Scan, ellipse: EllipseFit) -> float | None:
    """Convergence semi-angle from the radius of the bright disk; None without a disk or angles."""
    axis = scan.detector_axes[0]
    unit = normalise_unit(axis.units)
    radius_px = disk_radius_px(ellipse)
    if radius_px is None or unit.dimension != "angle":
        return None
    return 1e3 * radius_px * abs(axis.scale) * unit.to_base


def calibration_words(scan: Scan, found: Calibration) -> list[str]:
    """Descan, ellipse and bright disk, in sentences."""
    words = [as_sentence(part.why) for part in (found.descan, found.ellipse)]
    radius_px = disk_radius_px(found.ellipse)
    if radius_px is not None:
        size = f"The bright disk has a radius of {radius_px:.2f} px"
        angle = semi_angle_mrad(scan, found.ellipse)
        if angle is not None:
            size += f", a semi-angle of {angle:.4g} mrad"
        words.append(size + ".")
    return words


def edge_words(plan: Plan, found: Calibration) -> list[str]:
    """A sentence where the rings, which must lie in the frame as a whole, leave much of the pattern out."""
    electrons = np.where(found.valid & np.isfinite(found.mean), found.mean, 0.0) - found.counts.offset
    electrons = np.where(found.valid, np.maximum(electrons, 0.0), 0.0)
    beyond = 1 - float(electrons[plan.grid.coverage].sum()) / max(float(electrons.sum()), 1e-300)
    if beyond < BEYOND_RINGS:
        return []
    reach = float(plan.grid.radii_px[-1]) + plan.rings.spacing_px
    return [
        f"Rings lie within the frame as a whole, wherever the pattern lies, and so reach {reach:.3g} px from "
        f"its centre; {beyond:.0%} of the electrons lie farther out or in the corners, and count only in the "
        "dose and the centre of mass."
    ]


def pixel_scale(scan: Scan) -> tuple[tuple[float, float], str | None]:
    """Relative pitch of the detector's pixels, and a sentence where they are not square."""
    y, x = scan.detector_axes
    units = [normalise_unit(axis.units) for axis in (y, x)]
    if units[0].dimension != units[1].dimension or "unknown" in {unit.dimension for unit in units}:
        return (1.0, 1.0), None
    pitch = (y.scale * units[0].to_base, x.scale * units[1].to_base)
    if abs(pitch[0] / pitch[1] - 1) < 1e-3:
        return (1.0, 1.0), None
    smaller = min(pitch)
    scale = (pitch[0] / smaller, pitch[1] / smaller)
    return (
        scale,
        f"The detector's pixels are not square ({scale[0]:.3g} : {scale[1]:.3g}), and were taken so.",
    )


def _centre(mean: NDArray[np.float64], valid: NDArray[np.bool_], config: FitConfig) -> CentreFit:
    given = config.prepare.centre_px
    if given is not None:
        return CentreFit(
            centre_px=check_centre(given, (mean.shape[0], mean.shape[1])),
            sd_px=(0.0, 0.0),
            method="given",
            correlation=float("nan"),
        )
    return find_centre(mean, pixel_valid=valid, options=config.centre)


def as_sentence(text: object) -> str:
    """The text with a capital in front and a full stop at its end."""
    text = str(text).strip()
    return (text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")) if text else ""
