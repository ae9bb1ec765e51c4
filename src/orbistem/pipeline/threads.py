"""Threads: how many read and reduce a scan side by side, and none within a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orbistem.config import FitConfig
from orbistem.stream import Inline, Runner, Threads, cores

__all__ = ["blas_of_one_thread", "default_runner"]


def default_runner(config: FitConfig) -> Runner:
    """Threads of this machine, as many as there are cores where the user does not say."""
    threads = config.compute.threads or cores()
    return Threads(threads) if threads > 1 else Inline()


@contextmanager
def blas_of_one_thread() -> Iterator[None]:
    """Blocks are worked on side by side; threads inside each small matrix product would only wait."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
