"""What a model holds to be static: the part of the patterns that does not turn with the sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbistem.result import TrainedModel

__all__ = ["static_coefficients", "static_pattern"]


def static_coefficients(model: TrainedModel) -> NDArray[np.complex64]:
    """Coefficients (K,) of the static background; zero in order 0, which turns into itself.

    Whatever turns averages to nothing over a full turn of the decoder's output.
    """
    order = np.asarray(model.basis.order)
    n_angles = 2 * int(order.max(initial=0)) + 2
    angles = np.arange(n_angles) * (2 * np.pi / n_angles)
    drawn = model.decode_coefficients(np.zeros((n_angles, model.latent_dim), np.float32), angles)
    mean: NDArray[np.complex64] = np.where(order > 0, drawn.mean(axis=0), 0).astype(np.complex64)
    return mean


def static_pattern(model: TrainedModel) -> NDArray[np.float32]:
    """The static background in electrons, (ky, kx), with the mean pattern in all that the model does not keep."""
    return model.draw(static_coefficients(model)[None])[0]
