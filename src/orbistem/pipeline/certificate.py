"""Does the angle turn and nothing else? Measured on the user's own data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.groups import Group
from orbistem.harmonics.rotation import mirror, turn, turn_pixels
from orbistem.metrics import angle_error, rotation_error
from orbistem.models.protocol import Encoding
from orbistem.pipeline.frames import read_at_rest
from orbistem.pipeline.static import static_coefficients, static_pattern
from orbistem.result import TrainedModel
from orbistem.scan import Scan

__all__ = ["Certificate", "certify"]

N_COEFFICIENTS, N_PIXELS = 256, 64
"""Patterns turned by phases, and pixel by pixel."""
FREE_ANGLES = 360
"""Angles to choose from where any turn is allowed: one in ten lies on the model's own grid of angles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """How invariant the model is on these data.

    Attributes
    ----------
    latent_change_turned_coefficients, latent_change_turned_pixels
        Root mean square change of the latents under a turn over the distance of unrelated positions.
    latent_change_noise
        The same that noise alone makes, from the stated uncertainty.
    latent_change_mirrored_coefficients
        The same under a mirror and a turn; NaN where mirror images are different sites.
    angle_error_deg, angle_error_pixels_deg
        Median error of the angle after a turn, modulo the rotation order of the site.
    restarts_agree
        Whether the trainings found the same; None where only one was made.
    sentence
        For people.
    """

    latent_change_turned_coefficients: float
    latent_change_turned_pixels: float
    latent_change_noise: float
    angle_error_deg: float
    angle_error_pixels_deg: float
    restarts_agree: bool | None
    sentence: str
    latent_change_mirrored_coefficients: float = float("nan")


def certify(
    model: TrainedModel,
    coefficients: NDArray[np.complexfloating[Any, Any]],
    scan: Scan,
    *,
    varies: bool,
    usable: NDArray[np.bool_],
    restarts_agree: bool | None,
    rng: np.random.Generator,
) -> Certificate:
    """Turn (and mirror) a sample of the patterns as the model's group allows, and see what changes.

    Parameters
    ----------
    model
        As trained.
    coefficients
        (position, K) of the whole scan.
    scan
        To read the patterns that are turned pixel by pixel.
    varies
        Whether any latent is active.
    usable
        (position,) bool.
    restarts_agree
        Passed on.
    rng
        Draws positions and angles.
    """
    sample = np.sort(rng.permutation(np.flatnonzero(usable))[:N_COEFFICIENTS])
    group = Group.from_name(model.vae.group)
    angles = group.angles(FREE_ANGLES)
    by = rng.choice(angles, len(sample))
    if group.continuous:
        by = by + rng.uniform(0, angles[1], len(sample))
    static, orders = static_coefficients(model), np.asarray(model.basis.order)
    moving = coefficients[sample] - static
    turned = turn(moving, by_rad=by, orders=orders) + static
    after = model.encode_coefficients(turned)
    before = _columns(model.encode_coefficients(coefficients[sample]))  # in the batches of `after`
    few = np.sort(rng.permutation(len(sample))[:N_PIXELS])
    after_pixels = model.encode(_turned_frames(model, read_at_rest(scan, sample[few], model.plan), by[few]))
    z_sd = before["z_sd"]
    variance = before["z"].var(axis=0).sum() if varies else 0.0
    noise = float(np.sqrt((z_sd**2).mean(axis=0).sum() / variance)) if variance > 0 else float("nan")
    nothing = float("nan")
    in_coefficients = rotation_error(before["z"], np.asarray(after.z)) if varies else nothing
    in_pixels = rotation_error(before["z"][few], np.asarray(after_pixels.z)) if varies else nothing
    mirrored = nothing
    if varies and group.mirrors:
        line = model.vae.mirror_line_rad or 0.0
        images = turn(mirror(moving), by_rad=by + 2 * line, orders=orders) + static
        mirrored = rotation_error(before["z"], np.asarray(model.encode_coefficients(images).z))
    angle = _angle_error(before, after, by, slice(None))
    angle_pixels = _angle_error(before, after_pixels, by[few], few)
    return Certificate(
        latent_change_turned_coefficients=in_coefficients,
        latent_change_turned_pixels=in_pixels,
        latent_change_noise=noise,
        angle_error_deg=angle,
        angle_error_pixels_deg=angle_pixels,
        restarts_agree=restarts_agree,
        sentence=_sentence(in_coefficients, in_pixels, noise, angle, mirrored, restarts_agree),
        latent_change_mirrored_coefficients=mirrored,
    )


def _columns(encoding: Encoding) -> dict[str, NDArray[Any]]:
    names = ("z", "z_sd", "angle", "angle_order")
    return {name: np.asarray(getattr(encoding, name), np.float64) for name in names}


def _turned_frames(model: TrainedModel, frames: NDArray[Any], by: NDArray[np.float64]) -> NDArray[np.float32]:
    """Stored numbers of patterns whose moving part is turned; the static background stays."""
    plan = model.plan
    static = static_pattern(model)
    moving = plan.electrons(frames) - static
    turned = [
        turn_pixels(one[None], by_rad=float(angle), centre_px=plan.centre_px, ellipse=plan.ellipse)[0]
        for one, angle in zip(moving, by, strict=True)
    ]
    counts: NDArray[np.float32] = (np.stack(turned) + static) * (plan.gain or 1.0) + plan.offset
    return counts.astype(np.float32)


def _angle_error(before: dict[str, NDArray[Any]], after: Encoding, by: Any, rows: Any) -> float:
    """Median degrees; positions without a preferred angle do not count."""
    order = np.nan_to_num(before["angle_order"][rows]).astype(int)
    after_order = np.nan_to_num(np.asarray(after.angle_order, np.float64)).astype(int)
    order = np.where(after_order > 0, np.lcm(order, after_order), 0)
    return angle_error(before["angle"][rows], np.asarray(after.angle), by, order).median_deg


def _sentence(
    coefficients: float,
    pixels: float,
    noise: float,
    angle: float,
    mirrored: float,
    restarts_agree: bool | None,
) -> str:
    if not np.isfinite(coefficients):
        return "The latents do not vary, so there is nothing to certify."
    text = f"Turning a pattern changes its latents by {_percent(coefficients)} of their spread"
    if np.isfinite(pixels):
        text += f" ({_percent(pixels)} where the pixels themselves are turned, which also blurs them; "
        text += f"noise alone: {_percent(noise)})"
    if np.isfinite(angle):
        text += f", and its angle by the turn to within {max(angle, 0.01):.2g}°"
    if np.isfinite(mirrored):
        text += f"; mirroring it changes the latents by {_percent(mirrored)}"
    agree = {
        True: " Trainings from different starts agree.",
        False: " Trainings from different starts differ.",
    }
    return text + "." + (agree[restarts_agree] if restarts_agree is not None else "")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"
