"""Symmetry of a scan without a model: prepare, reduce, describe, report. Nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.config import FitConfig
from orbistem.durable import atomic_write_text
from orbistem.errors import InputError
from orbistem.harmonics.store import open_store
from orbistem.io import open_scan
from orbistem.pipeline.broken import Comparison, asked_reference
from orbistem.pipeline.descriptors import describe_symmetry, symmetry_words
from orbistem.pipeline.examples import build_examples
from orbistem.pipeline.fit import Stopwatch, finish_run, input_checksum, write_datasets
from orbistem.pipeline.maps import build_maps
from orbistem.pipeline.places import asked_places, with_pictures
from orbistem.pipeline.preparation import block_size_for, prepare
from orbistem.pipeline.record import describe_basis, describe_run, replayable
from orbistem.pipeline.reduction import STORE_NAME, reduce
from orbistem.pipeline.scan_frame import find_scan_frame
from orbistem.pipeline.threads import blas_of_one_thread, default_runner
from orbistem.pipeline.vacuum import vacuum_harmonics
from orbistem.pipeline.verdicts import judge
from orbistem.pipeline.workplace import open_workplace
from orbistem.progress import Progress, Silent
from orbistem.result import Result
from orbistem.scan import Scan
from orbistem.stream import Runner

__all__ = ["measure_symmetry"]

MIN_PATTERNS = 2
UNTRAINED = "the maps hold what needs no model"


def measure_symmetry(
    source: Any,
    *,
    directory: Path | str,
    config: FitConfig | None = None,
    runner: Runner | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Result:
    """Maps of symmetry, dose and centre of mass, without training.

    Parameters
    ----------
    source
        A scan, or anything that `orbistem.open` takes.
    directory
        Where the run is written: everything is there in the end, or nothing.
    config
        Options of `orbistem.fit`; those of the model do not matter, except for its background.
    runner, progress, overwrite
        As in `orbistem.fit`.

    Returns
    -------
    Result
        Without a model.

    Raises
    ------
    InputError
        The data cannot be analysed.
    OutputError
        The folder is occupied or cannot be written.
    """
    config, progress = config or FitConfig(), progress or Silent()
    scan = source if isinstance(source, Scan) else open_scan(source)
    checksum = input_checksum(scan)
    runner = runner or default_runner(config)
    final = Path(directory)
    asked_places(scan, config)  # refused before the file is read
    reference = asked_reference(scan, config)
    with open_workplace(
        final, checksum=checksum, fingerprint=config.fingerprint(), resume=False, overwrite=overwrite
    ) as place:
        clock = Stopwatch()
        block_size = block_size_for(scan, config.compute.memory_mb)
        with clock.step("prepare"), blas_of_one_thread():
            prepared = prepare(scan, config, runner=runner, block_size=block_size, progress=progress)
        if prepared.moments.n < MIN_PATTERNS:
            raise InputError(f"want at least {MIN_PATTERNS} usable patterns, got {prepared.moments.n}")
        good = np.asarray(prepared.usable).reshape(scan.scan_shape)
        scan = scan.replace(measured=scan.measured & good)
        with clock.step("reduce"), blas_of_one_thread():
            reduced = reduce(
                scan,
                prepared,
                config,
                directory=place.directory,
                runner=runner,
                block_size=block_size,
                progress=progress,
            )
        run = describe_run(scan, config, prepared, checksum=checksum)
        run["basis"] = describe_basis(reduced.basis)
        run["noise"]["unit_variance"] = reduced.basis.noise_level
        run["noise"]["scale"] = reduced.plan.noise_scale
        with clock.step("map"), blas_of_one_thread():
            frame = find_scan_frame(
                scan,
                prepared,
                scan_rotation_deg=config.prepare.scan_rotation_deg,
                scan_mirrored=config.prepare.scan_mirrored,
            )
            descriptors = describe_symmetry(
                reduced.plan,
                open_store(place.directory / STORE_NAME),
                config=config,
                totals=prepared.electrons,
                given=vacuum_harmonics(reduced.plan, config),
            )
            verdicts = judge(
                place.directory,
                scan,
                reduced.plan,
                prepared,
                config,
                descriptors=descriptors,
                comparison=(
                    None
                    if reference is None
                    else Comparison(
                        scan=scan,
                        usable=np.asarray(prepared.usable),
                        reference=reference,
                        seed=config.seed,
                    )
                ),
                runner=runner,
                block_size=block_size,
                scratch=place.state,
                progress=progress,
            )
            run |= verdicts.record
            maps = build_maps(
                scan,
                prepared,
                encoding=None,
                descriptors=descriptors,
                frame=frame,
                broken=verdicts.broken,
                by_instrument=None if verdicts.instrument is None else verdicts.instrument.maps(),
            )
            examples = build_examples(
                scan, prepared.plan, model=None, encoding=None, active=(), mask=prepared.mask
            )
            examples = with_pictures(examples, verdicts.findings)
            write_datasets(place.directory, maps, examples)
        problems = [text for text in prepared.problems if not text.startswith("Nothing was trained")]
        problems += verdicts.problems
        run |= {
            "words": [
                *prepared.words,
                *reduced.words,
                *frame.words,
                *symmetry_words(descriptors),
                *verdicts.words,
            ],
            "problems": problems + _noise_problems(reduced.plan.gain),
            "command": [
                *("orbistem", "symmetry", str(scan.provenance.path or "FILE")),
                *("-o", "repeat", "--config", "config.toml"),
            ],
        }
        atomic_write_text(place.directory / "config.toml", replayable(config, prepared).to_toml())
        run = finish_run(place.directory, run, clock)
    return replace(Result(maps=maps, model=None, run=run), directory=final)


def _noise_problems(gain: float | None) -> list[str]:
    if gain is not None:
        return []
    return [
        "The noise is not that of counts; its size was taken from the weakest pattern shapes, so p values "
        "and standard errors of the symmetry maps are estimates."
    ]
