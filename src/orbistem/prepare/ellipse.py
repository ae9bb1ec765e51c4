"""The ellipse that projector lenses make of a round pattern, from the edge of the bright-field disk.

The aperture is round, so the outer edge of the bright disk is a circle before the lenses behind the sample
stretch it. About the edge the mean pattern is taken as a function of one radius, p(ρ), where ρ is measured in
the ellipse; centre and ellipse are those that leave least. A crystal changes the brightness along the edge,
not where it lies, and hardly enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from orbistem.errors import OptionError
from orbistem.prepare.centre import fit_disk
from orbistem.scan.ellipse import Ellipse, ellipse_matrix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Point = tuple[float, float]

ROUND: Ellipse = (1.0, 0.0)
STEPS = 12
SHARP = 0.1
"""An edge falls from 3/4 to 1/4 of the bright level within this share of the radius (and a pixel)."""
MIN_SEEN = 0.75
"""Share of the edge's azimuths at which it must be measured, `MARGIN_PX` to either side."""
MARGIN_PX = 2.0
_SECTORS = 12
_BIN_PX = 0.5


class Problem(StrEnum):
    """What can keep the ellipse from being trusted."""

    NOT_ROUND = (
        "the edge of the bright disk is neither a circle nor an ellipse; give --ellipse RATIO,ANGLE, or none"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EllipseOptions:
    """How the ellipse is found.

    Attributes
    ----------
    ratio : float, optional
        Long over short axis where it is known; 1 for a round pattern. Found from the bright disk where not
        given.
    angle_rad : float
        Azimuth of the long axis, from +kx to +ky; belongs to `ratio`.
    min_excess : float
        A ratio nearer to 1 is left alone.
    sigma : float
        So many standard deviations must the ratio lie away from 1.
    """

    ratio: float | None = None
    angle_rad: float = 0.0
    min_excess: float = 0.003
    sigma: float = 5.0

    def __post_init__(self) -> None:
        if self.ratio is not None and not 0.5 < self.ratio < 2:
            raise OptionError(f"ellipse: want a ratio between 0.5 and 2, got {self.ratio}; correct it")
        if not (np.isfinite(self.angle_rad) and self.min_excess >= 0 and self.sigma > 0):
            raise OptionError(
                "ellipse: want a finite angle, min_excess >= 0 and sigma > 0, got "
                f"{self.angle_rad}, {self.min_excess} and {self.sigma}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EllipseFit:
    """Ellipse to correct for; trust it if `problem` is None.

    Attributes
    ----------
    ellipse : (ratio, angle_rad)
        What is to be corrected: (1, 0) where nothing is.
    found : (ratio, angle_rad) or None
        What was measured, whether it is to be corrected or not; None without a bright disk.
    ratio_sd : float
        Standard deviation of the measured ratio.
    disk_px : (y, x, radius) or None
        Of the edge, in the pattern before it was stretched.
    why : str
        What was done, in words.
    problem : Problem or None
    """

    ellipse: Ellipse
    found: Ellipse | None
    ratio_sd: float
    disk_px: tuple[float, float, float] | None
    why: str
    problem: Problem | None = None


def find_ellipse(
    mean: Floats,
    valid: Bools,
    *,
    pixel_scale: tuple[float, float] = (1.0, 1.0),
    options: EllipseOptions | None = None,
) -> EllipseFit:
    """Find the ellipse of a mean pattern at rest.

    Parameters
    ----------
    mean : (ky, kx)
        Any unit; NaN where nothing was measured.
    valid : (ky, kx) bool
        Pixels to believe.
    pixel_scale : (y, x)
        Pitch of a pixel: the ellipse is that of the pattern on square pixels.
    options : EllipseOptions, optional
    """
    options = options or EllipseOptions()
    if options.ratio is not None:
        given = normal_form((options.ratio, options.angle_rad))
        how = "taken as round" if given[0] == 1 else f"taken as stretched by {_percent(given)}"
        return EllipseFit(
            ellipse=given,
            found=None,
            ratio_sd=float("nan"),
            disk_px=None,
            why=f"the pattern was {how}, as given",
        )
    known = valid & np.isfinite(mean)
    disk = fit_disk(np.where(known, mean, np.nan)) if pixel_scale == (1.0, 1.0) else None
    if disk is None:
        why = "no bright disk with a sharp edge on square pixels, so the pattern was taken as round"
        return EllipseFit(ellipse=ROUND, found=None, ratio_sd=float("nan"), disk_px=None, why=why)
    edge = _edge(np.where(known, mean, 0.0), known, disk)
    if edge is None:
        why = "the bright area has no sharp edge within the frame, so the pattern was taken as round"
        return EllipseFit(ellipse=ROUND, found=None, ratio_sd=float("nan"), disk_px=disk, why=why)
    found, sd, wrinkle = edge.ellipse, edge.ratio_sd, edge.other_orders
    excess = found[0] - 1
    measured = f"the edge of the bright disk is stretched by {_percent(found)} ± {100 * sd:.2g} %"
    disk = (edge.centre[0], edge.centre[1], edge.radius)
    if excess < max(options.min_excess, options.sigma * sd):
        why = f"{measured}: too little to correct"
        return EllipseFit(ellipse=ROUND, found=found, ratio_sd=sd, disk_px=disk, why=why)
    if wrinkle > excess / 2:
        why = f"{measured}, but is bent as much in other ways ({100 * wrinkle:.2g} %): not corrected"
        return EllipseFit(
            ellipse=ROUND, found=found, ratio_sd=sd, disk_px=disk, why=why, problem=Problem.NOT_ROUND
        )
    return EllipseFit(
        ellipse=found, found=found, ratio_sd=sd, disk_px=disk, why=f"{measured}; radii and azimuths undo it"
    )


def normal_form(ellipse: Ellipse) -> Ellipse:
    """The same ellipse with a ratio of at least 1 and the azimuth of its long axis from 0 to π.

    >>> ratio, angle = normal_form((0.5, 0.0))
    >>> ratio, round(angle, 3)
    (2.0, 1.571)
    """
    ratio, angle = float(ellipse[0]), float(ellipse[1])
    if ratio < 1:
        ratio, angle = 1 / ratio, angle + np.pi / 2
    return (ratio, float(np.mod(angle, np.pi))) if ratio != 1 else ROUND


@dataclass(frozen=True, kw_only=True, slots=True)
class _Edge:
    centre: Point
    radius: float
    ellipse: Ellipse
    ratio_sd: float
    other_orders: float  # largest bend of the edge in orders 3 to 6, as a ratio of axes


def _edge(mean: Floats, known: Bools, disk: tuple[float, float, float]) -> _Edge | None:
    """Fit of centre and ellipse to the pixels about the edge."""
    radius = disk[2]
    width = max(3.0, 0.12 * radius)
    grid: Floats = np.indices(mean.shape, dtype=np.float64)
    y: Floats = grid[0]
    x: Floats = grid[1]
    parameters = np.array([disk[0], disk[1], 0.0, 0.0])  # centre; half the excess along 0° and along 45°
    root = np.sqrt(np.maximum(mean, 0.0))
    if not _is_edge(*_polar(y, x, parameters), mean, known, radius):
        return None
    normal = per_sector = None
    for step in range(STEPS):
        rho, azimuth = _polar(y, x, parameters)
        use = known & (np.abs(rho - radius) <= width)
        if use.sum() < 40:
            return None
        profile, slope = _profile(rho[use], root[use])
        peak = float(np.quantile(np.abs(slope), 0.95))
        if not peak > 0:
            return None
        phi, r = azimuth[use], rho[use]
        # where a feature lies at ρ: moving the centre by c takes c cos φ off it, stretching takes e r cos 2φ
        design = slope[:, None] * np.stack(
            [-np.sin(phi), -np.cos(phi), -r * np.cos(2 * phi), -r * np.sin(2 * phi)], axis=1
        )
        left = root[use] - profile
        scale = max(1.4826 * float(np.median(np.abs(left))), 1e-12)
        weight = 1 / np.maximum(1.0, np.abs(left) / (2.5 * scale))
        sector = np.floor(np.mod(phi, np.pi) / np.pi * _SECTORS).astype(int) % _SECTORS
        terms = np.concatenate([design, left[:, None]], axis=1) * np.sqrt(weight)[:, None]
        per_sector = np.stack([terms[sector == s].T @ terms[sector == s] for s in range(_SECTORS)])
        normal = per_sector.sum(axis=0)
        change = _solve(normal)
        parameters = parameters + np.clip(change, -0.5, 0.5) * (0.7 if step < 3 else 1.0)
        if np.abs(change).max() < 1e-5:
            break
    assert normal is not None
    assert per_sector is not None
    if np.hypot(*(parameters[:2] - disk[:2])) > 0.2 * radius:
        return None
    left_out = np.stack([_solve(normal - one)[2:] for one in per_sector])
    sd = float(np.sqrt((_SECTORS - 1) * np.var(left_out, axis=0).max()))
    bend = _bend(left, slope, phi, r, weight)
    excess = float(np.hypot(*parameters[2:]))
    return _Edge(
        centre=(float(parameters[0]), float(parameters[1])),
        radius=radius,
        ellipse=normal_form(((1 + excess) / (1 - excess), 0.5 * np.arctan2(parameters[3], parameters[2]))),
        ratio_sd=2 * sd,
        other_orders=2 * bend,
    )


def _is_edge(distance: Floats, azimuth: Floats, mean: Floats, known: Bools, radius: float) -> bool:
    """Whether most of the edge lies in the frame, and whether it is one: a disk fades over a short way."""
    near = np.abs(distance - radius) <= MARGIN_PX
    n = 2 * _SECTORS
    sector = np.floor(np.mod(azimuth, 2 * np.pi) / (2 * np.pi) * n).astype(int) % n
    measured = np.bincount(sector[near & known], minlength=n)
    if np.mean(measured > 0.85 * 2 * np.pi * radius * 2 * MARGIN_PX / n) < MIN_SEEN:
        return False
    ring = np.rint(distance).astype(int)
    last = int(1.5 * radius) + 1
    profile = np.array(
        [mean[known & (ring == r)].mean() if (known & (ring == r)).any() else 0.0 for r in range(last)]
    )
    bright = 0.8 * float(np.quantile(profile[: int(radius)], 0.9))
    inner, outer = (int(np.flatnonzero(profile > share * bright)[-1]) for share in (0.75, 0.25))
    return bool(outer - inner <= 1 + SHARP * radius and outer < last - 1)


def _bend(left: Floats, slope: Floats, azimuth: Floats, radius: Floats, weight: Floats) -> float:
    """Largest relative bend of the edge in orders 3 to 6 that the residuals show."""
    largest = 0.0
    for order in range(3, 7):
        columns = (slope * -radius)[:, None] * np.stack(
            [np.cos(order * azimuth), np.sin(order * azimuth)], axis=1
        )
        matrix = (columns * weight[:, None]).T @ columns + 1e-12 * np.eye(2)
        largest = max(
            largest, float(np.hypot(*np.linalg.solve(matrix, (columns * weight[:, None]).T @ left)))
        )
    return largest


def _polar(y: Floats, x: Floats, parameters: Floats) -> tuple[Floats, Floats]:
    """Radius and azimuth in the pattern before it was stretched."""
    excess = float(np.hypot(*parameters[2:]))
    back = np.linalg.inv(
        ellipse_matrix(((1 + excess) / (1 - excess), 0.5 * np.arctan2(parameters[3], parameters[2])))
    )
    dy, dx = y - parameters[0], x - parameters[1]
    u, v = back[0, 0] * dy + back[0, 1] * dx, back[1, 0] * dy + back[1, 1] * dx
    return np.hypot(u, v), np.arctan2(u, v)


def _profile(radius: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Radial profile and its slope at the pixels: a smoothing fit of hats of half a pixel."""
    from scipy.interpolate import make_lsq_spline

    order = np.argsort(radius, kind="stable")
    r, v = radius[order], values[order]
    knots = np.arange(r[0] + 2 * _BIN_PX, r[-1] - 2 * _BIN_PX, 2 * _BIN_PX)
    whole = np.r_[[r[0]] * 4, knots, [r[-1]] * 4]
    spline = make_lsq_spline(r, v, whole, k=3)
    return np.asarray(spline(radius)), np.asarray(spline.derivative()(radius))


def _solve(sums: Floats) -> Floats:
    matrix: Floats = np.array(sums[:4, :4], np.float64)
    matrix[np.diag_indices(4)] += 1e-10 * np.trace(matrix) + 1e-300
    return np.asarray(np.linalg.solve(matrix, sums[:4, 4]), np.float64)


def _percent(ellipse: Ellipse) -> str:
    return f"{100 * (ellipse[0] - 1):.2f} % along {np.rad2deg(ellipse[1]):.0f}°"
