"""`orbistem simulate NAME -o FILE.hspy`: a simulated scan, and its truth beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orbistem.cli.console import current
from orbistem.errors import OptionError, OutputError
from orbistem.progress import Progress

if TYPE_CHECKING:
    from orbistem.simulate import DetectorOptions, Optics
    from orbistem.simulate.variants import Variant

Grid = Literal["primitive", "rectangle"]


def simulate_command(
    name: Annotated[
        str, typer.Argument(help="What to simulate: graphene, graphene-vacancy, mos2, ...; --list shows all.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write, .hspy or .zspy.", metavar="FILE")
    ] = None,
    dose: Annotated[float, typer.Option(help="Electrons per pattern; 0 writes noise-free patterns.")] = 1e5,
    scan_shape: Annotated[
        str | None, typer.Option("--scan-shape", help="Positions Y,X.", metavar="Y,X")
    ] = None,
    detector_px: Annotated[
        int | None,
        typer.Option("--detector-px", help="Detector pixels along each side (default: 64 for most)."),
    ] = None,
    displacement: Annotated[
        float | None, typer.Option(help="How far the atoms are displaced, Å, where NAME takes it.")
    ] = None,
    direction: Annotated[
        float | None, typer.Option(help="Direction of the displacement, degrees from +x to +y.")
    ] = None,
    twist: Annotated[
        float | None, typer.Option(help="Twist of two layers, degrees, where NAME takes it.")
    ] = None,
    thickness: Annotated[
        float | None, typer.Option(help="Thickness along the beam, Å, where NAME takes it.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="primitive (along the lattice vectors) or rectangle.", metavar="GRID")
    ] = None,
    cells: Annotated[
        str | None, typer.Option(help="Size of a rectangle in rectangular cells.", metavar="Y,X")
    ] = None,
    irregular: Annotated[
        bool, typer.Option("--irregular", help="Scattered positions instead of a grid.")
    ] = False,
    voltage: Annotated[float | None, typer.Option(help="Acceleration voltage, kV.", metavar="KV")] = None,
    semi_angle: Annotated[
        float | None, typer.Option("--semi-angle", help="Probe-forming semi-angle, mrad.", metavar="MRAD")
    ] = None,
    half_angle: Annotated[
        float | None,
        typer.Option("--half-angle", help="Half the width of the detector, mrad.", metavar="MRAD"),
    ] = None,
    defocus: Annotated[float | None, typer.Option(help="Underfocus, Å.", metavar="Å")] = None,
    aberration: Annotated[
        list[str] | None,
        typer.Option(help="Such as C30=1e4 (Å) or phi12=0.3 (rad); may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    source: Annotated[
        float | None, typer.Option(help="Standard deviation of the effective source, Å.", metavar="Å")
    ] = None,
    phonons: Annotated[int | None, typer.Option(help="Configurations of frozen phonons.")] = None,
    phonon_sd: Annotated[
        float | None, typer.Option("--phonon-sd", help="Thermal displacement per axis, Å.", metavar="Å")
    ] = None,
    psf: Annotated[
        float, typer.Option(help="Standard deviation of an electron's spread over pixels.", metavar="PX")
    ] = 0.0,
    descan: Annotated[
        str | None,
        typer.Option(
            help="Shift of the pattern, pixels, over all rows and over all columns.", metavar="KY,KX,KY,KX"
        ),
    ] = None,
    hot_pixels: Annotated[int, typer.Option("--hot-pixels", help="Number of hot pixels.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List the known simulations and stop.")] = False,
) -> None:
    """Simulate a scan with known truth and write it as FILE, the truth as FILE.truth.nc."""
    from orbistem.simulate import SIMULATIONS, DetectorOptions, find_recipe
    from orbistem.simulate.variants import Variant

    if show:
        for recipe in SIMULATIONS:
            print(f"{recipe.name:24} {recipe.title}")
        return
    recipe = find_recipe(name)  # a wrong name is said first
    if output is None:
        raise OptionError("output: want -o FILE.hspy, got none; say where to write the scan")
    usual = recipe.optics
    optics = replace(
        usual,
        voltage_kv=_or(voltage, usual.voltage_kv),
        semiangle_mrad=_or(semi_angle, usual.semiangle_mrad),
        half_angle_mrad=_or(half_angle, usual.half_angle_mrad),
        defocus=_or(defocus, usual.defocus),
        aberrations=tuple(parse_aberration(text) for text in aberration or ()) or usual.aberrations,
        source_sd=_or(source, usual.source_sd),
        phonon_configurations=usual.phonon_configurations if phonons is None else phonons,
        phonon_sd=_or(phonon_sd, usual.phonon_sd),
    )
    detector = DetectorOptions(psf_sd_px=psf, descan_px=parse_descan(descan), hot_pixels=hot_pixels)
    with current().progress() as progress:
        paths = run(
            name,
            output,
            dose=None if dose == 0 else dose,
            scan_shape=parse_shape(scan_shape),
            detector_px=detector_px,
            seed=seed,
            optics=optics,
            detector=None if detector == DetectorOptions() else detector,
            variant=Variant(
                displacement=displacement, direction_deg=direction, twist_deg=twist, thickness=thickness
            ),
            grid=parse_grid(grid),
            cells=parse_shape(cells, "cells"),
            irregular=irregular,
            overwrite=overwrite,
            progress=progress,
        )
    for path in paths:
        print(path)


def run(
    name: str,
    output: Path,
    *,
    dose: float | None,
    scan_shape: tuple[int, int] | None,
    detector_px: int | None,
    seed: int,
    optics: Optics | None = None,
    detector: DetectorOptions | None = None,
    variant: Variant | None = None,
    grid: Grid | None = None,
    cells: tuple[int, int] | None = None,
    irregular: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Simulate and write; return the paths of scan and truth.

    Parameters
    ----------
    output
        NAME.hspy or NAME.zspy; the truth goes to NAME.truth.nc.

    Other parameters are those of `orbistem.simulate.simulate`.
    """
    from orbistem.durable import require_replaceable
    from orbistem.io import save_scan
    from orbistem.simulate import find_recipe, simulate

    find_recipe(name)  # a wrong name is said first
    if output.suffix.lower() not in (".hspy", ".zspy"):
        raise OptionError(
            f"output: want a name that ends in .hspy or .zspy, got {output.name or output}; change the suffix"
        )
    truth_path = output.with_suffix(".truth.nc")
    for path in (output, truth_path):
        require_replaceable(path)
        if path.exists() and not overwrite:
            raise OutputError(
                f"want a new file, got {path}, which exists; choose another name or give --overwrite"
            )
    if not output.parent.is_dir():
        raise OutputError(f"want an existing folder, got {output.parent}; create it first")
    scan, truth = simulate(
        name,
        seed=seed,
        dose=dose,
        scan_shape=scan_shape,
        detector_px=detector_px,
        optics=optics,
        detector=detector,
        variant=variant,
        grid=grid,
        cells=cells,
        irregular=irregular,
        progress=progress,
    )
    save_scan(scan, output)
    truth.save(truth_path)
    return output, truth_path


