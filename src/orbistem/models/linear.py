"""Linear unmixing and clustering, all from scikit-learn: PCA, NMF, ICA, Gaussian mixture, k-means.

What the paper compares with (Oxley et al., npj Comput. Mater. 7, 65 (2021)): none of them knows that
patterns may be turned, so every rotated copy of a site takes components, or a cluster, of its own. Patterns
are whitened linearly first (Keenan & Kotula, Surf. Interface Anal. 36, 203 (2004)), the best case for all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from orbistem.errors import InputError, OptionError
from orbistem.models.pixels import PixelSpace, require_latents, without_angle
from orbistem.models.protocol import NO_TRAINING, Encoding, TrainingReport
from orbistem.plan import Plan

Kind = Literal["pca", "nmf", "ica", "gmm", "kmeans"]
CLUSTER_STARTS = 4
BLOCK = 512
"""Patterns at a time, so that float64 copies stay small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearOptions:
    """Options of the linear models.

    Attributes
    ----------
    kind
        "pca", "nmf", "ica", "gmm" or "kmeans".
    components
        Number of components or of clusters; fewer where there are fewer patterns.
    max_iter
        Iterations of NMF, ICA and of the clusterings.
    """

    kind: Kind = "pca"
    components: int = 16
    max_iter: int = 400

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise OptionError(
                f"kind: want {', '.join(get_args(Kind))}, got {self.kind!r}; choose one of them"
            )
        if self.components < 1 or self.max_iter < 1:
            raise OptionError("components and max_iter: want 1 or more")


class LinearModel:
    """Image = origin + latents · components; no angle. Invariant under nothing.

    Latents are scores of PCA and ICA, abundances of NMF, probabilities of the clusters of GMM and k-means.
    """

    def __init__(self, space: PixelSpace, options: LinearOptions, arrays: dict[str, np.ndarray]) -> None:
        self._space, self._options, self._arrays = space, options, arrays

    @property
    def latent_dim(self) -> int:
        """Number of components."""
        return len(self._arrays["components"])

    @property
    def components(self) -> np.ndarray:
        """Component images (latent_dim, ky, kx), noise units."""
        shape = self._space.plan.detector_shape
        return np.asarray(self._arrays["components"].reshape(-1, *shape))

    @classmethod
    def fit(
        cls, frames: np.ndarray, *, plan: Plan, options: LinearOptions | None = None, seed: int = 0
    ) -> tuple[LinearModel, TrainingReport]:
        """Fit to patterns (n, ky, kx) as stored in the file.

        Raises
        ------
        InputError
            Fewer than two patterns.
        """
        if len(frames) < 2:
            raise InputError(f"want two patterns or more, got {len(frames)}; give a scan")
        options = options or LinearOptions()
        space = PixelSpace.of(plan, frames, scaling="noise")
        rank = min(options.components, len(frames) - 1, int((space.weight > 0).sum()))
        images = space.images(frames).reshape(len(frames), -1)
        if options.kind == "nmf":
            arrays = _fit_nmf(images, _lift(space), rank, options, seed)
        else:
            arrays = _fit_pca(images, rank, seed)
            if options.kind == "ica":
                arrays = _as_ica(arrays, images, options, seed)
            elif options.kind != "pca":
                arrays = _as_clusters(arrays, images, options, seed)
        return cls(space, options, arrays), NO_TRAINING

    def encode(self, frames: np.ndarray) -> Encoding:
        """Latents of patterns (n, ky, kx); see `PatternModel`."""
        parts = [self._scores(frames[i : i + BLOCK]) for i in range(0, len(frames), BLOCK)]
        z = np.concatenate([one for one, _ in parts])
        z_sd = np.concatenate([sd for _, sd in parts])
        residual = self._space.residual(frames, self.decode(z, np.zeros(len(z))))
        return without_angle(z, z_sd, residual=residual)

    def decode(self, z: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx) of latents; the angle has no effect."""
        z = require_latents(z, self.latent_dim)
        images = self._arrays["origin"] + z @ self._arrays["components"]
        return self._space.electrons(images.reshape(-1, *self._space.plan.detector_shape))

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx) of patterns; PCA and ICA with the noise taken out, see `signal_share`."""
        if self._options.kind not in ("pca", "ica"):
            found = self.encode(frames)
            return self.decode(found.z, found.angle)
        images = self._space.images(frames).reshape(len(frames), -1).astype(np.float64)
        axes, mean = self._arrays["axes"], self._arrays["mean"]
        kept = ((images - mean) @ axes.T * self._arrays["share"]) @ axes + mean
        return self._space.electrons(kept.reshape(-1, *self._space.plan.detector_shape))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values; see `StoredModel`."""
        arrays, values = self._space.state()
        return arrays | self._arrays, values | {"options": asdict(self._options)}

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> LinearModel:
        """Undo `state`."""
        own = {k: v for k, v in arrays.items() if not k.startswith(("plan.", "pixels."))}
        return cls(PixelSpace.from_state(arrays, values), LinearOptions(**values["options"]), own)

    def _scores(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = self._space.images(frames).reshape(len(frames), -1).astype(np.float64)
        if self._options.kind == "nmf":
            return _nmf_scores(images + _lift(self._space), self._arrays["components"], self._options)
        scores = (images - self._arrays["mean"]) @ self._arrays["read"]
        if self._options.kind in ("gmm", "kmeans"):
            share = _shares(scores, self._arrays)
            return share, np.sqrt(share * (1 - share))
        sd = np.linalg.norm(self._arrays["read"], axis=0)
        return scores, np.broadcast_to(sd, scores.shape)


def _lift(space: PixelSpace) -> np.ndarray:
    """What images lack to be counts above zero, (pixel,)."""
    return np.asarray((space.plan.clean_mean * space.factor).ravel())


def _fit_pca(images: np.ndarray, rank: int, seed: int) -> dict[str, np.ndarray]:
    from sklearn.decomposition import PCA

    found = PCA(n_components=rank, svd_solver="randomized", random_state=seed).fit(images)
    components = np.asarray(found.components_, np.float64)
    mean = np.asarray(found.mean_, np.float64)
    return {
        "origin": mean,
        "mean": mean,
        "read": components.T,
        "components": components,
        "axes": components,
        "share": signal_share(found.singular_values_, images.shape),
    }


def signal_share(singular: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Share of each singular value of images in unit noise that is signal, (rank,), between 0 and 1.

    The optimal shrinkage for squared errors (Gavish & Donoho, IEEE Trans. Inf. Theory 63, 2137 (2017));
    zero for what noise alone reaches.

    Parameters
    ----------
    singular
        (rank,) of the centred images.
    shape
        (n, pixel) of the images.

    Examples
    --------
    >>> signal_share(np.array([1000.0, 20.0]), (100, 400)).round(4).tolist()
    [0.9995, 0.0]
    """
    longest = max(shape)
    beta = min(shape) / longest
    square = np.maximum(np.asarray(singular, np.float64) ** 2 / longest, 1e-12)
    left = np.maximum((square - beta - 1) ** 2 - 4 * beta, 0)
    return np.where(square > (1 + np.sqrt(beta)) ** 2, np.sqrt(left) / square, 0.0)


