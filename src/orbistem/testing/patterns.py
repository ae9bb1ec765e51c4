"""Patterns that are easy to reason about."""

from __future__ import annotations

import numpy as np


def smooth_patterns(
    rng: np.random.Generator, *, n: int, px: int, max_order: int, dtype: type = np.float64
) -> np.ndarray:
    """Random band-limited patterns about the middle of a square frame.

    Each is a sum over angular orders m of (r / s)^m exp(-r² / 2 s²), s between px / 18 and px / 12: smooth
    everywhere, nothing beyond a quarter of the sampling rate at 64 px. The same generator gives the same
    patterns at any px.

    Parameters
    ----------
    rng
        Source of the random amplitudes and widths.
    n
        Number of patterns.
    px
        Side of the frame.
    max_order
        Highest angular order.
    dtype
        float32 or float64.

    Returns
    -------
    Shape (n, px, px).
    """
    radius, azimuth = _polar(px)
    patterns = np.zeros((n, px, px))
    for pattern in patterns:
        for m in range(max_order + 1):
            width = rng.uniform(1 / 18, 1 / 12)
            amplitude = rng.normal() + 1j * rng.normal()
            pattern += (amplitude * _smooth_wave(radius / width, azimuth, m)).real
    return patterns.astype(dtype)


def pure_order_patterns(
    rng: np.random.Generator, *, n: int, px: int, order: int, dtype: type = np.float64
) -> np.ndarray:
    """Random patterns that hold a single angular order, shape (n, px, px), spread over the whole frame."""
    radius, azimuth = _polar(px)
    patterns = np.zeros((n, px, px))
    for pattern in patterns:
        middle, width = rng.uniform(0.2, 0.35), rng.uniform(0.05, 0.1)
        profile = np.exp(-(((radius - middle) / width) ** 2) / 2) * (1 - np.exp(-((radius / 0.08) ** 8)))
        pattern += profile * np.cos(order * (azimuth - rng.uniform(0, 2 * np.pi)))
    return patterns.astype(dtype)


def isotropic_patterns(rng: np.random.Generator, *, n: int, px: int, dtype: type = np.float64) -> np.ndarray:
    """Random patterns without any angular structure, shape (n, px, px): smooth disks with smooth rings."""
    radius, _ = _polar(px)
    patterns = np.zeros((n, px, px))
    for pattern in patterns:
        edge, soft = rng.uniform(0.15, 0.4), rng.uniform(0.02, 0.05)
        middle, width = rng.uniform(0.1, 0.4), rng.uniform(0.04, 0.1)
        pattern += 1 / (1 + np.exp((radius - edge) / soft))
        pattern += rng.uniform(0, 1) * np.exp(-(((radius - middle) / width) ** 2))
    return patterns.astype(dtype)


def threefold_mean(px: int, *, electrons_per_px: float) -> np.ndarray:
    """Mean pattern for noise tests: a smooth disk, a faint ring and a threefold modulation, (px, px).

    `electrons_per_px` is the average over the frame.
    """
    radius, azimuth = _polar(px)
    disk = 1 / (1 + np.exp((radius - 0.27) / 0.03))
    ring = 0.2 * np.exp(-(((radius - 0.4) / 0.05) ** 2))
    modulation = 1 + 0.4 * np.cos(3 * azimuth + 0.3) * np.exp(-(((radius - 0.2) / 0.08) ** 2))
    pattern = (disk + ring) * modulation + 0.03
    return np.asarray(pattern * (electrons_per_px / pattern.mean()))


def beam_stop(px: int) -> np.ndarray:
    """Flags of valid pixels, (px, px): a disk at the centre and a bar from it to the edge are hidden."""
    y, x = np.indices((px, px)) - (px - 1) / 2
    bar = (np.abs(y) < 0.04 * px) & (x < 0)
    return np.asarray((np.hypot(y, x) > 0.08 * px) & ~bar)


def _polar(px: int) -> tuple[np.ndarray, np.ndarray]:
    """Radius over the side of the frame, and azimuth, about the middle."""
    y, x = (np.indices((px, px)) - (px - 1) / 2) / px
    return np.hypot(y, x), np.arctan2(y, x)


def _smooth_wave(radius: np.ndarray, azimuth: np.ndarray, order: int) -> np.ndarray:
    """(r / sqrt m)^m exp((m - r²) / 2) exp(-i m phi): smooth at the origin, at most 1."""
    log_power = order * np.log(np.maximum(radius, 1e-300) / np.sqrt(max(order, 1)))
    return np.asarray(np.exp((order - radius**2) / 2 + log_power - 1j * order * azimuth))
