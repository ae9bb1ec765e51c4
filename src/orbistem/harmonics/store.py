"""The folder `coefficients.zarr`: harmonics as they arrive, then the coefficients on the basis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.errors import FormatError
from orbistem.harmonics.steerable_pca import SteerableBasis

CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class CoefficientStore:
    """Arrays of one Zarr folder; build it with `create` or `open_store`.

    `harmonics` (position, ring, order) complex64, about the plan's azimuthal mean, NaN where not measured;
    `order0_mean` (ring,), the mean of order 0, not yet subtracted from `harmonics`;
    `steerable` (position, k) complex64 with `order` (k,) and `eigenvalue` (k,), about the mean of order 0;
    `noise` (order, ring, ring).
    """

    group: Any

    def write_harmonics(self, start: int, harmonics: np.ndarray) -> None:
        """Write rows from `start` on: the sink of `reduce.reduce_scan`."""
        self.group["harmonics"][start : start + len(harmonics)] = harmonics

    @property
    def n_positions(self) -> int:
        """Number of positions, measured or not."""
        return int(self.group["harmonics"].shape[0])

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first position, harmonics (n, ring, order)) chunk by chunk."""
        array = self.group["harmonics"]
        step = int(array.chunks[0])
        for start in range(0, self.n_positions, step):
            yield start, np.asarray(array[start : start + step])

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Harmonics of single positions, (n, ring, order)."""
        return np.asarray(self.group["harmonics"].oindex[np.asarray(positions)])

    def write_basis(self, basis: SteerableBasis, *, noise: np.ndarray, order0_mean: np.ndarray) -> np.ndarray:
        """Project all harmonics on the basis, write everything that belongs to it, return the coefficients.

        Returns
        -------
        Shape (position, k), complex64; NaN where not measured.
        """
        coefficients = np.empty((self.n_positions, basis.n_kept), np.complex64)
        for start, harmonics in self.blocks():
            harmonics[:, :, 0] -= order0_mean.astype(np.float32)
            coefficients[start : start + len(harmonics)] = basis.coefficients(harmonics)
        for name, values in {
            "steerable": coefficients,
            "order": np.asarray(basis.order, np.int32),
            "eigenvalue": basis.eigenvalue,
            "vectors": basis.vectors,
            "noise": noise,
            "order0_mean": order0_mean,
        }.items():
            self.group.array(name, values, overwrite=True)
        return coefficients

    def read(self, name: str) -> np.ndarray:
        """Read one array as a whole."""
        return np.asarray(self.group[name][...])


def create(path: Path, *, n_positions: int, harmonics_shape: tuple[int, int]) -> CoefficientStore:
    """Make a new folder with an empty `harmonics` array (NaN); an old one at `path` is replaced.

    Parameters
    ----------
    path
        The folder.
    n_positions
        Positions of the scan.
    harmonics_shape
        (ring, order).
    """
    import zarr

    n_rings, n_orders = harmonics_shape
    rows = max(1, min(n_positions, CHUNK_BYTES // (8 * n_rings * n_orders)))
    group = zarr.open_group(str(path), mode="w")
    group.create_dataset(
        "harmonics",
        shape=(n_positions, n_rings, n_orders),
        chunks=(rows, n_rings, n_orders),
        dtype="<c8",
        fill_value=complex(np.nan, np.nan),
    )
    return CoefficientStore(group)


def open_store(path: Path) -> CoefficientStore:
    """Open an existing folder for reading.

    Raises
    ------
    FormatError
        There is none, or it holds no harmonics.
    """
    import zarr

    if not Path(path).is_dir():
        raise FormatError(f"coefficients: want the folder {path}, got none; run orbistem fit again")
    group = zarr.open_group(str(path), mode="r")
    if "harmonics" not in group:
        raise FormatError(f"coefficients: want 'harmonics' in {path}, got none; run orbistem fit again")
    return CoefficientStore(group)
