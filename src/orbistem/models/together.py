"""Trainings side by side: one alone leaves cores idle while it waits for its own small steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import TypeVar

import jax

from orbistem.models.full_products import full_products
from orbistem.progress import Progress
from orbistem.stream import cores

T = TypeVar("T")


class Stopped(Exception):
    """A training was asked to stop, since another one failed or the user interrupted."""


class Shared:
    """Progress that several threads tell; raises `Stopped` in them once they are to stop.

    Parameters
    ----------
    progress
        Is told by one thread at a time.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = Lock()
        self.stop = Event()

    def start(self, task: str, total: int | None) -> None:
        """Begin a task of `total` equal parts."""
        self._progress.start(task, total)

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Report `n` more parts done."""
        if self.stop.is_set():
            raise Stopped
        with self._lock:
            self._progress.advance(n, note=note)

    def finish(self) -> None:
        """End the task."""
        self._progress.finish()


def side_by_side(tasks: Sequence[Callable[[], T]], *, threads: int | None, progress: Shared) -> list[T]:
    """What each task returns, in their order.

    Each training has random numbers of its own, so that the results do not depend on the number of threads.

    Parameters
    ----------
    tasks
        Trainings that tell `progress` of each round.
    threads
        At most so many at once; None: as many as there are cores, one on an accelerator.
    progress
        Through it the others are stopped when one fails; they end with their present round.
    """
    workers = min(threads or _usual_threads(), len(tasks))
    if workers < 2:
        return [task() for task in tasks]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="training")
    # the precision of products is a setting of each thread
    running = [pool.submit(full_products(task)) for task in tasks]
    try:
        done, _ = wait(running, return_when=FIRST_EXCEPTION)
        failed = [error for one in done if (error := one.exception()) is not None]
        if failed:
            raise failed[0]
        return [one.result() for one in running]
    finally:
        progress.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        progress.stop.clear()


def _usual_threads() -> int:
    return cores() if jax.default_backend() == "cpu" else 1
