"""`orbistem info FILE`: what is in the file, what was found and what was guessed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from orbistem.cli.console import current, emit_json, say
from orbistem.cli.options import (
    Dataset,
    DType,
    FrameGap,
    Gain,
    Mask,
    Memory,
    NThreads,
    Offset,
    Positions,
    Shape,
    SourceFile,
    parse_memory,
    parse_numbers,
)

if TYPE_CHECKING:
    from orbistem.scan import Scan

SAMPLE_BYTES = 400e6
"""A larger file is looked at in part: every n-th line."""


def info_command(
    source: SourceFile,
    dataset: Dataset = None,
    positions: Positions = None,
    shape: Shape = None,
    dtype: DType = None,
    offset: Offset = None,
    frame_gap: FrameGap = None,
    mask: Mask = None,
    gain: Gain = None,
    memory: Memory = None,
    threads: NThreads = None,
) -> None:
    """What is in a file: shape, axes, units; estimated centre, gain and dose; what was found and guessed."""
    from orbistem.io import describe, open_scan

    scan = open_scan(
        source,
        dataset=dataset,
        positions=positions,
        shape=None if shape is None else parse_numbers("shape", shape, (2, 3, 4), int),
        dtype=dtype,
        offset=offset,
        frame_gap=frame_gap,
        mask=mask,
    )
    facts = describe(scan)
    memory_mb = 1024 if memory is None else parse_memory(memory)
    estimate = _estimate(scan, gain=gain, memory_mb=memory_mb, threads=threads)
    emit_json("info", facts | {"estimate": estimate})
    for line in _lines(facts, estimate):
        say(line)


def _estimate(scan: Scan, *, gain: float | None, memory_mb: int, threads: int | None) -> dict[str, Any]:
    """Centre, gain and dose from a part of the scan; with a problem where nothing can be said."""
    from orbistem.errors import InputError
    from orbistem.prepare.centre import find_centre
    from orbistem.prepare.counts import CountsOptions, estimate_gain
    from orbistem.prepare.mask import find_bad_pixels
    from orbistem.prepare.moments import Moments
    from orbistem.stream import Inline, Threads

    options = CountsOptions(gain=gain)
    sample = _sample(scan)
    runner = Inline() if threads is None else Threads(threads)
    reduction = Moments(detector_shape=scan.detector_shape, pixel_valid=np.asarray(scan.pixel_valid))
    block_size = sample.choose_block_size(memory_mb * 2**20 // 8)
    began = time.perf_counter()
    try:
        with current().progress() as progress:
            moments = runner.run(reduction, sample, block_size=block_size, progress=progress)
    except InputError as error:
        return {"patterns": sample.n_positions, "problems": [str(error)]}
    read_s = time.perf_counter() - began
    mask = find_bad_pixels(moments, pixel_valid=np.asarray(scan.pixel_valid))
    valid = mask.valid if mask.valid.any() else np.asarray(scan.pixel_valid)
    centre = find_centre(moments.trimmed_mean, pixel_valid=valid)
    counts = estimate_gain(moments, valid, options=options)
    problems = [str(part.problem) for part in (centre, mask, counts) if part.problem]
    return {
        "patterns": sample.n_positions,
        "usable": moments.n,
        "read_s": read_s,
        "read_all_s": read_s * scan.nbytes / sample.nbytes,
        "centre_px": list(centre.centre_px),
        "centre_sd_px": list(centre.sd_px),
        "centre_method": centre.method,
        "gain": counts.gain,
        "gain_sd": counts.gain_sd,
        "offset": counts.offset,
        "dose": counts.dose,
        "dose_unit": "counts" if counts.gain is None else "electrons",
        "notes": [*mask.notes, counts.why, *counts.warnings],
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
