"""Are the angles right? Against symmetry, against a star of spokes, and around a centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import OptionError, ShapeError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AngleError:
    """Errors of angles.

    Attributes
    ----------
    median_deg
        Median of |error|, degrees; NaN if no angle could be judged.
    share_beyond_1deg
        Share of |error| above 1°, of those judged.
    errors_deg
        (m,) signed errors, NaN where the angle means nothing (order 0) or was not measured.
    n_judged
        How many errors count.
    constant_deg
        The constant of the run that was subtracted, degrees; 0 if none.
    """

    median_deg: float
    share_beyond_1deg: float
    errors_deg: np.ndarray
    n_judged: int
    constant_deg: float = 0.0

    def share_within(self, degrees: float) -> float:
        """Share of |error| up to `degrees`, of those judged."""
        judged = self.errors_deg[np.isfinite(self.errors_deg)]
        return float(np.mean(np.abs(judged) <= degrees)) if len(judged) else float("nan")


def angle_error(
    angle_p: np.ndarray,
    angle_q: np.ndarray,
    expected: np.ndarray | float,
    order: np.ndarray | int,
    *,
    subtract_constant: bool = False,
) -> AngleError:
    """Error of angle_q − angle_p − expected, modulo the rotation order of the site.

    Parameters
    ----------
    angle_p, angle_q
        (m,) rad: angles at the two positions of each pair. To judge angles against the truth, pass the
        truth as `expected`, 0 as `angle_p`, and set `subtract_constant`, since the zero of an angle is free.
    expected
        (m,) rad or a number: the turn from p to q.
    order
        (m,) int or a number: rotation order of the site (truth, or the least common multiple of truth and
        of a posterior with several peaks: ``numpy.lcm``); 0 = no preferred angle, the pair is not judged.
    subtract_constant
        Subtract the one constant for all pairs that makes the errors smallest. Never for pairs of one run,
        where the constant cancels.

    Examples
    --------
    >>> found = angle_error(np.zeros(1), np.radians([121.0]), np.radians([60.0]), 6)
    >>> round(found.median_deg, 6)  # 61° modulo 60°
    1.0
    """
    difference = np.asarray(angle_q, dtype=np.float64) - angle_p - expected
    if difference.ndim != 1:
        raise ShapeError(f"angles: want (m,), got {difference.shape}; flatten the scan axes")
    order = np.broadcast_to(np.asarray(order), difference.shape)
    if np.any(order < 0):
        raise OptionError(f"order: want integers >= 0, got {order.min()}; use 0 where no angle is preferred")
    judged = np.isfinite(difference) & (order > 0)
    constant = _constant(difference[judged], order[judged]) if subtract_constant and judged.any() else 0.0
    errors = np.full(difference.shape, np.nan)
    errors[judged] = np.degrees(_wrap(difference[judged] - constant, order[judged]))
    size = np.abs(errors[judged])
    return AngleError(
        median_deg=float(np.median(size)) if len(size) else float("nan"),
        share_beyond_1deg=float(np.mean(size > 1.0)) if len(size) else float("nan"),
        errors_deg=errors,
        n_judged=len(size),
        constant_deg=float(np.degrees(constant)),
    )


def _wrap(angle: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Angle reduced to [−π/order, π/order)."""
    period = 2 * np.pi / order
    return np.asarray((angle + period / 2) % period - period / 2)


def _constant(difference: np.ndarray, order: np.ndarray) -> float:
    """Constant that the differences share, each known modulo 2π/order; a median, so outliers do not pull."""
    common = int(np.lcm.reduce(order))
    rough = np.angle(np.mean(np.exp(1j * common * difference))) / common  # modulo 2π/common
    candidates = rough + 2 * np.pi * np.arange(common) / common
    best = min(candidates, key=lambda c: float(np.median(np.abs(_wrap(difference - c, order)))))
    return float((best + np.median(_wrap(difference - best, order))) % (2 * np.pi))


