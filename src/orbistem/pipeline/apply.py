"""A trained model on another scan: the stored plan is replayed, nothing is trained."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from orbistem.config import FitConfig
from orbistem.durable import write_aside
from orbistem.errors import InputError, OptionError, ShapeError
from orbistem.harmonics.reduce import reduce_scan
from orbistem.harmonics.store import create
from orbistem.harmonics.whitening import WhiteningChoice
from orbistem.metrics import active_latents, active_units
from orbistem.pipeline.certificate import certify
from orbistem.pipeline.compile_cache import spare_kernel_search, use_compile_cache
from orbistem.pipeline.descriptors import describe_symmetry, symmetry_words
from orbistem.pipeline.examples import build_examples
from orbistem.pipeline.fit import Stopwatch, finish_run, input_checksum
from orbistem.pipeline.maps import build_maps
from orbistem.pipeline.preparation import Preparation, block_size_for
from orbistem.pipeline.record import describe_basis, describe_run
from orbistem.pipeline.reduction import STORE_NAME
from orbistem.pipeline.scan_frame import find_scan_frame
from orbistem.pipeline.site_order import with_allowed_order
from orbistem.pipeline.threads import blas_of_one_thread, default_runner
from orbistem.pipeline.workplace import open_workplace
from orbistem.plan import Plan
from orbistem.prepare.centre import CentreFit
from orbistem.prepare.counts import CountsFit
from orbistem.prepare.mask import MaskResult
from orbistem.prepare.moments import Moments, MomentsResult
from orbistem.progress import Progress, Silent
from orbistem.result import Result, TrainedModel
from orbistem.scan import Scan
from orbistem.stream import Runner

__all__ = ["transform"]


def transform(
    trained: Result,
    scan: Scan,
    *,
    directory: Path | str,
    config: FitConfig | None = None,
    runner: Runner | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Result:
    """Maps of another scan from a trained model.

    Parameters
    ----------
    trained
        Result of a fit.
    scan
        The other scan, on the same detector.
    directory
        Where the run is written.
    config
        Its `counts.gain` replaces the model's where given; `compute` says what may be used.
    runner, progress
        As in `orbistem.fit`.
    overwrite
        Replace a run of ours that is in the way.

    Raises
    ------
    InputError
        The run holds no model.
    ShapeError
        Another detector.
    """
    config, progress = config or FitConfig(), progress or Silent()
    model = trained.model
    if model is None:
        raise InputError(
            "want a run with a model, got one in which nothing was trained; fit another scan first"
        )
    if scan.detector_shape != model.plan.detector_shape:
        raise ShapeError(
            f"patterns: want {model.plan.detector_shape} pixels as in the fit, got {scan.detector_shape}; "
            "bin or crop them to the same detector"
        )
    runner = runner or default_runner(config)
    checksum = input_checksum(scan)
    final = Path(directory)
    source = None if trained.directory is None else trained.directory.absolute()
    if source is not None and source.resolve() == final.resolve():
        raise OptionError(
            f"output: want another folder than the model's, got {final}; give another one with -o"
        )
    model = _for_scan(model, scan, config).for_scan(scan)
    with open_workplace(
        final, checksum=checksum, fingerprint=config.fingerprint(), resume=False, overwrite=overwrite
    ) as place:
        clock = Stopwatch()
        block_size = block_size_for(scan, config.compute.memory_mb)
        with clock.step("prepare"), blas_of_one_thread():
            reduction = Moments(detector_shape=scan.detector_shape, pixel_valid=np.asarray(scan.pixel_valid))
            moments = runner.run(reduction, scan, block_size=block_size, progress=progress)
            prepared = _as_prepared(model.plan, moments)
        scan = scan.replace(measured=scan.measured & prepared.usable.reshape(scan.scan_shape))
        with clock.step("reduce"), blas_of_one_thread():
            store = create(
                place.directory / STORE_NAME,
                n_positions=scan.n_positions,
                harmonics_shape=model.plan.harmonics_shape,
            )
            bare = replace(model.plan, order0_mean=None)
            reduce_scan(
                bare,
                scan,
                runner=runner,
                sink=store.write_harmonics,
                block_size=block_size,
                progress=progress,
            )
            origin = model.plan.order0_mean
            coefficients = store.write_basis(
                model.basis,
                noise=model.plan.noise,
                order0_mean=np.zeros(model.plan.grid.n_rings) if origin is None else origin,
            )
        with clock.step("map"), blas_of_one_thread():
            spare_kernel_search()
            use_compile_cache()
            encoding = model.encode_coefficients(coefficients, prepared.usable)
            active = tuple(bool(flag) for flag in active_latents(encoding.z, encoding.z_sd))
            run = describe_run(scan, config, prepared, checksum=checksum)
            run["checksums"]["model"] = (trained.run.get("files") or {}).get("model/model.safetensors")
            run["basis"] = describe_basis(model.basis)
            run["model_from"] = None if source is None else str(source)
            run["training"] = trained.run.get("training")
            run["scores"] = {
                "active_units": active_units(encoding.z, encoding.z_sd),
                "residual_median": float(np.nanmedian(encoding.residual)),
            }
            certificate = certify(
                model,
                coefficients,
                scan,
                varies=any(active),
                usable=prepared.usable,
                restarts_agree=None,
                rng=np.random.default_rng([config.seed, 1]),
            )
            run["certificate"] = {
                name: getattr(certificate, name) for name in certificate.__dataclass_fields__
            }
            descriptors = describe_symmetry(
                model.plan, store, config=config, totals=prepared.electrons, given=None
            )
            encoding = with_allowed_order(encoding, descriptors)
            frame = find_scan_frame(
                scan,
                prepared,
                scan_rotation_deg=config.prepare.scan_rotation_deg,
                scan_mirrored=config.prepare.scan_mirrored,
            )
            maps = build_maps(
                scan, prepared, encoding=encoding, active=active, descriptors=descriptors, frame=frame
            )
            examples = build_examples(scan, model.plan, model=model, encoding=encoding, active=active)
            with write_aside(place.directory / "maps.nc") as aside:
                maps.to_netcdf(aside, engine="h5netcdf")
            with write_aside(place.directory / "examples.nc") as aside:
                examples.to_netcdf(aside, engine="h5netcdf")
            model.save(place.directory / "model")
            if source is not None and (source / "config.toml").is_file():
                shutil.copyfile(source / "config.toml", place.directory / "config.toml")
        run |= {
            "words": [
                f"{moments.n} of {scan.n_positions} patterns were used.",
                f"The model of {trained.directory or 'another scan'} was applied; nothing was trained.",
                *frame.words,
                *symmetry_words(descriptors),
            ],
            "problems": list(scan.provenance.warnings),
        }
        if source is not None:
            run["command"] = [
                "orbistem",
                "transform",
                str(source),
                str(scan.provenance.path or "FILE"),
                "-o",
                "repeat",
            ]
        run = finish_run(place.directory, run, clock)
    return Result(maps=maps, model=model, run=run, directory=final)


def _for_scan(model: TrainedModel, scan: Scan, config: FitConfig) -> TrainedModel:
    """The model with the gain that was given, and without the pixels that this scan lacks."""
    plan = model.plan
    valid = plan.pixel_valid & np.asarray(scan.pixel_valid)
    gain = config.counts.gain
    if gain is None and (valid == plan.pixel_valid).all():
        return model
    return replace(model, plan=replace(plan, pixel_valid=valid, gain=gain if gain is not None else plan.gain))


def _as_prepared(plan: Plan, moments: MomentsResult) -> Preparation:
    """What a first pass would have found, taken from the model."""
    nothing = np.zeros(plan.detector_shape, bool)
    light = float(np.nanmean(moments.totals) - plan.offset * plan.pixel_valid.sum())
    return Preparation(
        moments=moments,
        centre=CentreFit(
            centre_px=plan.centre_px, sd_px=(0.0, 0.0), method="as in the model", correlation=float("nan")
        ),
        mask=MaskResult(
            valid=plan.pixel_valid,
            hot=(),
            dead=(),
            missing=(),
            saturated=(),
            beam_stop=nothing,
            spiked=(),
            notes=(),
        ),
        counts=CountsFit(
            gain=plan.gain,
            gain_sd=None,
            offset=plan.offset,
            read_variance=0.0,
            dose=light / plan.counts_per_electron,
            correlated=float("nan"),
            together=plan.together,
            why="as in the model",
        ),
        whitening=WhiteningChoice(
            chosen=plan.whitening,
            information_poisson=float("nan"),
            information_sqrt=float("nan"),
            why="as in the model",
        ),
        pixel_scale=plan.pixel_scale,
        plan=plan,
        trainable=True,
    )
