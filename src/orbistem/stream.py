"""One pass over a scan of any size: what is computed (a Reduction) apart from where (a Runner).

All runners cut the scan into the same blocks, give every block a state of its own and merge the states
from left to right. Results are therefore the same to the last bit, however many workers there are.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from orbistem.errors import InputError, OptionError
from orbistem.progress import Progress, Silent
from orbistem.scan import Block, Scan

__all__ = [
    "BLOCK_MEMORY_BYTES",
    "Distributed",
    "Inline",
    "Reduction",
    "Runner",
    "Threads",
    "Together",
    "cores",
    "merge_in_order",
]

logger = logging.getLogger(__name__)

BLOCK_MEMORY_BYTES = 128 * 2**20
"""Memory for one block with its working copies, where the caller gives no block size."""

CONNECT_TIMEOUT_S = 20

S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
T = TypeVar("T")


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@runtime_checkable
class Reduction(Protocol[S, R_co]):
    """A sum of some kind over all blocks; picklable, knows no scheduler, accumulates in float64.

    `add` and `merge` may change and return the state that they are given (for merge: `left`).
    """

    def start(self) -> S:
        """Return an empty state."""
        ...

    def add(self, state: S, block: Block) -> S:
        """Take a block into the state."""
        ...

    def merge(self, left: S, right: S) -> S:
        """Join two states; all positions of `left` come before those of `right`."""
        ...

    def finish(self, state: S) -> R_co:
        """Turn the last state into the result."""
        ...


@dataclass(frozen=True, slots=True)
class Together:
    """Several reductions in one pass over the file; the result is a tuple in the same order."""

    reductions: tuple[Reduction[Any, Any], ...]

    def start(self) -> tuple[Any, ...]:
        """Return all empty states."""
        return tuple(reduction.start() for reduction in self.reductions)

    def add(self, state: tuple[Any, ...], block: Block) -> tuple[Any, ...]:
        """Give the block to every reduction."""
        return tuple(one.add(part, block) for one, part in zip(self.reductions, state, strict=True))

    def merge(self, left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...]:
        """Merge state by state."""
        return tuple(one.merge(a, b) for one, a, b in zip(self.reductions, left, right, strict=True))

    def finish(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return all results."""
        return tuple(one.finish(part) for one, part in zip(self.reductions, state, strict=True))


@runtime_checkable
class Runner(Protocol):
    """Where a pass over the scan happens."""

    def map(
        self, task: Callable[[Block], T], scan: Scan, *, block_size: int
    ) -> Generator[tuple[int, T], None, None]:
        """Yield (number of positions, task(block)) for every block, in order, holding few at a time."""
        ...

    def run(
        self,
        reduction: Reduction[Any, R],
        scan: Scan,
        *,
        block_size: int | None = None,
        progress: Progress | None = None,
    ) -> R:
        """Reduce the whole scan."""
        ...


@dataclass(frozen=True, slots=True)
class _OneBlock:
    """The state of a single block. A class, not a closure: it travels to other processes."""

    reduction: Reduction[Any, Any]

    def __call__(self, block: Block) -> Any:
        return self.reduction.add(self.reduction.start(), block)


@dataclass(frozen=True, slots=True)
class Inline:
    """In this thread, one block after the other."""

    def map(
        self, task: Callable[[Block], T], scan: Scan, *, block_size: int
    ) -> Generator[tuple[int, T], None, None]:
        """Yield (number of positions, task(block)) in order."""
        for block in scan.iter_blocks(block_size):
            yield len(block.frames), task(block)

    def run(
        self,
        reduction: Reduction[Any, R],
        scan: Scan,
        *,
        block_size: int | None = None,
        progress: Progress | None = None,
    ) -> R:
        """Reduce the whole scan."""
        return merge_in_order(self, reduction, scan, block_size=block_size, progress=progress)


