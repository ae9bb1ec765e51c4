"""The kept coefficients as patterns on the detector: an explicit map and its least-squares inverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.harmonics.analyser import Analyser
from orbistem.harmonics.circular import real_waves
from orbistem.harmonics.steerable_pca import SteerableBasis


@dataclass(frozen=True, kw_only=True, slots=True)
class BasisPatterns:
    """Rows read coefficients off pixels, columns draw them back.

    Parameters
    ----------
    analysis
        Real, shape (2 k, pixel): real and imaginary part of each coefficient from the pixels.
    synthesis
        Real, shape (pixel, 2 k): the smallest pattern with given coefficients (where rings are
        incomplete: a smooth one).
    detector_shape
        (ky, kx).
    """

    analysis: np.ndarray
    synthesis: np.ndarray
    detector_shape: tuple[int, int]

    def draw(self, pairs: np.ndarray) -> np.ndarray:
        """Patterns (n, ky, kx) of coefficients given as pairs (n, k, 2), in whitened units."""
        pairs = np.asarray(pairs)
        flat = pairs.reshape(len(pairs), -1) @ self.synthesis.T.astype(pairs.dtype)
        return np.asarray(flat.reshape(len(pairs), *self.detector_shape))


def basis_patterns(analyser: Analyser, basis: SteerableBasis, *, weight: np.ndarray) -> BasisPatterns:
    """Build the map for whitened pixels.

    Parameters
    ----------
    analyser
        Map from counts to harmonics, the whitening weight folded in.
    basis
        Kept coefficients.
    weight
        The weight that `analyser` was made with, shape (ky, kx); its zeros are pixels without a value.
    """
    grid = analyser.grid
    n_pixels = grid.detector_shape[0] * grid.detector_shape[1]
    analysis = np.zeros((2 * basis.n_kept, n_pixels))
    smooth = np.zeros((2 * basis.n_kept, n_pixels))
    flat_weight = np.asarray(weight, dtype=np.float64).ravel()
    inverse = np.divide(1.0, flat_weight, out=np.zeros(n_pixels), where=flat_weight > 0)
    for j, (ring_map, ring) in enumerate(zip(analyser.maps, grid.rings, strict=True)):
        if not ring_map.n_orders:
            continue
        pixels = analyser.gather[ring_map.start : ring_map.stop]
        matrix = ring_map.matrix * inverse[pixels][:, None]
        _add_ring(analysis, pixels, matrix, basis, j)
        if ring.complete:
            _add_ring(smooth, pixels, matrix, basis, j)
        else:  # its matrix reads additional pixel noise that must not be drawn
            plain = ring.hat[:, None] * real_waves(ring.azimuth_rad, ring.n_orders)
            _add_ring(smooth, ring.pixels, plain, basis, j)
    gram = analysis @ smooth.T
    gram[np.diag_indices_from(gram)] += 1e-12 * np.trace(gram) / max(len(gram), 1)
    silent = np.flatnonzero(~analysis.any(axis=1))
    gram[silent, silent] = 1.0
    synthesis = smooth.T @ np.linalg.inv(gram)
    return BasisPatterns(analysis=analysis, synthesis=synthesis, detector_shape=grid.detector_shape)


def _add_ring(
    rows: np.ndarray, pixels: np.ndarray, matrix: np.ndarray, basis: SteerableBasis, ring: int
) -> None:
    """Add one ring's share to the rows (2 k, pixel) of all coefficients that use it."""
    for k, m in enumerate(basis.order):
        if m > 0 and 2 * m < matrix.shape[1]:
            rows[2 * k, pixels] += basis.vectors[k, ring] * matrix[:, 2 * m - 1]
            rows[2 * k + 1, pixels] += basis.vectors[k, ring] * matrix[:, 2 * m]
        elif m == 0:
            rows[2 * k, pixels] += basis.vectors[k, ring] * matrix[:, 0]
