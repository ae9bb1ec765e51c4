"""Where electrons are counted, as the model needs it: a few rings of nodes in the place of all pixels.

The kept coefficients are linear in the counts, a_k = sum_p w_p φ_k(p) (n_p - f_p). Poisson counts whose
expectation is f exp(η) with η = sum_k b_k w φ_k have the log-likelihood ratio

    b · a - A(b),    A(b) = sum_p f_p (exp(η_p) - 1 - η_p),

an exponential family in which these coefficients are sufficient (Brown, Fundamentals of Statistical
Exponential Families, 1986, chapter 1). A(b) = |b|²/2 + …, the second order being the unit noise; the rest
is the change of the shot noise with the signal. Nodes only have to carry that rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.harmonics.circular import CircularGrid
from orbistem.harmonics.rings import hat_weights, polar_coordinates
from orbistem.harmonics.spread import arriving, spread_over, variance_left
from orbistem.harmonics.steerable_pca import SteerableBasis
from orbistem.scan.ellipse import Ellipse

__all__ = ["CountNodes", "count_nodes"]

MAX_NODE_RINGS = 32
ANGLES_PER_ORDER = 2.0
"""Nodes on a ring for each order that it carries: the squares of waves are summed exactly."""
LEAST_NOISE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CountNodes:
    """Nodes on rings about the centre.

    Attributes
    ----------
    waves
        (node, 2 k): log of the expected counts over their mean, for a unit change of the real and the
        imaginary part of each coefficient.
    electrons
        (node,): mean electrons.
    """

    waves: np.ndarray
    electrons: np.ndarray


def count_nodes(
    grid: CircularGrid,
    basis: SteerableBasis,
    *,
    weight: np.ndarray,
    electrons: np.ndarray,
    pixel_scale: tuple[float, float] = (1.0, 1.0),
    ellipse: Ellipse = (1.0, 0.0),
    spread_px: float | None = None,
) -> CountNodes:
    """Nodes for a basis on a detector.

    Parameters
    ----------
    grid
        Rings and orders.
    basis
        Kept coefficients.
    weight
        Factor of each pixel before the harmonics, (ky, kx); zero where invalid.
    electrons
        Mean pattern, (ky, kx), in units in which the noise of a pixel is that of counted electrons.
    pixel_scale
        Relative pitch of a pixel along y and x.
    ellipse
        Ratio of the axes and angle of the long one, as in `polar_coordinates`.
    spread_px
        Standard deviation of a Gaussian spread of each electron over pixels: what is counted then are the
        electrons that arrive, κ times as many as `electrons` says (see `spread`), each with what all its
        light adds to the coefficients. None: each electron in one pixel.
    """
    polar = polar_coordinates(
        grid.detector_shape, centre_px=grid.centre_px, pixel_scale=pixel_scale, ellipse=ellipse
    )
    spacing = float(grid.radii_px[1] - grid.radii_px[0])
    reach = float(grid.radii_px[-1]) + spacing
    used = np.flatnonzero((weight.ravel() > 0) & (polar.radius_px.ravel() <= reach))
    radius, mean = polar.radius_px.ravel()[used], np.maximum(electrons.ravel()[used], 0)
    apart = max(spacing / 2, reach / MAX_NODE_RINGS)
    radii = np.arange(int(np.ceil(reach / apart)) + 1) * apart
    if spread_px is not None:
        mean = variance_left(spread_px) * arriving(electrons, spread_px).ravel()[used]
    share = hat_weights(radius, radii_px=radii, spacing_px=apart) * mean[:, None]
    held = share.sum(axis=0)
    hats = hat_weights(radius, radii_px=grid.radii_px, spacing_px=spacing) * weight.ravel()[used, None]
    if spread_px is not None:
        hats = _spread(hats, used, grid.detector_shape, spread_px) / variance_left(spread_px)
    profiles = (share.T @ hats) @ basis.vectors.T / np.maximum(held, np.finfo(float).tiny)[:, None]
    order = np.asarray(basis.order)
    parts, counts = [], []
    if spread_px is not None:  # round the ring, too
        profiles *= np.exp(-((order * spread_px / np.maximum(radii, spread_px)[:, None]) ** 2) / 2)
    for profile, total in zip(profiles, held, strict=True):
        carried = np.abs(profile) * np.sqrt(total) > 1e-4
        if not carried.any():
            continue
        n_angles = int(ANGLES_PER_ORDER * order[carried].max()) + 7
        phase = 2 * np.pi * np.arange(n_angles)[:, None] / n_angles * order
        scaled = profile * np.where(order > 0, np.sqrt(2), 1.0)
        pair = np.stack([np.cos(phase) * scaled, -np.sin(phase) * scaled * (order > 0)], axis=-1)
        parts.append(pair.reshape(n_angles, -1))
        counts.append(np.full(n_angles, total / n_angles))
    if not parts:
        return CountNodes(waves=np.zeros((0, 2 * len(order))), electrons=np.zeros(0))
    waves, held = np.concatenate(parts), np.concatenate(counts)
    return CountNodes(waves=waves @ _whitener(waves, held), electrons=held)


def _spread(rows: np.ndarray, used: np.ndarray, shape: tuple[int, int], spread_px: float) -> np.ndarray:
    """Columns (pixel, ring) spread over the frame: what an electron adds by its light in all pixels."""
    found = np.empty_like(rows)
    for j, row in enumerate(rows.T):
        frame = np.zeros(shape)
        frame.ravel()[used] = row
        found[:, j] = spread_over(frame, spread_px).ravel()[used]
    return found


def _whitener(waves: np.ndarray, electrons: np.ndarray) -> np.ndarray:
    """Inverse root of the noise that the nodes give the coefficients: the second order is to be exact."""
    level, axes = np.linalg.eigh(waves.T @ (electrons[:, None] * waves))
    inverse = np.where(level > LEAST_NOISE, 1 / np.sqrt(np.maximum(level, LEAST_NOISE)), 0.0)
    return np.asarray((axes * inverse) @ axes.T)
