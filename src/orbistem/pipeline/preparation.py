"""First pass over the file: what the patterns are like, and the plan that turns them into harmonics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.harmonics.noise import nearest_possible
from orbistem.harmonics.rings import polar_coordinates
from orbistem.harmonics.spread import spread_of, variance_left
from orbistem.harmonics.whitening import WhiteningChoice, choose_whitening, linear_weight
from orbistem.pipeline.calibration import (
    MIN_PATTERNS,
    Calibration,
    as_sentence,
    calibrate,
    calibration_words,
    edge_words,
    measure,
)
from orbistem.pipeline.each_centre import follow_each
from orbistem.plan import Plan, reference_total, require_light
from orbistem.prepare.centre import CentreFit, check_centre
from orbistem.prepare.counts import CountsFit
from orbistem.prepare.descan import DescanFit, descan_shift
from orbistem.prepare.each_centre import EachCentre
from orbistem.prepare.ellipse import EllipseFit
from orbistem.prepare.left_out import LeftOut
from orbistem.prepare.mask import MaskResult, counts_per_electron
from orbistem.prepare.moments import MomentsResult, autocorrelation
from orbistem.prepare.tiles import scan_coordinates
from orbistem.progress import Progress
from orbistem.scan import Scan
from orbistem.stream import Runner

__all__ = ["MIN_PATTERNS", "Preparation", "as_sentence", "block_size_for", "prepare"]

CORRELATED_FROM = 0.1
"""Sum of the noise autocorrelation this far from 1 enters the noise covariance (DESIGN, noise of pixels)."""
FAINT = 0.5
"""Signal over noise of a pixel below which rings with gaps keep their orders; see `RingOptions.gaps`."""
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
    left_out
        Patterns that were left out, and what is wrong along the lines of the scan; None with a replayed plan.
    each
        How single patterns were followed; None where that was not asked for.
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
    left_out: LeftOut | None = None
    each: EachCentre | None = None
    words: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def electrons(self) -> NDArray[np.float64]:
        """Total of each pattern over the pixels that the pass has read, electrons, (n,)."""
        offset = self.plan.offset * float(np.isfinite(self.moments.mean).sum())
        return (self.moments.totals - offset) / self.plan.counts_per_electron

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which positions enter everything that follows, (n,) in flat scan order."""
        return self.moments.usable


