"""The kept coefficients as patterns on the detector: an explicit map and its least-squares inverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.harmonics.analyser import Analyser
from orbistem.harmonics.steerable_pca import SteerableBasis


@dataclass(frozen=True, kw_only=True, slots=True)
class BasisPatterns:
    """Rows read coefficients off pixels, columns draw them back.

    Parameters
    ----------
    analysis
        Real, shape (2 k, pixel): real and imaginary part of each coefficient from the pixels.
    synthesis
        Real, shape (pixel, 2 k): the smallest pattern with given coefficients.
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
    shape = analyser.grid.detector_shape
    n_pixels = shape[0] * shape[1]
    analysis = np.zeros((2 * basis.n_kept, n_pixels))
    flat_weight = np.asarray(weight, dtype=np.float64).ravel()
    for j, ring in enumerate(analyser.maps):
        if not ring.n_orders:
            continue
        pixels = analyser.gather[ring.start : ring.stop]
        inverse = np.where(
            flat_weight[pixels] > 0, 1 / np.where(flat_weight[pixels] > 0, flat_weight[pixels], 1), 0
        )
        matrix = ring.matrix * inverse[:, None]
        for k, m in enumerate(basis.order):
            if m >= ring.n_orders or basis.vectors[k, j] == 0:
                continue
            if m == 0:
                analysis[2 * k, pixels] += basis.vectors[k, j] * matrix[:, 0]
            else:
                analysis[2 * k, pixels] += basis.vectors[k, j] * matrix[:, 2 * m - 1]
                analysis[2 * k + 1, pixels] += basis.vectors[k, j] * matrix[:, 2 * m]
    gram = analysis @ analysis.T
    gram[np.diag_indices_from(gram)] += 1e-12 * np.trace(gram) / max(len(gram), 1)
    silent = np.diag(analysis @ analysis.T) == 0
    gram[silent, silent] = 1.0
    synthesis = np.linalg.solve(gram, analysis).T
    return BasisPatterns(analysis=analysis, synthesis=synthesis, detector_shape=shape)
