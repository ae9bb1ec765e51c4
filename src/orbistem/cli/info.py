"""`orbistem info FILE`: what is in the file, what was found and what was guessed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from orbistem.cli.console import current, emit_json, say
from orbistem.cli.options import (
    FileOptions,
    SourceFile,
    parse_memory,
    takes_file_options,
)

if TYPE_CHECKING:
    from orbistem.pipeline.calibration import Calibration
    from orbistem.scan import Scan

SAMPLE_BYTES = 400e6
"""A larger file is looked at in part: every n-th line."""


@takes_file_options
def info_command(
    file: FileOptions,
    source: SourceFile,
) -> None:
    """What is in a file: shape, axes, units; estimated centre, gain and dose; what was found and guessed."""
    from orbistem.io import describe

    scan = file.open(source)
    facts = describe(scan)
    memory_mb = 1024 if file.memory is None else parse_memory(file.memory)
    estimate = _estimate(scan, gain=file.gain, memory_mb=memory_mb, threads=file.threads)
    emit_json("info", facts | {"estimate": estimate})
    for line in _lines(facts, estimate):
        say(line)


def _estimate(scan: Scan, *, gain: float | None, memory_mb: int, threads: int | None) -> dict[str, Any]:
    """What a part of the scan tells about microscope and camera; with a problem where nothing can be said."""
    from orbistem.config import ComputeOptions, FitConfig
    from orbistem.errors import InputError
    from orbistem.pipeline.calibration import calibrate, measure
    from orbistem.prepare.counts import CountsOptions
    from orbistem.stream import Inline, Threads

    config = FitConfig(
        counts=CountsOptions(gain=gain), compute=ComputeOptions(memory_mb=memory_mb, threads=threads)
    )
    sample = _sample(scan)
    began = time.perf_counter()
    try:
        with current().progress() as progress:
            first = measure(
                sample,
                config,
                runner=Inline() if threads is None else Threads(threads),
                block_size=sample.choose_block_size(memory_mb * 2**20 // 8),
                progress=progress,
                allow_one=True,
            )
    except InputError as error:
        return {"patterns": sample.n_positions, "problems": [str(error)]}
    read_s = time.perf_counter() - began
    return {
        "patterns": sample.n_positions,
        "usable": first.moments.n,
        "read_s": read_s,
        "read_all_s": read_s * scan.nbytes / sample.nbytes,
        **_of_calibration(sample, calibrate(sample, config, first), whole=sample is scan),
    }


def _of_calibration(scan: Scan, found: Calibration, *, whole: bool) -> dict[str, Any]:
    """Facts of a calibration; what needs neighbouring lines is told of a whole scan only."""
    from orbistem.pipeline.calibration import calibration_words, disk_radius_px, semi_angle_mrad
    from orbistem.pipeline.scan_frame import scan_frame

    centre, counts, ellipse = found.centre, found.counts, found.ellipse
    parts: tuple[Any, ...] = (centre, found.descan, ellipse, found.mask, counts)
    problems = [str(part.problem) for part in parts if part.problem]
    notes = [*found.left_out.notes, *found.mask.notes, *calibration_words(scan, found)]
    notes += [found.scale_words] if found.scale_words else []
    rotation = None
    if whole:
        frame = scan_frame(scan, found.moments, found.pattern_place(scan), scan_rotation_deg=None)
        notes += frame.words
        rotation = float(np.rad2deg(frame.found_rad)) if np.isfinite(frame.found_rad) else None
        problems += found.left_out.lines.problems
    return {
        "centre_px": list(centre.centre_px),
        "centre_sd_px": list(centre.sd_px),
        "centre_method": centre.method,
        "descan_model": found.descan.model,
        "descan_range_px": found.descan.range_px,
        "ellipse_ratio": ellipse.ellipse[0],
        "ellipse_angle_deg": float(np.rad2deg(ellipse.ellipse[1])),
        "disk_radius_px": disk_radius_px(ellipse),
        "semi_angle_mrad": semi_angle_mrad(scan, ellipse),
        "scan_rotation_deg": rotation,
        "fly_back_columns": list(found.left_out.lines.columns),
        "rolled_by": found.left_out.lines.roll,
        "jumping_lines": list(found.left_out.lines.jumps) if whole else [],
        "blank": list(found.left_out.blank),
        "cosmic": list(found.left_out.cosmic),
        "gain": counts.gain,
        "gain_sd": counts.gain_sd,
        "offset": counts.offset,
        "dose": counts.dose,
        "dose_unit": "counts" if counts.gain is None else "electrons",
        "notes": [*notes, counts.why, *counts.warnings],
        "problems": problems,
    }


def _sample(scan: Scan) -> Scan:
    step = int(np.ceil(scan.nbytes / SAMPLE_BYTES))
    if step <= 1:
        return scan
    return scan.replace(
        patterns=scan.patterns[::step],
        measured=scan.measured[::step],
        positions=None if scan.positions is None else scan.positions[::step],
    )


def _lines(facts: dict[str, Any], estimate: dict[str, Any]) -> list[str]:
    lines = [
        f"{facts['path'] or 'array'}: {facts['format']}"
        + (f", {facts['dataset']}" if facts["dataset"] else "")
    ]
    size = " x ".join(map(str, facts["shape"]))
    lines.append(f"  shape      {size}, {facts['dtype']}, {facts['bytes'] / 1e6:.3g} MB")
    for axis in facts["axes"]:
        lines.append(
            f"  axis {axis['name']:9} {axis['size']} points, step {axis['scale']:.4g} {axis['units']}"
        )
    if facts["positions"]:
        where = facts["positions"]
        low, high = where["y"]
        left, right = where["x"]
        lines.append(
            f"  positions  {where['count']}, y {low:.4g} to {high:.4g}, x {left:.4g} to {right:.4g} "
            f"{where['units']}"
        )
    if "centre_px" in estimate:
        (y, x), (sd_y, sd_x) = estimate["centre_px"], estimate["centre_sd_px"]
        lines.append(
            f"  centre     (ky, kx) = ({y:.2f} ± {sd_y:.2f}, {x:.2f} ± {sd_x:.2f}) px: "
            f"{estimate['centre_method']}"
        )
        lines += _geometry_lines(estimate)
        gain = "not known" if estimate["gain"] is None else f"{estimate['gain']:.4g} counts per electron"
        lines.append(f"  gain       {gain}")
        lines.append(f"  dose       {estimate['dose']:.4g} {estimate['dose_unit']} per pattern")
        lines.append(
            f"  looked at  {estimate['patterns']} patterns, {estimate['usable']} of them usable, in "
            f"{estimate['read_s']:.2g} s; one pass over the whole file takes about "
            f"{estimate['read_all_s']:.2g} s"
        )
    for title, texts in (
        ("found", facts["found"]),
        ("assumed", facts["assumed"]),
        ("note", estimate.get("notes", [])),
        ("warning", [*facts["warnings"], *estimate["problems"]]),
    ):
        lines += [f"  {title:10} {text}" for text in texts]
    return lines


def _geometry_lines(estimate: dict[str, Any]) -> list[str]:
    """Descan, ellipse, bright disk and scan rotation, one line each."""
    descan = "none found"
    if estimate["descan_model"] != "none":
        descan = f"{estimate['descan_range_px']:.2f} px over the scan ({estimate['descan_model']})"
    ellipse = "none found"
    if estimate["ellipse_ratio"] != 1:
        percent = 100 * (estimate["ellipse_ratio"] - 1)
        ellipse = f"{percent:.2f} %, long axis at {estimate['ellipse_angle_deg']:.0f}°"
    lines = [f"  descan     {descan}", f"  ellipse    {ellipse}"]
    if estimate["disk_radius_px"] is not None:
        angle = estimate["semi_angle_mrad"]
        lines.append(
            f"  disk       radius {estimate['disk_radius_px']:.2f} px"
            + ("" if angle is None else f", semi-angle {angle:.4g} mrad")
        )
    if estimate["scan_rotation_deg"] is not None:
        lines.append(
            f"  rotation   scan's +x at {estimate['scan_rotation_deg']:.0f}° on the detector (least curl)"
        )
    return lines