def block_size_for(scan: Scan, memory_mb: int) -> int:
    """Positions a block; the same for any number of threads, so that results are the same."""
    return scan.choose_block_size(max(1, memory_mb * 2**20 // BLOCK_SHARE))


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
    seen_once = measure(scan, config, runner=runner, block_size=block_size, progress=progress)
    found, each = follow_each(
        scan,
        config,
        seen_once,
        calibrate(scan, config, seen_once),
        runner=runner,
        block_size=block_size,
        progress=progress,
    )
    moments, valid, counts = found.moments, found.valid, found.counts
    descan, centre, ellipse, rest = found.descan, found.centre, found.ellipse, found.rest
    gain = counts.gain or 1.0
    mean = (found.mean - counts.offset) / gain
    variance = np.maximum(moments.variance - found.wandering_variance, 0.0)
    rings = replace(config.rings, gaps=_beside_gaps(found, variance, config))
    variance = variance / gain**2
    total = None
    if config.prepare.normalise == "total":
        totals = (moments.totals - counts.offset * int(scan.pixel_valid.sum())) / gain
        total = reference_total(totals)
        mean, variance = _normalised(mean, variance, totals, valid, total)
    if rest is None:
        mean = np.where(np.isfinite(mean), mean, 0.0)
    variance = np.where(np.isfinite(variance), variance, 0.0)
    polar = polar_coordinates(
        scan.detector_shape,
        centre_px=centre.centre_px,
        pixel_scale=found.pixel_scale,
        ellipse=ellipse.ellipse,
    )
    lit = valid & np.isfinite(mean)
    require_light(mean, lit)
    correlation, spread_px = _pixel_noise(moments, valid, counts)
    if (
        spread_px is not None and config.counts.gain is None
    ):  # known better than by the sum of the correlations
        together = 1 / variance_left(spread_px)
        counts = replace(counts, together=together, dose=counts.dose * counts.together / together)
    whitening = choose_whitening(
        mean,
        variance,
        linear_weight(mean, polar, pixel_valid=lit),
        pixel_valid=lit,
        wanted=config.prepare.whiten,
        spread=spread_px is not None,
    )
    plan = Plan(
        mean=mean,
        pixel_valid=valid,
        centre_px=centre.centre_px,
        pixel_scale=found.pixel_scale,
        gain=counts.gain,
        offset=float(counts.offset),
        normalise=config.prepare.normalise,
        reference_total=total,
        whitening=whitening.chosen,
        rings=rings,
        autocorrelation=correlation,
        spread_px=spread_px,
        together=counts.together,
        ellipse=ellipse.ellipse,
    )
    if rest is not None:
        profile = (rest.profile - counts.offset) / gain
        if total is not None:
            profile *= total / float(np.nansum(((moments.mean - counts.offset) / gain)[valid]))
        coefficients = descan.coefficients_px
        followed = each is not None and each.problem is None
        plan = plan.with_descan(
            descan_shift(coefficients, scan_coordinates(scan)),
            coefficients,
            profile,
            shift_sd_px=float(
                np.hypot(np.nan_to_num(descan.sd_px), each.left_sd_px if each and followed else 0.0)
            ),
            each_px=each.shift_px if each and followed else None,
            each_of=scan.provenance.checksum,
        )
    done = Preparation(
        moments=moments,
        centre=centre,
        mask=found.mask,
        counts=counts,
        whitening=whitening,
        pixel_scale=found.pixel_scale,
        plan=plan,
        trainable=moments.n >= MIN_PATTERNS,
        descan=descan,
        ellipse=ellipse,
        left_out=seen_once.left_out,
        each=each,
    )
    return replace(done, words=_words(scan, done, found), problems=_problems(scan, done))


def _beside_gaps(
    found: Calibration, variance: NDArray[np.float64], config: FitConfig
) -> Literal["drop", "shrink"]:
    """What rings with gaps do; `variance` in stored units, without what descan makes."""
    if config.rings.gaps != "auto":
        return config.rings.gaps
    # waves are longer than a pixel: where its noise is that of its neighbours, too, they see the sum
    together = max(found.counts.correlated, 1.0) if np.isfinite(found.counts.correlated) else 1.0
    electron = together * counts_per_electron(found.moments, found.valid)
    noise = electron * (found.mean - found.counts.offset)
    lit = found.valid & np.isfinite(found.mean) & np.isfinite(variance)
    lit &= found.mean - found.counts.offset > 0.01 * np.nanmax(np.where(lit, found.mean, 0.0), initial=0.0)
    if not lit.any():
        return "drop"
    signal = float(np.mean(np.maximum(variance[lit] / noise[lit] - 1, 0.0)))
    return "shrink" if signal < FAINT else "drop"


def _pixel_noise(
    moments: MomentsResult, valid: NDArray[np.bool_], counts: CountsFit
) -> tuple[NDArray[np.float64] | None, float | None]:
    """Autocorrelation of the noise, or the spread behind it, where pixels are clearly not independent."""
    if counts.gain is None or not counts.warnings or abs(counts.correlated - 1) <= CORRELATED_FROM:
        return None, None
    spread_px = spread_of(autocorrelation(moments, valid, over="mean"))
    if spread_px is not None:
        return None, spread_px
    return nearest_possible(autocorrelation(moments, valid)), None


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


def _words(scan: Scan, found: Preparation, calibration: Calibration) -> tuple[str, ...]:
    moments, centre, counts = found.moments, found.centre, found.counts
    words = []
    left_out = calibration.left_out
    n_left_out = int(left_out.positions.sum())
    unusable = scan.n_positions - moments.n - n_left_out
    used = f"{moments.n} of {scan.n_positions} patterns were used"
    used += f"; {unusable} are not measured, empty or constant" if unusable else ""
    words.append(used + (f"; {n_left_out} are left out." if n_left_out else "."))
    words += [as_sentence(note) for note in left_out.notes]
    y, x = centre.centre_px
    sd = centre.sd_px
    if centre.method == "given":
        words.append(f"The pattern centre was given: (ky, kx) = ({y:.2f}, {x:.2f}) px.")
    else:
        words.append(
            f"The pattern centre is (ky, kx) = ({y:.2f} ± {sd[0]:.2f}, {x:.2f} ± {sd[1]:.2f}) px, "
            f"found by {_article(centre.method)}."
        )
    if calibration.scale_words:
        words.append(calibration.scale_words)
    words += calibration_words(scan, calibration)
    words += [as_sentence(found.each.why)] if found.each is not None else []
    words += edge_words(found.plan, calibration)
    gaps = sum(not ring.complete and ring.n_orders > 0 for ring in found.plan.grid.rings)
    if gaps:
        words.append(
            f"{gaps} rings have gaps; they "
            + (
                "keep their orders, and what hides in the gaps is taken for zero (single patterns are faint)."
                if found.plan.rings.gaps == "shrink"
                else "keep only the orders that the gaps leave clear."
            )
        )
    words += [as_sentence(note) for note in found.mask.notes]
    words.append(as_sentence(f"Counts: {counts.why}"))
    if found.plan.spread_px is not None:
        words.append(
            f"One electron lights several pixels, as a Gaussian of {found.plan.spread_px:.2f} px; the noise "
            "that this makes is taken into account."
        )
    if counts.gain is not None:
        words.append(f"The mean pattern holds {counts.dose:.4g} electrons.")
    if found.plan.normalise == "total":
        words.append(
            "Every pattern was scaled to the same total, as asked for; the noise was scaled with it."
        )
    words.append(as_sentence(found.whitening.why))
    return tuple(words)


def _article(method: str) -> str:
    return method if method.startswith(("the ", "a ")) else f"the {method}"


def _problems(scan: Scan, found: Preparation) -> tuple[str, ...]:
    problems = [as_sentence(text) for text in scan.provenance.warnings]
    problems += [as_sentence(part.problem) for part in _parts(found) if part.problem]
    problems += [as_sentence(text) for text in found.counts.warnings]
    if found.left_out is not None:
        problems += [as_sentence(text) for text in found.left_out.lines.problems]
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
