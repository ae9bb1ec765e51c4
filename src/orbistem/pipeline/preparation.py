"""First pass over the file: what the patterns are like, and the plan that turns them into harmonics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.errors import InputError
from orbistem.harmonics.noise import nearest_possible
from orbistem.harmonics.rings import polar_coordinates
from orbistem.harmonics.whitening import WhiteningChoice, choose_whitening, linear_weight
from orbistem.plan import Plan, reference_total
from orbistem.prepare.centre import CentreFit, check_centre, find_centre
from orbistem.prepare.counts import CountsFit, estimate_gain
from orbistem.prepare.descan import DescanFit, descan_shift, find_descan
from orbistem.prepare.ellipse import EllipseFit, find_ellipse
from orbistem.prepare.mask import MaskResult, find_bad_pixels, with_half_shadow
from orbistem.prepare.moments import Moments, MomentsResult, autocorrelation
from orbistem.prepare.rest import Geometry, pattern_at_rest
from orbistem.prepare.tiles import TileMeans, Tiles, scan_coordinates
from orbistem.progress import Progress
from orbistem.scan import Scan
from orbistem.stream import Runner, Together
from orbistem.units import normalise_unit

__all__ = ["MIN_PATTERNS", "Preparation", "as_sentence", "block_size_for", "measure", "prepare"]

MIN_PATTERNS = 32
"""With fewer usable patterns nothing is trained."""
CORRELATED_FROM = 0.1
"""Sum of the noise autocorrelation this far from 1 enters the noise covariance (DESIGN, noise of pixels)."""
BLOCK_SHARE = 8
"""A block may take this part of the memory: several are on their way at once."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Preparation:
    """What the first pass has found.

    Attributes
    ----------
    moments, centre, mask, counts, whitening
        Results of the steps.
    pixel_scale
        Relative pitch of a detector pixel along y and x.
    plan
        From stored numbers to harmonics; its `noise_scale` and `order0_mean` are not known yet.
    trainable
        Whether there are enough usable patterns.
    descan, ellipse
        How the pattern wanders over the detector, and how it is stretched; None where a model's plan is
        replayed.
    words, problems
        What was done and why; what cannot be trusted. Plain sentences.
    """

    moments: MomentsResult
    centre: CentreFit
    mask: MaskResult
    counts: CountsFit
    whitening: WhiteningChoice
    pixel_scale: tuple[float, float]
    plan: Plan
    trainable: bool
    descan: DescanFit | None = None
    ellipse: EllipseFit | None = None
    words: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def electrons(self) -> NDArray[np.float64]:
        """Total of each pattern over the pixels that the pass has read, electrons, (n,)."""
        offset = self.plan.offset * float(np.isfinite(self.moments.mean).sum())
        return (self.moments.totals - offset) / (self.plan.gain or 1.0)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which positions enter everything that follows, (n,) in flat scan order."""
        return self.moments.usable


def block_size_for(scan: Scan, memory_mb: int) -> int:
    """Positions a block; the same for any number of threads, so that results are the same."""
    return scan.choose_block_size(max(1, memory_mb * 2**20 // BLOCK_SHARE))


def measure(
    scan: Scan, *, runner: Runner, block_size: int, progress: Progress
) -> tuple[MomentsResult, TileMeans]:
    """Moments of the whole scan and mean patterns of its parts, in one pass.

    Raises
    ------
    InputError
        A single pattern, or none that is usable.
    """
    if scan.n_positions == 1:
        raise InputError(
            f"a fit needs at least 2 patterns, and {MIN_PATTERNS} to train a model, got a single one of "
            f"{scan.detector_shape[0]} x {scan.detector_shape[1]} pixels; give a scan, or "
            "fold the file with --shape Y,X,KY,KX"
        )
    reduction = Moments(detector_shape=scan.detector_shape, pixel_valid=np.asarray(scan.pixel_valid))
    both = Together((reduction, Tiles.of(scan)))
    moments, tiles = runner.run(both, scan, block_size=block_size, progress=progress)
    if moments.n == 1:
        raise InputError(
            f"want a stack of patterns, got a single usable one among {scan.n_positions}; "
            "check --dataset, --shape and --dtype"
        )
    return moments, tiles


def prepare(
    scan: Scan, config: FitConfig, *, runner: Runner, block_size: int, progress: Progress
) -> Preparation:
    """Find centre, bad pixels, gain and whitening, and make the plan of them.

    Parameters
    ----------
    scan
        Its `measured` and `pixel_valid` say what may be used.
    config
        Options of the steps, and what the user gave.
    runner, block_size
        How the file is read.
    progress
        Told how far the pass is.

    Raises
    ------
    InputError
        A single pattern, no usable pattern, or a centre outside the frame.
    """
    if config.prepare.centre_px is not None:  # before the file is read
        check_centre(config.prepare.centre_px, scan.detector_shape)
    moments, tiles = measure(scan, runner=runner, block_size=block_size, progress=progress)
    mask = find_bad_pixels(moments, pixel_valid=np.asarray(scan.pixel_valid), options=config.mask)
    mask = with_half_shadow(mask, autocorrelation(moments, mask.valid))
    valid = mask.valid if mask.valid.any() else np.asarray(scan.pixel_valid)
    place = scan_coordinates(scan)
    descan = find_descan(tiles, place, valid, options=config.descan)
    at_rest, seen = moments.trimmed_mean, valid
    if descan.mean is not None:
        at_rest, seen = descan.mean, np.isfinite(descan.mean)
    centre = _centre(at_rest, seen, config)
    scale, scale_words = pixel_scale(scan)
    ellipse = find_ellipse(at_rest, seen, pixel_scale=scale, options=config.ellipse)
    rest = None
    if descan.mean is not None:
        geometry = Geometry(centre_px=centre.centre_px, pixel_scale=scale, ellipse=ellipse.ellipse)
        rest, seen = pattern_at_rest(
            tiles,
            descan.of_tiles(tiles, place),
            valid,
            geometry,
            blur=descan.within_tiles(tiles),
        )
        at_rest = np.where(seen, rest.at((0.0, 0.0)), np.nan)
    counts = estimate_gain(moments, valid, options=config.counts)
    gain = counts.gain or 1.0
    mean = ((moments.mean if rest is None else at_rest) - counts.offset) / gain
    variance = moments.variance / gain**2
    total = None
    if config.prepare.normalise == "total":
        totals = (moments.totals - counts.offset * int(scan.pixel_valid.sum())) / gain
        total = reference_total(totals)
        mean, variance = _normalised(mean, variance, totals, valid, total)
    if rest is None:
        mean = np.where(np.isfinite(mean), mean, 0.0)
    variance = np.where(np.isfinite(variance), variance, 0.0)
    polar = polar_coordinates(
        scan.detector_shape, centre_px=centre.centre_px, pixel_scale=scale, ellipse=ellipse.ellipse
    )
    lit = valid & np.isfinite(mean)
    whitening = choose_whitening(
        mean,
        variance,
        linear_weight(mean, polar, pixel_valid=lit),
        pixel_valid=lit,
        wanted=config.prepare.whiten,
    )
    plan = Plan(
        mean=mean,
        pixel_valid=valid,
        centre_px=centre.centre_px,
        pixel_scale=scale,
        gain=counts.gain,
        offset=float(counts.offset),
        normalise=config.prepare.normalise,
        reference_total=total,
        whitening=whitening.chosen,
        rings=config.rings,
        autocorrelation=_pixel_noise(moments, valid, counts),
        ellipse=ellipse.ellipse,
    )
    if rest is not None:
        profile = (rest.profile - counts.offset) / gain
        if total is not None:
            profile *= total / float(np.nansum(((moments.mean - counts.offset) / gain)[valid]))
        coefficients = descan.coefficients_px
        plan = plan.with_descan(descan_shift(coefficients, place), coefficients, profile)
    done = Preparation(
        moments=moments,
        centre=centre,
        mask=mask,
        counts=counts,
        whitening=whitening,
        pixel_scale=scale,
        plan=plan,
        trainable=moments.n >= MIN_PATTERNS,
        descan=descan,
        ellipse=ellipse,
    )
    return replace(done, words=_words(scan, done, scale_words), problems=_problems(scan, done))


def _pixel_noise(
    moments: MomentsResult, valid: NDArray[np.bool_], counts: CountsFit
) -> NDArray[np.float64] | None:
    """Autocorrelation of the noise where it is clearly not that of independent pixels."""
    if counts.gain is None or not counts.warnings or abs(counts.correlated - 1) <= CORRELATED_FROM:
        return None
    return nearest_possible(autocorrelation(moments, valid))


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


def _normalised(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    totals: NDArray[np.float64],
    valid: NDArray[np.bool_],
    total: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of patterns scaled to one total, to first order in the spread of the totals."""
    factor = total / max(float(np.nansum(mean[valid])), np.finfo(float).tiny)
    good = totals[np.isfinite(totals)]
    drift = float(good.var() / good.mean() ** 2)
    return mean * factor, np.maximum(variance - drift * mean**2, 0.0) * factor**2


