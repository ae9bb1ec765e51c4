"""`orbistem demo`: simulate graphene with a vacancy, analyse it, write the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbistem.cli.console import current, say
from orbistem.cli.fit import report_result
from orbistem.cli.options import Overwrite

if TYPE_CHECKING:
    from orbistem.models.orbit import OrbitVAEOptions

NAME = "graphene-vacancy"
DOSE = 1e5
SCAN_SHAPE = (64, 64)
DETECTOR_PX = 64
STEPS = 1200


def demo_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="DIR")] = Path(
        "orbistem-demo"
    ),
    overwrite: Overwrite = False,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
) -> None:
    """Simulate graphene with a vacancy (abTEM), analyse it and write the report: two minutes on two cores."""
    from orbistem.config import FitConfig
    from orbistem.durable import disk_error, recover
    from orbistem.pipeline.workplace import check_free
    from orbistem.simulate import find_recipe, simulate

    find_recipe(NAME)
    config = FitConfig(seed=seed)  # a wrong seed is said before anything is made
    config = replace(config, model=_sooner(config.model))
    recover(output)
    check_free(output, overwrite=overwrite)
    inputs = output.absolute().with_name(f"{output.absolute().name}-input")
    try:
        inputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, inputs) from error
    source = inputs / f"{NAME}.hspy"
    from orbistem.io import open_scan, save_scan
    from orbistem.pipeline.fit import fit

    with current().progress() as progress:
        scan, truth = simulate(
            NAME, seed=seed, dose=DOSE, scan_shape=SCAN_SHAPE, detector_px=DETECTOR_PX, progress=progress
        )
        save_scan(scan, source)
        truth.save(source.with_suffix(".truth.nc"))
        result = fit(
            open_scan(source),
            config=config,
            directory=output,
            progress=progress,
            overwrite=overwrite,
        )
    report_result("demo", result, output)
    say("")
    say(
        "Latent 1 shows every atom alike, whichever way its surroundings are turned; one atom is missing in "
        "the middle: the vacancy."
    )
    say("The angle map shows how each position is turned: colours run once around every atom and hexagon.")
    say(
        f"To be done in two minutes it was trained twice for {STEPS} steps at once; orbistem fit compares "
        "static backgrounds first, and trains longer."
    )
    say(f"The simulated scan and what is true about it are in {inputs}; the report explains every number.")


def _sooner(model: OrbitVAEOptions) -> OrbitVAEOptions:
    """No short trainings, since the scan mean is the right background here; two that are less long."""
    return replace(model, scout_steps=0, restarts=2, train=replace(model.train, steps=STEPS))
