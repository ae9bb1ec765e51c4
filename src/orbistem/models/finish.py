"""What follows a training: library of templates, calibrated model error, frame of the reported latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from orbistem.models.angle import Orders
from orbistem.models.empirical import Prior, around
from orbistem.models.hands import (
    MOST_DOUBT,
    USUAL_DOUBT,
    border_of_doubt,
    find_doubt,
    with_hands_together,
)
from orbistem.models.infer import encode_batch, infer_all
from orbistem.models.orbit import LIBRARY_SIZE, LatentFrame, OrbitVAE, OrbitVAEOptions
from orbistem.models.orbit_vae import OrbitNet, centred
from orbistem.models.scatter import scatter_of_repeats, unit_noise

CALIBRATIONS = 2
"""Steps of the model error towards its fixed point; the third one changes it by less than 0.02."""
CALIBRATION_PATTERNS = 4096
"""Patterns that set the model error."""
FRAME_PATTERNS = 1024
"""Patterns whose posterior sets the reported latent frame, or judges a training."""
REPEATED = 512
"""Patterns that are encoded with noise added, to see whether a training's latents hold."""
SCATTERED = 256
"""Templates whose repeats set `latent_sd`; with two of each the share within one sd is known to 0.02."""
ENCODED = 256
"""Patterns that are encoded at once."""


