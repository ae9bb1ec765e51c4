"""Averages over the neighbourhood of each scan position, and over which length patterns stay alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Layout", "Pool", "correlation_length"]

TRUNCATE = 4.0
"""The Gaussian ends at so many standard deviations."""
MAX_LAG = 24
LONGEST_STEPS, SHORTEST_STEPS = 4.0, 0.7
"""A correlation length beyond these many scan steps is cut: pooling is over the probe, not over a grain."""
UNKNOWN_STEPS = 1.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layout:
    """Where the positions lie.

    Attributes
    ----------
    positions
        (n, 2), y and x, in any unit of length, flat scan order.
    usable
        (n,) bool.
    grid_shape
        (y, x) of a rectangular grid, else None.
    steps
        Length of a step along y and x of the grid.
    """

    positions: np.ndarray
    usable: np.ndarray
    grid_shape: tuple[int, int] | None = None
    steps: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def grid(
        cls,
        shape: tuple[int, int],
        *,
        steps: tuple[float, float] = (1.0, 1.0),
        usable: np.ndarray | None = None,
    ) -> Layout:
        """A rectangular grid, (y, x) positions."""
        y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
        good = np.ones(len(y), bool) if usable is None else np.asarray(usable, bool).ravel()
        positions = np.stack([y * steps[0], x * steps[1]], axis=1)
        return cls(positions=positions, usable=good, grid_shape=shape, steps=steps)

    @property
    def typical_step(self) -> float:
        """Root of the area of one position."""
        if self.grid_shape is not None:
            sizes = [s for s, n in zip(self.steps, self.grid_shape, strict=True) if n > 1]
            return float(np.exp(np.mean(np.log(sizes)))) if sizes else 1.0
        from scipy.spatial import cKDTree

        if len(self.positions) < 2:
            return 1.0
        apart, _ = cKDTree(self.positions).query(self.positions, k=2)
        return max(float(np.median(apart[:, 1])), np.finfo(float).tiny)


class Pool:
    """Gaussian average of a given width over the usable positions around each position.

    On a grid the scan is continued by its mirror image, so that the average stays centred at the rim.

    Parameters
    ----------
    layout
        Where the positions lie.
    width
        Standard deviation of the Gaussian, in the unit of the positions.
    """

    def __init__(self, layout: Layout, width: float) -> None:
        self.layout, self.width = layout, width
        if layout.grid_shape is None:
            self._kernels: tuple[Any, ...] = (_gaussian_matrix(layout, width),)
        else:
            kernels = tuple(
                _mirrored_gaussian(n, width / step)
                for n, step in zip(layout.grid_shape, layout.steps, strict=True)
            )
            self._kernels = kernels
        self._squared = self._powers(2)
        weight = layout.usable.astype(np.float64)[:, None]
        total, squares, cubes, fourths = (
            np.maximum(self._smooth(weight, self._powers(power)), np.finfo(float).tiny)[:, 0]
            for power in (1, 2, 3, 4)
        )
        self._total = total[:, None]
        self.effective: np.ndarray = total**2 / squares
        """How many independent positions the average is worth, (n,)."""
        self.skewness: np.ndarray = cubes / squares**1.5
        """Of the average over that of one position, (n,)."""
        self.kurtosis: np.ndarray = fourths / squares**2
        """The same of the excess kurtosis."""

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Averages (n, q) of values (n, q), real or complex; unusable rows do not count."""
        clean = np.where(self.layout.usable[:, None], values, 0)
        return np.asarray(self._smooth(clean, self._kernels) / self._total)

    def variance(self, variance: np.ndarray) -> np.ndarray:
        """Variance of `mean` for independent rows of given variance (n, q)."""
        clean = np.where(self.layout.usable[:, None], variance, 0)
        return np.asarray(self._smooth(clean, self._squared) / self._total**2)

    def left_over(self, values: np.ndarray) -> np.ndarray:
        """Variance of `mean` when rows follow values (n, q) of a crystal from an unknown origin on.

        A crystal's variation does not quite average out, least of all at the rim of the scan. Its power
        spectrum, seen through the weights at each position, says what is left: (n, q). Zero off a grid.
        """
        clean = np.where(self.layout.usable[:, None], values, 0).astype(np.float64)
        if self.layout.grid_shape is None:
            return np.zeros_like(clean)
        ny, nx = self.layout.grid_shape
        power = np.abs(np.fft.fft2(clean.reshape(ny, nx, -1), axes=(0, 1)) / (ny * nx)) ** 2
        share = self.layout.usable.mean()
        through_y, through_x = (np.abs(np.fft.fft(kernel, axis=1)) ** 2 for kernel in self._kernels)
        seen = np.einsum("yk,kxq->yxq", through_y, np.einsum("xl,klq->kxq", through_x, power))
        return np.asarray(seen.reshape(clean.shape) / max(share, 1e-12))

    def _powers(self, power: int) -> tuple[Any, ...]:
        """The weights to some power."""
        if self.layout.grid_shape is None:
            return (self._kernels[0].power(power),)
        return tuple(kernel**power for kernel in self._kernels)

    def _smooth(self, values: np.ndarray, kernels: tuple[Any, ...]) -> np.ndarray:
        if self.layout.grid_shape is None:
            return np.asarray(kernels[0] @ values)
        ny, nx = self.layout.grid_shape
        along_y = kernels[0] @ values.reshape(ny, -1)
        return np.asarray((kernels[1] @ along_y.reshape(ny, nx, -1)).reshape(values.shape))


