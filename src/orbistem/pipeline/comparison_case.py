"""What all methods of a comparison are given: counts, and whatever is known about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.config import FitConfig
from orbistem.errors import InputError
from orbistem.harmonics.rings import polar_coordinates
from orbistem.harmonics.rotation import turn_pixels
from orbistem.harmonics.whitening import linear_weight
from orbistem.metrics import Pairs, fold_pairs, judged_sites, truth_pairs
from orbistem.pipeline.preparation import block_size_for, prepare
from orbistem.plan import Plan
from orbistem.progress import Silent
from orbistem.scan import Scan, Truth
from orbistem.simulate import expose
from orbistem.stream import Inline

__all__ = ["Case", "make_case"]

HELDOUT_SHARE = 0.1
TURNED = 192
"""Patterns of which a turned copy is made."""
NEAR_MIDDLE_PX = 0.1
"""A pattern whose centre is this near the detector's middle is turned by 90° without interpolation."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """One scan at one dose.

    Attributes
    ----------
    dose
        Electrons in the beam per pattern; NaN where the scan was measured.
    scan
        Counts, all draws one after another along y; positions held out are not `measured`.
    plan
        Linear whitening, for all methods but ours, which makes its own.
    frames
        (n, ky, kx) all usable patterns.
    fitted, judged
        (n,) bool: patterns that methods are fitted to, and those on which the explained variance is measured.
    clean
        (n, ky, kx) expected electrons, or None.
    again
        (n, ky, kx) counts drawn a second time, or None.
    turned_rows, turned
        (t,) and (t, ky, kx): some patterns, turned in pixels by random angles about the centre. Where the
        clean patterns are known the noise is drawn after turning, else it is turned along.
    quarter
        (t, ky, kx) the same patterns turned by 90°, 180° or 270°, which needs no interpolation, the noise
        drawn after turning; None where the clean patterns are unknown, or the beam is not in the middle of a
        square detector.
    pairs, site
        What the truth, or the scan's symmetry, says; site (n,) is −1 where it is not asked for.
    static, weight
        (ky, kx) mean pattern and 1/f̄, with which variance is measured.
    """

    dose: float
    scan: Scan
    plan: Plan
    frames: NDArray[Any]
    fitted: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    clean: NDArray[np.float32] | None
    again: NDArray[Any] | None
    turned_rows: NDArray[np.intp]
    turned: NDArray[Any]
    quarter: NDArray[np.float32] | None
    pairs: Pairs | None
    site: NDArray[np.int64] | None
    static: NDArray[np.float64]
    weight: NDArray[np.float64]
    draws: int = 1


def make_case(
    scan: Scan,
    truth: Truth | None,
    *,
    config: FitConfig,
    dose: float | None,
    draws: int,
    scan_fold: int | None,
    within: float | None,
    seed: int,
) -> Case:
    """Prepare a scan for comparison.

    Parameters
    ----------
    scan
        Counts; or, with a dose, noise-free patterns: the fraction of the beam in each pixel.
    truth
        Of the scan, where it is known.
    config
        Options of the preparation.
    dose
        Electrons in the beam per pattern: counts are drawn. None: the counts are those of the scan.
    draws
        How many times the scan is drawn; the draws are fitted together.
    scan_fold, within
        See `orbistem.metrics.fold_pairs`; used where there is no truth.
    seed
        Seeds draws, turns, and what is held out.

    Raises
    ------
    InputError
        With a dose: not noise-free patterns.
    """
    rng = np.random.default_rng([seed, 11])
    fractions = None
    if dose is not None:
        fractions = _fractions(scan)
        scan = _drawn(scan, fractions, dose, draws, rng)
    config = config.replace(prepare=replace(config.prepare, whiten="poisson"))
    prepared = prepare(
        scan,
        config,
        runner=Inline(),
        block_size=block_size_for(scan, config.compute.memory_mb),
        progress=Silent(),
    )
    usable = np.asarray(prepared.usable)
    if not prepared.trainable:
        raise InputError(f"compare: want 32 usable patterns or more, got {int(usable.sum())}; give a scan")
    frames = np.asarray(scan.block(0, scan.n_positions).frames)[usable]
    plan = prepared.plan
    fitted = np.ones(len(frames), bool)
    clean = again = None
    if fractions is not None and dose is not None:
        clean = (np.tile(fractions, (draws, 1, 1)) * np.float32(dose))[usable]
        again = rng.poisson(np.maximum(clean, 0)).astype(np.float32)
        static = clean.mean(axis=0, dtype=np.float64)
        plan_weight = _weight(static, plan)
    else:
        fitted = rng.permutation(len(frames)) >= round(HELDOUT_SHARE * len(frames))
        static, plan_weight = plan.clean_mean, _weight(plan.clean_mean, plan)
    held = np.ones(scan.n_positions, bool)
    held[np.flatnonzero(usable)[~fitted]] = False
    rows = np.sort(rng.permutation(len(frames))[:TURNED])
    pairs = _pairs(scan, truth, draws=draws, scan_fold=scan_fold, within=within)
    site = None
    if truth is not None:
        site = np.tile(np.where(judged_sites(truth), truth.site.ravel(), -1), draws)[usable]
    return Case(
        dose=float("nan") if dose is None else dose,
        scan=scan.replace(measured=scan.measured & held.reshape(scan.scan_shape)),
        plan=plan,
        frames=frames,
        fitted=fitted,
        judged=np.ones(len(frames), bool) if clean is not None else ~fitted,
        clean=clean,
        again=again,
        turned_rows=rows,
        turned=_turned(frames[rows] if clean is None else clean[rows], static, plan, clean is not None, rng),
        quarter=None
        if clean is None
        else _quarter_turned(clean[rows], static, plan, np.random.default_rng([seed, 12])),
        pairs=None if pairs is None else _among(pairs, usable),
        site=site,
        static=static,
        weight=plan_weight,
        draws=draws,
    )


def _fractions(scan: Scan) -> NDArray[np.float32]:
    frames = np.asarray(scan.block(0, scan.n_positions).frames)
    if frames.dtype.kind != "f" or not 0 < float(frames.sum(axis=(1, 2)).max()) < 1.0 + 1e-3:
        raise InputError(
            "dose: want noise-free patterns, the fraction of the beam in each pixel, got counts; leave "
            "--dose out, or make the file with orbistem simulate --dose 0"
        )
    return frames.astype(np.float32)


def _drawn(
    scan: Scan, fractions: NDArray[np.float32], dose: float, draws: int, rng: np.random.Generator
) -> Scan:
    counts = expose(np.tile(fractions, (draws, 1, 1)), dose=dose, rng=rng)
    if not scan.is_grid:
        positions = None if scan.positions is None else np.tile(scan.positions, (draws, 1))
        return Scan.from_array(
            counts,
            positions=positions,
            position_units=scan.position_units,
            detector_axes=scan.detector_axes,
            pixel_valid=scan.pixel_valid,
        )
    ny, nx = scan.scan_shape
    return Scan.from_array(
        counts.reshape(draws * ny, nx, *scan.detector_shape),
        scan_axes=scan.scan_axes,
        detector_axes=scan.detector_axes,
        pixel_valid=scan.pixel_valid,
        scan_vectors=scan.scan_vectors,
    )


def _weight(static: NDArray[np.float64], plan: Plan) -> NDArray[np.float64]:
    polar = polar_coordinates(
        plan.detector_shape, centre_px=plan.centre_px, pixel_scale=plan.pixel_scale, ellipse=plan.ellipse
    )
    return np.asarray(linear_weight(static, polar, pixel_valid=plan.pixel_valid) ** 2)


def _turned(
    patterns: NDArray[Any], static: NDArray[np.float64], plan: Plan, noise: bool, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Static background plus the turned deviation from it."""
    angles = rng.uniform(0, 2 * np.pi, len(patterns))
    ground = static if noise else static * (plan.gain or 1.0) + plan.offset
    apart = patterns - ground
    found = np.concatenate(
        [
            ground + turn_pixels(one[None], by_rad=float(angle), centre_px=plan.centre_px)
            for one, angle in zip(apart, angles, strict=True)
        ]
    )
    return (rng.poisson(np.maximum(found, 0)) if noise else found).astype(np.float32)


