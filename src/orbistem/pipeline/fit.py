"""From a scan to maps, model and report: prepare, reduce, train, map, report."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbistem.config import FitConfig
from orbistem.durable import atomic_write_text, write_aside
from orbistem.harmonics.store import open_store
from orbistem.io import open_scan
from orbistem.io.checksum import array_checksum
from orbistem.pipeline.broken import Comparison, Reference, asked_reference
from orbistem.pipeline.certificate import certify
from orbistem.pipeline.classes import class_words, describe_classes, measure_classes
from orbistem.pipeline.compile_cache import spare_kernel_search, use_compile_cache
from orbistem.pipeline.descriptors import describe_symmetry, noise_factor, symmetry_words
from orbistem.pipeline.examples import build_examples
from orbistem.pipeline.maps import build_maps, group_words
from orbistem.pipeline.orientation import measure_orientation, reference_positions
from orbistem.pipeline.places import asked_places, with_pictures
from orbistem.pipeline.preparation import Preparation, block_size_for, prepare
from orbistem.pipeline.readout import with_readout
from orbistem.pipeline.record import (
    OF_ITSELF,
    describe_basis,
    describe_run,
    file_checksums,
    replayable,
    write_run,
)
from orbistem.pipeline.reduction import STORE_NAME, Reduced, reduce, resume_reduced, save_reduced
from orbistem.pipeline.scan_frame import find_scan_frame
from orbistem.pipeline.site_order import with_allowed_order
from orbistem.pipeline.threads import blas_of_one_thread, default_runner
from orbistem.pipeline.training import NOTHING_TRAINED, Training, describe_training, train_model
from orbistem.pipeline.vacuum import vacuum_harmonics
from orbistem.pipeline.verdicts import judge
from orbistem.pipeline.workplace import Workplace, open_workplace
from orbistem.progress import Progress, Silent
from orbistem.report import write_report
from orbistem.result import Result
from orbistem.scan import Scan
from orbistem.stream import Runner
from orbistem.symmetry.alike import group_alike

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "finish_run",
    "fit",
    "input_checksum",
    "write_datasets",
]

logger = logging.getLogger(__name__)


def fit(
    source: Any,
    *,
    config: FitConfig | None = None,
    directory: Path | str | None = None,
    runner: Runner | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Result:
    """Analyse a scan.

    Parameters
    ----------
    source
        A scan, or anything that `orbistem.open` takes.
    config
        Options; the defaults suit most data.
    directory
        Where the run is written: everything is there in the end, or nothing. None keeps the result in memory.
    runner
        Where the file is read: threads of this machine by default, or ``stream.Distributed(address)``.
    progress
        Told how far each step is.
    resume
        Go on with an interrupted run of the same data and options.
    overwrite
        Replace a run of ours that is in the way.

    Returns
    -------
    Result
        `Result.maps`, `Result.model`; `Result.run` holds the rest, `Result.problems` what to be wary of.

    Raises
    ------
    InputError
        The data cannot be analysed.
    OutputError
        The folder is occupied or cannot be written.

    Examples
    --------
    >>> import orbistem
    >>> result = orbistem.fit("scan.hspy", directory="result")  # doctest: +SKIP
    """
    config = config or FitConfig()
    progress = progress or Silent()
    scan = source if isinstance(source, Scan) else open_scan(source, **_as_named(config))
    checksum = input_checksum(scan)
    runner = runner or default_runner(config)
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="orbistem-") as folder, _in_place(Path(folder)) as place:
            return _fit(scan, config, place, checksum=checksum, runner=runner, progress=progress)
    final = Path(directory)
    with open_workplace(
        final, checksum=checksum, fingerprint=config.fingerprint(), resume=resume, overwrite=overwrite
    ) as place:
        result = _fit(scan, config, place, checksum=checksum, runner=runner, progress=progress)
    return replace(result, directory=final)


def input_checksum(scan: Scan) -> str:
    """Checksum that tells whether the same data are there again."""
    return scan.provenance.checksum or array_checksum(scan.patterns)


class Stopwatch:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.perf_counter()
        logger.info("%s", name)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def _fit(
    scan: Scan,
    config: FitConfig,
    place: Workplace,
    *,
    checksum: str,
    runner: Runner,
    progress: Progress,
) -> Result:
    clock = Stopwatch()
    block_size = block_size_for(scan, config.compute.memory_mb)
    region = config.prepare.reference
    where = None if region is None else reference_positions(scan, region)
    reference = asked_reference(scan, config)
    places = asked_places(scan, config)  # refused before the file is read
    with clock.step("prepare"), blas_of_one_thread():
        prepared = prepare(scan, config, runner=runner, block_size=block_size, progress=progress)
    run = describe_run(scan, config, prepared, checksum=checksum)
    words, problems = list(prepared.words), list(prepared.problems)
    training = NOTHING_TRAINED
    frame = find_scan_frame(
        scan,
        prepared,
        scan_rotation_deg=config.prepare.scan_rotation_deg,
        scan_mirrored=config.prepare.scan_mirrored,
    )
    words += frame.words
    good = np.asarray(prepared.usable).reshape(scan.scan_shape)
    scan = scan.replace(measured=scan.measured & good)
    with clock.step("reduce"), blas_of_one_thread():
        place, reduced = _reduce(scan, prepared, config, place, runner, block_size, progress)
    run["basis"] = describe_basis(reduced.basis)
    run["noise"]["unit_variance"] = reduced.basis.noise_level
    run["noise"]["scale"] = reduced.plan.noise_scale
    words += reduced.words
    if prepared.trainable:
        with clock.step("train"):
            spare_kernel_search()
            use_compile_cache()
            training = train_model(
                reduced, prepared, config, checkpoint=place.state / "training", progress=progress
            )
        words += training.words
        problems += training.problems
        run["training"] = describe_training(training)
        run["scores"] = training.scores
    with clock.step("map"), blas_of_one_thread():
        descriptors = describe_symmetry(
            reduced.plan,
            open_store(place.directory / STORE_NAME),
            config=config,
            totals=prepared.electrons,
            given=vacuum_harmonics(reduced.plan, config),
        )
    words += symmetry_words(descriptors)
    if training.encoding is not None:
        training = replace(training, encoding=with_allowed_order(training.encoding, descriptors))
    groups = None
    if not prepared.trainable:
        with clock.step("map"), blas_of_one_thread():
            store = open_store(place.directory / STORE_NAME)
            groups = group_alike(store.read("harmonics"), reduced.plan.noise)
        words += group_words(groups)
    if training.model is not None and training.encoding is not None and any(training.active):
        with clock.step("map"), blas_of_one_thread():
            model = with_readout(
                training.model,
                scan,
                training.encoding,
                np.asarray(prepared.usable),
                rng=np.random.default_rng([config.seed, 2]),
            )
            training = replace(training, model=model)
    verdicts, classes = None, None
    if config.classes.asked and training.model is not None and training.encoding is not None:
        with clock.step("map"), blas_of_one_thread():
            classes = measure_classes(
                place.directory,
                training.model,
                training.encoding,
                training.coefficients,
                active=training.active,
                usable=np.asarray(prepared.usable),
                basis=descriptors.basis,
                factor=noise_factor(reduced.plan, prepared.electrons),
                options=config.classes,
                rng=np.random.default_rng([config.seed, 4]),
            )
        run["classes"] = describe_classes(classes)
        words += class_words(classes)
        problems += classes.problems
    if reference is not None or places or config.symmetry.check_instrument:
        with clock.step("map"), blas_of_one_thread():
            verdicts = judge(
                place.directory,
                scan,
                reduced.plan,
                prepared,
                config,
                descriptors=descriptors,
                comparison=None
                if reference is None
                else _comparison(scan, prepared, training, reference, config),
                runner=runner,
                block_size=block_size,
                scratch=place.state,
                progress=progress,
            )
        run |= verdicts.record
        words += verdicts.words
        problems += verdicts.problems
    with clock.step("map"), blas_of_one_thread():
        orientation = None
        if where is not None and training.encoding is not None:
            orientation = measure_orientation(training.encoding, where)
        maps = build_maps(
            scan,
            prepared,
            encoding=training.encoding,
            active=training.active,
            orientation=orientation,
            descriptors=descriptors,
            frame=frame,
            broken=None if verdicts is None else verdicts.broken,
            classes=classes,
            groups=groups,
            by_instrument=(
                None if verdicts is None or verdicts.instrument is None else verdicts.instrument.maps()
            ),
        )
        examples = build_examples(
            scan,
            prepared.plan,
            model=training.model,
            encoding=training.encoding,
            active=training.active,
            classes=classes,
            mask=prepared.mask,
        )
        examples = with_pictures(examples, () if verdicts is None else verdicts.findings)
        if training.model is not None and training.encoding is not None:
            certificate = certify(
                training.model,
                training.coefficients,
                scan,
                varies=any(training.active),
                usable=prepared.usable,
                restarts_agree=training.restarts_agree,
                rng=np.random.default_rng([config.seed, 1]),
            )
            run["certificate"] = {
                name: getattr(certificate, name) for name in certificate.__dataclass_fields__
            }
        write_datasets(place.directory, maps, examples)
        if training.model is not None:
            training.model.save(place.directory / "model")
    run |= {"words": words, "problems": problems}
    atomic_write_text(place.directory / "config.toml", replayable(config, prepared).to_toml())
    run = finish_run(place.directory, run, clock)
    return Result(maps=maps, model=training.model, run=run)


def _comparison(
    scan: Scan, prepared: Preparation, training: Training, reference: Reference, config: FitConfig
) -> Comparison:
    encoding = training.encoding
    if encoding is not None and training.model is not None:
        turn = training.model.own_turn(encoding.z, encoding.angle, encoding.handedness)
        encoding = replace(encoding, angle=turn)
    return Comparison(
        scan=scan,
        usable=np.asarray(prepared.usable),
        reference=reference,
        encoding=encoding,
        active=training.active,
        seed=config.seed,
    )


def write_datasets(directory: Path, maps: xr.Dataset, examples: xr.Dataset) -> None:
    """Write ``maps.nc`` and ``examples.nc``."""
    for name, dataset in (("maps.nc", maps), ("examples.nc", examples)):
        with write_aside(directory / name) as aside:
            dataset.to_netcdf(aside, engine="h5netcdf")


def finish_run(directory: Path, run: dict[str, Any], clock: Stopwatch) -> dict[str, Any]:
    """Write run.json and the report, then the checksums of all files; return the final record."""
    run["timings_s"] = dict(clock.seconds)
    write_run(directory, run)
    with clock.step("report"):
        write_report(directory)
    run |= {"timings_s": dict(clock.seconds), "files": file_checksums(directory)}
    return run | {OF_ITSELF: write_run(directory, run)}


def _reduce(
    scan: Scan,
    prepared: Preparation,
    config: FitConfig,
    place: Workplace,
    runner: Runner,
    block_size: int,
    progress: Progress,
) -> tuple[Workplace, Reduced]:
    if place.is_done("reduce"):
        logger.info("the coefficients of the interrupted run are used")
        return place, resume_reduced(place.state, place.directory)
    reduced = reduce(
        scan,
        prepared,
        config,
        directory=place.directory,
        runner=runner,
        block_size=block_size,
        progress=progress,
    )
    save_reduced(place.state, reduced)
    return place.finish_step("reduce"), reduced


def _as_named(config: FitConfig) -> dict[str, Any]:
    given = config.input
    return {
        "dataset": given.dataset,
        "positions": given.positions,
        "shape": given.shape,
        "dtype": given.dtype,
        "offset": given.offset,
        "frame_gap": given.frame_gap,
        "mask": given.mask,
        "roll": given.roll,
    }


@contextmanager
def _in_place(folder: Path) -> Iterator[Workplace]:
    from orbistem.pipeline.workplace import Identity

    state = folder / "unfinished"
    state.mkdir()
    yield Workplace(directory=folder, state=state, identity=Identity(checksum="", fingerprint=""))
