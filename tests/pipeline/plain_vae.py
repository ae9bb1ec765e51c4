"""A model without training, exactly invariant: latents are sizes of coefficients, the angle is a phase."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from orbistem.models.protocol import Encoding, Restart, TrainingReport


class PlainVAE:
    """Takes the place of `OrbitVAE` where a test is about everything around the model."""

    group = "SO2"
    zero = None
    pause_s = 0.0  # per step, for tests that interrupt
    told: Path | None = None  # file that says that training has begun

    def __init__(self, mean: np.ndarray, order: np.ndarray, latent_dim: int) -> None:
        self.mean, self.order, self.latent_dim = mean, order, latent_dim
        self.offset = np.where(order > 0, mean, 0)

    @classmethod
    def fit(
        cls, coefficients, *, basis, counts, options, seed, progress, checkpoint: Path | None, threads=None
    ):
        progress.start("training", 5)
        if cls.told is not None:
            cls.told.touch()
        for _ in range(5):
            time.sleep(cls.pause_s)
            progress.advance(1)
        progress.finish()
        found = cls(coefficients.mean(axis=0), np.asarray(basis.order), options.net.latent_dim)
        restart = Restart(
            start="mean",
            seed=seed,
            steps=5,
            heldout=-2.0,
            curve_step=(1, 5),
            curve_train=(3.0, 2.0),
            curve_heldout=(-3.0, -2.0),
        )
        return found, TrainingReport(
            steps=5,
            patterns_per_s=1e4,
            first_epoch_s=0.1,
            kept_coefficients=len(basis.order),
            active=(True,) * options.net.latent_dim,
            heldout_evidence=-2.0,
            restarts=(restart,),
            agreement=0.99,
            problem=None,
            words=("nothing was learned",),
        )

    def encode(self, coefficients: np.ndarray) -> Encoding:
        n, moving = len(coefficients), coefficients - self.offset
        first = int(np.argmax(self.order > 0))
        turns = max(int(self.order[first]), 1)  # of rings alone there is no angle
        one = np.ones(n, np.float32)
        z = np.zeros((n, self.latent_dim), np.float32)  # there may be fewer coefficients
        z[:, : len(self.order)] = np.abs(moving[:, : self.latent_dim])
        return Encoding(
            z=z * np.float32([-1.0, 3.0, 2.0, 1.0][: self.latent_dim]),
            z_sd=np.full_like(z, 0.1),
            angle=np.mod(-np.angle(moving[:, first]) / turns, 2 * np.pi).astype(np.float32),
            angle_sd=0.05 * one,
            angle_order=np.full(n, turns, np.int32),
            evidence=-10 * one,
            residual=one,
        )

    def decode(self, z: np.ndarray, angle: np.ndarray) -> np.ndarray:
        kept = np.zeros((len(z), len(self.order)), np.complex64)
        kept[:, : self.latent_dim] = z[:, : len(self.order)]
        return (kept * np.exp(-1j * np.asarray(angle)[:, None] * self.order) + self.offset).astype(
            np.complex64
        )

    def predict(self, coefficients: np.ndarray) -> np.ndarray:
        found = self.encode(coefficients)
        return self.decode(found.z, found.angle)

    def features(self, z: np.ndarray) -> np.ndarray:
        return np.atleast_2d(np.asarray(z, np.float64))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays = {"re": self.mean.real, "im": self.mean.imag, "order": self.order}
        return arrays, {"latent_dim": self.latent_dim}

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> PlainVAE:
        return cls(arrays["re"] + 1j * arrays["im"], arrays["order"], values["latent_dim"])


def use_plain_vae() -> None:
    """Replace the model for the rest of this process: for tests that start one of their own."""
    import orbistem.pipeline.training
    import orbistem.result.trained_files

    orbistem.pipeline.training.OrbitVAE = PlainVAE
    orbistem.result.trained_files.OrbitVAE = PlainVAE
