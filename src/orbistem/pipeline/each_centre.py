"""One more pass over the file, where it is asked for: every single pattern by the edge of its disk."""

from __future__ import annotations

from orbistem.config import FitConfig
from orbistem.pipeline.calibration import Calibration, FirstPass, disk_radius_px, with_rest
from orbistem.prepare.descan import descan_shift
from orbistem.prepare.each_centre import EachCentre, EdgeReader, judge
from orbistem.prepare.tiles import scan_coordinates
from orbistem.progress import Progress
from orbistem.scan import Scan
from orbistem.stream import Runner

__all__ = ["follow_each"]


def follow_each(
    scan: Scan,
    config: FitConfig,
    first: FirstPass,
    found: Calibration,
    *,
    runner: Runner,
    block_size: int,
    progress: Progress,
) -> tuple[Calibration, EachCentre | None]:
    """What was found about the beam's jumps, and the calibration with the mean pattern that they do not blur.

    Returns
    -------
    Calibration
        As it was where nothing is to be corrected.
    EachCentre or None
        None where it was not asked for.
    """
    if config.descan.per_pattern == "none":
        return found, None
    smooth = descan_shift(found.descan.coefficients_px, scan_coordinates(scan))
    still = found if found.rest is not None else with_rest(found, scan, first.tiles)
    radius_px = disk_radius_px(found.ellipse)
    if radius_px is None or still.rest is None:
        return found, judge(None)
    reader = EdgeReader(rest=still.rest, radius_px=radius_px, valid=found.valid, shift_px=smooth)
    if not reader.sees_an_edge:
        return found, judge(None)
    each = judge(runner.run(reader, scan, block_size=block_size, progress=progress))
    if each.problem is not None:
        return found, each
    return with_rest(found, scan, first.tiles, jumps=each.beam), each
