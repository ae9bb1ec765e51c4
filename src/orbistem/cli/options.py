"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbistem.errors import OptionError

if TYPE_CHECKING:
    from orbistem.config import FitConfig
    from orbistem.scan import Scan

SourceFile = Annotated[
    Path, typer.Argument(help="A file, or a folder of frames.", metavar="FILE", show_default=False)
]
RunFolder = Annotated[
    Path, typer.Argument(help="Folder that orbistem fit wrote.", metavar="DIR", show_default=False)
]
OutputFolder = Annotated[
    Path, typer.Option("-o", "--output", help="Folder to write.", metavar="DIR", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is already in DIR.")]

ScanRotation = Annotated[
    float | None,
    typer.Option(
        "--scan-rotation",
        help="Azimuth of the scan's +x axis on the detector, degrees, for maps in its axes; default: found.",
        metavar="DEG",
    ),
]

At = Annotated[
    list[str] | None,
    typer.Option(
        help="Position whose turns and mirrors are judged; may be given several times.", metavar="Y,X"
    ),
]
Region = Annotated[
    list[str] | None,
    typer.Option(
        help="Region whose mean pattern is judged; may be given several times.", metavar="Y0:Y1,X0:X1"
    ),
]
CheckInstrument = Annotated[
    bool | None,
    typer.Option(
        "--check-instrument/--no-check-instrument",
        help="Repeat verdicts with centre, descan, ellipse and mask moved within their uncertainties "
        "(default: for scans of up to 30 million numbers).",
        show_default=False,
    ),
]

_READING = "How the file is read"
Dataset = Annotated[
    str | None, typer.Option(help="Key inside HDF5, Zarr or npz.", metavar="PATH", rich_help_panel=_READING)
]
Positions = Annotated[
    str | None,
    typer.Option(
        help="Positions: a key inside the file, or a CSV of y, x.", metavar="PATH", rich_help_panel=_READING
    ),
]
Shape = Annotated[
    str | None,
    typer.Option(
        help="Shape Y,X or Y,X,KY,KX of raw data or of a flat stack.",
        metavar="Y,X,KY,KX",
        rich_help_panel=_READING,
    ),
]
DType = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="Number type of raw data, such as uint16.", metavar="T", rich_help_panel=_READING
    ),
]
Offset = Annotated[
    int | None,
    typer.Option(help="Bytes before the first pattern.", metavar="BYTES", rich_help_panel=_READING),
]
FrameGap = Annotated[
    int | None,
    typer.Option("--frame-gap", help="Bytes after each pattern.", metavar="BYTES", rich_help_panel=_READING),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        help="Picture (ky, kx), zero at pixels to leave out.", metavar="FILE", rich_help_panel=_READING
    ),
]
Roll = Annotated[
    int | None,
    typer.Option(
        help="The first N patterns of each line belong to the end of the line before (below 0: the last ones "
        "to the next).",
        metavar="N",
        rich_help_panel=_READING,
    ),
]
Gain = Annotated[
    float | None, typer.Option(help="Counts per electron, where known.", rich_help_panel=_READING)
]
Memory = Annotated[
    str | None,
    typer.Option(
        help="Memory for patterns, such as 500MB or 2GB (default 1GB).",
        metavar="SIZE",
        rich_help_panel=_READING,
    ),
]
NThreads = Annotated[
    int | None,
    typer.Option(
        "--threads", help="Threads that read patterns (default: all cores).", rich_help_panel=_READING
    ),
]

_SIZES = {
    "KB": 1e-3,
    "MB": 1.0,
    "GB": 1e3,
    "TB": 1e6,
    "KIB": 2**10 / 1e6,
    "MIB": 2**20 / 1e6,
    "GIB": 2**30 / 1e6,
}


def parse_numbers(
    name: str, text: str, counts: tuple[int, ...], kind: type[int] | type[float]
) -> tuple[Any, ...]:
    """Numbers of "1,2,3"; as many as one of `counts`.

    >>> parse_numbers("shape", "24,14", (2, 4), int)
    (24, 14)
    """
    try:
        values = tuple(kind(part) for part in re.split(r"[,x; ]+", text.strip()))
    except ValueError:
        values = ()
    if len(values) not in counts:
        wanted = " or ".join(map(str, counts))
        word = "whole numbers" if kind is int else "numbers"
        raise OptionError(f"{name}: want {wanted} {word} with commas between, got {text!r}; correct it")
    return values


def parse_memory(text: str) -> int:
    """Megabytes of "2GB".

    >>> parse_memory("1.5 GB")
    1500
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kKmMgGtT][iI]?[bB])\s*", text)
    if found is None or found[1].count(".") > 1 or found[1] == ".":
        raise OptionError(f"memory: want a size such as 500MB or 2GB, got {text!r}; correct it")
    return int(float(found[1]) * _SIZES[found[2].upper()])


def with_file_options(
    config: FitConfig,
    *,
    dataset: str | None,
    positions: str | None,
    shape: str | None,
    dtype: str | None,
    offset: int | None,
    frame_gap: int | None,
    mask: Path | None,
    roll: int | None,
    gain: float | None,
    memory: str | None,
    threads: int | None,
) -> FitConfig:
    """The configuration with what was given on the command line."""
    given = {
        "dataset": dataset,
        "positions": positions,
        "shape": None if shape is None else parse_numbers("shape", shape, (2, 3, 4), int),
        "dtype": dtype,
        "offset": offset,
        "frame_gap": frame_gap,
        "mask": None if mask is None else str(mask),
        "roll": roll,
    }
    computing = {"memory_mb": None if memory is None else parse_memory(memory), "threads": threads}
    config = config.replace(
        input=replace(config.input, **_given(given)), compute=replace(config.compute, **_given(computing))
    )
    if gain is not None:
        config = config.replace(counts=replace(config.counts, gain=gain))
    return config


def with_places(
    config: FitConfig, *, at: list[str] | None, region: list[str] | None, check_instrument: bool | None
) -> FitConfig:
    """The configuration with places to be judged."""
    given = config.symmetry
    changes: dict[str, Any] = {
        "at": tuple(parse_numbers("at", text, (1, 2), int) for text in at or ()) or None,
        "regions": tuple(parse_numbers("region", text.replace(":", ","), (4,), int) for text in region or ())
        or None,
        "check_instrument": check_instrument,
    }
    return config.replace(symmetry=replace(given, **_given(changes)))


def open_with(source: Path, config: FitConfig) -> Scan:
    """Open a file as the configuration says."""
    from orbistem.io import open_scan

    given = config.input
    return open_scan(
        source,
        dataset=given.dataset,
        positions=given.positions,
        shape=given.shape,
        dtype=given.dtype,
        offset=given.offset,
        frame_gap=given.frame_gap,
        mask=given.mask,
        roll=given.roll,
    )


def _given(named: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None}
