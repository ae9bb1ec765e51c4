"""What follows a training: library of templates, calibrated model error, frame of the reported latents."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from orbistem.models.angle import Orders
from orbistem.models.empirical import Prior, around
from orbistem.models.infer import encode_batch, infer_all
from orbistem.models.orbit import LIBRARY_SIZE, LatentFrame, OrbitVAE, OrbitVAEOptions
from orbistem.models.orbit_vae import OrbitNet, centred

CALIBRATIONS = 2
"""Steps of the model error towards its fixed point; the third one changes it by less than 0.02."""
FRAME_PATTERNS = 4096
"""Patterns whose posterior sets the reported latent frame; more change it by less than 2 %."""


def finish(
    net: OrbitNet,
    model_error: np.ndarray,
    *,
    pairs: np.ndarray,
    orders: Orders,
    eigenvalue: np.ndarray,
    options: OrbitVAEOptions,
    seed: int,
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
    """
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(pairs))[:FRAME_PATTERNS])
    batch = 256
    chosen = np.linspace(0, len(some) - 1, min(LIBRARY_SIZE, len(some))).astype(int)
    entries = some[chosen]
    library = np.concatenate(
        [
            np.asarray(encode_batch(net, _padded(pairs[entries[i : i + batch]], batch)))[
                : len(entries[i : i + batch])
            ]
            for i in range(0, len(entries), batch)
        ]
    )

    def posterior(
        model_error: np.ndarray, library: np.ndarray, prior: Prior | None = None
    ) -> dict[str, np.ndarray]:
        return infer_all(
            net,
            pairs[some],
            model_error,
            library,
            orders,
            steps=options.refine_steps,
            n_samples=options.samples,
            prior=prior,
        )

    model_error = np.asarray(model_error)
    found = posterior(model_error, library)
    if net.counting.gaussian:
        model_error = _calibrated(found, net, pairs[some], orders)
        for _ in range(CALIBRATIONS - 1):
            model_error = _calibrated(posterior(model_error, library), net, pairs[some], orders)
    library = found["mode"][chosen]
    found = posterior(model_error, library)
    frame = latent_frame(found["z"], found["covariance"])
    prior = around(library, frame.matrix, frame.activity)
    found = posterior(model_error, library, prior)
    frame = latent_frame(found["z"], found["covariance"])
    return OrbitVAE(
        net,
        model_error=model_error,
        library=library,
        frame=frame,
        orders=orders,
        eigenvalue=eigenvalue,
        options=options,
    )


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
