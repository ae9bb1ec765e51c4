"""Trainings side by side give what they give one after the other, and stop together."""

import time
from functools import partial
from threading import Event, Lock, current_thread, main_thread

import jax
import pytest

from orbistem.models.together import Shared, Stopped, side_by_side
from orbistem.progress import Silent


class Told(Silent):
    """Counts what it is told, and notes whether two threads ever told it at once."""

    def __init__(self) -> None:
        self.parts, self.busy, self.at_once = 0, Lock(), False

    def advance(self, n: int = 1, *, note: str = "") -> None:
        self.at_once |= not self.busy.acquire(blocking=False)
        time.sleep(1e-3)
        self.parts += n
        self.busy.release()


def _training(number: int, progress: Shared) -> int:
    for _ in range(5):
        progress.advance(2)
    return number


@pytest.mark.parametrize("threads", [1, 2, 3, 8, None])
def test_results_come_in_the_order_of_the_tasks(threads) -> None:
    told = Told()
    progress = Shared(told)
    tasks = [partial(_training, number, progress) for number in range(4)]
    assert side_by_side(tasks, threads=threads, progress=progress) == [0, 1, 2, 3]
    assert told.parts == 40
    assert not told.at_once


def test_one_thread_is_the_caller_s_own() -> None:
    def here() -> bool:
        return current_thread() is main_thread()

    progress = Shared(Silent())
    assert side_by_side([here, here], threads=1, progress=progress) == [True, True]
    assert side_by_side([here, here], threads=2, progress=progress) == [False, False]


def test_no_tasks() -> None:
    assert side_by_side([], threads=None, progress=Shared(Silent())) == []


def test_when_one_fails_the_others_stop_and_its_error_is_raised() -> None:
    progress, running, ended = Shared(Silent()), Event(), []

    def endless() -> None:
        try:
            for _ in range(10_000):
                progress.advance()
                running.set()
                time.sleep(1e-3)
        except Stopped:
            ended.append("stopped")
            raise

    def failing() -> None:
        running.wait(10)
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="the disk is full"):
        side_by_side([endless, failing], threads=2, progress=progress)
    assert ended == ["stopped"]
    assert side_by_side([partial(_training, 7, progress)], threads=2, progress=progress) == [7]


def test_products_have_full_precision_in_every_thread() -> None:
    def precision() -> str | None:
        return jax.config.jax_default_matmul_precision

    found = side_by_side([precision, precision], threads=2, progress=Shared(Silent()))
    assert found == ["highest", "highest"]
