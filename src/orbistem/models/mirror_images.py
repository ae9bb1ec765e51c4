"""Whether a model that knows turns only explains the mirror images of its patterns as well."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from orbistem.models.protocol import Encoding

__all__ = ["mirror_words"]

AS_WELL = 0.02
"""Share of the signal that mirror images may be explained worse by, of a crystal that has both hands."""
LEAST_NATS = 3.0
JUDGED = 256
"""Patterns that are mirrored: one batch of the inference."""


class _Model(Protocol):
    """What is asked of an `OrbitVAE`."""

    @property
    def offset(self) -> np.ndarray:
        """Static background (k,)."""
        ...

    def encode(self, coefficients: np.ndarray) -> Encoding:
        """Latents and evidence."""
        ...


def mirror_words(model: _Model, coefficients: np.ndarray, *, signal_nats: float) -> tuple[str, ...]:
    """What to say where mirror images of the patterns are as well known as the patterns; else nothing.

    Parameters
    ----------
    model
        Of the group SO2.
    coefficients
        Complex (n, k), of patterns that were not trained on.
    signal_nats
        Mean signal of a pattern.
    """
    some = np.asarray(coefficients[:JUDGED])
    image = model.offset + (some - model.offset).conj()
    lost = float(np.mean(model.encode(some).evidence - model.encode(image).evidence))
    if lost > max(LEAST_NATS, AS_WELL * signal_nats):
        return ()
    return (
        f"mirror images of the patterns are explained as well as the patterns ({max(lost, 0.0):.0f} of "
        f"{signal_nats:.0f} nats worse), as where each site is met in both hands: --group O2 takes a pattern "
        "and its mirror image for one site, and equal sites get closer latents",
    )
