"""Centre of mass: its distance from the scan's mean is the latent, its azimuth the angle.

What the paper compares with at last (x, y, magnitude and angle). Magnitude and angle together say no less
than x and y, and the magnitude turns with nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orbistem.errors import InputError
from orbistem.models.pixels import NO_ANGLE_SD, PixelSpace, require_latents
from orbistem.models.protocol import NO_TRAINING, Encoding, TrainingReport
from orbistem.plan import Plan

CLAIM_SD = 2.0
"""A centre of mass within this many standard deviations of the mean has no azimuth."""
BLOCK = 512


class ComModel:
    """Centre of mass, and the pattern that goes with it by linear regression. Invariant under SO(2)."""

    def __init__(self, space: PixelSpace, mean: np.ndarray, slopes: np.ndarray) -> None:
        self._space, self._mean, self._slopes = space, mean, slopes

    @property
    def latent_dim(self) -> int:
        """One: the magnitude, detector pixels."""
        return 1

    @classmethod
    def fit(cls, frames: np.ndarray, *, plan: Plan) -> tuple[ComModel, TrainingReport]:
        """Regress patterns (n, ky, kx) on their centre of mass.

        Raises
        ------
        InputError
            Fewer than three patterns.
        """
        if len(frames) < 3:
            raise InputError(f"want three patterns or more, got {len(frames)}; give a scan")
        space = PixelSpace.of(plan, frames, scaling="noise")
        com, _ = _com(space, frames)
        mean = com.mean(axis=0)
        images = space.images(frames).reshape(len(frames), -1)
        slopes = np.linalg.lstsq(com - mean, images, rcond=None)[0]
        return cls(space, mean, slopes.reshape(2, *plan.detector_shape)), NO_TRAINING

    def encode(self, frames: np.ndarray) -> Encoding:
        """Magnitude (pixels) and azimuth of patterns (n, ky, kx); see `PatternModel`."""
        parts = [_com(self._space, frames[i : i + BLOCK]) for i in range(0, len(frames), BLOCK)]
        com = np.concatenate([one for one, _ in parts]) - self._mean
        sd = np.concatenate([one for _, one in parts])
        size = np.hypot(*com.T)
        angle = np.arctan2(com[:, 0], com[:, 1]) % (2 * np.pi)
        known = size > CLAIM_SD * sd
        angle_sd = np.where(known, sd / np.maximum(size, np.finfo(float).tiny), NO_ANGLE_SD)
        predicted = self.decode(size[:, None], angle)
        return Encoding(
            z=size[:, None].astype(np.float32),
            z_sd=sd[:, None].astype(np.float32),
            angle=angle.astype(np.float32),
            angle_sd=np.minimum(angle_sd, NO_ANGLE_SD).astype(np.float32),
            angle_order=known.astype(np.int32),
            evidence=np.full(len(frames), np.nan, np.float32),
            residual=self._space.residual(frames, predicted),
        )

    def decode(self, z: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx) of magnitudes (n, 1) and azimuths (n,)."""
        size = require_latents(z, 1)[:, 0]
        com = np.stack([size * np.sin(angle), size * np.cos(angle)], axis=1)
        return self._space.electrons(np.tensordot(com, self._slopes, axes=1))

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx) that go with the centre of mass of patterns."""
        found = self.encode(frames)
        return self.decode(found.z, found.angle)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values; see `StoredModel`."""
        arrays, values = self._space.state()
        return arrays | {"mean": self._mean, "slopes": self._slopes}, values

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> ComModel:
        """Undo `state`."""
        return cls(PixelSpace.from_state(arrays, values), arrays["mean"], arrays["slopes"])


def _com(space: PixelSpace, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre of mass (n, 2), (ky, kx) in pixels from the pattern centre, and its sd along each axis (n,)."""
    plan = space.plan
    electrons = plan.electrons(frames).astype(np.float64) * (space.weight > 0)
    y, x = np.indices(plan.detector_shape, dtype=np.float64)
    place = np.stack([y - plan.centre_px[0], x - plan.centre_px[1]])
    total = np.maximum(electrons.sum(axis=(1, 2)), np.finfo(float).tiny)
    com = np.tensordot(electrons, place, axes=([1, 2], [1, 2])) / total[:, None]
    spread = np.tensordot(electrons, (place**2).sum(axis=0), axes=([1, 2], [0, 1])) / total
    variance = np.maximum(spread - (com**2).sum(axis=1), 0) / (2 * total)
    return com, np.sqrt(variance)
