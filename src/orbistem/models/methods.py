"""The models that are compared with OrbitVAE: one file and one line of `METHODS` each.

Every one is a `PatternModel`; `orbistem compare`, its figure and the tests loop over the tuple. Importing
this file is quick: scikit-learn and JAX are loaded when a model is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from orbistem.errors import OptionError
from orbistem.models.protocol import StoredModel, TrainingReport
from orbistem.plan import Plan
from orbistem.progress import Progress, Silent

__all__ = ["METHODS", "Effort", "Method", "find_method"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much a method may spend.

    Attributes
    ----------
    seed
        Of all that is random.
    latent_dim
        Latents of the models with an angle or a network.
    components
        Components, or clusters, of the linear models.
    seconds
        Training stops after this time; what is computed without training ignores it.
    progress
        Told how far a training is.
    """

    seed: int = 0
    latent_dim: int = 3
    components: int = 16
    seconds: float = 120.0
    progress: Progress = field(default_factory=Silent)

    def __post_init__(self) -> None:
        if self.latent_dim < 1 or self.components < 1:
            raise OptionError("latent_dim and components: want 1 or more")
        if not self.seconds > 0:
            raise OptionError(f"seconds: want a time above 0, got {self.seconds}; give for instance 120")


class FitMethod(Protocol):
    """Fits a model to patterns (n, ky, kx) as stored in the file."""

    def __call__(
        self, frames: np.ndarray, *, plan: Plan, effort: Effort
    ) -> tuple[StoredModel, TrainingReport]:
        """Model and report; the plan whitens linearly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """One row of the comparison.

    Attributes
    ----------
    name, title
        Short name, and what it is in a few words.
    invariant
        Whether the latents are meant to be the same for a turned pattern.
    fit
        Fits it.
    """

    name: str
    title: str
    invariant: bool
    fit: FitMethod


def _linear(
    frames: np.ndarray, *, plan: Plan, effort: Effort, kind: Any
) -> tuple[StoredModel, TrainingReport]:
    from orbistem.models.linear import LinearModel, LinearOptions

    options = LinearOptions(kind=kind, components=effort.components)
    return LinearModel.fit(frames, plan=plan, options=options, seed=effort.seed)


def _plain_vae(frames: np.ndarray, *, plan: Plan, effort: Effort) -> tuple[StoredModel, TrainingReport]:
    from orbistem.models.plain_vae import PlainVAE, PlainVAEOptions

    options = PlainVAEOptions(latent_dim=effort.latent_dim)
    return PlainVAE.fit(
        frames, plan=plan, options=options, seed=effort.seed, seconds=effort.seconds, progress=effort.progress
    )


def _conv_vae(frames: np.ndarray, *, plan: Plan, effort: Effort) -> tuple[StoredModel, TrainingReport]:
    from orbistem.models.conv_vae import ConvVAE, ConvVAEOptions

    options = ConvVAEOptions(latent_dim=effort.latent_dim)
    return ConvVAE.fit(
        frames, plan=plan, options=options, seed=effort.seed, seconds=effort.seconds, progress=effort.progress
    )


def _spatial_vae(
    frames: np.ndarray, *, plan: Plan, effort: Effort, published: bool
) -> tuple[StoredModel, TrainingReport]:
    from orbistem.models.spatial_vae import SpatialVAE, SpatialVAEOptions
    from orbistem.models.train import TrainOptions

    options = SpatialVAEOptions()
    if not published:
        train = TrainOptions(steps=6000, batch=20, learning_rate=1e-3, rounds=300, patience=1.0)
        options = SpatialVAEOptions(latent_dim=effort.latent_dim, scaling="noise", train=train)
    return SpatialVAE.fit(
        frames, plan=plan, options=options, seed=effort.seed, seconds=effort.seconds, progress=effort.progress
    )


def _com(frames: np.ndarray, *, plan: Plan, effort: Effort) -> tuple[StoredModel, TrainingReport]:
    from orbistem.models.com import ComModel

    del effort
    return ComModel.fit(frames, plan=plan)


def _invariants(
    frames: np.ndarray, *, plan: Plan, effort: Effort, kind: Any
) -> tuple[StoredModel, TrainingReport]:
    from orbistem.models.invariants import InvariantsModel, InvariantsOptions

    options = InvariantsOptions(kind=kind, latent_dim=effort.latent_dim)
    return InvariantsModel.fit(frames, plan=plan, options=options, seed=effort.seed)


METHODS: tuple[Method, ...] = (
    Method(name="pca", title="PCA", invariant=False, fit=partial(_linear, kind="pca")),
    Method(name="nmf", title="NMF", invariant=False, fit=partial(_linear, kind="nmf")),
    Method(name="ica", title="ICA", invariant=False, fit=partial(_linear, kind="ica")),
    Method(name="gmm", title="Gaussian mixture", invariant=False, fit=partial(_linear, kind="gmm")),
    Method(name="kmeans", title="k-means", invariant=False, fit=partial(_linear, kind="kmeans")),
    Method(name="plain-vae", title="PlainVAE", invariant=False, fit=_plain_vae),
    Method(name="conv-vae", title="ConvVAE", invariant=False, fit=_conv_vae),
    Method(
        name="spatial-vae",
        title="SpatialVAE, published",
        invariant=True,
        fit=partial(_spatial_vae, published=True),
    ),
    Method(
        name="spatial-vae-noise",
        title="SpatialVAE, noise units",
        invariant=True,
        fit=partial(_spatial_vae, published=False),
    ),
    Method(name="com", title="centre of mass", invariant=True, fit=_com),
    Method(
        name="harmonics",
        title="sizes of harmonics + PCA",
        invariant=True,
        fit=partial(_invariants, kind="harmonics"),
    ),
    Method(
        name="bispectrum",
        title="bispectrum + PCA",
        invariant=True,
        fit=partial(_invariants, kind="bispectrum"),
    ),
)


def find_method(name: str) -> Method:
    """The method of that name.

    Raises
    ------
    OptionError
        Unknown name; the text lists the known ones.
    """
    for method in METHODS:
        if method.name == name:
            return method
    known = ", ".join(method.name for method in METHODS)
    raise OptionError(f"method: want one of {known}; got {name!r}")
