"""`orbistem fit FILE -o DIR`: prepare, reduce, train, map, report."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from orbistem.cli.console import current, emit_json, say
from orbistem.cli.options import (
    CheckInstrument,
    FileOptions,
    OutputFolder,
    Overwrite,
    ScanMirrored,
    ScanRotation,
    SourceFile,
    open_with,
    parse_numbers,
    takes_file_options,
    with_file_options,
    with_places,
)

if TYPE_CHECKING:
    from orbistem.config import FitConfig
    from orbistem.models.orbit import GroupChoice
    from orbistem.result import Result

BACKGROUNDS = ("learned", "mean", "azimuthal", "none")


@takes_file_options
def fit_command(
    file: FileOptions,
    source: SourceFile,
    output: OutputFolder,
    config: Annotated[Path | None, typer.Option(help="Options from a TOML file.", metavar="TOML")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Overwrite = False,
    scheduler: Annotated[
        str | None, typer.Option(help="Read on the workers of a Dask scheduler.", metavar="tcp://HOST:PORT")
    ] = None,
    latent_dim: Annotated[
        str | None,
        typer.Option(
            help="Number of latents (default 3), or auto: up to 5 where held-out evidence pays for them.",
            metavar="N|auto",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="What makes patterns the same site. SO2: any turn; O2: mirrors too; usual (default): O2 "
            "where the gain is known and a pattern shows enough to tell its hand, else SO2; C2, C3, C4, C6: "
            "turns by 360°/n only; D2, D3, D4, D6: these and mirrors; auto: the one with most held-out "
            "evidence, by four to six fits."
        ),
    ] = None,
    angle_zero: Annotated[
        str | None,
        typer.Option(
            help="Where the angle of a site is zero: free (default), as training left it; polar, where the "
            "site points along +kx, so that the angle is the direction of a polar site.",
            metavar="free|polar",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="Static background: learned (default), mean, azimuthal, none, or FILE: a vacuum pattern.",
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
    descan: Annotated[
        str | None,
        typer.Option(help="How the pattern wanders over the scan: auto (default), none, plane or quadratic."),
    ] = None,
    per_pattern: Annotated[
        str | None,
        typer.Option(
            help="none (default), or auto: also follow the centre of every single pattern by the edge of its "
            "disk, where the dose allows it; for a beam that jumps.",
        ),
    ] = None,
    ellipse: Annotated[
        str | None,
        typer.Option(
            help="Stretch of the pattern: auto (default), none, or long over short axis and azimuth of the "
            "long axis in degrees.",
            metavar="auto|none|RATIO,ANGLE",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Perfect crystal, to find broken symmetry and orientations against: auto (densest part of "
            "the latent space), all, a mask of the scan, or a region.",
            metavar="NAME|MASK|Y0:Y1,X0:X1",
        ),
    ] = None,
    check_instrument: CheckInstrument = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Sort the sites into N classes, or into as many as there seem to be (auto); none (default).",
            metavar="N|auto|none",
        ),
    ] = None,
    scan_rotation: ScanRotation = None,
    scan_mirrored: ScanMirrored = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all that is random (default 0).")] = None,
) -> None:
    """Analyse a scan: maps, model and report in DIR."""
    from orbistem.config import FitConfig
    from orbistem.durable import recover
    from orbistem.pipeline.workplace import check_free
    from orbistem.stream import Distributed

    options = FitConfig() if config is None else FitConfig.load(config)
    options = with_file_options(options, file)
    options = _with_fit_options(
        options,
        latent_dim=latent_dim,
        group=group,
        angle_zero=angle_zero,
        background=background,
        whiten=whiten,
        normalise=normalise,
        centre=centre,
        descan=descan,
        per_pattern=per_pattern,
        ellipse=ellipse,
        reference=reference,
        classes=classes,
        scan_rotation=scan_rotation,
        scan_mirrored=scan_mirrored,
        seed=seed,
    )
    options = with_places(options, at=None, region=None, check_instrument=check_instrument)
    recover(output)
    check_free(output, overwrite=overwrite)  # before anything is read
    scan = open_with(source, options)
    from orbistem.pipeline.fit import fit

    with current().progress() as progress:
        result = fit(
            scan,
            config=options,
            directory=output,
            runner=None if scheduler is None else Distributed(scheduler),
            progress=progress,
            resume=resume,
            overwrite=overwrite,
        )
    report_result("fit", result, output)


def report_result(command: str, result: Result, output: Path) -> None:
    """Tell what a run has found, to people or to machines."""
    run = result.run
    emit_json(
        command,
        {
            "directory": str(output),
            "report": str(output / "report.html"),
            "active_units": (run.get("training") or {}).get("active_units"),
            "kept_coefficients": (run.get("training") or {}).get("kept_coefficients"),
            "problems": run.get("problems"),
            "certificate": run.get("certificate"),
            "timings_s": run.get("timings_s"),
            "centre": run.get("centre"),
            "noise": run.get("noise"),
            "whitening": run.get("whitening"),
            "scores": run.get("scores"),
        },
    )
    for text in run.get("words") or ():
        say(text)
    for one in run.get("places") or ():
        say(one["sentence"])
    broken = run.get("broken") or {}
    if broken.get("sentence") and broken["sentence"] not in (run.get("problems") or ()):
        say(broken["sentence"])
    instrument = run.get("instrument") or {}
    if instrument.get("sentence"):
        say(instrument["sentence"])
    if run.get("places"):
        say(run["places"][0]["caveat"])
    certificate = run.get("certificate") or {}
    if certificate.get("sentence"):
        say(certificate["sentence"])
    for problem in run.get("problems") or ():
        say(f"Problem: {problem}")
    say(f"Open {output / 'report.html'} in a browser; the maps are in {output / 'maps.nc'}.")


def _reference(text: str | None) -> dict[str, Any]:
    """A region, or a name or mask."""
    if text is None:
        return {}
    if re.fullmatch(r"[-+\d\s.:,]+", text) and not Path(text).exists():
        return {"reference": parse_numbers("reference", text.replace(":", ","), (4,), int)}
    return {"reference_name": text}  # what is neither a name nor a file is refused where the scan is known


def _latents(text: str) -> int:
    """Number of latents; 0 for auto."""
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) < 1:
        from orbistem.errors import OptionError

        raise OptionError(f"latent_dim: want auto or a number from 1 on, got {text!r}; correct it")
    return int(text)


def _with_fit_options(
    options: FitConfig,
    *,
    latent_dim: str | None,
    group: str | None,
    angle_zero: str | None,
    background: str | None,
    whiten: str | None,
    normalise: str | None,
    centre: str | None,
    descan: str | None,
    per_pattern: str | None,
    ellipse: str | None,
    reference: str | None,
    classes: str | None,
    scan_rotation: float | None,
    scan_mirrored: bool | None,
    seed: int | None,
) -> FitConfig:
    if group is not None:
        options = options.replace(model=replace(options.model, group=cast("GroupChoice", group)))
    if angle_zero is not None:
        options = options.replace(model=replace(options.model, angle_zero=_angle_zero(angle_zero)))
    if latent_dim is not None:
        net = replace(options.model.net, latent_dim=_latents(latent_dim))
        options = options.replace(model=replace(options.model, net=net))
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
    if classes is not None:
        options = options.replace(classes=replace(options.classes, **_classes(classes)))
    if descan is not None:
        options = options.replace(descan=replace(options.descan, model=_descan(descan), coefficients_px=None))
    if per_pattern is not None:
        options = options.replace(descan=replace(options.descan, per_pattern=_descan(per_pattern)))
    if ellipse is not None:
        options = options.replace(ellipse=replace(options.ellipse, **_ellipse(ellipse)))
    return options if seed is None else options.replace(seed=seed)


def with_prepare_options(
    options: FitConfig,
    *,
    background: str | None,
    whiten: str | None,
    normalise: str | None,
    centre: str | None,
    reference: str | None,
    scan_rotation: float | None,
    scan_mirrored: bool | None,
) -> FitConfig:
    """The configuration with what was given about the steps before the model."""
    from orbistem.errors import OptionError

    model: dict[str, Any] = {}
    prepare: dict[str, Any] = {
        "whiten": whiten,
        "normalise": normalise,
        "centre_px": None if centre is None else parse_numbers("centre", centre, (2,), float),
        "scan_rotation_deg": scan_rotation,
        "scan_mirrored": scan_mirrored,
    } | _reference(reference)
    if background in BACKGROUNDS:
        model["background"] = background
    elif background is not None:
        if not Path(background).exists():
            raise OptionError(
                f"background: want {', '.join(BACKGROUNDS)} or an existing file, got {background}; correct it"
            )
        model["background"] = "none"
        prepare["background"] = background
    return options.replace(
        model=replace(options.model, **{k: v for k, v in model.items() if v is not None}),
        prepare=replace(options.prepare, **{k: v for k, v in prepare.items() if v is not None}),
    )


def _classes(text: str) -> dict[str, Any]:
    """Options of "none", "auto" or a number."""
    if text in ("auto", "none"):
        return {"auto": text == "auto", "number": None}
    if not text.isdecimal():
        from orbistem.errors import OptionError

        raise OptionError(f"classes: want a number, auto or none, got {text!r}; correct it")
    return {"auto": False, "number": int(text)}


def _angle_zero(text: str) -> Any:
    """A known name; other ones are refused by the options themselves."""
    return text


def _descan(text: str) -> Any:
    """A known name; other ones are refused by the options themselves."""
    return text


def _ellipse(text: str) -> dict[str, Any]:
    """Options of "auto", "none" or "1.02,35"."""
    if text in ("auto", "none"):
        return {"ratio": None if text == "auto" else 1.0, "angle_rad": 0.0}
    ratio, angle_deg = parse_numbers("ellipse", text, (2,), float)
    return {"ratio": ratio, "angle_rad": math.radians(angle_deg)}
