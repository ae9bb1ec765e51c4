"""What the variational autoencoders on pixels share: fit, encode, decode, storage.

Their networks differ (`spatial_vae.py`, `plain_vae.py`, `conv_vae.py`); the loss is the same: half the
squared error plus KL(q(z|x) ‖ N(0, 1)) (Kingma & Welling, arXiv:1312.6114), and for an angle
KL(q(φ|x) ‖ N(mean of q, prior²)): its width is held but not its value (Bepler et al., arXiv:1909.11663).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from orbistem.errors import InputError, OptionError, ShapeError
from orbistem.models.checkpoint import load_state, save_state
from orbistem.models.full_products import full_products
from orbistem.models.pixels import PixelSpace, Scaling, require_latents, without_angle
from orbistem.models.protocol import Encoding, Restart, TrainingReport
from orbistem.models.train import Loop, State, Trained, TrainOptions, begin, train
from orbistem.plan import Plan
from orbistem.progress import Progress, Silent

HELDOUT_SHARE = 0.1
CHUNK_VALUES = 2**18
"""Pixels decoded at once: a hidden layer of 128 units on them takes 128 MB."""


class PixelOptions(Protocol):
    """What the options of every such model hold."""

    @property
    def latent_dim(self) -> int:
        """Number of latents."""

    @property
    def scaling(self) -> Scaling:
        """Unit of the images, see `PixelSpace.of`."""

    @property
    def train(self) -> TrainOptions:
        """Length and step size of the training."""


class PixelNet(eqx.Module):
    """Images (n, ky, kx) → mean and log sd of latents (n, d), and back; an angle, if any, is the first."""

    def encode(self, images: Array) -> tuple[Array, Array]:
        """Mean and logarithm of the standard deviation."""
        raise NotImplementedError

    def decode(self, latent: Array) -> Array:
        """Images of latents."""
        raise NotImplementedError


O_co = TypeVar("O_co", bound=PixelOptions, covariant=True)


class PixelVAE(ABC, Generic[O_co]):
    """A trained autoencoder on pixels; a `PatternModel`. Its subclasses say which network it has."""

    def __init__(self, net: PixelNet, space: PixelSpace, options: O_co) -> None:
        self._net, self._space, self._options = net, space, options

    # ---------------------------------------------------------------- what subclasses say

    @classmethod
    @abstractmethod
    def default_options(cls) -> Any:
        """Options where none are given."""

    @classmethod
    @abstractmethod
    def options_from(cls, values: dict[str, Any]) -> Any:
        """Undo ``dataclasses.asdict``."""

    @classmethod
    @abstractmethod
    def make_net(cls, shape: tuple[int, int], options: Any, key: PRNGKeyArray) -> PixelNet:
        """Fresh network for images of this shape."""

    @classmethod
    def rotation_prior_rad(cls, options: Any) -> float | None:
        """Width of the prior of the angle; None where the model has no angle."""
        del options
        return None

    # ---------------------------------------------------------------- protocol

    @property
    def latent_dim(self) -> int:
        """Number of latents, the angle not counted."""
        return self._options.latent_dim

    @property
    def net(self) -> PixelNet:
        """The trained network."""
        return self._net

    @classmethod
    @full_products
    def fit(
        cls,
        frames: np.ndarray,
        *,
        plan: Plan,
        options: O_co | None = None,
        seed: int = 0,
        seconds: float = float("inf"),
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> tuple[Self, TrainingReport]:
        """Train on patterns (n, ky, kx) as stored in the file.

        Parameters
        ----------
        plan
            Of the scan: says how electrons are read, and the mean pattern, which is subtracted.
        seconds
            The training ends after the round in which this time has passed.
        checkpoint
            Folder for the state of the training; an interrupted training goes on from there.

        Raises
        ------
        InputError
            Fewer than ten patterns.
        """
        if len(frames) < 10:
            raise InputError(f"want ten patterns or more, got {len(frames)}; give a scan")
        given: Any = cls.default_options() if options is None else options
        began = time.perf_counter()
        space = PixelSpace.of(plan, frames, scaling=given.scaling)
        unit = _rms(space.images(frames)) if given.scaling == "noise" else 1.0
        space = replace(space, factor=space.factor / unit)
        images = space.images(frames)
        key_net, key_train = jax.random.split(jax.random.key(seed))
        net = cls.make_net(plan.detector_shape, given, key_net)
        problem = ElboProblem(cls.rotation_prior_rad(given), precision=unit**2)
        trained = _train(
            net,
            problem,
            images,
            given.train,
            key=key_train,
            seed=seed,
            until=began + seconds,
            progress=progress or Silent(),
            checkpoint=checkpoint,
        )
        restart = Restart(
            start="random",
            seed=seed,
            steps=trained.curve_step[-1],
            heldout=trained.heldout,
            curve_step=trained.curve_step,
            curve_train=trained.curve_train,
            curve_heldout=trained.curve_heldout,
        )
        report = TrainingReport(
            steps=restart.steps,
            patterns_per_s=trained.patterns_per_s,
            first_epoch_s=trained.first_round_seconds,
            kept_coefficients=0,
            active=(),
            heldout_evidence=trained.heldout,
            restarts=(restart,),
            agreement=None,
            problem=None,
            words=(f"trained for {restart.steps} steps of {given.train.batch} patterns",),
        )
        return cls(trained.params, space, given), report

    def encode(self, frames: np.ndarray) -> Encoding:
        """Latents and angle of patterns (n, ky, kx); see `PatternModel`."""
        images = self._space.images(frames)
        mean, log_sd = self._mapped(_encode, images)
        predicted = self._space.electrons(self._mapped(_decode, mean)[0])
        residual, sd = self._space.residual(frames, predicted), np.exp(log_sd)
        if self.rotation_prior_rad(self._options) is None:
            return without_angle(mean, sd, residual=residual)
        return Encoding(
            z=mean[:, 1:],
            z_sd=sd[:, 1:],
            angle=np.mod(-mean[:, 0], 2 * np.pi),
            angle_sd=np.minimum(sd[:, 0], np.float32(np.pi / np.sqrt(3))),
            angle_order=np.ones(len(mean), np.int32),
            evidence=np.full(len(mean), np.nan, np.float32),
            residual=residual,
        )

    def decode(self, z: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx) of latents (n, latent_dim) turned by angles (n,)."""
        latent = require_latents(z, self.latent_dim).astype(np.float32)
        if self.rotation_prior_rad(self._options) is not None:
            latent = np.concatenate([-np.asarray(angle, np.float32)[:, None], latent], axis=1)
        return self._space.electrons(self._mapped(_decode, latent)[0])

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx) at the encoder's mean."""
        found = self.encode(frames)
        return self.decode(found.z, found.angle)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values; see `StoredModel`."""
        arrays, values = self._space.state()
        leaves = jax.tree.leaves(eqx.filter(self._net, eqx.is_inexact_array))
        arrays |= {f"net.{i:03d}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        options: Any = self._options
        return arrays, values | {"options": asdict(options)}

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> Self:
        """Undo `state`."""
        space = PixelSpace.from_state(arrays, values)
        options = cls.options_from(values["options"])
        empty = cls.make_net(space.plan.detector_shape, options, jax.random.key(0))
        moved, static = eqx.partition(empty, eqx.is_inexact_array)
        leaves, tree = jax.tree.flatten(moved)
        stored = [jnp.asarray(arrays[f"net.{i:03d}"]) for i in range(len(leaves))]
        if any(old.shape != new.shape for old, new in zip(leaves, stored, strict=True)):
            raise ShapeError("net: want the shapes that the options say; the model file is damaged")
        return cls(eqx.combine(jax.tree.unflatten(tree, stored), static), space, options)

    @full_products
    def _mapped(self, function: Any, rows: np.ndarray) -> list[np.ndarray]:
        """A compiled function of the net and of rows, in chunks of one shape."""
        pixels = int(np.prod(self._space.plan.detector_shape))
        chunk = int(np.clip(CHUNK_VALUES // pixels, 1, 256))
        parts = []
        for start in range(0, len(rows), chunk):
            block = np.asarray(rows[start : start + chunk], np.float32)
            n = len(block)
            if n < chunk:
                block = np.concatenate([block, np.zeros((chunk - n, *block.shape[1:]), np.float32)])
            parts.append([np.asarray(one)[:n] for one in function(self._net, jnp.asarray(block))])
        return [np.concatenate(one) for one in zip(*parts, strict=True)]


class ElboProblem:
    """Loss: half the squared error plus the divergences of latents and angle, one draw for each pattern.

    Parameters
    ----------
    rotation_prior_rad
        Width of the prior of the angle; None: there is no angle.
    precision
        Weight of the squared error: 1/variance of the noise of the images.
    """

    def __init__(self, rotation_prior_rad: float | None, *, precision: float = 1.0) -> None:
        if rotation_prior_rad is not None and not rotation_prior_rad > 0:
            raise OptionError(f"rotation_prior_rad: want an angle above 0, got {rotation_prior_rad}")
        self.rotation_prior_rad, self.precision = rotation_prior_rad, precision

    def loss(
        self, params: PixelNet, extra: Array, batch: Array, kl_weight: Array, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        """Mean loss of a batch of images."""
        mean, log_sd = params.encode(batch)
        latent = mean + jnp.exp(log_sd) * jax.random.normal(key, mean.shape)
        missed = 0.5 * self.precision * jnp.sum((params.decode(latent) - batch) ** 2, axis=(1, 2))
        return jnp.mean(missed + kl_weight * self.divergence(mean, log_sd)), extra

    def divergence(self, mean: Array, log_sd: Array) -> Array:
        """KL divergence from the prior, (n,), nats."""
        total = jnp.zeros(mean.shape[:1])
        if self.rotation_prior_rad is not None:
            prior = self.rotation_prior_rad
            log_phi = log_sd[:, 0]
            total = float(np.log(prior)) - log_phi + jnp.exp(2 * log_phi) / (2 * prior**2) - 0.5
            mean, log_sd = mean[:, 1:], log_sd[:, 1:]
        return total + jnp.sum(0.5 * (jnp.exp(2 * log_sd) + mean**2 - 1) - log_sd, axis=1)

    def heldout(self, params: PixelNet, extra: Array, batch: Array, key: PRNGKeyArray) -> Array:
        """Evidence bound of patterns not trained on, up to the constant of the Gaussian."""
        return -self.loss(params, extra, batch, jnp.ones(()), key)[0]


def _train(
    net: PixelNet,
    problem: ElboProblem,
    images: np.ndarray,
    options: TrainOptions,
    *,
    key: PRNGKeyArray,
    seed: int,
    until: float,
    progress: Progress,
    checkpoint: Path | None,
) -> Trained:
    order = np.random.default_rng(seed).permutation(len(images))
    n_heldout = max(1, min(round(HELDOUT_SHARE * len(images)), 256))
    static = eqx.filter(net, eqx.is_inexact_array, inverse=True)
    state = begin(net, jnp.zeros(()), key=key)
    history: tuple[tuple[int, float, float], ...] = ()
    best = None
    found = None if checkpoint is None else load_state(checkpoint, stage=0, like=state)
    if found is not None:
        state, history, best = found
    reached = [0]
    progress.start("train", options.steps)

    def on_round(
        step: int, now: State, rows: list[tuple[int, float, float]], so_far: tuple[float, Any, Any]
    ) -> None:
        if checkpoint is not None:
            save_state(checkpoint, stage=0, state=now, history=rows, best=so_far)
        progress.advance(step - reached[0], note=f"held-out bound {rows[-1][2]:.1f}")
        reached[0] = step

    try:
        return train(
            Loop(problem, static, averaging=options.averaging),
            state,
            data=jnp.asarray(images[order[n_heldout:]]),
            heldout=jnp.asarray(images[order[:n_heldout]]),
            options=options,
            on_round=on_round,
            history=history,
            best=best,
            enough=lambda: time.perf_counter() > until,
        )
    finally:
        progress.finish()


def _rms(images: np.ndarray) -> float:
    """Size that brings the input of the networks to 1; the loss keeps the unit of the noise."""
    return max(float(np.sqrt(np.mean(np.square(images), dtype=np.float64))), 1e-12)


@eqx.filter_jit
def _encode(net: PixelNet, images: Array) -> tuple[Array, Array]:
    return net.encode(images)


@eqx.filter_jit
def _decode(net: PixelNet, latent: Array) -> tuple[Array]:
    return (net.decode(latent),)


def dense(layer: eqx.nn.Linear, x: Array) -> Array:
    """Layer applied to the last axis of x of any shape."""
    flat = x.reshape(-1, x.shape[-1]) @ layer.weight.T
    if layer.bias is not None:
        flat = flat + layer.bias[None]
    return flat.reshape(*x.shape[:-1], flat.shape[-1])