def _as_ica(
    pca: dict[str, np.ndarray], images: np.ndarray, options: LinearOptions, seed: int
) -> dict[str, np.ndarray]:
    """Independent directions among the scores of PCA."""
    import warnings

    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    scores = (images - pca["mean"]) @ pca["read"]
    ica = FastICA(whiten="unit-variance", random_state=seed, max_iter=options.max_iter, tol=1e-3)
    with warnings.catch_warnings():  # Gaussian directions have no preferred axis: any is as good
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica.fit(scores)
    return {
        "origin": pca["mean"],
        "mean": pca["mean"],
        "read": pca["read"] @ ica.components_.T,
        "components": ica.mixing_.T @ pca["components"],
        "axes": pca["axes"],
        "share": pca["share"],
    }


def _as_clusters(
    pca: dict[str, np.ndarray], images: np.ndarray, options: LinearOptions, seed: int
) -> dict[str, np.ndarray]:
    """Clusters among the scores of PCA; each one's mean image is its component."""
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    scores = (images - pca["mean"]) @ pca["read"]
    rank = scores.shape[1]
    if options.kind == "kmeans":
        means = KMeans(rank, n_init=CLUSTER_STARTS, max_iter=options.max_iter, random_state=seed).fit(scores)
        clusters = {"cluster.mean": np.asarray(means.cluster_centers_, np.float64)}
    else:
        mixture = GaussianMixture(
            rank, covariance_type="diag", reg_covar=1.0, max_iter=options.max_iter, random_state=seed
        ).fit(scores)
        clusters = {
            "cluster.mean": mixture.means_,
            "cluster.variance": mixture.covariances_,
            "cluster.weight": mixture.weights_,
        }
    return {
        "origin": pca["mean"],
        "mean": pca["mean"],
        "read": pca["read"],
        "components": clusters["cluster.mean"] @ pca["components"],
        **clusters,
    }


def _shares(scores: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Probability of each cluster (n, cluster); 0 or 1 for k-means."""
    apart = scores[:, None, :] - arrays["cluster.mean"][None]
    if "cluster.variance" not in arrays:
        nearest = np.argmin((apart**2).sum(axis=2), axis=1)
        return np.asarray(np.eye(len(arrays["cluster.mean"]))[nearest])
    variance = arrays["cluster.variance"][None]
    log_p = np.log(arrays["cluster.weight"]) - 0.5 * (apart**2 / variance + np.log(variance)).sum(axis=2)
    share = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _fit_nmf(
    images: np.ndarray, lift: np.ndarray, rank: int, options: LinearOptions, seed: int
) -> dict[str, np.ndarray]:
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    model = NMF(rank, init="nndsvda", random_state=seed, max_iter=options.max_iter, tol=1e-3)
    with warnings.catch_warnings():  # its last digits do not matter here
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.maximum(images + lift, 0))
    return {"origin": -lift, "components": np.asarray(model.components_, np.float64)}


def _nmf_scores(
    lifted: np.ndarray, components: np.ndarray, options: LinearOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Abundances (n, component) that are not negative, and their sd as if they could be."""
    import warnings

    from sklearn.decomposition import non_negative_factorization
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = non_negative_factorization(
            np.maximum(lifted, 0),
            H=components,
            n_components=len(components),
            init="custom",
            update_H=False,
            max_iter=options.max_iter,
            tol=1e-3,
        )[0]
    sd = np.linalg.norm(np.linalg.pinv(components), axis=0)
    return scores, np.broadcast_to(sd, scores.shape)
