"""Every method on one scan, at one or several doses: one table, one figure."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from orbistem import __version__
from orbistem.config import FitConfig
from orbistem.durable import atomic_write_text, write_aside
from orbistem.errors import InputError, OptionError, OutputError, require_seed
from orbistem.models.methods import METHODS, Effort
from orbistem.pipeline.comparison_case import Case, make_case
from orbistem.pipeline.fit import fit
from orbistem.pipeline.scoring import COLUMNS, UNKNOWN, Scores, measure_cost, score_model, score_oracle
from orbistem.plot.comparison import draw_comparison
from orbistem.progress import Progress, Silent
from orbistem.result import plain
from orbistem.scan import Scan, Truth

__all__ = ["CompareOptions", "Comparison", "all_names", "compare"]

logger = logging.getLogger(__name__)

OURS, ORACLE = "orbit-vae", "oracle"
SCHEMA = 1
RESULT_FILE = "comparison.json"


def all_names() -> tuple[str, ...]:
    """Names of all rows: the methods, ours, the oracle."""
    return (*(method.name for method in METHODS), OURS, ORACLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareOptions:
    """Options of a comparison.

    Attributes
    ----------
    methods
        Names of the rows; none means all.
    doses
        Electrons per pattern at which counts are drawn from noise-free patterns; none: the file holds counts.
    draws
        How many draws of the scan are fitted together, at each dose.
    seconds
        Time for the training of each other model; ours stops by itself.
    latent_dim
        Latents of the models with an angle or a network; None: their usual number, ours as configured.
    components
        Components, or clusters, of the linear models.
    scan_fold, within
        Fold of the rotation axis in the middle of the scan, and largest distance from it; for scans without a
        truth, see `orbistem.metrics.fold_pairs`.
    seed
        Seeds everything.
    """

    methods: tuple[str, ...] = ()
    doses: tuple[float, ...] = ()
    draws: int = 1
    seconds: float = 120.0
    latent_dim: int | None = None
    components: int = 16
    scan_fold: int | None = None
    within: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in all_names()]
        if unknown:
            raise OptionError(
                f"methods: want some of {', '.join(all_names())}; got {', '.join(unknown)}; correct it"
            )
        if any(not dose > 0 for dose in self.doses):
            raise OptionError(f"doses: want electrons per pattern above 0, got {self.doses}; correct them")
        require_seed(self.seed)
        if self.draws < 1:
            raise OptionError(f"draws: want 1 or more, got {self.draws}")
        if self.within is not None and not self.within > 0:
            raise OptionError(f"within: want a number of positions above 0, got {self.within}; correct it")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What a comparison has found.

    Attributes
    ----------
    rows
        Scores, dose by dose, in the order of the methods.
    facts
        Versions, options, what was compared.
    """

    rows: tuple[Scores, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def table(self) -> str:
        """As a Markdown table; a blank where a score has no meaning."""
        return _table(self.rows)

    def save(self, directory: Path) -> None:
        """Write ``comparison.json``, ``table.md`` and ``comparison.png`` into a folder."""
        directory.mkdir(parents=True, exist_ok=True)
        rows = [{name: _finite(value) for name, value in asdict(row).items()} for row in self.rows]
        content = plain({"schema": SCHEMA} | self.facts | {"rows": rows})
        text = json.dumps(content, indent=1, ensure_ascii=False)
        atomic_write_text(directory / RESULT_FILE, text + "\n")
        atomic_write_text(directory / "table.md", self.table())
        draw_comparison(self.rows, directory / "comparison.png")


def compare(
    scan: Scan,
    truth: Truth | None = None,
    *,
    config: FitConfig | None = None,
    options: CompareOptions | None = None,
    directory: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    tell: Callable[[Scores], None] | None = None,
) -> Comparison:
    """Fit every method to a scan and score it.

    Parameters
    ----------
    scan
        Counts; or, where `options.doses` are given, noise-free patterns: the fraction of the beam in each
        pixel.
    truth
        Site and angle of each position of a simulated scan.
    config
        Options of preparation and of our model.
    options
        What is compared, and how long it may take.
    directory
        Where table, figure and numbers are written; None writes nothing.
    overwrite
        Replace a comparison that is in the way.
    progress
        Told about every fit.
    tell
        Called with each row once it is there.

    Returns
    -------
    Comparison
        A method that fails on a scan (say, because nothing rises above the noise) has a row that says why.

    Raises
    ------
    InputError
        The scan cannot be compared.
    OutputError
        The folder is occupied.
    """
    options, config, progress = options or CompareOptions(), config or FitConfig(), progress or Silent()
    config = config.replace(seed=options.seed)
    final = None if directory is None else Path(directory)
    if final is not None:
        check_place(final, overwrite=overwrite)
    rows: list[Scores] = []
    for dose in options.doses or (None,):
        with measure_cost() as prepared:
            case = make_case(
                scan,
                truth,
                config=config,
                dose=dose,
                draws=options.draws,
                scan_fold=options.scan_fold,
                within=options.within,
                seed=options.seed,
            )
        for row in _rows(case, config, options, prepared.seconds, progress):
            rows.append(row)
            if tell is not None:
                tell(row)
    facts = {
        "versions": {"orbistem": __version__, "numpy": np.__version__},
        "scan_shape": list(scan.scan_shape),
        "detector_shape": list(scan.detector_shape),
        "source": list(scan.provenance.found),
        "options": asdict(options),
    }
    comparison = Comparison(rows=tuple(rows), facts=facts)
    if final is not None:
        with write_aside(final) as aside:
            comparison.save(aside)
    return comparison


def check_place(final: Path, *, overwrite: bool) -> None:
    """Refuse a folder that is occupied by something else, or by a comparison without `overwrite`."""
    if not final.exists() or (final.is_dir() and not any(final.iterdir())):
        return
    if not (final / RESULT_FILE).is_file():
        raise OutputError(
            f"{final} exists and holds no comparison, so it stays; choose another folder with -o"
        )
    if not overwrite:
        raise OutputError(
            f"{final} already holds a comparison; give --overwrite to replace it, or choose another folder"
        )


def _rows(
    case: Case, config: FitConfig, options: CompareOptions, prepare_s: float, progress: Progress
) -> Iterator[Scores]:
    wanted = options.methods or all_names()
    best = UNKNOWN
    if case.clean is not None:
        oracle_row = score_oracle(case)
        best = oracle_row.explained
    for method in METHODS:
        if method.name not in wanted:
            continue
        logger.info("%s", method.name)
        effort = Effort(
            seed=options.seed,
            latent_dim=Effort().latent_dim if options.latent_dim is None else options.latent_dim,
            components=options.components,
            seconds=options.seconds,
            progress=progress,
        )
        blank = Scores(method=method.name, title=method.title, invariant=method.invariant, dose=case.dose)
        try:
            with measure_cost() as cost:
                model, _ = method.fit(case.frames[case.fitted], plan=case.plan, effort=effort)
            cost.seconds += prepare_s
            yield score_model(model, case, blank, cost=cost, oracle_explained=best, seed=options.seed)
        except InputError as error:
            yield replace(blank, problem=str(error))
    if OURS in wanted:
        yield _ours(case, config, options, best, progress)
    if ORACLE in wanted and case.clean is not None:
        yield oracle_row


def _ours(case: Case, config: FitConfig, options: CompareOptions, best: float, progress: Progress) -> Scores:
    if options.latent_dim is not None:
        net = replace(config.model.net, latent_dim=options.latent_dim)
        config = config.replace(model=replace(config.model, net=net))
    blank = Scores(method=OURS, title="OrbitVAE", invariant=True, dose=case.dose)
    try:
        with measure_cost() as cost:
            result = fit(case.scan, config=config, progress=progress)
    except InputError as error:
        return replace(blank, problem=str(error))
    if result.model is None:
        return replace(blank, problem="; ".join(result.problems))
    return score_model(result.model, case, blank, cost=cost, oracle_explained=best, seed=options.seed)


def _table(rows: Sequence[Scores]) -> str:
    used = [one for one in COLUMNS if any(math.isfinite(getattr(row, one[0])) for row in rows)]
    heads = ["electrons", "method", *(heading for _, heading, _ in used)]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * 2 + " ---: |" * len(used)]
    for row in rows:
        dose = "measured" if math.isnan(row.dose) else f"{row.dose:.0e}"
        cells = [_cell(getattr(row, name), form) for name, _, form in used]
        lines.append("| " + " | ".join([dose, row.title, *cells]) + " |")
    for row in rows:
        if row.problem:
            lines.append(f"\n{row.title}: {row.problem}")
    return "\n".join(lines) + "\n"


def _cell(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else ""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