def _words(scan: Scan, found: Preparation, scale_words: str | None) -> tuple[str, ...]:
    moments, centre, counts = found.moments, found.centre, found.counts
    words = []
    left_out = scan.n_positions - moments.n
    used = f"{moments.n} of {scan.n_positions} patterns were used"
    words.append(used + (f"; {left_out} are not measured, empty or constant." if left_out else "."))
    y, x = centre.centre_px
    sd = centre.sd_px
    if centre.method == "given":
        words.append(f"The pattern centre was given: (ky, kx) = ({y:.2f}, {x:.2f}) px.")
    else:
        words.append(
            f"The pattern centre is (ky, kx) = ({y:.2f} ± {sd[0]:.2f}, {x:.2f} ± {sd[1]:.2f}) px, "
            f"found by {_article(centre.method)}."
        )
    if scale_words:
        words.append(scale_words)
    words += _calibration_words(scan, found)
    words += [as_sentence(note) for note in found.mask.notes]
    words.append(as_sentence(f"Counts: {counts.why}"))
    if counts.gain is not None:
        words.append(f"The mean pattern holds {counts.dose:.4g} electrons.")
    if found.plan.normalise == "total":
        words.append(
            "Every pattern was scaled to the same total, as asked for; the noise was scaled with it."
        )
    words.append(as_sentence(found.whitening.why))
    return tuple(words)


