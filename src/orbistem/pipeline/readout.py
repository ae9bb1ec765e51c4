"""Fit the read-out of a trained model on a sample of the scan's own patterns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.harmonics.rings import polar_coordinates
from orbistem.harmonics.whitening import azimuthal_mean, root, root_moments
from orbistem.models.protocol import Encoding
from orbistem.models.readout_fit import fit_readout
from orbistem.pipeline.frames import read_at_rest
from orbistem.plan import Plan
from orbistem.result import TrainedModel
from orbistem.scan import Scan

__all__ = ["with_readout"]

MAX_PATTERNS = 2048
MAX_VALUES = 2**23
"""Patterns times pixels in the sample: 64 MiB as double precision."""
MIN_PATTERNS = 64
NEIGHBOURHOOD_PX = 1.0
NOISE_MARGIN = 1.3
"""Power of noise alone scatters above its mean."""


def with_readout(
    model: TrainedModel,
    scan: Scan,
    encoding: Encoding,
    usable: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
) -> TrainedModel:
    """The model with a read-out, so that `decode` draws what the kept coefficients cannot.

    Parameters
    ----------
    model
        Trained.
    scan
        Read at up to 2,048 positions.
    encoding
        Of all positions of the scan.
    usable
        Which positions have a pattern, (n,).
    rng
        Chooses the positions.
    """
    n_pixels = int(np.prod(scan.detector_shape))
    rows = np.flatnonzero(usable & np.isfinite(encoding.z).all(axis=1))
    n = min(len(rows), MAX_PATTERNS, MAX_VALUES // n_pixels)
    if n < MIN_PATTERNS:
        return model
    rows = np.sort(rng.permutation(rows)[:n])
    frames = read_at_rest(scan, rows, model.plan)
    drawn = model.whitened_draw(frames)
    plan = model.plan
    hand = None if encoding.handedness is None else np.asarray(encoding.handedness)[rows]
    fitted = fit_readout(
        whitened(plan, frames) - drawn,
        model.hidden(encoding.z[rows]),
        model.own_turn(encoding.z[rows], encoding.angle[rows], hand),
        np.asarray(encoding.angle_sd[rows], np.float64),
        noise_variance=pixel_noise(plan),
        pixel_valid=plan.pixel_valid,
        centre_px=plan.centre_px,
        pixel_scale=plan.pixel_scale,
        static=mean_correction(plan, int(usable.sum())),
        ellipse=plan.ellipse,
        mirrored=None if hand is None else hand < 0,
    )
    return dataclasses.replace(model, readout=fitted)


def mean_correction(plan: Plan, n_patterns: int) -> NDArray[np.float64]:
    """What to add to the whitened mean pattern so that its own noise goes, (ky, kx).

    Beyond the azimuthal mean, each pixel keeps the share of its neighbourhood's power that is not noise of
    the mean of `n_patterns` patterns (Wiener 1949; neighbourhoods as in Lee, IEEE Trans. Pattern Anal. Mach.
    Intell. 2, 165 (1980)).
    """
    from scipy.ndimage import gaussian_filter

    mean, valid = plan.clean_mean, plan.pixel_valid
    expected = root_moments(mean)[0] if plan.whitening == "sqrt" else mean
    deviation = np.where(valid, (expected - plan.background) * plan.weight, 0.0)
    polar = polar_coordinates(
        mean.shape, centre_px=plan.centre_px, pixel_scale=plan.pixel_scale, ellipse=plan.ellipse
    )
    noise = azimuthal_mean(pixel_noise(plan), polar, pixel_valid=valid) / max(n_patterns, 1)
    power = gaussian_filter(deviation**2, NEIGHBOURHOOD_PX)
    level = gaussian_filter(np.where(valid, noise, 0.0), NEIGHBOURHOOD_PX)
    kept = np.clip(1 - NOISE_MARGIN * level / np.maximum(power, np.finfo(float).tiny), 0, 1)
    return np.asarray((kept - 1) * deviation)


def whitened(plan: Plan, frames: NDArray[Any]) -> NDArray[np.float64]:
    """Patterns (n, ky, kx) as whitened deviations from the plan's background."""
    values = plan.electrons(frames).astype(np.float64)
    if plan.whitening == "sqrt":
        values = root(values)
    return np.asarray((values - plan.background) * plan.weight)


def pixel_noise(plan: Plan) -> NDArray[np.float64]:
    """Variance of a whitened pixel, (ky, kx)."""
    mean = np.maximum(plan.clean_mean, 1e-12)
    variance = root_moments(mean)[1] if plan.whitening == "sqrt" else mean
    return np.asarray(variance * plan.weight**2 * plan.noise_scale)
