"""One self-contained HTML page per run, made from the files of the run directory alone."""

from orbistem.report.write import write_report

__all__ = ["write_report"]
