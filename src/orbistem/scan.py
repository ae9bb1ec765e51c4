"""The scan: lazy diffraction patterns, calibrated axes, what is valid, and where it all came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from orbistem.errors import InputError, OptionError, ShapeError

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr
    from numpy.typing import NDArray

    Patterns = NDArray[Any] | da.Array

__all__ = ["Axis", "Block", "Provenance", "Scan", "Truth"]

WORKING_BYTES = 16
"""Bytes per pixel that a reduction is expected to need beside the raw block: two float64 copies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One calibrated axis: coordinate = offset + scale * index, in `units`.

    A scale of 1 with units "px" means: not calibrated.
    """

    name: str
    scale: float = 1.0
    offset: float = 0.0
    units: str = "px"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0 and np.isfinite(self.offset)):
            raise OptionError(
                f"axis {self.name}: want a finite scale above 0 and a finite offset, "
                f"got {self.scale:g} and {self.offset:g}; use scale 1 and units 'px' where it is not calibrated"
            )

    def coordinates(self, size: int) -> NDArray[np.float64]:
        """Coordinates of `size` points, in `units`; shape (size,)."""
        return self.offset + self.scale * np.arange(size, dtype=np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a scan came from, in plain sentences.

    Attributes
    ----------
    path
        The file or folder; None for an array in memory.
    format
        Name of the format that was recognised, or "array".
    dataset
        Key inside the file, if the format has keys.
    found
        Facts read from the file, one sentence each.
    assumed
        Guesses, one sentence each, with the option that overrides it.
    warnings
        What could not be used, or looks wrong.
    checksum
        Checksum of sampled content: tells whether the same data are there again. Not a proof.
    """

    path: str | None = None
    format: str = "array"
    dataset: str | None = None
    found: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    checksum: str | None = None

    def adding(
        self,
        *,
        found: tuple[str, ...] = (),
        assumed: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> Provenance:
        """Return the same with more sentences at the end of each list."""
        return dataclasses.replace(
            self,
            found=self.found + found,
            assumed=self.assumed + assumed,
            warnings=self.warnings + warnings,
        )


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
                f"measured: want bool {scan_shape}, got {self.measured.dtype} {self.measured.shape}; give one flag per position"
            )
        if self.pixel_valid.shape != self.detector_shape or self.pixel_valid.dtype != np.bool_:
            raise ShapeError(
                f"mask: want bool {self.detector_shape}, got {self.pixel_valid.dtype} {self.pixel_valid.shape}; "
                "give one flag per detector pixel"
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
                f"positions: want ({scan_shape[0]}, 2), got {self.positions.shape}; give y, x for every pattern"
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
                f"positions: want {scan_shape[0]} rows, one per pattern, got {len(where)}; give the list that belongs to this file"
            )
        if scan_axes is None:
            names = ("y", "x") if len(scan_shape) == 2 else ("position",)
            scan_axes = tuple(Axis(name=name) for name in names)
        return cls(
            patterns=patterns,
            scan_axes=scan_axes,
            detector_axes=detector_axes or (Axis(name="ky"), Axis(name="kx")),
            measured=_flags("measured", measured, scan_shape),
            pixel_valid=_flags("mask", pixel_valid, tuple(patterns.shape[-2:])),
            provenance=provenance or Provenance(),
            positions=None if where is None else _frozen(where),
            position_units=position_units,
            scan_vectors=None if scan_vectors is None else _frozen(np.array(scan_vectors, dtype=np.float64)),
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
        more = _flags("mask", pixel_valid, self.detector_shape)
        return self.replace(pixel_valid=_frozen(self.pixel_valid & more))

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
        """Read the scan once, in flat order, `block_size` positions at a time (the last block may be shorter)."""
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


TRUTH_UNITS = {"site": "1", "angle": "rad", "point_group": "1", "defect_distance": "angstrom"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """What is known about every position of a simulated scan; each array has the shape of the scan.

    Attributes
    ----------
    site
        Class of the local structure, integer.
    angle
        How the site is turned, in rad, in the detector's frame (from +kx to +ky).
    point_group
        Name of the site's two-dimensional point group.
    defect_distance
        Distance to the nearest defect in Å; NaN or inf if there is none.
    """

    site: NDArray[np.int64]
    angle: NDArray[np.float64]
    point_group: NDArray[np.str_]
    defect_distance: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in TRUTH_UNITS:
            if getattr(self, name).shape != self.site.shape:
                raise ShapeError(
                    f"{name}: want {self.site.shape} like site, got {getattr(self, name).shape}; give one per position"
                )

    def to_dataset(self) -> xr.Dataset:
        """As an xarray dataset with dimensions (y, x), or (position)."""
        import xarray as xr

        dims = ("y", "x") if self.site.ndim == 2 else ("position",)
        values = {"site": self.site, "angle": self.angle, "defect_distance": self.defect_distance}
        values["point_group"] = np.asarray(self.point_group).astype(object)
        return xr.Dataset(
            {name: (dims, values[name], {"units": units}) for name, units in TRUTH_UNITS.items()}
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Self:
        """Inverse of `to_dataset`."""
        missing = [name for name in TRUTH_UNITS if name not in dataset]
        if missing:
            raise InputError(
                f"truth: want {', '.join(TRUTH_UNITS)}, got no {', '.join(missing)}; give a .truth.nc file"
            )
        return cls(
            site=dataset["site"].to_numpy().astype(np.int64),
            angle=dataset["angle"].to_numpy().astype(np.float64),
            point_group=dataset["point_group"].to_numpy().astype(np.str_),
            defect_distance=dataset["defect_distance"].to_numpy().astype(np.float64),
        )

    def save(self, path: Path | str) -> None:
        """Write NetCDF (usually NAME.truth.nc), complete or not at all."""
        from orbistem.durable import write_aside

        with write_aside(Path(path)) as aside:
            self.to_dataset().to_netcdf(aside, engine="h5netcdf")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote."""
        import xarray as xr

        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return cls.from_dataset(dataset.load())


def as_positions(positions: Any) -> NDArray[np.float64]:
    """Check a list of positions: (n, 2) or more columns, y and x first; returns float64 (n, 2)."""
    array = np.asarray(positions)
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "iuf":
        raise OptionError(
            f"positions: want numbers (n, 2), y and x, got {array.dtype} {array.shape}; give two columns"
        )
    array = np.array(array[:, :2], dtype=np.float64)
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise OptionError(
            f"positions: want finite numbers, got {array[bad].tolist()} in row {bad}; correct the list"
        )
    return array


def require_patterns(shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse what is not a stack of two-dimensional real patterns, with one sentence."""
    kind = np.dtype(dtype).kind
    if kind not in "biuf":
        raise InputError(
            f"patterns: want real numbers, got {np.dtype(dtype)}; convert them, or choose another dataset"
        )
    if len(shape) not in (2, 3, 4):
        raise InputError(
            f"patterns: want (y, x, ky, kx) or (n, ky, kx), got {tuple(shape)}; "
            "choose another dataset with --dataset, or reshape it"
        )
    if 0 in shape:
        raise InputError(
            f"patterns: want no empty axis, got {tuple(shape)}; choose a file or dataset that holds patterns"
        )
    if min(shape[-2:]) < 2:
        raise InputError(
            f"patterns: want two-dimensional patterns of at least 2 x 2 pixels, got {tuple(shape)}; "
            "choose another dataset with --dataset, or give --shape Y,X,KY,KX"
        )


def _with_scan_shape(patterns: Any, *, as_list: bool) -> Any:
    ky, kx = patterns.shape[-2:]
    if as_list:
        return patterns if patterns.ndim == 3 else patterns.reshape(-1, ky, kx)
    if patterns.ndim == 2:
        return patterns[None, None]
    return patterns[:, None] if patterns.ndim == 3 else patterns


def _flags(name: str, given: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if given is None:
        return _frozen(np.ones(shape, dtype=np.bool_))
    flags = np.asarray(given)
    if flags.shape not in (shape, (int(np.prod(shape)),)):
        raise ShapeError(f"{name}: want {shape}, got {flags.shape}; give one flag per element")
    return _frozen(np.array(flags, dtype=np.bool_).reshape(shape))


def _frozen(array: Any) -> Any:
    array = np.array(array)
    array.setflags(write=False)
    return array


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
