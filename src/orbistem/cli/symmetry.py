"""`orbistem symmetry FILE -o DIR`: the symmetry of every pattern, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbistem.cli.console import current
from orbistem.cli.fit import report_result, with_prepare_options
from orbistem.cli.options import (
    At,
    CheckInstrument,
    FileOptions,
    OutputFolder,
    Overwrite,
    Region,
    ScanMirrored,
    ScanRotation,
    SourceFile,
    open_with,
    takes_file_options,
    with_file_options,
    with_places,
)


@takes_file_options
def symmetry_command(
    file: FileOptions,
    source: SourceFile,
    output: OutputFolder,
    config: Annotated[Path | None, typer.Option(help="Options from a TOML file.", metavar="TOML")] = None,
    overwrite: Overwrite = False,
    scheduler: Annotated[
        str | None, typer.Option(help="Read on the workers of a Dask scheduler.", metavar="tcp://HOST:PORT")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="Static background, taken off first: mean of the scan (default), azimuthal, none, or FILE.",
            metavar="NAME|FILE",
        ),
    ] = None,
    whiten: Annotated[str | None, typer.Option(help="auto (default), poisson or sqrt.")] = None,
    normalise: Annotated[
        str | None, typer.Option(help="none (default), or total: for a beam that drifts.")
    ] = None,
    centre: Annotated[
        str | None, typer.Option(help="Pattern centre in pixels, else found.", metavar="Y,X")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Perfect crystal, to find broken symmetry against: all, a mask of the scan, or a region.",
            metavar="NAME|MASK|Y0:Y1,X0:X1",
        ),
    ] = None,
    at: At = None,
    region: Region = None,
    check_instrument: CheckInstrument = None,
    scan_rotation: ScanRotation = None,
    scan_mirrored: ScanMirrored = None,
) -> None:
    """Measure the symmetry of every pattern, without training: maps and report in DIR."""
    from orbistem.config import FitConfig
    from orbistem.durable import recover
    from orbistem.pipeline.symmetry import measure_symmetry
    from orbistem.pipeline.workplace import check_free
    from orbistem.stream import Distributed

    options = with_file_options(FitConfig() if config is None else FitConfig.load(config), file)
    options = with_prepare_options(
        options,
        background=background,
        whiten=whiten,
        normalise=normalise,
        centre=centre,
        reference=reference,
        scan_rotation=scan_rotation,
        scan_mirrored=scan_mirrored,
    )
    options = with_places(options, at=at, region=region, check_instrument=check_instrument)
    recover(output)
    check_free(output, overwrite=overwrite)
    scan = open_with(source, options)
    with current().progress() as progress:
        result = measure_symmetry(
            scan,
            directory=output,
            config=options,
            runner=None if scheduler is None else Distributed(scheduler),
            progress=progress,
            overwrite=overwrite,
        )
    report_result("symmetry", result, output)
