"""The laboratory's rows: a JSON file that keeps them between runs, one table, one figure."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from machine import load_average, numpy_gemm
from matplotlib.figure import Figure

import orbistem
from orbistem.pipeline.compare import Comparison
from orbistem.pipeline.scoring import Scores
from orbistem.plot.comparison import PANELS, score_lines

RESULTS, TABLE, FIGURE = "results.json", "table.md", "figure.png"
OURS, ORACLE = "orbit-vae", "oracle"
MEASURED = "srtio3-measured"
"""Name of the measured tilt scan among the simulated ones."""
PANEL_NAMES = ("fold_error", "rotation_error", "angle_error_deg", "explained_ratio")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Scores of one method on one scan at one dose, and how they were made.

    Attributes
    ----------
    scan
        Name of the simulation, or `MEASURED`.
    scores
        A row of `orbistem.pipeline.compare`.
    facts
        Version, machine, load, draws, time that training was given.
    """

    scan: str
    scores: Scores
    facts: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        """Scan, dose, method."""
        return self.scan, _dose(self.scores.dose), self.scores.method


class Rows:
    """All rows of a folder; each is written as soon as it is there."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / RESULTS
        self.rows: list[Row] = []
        if self.file.is_file():
            self.rows = [_read(one) for one in json.loads(self.file.read_text(encoding="utf-8"))]

    def known(self, scan: str, dose: float) -> set[str]:
        """Methods that have a row."""
        return {row.scores.method for row in self.of(scan, dose)}

    def of(self, scan: str, dose: float | None = None) -> list[Row]:
        """Rows of a scan, of one dose or of all, lowest dose first."""
        some = [row for row in self.rows if row.scan == scan]
        if dose is not None:
            some = [row for row in some if _dose(row.scores.dose) == _dose(dose)]
        return sorted(some, key=lambda row: (row.scores.dose, _rank(row.scores.method)))

    def add(self, row: Row) -> None:
        """Keep a row in the place of an older one."""
        self.rows = [one for one in self.rows if one.key != row.key] + [row]
        text = json.dumps([_written(one) for one in self.rows], indent=0, ensure_ascii=False)
        aside = self.file.with_suffix(".new")
        aside.write_text(text + "\n", encoding="utf-8")
        aside.replace(self.file)

    def summary(self, scans: Sequence[str]) -> str:
        """A line for each scan and dose: OrbitVAE beside the best of the others."""
        lines = [
            "OrbitVAE beside the best of all other methods that explain at least half of what the oracle "
            "explains; the better one in bold.\n",
            "| scan | electrons | fold error | rotation error | quarter turns | angle error, ° | "
            "explained / oracle | site accuracy |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for scan in scans:
            for dose in dict.fromkeys(_dose(row.scores.dose) for row in self.of(scan)):
                rows = [row.scores for row in self.of(scan) if _dose(row.scores.dose) == dose]
                others = judged_methods(rows)
                for ours in (row for row in rows if is_ours(row.method)):
                    share = "explained_ratio" if math.isfinite(ours.explained_ratio) else "explained"
                    cells = [
                        scan + ours.title.removeprefix("OrbitVAE"),
                        dose,
                        _duel(ours, others, "fold_error", ".3f"),
                        _duel(ours, others, "rotation_error", ".3f"),
                        _duel(ours, others, "quarter_error", ".3f"),
                        _duel(ours, others, "angle_error_deg", ".2f"),
                        _duel(ours, others, share, ".3f", high=True),
                        _duel(ours, others, "site_accuracy", ".3f", high=True),
                    ]
                    lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n\n"

    def save(self) -> None:
        """Write table and figure."""
        scans = list(dict.fromkeys(row.scan for row in self.rows))
        text = self.summary(scans) + "".join(
            f"## {scan}\n\n{Comparison(rows=tuple(row.scores for row in self.of(scan))).table()}\n"
            for scan in scans
        )
        self.file.with_name(TABLE).write_text(
            "# The laboratory's table\n\nMade by `benchmarks/laboratory.py`; the columns are explained in "
            "[comparison.md](../comparison.md).\n\n" + text.rstrip() + "\n",
            encoding="utf-8",
        )
        draw(self, [scan for scan in scans if scan != MEASURED], self.file.with_name(FIGURE))


def is_ours(method: str) -> bool:
    """OrbitVAE, of whichever group."""
    return method.startswith(OURS)


def judged_methods(rows: Sequence[Scores]) -> list[Scores]:
    """Other methods that explain at least half of what the oracle, or else the best method, explains."""
    others = [row for row in rows if row.method != ORACLE and not is_ours(row.method)]
    if not any(row.method == ORACLE for row in rows):
        best = max((row.explained for row in rows if math.isfinite(row.explained)), default=float("nan"))
        return [row for row in others if row.explained >= 0.5 * best]
    return [row for row in others if row.explained_ratio >= 0.5]


def _duel(ours: Scores, others: Sequence[Scores], name: str, form: str, *, high: bool = False) -> str:
    """Ours beside the best of the others, the better one in bold."""
    mine = getattr(ours, name)
    known = [row for row in others if math.isfinite(getattr(row, name))]
    if not math.isfinite(mine):
        return ""
    if not known:
        return format(mine, form)
    sign = -1 if high else 1
    best = min(known, key=lambda row: sign * getattr(row, name))
    value = getattr(best, name)
    first, second = format(mine, form), f"{value:{form}} ({best.title})"
    return f"**{first}**; {second}" if sign * mine <= sign * value else f"{first}; **{second}**"


def draw(rows: Rows, scans: Sequence[str], path: Path) -> None:
    """Panels for each simulated scan: errors and explained variance of all methods over the dose."""
    labels = {name: (label, log) for name, label, log in PANELS}
    labels["explained_ratio"] = ("explained variance over the oracle's", False)
    figure = Figure(figsize=(15, 2.7 * max(len(scans), 1)), layout="constrained")
    axes = figure.subplots(max(len(scans), 1), len(PANEL_NAMES), squeeze=False)
    named: dict[str, Any] = {}
    for line, scan in zip(axes, scans, strict=False):
        some = [row.scores for row in rows.of(scan)]
        for ax, name in zip(line, PANEL_NAMES, strict=True):
            label, log = labels[name]
            score_lines(ax, some, name, label, log=log)
            ax.yaxis.label.set_fontsize(7)
            named |= {t: a for a, t in zip(*ax.get_legend_handles_labels(), strict=True)}
        line[0].set_title(scan, loc="left", fontsize=9, fontweight="bold")
    figure.legend(named.values(), named.keys(), loc="outside right upper", fontsize=7, frameon=False)
    figure.savefig(path, dpi=80)


def how_made() -> dict[str, Any]:
    """Version, machine and load, for a row's facts."""
    return {
        "orbistem": orbistem.__version__,
        "commit": _commit(),
        "machine": _machine(),
        "numpy_gflops": round(numpy_gemm(0.2).best / 1e9),
        "load": round(load_average(), 1),
    }


def _machine() -> str:
    """Processor, cores, and the accelerator that JAX uses, if any."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = jax.devices()[0]
    accelerator = "" if device.platform == "cpu" else f", {device.device_kind}"
    return f"{platform.machine()}, {cores} cores{accelerator}"


def _commit() -> str | None:
    """Short name of the commit that the repository is at."""
    here = str(Path(__file__).resolve().parent)
    done = subprocess.run(
        ["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def _dose(dose: float) -> str:
    return "measured" if math.isnan(dose) else f"{dose:.3g}"


def _rank(method: str) -> int:
    """Ours and the oracle come last."""
    return 2 if method == ORACLE else int(is_ours(method))


def _written(row: Row) -> dict[str, Any]:
    scores = {
        name: round(value, 5) if isinstance(value, float) else value
        for name, value in asdict(row.scores).items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }
    return {"scan": row.scan, "scores": scores, "facts": row.facts}


def _read(one: dict[str, Any]) -> Row:
    names = {field.name for field in fields(Scores)}
    given = {name: value for name, value in one["scores"].items() if name in names}
    scores = Scores(**({"dose": float("nan")} | given))
    return Row(scan=one["scan"], scores=scores, facts=one["facts"])