def _quarter_turned(
    patterns: NDArray[Any], static: NDArray[np.float64], plan: Plan, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    """Static background plus the deviation, turned by a multiple of 90°; None where this is not exact."""
    ky, kx = static.shape
    away = np.subtract(plan.centre_px, ((ky - 1) / 2, (kx - 1) / 2))
    if ky != kx or np.abs(away).max() > NEAR_MIDDLE_PX:
        return None
    turns = rng.integers(1, 4, len(patterns))
    apart = patterns - static
    found = static + np.stack([np.rot90(one, by) for one, by in zip(apart, turns, strict=True)])
    return np.asarray(rng.poisson(np.maximum(found, 0)), np.float32)


def _pairs(
    scan: Scan, truth: Truth | None, *, draws: int, scan_fold: int | None, within: float | None
) -> Pairs | None:
    if truth is not None:
        once = truth_pairs(truth)
        n = truth.site.size
    elif scan_fold is not None:
        once = fold_pairs(scan.scan_shape, scan_fold, within=within)
        n, draws = scan.n_positions, 1
    else:
        return None
    return Pairs(
        rows=np.concatenate([once.rows + n * draw for draw in range(draws)]),
        turn=np.tile(once.turn, draws),
        order=np.tile(once.order, draws),
    )


def _among(pairs: Pairs, usable: NDArray[np.bool_]) -> Pairs:
    """The pairs of usable positions, counted among these."""
    if usable.all():
        return pairs
    number = np.cumsum(usable) - 1
    keep = usable[pairs.rows].all(axis=1)
    return Pairs(rows=number[pairs.rows[keep]], turn=pairs.turn[keep], order=pairs.order[keep])
