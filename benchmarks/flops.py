"""Floating-point operations that training the network needs per pattern: its matrix products, nothing else.

A product of (m, k) with (k, n) counts 2 m k n. Where both factors are trained or depend on what is trained,
the two products of the backward pass count as well. Left out: activations, softmax, Newton's steps to the
peak, random turns, the optimiser, and whatever a program does beyond the need (padding, sums over all orders
by a matrix of zeros and ones, order 0's imaginary parts).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from orbistem.models.orbit_vae import OrbitOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Flops:
    """FLOPs per pattern of one training step, forward and backward, by part.

    Attributes
    ----------
    contraction
        Kept coefficients → channels, one complex linear map for each order.
    synthesis
        Channels of the orders → channels on the grid of angles.
    hidden
        Hidden layers on every angle.
    head
        Mean over the angles → mean and log-variance of the latents.
    decoder
        Latents → template.
    gauge
        Change of the template along a random direction, through the decoder once more.
    overlap
        Pattern times template, summed within each order.
    angles
        Posterior on the grid of angles: search of its peak, the likelihood, and its harmonic content
        where a model error is followed.
    counting
        Template → expected counts on the nodes, and back.
    """

    contraction: float
    synthesis: float
    hidden: float
    head: float
    decoder: float
    gauge: float
    overlap: float
    angles: float
    counting: float

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return float(sum(getattr(self, entry.name) for entry in fields(self)))


def training_flops(order: np.ndarray, options: OrbitOptions, *, nodes: int = 0) -> Flops:
    """Count the matrix products of one training step per pattern.

    Parameters
    ----------
    order
        (K,) angular order of each kept coefficient.
    options
        Sizes of the network.
    nodes
        Nodes on which electrons are counted; 0: Gaussian noise.
    """
    both, data_only, forward = 3, 2, 1  # products of a layer: forward, to its input, to its weights
    n_plain, n_turning = int(np.sum(order == 0)), int(np.sum(order > 0))
    present = np.unique(order)
    waves = int(np.sum(np.where(present > 0, 2, 1)))  # cosine and sine; order 0 has no sine
    width, d, grid = options.encoder_width, options.latent_dim, options.train_angles
    draws = options.draws
    decoder = _mlp(d, options.decoder_width, options.decoder_depth, 2 * n_turning + n_plain)
    angles = 2 * waves * options.grid_angles
    return Flops(
        contraction=both * (8 * n_turning + 2 * n_plain) * width,
        synthesis=data_only * 2 * grid * waves * width,
        hidden=both * 2 * grid * width * width * options.encoder_depth,
        head=both * _mlp(width, width, 1, 2 * d),
        decoder=both * decoder * draws,
        gauge=both * decoder if options.gauge else 0,
        overlap=both * (8 * n_turning + 2 * n_plain) * draws,
        angles=(forward + data_only + (forward if options.model_error_share > 0 else 0)) * angles * draws,
        counting=data_only * 2 * (2 * n_turning + n_plain) * nodes * draws,
    )


def _mlp(n_in: int, width: int, depth: int, n_out: int) -> int:
    """Forward pass of a dense network with `depth` hidden layers."""
    return 2 * (n_in * width + (depth - 1) * width * width + width * n_out)
