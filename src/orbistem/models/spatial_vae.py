"""SpatialVAE: the rotationally invariant autoencoder of the paper (rrVAE), as published.

Oxley et al., npj Comput. Mater. 7, 65 (2021), with the program AtomAI (Ziatdinov et al., arXiv:2105.07485);
the decoder follows Bepler et al., arXiv:1909.11663. A dense encoder gives an angle and latents; the decoder
is evaluated at every pixel's coordinates, turned by the angle. Nothing makes the *encoder* invariant: it has
to learn it, from the data. With equal weights the output agrees with AtomAI's rVAE (tests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from orbistem.errors import OptionError
from orbistem.models.pixel_vae import PixelNet, PixelVAE, dense
from orbistem.models.pixels import Scaling
from orbistem.models.train import TrainOptions


def _published() -> TrainOptions:
    return TrainOptions(
        steps=20_000,
        batch=20,
        learning_rate=1e-4,
        schedule="constant",
        warm_up=0.0,
        rounds=1000,
        averaging=0.0,
        patience=1.0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SpatialVAEOptions:
    """Options; the defaults are the published ones.

    Attributes
    ----------
    latent_dim
        Number of latents beside the angle.
    width, depth
        Units and hidden layers of encoder and decoder.
    rotation_prior_rad
        Width of the prior of the angle.
    scaling
        Unit of the images: "range" as published, or "noise".
    train
        Adam with a constant step of 1e-4 on batches of 20.
    """

    latent_dim: int = 2
    width: int = 128
    depth: int = 2
    rotation_prior_rad: float = float(np.pi / 2)
    scaling: Scaling = "range"
    train: TrainOptions = field(default_factory=_published)

    def __post_init__(self) -> None:
        if min(self.latent_dim, self.width, self.depth) < 1:
            raise OptionError("latent_dim, width and depth: want 1 or more")


class SpatialNet(PixelNet):
    """Dense encoder; decoder on coordinates x of pixels: tanh(A x + b + C z), tanh layers, one number."""

    encoder: tuple[eqx.nn.Linear, ...]
    mean: eqx.nn.Linear
    log_sd: eqx.nn.Linear
    coordinate: eqx.nn.Linear
    latent: eqx.nn.Linear
    decoder: tuple[eqx.nn.Linear, ...]
    out: eqx.nn.Linear
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self, shape: tuple[int, int], *, latent_dim: int, width: int, depth: int, key: PRNGKeyArray
    ) -> None:
        keys = iter(jax.random.split(key, 2 * depth + 5))
        sizes = [shape[0] * shape[1]] + depth * [width]
        self.encoder = tuple(eqx.nn.Linear(n_in, width, key=next(keys)) for n_in in sizes[:-1])
        self.mean = eqx.nn.Linear(width, latent_dim + 1, key=next(keys))
        self.log_sd = eqx.nn.Linear(width, latent_dim + 1, key=next(keys))
        self.coordinate = eqx.nn.Linear(2, width, key=next(keys))
        self.latent = eqx.nn.Linear(latent_dim, width, use_bias=False, key=next(keys))
        self.decoder = tuple(eqx.nn.Linear(width, width, key=next(keys)) for _ in range(depth))
        self.out = eqx.nn.Linear(width, 1, key=next(keys))
        self.shape = shape

    def encode(self, images: Array) -> tuple[Array, Array]:
        """Mean and log sd (n, 1 + latent_dim) of φ and z; the image is that of φ = 0 turned by −φ."""
        hidden = images.reshape(images.shape[0], -1)
        for layer in self.encoder:
            hidden = jnp.tanh(dense(layer, hidden))
        return dense(self.mean, hidden), dense(self.log_sd, hidden)

    def decode(self, latent: Array) -> Array:
        """Images (n, ky, kx) of φ and z, (n, 1 + latent_dim)."""
        phi, z = latent[:, :1], latent[:, 1:]
        x = jnp.asarray(_coordinates(self.shape))
        cos, sin = jnp.cos(phi), jnp.sin(phi)
        turned = jnp.stack(
            [cos * x[None, :, 0] - sin * x[None, :, 1], sin * x[None, :, 0] + cos * x[None, :, 1]], axis=-1
        )
        hidden = jnp.tanh(dense(self.coordinate, turned) + dense(self.latent, z)[:, None, :])
        for layer in self.decoder:
            hidden = jnp.tanh(dense(layer, hidden))
        return dense(self.out, hidden).reshape(-1, *self.shape)

    @classmethod
    def from_atomai(
        cls, encoder: Mapping[str, np.ndarray], decoder: Mapping[str, np.ndarray], shape: tuple[int, int]
    ) -> SpatialNet:
        """A network with the weights of AtomAI's ``rVAE(shape, translation=False)``.

        Parameters
        ----------
        encoder, decoder
            ``state_dict`` of ``encoder_net`` and ``decoder_net``, as NumPy arrays.
        shape
            (ky, kx) of its images.
        """
        depth = sum(name.startswith("dense.") and name.endswith(".weight") for name in encoder)
        width, latent_dim = decoder["coord_latent.fc_latent.weight"].shape
        net = cls(shape, latent_dim=latent_dim, width=width, depth=depth, key=jax.random.key(0))
        named = {f"encoder.{name}": array for name, array in encoder.items()}
        named |= {f"decoder.{name}": array for name, array in decoder.items()}

        def layer(old: eqx.nn.Linear, name: str) -> eqx.nn.Linear:
            new: eqx.nn.Linear = eqx.tree_at(
                lambda one: one.weight, old, jnp.asarray(named[f"{name}.weight"])
            )
            if old.bias is not None:
                new = eqx.tree_at(lambda one: one.bias, new, jnp.asarray(named[f"{name}.bias"]))
            return new

        replaced: SpatialNet = eqx.tree_at(
            lambda one: (
                one.encoder,
                one.mean,
                one.log_sd,
                one.coordinate,
                one.latent,
                one.decoder,
                one.out,
            ),
            net,
            (
                tuple(layer(old, f"encoder.dense.{2 * i}") for i, old in enumerate(net.encoder)),
                layer(net.mean, "encoder.fc11"),
                layer(net.log_sd, "encoder.fc12"),
                layer(net.coordinate, "decoder.coord_latent.fc_coord"),
                layer(net.latent, "decoder.coord_latent.fc_latent"),
                tuple(layer(old, f"decoder.fc_decoder.{2 * i}") for i, old in enumerate(net.decoder)),
                layer(net.out, "decoder.out"),
            ),
        )
        return replaced


class SpatialVAE(PixelVAE[SpatialVAEOptions]):
    """The paper's rrVAE: meant to be invariant under SO(2) about the frame's middle, exactly it is not."""

    @classmethod
    def default_options(cls) -> SpatialVAEOptions:
        """As published."""
        return SpatialVAEOptions()

    @classmethod
    def options_from(cls, values: dict[str, Any]) -> SpatialVAEOptions:
        """Undo ``dataclasses.asdict``."""
        return SpatialVAEOptions(**values | {"train": TrainOptions(**values["train"])})

    @classmethod
    def make_net(cls, shape: tuple[int, int], options: SpatialVAEOptions, key: PRNGKeyArray) -> SpatialNet:
        """Fresh network."""
        return SpatialNet(
            shape, latent_dim=options.latent_dim, width=options.width, depth=options.depth, key=key
        )

    @classmethod
    def rotation_prior_rad(cls, options: SpatialVAEOptions) -> float | None:
        """Width of the prior of the angle."""
        return options.rotation_prior_rad


def _coordinates(shape: tuple[int, int]) -> np.ndarray:
    """Coordinates (pixel, 2) as AtomAI has them: rows from −1 to 1, columns from 1 to −1; float32."""
    rows, columns = np.linspace(-1, 1, shape[0]), np.linspace(1, -1, shape[1])
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)