@dataclass(frozen=True, kw_only=True, slots=True)
class Resultant:
    """How well angles follow the azimuth about a centre.

    Attributes
    ----------
    value
        |mean exp(2i(angle − azimuth))|: 1 = every angle follows, 0 = none.
    centre
        (y, x) that gives it, in the unit of the positions.
    sign
        +1 or −1: sense of the angle that gives it.
    """

    value: float
    centre: tuple[float, float]
    sign: int


def resultant(angle: np.ndarray, positions: np.ndarray) -> Resultant:
    """Follow the spokes: |mean exp(2i(±angle − azimuth))|, maximised over the star's centre and the sign.

    Parameters
    ----------
    angle
        (n,) rad; NaN is left out.
    positions
        (n, 2), (y, x).

    Notes
    -----
    The centre is searched on a 41 × 41 grid over the middle 60 % of the scan, then refined to a simplex
    optimum.
    """
    from scipy.optimize import minimize

    angle, positions = np.asarray(angle, dtype=np.float64), np.asarray(positions, dtype=np.float64)
    if positions.shape != (*angle.shape, 2) or angle.ndim != 1:
        raise ShapeError(
            f"positions: want ({angle.size}, 2), got {positions.shape}; give y, x for every angle"
        )
    good = np.isfinite(angle) & np.isfinite(positions).all(axis=1)
    y, x = positions[good].T
    middle, half = positions[good].mean(axis=0), 0.3 * np.ptp(positions[good], axis=0)

    def value(centre: np.ndarray, sign: int) -> float:
        # exp(-2i azimuth) without a trigonometric function: (conj(w)/|w|)², w = (x - x0) + i (y - y0)
        w = (x - centre[1]) + 1j * (y - centre[0])
        unit = np.conj(w) / np.maximum(np.abs(w), 1e-12)
        return float(np.abs(np.mean(turned[sign] * unit**2)))

    turned = {sign: np.exp(2j * sign * angle[good]) for sign in (1, -1)}
    steps = np.linspace(-1, 1, 41)
    best = max(
        (
            (value(np.array([cy, cx]), sign), cy, cx, sign)
            for sign in (1, -1)
            for cy in middle[0] + half[0] * steps
            for cx in middle[1] + half[1] * steps
        ),
    )
    sign = best[3]
    found = minimize(lambda c: -value(c, sign), np.array(best[1:3]), method="Nelder-Mead")
    top, centre = max(
        (best[0], (best[1], best[2])), (-float(found.fun), (float(found.x[0]), float(found.x[1])))
    )
    return Resultant(value=top, centre=(float(centre[0]), float(centre[1])), sign=sign)


def winding_number(
    angle: np.ndarray,
    centre: tuple[float, float],
    *,
    radius: float = 8.0,
    smooth: float = 1.5,
    order: int = 1,
) -> int:
    """How many times the angle turns on a circle about a place, from +x to +y.

    Parameters
    ----------
    angle
        (y, x) map, rad; NaN has no weight.
    centre
        (y, x) of the circle, positions.
    radius
        Of the circle, positions; parts of it beyond the map are followed along the map's edge.
    smooth
        Standard deviation of the Gaussian that smooths exp(i · order · angle) first, positions.
    order
        Rotation order of the angle; the result counts turns by 2π/order.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    angle = np.asarray(angle, dtype=np.float64)
    if angle.ndim != 2:
        raise ShapeError(f"angle: want a map (y, x), got {angle.shape}")
    phase = np.where(np.isfinite(angle), np.exp(1j * order * np.nan_to_num(angle)), 0.0)
    azimuth = np.linspace(0, 2 * np.pi, max(64, int(np.ceil(16 * radius))), endpoint=False)
    where = np.stack([centre[0] + radius * np.sin(azimuth), centre[1] + radius * np.cos(azimuth)])
    real, imaginary = (
        map_coordinates(gaussian_filter(part, smooth, mode="nearest"), where, order=1, mode="nearest")
        for part in (phase.real, phase.imag)
    )
    on_circle = real + 1j * imaginary
    steps = np.angle(np.roll(on_circle, -1) * np.conj(on_circle))
    return round(float(steps.sum() / (2 * np.pi)))
