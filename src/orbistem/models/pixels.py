"""Frames of the file as the images that a pixel model works on, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from orbistem.errors import OptionError, ShapeError
from orbistem.harmonics.rings import polar_coordinates
from orbistem.harmonics.whitening import linear_weight
from orbistem.models.protocol import Encoding
from orbistem.plan import Plan

Scaling = Literal["noise", "range"]
NO_ANGLE_SD = float(np.pi / np.sqrt(3))
"""Standard deviation of an angle about which nothing is known, rad."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PixelSpace:
    """Images are deviations from the scan's mean pattern, times a factor.

    Attributes
    ----------
    plan
        Reads electrons from frames.
    factor
        (ky, kx) image units per electron; 0 at invalid pixels.
    weight
        (ky, kx) noise units per electron: linear whitening; 0 at invalid pixels.
    """

    plan: Plan
    factor: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, plan: Plan, frames: np.ndarray, *, scaling: Scaling) -> Self:
        """Choose the factor.

        Parameters
        ----------
        plan
            Of the scan.
        frames
            Patterns (n, ky, kx) that the model is fitted to.
        scaling
            "noise": units of the shot noise, so that half the squared error is the Gaussian log likelihood;
            "range": one factor for all pixels, the largest minus the smallest value of all patterns is 1.
        """
        weight = _noise_weight(plan)
        if scaling == "noise":
            return cls(plan=plan, factor=weight, weight=weight)
        if scaling != "range":
            raise OptionError(f"scaling: want noise or range, got {scaling!r}; choose one of them")
        seen = plan.electrons(frames)[:, weight > 0]
        span = max(float(seen.max() - seen.min()), float(np.finfo(np.float32).tiny))
        return cls(plan=plan, factor=(weight > 0) / span, weight=weight)

    def images(self, frames: np.ndarray) -> np.ndarray:
        """Images (n, ky, kx), float32, of frames as stored in the file."""
        deviation = self.plan.electrons(frames) - self.plan.clean_mean.astype(np.float32)
        return np.asarray(deviation * self.factor.astype(np.float32), np.float32)

    def electrons(self, images: np.ndarray) -> np.ndarray:
        """Electrons (n, ky, kx), float32, of images; invalid pixels hold the mean."""
        inverse = np.divide(1.0, self.factor, out=np.zeros_like(self.factor), where=self.factor > 0)
        return np.asarray(self.plan.clean_mean + images * inverse, np.float32)

    def residual(self, frames: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Squared misfit (n,) of predicted electrons over the number of pixels, units of the shot noise."""
        apart = (self.plan.electrons(frames) - predicted) * self.weight
        return np.asarray((apart**2).sum(axis=(1, 2)) / max(int((self.weight > 0).sum()), 1), np.float32)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values, names prefixed with ``plan.`` and ``pixels.``."""
        arrays = {f"plan.{name}": array for name, array in self.plan.arrays().items()}
        return arrays | {"pixels.factor": self.factor}, {"plan": self.plan.to_dict()}

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> Self:
        """Undo `state`."""
        parts = {name[5:]: array for name, array in arrays.items() if name.startswith("plan.")}
        plan = Plan.from_dict(values["plan"], parts)
        return cls(plan=plan, factor=arrays["pixels.factor"], weight=_noise_weight(plan))


def without_angle(
    z: np.ndarray, z_sd: np.ndarray, *, residual: np.ndarray, evidence: np.ndarray | None = None
) -> Encoding:
    """Encoding (rows of z) of a model that knows no angle: order 0, the whole circle as its error."""
    n = len(z)
    return Encoding(
        z=np.asarray(z, np.float32),
        z_sd=np.asarray(z_sd, np.float32),
        angle=np.zeros(n, np.float32),
        angle_sd=np.full(n, NO_ANGLE_SD, np.float32),
        angle_order=np.zeros(n, np.int32),
        evidence=np.full(n, np.nan, np.float32) if evidence is None else np.asarray(evidence, np.float32),
        residual=np.asarray(residual, np.float32),
    )


def require_latents(z: np.ndarray, latent_dim: int) -> np.ndarray:
    """Check and convert latents (n, latent_dim) to float64."""
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or z.shape[1] != latent_dim:
        raise ShapeError(f"z: want (n, {latent_dim}), got {z.shape}; pass what encode returned")
    return z


def _noise_weight(plan: Plan) -> np.ndarray:
    polar = polar_coordinates(plan.detector_shape, centre_px=plan.centre_px, pixel_scale=plan.pixel_scale)
    use = plan.pixel_valid & np.isfinite(plan.mean)
    return linear_weight(plan.clean_mean, polar, pixel_valid=use)
