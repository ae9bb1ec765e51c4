"""`orbistem simulate NAME -o FILE.hspy`: a simulated scan, and its truth beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbistem.errors import OptionError, OutputError
from orbistem.progress import Progress

if TYPE_CHECKING:
    from orbistem.simulate.variants import Variant


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
    irregular: Annotated[
        bool, typer.Option("--irregular", help="Scattered positions instead of a grid.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List the known simulations and stop.")] = False,
) -> None:
    """Simulate a scan with known truth and write it as FILE, the truth as FILE.truth.nc."""
    from orbistem.simulate import SIMULATIONS
    from orbistem.simulate.variants import Variant

    if show:
        for recipe in SIMULATIONS:
            print(f"{recipe.name:24} {recipe.title}")
        return
    if output is None:
        raise OptionError("output: want -o FILE.hspy, got none; say where to write the scan")
    for path in run(
        name,
        output,
        dose=None if dose == 0 else dose,
        scan_shape=parse_shape(scan_shape),
        detector_px=detector_px,
        seed=seed,
        variant=Variant(displacement=displacement, direction_deg=direction, twist_deg=twist),
        irregular=irregular,
        overwrite=overwrite,
    ):
        print(path)


def run(
    name: str,
    output: Path,
    *,
    dose: float | None,
    scan_shape: tuple[int, int] | None,
    detector_px: int | None,
    seed: int,
    variant: Variant | None = None,
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
    from orbistem.io import save_scan
    from orbistem.simulate import find_recipe, simulate

    find_recipe(name)  # a wrong name is said first
    truth_path = output.with_suffix(".truth.nc")
    for path in (output, truth_path):
        if path.exists() and not overwrite:
            raise OutputError(
                f"want a new file, got {path}, which exists; choose another name or give --overwrite"
            )
    if output.suffix.lower() not in (".hspy", ".zspy"):
        raise OptionError(
            f"output: want a name that ends in .hspy or .zspy, got {output.name}; change the suffix"
        )
    if not output.parent.is_dir():
        raise OutputError(f"want an existing folder, got {output.parent}; create it first")
    scan, truth = simulate(
        name,
        seed=seed,
        dose=dose,
        scan_shape=scan_shape,
        detector_px=detector_px,
        variant=variant,
        irregular=irregular,
        progress=progress,
    )
    save_scan(scan, output)
    truth.save(truth_path)
    return output, truth_path


def parse_shape(text: str | None) -> tuple[int, int] | None:
    """(y, x) of "Y,X"; None stays None.

    >>> parse_shape("24,14")
    (24, 14)
    """
    if text is None:
        return None
    try:
        y, x = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError as error:
        raise OptionError(f"scan-shape: want Y,X such as 24,24, got {text!r}; give two integers") from error
    return y, x
