"""`orbistem compare FILE -o DIR`: every method side by side, with scores."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbistem.cli.console import current, emit_json, say
from orbistem.cli.options import (
    FileOptions,
    OutputFolder,
    Overwrite,
    SourceFile,
    open_with,
    takes_file_options,
    with_file_options,
)

if TYPE_CHECKING:
    from orbistem.pipeline.scoring import Scores
    from orbistem.scan import Truth


@takes_file_options
def compare_command(
    file: FileOptions,
    source: SourceFile,
    output: OutputFolder,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Truth of a simulated scan (default: FILE.truth.nc where it exists).", metavar="FILE"
        ),
    ] = None,
    dose: Annotated[
        str | None,
        typer.Option(
            help="Electrons per pattern, with commas: counts are drawn from FILE, which is noise-free.",
            metavar="D,D,...",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of the scan that are fitted together.")] = 1,
    methods: Annotated[
        str | None, typer.Option(help="Some methods only, with commas (default: all).", metavar="NAME,...")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time for training each other model.")] = 120.0,
    latent_dim: Annotated[
        int | None, typer.Option(help="Number of latents (default: 3, ours as in --config).")
    ] = None,
    components: Annotated[int, typer.Option(help="Components of PCA, NMF, ICA; clusters.")] = 16,
    scan_fold: Annotated[
        int | None,
        typer.Option(help="2 or 4: the scan's middle is such a rotation axis (a scan over beam tilts)."),
    ] = None,
    within: Annotated[
        float | None, typer.Option(help="With --scan-fold: only positions this near to the middle.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Options from a TOML file.", metavar="TOML")] = None,
    normalise: Annotated[
        str | None, typer.Option(help="none (default), or total: for a beam that drifts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Compare PCA, NMF, autoencoders, invariants, the centre of mass and OrbitVAE on one scan."""
    from orbistem.config import FitConfig
    from orbistem.pipeline.compare import CompareOptions, check_place, compare

    options = CompareOptions(
        methods=() if methods is None else tuple(part.strip() for part in methods.split(",")),
        doses=() if dose is None else _doses(dose),
        draws=draws,
        seconds=seconds,
        latent_dim=latent_dim,
        components=components,
        scan_fold=scan_fold,
        within=within,
        seed=seed,
    )
    fit_config = with_file_options(FitConfig() if config is None else FitConfig.load(config), file)
    if normalise is not None:
        named: Any = {"normalise": normalise}
        fit_config = fit_config.replace(prepare=replace(fit_config.prepare, **named))
    check_place(output, overwrite=overwrite)  # before anything is read
    scan = open_with(source, fit_config)
    with current().progress() as progress:
        found = compare(
            scan,
            _truth(source, truth),
            config=fit_config,
            options=options,
            directory=output,
            overwrite=overwrite,
            progress=progress,
            tell=_tell,
        )
    best = {row.method: row.explained for row in found.rows if math.isfinite(row.explained)}
    emit_json("compare", {"directory": str(output), "rows": len(found.rows), "explained": best})
    say(f"The table is in {output / 'table.md'}, the figure in {output / 'comparison.png'}.")


def _tell(row: Scores) -> None:
    if row.problem:
        say(f"{row.title}: {row.problem}")
        return
    parts = [
        f"{name} {value:.3g}"
        for name, value in (
            ("fold error", row.fold_error),
            ("rotation error", row.rotation_error),
            ("explained variance", row.explained),
            ("seconds", row.seconds),
        )
        if math.isfinite(value)
    ]
    dose = "" if math.isnan(row.dose) else f" at {row.dose:.0e} electrons"
    say(f"{row.title}{dose}: {', '.join(parts)}")


def _truth(source: Path, given: Path | None) -> Truth | None:
    from orbistem.errors import InputError
    from orbistem.scan import Truth

    path = source.with_suffix(".truth.nc") if given is None else given
    if path.is_file():
        return Truth.load(path)
    if given is not None:
        raise InputError(f"truth: want an existing .truth.nc file, got {given}; correct it or leave it out")
    return None


def _doses(text: str) -> tuple[float, ...]:
    from orbistem.errors import OptionError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise OptionError(f"dose: want numbers such as 1e4,1e6, got {text!r}; correct it") from error
