"""One pass over a scan: harmonics of every pattern, and their second moments, which add."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from orbistem.errors import InputError
from orbistem.progress import Progress, Silent
from orbistem.scan import Block, Scan
from orbistem.stream import BLOCK_MEMORY_BYTES, Runner

CHUNK_VALUES = 2**17
"""Harmonics worked on at once in float64: 1 MB, what the cache of a core holds."""


@runtime_checkable
class HarmonicsTransform(Protocol):
    """What turns frames into harmonics: a `Plan`, or any picklable object of this form."""

    @property
    def harmonics_shape(self) -> tuple[int, int]:
        """(ring, order)."""
        ...

    def harmonics(self, frames: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
        """Frames (n, ky, kx) at flat positions (n,) → (n, ring, order), complex64."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HarmonicsSums:
    """Partial sums, float64; they add.

    Parameters
    ----------
    n
        Patterns in the sums.
    total
        Sum of the harmonics, shape (ring, order), complex128.
    second
        Sum of Re(c cᴴ), shape (order, ring, ring).
    """

    n: int
    total: np.ndarray
    second: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HarmonicsMoments:
    """First and second moments of the harmonics of a scan.

    Parameters
    ----------
    n
        Patterns behind them.
    mean
        Mean harmonics, shape (ring, order), complex128: order 0 is the origin of the coefficients, the
        other orders hold the static background (and whatever all patterns share).
    second_moment
        Mean of Re(c cᴴ) per real degree of freedom, shape (order, ring, ring): about the mean in order 0,
        about zero in the others.
    """

    n: int
    mean: np.ndarray
    second_moment: np.ndarray

    @property
    def order0_mean(self) -> np.ndarray:
        """Mean of order 0, shape (ring,), float64."""
        return np.ascontiguousarray(self.mean[:, 0].real)


@dataclass(frozen=True, slots=True)
class HarmonicsReduction:
    """The reduction: any runner of `orbistem.stream` takes it. Positions that are not measured do not count.

    Parameters
    ----------
    transform
        Turns frames into harmonics, a `Plan`.
    """

    transform: HarmonicsTransform

    def start(self) -> HarmonicsSums:
        """Return sums of nothing."""
        n_rings, n_orders = self.transform.harmonics_shape
        return HarmonicsSums(
            n=0,
            total=np.zeros((n_rings, n_orders), np.complex128),
            second=np.zeros((n_orders, n_rings, n_rings)),
        )

    def add(self, state: HarmonicsSums, block: Block) -> HarmonicsSums:
        """Return the sums with one more block."""
        return self.merge(state, self.sums(self.transform_block(block)))

    def merge(self, left: HarmonicsSums, right: HarmonicsSums) -> HarmonicsSums:
        """Return the sums of two runs of blocks."""
        return HarmonicsSums(
            n=left.n + right.n, total=left.total + right.total, second=left.second + right.second
        )

    def finish(self, state: HarmonicsSums) -> HarmonicsMoments:
        """Return the moments.

        Raises
        ------
        InputError
            No position is usable.
        """
        if state.n == 0:
            raise InputError(
                "want at least one usable pattern, got none; check --dataset, --shape and --mask"
            )
        mean = state.total / state.n
        second = state.second / state.n
        second[0] -= np.outer(mean[:, 0].real, mean[:, 0].real)
        second[1:] /= 2
        return HarmonicsMoments(n=state.n, mean=mean, second_moment=second)

    def transform_block(self, block: Block) -> np.ndarray:
        """Harmonics of a block, (n, ring, order) complex64; NaN where not measured."""
        measured = np.asarray(block.measured, bool)
        positions = np.arange(block.start, block.stop)
        if measured.all():
            return self.transform.harmonics(block.frames, positions)
        harmonics = np.full(
            (len(block.frames), *self.transform.harmonics_shape), np.nan + 1j * np.nan, np.complex64
        )
        if measured.any():
            harmonics[measured] = self.transform.harmonics(block.frames[measured], positions[measured])
        return harmonics

    def sums(self, harmonics: np.ndarray) -> HarmonicsSums:
        """Sums over (n, ring, order) harmonics; rows with NaN do not count."""
        n_rings, n_orders = self.transform.harmonics_shape
        finite = np.isfinite(harmonics[:, :, 0].real).all(axis=1)
        use = harmonics if finite.all() else harmonics[finite]
        total = np.zeros((n_rings, n_orders), np.complex128)
        second = np.zeros((n_orders, n_rings, n_rings))
        step = max(1, CHUNK_VALUES // (2 * n_rings * n_orders))
        for start in range(0, len(use), step):
            chunk = use[start : start + step].transpose(2, 1, 0)
            parts = np.concatenate([chunk.real, chunk.imag], axis=2, dtype=np.float64)
            second += parts @ parts.transpose(0, 2, 1)
            n = chunk.shape[2]
            total += (parts[:, :, :n].sum(axis=2) + 1j * parts[:, :, n:].sum(axis=2)).T
        return HarmonicsSums(n=len(use), total=total, second=second)


@dataclass(frozen=True, slots=True)
class _HarmonicsAndSums:
    """The task of one block. A class, not a closure: it travels to other processes."""

    reduction: HarmonicsReduction

    def __call__(self, block: Block) -> tuple[np.ndarray, HarmonicsSums]:
        harmonics = self.reduction.transform_block(block)
        return harmonics, self.reduction.sums(harmonics)


def reduce_scan(
    transform: HarmonicsTransform,
    scan: Scan,
    *,
    runner: Runner,
    sink: Callable[[int, np.ndarray], None],
    block_size: int | None = None,
    progress: Progress | None = None,
) -> HarmonicsMoments:
    """Harmonics of a whole scan, handed on block by block, and their moments.

    Parameters
    ----------
    transform
        A `Plan`.
    scan
        Its `measured` says which positions count.
    runner
        Where it happens; the result is the same everywhere.
    sink
        Called in this process with (first position, harmonics (n, ring, order)) for every block in order;
        rows that are not measured hold NaN. `store.CoefficientStore.write_harmonics` is one.
    block_size
        Positions a block; default: as many as fit into `stream.BLOCK_MEMORY_BYTES`.
    """
    progress = progress or Silent()
    reduction = HarmonicsReduction(transform)
    block_size = block_size or harmonics_block_size(transform, scan)
    state: Any = None
    position = 0
    progress.start("reducing patterns to harmonics", scan.n_positions)
    try:
        task = _HarmonicsAndSums(reduction)
        with closing(runner.map(task, scan, block_size=block_size)) as blocks:
            for n_positions, (harmonics, sums) in blocks:
                sink(position, harmonics)
                state = sums if state is None else reduction.merge(state, sums)
                position += n_positions
                progress.advance(n_positions)
    finally:
        progress.finish()
    return reduction.finish(state)


def harmonics_block_size(transform: HarmonicsTransform, scan: Scan) -> int:
    """Positions a block so that frames and harmonics together fit into `stream.BLOCK_MEMORY_BYTES`."""
    n_rings, n_orders = transform.harmonics_shape
    ky, kx = scan.detector_shape
    share = ky * kx * scan.dtype.itemsize / (ky * kx * scan.dtype.itemsize + 16 * n_rings * n_orders)
    return scan.choose_block_size(max(1, int(BLOCK_MEMORY_BYTES * share)))
