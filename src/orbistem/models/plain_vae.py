"""PlainVAE: a dense variational autoencoder that knows nothing of rotations.

The paper's point of departure (Oxley et al., npj Comput. Mater. 7, 65 (2021)): rotated copies of a site lie
at different places of its latent space.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from orbistem.errors import OptionError
from orbistem.models.pixel_vae import PixelNet, PixelVAE, dense
from orbistem.models.pixels import Scaling
from orbistem.models.train import TrainOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainVAEOptions:
    """Options.

    Attributes
    ----------
    latent_dim
        Number of latents.
    width, depth
        Units and hidden layers of encoder and decoder.
    scaling
        Unit of the images.
    train
        Length and step size.
    """

    latent_dim: int = 3
    width: int = 128
    depth: int = 2
    scaling: Scaling = "noise"
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(steps=4000, batch=64, learning_rate=1e-3, rounds=100)
    )

    def __post_init__(self) -> None:
        if min(self.latent_dim, self.width, self.depth) < 1:
            raise OptionError("latent_dim, width and depth: want 1 or more")


class PlainNet(PixelNet):
    """Dense tanh layers both ways."""

    encoder: tuple[eqx.nn.Linear, ...]
    mean: eqx.nn.Linear
    log_sd: eqx.nn.Linear
    decoder: tuple[eqx.nn.Linear, ...]
    out: eqx.nn.Linear
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int], *, options: PlainVAEOptions, key: PRNGKeyArray) -> None:
        width, depth, d = options.width, options.depth, options.latent_dim
        keys = iter(jax.random.split(key, 2 * depth + 3))
        n_pixels = shape[0] * shape[1]
        self.encoder = tuple(
            eqx.nn.Linear(n, width, key=next(keys)) for n in [n_pixels] + (depth - 1) * [width]
        )
        self.mean = eqx.nn.Linear(width, d, key=next(keys))
        self.log_sd = eqx.nn.Linear(width, d, key=next(keys))
        self.decoder = tuple(eqx.nn.Linear(n, width, key=next(keys)) for n in [d] + (depth - 1) * [width])
        self.out = eqx.nn.Linear(width, n_pixels, key=next(keys))
        self.shape = shape

    def encode(self, images: Array) -> tuple[Array, Array]:
        """Mean and log sd (n, latent_dim)."""
        hidden = images.reshape(images.shape[0], -1)
        for layer in self.encoder:
            hidden = jnp.tanh(dense(layer, hidden))
        return dense(self.mean, hidden), dense(self.log_sd, hidden)

    def decode(self, latent: Array) -> Array:
        """Images (n, ky, kx)."""
        hidden = latent
        for layer in self.decoder:
            hidden = jnp.tanh(dense(layer, hidden))
        return dense(self.out, hidden).reshape(-1, *self.shape)


class PlainVAE(PixelVAE[PlainVAEOptions]):
    """Dense autoencoder; no angle. Invariant under nothing."""

    @classmethod
    def default_options(cls) -> PlainVAEOptions:
        """Defaults."""
        return PlainVAEOptions()

    @classmethod
    def options_from(cls, values: dict[str, Any]) -> PlainVAEOptions:
        """Undo ``dataclasses.asdict``."""
        return PlainVAEOptions(**values | {"train": TrainOptions(**values["train"])})

    @classmethod
    def make_net(cls, shape: tuple[int, int], options: PlainVAEOptions, key: PRNGKeyArray) -> PlainNet:
        """Fresh network."""
        return PlainNet(shape, options=options, key=key)