def correlation_length(values: np.ndarray, layout: Layout, *, noise: float) -> float:
    """Distance at which patterns are half as alike as they are to themselves.

    Parameters
    ----------
    values
        Modes (n, mode) about their mean.
    layout
        A grid; for listed positions a few steps are returned.
    noise
        Sum over modes of the noise variance of one pattern, taken off the likeness to itself.
    """
    step = layout.typical_step
    if layout.grid_shape is None:
        return UNKNOWN_STEPS * step
    good = layout.usable.reshape(layout.grid_shape)
    table = np.where(good[..., None], values.reshape(*layout.grid_shape, -1), 0)
    own = float(np.sum(np.abs(table) ** 2) / max(good.sum(), 1)) - noise
    if not own > 0:
        return UNKNOWN_STEPS * step
    lengths = []
    for axis in (0, 1):
        n = layout.grid_shape[axis]
        before = (0.0, 1.0)
        for lag in range(1, min(MAX_LAG, n - 1) + 1):
            a, b = np.moveaxis(table, axis, 0)[lag:], np.moveaxis(table, axis, 0)[:-lag]
            pairs = np.moveaxis(good, axis, 0)[lag:] & np.moveaxis(good, axis, 0)[:-lag]
            alike = float(np.sum((a * b.conj()).real) / max(pairs.sum(), 1)) / own
            if alike < 0.5:
                part = (before[1] - 0.5) / max(before[1] - alike, 1e-12)
                lengths.append((before[0] + part * (lag - before[0])) * layout.steps[axis])
                break
            before = (float(lag), min(alike, 1.0))
        else:
            if n > 1:
                lengths.append(MAX_LAG * layout.steps[axis])
    length = float(np.exp(np.mean(np.log(lengths)))) if lengths else UNKNOWN_STEPS * step
    return float(np.clip(length, SHORTEST_STEPS * step, LONGEST_STEPS * step))


def _mirrored_gaussian(n: int, sigma: float) -> np.ndarray:
    """Rows of Gaussian weights over n positions continued by mirror images, (n, n); a row adds up to 1."""
    reach = min(max(1, int(np.ceil(TRUNCATE * sigma))), 8 * n)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    period = np.mod(np.arange(n)[:, None] + offsets, 2 * n)
    rows = np.zeros((n, n))
    np.add.at(rows, (np.arange(n)[:, None], np.minimum(period, 2 * n - 1 - period)), kernel / kernel.sum())
    return rows


def _gaussian_matrix(layout: Layout, width: float) -> Any:
    from scipy.spatial import cKDTree

    tree = cKDTree(layout.positions)
    near = tree.sparse_distance_matrix(tree, TRUNCATE * width, output_type="coo_matrix").tocsr()
    near.data = np.exp(-0.5 * (near.data / width) ** 2)
    near.setdiag(1.0)
    return near
