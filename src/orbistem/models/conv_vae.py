"""ConvVAE: a convolutional variational autoencoder that knows nothing of rotations.

Convolutions carry shifts along, not turns: the paper's point about convolutional networks (Oxley et al., npj
Comput. Mater. 7, 65 (2021)).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from orbistem.errors import OptionError
from orbistem.models.pixel_vae import PixelNet, PixelVAE, dense
from orbistem.models.pixels import Scaling
from orbistem.models.train import TrainOptions

SLOPE = 0.1  # of the leaky rectifier below zero


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvVAEOptions:
    """Options.

    Attributes
    ----------
    latent_dim
        Number of latents.
    channels
        Channels of the strided 3 × 3 convolutions, each of which halves the image; the decoder mirrors them.
    scaling
        Unit of the images.
    train
        Length and step size.
    """

    latent_dim: int = 3
    channels: tuple[int, ...] = (16, 32, 64)
    scaling: Scaling = "noise"
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(steps=4000, batch=64, learning_rate=1e-3, rounds=200)
    )

    def __post_init__(self) -> None:
        if self.latent_dim < 1 or not self.channels or min(self.channels) < 1:
            raise OptionError("latent_dim and every number of channels: want 1 or more")


class ConvNet(PixelNet):
    """Strided convolutions, one dense layer to the latents; one dense layer, transposed convolutions back."""

    encoder: tuple[eqx.nn.Conv2d, ...]
    mean: eqx.nn.Linear
    log_sd: eqx.nn.Linear
    spread: eqx.nn.Linear
    decoder: tuple[eqx.nn.ConvTranspose2d, ...]
    sizes: tuple[tuple[int, int], ...] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int], *, options: ConvVAEOptions, key: PRNGKeyArray) -> None:
        channels = (1, *options.channels)
        keys = iter(jax.random.split(key, 2 * len(options.channels) + 3))
        sizes = [shape]
        for _ in options.channels:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        self.sizes = tuple(sizes)
        pairs = list(pairwise(channels))
        self.encoder = tuple(
            eqx.nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, key=next(keys)) for n_in, n_out in pairs
        )
        last = channels[-1] * sizes[-1][0] * sizes[-1][1]
        self.mean = eqx.nn.Linear(last, options.latent_dim, key=next(keys))
        self.log_sd = eqx.nn.Linear(last, options.latent_dim, key=next(keys))
        self.spread = eqx.nn.Linear(options.latent_dim, last, key=next(keys))
        self.decoder = tuple(
            eqx.nn.ConvTranspose2d(n_out, n_in, 4, stride=2, padding=1, key=next(keys))
            for n_in, n_out in reversed(pairs)
        )

    def encode(self, images: Array) -> tuple[Array, Array]:
        """Mean and log sd (n, latent_dim)."""
        hidden = images[:, None]
        for layer in self.encoder:
            hidden = jax.nn.leaky_relu(jax.vmap(layer)(hidden), SLOPE)
        flat = hidden.reshape(hidden.shape[0], -1)
        return dense(self.mean, flat), jnp.clip(dense(self.log_sd, flat), -8.0, 4.0)

    def decode(self, latent: Array) -> Array:
        """Images (n, ky, kx)."""
        height, width = self.sizes[-1]
        hidden = dense(self.spread, latent).reshape(latent.shape[0], -1, height, width)
        for layer, (height, width) in zip(self.decoder, reversed(self.sizes[:-1]), strict=True):
            hidden = jax.vmap(layer)(jax.nn.leaky_relu(hidden, SLOPE))[:, :, :height, :width]
        return hidden[:, 0]


class ConvVAE(PixelVAE[ConvVAEOptions]):
    """Convolutional autoencoder; no angle. Invariant under nothing."""

    @classmethod
    def default_options(cls) -> ConvVAEOptions:
        """Defaults."""
        return ConvVAEOptions()

    @classmethod
    def options_from(cls, values: dict[str, Any]) -> ConvVAEOptions:
        """Undo ``dataclasses.asdict``."""
        made = values | {"train": TrainOptions(**values["train"]), "channels": tuple(values["channels"])}
        return ConvVAEOptions(**made)

    @classmethod
    def make_net(cls, shape: tuple[int, int], options: ConvVAEOptions, key: PRNGKeyArray) -> ConvNet:
        """Fresh network."""
        return ConvNet(shape, options=options, key=key)
