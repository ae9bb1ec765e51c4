"""`orbistem transform DIR FILE -o DIR2`: a trained model on another scan."""

from __future__ import annotations

from typing import Annotated

import typer

from orbistem.cli.console import current
from orbistem.cli.fit import report_result
from orbistem.cli.options import (
    FileOptions,
    OutputFolder,
    Overwrite,
    RunFolder,
    SourceFile,
    open_with,
    takes_file_options,
    with_file_options,
)


@takes_file_options
def transform_command(
    file: FileOptions,
    directory: RunFolder,
    source: SourceFile,
    output: OutputFolder,
    overwrite: Overwrite = False,
    scheduler: Annotated[
        str | None, typer.Option(help="Read on the workers of a Dask scheduler.", metavar="tcp://HOST:PORT")
    ] = None,
) -> None:
    """Apply the model of DIR to another scan, without training: maps and report in DIR2."""
    from orbistem.config import FitConfig
    from orbistem.durable import recover
    from orbistem.pipeline.apply import transform
    from orbistem.pipeline.workplace import check_free
    from orbistem.result import load
    from orbistem.stream import Distributed

    options = with_file_options(FitConfig(), file)
    recover(output)
    check_free(output, overwrite=overwrite)
    trained = load(directory)
    scan = open_with(source, options)
    with current().progress() as progress:
        result = transform(
            trained,
            scan,
            directory=output,
            config=options,
            runner=None if scheduler is None else Distributed(scheduler),
            progress=progress,
            overwrite=overwrite,
        )
    report_result("transform", result, output)
