"""What the kept coefficients cannot draw: a linear read-out from the decoder's features to fine rings.

The steerable basis keeps what a single pattern shows above its noise. Averaged over all patterns of a scan
far more is known: fine radial detail, weak orders, the corners of the frame. The read-out draws it in the
frame that turns with the site:

    residual(r, phi) = sum_m  h_j(r)  Re[ W_jm (features · exp(-i m angle)) exp(i m phi) ]

The amplitude of a mirror image (ky -> -ky before the turn) is conj(W_jm (features · exp(i m angle))). The
weights are fitted in `readout_fit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.harmonics.rings import polar_coordinates

__all__ = ["Readout", "ring_waves", "turned_features"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Readout:
    """Map from features and angle to whitened residual patterns.

    Attributes
    ----------
    weights
        (ring, order, feature) complex64: radial amplitudes from turned features.
    static
        (ky, kx) float32: added to every pattern.
    turned_mean
        (order, feature) complex64: mean of the turned features over the fitted patterns, 0 for mirror images.
    mirrored_mean
        The same over the mirror images, 0 for the others; None where there are none.
    feature_mean, feature_axes
        (hidden,) and (hidden, feature): the hidden layer is centred and projected.
    centre_px, pixel_scale, ellipse
        Of the pattern, as in the plan.
    """

    weights: NDArray[np.complex64]
    static: NDArray[np.float32]
    turned_mean: NDArray[np.complex64]
    feature_mean: NDArray[np.float32]
    feature_axes: NDArray[np.float32]
    centre_px: tuple[float, float]
    pixel_scale: tuple[float, float]
    ellipse: tuple[float, float] = (1.0, 0.0)
    mirrored_mean: NDArray[np.complex64] | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays for storage; complex ones as pairs in the last axis."""
        images = self.mirrored_mean
        mirrored = {} if images is None else {"mirrored_mean": np.stack([images.real, images.imag], axis=-1)}
        return mirrored | {
            "weights": np.stack([self.weights.real, self.weights.imag], axis=-1),
            "turned_mean": np.stack([self.turned_mean.real, self.turned_mean.imag], axis=-1),
            "static": self.static,
            "feature_mean": self.feature_mean,
            "feature_axes": self.feature_axes,
        }

    def facts(self) -> dict[str, list[float]]:
        """Plain values for storage."""
        return {
            "centre_px": list(self.centre_px),
            "pixel_scale": list(self.pixel_scale),
            "ellipse": list(self.ellipse),
        }

    @classmethod
    def from_parts(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Readout:
        """Undo `arrays` and `facts`."""
        weights, turned, images = arrays["weights"], arrays["turned_mean"], arrays.get("mirrored_mean")
        return cls(
            weights=np.asarray(weights[..., 0] + 1j * weights[..., 1], np.complex64),
            turned_mean=np.asarray(turned[..., 0] + 1j * turned[..., 1], np.complex64),
            static=arrays["static"],
            feature_mean=arrays["feature_mean"],
            feature_axes=arrays["feature_axes"],
            centre_px=(float(facts["centre_px"][0]), float(facts["centre_px"][1])),
            pixel_scale=(float(facts["pixel_scale"][0]), float(facts["pixel_scale"][1])),
            ellipse=(float(facts["ellipse"][0]), float(facts["ellipse"][1]))
            if "ellipse" in facts
            else (1.0, 0.0),
            mirrored_mean=None if images is None else np.asarray(images[..., 0] + 1j * images[..., 1]),
        )

    def draw(
        self,
        hidden: Floats,
        angle: Floats,
        angle_sd: Floats | None = None,
        mirrored: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Whitened residual patterns (n, ky, kx) for hidden activations (n, hidden) and angles (n,).

        Where `angle_sd` is given, the pattern is averaged over that spread of the angle. Where `mirrored`
        (n,), the template is mirrored before the turn.
        """
        features = (hidden - self.feature_mean) @ self.feature_axes
        if mirrored is None:
            mirrored = np.zeros(len(features), bool)
        turned = turned_features(features, np.where(mirrored, -angle, angle), angle_sd, self.weights.shape[1])
        if self.mirrored_mean is None:
            turned = turned - self.turned_mean
        amplitudes = np.einsum("nmf,jmf->njm", turned.astype(np.complex64), self.weights, optimize=True)
        if self.mirrored_mean is not None:
            means = [
                np.einsum("mf,jmf->jm", mean, self.weights) for mean in (self.turned_mean, self.mirrored_mean)
            ]
            amplitudes = np.where(mirrored[:, None, None], amplitudes.conj(), amplitudes)
            amplitudes = amplitudes - (means[0] + means[1].conj())
        polar = polar_coordinates(
            self.static.shape,
            centre_px=self.centre_px,
            pixel_scale=self.pixel_scale,
            ellipse=self.ellipse,
        )
        radius, azimuth = polar.radius_px.ravel(), polar.azimuth_rad.ravel()
        out = np.zeros((len(features), self.static.size), np.float32)
        orders = np.arange(self.weights.shape[1])
        for j in range(self.weights.shape[0]):
            pixels = np.flatnonzero(np.abs(radius - j) < 1)
            if not len(pixels) or not np.any(self.weights[j]):
                continue
            hat = (1 - np.abs(radius[pixels] - j)).astype(np.float32)
            waves = ring_waves(azimuth[pixels], orders)
            out[:, pixels] += hat * (amplitudes[:, j] @ waves.T.astype(np.complex64)).real
        return out.reshape(len(features), *self.static.shape) + self.static


def turned_features(features: Floats, angle: Floats, angle_sd: Floats | None, n_orders: int) -> Complexes:
    """Features times exp(-i m angle), averaged over the angle's spread: (n, order, feature)."""
    orders = np.arange(n_orders)
    phase = np.exp(-1j * np.asarray(angle)[:, None] * orders)
    if angle_sd is not None:
        phase = phase * np.exp(-0.5 * (np.asarray(angle_sd)[:, None] * orders) ** 2)
    with_one = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    return np.asarray(phase[:, :, None] * with_one[:, None, :])


def ring_waves(azimuth: Floats, orders: NDArray[np.integer]) -> Complexes:
    """Waves of a ring, √2 exp(imφ), 1 for order 0: (pixel, order)."""
    return np.asarray(np.where(orders > 0, np.sqrt(2), 1.0) * np.exp(1j * azimuth[:, None] * orders))
