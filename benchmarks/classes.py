"""Classes of sites: which mixture over the latents sorts best.

    python benchmarks/classes.py [--dose 3e4] [--steps 800] [--seed 0]

Draws of six sites of graphene, turned by multiples of 90° at random, are fitted as one scan. Four mixtures
then sort their latents into as many classes as each asks for: the one that orbistem uses (variational Bayes),
two of maximum likelihood, and a mixture prior of the model (every pattern's own posterior variance is added
to the covariance of its class; Bovy, Hogg & Roweis, Ann. Appl. Stat. 5, 1657 (2011)). Printed are the number
of classes, the normalised mutual information with the truth, and the log-likelihood of left-out patterns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from machine import describe
from requirements_table import Table
from scipy.special import logsumexp
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

import orbistem
from orbistem.config import FitConfig
from orbistem.models.train import TrainOptions
from orbistem.scan import Scan
from orbistem.simulate import simulate
from orbistem.symmetry.classes import _criterion, _mixture

PX, SIDE, SITES, MOST = 48, 24, 6, 9


class MixturePrior:
    """Mixture of Gaussians under noise of known covariance, by expectation-maximisation."""

    def __init__(self, n_components: int, points: np.ndarray, sd: np.ndarray, seed: int) -> None:
        self.n_components = n_components
        self.start(points, seed)
        for _ in range(60):
            self.step(points, sd)

    def start(self, points: np.ndarray, seed: int) -> None:
        """Begin where plain mixtures end."""
        plain = GaussianMixture(self.n_components, n_init=3, random_state=seed, reg_covar=1e-2).fit(points)
        self.weight, self.mean, self.covariance = plain.weights_, plain.means_, plain.covariances_

    def parts(self, points: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log of weight times density (n, class), and covariance with the noise (n, class, d, d)."""
        noise = sd[:, None, :, None] ** 2 * np.eye(points.shape[1])
        whole = self.covariance[None] + noise
        apart = points[:, None] - self.mean[None]
        square = np.einsum("nci,ncij,ncj->nc", apart, np.linalg.inv(whole), apart)
        size = np.linalg.slogdet(2 * np.pi * whole)[1]
        return np.log(np.maximum(self.weight, 1e-12)) - (square + size) / 2, whole

    def step(self, points: np.ndarray, sd: np.ndarray) -> None:
        """One step of expectation-maximisation."""
        log_part, whole = self.parts(points, sd)
        share = np.exp(log_part - logsumexp(log_part, axis=1, keepdims=True))
        gain = np.einsum("cij,ncjk->ncik", self.covariance, np.linalg.inv(whole))
        shift = np.einsum("ncij,ncj->nci", gain, points[:, None] - self.mean[None])
        clean = self.mean[None] + shift
        left = self.covariance[None] - gain @ self.covariance[None]
        total = share.sum(axis=0) + 1e-9
        self.weight = total / total.sum()
        self.mean = np.einsum("nc,nci->ci", share, clean) / total[:, None]
        apart = clean - self.mean[None]
        second = np.einsum("nc,ncij->cij", share, apart[..., :, None] * apart[..., None, :] + left)
        self.covariance = second / total[:, None, None] + 1e-4 * np.eye(points.shape[1])

    def score(self, points: np.ndarray, sd: np.ndarray) -> float:
        """Mean log-likelihood of points."""
        return float(logsumexp(self.parts(points, sd)[0], axis=1).mean())


def sites_of(dose: float, seed: int) -> tuple[Scan, np.ndarray]:
    """Draws of six sites, turned, in random order, and which is which."""
    scan, truth = simulate("graphene", seed=1, dose=None, scan_shape=(12, 12), detector_px=PX)
    clean, group = np.asarray(scan.patterns).reshape(-1, PX, PX), truth.point_group.astype(str).ravel()
    rng = np.random.default_rng(seed)
    chosen = [int(np.flatnonzero(group == name)[0]) for name in ("D6", "D3", "D2")]
    chosen += [int(one) for one in rng.choice(np.flatnonzero(group == "C1"), SITES - 3, replace=False)]
    site = rng.permutation(np.arange(SIDE * SIDE) % SITES)
    turned = [np.rot90(clean[chosen[s]], rng.integers(4)) for s in site]
    counts = rng.poisson(dose * np.stack(turned)).astype(np.uint32)
    return Scan.from_array(counts.reshape(SIDE, SIDE, PX, PX)), site


def judge(points: np.ndarray, sd: np.ndarray, site: np.ndarray, seed: int, table: Table) -> None:
    """All mixtures on the same latents."""
    half = np.arange(len(points)) % 2 == 0
    d = points.shape[1]

    def with_bic(kind: str) -> Callable[[np.ndarray, np.ndarray], Any]:
        def best(points: np.ndarray, sd: np.ndarray) -> Any:
            del sd
            tried = [
                GaussianMixture(k, covariance_type=kind, n_init=3, random_state=seed, reg_covar=1e-2).fit(
                    points
                )
                for k in range(1, MOST + 1)
            ]
            return min(tried, key=lambda one: one.bic(points))

        return best

    def bayes(points: np.ndarray, sd: np.ndarray) -> Any:
        del sd
        return min(
            (_mixture(points, k, seed) for k in range(1, MOST + 1)), key=lambda m: _criterion(m, points)
        )

    def prior(points: np.ndarray, sd: np.ndarray) -> Any:
        tried = [MixturePrior(k, points, sd, seed) for k in range(1, MOST + 1)]
        cost = [
            -2 * len(points) * one.score(points, sd)
            + np.log(len(points)) * (one.n_components * (1 + d + d * (d + 1) / 2) - 1)
            for one in tried
        ]
        return tried[int(np.argmin(cost))]

    methods = {
        "variational Bayes (orbistem)": bayes,
        "maximum likelihood, full": with_bic("full"),
        "maximum likelihood, diagonal": with_bic("diag"),
        "mixture prior": prior,
    }
    for name, method in methods.items():
        whole, first = method(points, sd), method(points[half], sd[half])
        if isinstance(whole, MixturePrior):
            label = np.argmax(whole.parts(points, sd)[0], axis=1)
            held = first.score(points[~half], sd[~half])
        else:
            label, held = whole.predict(points), first.score(points[~half])
        table.line(
            f"{name}: classes, mutual information, held-out nats",
            (float(len(np.unique(label))), float(normalized_mutual_info_score(site, label)), float(held)),
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dose", type=float, default=3e4)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(describe())
    scan, site = sites_of(given.dose, given.seed)
    model = replace(FitConfig().model, scout_steps=300, train=TrainOptions(steps=given.steps))
    maps = orbistem.fit(scan, config=FitConfig(model=model, seed=given.seed)).maps
    active = np.asarray(maps["latent"].attrs["active"], bool)
    points = maps["latent"].values.reshape(len(site), -1)[:, active].astype(float)
    sd = maps["latent_sd"].values.reshape(len(site), -1)[:, active].astype(float)
    table = Table()
    table.head(
        f"{SITES} sites of graphene, {given.dose:.0e} electrons, {len(site)} patterns, {active.sum()} latents"
    )
    judge(points, sd, site, given.seed, table)
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
