"""Rotation and mirror of coefficients by phases, and of patterns by pixels (for tests)."""

from __future__ import annotations

import numpy as np

from orbistem.scan.ellipse import ellipse_matrix


def turn(coefficients: np.ndarray, *, by_rad: float | np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Coefficients of patterns turned by an angle: c_m → c_m exp(-i m angle).

    Parameters
    ----------
    coefficients
        Complex, shape (n, …, order): the last axis belongs to `orders`.
    by_rad
        One angle or n of them; positive from +kx to +ky.
    orders
        Angular order of each entry of the last axis.
    """
    coefficients = np.asarray(coefficients)
    angle = np.asarray(by_rad, dtype=np.float64)
    phase = np.exp(-1j * angle[..., None] * np.asarray(orders))
    if angle.ndim:
        phase = phase.reshape(len(angle), *([1] * (coefficients.ndim - 2)), len(orders))
    return np.asarray(coefficients * phase.astype(coefficients.dtype))


def mirror(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients of patterns mirrored at the kx axis (ky → -ky): the complex conjugate."""
    return np.asarray(np.conj(coefficients))


def turn_pixels(
    patterns: np.ndarray,
    *,
    by_rad: float,
    centre_px: tuple[float, float],
    ellipse: tuple[float, float] = (1.0, 0.0),
    spline_order: int = 3,
) -> np.ndarray:
    """Turn patterns about a centre by spline interpolation of the pixels.

    Parameters
    ----------
    patterns
        Shape (n, ky, kx).
    by_rad
        Angle, positive from +kx to +ky. Multiples of 90° about a centre that maps the pixel grid onto
        itself are exact.
    ellipse
        Long over short axis of what should be a circle, and the azimuth of the long axis: the pattern turns
        as it would before it was stretched.
    """
    from scipy.ndimage import map_coordinates

    patterns = np.asarray(patterns)
    y, x = np.indices(patterns.shape[1:], dtype=np.float64)
    y -= centre_px[0]
    x -= centre_px[1]
    cos, sin = np.cos(by_rad), np.sin(by_rad)
    turn_back = np.array([[cos, -sin], [sin, cos]])
    if ellipse[0] != 1:
        stretch = ellipse_matrix(ellipse)
        turn_back = stretch @ turn_back @ np.linalg.inv(stretch)
    source = np.tensordot(turn_back, np.stack([y, x]), axes=1) + np.asarray(centre_px)[:, None, None]
    nearest = np.round(source)
    if np.all(np.abs(source - nearest) < 1e-9):
        source, spline_order = nearest, 0
    return np.stack(
        [map_coordinates(p, source, order=spline_order, mode="constant", cval=0.0) for p in patterns]
    )