def finish(
    net: OrbitNet,
    model_error: np.ndarray,
    *,
    pairs: np.ndarray,
    orders: Orders,
    eigenvalue: np.ndarray,
    options: OrbitVAEOptions,
    seed: int,
    most_entries: int = LIBRARY_SIZE,
    only_compared: bool = False,
) -> OrbitVAE:
    """Model from a trained net: library of templates, model error, frame of the reported latents.

    Parameters
    ----------
    net
        Trained.
    model_error
        As training followed it (k,).
    pairs
        Coefficients of all patterns (n, k, 2).
    orders, eigenvalue
        Of the coefficients.
    options
        Settled.
    seed
        Draws the patterns that set library and frame.
    most_entries
        Of the library; as many as in a library before it share what is compiled.
    only_compared
        The frame is enough: the model error stays as it is, and so does the prior.
    """
    some = pairs[_some_rows(len(pairs), CALIBRATION_PATTERNS, seed)]
    entries, step = evenly(some, most_entries), -(-len(some) // FRAME_PATTERNS)
    few = some[::step]
    infer = _Inference(net, orders, options)
    library = encoded(net, entries)
    if not only_compared:
        model_error, library = infer.settled(some, entries, model_error, library)
    found = infer.posterior(few, model_error, library)
    frame = latent_frame(found["z"], found["covariance"])
    hand_doubt, prior = USUAL_DOUBT, None
    if not only_compared:
        library = infer.sharpened(entries, model_error, library, frame)
        prior = around(library, frame.matrix, frame.activity)
        if net.turns.mirrors:  # the hands need more patterns than the frame, which are among them
            found = infer.posterior(some, model_error, library, prior)
            frame = latent_frame(found["z"][::step], found["covariance"][::step])
            hand_doubt = find_doubt(found["odds"], found["unlike"], found["size"])
            net = with_hands_together(
                net,
                found["hands_apart"],
                doubted=np.abs(found["odds"]) < border_of_doubt(found["size"], MOST_DOUBT),
                like=np.clip(1 - found["unlike"] / np.maximum(found["size"], 1e-9), 0, 1),
                orders=orders,
            )
        else:
            found = infer.posterior(few, model_error, library, prior)
            frame = latent_frame(found["z"], found["covariance"])
        prior = around(library, frame.matrix, frame.activity)  # as the model will have it
        posterior = partial(infer.posterior, model_error=model_error, library=library, prior=prior)
        scatter = scatter_of_repeats(
            posterior, infer.net, evenly(library, SCATTERED), model_error, frame, orders, seed=seed
        )
        frame = replace(frame, scatter=scatter)
    return OrbitVAE(
        net,
        model_error=np.asarray(model_error),
        library=library,
        frame=frame,
        orders=orders,
        eigenvalue=eigenvalue,
        options=options,
        hand_doubt=hand_doubt,
        prior=prior,
    )


def judge(
    net: OrbitNet,
    model_error: np.ndarray,
    *,
    train: np.ndarray,
    orders: Orders,
    options: OrbitVAEOptions,
    seed: int,
) -> Judge:
    """A training as inference sees it, by up to 1,024 of the patterns (n, k, 2) that it was trained on.

    The bound that training follows contains the encoder's own error, which refinement removes, and no model
    error; it prefers trainings that ended early. Here library and model error come from the training
    patterns, and each pattern that is judged is refined.
    """
    some = train[_some_rows(len(train), FRAME_PATTERNS, seed)]
    entries = evenly(some, LIBRARY_SIZE)
    infer = _Inference(net, orders, options)
    model_error, library = infer.settled(some, entries, model_error, encoded(net, entries))
    return Judge(infer=infer, some=some, model_error=model_error, library=library, seed=seed)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judge:
    """How good a training is; see `judge`."""

    infer: _Inference
    some: np.ndarray
    model_error: np.ndarray
    library: np.ndarray
    seed: int

    def evidence(self, heldout: np.ndarray) -> np.ndarray:
        """Log evidence of up to 1,024 held-out patterns (n, k, 2), nats, (n,)."""
        found = self.infer.posterior(heldout[:FRAME_PATTERNS], self.model_error, self.library)
        return np.asarray(found["evidence"], np.float64)

    def repeat_error(self) -> float:
        """How far latents move when the noise of one more exposure is added, over √2 times their spread.

        Latents that are torn, so that equal patterns lie apart, move most. Fold errors of unseen patterns of
        graphene (24 trainings, 10⁶ electrons) follow it, 1.1 to 1.5 times as large.
        """
        few = self.some[:REPEATED]
        noise = unit_noise(few.shape, self.infer.orders, np.random.default_rng(self.seed))
        both = few, few + noise.astype(np.float32)
        before, after = (self.infer.posterior(one, self.model_error, self.library) for one in both)
        matrix = latent_frame(before["z"], before["covariance"]).matrix
        moved, z = (after["z"] - before["z"]) @ matrix, before["z"] @ matrix
        spread = np.trace(np.atleast_2d(np.cov(z.T)))
        return float(np.sqrt(np.mean(np.sum(moved**2, axis=1)) / (2 * spread + 1e-12)))


def encoded(net: OrbitNet, pairs: np.ndarray) -> np.ndarray:
    """The encoder's z of coefficients (n, k, 2), (n, d)."""
    parts = [
        np.asarray(encode_batch(net, _padded(pairs[i : i + ENCODED], ENCODED)))[: len(pairs) - i]
        for i in range(0, len(pairs), ENCODED)
    ]
    return np.concatenate(parts)


def _some_rows(n: int, most: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spread."""
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)])


@dataclass(frozen=True, slots=True, eq=False)
class _Inference:
    """A trained net with what inference needs beside it."""

    net: OrbitNet
    orders: Orders
    options: OrbitVAEOptions

    def posterior(
        self, pairs: np.ndarray, model_error: np.ndarray, library: np.ndarray, prior: Prior | None = None
    ) -> dict[str, np.ndarray]:
        """Everything that is inferred, see `infer_all`."""
        return infer_all(
            self.net,
            pairs,
            model_error,
            library,
            self.orders,
            steps=self.options.refine_steps,
            n_samples=self.options.samples,
            prior=prior,
        )

    def sharpened(
        self, entries: np.ndarray, model_error: np.ndarray, library: np.ndarray, frame: LatentFrame
    ) -> np.ndarray:
        """Posterior means of the entries under the prior around them: their own noise widens it no more.

        A step of EM for the density of the latents (Laird, J. Am. Stat. Assoc. 73, 805, 1978).
        """
        prior = around(library, frame.matrix, frame.activity)
        if prior is None:
            return library
        return self.posterior(entries, model_error, library, prior)["z"]

    def settled(
        self, some: np.ndarray, entries: np.ndarray, model_error: np.ndarray, library: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Model error measured on some patterns, where noise is the same for all; refined library."""
        model_error = np.asarray(model_error)
        if self.net.counting.gaussian:
            for _ in range(CALIBRATIONS):
                found = self.posterior(some, model_error, library)
                model_error = _calibrated(found, self.net, some, self.orders)
            return model_error, evenly(found["mode"], len(entries))
        return model_error, self.posterior(entries, model_error, library)["mode"]


def _calibrated(found: dict[str, np.ndarray], net: OrbitNet, pairs: np.ndarray, orders: Orders) -> np.ndarray:
    """Model error of each coefficient: squared residual, averaged over the posterior, beyond the shot noise.

    The step of the EM algorithm (Dempster, Laird & Rubin 1977) for the noise of a given decoder: the
    residual of the posterior mean alone is too small by what the posterior leaves open.
    """
    measured = np.asarray(centred(net, jnp.asarray(pairs)))
    square = np.sum(measured**2 - 2 * measured * found["pattern"], axis=-1, dtype=np.float64) + found["power"]
    left = np.mean(square, axis=0)
    return np.asarray(np.maximum(left / orders.freedom - 1, 0), dtype=np.float32)


def _padded(pairs: np.ndarray, batch: int) -> jax.Array:
    return jnp.asarray(np.concatenate([pairs, np.zeros((batch - len(pairs), *pairs.shape[1:]), pairs.dtype)]))


def latent_frame(z: np.ndarray, covariance: np.ndarray) -> LatentFrame:
    """Axes along which the latents are uncorrelated, in units of their median posterior sd.

    Solves cov(z) w = λ S w with S the median posterior covariance; sorted by activity √λ, the sign
    makes the skewness positive.

    Parameters
    ----------
    z
        Posterior means (n, d).
    covariance
        Posterior covariances (n, d, d).
    """
    from scipy.linalg import eigh

    d = z.shape[1]
    centre = z.mean(axis=0)
    spread = np.atleast_2d(np.cov(z.T)) + 1e-12 * np.eye(d)
    noise = np.median(covariance, axis=0)
    noise = (noise + noise.T) / 2
    level, axes = np.linalg.eigh(noise)
    noise = (axes * np.maximum(level, 1e-6 * level.max() + 1e-12)) @ axes.T
    values, matrix = eigh(spread, noise)
    values, matrix = values[::-1], matrix[:, ::-1]
    y = (z - centre) @ matrix
    skewness = np.sum((y - y.mean(axis=0)) ** 3, axis=0)
    matrix = matrix * np.where(skewness < 0, -1.0, 1.0)
    return LatentFrame(centre=centre, matrix=matrix, activity=np.sqrt(np.maximum(values, 0)))


def agree(model: OrbitVAE, other: OrbitVAE, pairs: np.ndarray) -> float | None:
    """How much of one training's latents another one predicts, by nearest neighbours, cross-validated."""
    from scipy.spatial import cKDTree

    n = min(len(pairs), 2048)
    coefficients = pairs[:n, :, 0] + 1j * pairs[:n, :, 1]
    mine, theirs = model.encode_fast(coefficients), other.encode_fast(coefficients)
    mine, theirs = mine[:, model.active], theirs[:, other.active]
    if not mine.shape[1] or not theirs.shape[1] or n < 32:
        return None
    neighbours = cKDTree(theirs).query(theirs, k=9)[1][:, 1:]
    left = mine - mine[neighbours].mean(axis=1)
    return float(np.clip(1 - np.sum(left**2) / np.sum((mine - mine.mean(axis=0)) ** 2), 0, 1))
