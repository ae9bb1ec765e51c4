"""Fit of the read-out: a ridge regression of residual patterns on the decoder's features, ring by ring.

The width of the prior of the weights of each ring and order maximises the evidence, with the noise known
(MacKay, Neural Comput. 4, 415 (1992)). Pixels outside the frame are filled by the prediction itself until it
no longer changes (expectation-maximisation, Dempster, Laird & Rubin 1977).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbistem.harmonics.rings import Polar, hat_weights, highest_order, polar_coordinates
from orbistem.models.readout import Complexes, Floats, Readout, ring_waves, turned_features

__all__ = ["fit_readout"]

MAX_ORDER = 48
MAX_ORDER_INCOMPLETE = 16
MIN_COVERAGE = 0.08
"""Rings of which less of the circumference lies in the frame stay at the mean pattern."""
FILL_STEPS = 12
FEATURE_COUNTS = (8, 16, 32, 64)
"""Features of the decoder, strongest first, that an order may use."""
PRIOR_WIDTHS = np.concatenate([[0.0], np.geomspace(1e-5, 1e3, 25)])


def fit_readout(
    residual: NDArray[np.floating],
    hidden: Floats,
    angle: Floats,
    angle_sd: Floats,
    *,
    noise_variance: Floats,
    pixel_valid: NDArray[np.bool_],
    centre_px: tuple[float, float],
    pixel_scale: tuple[float, float] = (1.0, 1.0),
    static: NDArray[np.floating] | None = None,
    ellipse: tuple[float, float] = (1.0, 0.0),
    mirrored: NDArray[np.bool_] | None = None,
    max_features: int = 64,
) -> Readout:
    """Fit the read-out to residual patterns.

    Parameters
    ----------
    residual
        Whitened patterns minus what their own kept coefficients draw, (n, ky, kx). Not minus what the model
        predicts of these: the prediction holds back what may be noise, and the read-out would undo that.
    hidden
        Decoder's last hidden layer at each pattern's latents, (n, hidden).
    angle, angle_sd
        Angle of each pattern and its uncertainty, radian, (n,).
    noise_variance
        Of a whitened pixel, (ky, kx).
    pixel_valid
        (ky, kx).
    centre_px, pixel_scale, ellipse
        Of the pattern.
    static
        (ky, kx) what is added to every pattern; default nothing.
    mirrored
        (n,) which patterns are mirror images; None: mirror images are other sites. Rings that the frame cuts
        are fitted to the others alone.
    """
    n = len(residual)
    polar = polar_coordinates(
        residual.shape[1:], centre_px=centre_px, pixel_scale=pixel_scale, ellipse=ellipse
    )
    radius = polar.radius_px.ravel()
    n_rings = int(np.floor(radius[pixel_valid.ravel()].max())) + 1
    feature_mean = hidden.mean(axis=0)
    axes = _principal(hidden - feature_mean, max_features=min(max_features, max(n // 8, 1)))
    n_orders = highest_order(float(n_rings), max_order=MAX_ORDER) + 1
    images = np.zeros(n, bool) if mirrored is None else np.asarray(mirrored, bool)
    turned = turned_features(
        (hidden - feature_mean) @ axes, np.where(images, -angle, angle), angle_sd, n_orders
    )
    means = [turned[hand].sum(axis=0) / n for hand in (~images, images)]
    flat = np.asarray(residual, np.float64).reshape(n, -1).copy()
    for hand in (~images, images):  # each hand about its own mean: mirror images have another one
        rows = slice(None) if hand.all() else np.flatnonzero(hand)
        if hand.any():
            turned[rows] -= turned[rows].mean(axis=0)
            flat[rows] -= flat[rows].mean(axis=0)
    spectra = _spectra(turned[~images])
    weights = np.zeros((n_rings, n_orders, turned.shape[2]), complex)
    rings = [_ring(polar, pixel_valid, j, noise_variance) for j in range(n_rings)]
    complete = {j: ring for j, ring in enumerate(rings) if ring is not None and ring.complete}
    if complete:
        weights[list(complete)] = _fit_complete(
            list(complete.values()), flat, turned, images, noise_variance=noise_variance
        )
    for j, ring in enumerate(rings):
        if ring is not None and not ring.complete:
            fitted = _fit_ring(ring, flat[:, ring.pixels][~images], spectra)
            weights[j, : len(fitted)] = fitted
    return Readout(
        weights=_sharpen(weights, polar, rings).astype(np.complex64),
        static=np.zeros(pixel_valid.shape, np.float32) if static is None else static.astype(np.float32),
        turned_mean=means[0].astype(np.complex64),
        mirrored_mean=None if mirrored is None else means[1].astype(np.complex64),
        feature_mean=feature_mean.astype(np.float32),
        feature_axes=axes.astype(np.float32),
        centre_px=centre_px,
        pixel_scale=pixel_scale,
        ellipse=ellipse,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Ring:
    pixels: NDArray[np.intp]
    hat: Floats
    waves: Complexes  # (pixel, order), sqrt(2)^[m > 0] exp(i m phi)
    weight: float  # of the whole ring
    noise: float  # variance of an amplitude per real degree of freedom
    complete: bool


def _ring(polar: Polar, pixel_valid: NDArray[np.bool_], j: int, noise_variance: Floats) -> _Ring | None:
    radius, azimuth = polar.radius_px.ravel(), polar.azimuth_rad.ravel()
    hat = hat_weights(radius, radii_px=np.array([float(j)]), spacing_px=1.0)[:, 0]
    pixels = np.flatnonzero((hat > 0) & pixel_valid.ravel())
    if not len(pixels):
        return None
    measured = float(hat[pixels].sum())
    whole = float(hat[hat > 0].sum()) if j < 3 else 2 * np.pi * j
    coverage = measured / whole
    if coverage < MIN_COVERAGE:
        return None
    complete = coverage > 0.97
    weight = measured if complete else whole
    limit = MAX_ORDER if complete else MAX_ORDER_INCOMPLETE
    orders = np.arange(highest_order(float(j), max_order=limit) + 1)
    spread = float(np.sum(hat[pixels] ** 2 * noise_variance.ravel()[pixels]))
    return _Ring(
        pixels=pixels,
        hat=hat[pixels],
        waves=ring_waves(azimuth[pixels], orders),
        weight=weight,
        noise=spread / measured / weight,
        complete=complete,
    )


def _fit_complete(
    rings: list[_Ring],
    flat: NDArray[np.floating],
    turned: Complexes,
    images: NDArray[np.bool_],
    *,
    noise_variance: Floats,
) -> Complexes:
    """Weights (ring, order, feature) of all complete rings, denoised order by order.

    Per order the table (ring, feature direction) is a few radial profiles times a few functions of the
    latents under noise of known size: its singular values are shrunk by the rule that is optimal in the
    mean square (Gavish & Donoho, IEEE Trans. Inf. Theory 63, 2137 (2017), equation 7). How many features an
    order may use, and whether it is used at all, is decided by each half of the patterns for the other one.
    """
    n_orders, n_features = turned.shape[1:]
    halves = (slice(0, None, 2), slice(1, None, 2))
    cross = np.zeros((2, n_orders, len(rings), n_features), complex)
    for i, ring in enumerate(rings):
        n = ring.waves.shape[1]
        amplitude = flat[:, ring.pixels] @ (ring.hat[:, None] * ring.waves.conj() / ring.weight)
        amplitude[images] = amplitude[images].conj()
        for half, rows in enumerate(halves):
            cross[half, :n, i] = [amplitude[rows, m] @ turned[rows, m].conj() for m in range(n)]
    weights = np.zeros((len(rings), n_orders, n_features), complex)
    covariance = _ring_covariance(rings, noise_variance.ravel())
    for m in range(n_orders):
        use = np.flatnonzero([m < ring.waves.shape[1] for ring in rings])
        if not len(use):
            continue
        factor = np.linalg.cholesky(covariance[np.ix_(use, use)] * (2.0 if m else 1.0))
        seen = [np.linalg.solve(factor, half[m, use]) for half in cross]
        gram = [turned[rows, m].T @ turned[rows, m].conj() for rows in halves]
        best = (0.0, 0, 0.0)  # gain, features, share of the weights that holds
        for count in FEATURE_COUNTS:
            fits = [_solve(s, g, min(count, n_features)) for s, g in zip(seen, gram, strict=True)]
            agreed, size = np.sum(
                [_agreement(w, s, g) for w, s, g in zip(fits, seen[::-1], gram[::-1], strict=True)], axis=0
            )
            share = float(np.clip(agreed / max(size, 1e-30), 0, 1))
            best = max(best, (share * (2 * agreed - share * size), min(count, n_features), share))
        if best[0] > 0:
            both = _solve(seen[0] + seen[1], gram[0] + gram[1], best[1])
            weights[use, m] = best[2] * (factor @ both)
    return weights


def _solve(seen: Complexes, gram: Complexes, count: int) -> Complexes:
    """Weights (ring, feature) from the first features; seen = values · conj(features), unit noise."""
    level, axes = np.linalg.eigh(gram[:count, :count])
    sound = level > 1e-12 * max(float(level[-1]), 1e-30)
    size = np.sqrt(np.where(sound, level, 1.0))
    table = np.where(sound, (seen[:, :count] @ axes) / size, 0.0)
    weights = np.zeros_like(seen)
    weights[:, :count] = (_low_rank(table) / size) @ axes.conj().T
    return weights


def _agreement(weights: Complexes, seen: Complexes, gram: Complexes) -> tuple[float, float]:
    """What weights draw times what other patterns show, and the square of what they draw."""
    drawn = np.einsum("jf,fg,jg->", weights, gram, weights.conj()).real
    return float(np.sum(weights.conj() * seen).real), float(drawn)


def _low_rank(table: Complexes) -> Complexes:
    """Shrink the singular values of a table with complex noise of unit variance in each entry."""
    u, values, vh = np.linalg.svd(table, full_matrices=False)
    small, large = sorted(table.shape)
    ratio = small / large
    y2 = values**2 / large
    inside = np.maximum((y2 - ratio - 1) ** 2 - 4 * ratio, 0)
    shrunk = np.where(y2 > (1 + np.sqrt(ratio)) ** 2, np.sqrt(inside * large / np.maximum(y2, 1e-30)), 0.0)
    return np.asarray((u * shrunk) @ vh)


def _ring_covariance(rings: list[_Ring], noise_variance: Floats) -> Floats:
    """Noise of the amplitudes of overlapping rings per real degree of freedom, (ring, ring)."""
    covariance = np.zeros((len(rings), len(rings)))
    for i, one in enumerate(rings):
        for j, other in enumerate(rings[i : i + 2], start=i):
            _, a, b = np.intersect1d(one.pixels, other.pixels, return_indices=True)
            shared = np.sum(one.hat[a] * other.hat[b] * noise_variance[one.pixels[a]])
            covariance[i, j] = covariance[j, i] = shared / (one.weight * other.weight)
    covariance[np.diag_indices_from(covariance)] += 1e-9 * np.trace(covariance) / max(len(rings), 1)
    return covariance


def _fit_ring(
    ring: _Ring, values: NDArray[np.floating], spectra: tuple[Complexes, Floats, Complexes]
) -> Complexes:
    """Weights (order, feature) of one ring."""
    n_orders = ring.waves.shape[1]
    reading = ring.hat[:, None] * ring.waves.conj() / ring.weight
    seen = values @ reading
    amplitude = seen
    missing = None
    if not ring.complete:
        # what the frame shows of a pattern made of waves: seen = Re-linear map of the amplitudes
        drawn = np.concatenate([ring.waves.real, -ring.waves.imag], axis=1)
        back = drawn.T @ reading
        eye = np.concatenate([np.eye(n_orders), 1j * np.eye(n_orders)])
        missing = eye - back
        missing[n_orders, 0] = 0
    left, size, back_to_features = spectra[0][:n_orders], spectra[1][:n_orders], spectra[2][:n_orders]
    parts = np.where(np.arange(n_orders) > 0, 2.0, 1.0)
    for step in range(1 if missing is None else FILL_STEPS):
        dots = np.stack([left[m].conj().T @ amplitude[:, m] for m in range(n_orders)])
        kept = dots * _shrinkage(np.abs(dots) ** 2, size, ring.noise * parts, parts)
        if missing is None or step == FILL_STEPS - 1:
            break
        predicted = np.stack([left[m] @ kept[m] for m in range(n_orders)], axis=1)
        predicted[:, 0] = predicted[:, 0].real
        amplitude = seen + np.concatenate([predicted.real, predicted.imag], axis=1) @ missing
    return np.asarray(np.einsum("mfg,mg->mf", back_to_features, kept / np.maximum(size, 1e-12)))


def _spectra(turned: Complexes) -> tuple[Complexes, Floats, Complexes]:
    """Singular vectors and values of the features of each order: (order, n, g), (order, g), (order, f, g)."""
    left, sizes, right = [], [], []
    for m in range(turned.shape[1]):
        features = turned[:, m]
        level, axes = np.linalg.eigh(features.conj().T @ features)
        size = np.sqrt(np.maximum(level, 0))
        sound = size > 1e-6 * max(float(size[-1]), 1e-30)
        size = np.where(sound, size, 0.0)
        left.append((features @ axes) * np.where(sound, 1 / np.where(sound, size, 1), 0.0))
        sizes.append(size)
        right.append(axes)
    return np.stack(left), np.stack(sizes), np.stack(right)


def _shrinkage(power: Floats, size: Floats, noise: Floats, parts: Floats) -> Floats:
    """Signal over signal plus noise of each feature direction; prior width of each order by the evidence.

    power, size: (order, g); noise, parts: (order,), variance and number of the real parts of an amplitude.
    """
    ratio = PRIOR_WIDTHS[:, None, None] * size**2
    misfit = power / (noise[:, None] * (1 + ratio))
    evidence = -0.5 * np.sum(parts[:, None] * (np.log1p(ratio) + misfit), axis=2)
    best = np.take_along_axis(ratio, np.argmax(evidence, axis=0)[None, :, None], axis=0)[0]
    return np.asarray(best / (1 + best))


def _sharpen(weights: Complexes, polar: Polar, rings: list[_Ring | None]) -> Complexes:
    """Undo the radial averaging of the hats: solve the Gram matrix of neighbouring rings per order."""
    radii = np.arange(len(rings), dtype=float)
    fine = np.linspace(0, len(rings), 40 * len(rings) + 1)
    hats = hat_weights(fine, radii_px=radii, spacing_px=1.0)
    density = np.maximum(fine, 0.25)[:, None]
    gram = hats.T @ (density * hats)
    whole = (density * hats).sum(axis=0)
    sharp = np.zeros_like(weights)
    for m in range(weights.shape[1]):
        use = [j for j, ring in enumerate(rings) if ring is not None and m < ring.waves.shape[1]]
        if use:
            right = whole[use, None] * weights[use, m]
            sharp[use, m] = np.linalg.solve(gram[np.ix_(use, use)], right)
    return sharp


def _principal(centred: Floats, *, max_features: int) -> Floats:
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    keep = min(max_features, int(np.sum(size > 1e-4 * size[0])) if size[0] > 0 else 0)
    # one factor for all: strong directions stay strong
    unit = np.sqrt(len(centred)) / max(float(size[0]), 1e-12) if keep else 1.0
    return np.asarray((axes[:keep].T * unit) if keep else np.zeros((centred.shape[1], 1)))