def parse_shape(text: str | None, option: str = "scan-shape") -> tuple[int, int] | None:
    """(y, x) of "Y,X"; None stays None.

    >>> parse_shape("24,14")
    (24, 14)
    """
    if text is None:
        return None
    try:
        y, x = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError as error:
        raise OptionError(f"{option}: want Y,X such as 24,24, got {text!r}; give two integers") from error
    return y, x


def parse_aberration(text: str) -> tuple[str, float]:
    """Name and value of "NAME=VALUE".

    >>> parse_aberration("C30=1e4")
    ('C30', 10000.0)
    """
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise OptionError(f"aberration: want NAME=VALUE such as C30=1e4, got {text!r}; correct it") from error


def parse_descan(text: str | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """Shift (ky, kx) over all rows and over all columns, of "KY,KX,KY,KX"; none is none.

    >>> parse_descan("1,0,0,-2.5")
    ((1.0, 0.0), (0.0, -2.5))
    """
    if text is None:
        return (0.0, 0.0), (0.0, 0.0)
    try:
        first, second, third, fourth = (float(part) for part in text.split(","))
    except ValueError as error:
        raise OptionError(
            f"descan: want KY,KX over all rows, then over all columns, such as 1,0,0,2; got {text!r}; "
            "give four numbers"
        ) from error
    return (first, second), (third, fourth)


def parse_grid(text: str | None) -> Grid | None:
    """One of the two words; None stays None."""
    if text is None:
        return None
    if text == "primitive":
        return "primitive"
    if text == "rectangle":
        return "rectangle"
    raise OptionError(f"grid: want primitive or rectangle, got {text!r}; choose one")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
