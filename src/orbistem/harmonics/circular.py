"""Circular harmonics, pixel by pixel: analyse, synthesise, project.

The plain transforms of this file sum over pixels about the centre and never interpolate an image:

    c_m(j) = sum_k  sqrt(2)^[m > 0]  h_j(r_k)  exp(-i m phi_k)  s_k

with hat functions h_j on rings. They stay as the reference for everything that is faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import ShapeError, require_stack
from orbistem.harmonics.rings import (
    RingOptions,
    hat_weights,
    highest_order,
    polar_coordinates,
    ring_radii,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ring:
    """One ring: its pixels, their weights, and what the pixels measure of each order.

    Parameters
    ----------
    pixels
        Flat indices of the pixels under the hat that are valid, shape (pixel,).
    hat
        h_j at these pixels, shape (pixel,).
    azimuth_rad
        Azimuth of these pixels, shape (pixel,).
    radius_px
        Radius of these pixels, shape (pixel,).
    weight
        Sum of the hat over the ring as if no pixel were missing.
    n_orders
        Orders 0 … n_orders - 1 are carried; 0 where the ring is unusable.
    complete
        False where pixels are masked or outside the frame.
    shrinks
        What hides in its gap is taken for zero; see `RingOptions.gaps`.
    """

    pixels: np.ndarray
    hat: np.ndarray
    azimuth_rad: np.ndarray
    radius_px: np.ndarray
    weight: float
    n_orders: int
    complete: bool
    shrinks: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CircularGrid:
    """Rings and orders on a given detector.

    Parameters
    ----------
    detector_shape
        (ky, kx).
    centre_px
        Pattern centre (y, x).
    radii_px
        Radii of the rings, shape (ring,).
    rings
        One `Ring` for each radius.
    n_orders
        Number of orders, 0 included, of the fullest ring.
    dropped
        (ring, order) pairs that a complete ring would carry and this one cannot.
    """

    detector_shape: tuple[int, int]
    centre_px: tuple[float, float]
    radii_px: np.ndarray
    rings: tuple[Ring, ...]
    n_orders: int
    dropped: tuple[tuple[int, int], ...]

    @property
    def n_rings(self) -> int:
        """Number of rings, the unusable ones included."""
        return len(self.rings)

    @property
    def carried(self) -> np.ndarray:
        """Which (ring, order) pairs exist, shape (ring, order), bool."""
        orders = np.arange(self.n_orders)
        return np.stack([orders < ring.n_orders for ring in self.rings])

    @property
    def coverage(self) -> np.ndarray:
        """Which pixels reach a ring, shape (ky, kx), bool."""
        covered = np.zeros(self.detector_shape, dtype=bool)
        for ring in self.rings:
            if ring.n_orders:
                covered.ravel()[ring.pixels] = True
        return covered


def make_grid(
    detector_shape: tuple[int, int],
    *,
    centre_px: tuple[float, float],
    pixel_scale: tuple[float, float] = (1.0, 1.0),
    ellipse: tuple[float, float] = (1.0, 0.0),
    pixel_valid: np.ndarray | None = None,
    options: RingOptions | None = None,
    ring_orders: tuple[int, ...] | None = None,
    like: CircularGrid | None = None,
) -> CircularGrid:
    """Lay rings about the centre of a detector.

    Parameters
    ----------
    detector_shape
        (ky, kx).
    centre_px
        Pattern centre (y, x), pixel centres at integers.
    pixel_scale
        Relative pitch of a pixel along y and x.
    ellipse
        Long over short axis of what should be a circle, and the azimuth of the long axis.
    pixel_valid
        Bool, shape (ky, kx); False for dead, masked or hidden pixels.
    options
        Spacing, highest order, limits for incomplete rings.
    ring_orders
        Orders of each ring, and so their number, where that was decided before.
    like
        A grid of the same options about another centre: rings, their orders and weights are taken from it,
        so that harmonics about both centres can be compared.

    Raises
    ------
    InputError
        The centre is so close to an edge that fewer than two rings fit.
    """
    options = options or RingOptions()
    valid = np.ones(detector_shape, bool) if pixel_valid is None else np.asarray(pixel_valid, bool)
    if valid.shape != tuple(detector_shape):
        raise ShapeError(f"pixel_valid: want {tuple(detector_shape)}, got {valid.shape}")
    polar = polar_coordinates(detector_shape, centre_px=centre_px, pixel_scale=pixel_scale, ellipse=ellipse)
    if like is not None:
        ring_orders = tuple(ring.n_orders for ring in like.rings)
    if ring_orders is None:
        radii = ring_radii(polar, options=options)
    else:
        radii = np.arange(len(ring_orders)) * options.spacing_px
    azimuth, radius = polar.azimuth_rad.ravel(), polar.radius_px.ravel()
    hats = hat_weights(radius, radii_px=radii, spacing_px=options.spacing_px)
    rings: list[Ring] = []
    dropped: list[tuple[int, int]] = []
    for j, ring_radius in enumerate(radii):
        under = hats[:, j] > 0
        usable = under & valid.ravel()
        full_weight = float(hats[under, j].sum()) if like is None else like.rings[j].weight
        weight = float(hats[usable, j].sum())
        wanted = highest_order(float(ring_radius), max_order=options.max_order) + 1
        complete = bool(usable.sum() == under.sum())
        pixels = np.flatnonzero(usable)
        if ring_orders is not None:
            n_orders = min(ring_orders[j], wanted) if len(pixels) else 0
        elif complete:
            n_orders = wanted
        elif weight < options.min_coverage * full_weight:
            n_orders = 0
        elif options.gaps == "shrink":
            n_orders = wanted
        else:
            n_orders = _well_conditioned_orders(
                azimuth[pixels], hats[pixels, j], wanted, max_condition=options.max_condition
            )
        dropped += [(j, m) for m in range(n_orders, wanted)]
        rings.append(
            Ring(
                pixels=pixels,
                hat=hats[pixels, j],
                azimuth_rad=azimuth[pixels],
                radius_px=radius[pixels],
                weight=full_weight,
                n_orders=n_orders,
                complete=complete,
                shrinks=options.gaps == "shrink" and not complete,
            )
        )
    return CircularGrid(
        detector_shape=(int(detector_shape[0]), int(detector_shape[1])),
        centre_px=(float(centre_px[0]), float(centre_px[1])),
        radii_px=radii,
        rings=tuple(rings),
        n_orders=max(1, *(ring.n_orders for ring in rings)) if like is None else like.n_orders,
        dropped=tuple(dropped),
    )


def _well_conditioned_orders(
    azimuth_rad: np.ndarray, hat: np.ndarray, wanted: int, *, max_condition: float
) -> int:
    for n_orders in range(wanted, 0, -1):
        design = real_waves(azimuth_rad, n_orders)
        spectrum = np.linalg.eigvalsh(design.T @ (hat[:, None] * design))
        if spectrum[0] > 0 and spectrum[-1] <= max_condition * spectrum[0]:
            return n_orders
    return 0


def real_waves(azimuth_rad: np.ndarray, n_orders: int) -> np.ndarray:
    """Real basis on a ring: 1, then sqrt(2) cos(m phi), -sqrt(2) sin(m phi) for each m.

    Shape (pixel, 2 n_orders - 1). Columns are the real and imaginary part of sqrt(2) exp(-i m phi).
    """
    orders = np.arange(1, n_orders)
    phase = azimuth_rad[:, None] * orders
    waves = np.empty((len(azimuth_rad), 2 * n_orders - 1))
    waves[:, 0] = 1
    waves[:, 1::2] = np.sqrt(2) * np.cos(phase)
    waves[:, 2::2] = -np.sqrt(2) * np.sin(phase)
    return waves


def complex_waves(azimuth_rad: np.ndarray, n_orders: int) -> np.ndarray:
    """sqrt(2)^[m > 0] exp(-i m phi), shape (pixel, order), complex128."""
    orders = np.arange(n_orders)
    return np.where(orders > 0, np.sqrt(2), 1.0) * np.exp(-1j * azimuth_rad[:, None] * orders)


def analyse(patterns: np.ndarray, grid: CircularGrid) -> np.ndarray:
    """Circular harmonics of patterns, the plain sum over pixels.

    Parameters
    ----------
    patterns
        Shape (n, ky, kx).
    grid
        Rings and orders.

    Returns
    -------
    Shape (n, ring, order), complex; zero where a ring does not carry an order. float32 patterns give
    complex64.
    """
    flat = _flat(patterns, grid)
    complex_type = np.complex64 if flat.dtype == np.float32 else np.complex128
    harmonics = np.zeros((len(flat), grid.n_rings, grid.n_orders), dtype=complex_type)
    for j, ring in enumerate(grid.rings):
        if ring.n_orders:
            waves = ring.hat[:, None] * complex_waves(ring.azimuth_rad, ring.n_orders)
            harmonics[:, j, : ring.n_orders] = flat[:, ring.pixels] @ waves.astype(complex_type)
    return harmonics


def synthesise(harmonics: np.ndarray, grid: CircularGrid) -> np.ndarray:
    """Patterns from harmonics: the exact adjoint of `analyse`.

    Parameters
    ----------
    harmonics
        Shape (n, ring, order), complex.

    Returns
    -------
    Shape (n, ky, kx), real, zero where no ring reaches.
    """
    harmonics = np.asarray(harmonics)
    if harmonics.ndim != 3 or harmonics.shape[1:] != (grid.n_rings, grid.n_orders):
        raise ShapeError(
            f"harmonics: want (n, {grid.n_rings}, {grid.n_orders}), got {harmonics.shape}; "
            "for one pattern pass harmonics[None]"
        )
    n_pixels = grid.detector_shape[0] * grid.detector_shape[1]
    patterns = np.zeros((len(harmonics), n_pixels), dtype=harmonics.real.dtype)
    for j, ring in enumerate(grid.rings):
        if ring.n_orders:
            waves = ring.hat[:, None] * complex_waves(ring.azimuth_rad, ring.n_orders)
            part = harmonics[:, j, : ring.n_orders] @ waves.conj().T.astype(harmonics.dtype)
            patterns[:, ring.pixels] += part.real
    return patterns.reshape(len(harmonics), *grid.detector_shape)


def project(patterns: np.ndarray, grid: CircularGrid) -> np.ndarray:
    """Harmonics of the least-squares fit to patterns: Gram⁻¹ · analyse, jointly over rings and orders.

    `project` undoes `synthesise` exactly. Shape (n, ky, kx) → (n, ring, order), complex128.
    """
    design = _joint_design(grid)
    flat = _flat(patterns, grid).astype(np.float64)
    solution = np.linalg.lstsq(design.T @ design, design.T @ flat.T, rcond=1e-12)[0].T
    harmonics = np.zeros((len(flat), grid.n_rings, grid.n_orders), dtype=np.complex128)
    column = 0
    for j, ring in enumerate(grid.rings):
        for m in range(ring.n_orders):
            harmonics[:, j, m] = solution[:, column]
            column += 1
            if m:
                harmonics[:, j, m] += 1j * solution[:, column]
                column += 1
    return harmonics


def _joint_design(grid: CircularGrid) -> np.ndarray:
    n_pixels = grid.detector_shape[0] * grid.detector_shape[1]
    blocks = []
    for ring in grid.rings:
        if ring.n_orders:
            block = np.zeros((n_pixels, 2 * ring.n_orders - 1))
            block[ring.pixels] = ring.hat[:, None] * real_waves(ring.azimuth_rad, ring.n_orders)
            blocks.append(block)
    return np.concatenate(blocks, axis=1)


def _flat(patterns: np.ndarray, grid: CircularGrid) -> np.ndarray:
    patterns = np.asarray(patterns)
    require_stack("patterns", patterns)
    if patterns.shape[1:] != grid.detector_shape:
        raise ShapeError(f"patterns: want (n, {grid.detector_shape}), got {patterns.shape}")
    if patterns.dtype != np.float32:
        patterns = patterns.astype(np.float64, copy=False)
    return patterns.reshape(len(patterns), -1)
