"""The rotation between scan and detector axes, from the centre of mass of every pattern.

In a thin sample the mean deflection is the gradient of a potential, so turned into the axes of the scan it
has no curl. That leaves a half turn open: electrons are drawn towards nuclei, so the divergence has sharp,
deep minima at the atoms and is shallow between them; its skewness decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import ShapeError

__all__ = ["Problem", "ScanRotation", "find_scan_rotation", "turn_to_scan"]

MIN_BALANCE, BY_CHANCE = 0.2, 4.5
"""Squares of the divergence minus those of the curl, over their sum, from which the field is one of sources:
0.2, and 4.5/√n where that is more. Noise of n positions reaches Rayleigh's law of scale 1.2/√n (neighbouring
differences share positions), so 4.5/√n once in a thousand."""
MIN_ALIKE = 0.25
"""Correlation of neighbouring deflections from which the scan resolves their minima: five steps per period of
the finest structure (cos 2π/5 = 0.31). With three, skewness takes the shallow for the deep (a honeycomb at
0.7 to 1.0 Å: all draws turned by 180°)."""
MIN_SKEWNESS, SKEWNESS_SDS = 0.1, 3.0
"""The half turn is settled by a skewness of 0.1, and three standard deviations √(6/n) where that is more."""

Floats = NDArray[np.float64]


class Problem(StrEnum):
    """What can keep the rotation from being trusted."""

    NO_SOURCES = (
        "no rotation makes the deflections free of curl (noise, or a thick sample); give it, if it is known"
    )
    HALF_TURN = "the deflections fit the rotation and its half turn equally well; compare with a known sample"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanRotation:
    """Rotation of the scan against the detector; trust it if `problem` is None.

    Attributes
    ----------
    angle_rad : float
        Azimuth, in the detector's axes, of the scan's +x axis: in (-pi, pi], clockwise on a screen.
    curl_share : float
        What is left of curl after turning, as share of the squared gradients.
    problem : Problem or None
    """

    angle_rad: float
    curl_share: float
    problem: Problem | None = None


def find_scan_rotation(com: NDArray[np.floating], *, steps: tuple[float, float] = (1.0, 1.0)) -> ScanRotation:
    """Find the rotation that makes the field of centres of mass free of curl.

    Parameters
    ----------
    com : (y, x, 2)
        Centre of mass (ky, kx) of every pattern from the pattern centre, px; NaN where not measured.
    steps
        Of the scan along y and x, in any unit.

    Returns
    -------
    ScanRotation

    Notes
    -----
    Turned by -a the field has the curl cos(a) curl - sin(a) div; its square, summed over the scan, is least
    at tan(2a) = 2 S(curl div) / (S(div div) - S(curl curl)).

    Examples
    --------
    >>> y, x = np.indices((9, 11)) - np.array([4, 5])[:, None, None]
    >>> towards_middle = -np.stack([y, x], axis=-1) / (2 + x**2 + y**2)[..., None]
    >>> bool(abs(find_scan_rotation(towards_middle).angle_rad) < 1e-6)
    True
    """
    field = np.asarray(com, np.float64)
    if field.ndim != 3 or field.shape[2] != 2 or min(field.shape[:2]) < 3:
        raise ShapeError(f"com: want (y, x, 2) with at least 3 x 3 positions, got {field.shape}; give a map")
    divergence, curl = _derivatives(field, steps)
    good = np.isfinite(divergence) & np.isfinite(curl)
    divergence, curl = divergence[good], curl[good]
    dd, cc, cd = float(divergence @ divergence), float(curl @ curl), float(curl @ divergence)
    angle = 0.5 * float(np.arctan2(2 * cd, dd - cc))
    straight = np.cos(angle) * divergence + np.sin(angle) * curl
    rest = np.cos(angle) * curl - np.sin(angle) * divergence
    total = float(straight @ straight + rest @ rest)
    if total == 0:
        return ScanRotation(angle_rad=0.0, curl_share=1.0, problem=Problem.NO_SOURCES)
    apart = straight - straight.mean()
    skewness = float((apart**3).mean() / max(float((apart**2).mean()) ** 1.5, 1e-300))
    if skewness > 0:
        angle += np.pi if angle <= 0 else -np.pi
    share = float(rest @ rest) / total
    problem, n = None, len(divergence)
    if 1 - 2 * share < max(MIN_BALANCE, BY_CHANCE / np.sqrt(n)):
        problem = Problem.NO_SOURCES
    elif abs(skewness) < max(MIN_SKEWNESS, SKEWNESS_SDS * np.sqrt(6 / n)) or _alike(field) < MIN_ALIKE:
        problem = Problem.HALF_TURN
    return ScanRotation(angle_rad=angle, curl_share=share, problem=problem)


def _alike(field: Floats) -> float:
    """Correlation of the deflections of neighbouring positions."""
    apart = field - np.nanmean(field, axis=(0, 1))
    pairs = [(apart[1:], apart[:-1]), (apart[:, 1:], apart[:, :-1])]
    inner = [np.nanmean(a * b) for a, b in pairs]
    return float(np.mean(inner) / max(float(np.nanmean(apart**2)), 1e-300))


def turn_to_scan(com: NDArray[np.floating], angle_rad: float) -> Floats:
    """Vectors (..., 2), (ky, kx) in the detector's axes, as (y, x) in the axes of the scan."""
    field = np.asarray(com, np.float64)
    y, x = field[..., 0], field[..., 1]
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([cosine * y - sine * x, cosine * x + sine * y], axis=-1)


def _derivatives(field: Floats, steps: tuple[float, float]) -> tuple[Floats, Floats]:
    """Divergence and curl (dFy/dx - dFx/dy), central differences inside the map."""
    along_y = (field[2:, 1:-1] - field[:-2, 1:-1]) / (2 * steps[0])
    along_x = (field[1:-1, 2:] - field[1:-1, :-2]) / (2 * steps[1])
    return along_y[..., 0] + along_x[..., 1], along_x[..., 0] - along_y[..., 1]
