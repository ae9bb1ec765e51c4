"""`orbistem convert A B`: any file as HDF5 or Zarr, with everything that was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbistem.cli.console import current, emit_json, say
from orbistem.cli.options import (
    ReadingOptions,
    SourceFile,
    takes_file_options,
)


@takes_file_options
def convert_command(
    file: ReadingOptions,
    source: SourceFile,
    target: Annotated[
        Path,
        typer.Argument(
            help="File to write: NAME.hspy or .h5 (HDF5), NAME.zspy or .zarr (Zarr).",
            metavar="TARGET",
            show_default=False,
        ),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace TARGET.")] = False,
) -> None:
    """Write a file in another format: equal counts, with the axes, masks and positions that were found."""
    from orbistem.io import describe
    from orbistem.pipeline.convert import check_target, convert

    check_target(source, target, overwrite=overwrite)
    scan = file.open(source)
    with current().progress() as progress:
        convert(scan, target, progress=progress)
    facts = describe(scan)
    emit_json("convert", {"source": str(source), "target": str(target), "input": facts})
    say(f"{target}: {' x '.join(map(str, facts['shape']))}, {facts['dtype']}, from {facts['format']}")
    for text in (*facts["assumed"], *facts["warnings"]):
        say(f"  {text}")
