"""The scan itself: lazy patterns with their axes and flags, read block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from orbistem.errors import InputError, OptionError, ShapeError
from orbistem.scan.axis import Axis
from orbistem.scan.check import as_flags, as_positions, frozen, require_patterns
from orbistem.scan.provenance import Provenance

if TYPE_CHECKING:
    import dask.array as da
    from numpy.typing import NDArray

    Patterns = NDArray[Any] | da.Array

__all__ = ["Block", "Scan"]

WORKING_BYTES = 16
"""Bytes per pixel that a reduction is expected to need beside the raw block: two float64 copies."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Block:
    """Neighbouring positions, in memory.

    Attributes
    ----------
    start
        Flat index (C order of the scan) of the first frame.
    frames
        Shape (n, ky, kx), the file's own dtype.
    measured
        Shape (n,), bool: False where the frame was not measured or is unusable.
    """

    start: int
    frames: NDArray[Any]
    measured: NDArray[np.bool_]

    @property
    def stop(self) -> int:
        """Flat index after the last frame."""
        return self.start + len(self.frames)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scan:
    """A scan of diffraction patterns. Build it with `Scan.from_array` or `orbistem.open`.

    Attributes
    ----------
    patterns
        Shape (y, x, ky, kx) for a grid, (position, ky, kx) for a list of positions; any real dtype.
        NumPy, or a Dask array that reads the file on demand.
    scan_axes
        Two axes (y, x) for a grid, one ("position") for a list.
    detector_axes
        Axes of ky (downwards) and kx.
    positions
        Shape (position, 2), float64, y and x in `position_units`; None for a grid.
    measured
        Shape of the scan, bool: False where nothing usable was measured.
    pixel_valid
        Shape (ky, kx), bool: False at dead, masked or covered detector pixels.
    provenance
        Where the data came from, what was found, what was assumed.
    scan_vectors
        Shape (2, 2), rows a1 and a2 (y, x) in units of length, for a scan along lattice vectors:
        position = x * a1 + y * a2 with integer indices y and x. None for an ordinary scan.
    """

    patterns: Patterns
    scan_axes: tuple[Axis, ...]
    detector_axes: tuple[Axis, Axis]
    measured: NDArray[np.bool_]
    pixel_valid: NDArray[np.bool_]
    provenance: Provenance
    positions: NDArray[np.float64] | None = None
    position_units: str = "px"
    scan_vectors: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        require_patterns(self.patterns.shape, self.patterns.dtype)
        scan_shape = self.scan_shape
        if len(self.scan_axes) != len(scan_shape):
            raise ShapeError(
                f"scan_axes: want {len(scan_shape)} axes, got {len(self.scan_axes)}; give one per scan axis"
            )
        if self.measured.shape != scan_shape or self.measured.dtype != np.bool_:
            raise ShapeError(
                f"measured: want bool {scan_shape}, got {self.measured.dtype} {self.measured.shape}; "
                "give one flag per position"
            )
        if self.pixel_valid.shape != self.detector_shape or self.pixel_valid.dtype != np.bool_:
            raise ShapeError(
                f"mask: want bool {self.detector_shape}, got {self.pixel_valid.dtype} "
                f"{self.pixel_valid.shape}; give one flag per detector pixel"
            )
        if not self.pixel_valid.any():
            raise InputError(
                "mask: want at least one valid detector pixel, got none; give a mask that keeps some"
            )
        if (self.positions is None) != self.is_grid:
            raise ShapeError(
                "positions: want (n, 2) for a list of patterns and none for a grid; use Scan.from_array"
            )
        if self.positions is not None and self.positions.shape != (scan_shape[0], 2):
            raise ShapeError(
                f"positions: want ({scan_shape[0]}, 2), got {self.positions.shape}; "
                "give y, x for every pattern"
            )
        if self.scan_vectors is not None and self.scan_vectors.shape != (2, 2):
            raise ShapeError(
                f"scan_vectors: want (2, 2), got {self.scan_vectors.shape}; give rows a1 and a2 as y, x"
            )

    @classmethod
    def from_array(
        cls,
        patterns: Any,
        *,
        positions: Any = None,
        position_units: str = "px",
        scan_axes: tuple[Axis, ...] | None = None,
        detector_axes: tuple[Axis, Axis] | None = None,
        pixel_valid: Any = None,
        measured: Any = None,
        provenance: Provenance | None = None,
        scan_vectors: Any = None,
    ) -> Self:
        """Check an array and make a scan of it.

        Parameters
        ----------
        patterns
            (y, x, ky, kx); (n, ky, kx): a line, stored as (n, 1, ky, kx), or a list if `positions` are given;
            (ky, kx): one pattern. NumPy or Dask.
        positions
            (n, 2) or (n, 3), y and x first; more columns are dropped. A grid becomes a list of its positions.
        measured
            Shape of the scan, or (n,); False where nothing usable was measured. Default: everything.
        pixel_valid
            (ky, kx); False at detector pixels to leave out. Default: all are kept.

        Returns
        -------
        Scan

        Raises
        ------
        InputError
            Not a stack of two-dimensional real patterns, or one with a zero in its shape.

        Examples
        --------
        >>> import numpy as np
        >>> scan = Scan.from_array(np.zeros((4, 3, 8, 8), np.uint16))
        >>> scan.scan_shape, scan.detector_shape, scan.n_positions
        ((4, 3), (8, 8), 12)
        """
        if not hasattr(patterns, "ndim"):
            patterns = np.asarray(patterns)
        require_patterns(patterns.shape, patterns.dtype)
        where = None if positions is None else as_positions(positions)
        patterns = _with_scan_shape(patterns, as_list=where is not None)
        scan_shape = tuple(int(size) for size in patterns.shape[:-2])
        if where is not None and len(where) != scan_shape[0]:
            raise OptionError(
                f"positions: want {scan_shape[0]} rows, one per pattern, got {len(where)}; "
                "give the list that belongs to this file"
            )
        if scan_axes is None:
            names = ("y", "x") if len(scan_shape) == 2 else ("position",)
            scan_axes = tuple(Axis(name=name) for name in names)
        return cls(
            patterns=patterns,
            scan_axes=scan_axes,
            detector_axes=detector_axes or (Axis(name="ky"), Axis(name="kx")),
            measured=as_flags("measured", measured, scan_shape),
            pixel_valid=as_flags("mask", pixel_valid, tuple(patterns.shape[-2:])),
            provenance=provenance or Provenance(),
            positions=None if where is None else frozen(where),
            position_units=position_units,
            scan_vectors=None if scan_vectors is None else frozen(np.array(scan_vectors, dtype=np.float64)),
        )

    @property
    def scan_shape(self) -> tuple[int, ...]:
        """(y, x) of a grid, (n,) of a list."""
        return tuple(int(size) for size in self.patterns.shape[:-2])

    @property
    def detector_shape(self) -> tuple[int, int]:
        """(ky, kx) in pixels."""
        ky, kx = self.patterns.shape[-2:]
        return int(ky), int(kx)

    @property
    def n_positions(self) -> int:
        """Number of positions, measured or not."""
        return int(np.prod(self.scan_shape))

    @property
    def is_grid(self) -> bool:
        """True for a grid (a line is a grid of one column), False for a list of positions."""
        return self.patterns.ndim == 4

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers."""
        return np.dtype(self.patterns.dtype)

    @property
    def nbytes(self) -> int:
        """Size of all patterns in memory, in bytes."""
        ky, kx = self.detector_shape
        return self.n_positions * ky * kx * self.dtype.itemsize

    def replace(self, **named: Any) -> Self:
        """Return a copy with some attributes changed."""
        return dataclasses.replace(self, **named)

    def with_mask(self, pixel_valid: Any) -> Self:
        """Return a copy that also leaves out the pixels where `pixel_valid` (ky, kx) is False."""
        more = as_flags("mask", pixel_valid, self.detector_shape)
        return self.replace(pixel_valid=frozen(self.pixel_valid & more))

    def block(self, start: int, stop: int) -> Block:
        """Read positions start to stop (flat, C order of the scan) into memory.

        Only the rows and columns that are asked for are read.
        """
        if not 0 <= start < stop <= self.n_positions:
            raise OptionError(f"block: want 0 <= start < stop <= {self.n_positions}, got {start}, {stop}")
        pieces = [_in_memory(self.patterns[piece]) for piece in _pieces(start, stop, self.scan_shape)]
        frames = [piece.reshape(-1, *self.detector_shape) for piece in pieces]
        return Block(
            start=start,
            frames=frames[0] if len(frames) == 1 else np.concatenate(frames),
            measured=self.measured.reshape(-1)[start:stop],
        )

    def iter_blocks(self, block_size: int) -> Iterator[Block]:
        """Read the scan once, in flat order, `block_size` positions at a time; the last may be shorter."""
        for start, stop in self.block_bounds(block_size):
            yield self.block(start, stop)

    def block_bounds(self, block_size: int) -> tuple[tuple[int, int], ...]:
        """Start and stop of every block: the same for every way to run a reduction."""
        if block_size < 1:
            raise OptionError(f"block_size: want at least 1, got {block_size}; give a larger one")
        n = self.n_positions
        return tuple((start, min(start + block_size, n)) for start in range(0, n, block_size))

    def choose_block_size(self, memory_bytes: int) -> int:
        """Number of positions per block so that one block and its working copies fit into `memory_bytes`.

        Whole scan lines and whole storage chunks are preferred, so that nothing is read twice.
        """
        ky, kx = self.detector_shape
        fits = max(1, memory_bytes // (ky * kx * (self.dtype.itemsize + WORKING_BYTES)))
        if fits >= self.n_positions:
            return self.n_positions
        line = self.scan_shape[1] if self.is_grid else 1
        chunks = getattr(self.patterns, "chunks", None)
        lines_per_chunk = int(chunks[0][0]) if chunks else 1
        for unit in (lines_per_chunk * line, line):
            if fits >= unit:
                return int(fits // unit * unit)
        return int(fits)


def _with_scan_shape(patterns: Any, *, as_list: bool) -> Any:
    ky, kx = patterns.shape[-2:]
    if as_list:
        return patterns if patterns.ndim == 3 else patterns.reshape(-1, ky, kx)
    if patterns.ndim == 2:
        return patterns[None, None]
    return patterns[:, None] if patterns.ndim == 3 else patterns


def _pieces(start: int, stop: int, scan_shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Rectangles that cover the flat range in order: rest of a line, whole lines, begin of a line."""
    if len(scan_shape) == 1:
        return [(slice(start, stop),)]
    width = scan_shape[1]
    pieces: list[tuple[slice, ...]] = []
    row, column = divmod(start, width)
    if column:
        end = min(stop, (row + 1) * width)
        pieces.append((slice(row, row + 1), slice(column, column + end - start)))
        start, row = end, row + 1
    last_row, rest = divmod(stop, width)
    if start < stop and last_row > row:
        pieces.append((slice(row, last_row), slice(0, width)))
        start = last_row * width
    if start < stop and rest:
        pieces.append((slice(last_row, last_row + 1), slice(0, rest)))
    return pieces


def _in_memory(part: Any) -> NDArray[Any]:
    if isinstance(part, np.ndarray):
        return np.asarray(part)
    return np.asarray(part.compute(scheduler="synchronous"))
