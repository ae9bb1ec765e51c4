"""The fast path from counts to whitened harmonics: one explicit linear map, ring by ring.

Whitening weights, mask and joint fits of incomplete rings are folded into one small matrix per ring, so
a block of patterns costs one gather and a few matrix products, and the noise of the result is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.harmonics.circular import CircularGrid, Ring, real_waves


@dataclass(frozen=True, kw_only=True, slots=True)
class RingMap:
    """Matrix of one ring: columns of the gathered pixels it reads → real and imaginary parts."""

    start: int
    stop: int
    matrix: np.ndarray  # (pixel, 2 n_orders - 1), float64
    n_orders: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Analyser:
    """Linear map from pixels to harmonics.

    Parameters
    ----------
    grid
        Rings and orders.
    gather
        Flat indices of all pixels used, sorted by radius, so each ring reads one slice, shape (pixel,).
    maps
        One `RingMap` a ring.
    """

    grid: CircularGrid
    gather: np.ndarray
    maps: tuple[RingMap, ...]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Harmonics of gathered pixels: (n, pixel) → (n, ring, order), complex of the same precision."""
        complex_type = np.complex64 if pixels.dtype == np.float32 else np.complex128
        harmonics = np.zeros((len(pixels), self.grid.n_rings, self.grid.n_orders), dtype=complex_type)
        for j, ring in enumerate(self.maps):
            if ring.n_orders:
                parts = pixels[:, ring.start : ring.stop] @ ring.matrix.astype(pixels.dtype)
                harmonics[:, j, 0] = parts[:, 0]
                harmonics[:, j, 1 : ring.n_orders].real = parts[:, 1::2]
                harmonics[:, j, 1 : ring.n_orders].imag = parts[:, 2::2]
        return harmonics

    def noise_covariance(self, pixel_variance: np.ndarray) -> np.ndarray:
        """Covariance G_m of the harmonics per real degree of freedom for independent pixel noise.

        Parameters
        ----------
        pixel_variance
            Variance of the pixels as they enter the map, shape (ky, kx).

        Returns
        -------
        Shape (order, ring, ring), float64; for m > 0 the mean over real and imaginary part, so that a
        coefficient of unit noise has variance 1 in each.
        """
        variance = np.asarray(pixel_variance, dtype=np.float64).ravel()[self.gather]
        grid = self.grid
        noise = np.zeros((grid.n_orders, grid.n_rings, grid.n_rings))
        for i, left in enumerate(self.maps):
            for j in range(i, grid.n_rings):
                right = self.maps[j]
                start, stop = max(left.start, right.start), min(left.stop, right.stop)
                n_orders = min(left.n_orders, right.n_orders)
                if stop <= start or not n_orders:
                    continue
                a = left.matrix[start - left.start : stop - left.start]
                b = right.matrix[start - right.start : stop - right.start]
                product = np.einsum(
                    "kc,kc,k->c", a[:, : 2 * n_orders - 1], b[:, : 2 * n_orders - 1], variance[start:stop]
                )
                noise[0, i, j] = product[0]
                noise[1:n_orders, i, j] = (product[1::2] + product[2::2]) / 2
                noise[:, j, i] = noise[:, i, j]
        return noise


def make_analyser(grid: CircularGrid, *, weight: np.ndarray) -> Analyser:
    """Build the map for a grid and pixel weights.

    A complete ring is read by plain sums over its pixels. An incomplete ring is fitted jointly in all
    orders that it carries, then scaled as if it were complete, so that a gap fakes no order.

    Parameters
    ----------
    grid
        Rings and orders.
    weight
        Factor of each pixel before the harmonics, shape (ky, kx): whitening; 1 for plain harmonics.
    """
    flat_weight = np.asarray(weight, dtype=np.float64).ravel()
    gather, ranges = _gather_order(grid)
    maps = []
    for ring, (start, stop) in zip(grid.rings, ranges, strict=True):
        pixels = gather[start:stop]
        matrix = np.zeros((stop - start, max(2 * ring.n_orders - 1, 0)))
        if ring.n_orders:
            row_of = {int(p): r for r, p in enumerate(pixels)}
            rows = np.array([row_of[int(p)] for p in ring.pixels])
            matrix[rows] = ring_matrix(ring)
            matrix *= flat_weight[pixels][:, None]
        maps.append(RingMap(start=start, stop=stop, matrix=matrix, n_orders=ring.n_orders))
    return Analyser(grid=grid, gather=gather, maps=tuple(maps))


def ring_matrix(ring: Ring) -> np.ndarray:
    """Pixels of one ring → real and imaginary parts of its orders, shape (pixel, 2 n_orders - 1)."""
    waves = real_waves(ring.azimuth_rad, ring.n_orders)
    plain = ring.hat[:, None] * waves
    if ring.complete:
        return plain
    gram = waves.T @ plain
    fit: np.ndarray = np.linalg.solve(gram, plain.T).T
    return np.asarray(ring.weight * fit)


def _gather_order(grid: CircularGrid) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Pixels sorted by the first ring that reads them, then the second: each ring reads one slice."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for j, ring in enumerate(grid.rings):
        if ring.n_orders:
            for pixel in ring.pixels.tolist():
                first.setdefault(pixel, j)
                last[pixel] = j
    order = sorted(first, key=lambda p: (first[p], last[p], p))
    gather = np.array(order, dtype=np.intp)
    firsts = np.array([first[p] for p in order])
    lasts = np.array([last[p] for p in order])
    ranges = []
    for j in range(grid.n_rings):
        mine = np.flatnonzero((firsts <= j) & (lasts >= j))
        ranges.append((int(mine[0]), int(mine[-1]) + 1) if len(mine) else (0, 0))
    return gather, ranges