@dataclass(frozen=True, slots=True)
class Threads:
    """In threads of this process, at most n_threads + 1 blocks in memory."""

    n_threads: int = 2

    def __post_init__(self) -> None:
        if self.n_threads < 1:
            raise OptionError(f"threads: want at least 1, got {self.n_threads}; give --threads 1 or more")

    def map(
        self, task: Callable[[Block], T], scan: Scan, *, block_size: int
    ) -> Generator[tuple[int, T], None, None]:
        """Yield (number of positions, task(block)) in order."""

        def work(start: int, stop: int) -> tuple[int, T]:
            return stop - start, task(scan.block(start, stop))

        pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="orbistem")
        try:
            submits = (
                lambda a=start, b=stop: pool.submit(work, a, b)
                for start, stop in scan.block_bounds(block_size)
            )
            yield from _windowed(submits, self.n_threads + 1)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def run(
        self,
        reduction: Reduction[Any, R],
        scan: Scan,
        *,
        block_size: int | None = None,
        progress: Progress | None = None,
    ) -> R:
        """Reduce the whole scan."""
        return merge_in_order(self, reduction, scan, block_size=block_size, progress=progress)


@dataclass(frozen=True, slots=True)
class Distributed:
    """On the workers of a Dask scheduler, at most (worker threads + 1) blocks on their way.

    A scan that lies in a file is read by the workers, which must see the same path;
    a scan in memory is sent block by block.
    """

    address: str

    def map(
        self, task: Callable[[Block], T], scan: Scan, *, block_size: int
    ) -> Generator[tuple[int, T], None, None]:
        """Yield (number of positions, task(block)) in order."""
        with _connected(self.address) as client:
            n_workers = sum(client.nthreads().values())
            if n_workers == 0:
                raise OptionError(
                    f"scheduler: want at least one worker at {self.address}, got none; "
                    f"start one with: dask worker {self.address}"
                )
            in_file = hasattr(scan.patterns, "dask")
            shared_task = client.scatter(task, hash=False)
            shared_scan = client.scatter(scan, hash=False) if in_file else None

            def submit(start: int, stop: int) -> Any:
                if shared_scan is not None:
                    return client.submit(_read_and_do, shared_task, shared_scan, start, stop, pure=False)
                block = client.scatter(scan.block(start, stop), hash=False)
                return client.submit(_do, shared_task, block, pure=False)

            submits = (lambda a=start, b=stop: submit(a, b) for start, stop in scan.block_bounds(block_size))
            try:
                yield from _windowed(submits, n_workers + 1)
            except FileNotFoundError as error:
                raise InputError(
                    f"a Dask worker cannot find {error.filename or scan.provenance.path}; "
                    "put the file where every worker sees the same path, or leave out --scheduler"
                ) from error

    def run(
        self,
        reduction: Reduction[Any, R],
        scan: Scan,
        *,
        block_size: int | None = None,
        progress: Progress | None = None,
    ) -> R:
        """Reduce the whole scan."""
        return merge_in_order(self, reduction, scan, block_size=block_size, progress=progress)


def merge_in_order(
    runner: Runner,
    reduction: Reduction[Any, R],
    scan: Scan,
    *,
    block_size: int | None,
    progress: Progress | None,
) -> R:
    """Merge the states of single blocks from left to right: what every runner's `run` does."""
    progress = progress or Silent()
    block_size = block_size or scan.choose_block_size(BLOCK_MEMORY_BYTES)
    total: Any = None
    progress.start("reading patterns", scan.n_positions)
    try:
        with closing(runner.map(_OneBlock(reduction), scan, block_size=block_size)) as blocks:
            for index, (n_positions, state) in enumerate(blocks):
                total = state if index == 0 else reduction.merge(total, state)
                progress.advance(n_positions)
    finally:
        progress.finish()
    return reduction.finish(total)


def _windowed(submits: Iterator[Callable[[], Any]], size: int) -> Generator[Any, None, None]:
    """Results in order, with at most `size` tasks submitted and not yet taken."""
    waiting: deque[Any] = deque()
    try:
        for submit in submits:
            if len(waiting) == size:
                yield waiting.popleft().result()
            waiting.append(submit())
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT_TIMEOUT_S, set_as_default=False
        )
    except (OSError, ValueError, TimeoutError) as error:
        raise OptionError(
            f"scheduler: want the address of a Dask scheduler, such as tcp://host:8786, got {address} "
            f"({error}); start one with: dask scheduler"
        ) from error
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]


def _read_and_do(task: Callable[[Block], T], scan: Scan, start: int, stop: int) -> tuple[int, T]:
    return stop - start, task(scan.block(start, stop))


def _do(task: Callable[[Block], T], block: Block) -> tuple[int, T]:
    return len(block.frames), task(block)
