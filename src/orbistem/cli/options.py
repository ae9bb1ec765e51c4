"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

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

ScanMirrored = Annotated[
    bool | None,
    typer.Option(
        "--scan-mirrored/--no-scan-mirrored",
        help="Whether one axis of the scan is inverted against the detector's; default: found.",
        show_default=False,
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
        "(default: for scans of up to 8 million numbers).",
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
        help="Positions: a key inside the file, a CSV of y, x, or none (not even a list beside the file).",
        metavar="PATH",
        rich_help_panel=_READING,
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
GainMap = Annotated[
    Path | None,
    typer.Option(
        "--gain-map",
        help="Picture (ky, kx) of the pixels' sensitivity, by which patterns are divided; zero: leave out.",
        metavar="FILE",
        rich_help_panel=_READING,
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
        "--threads",
        help="Threads that read patterns and train (default: all cores).",
        rich_help_panel=_READING,
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingOptions:
    """How FILE is read, as given on the command line."""

    dataset: Dataset = None
    positions: Positions = None
    shape: Shape = None
    dtype: DType = None
    offset: Offset = None
    frame_gap: FrameGap = None
    mask: Mask = None
    gain_map: GainMap = None
    roll: Roll = None

    def named(self) -> dict[str, Any]:
        """What was given, under the names of `orbistem.open`."""
        named = {name: getattr(self, name) for name in _field_names(ReadingOptions)}
        if self.shape is not None:
            named["shape"] = parse_numbers("shape", self.shape, (2, 3, 4), int)
        return _given(named)

    def open(self, source: Path) -> Scan:
        """Open FILE."""
        from orbistem.io import open_scan

        return open_scan(source, **self.named())


@dataclass(frozen=True, kw_only=True, slots=True)
class FileOptions(ReadingOptions):
    """The same, and with what means it is worked on."""

    gain: Gain = None
    memory: Memory = None
    threads: NThreads = None


def takes_file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the class that its parameter `file` names, one by one.

    The option parser reads signatures; so the command gets one in which `file` is replaced by the fields of
    its class, and is called with an object of that class.
    """
    signature = inspect.signature(command, eval_str=True)
    kind: type[ReadingOptions] = signature.parameters["file"].annotation
    names = _field_names(kind)
    hints = get_type_hints(kind, include_extras=True)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        file = kind(**{name: given.pop(name) for name in names})
        command(**given, file=file)

    as_option = inspect.Parameter.POSITIONAL_OR_KEYWORD
    options = [inspect.Parameter(name, as_option, default=None, annotation=hints[name]) for name in names]
    own = [one for name, one in signature.parameters.items() if name != "file"]
    shown = [one for one in own if one.default is one.empty]
    shown += [*(one for one in own if one.default is not one.empty), *options]
    called.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in shown}
    return called


def with_file_options(config: FitConfig, file: FileOptions) -> FitConfig:
    """The configuration with what was given on the command line."""
    given: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value for name, value in file.named().items()
    }
    computing: dict[str, Any] = {
        "memory_mb": None if file.memory is None else parse_memory(file.memory),
        "threads": file.threads,
    }
    config = config.replace(
        input=replace(config.input, **given), compute=replace(config.compute, **_given(computing))
    )
    if file.gain is not None:
        config = config.replace(counts=replace(config.counts, gain=file.gain))
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
        gain_map=given.gain_map,
        roll=given.roll,
    )


def _given(named: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None}


def _field_names(kind: type[ReadingOptions]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
