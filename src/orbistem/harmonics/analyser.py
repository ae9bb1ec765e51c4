"""The fast path from counts to whitened harmonics: one explicit linear map, ring by ring.

Whitening weights, mask and joint fits of incomplete rings are folded into one small matrix per ring, so
a block of patterns costs one gather and a few matrix products, and the noise of the result is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.harmonics.circular import CircularGrid, Ring, real_waves

SLOPE_ORDERS = 13
"""So many orders of a complete ring may also change along the radius. Turning smooth patterns in pixels then
agrees with turning phases two to eight times better than for plain sums (64 and 128 px), at no cost."""
SLOPE_ORDERS_INCOMPLETE = 4
"""The same for a ring with missing pixels, where more unknowns would cost too much noise."""
GAP_RIDGE, GAP_ORDER = 0.03, 1.0
"""Noise over signal in the orders of a ring: GAP_RIDGE (1 + (m / GAP_ORDER)²). Low orders hold most."""
MAX_SLOPE_CONDITION = 200.0
"""Rings with worse determined slopes (a few pixels about the centre) are fitted without."""


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
    matrices_float32
        The matrices of `maps` in single precision: converting them costs more than using them.
    """

    grid: CircularGrid
    gather: np.ndarray
    maps: tuple[RingMap, ...]
    matrices_float32: tuple[np.ndarray, ...]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Harmonics of gathered pixels: (n, pixel) → (n, ring, order), complex of the same precision."""
        complex_type = np.complex64 if pixels.dtype == np.float32 else np.complex128
        harmonics = np.zeros((len(pixels), self.grid.n_rings, self.grid.n_orders), dtype=complex_type)
        for j, ring in enumerate(self.maps):
            if ring.n_orders:
                matrix = self.matrices_float32[j] if pixels.dtype == np.float32 else ring.matrix
                parts = pixels[:, ring.start : ring.stop] @ matrix
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

    Each ring is fitted jointly in all orders that it carries, then scaled as if it were complete, so that
    neither the square pixels nor a gap fake an order.

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
    checkerboard = 1.0 - 2.0 * (np.indices(grid.detector_shape).sum(axis=0).ravel() % 2)
    for ring, (start, stop) in zip(grid.rings, ranges, strict=True):
        pixels = gather[start:stop]
        matrix = np.zeros((stop - start, max(2 * ring.n_orders - 1, 0)))
        if ring.n_orders:
            row_of = {int(p): r for r, p in enumerate(pixels)}
            rows = np.array([row_of[int(p)] for p in ring.pixels], dtype=int)
            matrix[rows] = ring_matrix(ring, checkerboard[ring.pixels])
            matrix *= flat_weight[pixels][:, None]
        maps.append(RingMap(start=start, stop=stop, matrix=matrix, n_orders=ring.n_orders))
    single = tuple(ring.matrix.astype(np.float32) for ring in maps)
    return Analyser(grid=grid, gather=gather, maps=tuple(maps), matrices_float32=single)


def ring_matrix(ring: Ring, checkerboard: np.ndarray) -> np.ndarray:
    """Pixels of one ring → real and imaginary parts of its orders, shape (pixel, 2 n_orders - 1).

    A fit, weighted by the hat, of all orders of the ring and of their slopes along the radius; then
    scaled as if the ring were complete. Whatever pattern the orders make up, each is found without
    leaking into another; the slopes keep a pattern that changes across the ring from doing so.

    Parameters
    ----------
    ring
        The ring.
    checkerboard
        +1 and -1 at its pixels, shape (pixel,); see `_with_circular_noise`.
    """
    waves = real_waves(ring.azimuth_rad, ring.n_orders)
    if ring.shrinks:
        matrix = shrunk_matrix(ring, waves)
        return ring.weight * _with_circular_noise(matrix, ring.hat * checkerboard, waves, waves, matrix)
    slope = ring.radius_px - ring.hat @ ring.radius_px / max(float(ring.hat.sum()), np.finfo(float).tiny)
    slope = slope / max(float(np.abs(slope).max(initial=0)), np.finfo(float).tiny)
    n_slopes = min(SLOPE_ORDERS if ring.complete else SLOPE_ORDERS_INCOMPLETE, ring.n_orders)
    with_slopes = np.concatenate([waves, slope[:, None] * waves[:, : 2 * n_slopes - 1]], axis=1)
    design = with_slopes if _is_sound(with_slopes, ring.hat) else waves
    weighted = ring.hat[:, None] * design
    fit = weighted @ np.linalg.pinv(design.T @ weighted, rcond=1e-10, hermitian=True)
    matrix = fit[:, : waves.shape[1]]
    if not ring.complete:
        matrix = _with_circular_noise(matrix, ring.hat * checkerboard, waves, design, fit)
    return np.asarray(ring.weight * matrix)


def shrunk_matrix(ring: Ring, waves: np.ndarray) -> np.ndarray:
    """A fit of all orders of a ring with a gap that takes what hides in the gap for zero.

    Ridge regression: a combination of waves of which the ring shows the share λ is read with the gain
    λ (1 + μ) / (λ + μ), so a complete ring is read as it is, and what the ring hardly shows adds no noise.
    Each order is then scaled so that it is right on average over all orientations.

    Parameters
    ----------
    ring
        With missing pixels.
    waves
        Its waves, shape (pixel, 2 n_orders - 1).

    Returns
    -------
    Pixels → parts, shape (pixel, 2 n_orders - 1), as the fit of a complete ring.
    """
    weighted = ring.hat[:, None] * waves / ring.weight
    shown = waves.T @ weighted
    order = (np.arange(len(shown)) + 1) // 2
    ridge = np.diag(GAP_RIDGE * (1 + (order / GAP_ORDER) ** 2))
    matrix = weighted @ np.linalg.solve(shown + ridge, np.eye(len(shown)) + ridge)
    gain = np.einsum("pc,pc->c", waves, matrix)
    gain[1::2] = gain[2::2] = (gain[1::2] + gain[2::2]) / 2
    return np.asarray(matrix / gain)


def _with_circular_noise(
    matrix: np.ndarray, quiet: np.ndarray, waves: np.ndarray, design: np.ndarray, fit: np.ndarray
) -> np.ndarray:
    """Give real and imaginary part of each order the same noise, for any phase.

    Beside a gap one phase of a wave is known better than the other, and a rotation would mix the two. The
    better one is therefore read with some additional pixel noise: the same wave with the signs of a
    checkerboard, of which smooth patterns hold nothing, made orthogonal to everything that the ring fits.
    Keeping all orders this way costs less than dropping those with unequal noise.

    Parameters
    ----------
    matrix
        Pixels → parts, shape (pixel, 2 n_orders - 1).
    quiet
        Weight of the additional noise, hat times checkerboard, shape (pixel,).
    waves, design, fit
        Waves of the ring, all columns of its fit, and the fit itself (pixel, column).
    """
    noise = quiet[:, None] * waves
    noise = noise - fit @ (design.T @ noise)
    matrix = matrix.copy()
    for real in range(1, matrix.shape[1], 2):
        pair = matrix[:, real : real + 2]
        level, axes = np.linalg.eigh(pair.T @ pair)
        direction = axes[:, 0]
        extra = noise[:, real : real + 2] @ direction
        size = float(extra @ extra)
        if size > 0:
            pair += np.outer(extra * np.sqrt((level[1] - level[0]) / size), direction)
    return matrix


def _is_sound(design: np.ndarray, hat: np.ndarray) -> bool:
    """Whether a fit determines all columns well (those of the slopes have been scaled to at most 1)."""
    spectrum = np.linalg.eigvalsh(design.T @ (hat[:, None] * design))
    return bool(spectrum[0] > spectrum[-1] / MAX_SLOPE_CONDITION)


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