def _calibration_words(scan: Scan, found: Preparation) -> list[str]:
    words = [as_sentence(part.why) for part in (found.descan, found.ellipse) if part is not None]
    disk = None if found.ellipse is None else found.ellipse.disk_px
    if disk is not None:
        axis = scan.detector_axes[0]
        unit = normalise_unit(axis.units)
        size = f"The bright disk has a radius of {disk[2]:.2f} px"
        if unit.dimension == "angle":
            size += f", a semi-angle of {1e3 * disk[2] * abs(axis.scale) * unit.to_base:.4g} mrad"
        words.append(size + ".")
    return words


def _article(method: str) -> str:
    return method if method.startswith(("the ", "a ")) else f"the {method}"


def _problems(scan: Scan, found: Preparation) -> tuple[str, ...]:
    problems = [as_sentence(text) for text in scan.provenance.warnings]
    problems += [as_sentence(part.problem) for part in _parts(found) if part.problem]
    problems += [as_sentence(text) for text in found.counts.warnings]
    if found.counts.problem:
        problems.append(as_sentence(found.counts.problem))
    if not found.trainable:
        problems.append(
            f"Nothing was trained: want at least {MIN_PATTERNS} usable patterns, got {found.moments.n}; "
            "the maps hold what needs no model (symmetry, dose and centre of mass)."
        )
    return tuple(problems)


def _parts(found: Preparation) -> list[Any]:
    parts = (found.centre, found.descan, found.ellipse, found.mask)
    return [part for part in parts if part is not None]


def as_sentence(text: Any) -> str:
    """The text with a capital in front and a full stop at its end."""
    text = str(text).strip()
    return (text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")) if text else ""
