"""Putting the page together and writing it."""

from __future__ import annotations

from html import escape
from importlib.resources import files as package_files
from pathlib import Path
from string import Template

from orbistem.durable import atomic_write_text
from orbistem.report.files import RunFiles, read_run, section, sentences
from orbistem.report.sections import SECTIONS
from orbistem.report.words import input_name, verdict

__all__ = ["write_report"]

REPORT_NAME = "report.html"


def write_report(directory: Path) -> Path:
    """Write ``report.html`` into a run directory, from the files that lie there.

    The page needs no network and no scripts: style and pictures are inside.

    Parameters
    ----------
    directory
        A run directory with maps.nc; examples.nc, run.json and config.toml are used where they exist, and
        sections without data are left out.

    Returns
    -------
    pathlib.Path
        The report.

    Raises
    ------
    InputError
        If the directory holds no maps.nc, or run.json is damaged.
    OutputError
        If the report cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from orbistem.report import write_report
    >>> write_report(Path("graphene-run"))  # doctest: +SKIP
    PosixPath('graphene-run/report.html')
    """
    path = Path(directory) / REPORT_NAME
    atomic_write_text(path, _page(read_run(Path(directory))))
    return path


def _page(files: RunFiles) -> str:
    name = escape(input_name(files))
    bodies = [(part, part.body(files)) for part in SECTIONS]
    present = [(part, body) for part, body in bodies if body]
    version = escape(str(section(files.run, "versions").get("orbistem") or ""))
    template = Template(package_files("orbistem.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"{name} – orbistem",
        heading=name,
        verdict=escape(verdict(files)),
        problems=_problems(files),
        contents="".join(f'<a href="#{part.anchor}">{part.title}</a>' for part, _ in present),
        sections="\n".join(
            f'<section id="{part.anchor}"><h2>{part.title}</h2>{body}</section>' for part, body in present
        ),
        footer=f"Made by orbistem {version}".strip() + ".",
    )


def _problems(files: RunFiles) -> str:
    problems = sentences(files.run, "problems")
    if not problems:
        return ""
    title = "One problem" if len(problems) == 1 else f"{len(problems)} problems"
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return f'<div class="problems" role="alert"><strong>{title}</strong><ul>{items}</ul></div>'
