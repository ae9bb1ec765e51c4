"""The decoder goes on by itself: templates fitted at latents that are refined, not encoded.

In training, templates are fitted at the encoder's latents. Where counts are high the encoder's error is far
larger than that of the patterns (ZnS [110] at 10⁶ electrons: bound -3,845 nats, after refinement -716), and
blurs them. Here latents are refined under the decoder as it is, the decoder is fitted to patterns at draws
from their posteriors, and so on: expectation maximisation (Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1,
1977) with a Gaussian at the mode in the place of the posterior (Laplace).

Held-out patterns, refined as well, tell what it brings. Noise is learned by heart here sooner than in
training, where the encoder stands in the way, so where noise is most of what templates miss nothing is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from orbistem.models.angle import LOG_TWO_PI, Orders, noise_constant
from orbistem.models.angle_summary import INFER_ANGLES
from orbistem.models.objective import OrbitProblem
from orbistem.models.orbit_vae import OrbitNet, centred, either_hand, gauge_drift, hands
from orbistem.models.refine import Refined, refine
from orbistem.models.starts import find_start, viewed
from orbistem.models.train import Loop, State, TrainOptions, begin
from orbistem.progress import Progress

ROUNDS, ROUND_STEPS = 20, 200
"""Refinements of the latents, and steps of the decoder after each."""
LEARNING_RATE = 3e-3
WARM_STEPS = 4
"""Trial steps of a refinement that goes on from the last one."""
MOST_PATTERNS, MOST_JUDGED = 2048, 1024
"""Patterns refined in a round, of more others in each; held-out ones that judge."""
LEAST_MISFIT = 2.0
"""Chi-square of held-out patterns over its degrees of freedom below which nothing is done. Graphene has 1.1
at 10⁶ and 10⁷ electrons, and is learned by heart (fold error 0.026, then 0.043 at 10⁶, for 0.2 nats); ZnS
[001] and [110] have 3.3 and 21 at 10⁶."""
BATCH = 256


class Placed(NamedTuple):
    """Patterns with where they lie in the latent space.

    Attributes
    ----------
    a
        (n, k, 2) raw coefficients.
    z
        (n, d) mode of the posterior.
    factor
        (n, d, d) Cholesky factor of its covariance.
    """

    a: Array
    z: Array
    factor: Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Polished:
    """The net with the best held-out evidence, and that evidence before and after, nats per pattern.

    The bound with a Gaussian at the mode; `after` equals `before` where nothing was better or worth trying.
    """

    net: OrbitNet
    before: float
    after: float


class _DecoderProblem:
    """Loss of the decoder alone, at given latents: -log p(a|z), gauge and prior as in training."""

    def __init__(self, training: OrbitProblem) -> None:
        self.training = training

    def loss(
        self, params: OrbitNet, extra: Array, batch: Placed, kl_weight: Array, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        """Loss of a batch; the model error, which stays."""
        params = eqx.tree_at(lambda net: net.offset, params, jax.lax.stop_gradient(params.offset))
        k_draw, k_gauge = jax.random.split(key)
        log_p, z = self._log_p(params, extra, batch, k_draw)
        prior = self.training.weight_prior(params) / self.training.n_patterns
        loss = prior - jnp.mean(log_p)
        gauge = self.training.options.gauge
        if gauge and params.turns.free:
            loss = loss + gauge * gauge_drift(params.decoder, z, k_gauge, self.training.orders)
        return loss, extra

    def heldout(self, params: OrbitNet, extra: Array, batch: Placed, key: PRNGKeyArray) -> Array:
        """Evidence bound of patterns at their own refined posteriors, nats per pattern."""
        log_p, _ = self._log_p(params, extra, batch, key)
        return jnp.mean(log_p - _divergence(batch)) - noise_constant(
            jnp.sqrt(1 + extra), self.training.orders
        )

    def _log_p(
        self, net: OrbitNet, model_error: Array, batch: Placed, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        z = batch.z + jnp.einsum("nij,nj->ni", batch.factor, jax.random.normal(key, batch.z.shape))
        _, _, log_hand = hands(
            net,
            centred(net, batch.a),
            net.decoder(z),
            model_error,
            self.training.orders,
            n_angles=net.turns.count(self.training.options.grid_angles),
        )
        return either_hand(log_hand), z


def _divergence(places: Placed) -> Array:
    """Of the posteriors from the standard normal, nats, (n,)."""
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(places.factor, axis1=1, axis2=2)), axis=-1)
    power = jnp.sum(places.factor**2, axis=(1, 2)) + jnp.sum(places.z**2, axis=-1)
    return 0.5 * (power - places.z.shape[1] - log_det)


def polish(
    net: OrbitNet,
    model_error: Array,
    *,
    train: np.ndarray,
    heldout: np.ndarray,
    library: np.ndarray,
    training: OrbitProblem,
    refine_steps: int,
    seed: int,
    progress: Progress,
) -> Polished:
    """Fit the decoder of a trained net to refined latents; encoder and static offset stay.

    Parameters
    ----------
    net, model_error
        As trained.
    train, heldout
        Coefficients (n, k, 2) to fit and to judge by.
    library
        Latent vectors spread over the scan, (entry, d).
    training
        What the net was trained by.
    refine_steps
        Trial steps where a pattern is refined for the first time.
    progress
        Told about each round.
    """
    options = TrainOptions(
        steps=ROUNDS * ROUND_STEPS, rounds=ROUNDS, batch=BATCH, learning_rate=LEARNING_RATE, warm_up=0.0
    )
    static = eqx.filter(net, eqx.is_inexact_array, inverse=True)
    loop = Loop(_DecoderProblem(training), static, averaging=options.averaging)
    k_train, k_score = jax.random.split(jax.random.key(seed))
    state = begin(net, jnp.asarray(model_error, jnp.float32), key=k_train)
    entries = jnp.asarray(library, jnp.float32)
    fitted = _Places(train, entries, training.orders, refine_steps)
    judged = _Places(heldout[:MOST_JUDGED], entries, training.orders, refine_steps)
    all_judged = np.arange(len(judged.a))

    def now(state: State) -> OrbitNet:
        found: OrbitNet = eqx.tree_at(
            lambda one: one.decoder, net, eqx.combine(state.average, static).decoder
        )
        return found

    def score(state: State) -> float:
        return loop.score(state, judged.refined(all_judged, now(state), state.extra), k_score)

    before = after = score(state)
    best = net
    freedom = float(training.orders.freedom.sum())
    latents = float(jnp.mean(_divergence(judged.taken(all_judged))))
    if -2 * (before + latents) / freedom - LOG_TWO_PI < LEAST_MISFIT:
        return Polished(net=net, before=before, after=before)
    rng = np.random.default_rng(seed)
    progress.start("polish", ROUNDS)
    try:
        for _ in range(ROUNDS):
            rows = np.sort(rng.permutation(len(train))[:MOST_PATTERNS])
            state, _ = loop.round(state, fitted.refined(rows, now(state), state.extra), options=options)
            value = score(state)
            if value > after:
                after, best = value, now(state)
            progress.advance(1, note=f"held-out evidence {value:.1f} nats")
    finally:
        progress.finish()
    return Polished(net=best, before=before, after=after)


class _Places:
    """Patterns (n, k, 2), and where each of them lies, once it has been refined."""

    def __init__(self, a: np.ndarray, library: Array, orders: Orders, steps: int) -> None:
        n, d = len(a), library.shape[1]
        self.a = a
        self.library, self.orders, self.steps = library, orders, steps
        self.known, self.mirrored = np.zeros(n, bool), np.zeros(n, bool)
        self.z, self.factor = np.zeros((n, d), np.float32), np.zeros((n, d, d), np.float32)

    def taken(self, rows: np.ndarray) -> Placed:
        """Some of them, all of which must be known."""
        return Placed(*(jnp.asarray(one[rows], jnp.float32) for one in (self.a, self.z, self.factor)))

    def refined(self, rows: np.ndarray, net: OrbitNet, model_error: Array) -> Placed:
        """Some of them, refined: from encoder and library the first time, from where they were later on."""
        known = self.known[rows]
        for some, again in ((rows[known], True), (rows[~known], False)):
            for i in range(0, len(some), BATCH):
                batch = some[i : i + BATCH]
                padded = np.resize(batch, BATCH)
                a = jnp.asarray(self.a[padded], jnp.float32)
                if again:
                    z, mirrored = jnp.asarray(self.z[padded]), jnp.asarray(self.mirrored[padded])
                    found = _go_on(net, a, z, mirrored, model_error, self.orders)
                else:
                    start = find_start(net, a, model_error, self.library, self.orders, steps=self.steps)
                    found = start.refined
                    self.mirrored[batch] = np.asarray(start.mirrored)[: len(batch)]
                self.z[batch] = np.asarray(found.z)[: len(batch)]
                self.factor[batch] = _factor(np.asarray(found.curvature, np.float64)[: len(batch)])
        self.known[rows] = True
        return self.taken(rows)


def _factor(curvature: np.ndarray) -> np.ndarray:
    """Cholesky factors (n, d, d) of the covariance of z, from float32 curvatures (n, d + 1, d + 1).

    Where one direction is known a million times better than another, rounding may make that one negative.
    """
    level, axes = np.linalg.eigh((curvature + curvature.transpose(0, 2, 1)) / 2)
    level = np.maximum(level, 1e-7 * level[:, -1:])
    covariance = np.einsum("nij,nj,nkj->nik", axes, 1 / level, axes)[:, :-1, :-1]
    return np.asarray(np.linalg.cholesky(covariance), np.float32)


@eqx.filter_jit
def _go_on(net: OrbitNet, a: Array, z: Array, mirrored: Array, model_error: Array, orders: Orders) -> Refined:
    return refine(
        net.decoder,
        viewed(centred(net, a), mirrored, orders, net.turns),
        z,
        model_error,
        orders,
        counting=net.counting,
        steps=WARM_STEPS,
        n_angles=INFER_ANGLES,
        turns=net.turns,
    )
