"""What a model holds to be static: the part of the patterns that does not turn with the sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orbistem.result import TrainedModel

__all__ = ["static_coefficients", "static_pattern"]


def static_coefficients(model: TrainedModel) -> NDArray[np.complex64]:
    """Coefficients (K,) of the static background; zero in order 0, which turns into itself."""
    offset = np.asarray(model.vae.offset)
    static = offset if model.background is None else offset + model.background
    return np.where(np.asarray(model.basis.order) > 0, static, 0).astype(np.complex64)


def static_pattern(model: TrainedModel) -> NDArray[np.float32]:
    """Static background in electrons, (ky, kx): the mean pattern in all that the model does not keep."""
    pattern: NDArray[np.float32] = model.draw(static_coefficients(model)[None])[0]
    return pattern
