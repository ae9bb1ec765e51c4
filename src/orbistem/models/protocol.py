"""What every model can do, and what it returns for a set of patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """What is where, how it is turned, and how sure both are.

    Parameters
    ----------
    z, z_sd
        Latent vector and its standard deviation, shape (n, latent_dim). The unit of each latent is its own
        median posterior sd over the scan that the model was fitted to, so a difference of 10 is ten standard
        deviations. z_sd is that of repeated measurements of a site where a model knows it (`OrbitVAE`, for
        latents in use), else that of the posterior.
    angle, angle_sd
        Angle of the highest posterior peak in [0, 2π) and the width of that peak, shape (n,), radian.
    angle_order
        Rotation order of the site as far as the posterior tells, shape (n,); 0 = no preferred angle.
    evidence
        log p(coefficients), nats, constants included, shape (n,).
    residual
        Squared misfit over degrees of freedom against shot noise alone, shape (n,).
    handedness
        Posterior mean of the mirror's sign, from 1, the template, to -1, its mirror image (ky → -ky),
        shape (n,); near 0 the two cannot be told apart. The angle is that of the mirror image where it is
        below 0, else that of the template. None where mirror images are different sites.
    """

    z: np.ndarray
    z_sd: np.ndarray
    angle: np.ndarray
    angle_sd: np.ndarray
    angle_order: np.ndarray
    evidence: np.ndarray
    residual: np.ndarray
    handedness: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """One training of several.

    Parameters
    ----------
    start
        Of the static background.
    seed, steps
        Of the training.
    heldout
        Bound on the evidence of patterns not trained on, nats per pattern.
    curve_step, curve_train, curve_heldout
        How the loss and that bound went.
    refined
        Evidence of these patterns after refinement, by which trainings are chosen; None: not needed.
    """

    start: str
    seed: int
    steps: int
    heldout: float
    curve_step: tuple[int, ...]
    curve_train: tuple[float, ...]
    curve_heldout: tuple[float, ...]
    refined: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReport:
    """How training went.

    Parameters
    ----------
    steps
        Gradient steps of all trainings together.
    patterns_per_s
        Rate of the last training after its first round (compilation excluded).
    first_epoch_s
        Seconds from the call to the end of the first round.
    kept_coefficients
        Number of steerable coefficients.
    active
        Which latents are in use, shape (latent_dim,), bool.
    heldout_evidence
        Nats per pattern of the chosen training.
    restarts
        All trainings; the chosen one is last.
    agreement
        Share of the latent variation of an independent training that the chosen one predicts
        (squared correlation, cross-validated), or None.
    problem
        One sentence, or None.
    words
        What was done and why, sentences for the report.
    """

    steps: int
    patterns_per_s: float
    first_epoch_s: float
    kept_coefficients: int
    active: tuple[bool, ...]
    heldout_evidence: float
    restarts: tuple[Restart, ...]
    agreement: float | None
    problem: str | None
    words: tuple[str, ...]


class PatternModel(Protocol):
    """A fitted model that takes patterns as stored in the file and gives electrons back.

    `orbistem.result.TrainedModel` is one, and so is every model of `orbistem.models.methods`. Immutable.
    """

    @property
    def latent_dim(self) -> int:
        """Number of latents."""
        ...

    def encode(self, frames: np.ndarray) -> Encoding:
        """Latents, angle and their errors of patterns (n, ky, kx) in counts."""
        ...

    def decode(self, z: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Expected electrons (n, ky, kx) of what `encode` returns: z (n, latent_dim), angle (n,)."""
        ...

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Expected electrons (n, ky, kx) of patterns (n, ky, kx) in counts."""
        ...


class StoredModel(PatternModel, Protocol):
    """A `PatternModel` that can be stored without pickle; its class has the inverse, `from_state`."""

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values from which `from_state` builds the same model."""
        ...


NO_TRAINING = TrainingReport(
    steps=0,
    patterns_per_s=0.0,
    first_epoch_s=0.0,
    kept_coefficients=0,
    active=(),
    heldout_evidence=float("nan"),
    restarts=(),
    agreement=None,
    problem=None,
    words=(),
)
"""The report of a model that is computed, not trained."""
