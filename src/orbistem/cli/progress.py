"""Progress on stderr: bars with the time left on a terminal, a line per finished task elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

__all__ = ["ConsoleProgress"]


class ConsoleProgress:
    """An `orbistem.progress.Progress` for people. A ``with`` leaves the terminal in order."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bars: Bars | None = None
        self._bar: TaskID | None = None
        self._task = ""
        self._started = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        """Show the bars."""
        if self._console.is_terminal and not self._quiet:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("{task.description:32}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal in order."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def start(self, task: str, total: int | None) -> None:
        """Begin a task."""
        self._task, self._started, self._done = task, time.perf_counter(), 0
        if self._bars is not None:
            self._bar = self._bars.add_task(task, total=total, note="")

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Report `n` more parts done."""
        self._done += n
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, advance=n, note=note)

    def finish(self) -> None:
        """End the task."""
        if self._bars is not None and self._bar is not None:
            bar = self._bars.tasks[self._bars.task_ids.index(self._bar)]
            self._bars.update(
                self._bar, total=bar.total or bar.completed, completed=bar.total or bar.completed
            )
        elif not self._quiet and self._task:
            seconds = time.perf_counter() - self._started
            self._console.print(
                f"{self._task}: {self._done} in {seconds:.1f} s", highlight=False, markup=False
            )
        self._bar, self._task = None, ""
