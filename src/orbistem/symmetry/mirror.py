"""How well a pattern agrees with its own mirror image, over all mirror lines, and the best line's azimuth.

A mirror with its line at azimuth α takes c_m to conj(c_m) exp(-2imα); pattern and mirror image correlate as

    mirror(α) = Re Σ_m c_m² exp(2imα) / Σ_m |c_m|²

over the orders above 0: a polynomial in exp(2iα), for all lines at once by one FFT, then Newton's steps on
the highest peak. The noise adds nothing to c_m² on average; its energy is subtracted below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.symmetry.components import Components
from orbistem.symmetry.descriptor import Descriptor, Variable
from orbistem.symmetry.n_fold import null_variance
from orbistem.symmetry.ratio import MIN_SIGNIFICANCE

__all__ = ["MIRROR", "Mirror", "best_line", "mirror", "squares_by_order"]

POINTS_PER_WAVE = 8
"""Lines tried per period of the highest order: a parabola through three gives a peak's height to 10⁻⁴."""
CANDIDATES, MOST_CANDIDATES = 2, 24
NEAR_TIE = 0.02
"""So many peaks are climbed; further ones, where they are as high as the highest to within this share."""
NEWTON_STEPS = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mirror:
    """Best mirror of each pattern; arrays of shape (n,), NaN where a pattern shows no signal above order 0.

    Parameters
    ----------
    value, sd
        Correlation with the mirror image, in [0, 1], and its standard error for that line.
    angle, angle_sd
        Azimuth of the mirror line in [0, π), from +kx to +ky, and its standard error, rad.
    """

    value: np.ndarray
    sd: np.ndarray
    angle: np.ndarray
    angle_sd: np.ndarray


def mirror(components: Components) -> Mirror:
    """Best mirror correlation over all lines.

    Parameters
    ----------
    components
        Of n patterns.

    Examples
    --------
    >>> import numpy as np
    >>> order = np.array([1, 2, 3])
    >>> values = np.exp(-1j * order * 0.5)[None]  # even about ky = 0, then turned by 0.5 rad
    >>> one = Components(values=values, variance=np.zeros((1, 3)), order=order, weight=np.ones(3))
    >>> mirror(one).value.round(6), mirror(one).angle.round(6)
    (array([1.]), array([0.5]))
    """
    values, order = components.values, components.order
    real = components.variance.dtype
    angle, _ = best_line(*squares_by_order(components, components.weight))
    turn = np.mod(angle[:, None] * np.arange(order.max(initial=0) + 1), 2 * np.pi).astype(real)
    wave = (np.cos(turn) + 1j * np.sin(turn)).astype(values.dtype)
    aligned = values * wave[:, order]
    weight = components.weight.astype(real)
    even, odd = weight * aligned.real**2, weight * aligned.imag**2
    bias = weight * components.variance
    even_energy, odd_energy = even - bias, odd - bias
    total = even_energy.sum(axis=1) + odd_energy.sum(axis=1)
    with np.errstate(invalid="ignore"):
        seen = total > MIN_SIGNIFICANCE * np.sqrt(null_variance(components))
    safe = np.where(seen, total, np.nan)
    value = (even_energy.sum(axis=1) - odd_energy.sum(axis=1)) / safe
    # d value = (1 - value)/total d even - (1 + value)/total d odd; Var x² = 4 s μ² + 2 s²
    even_variance = (2 * bias * (2 * np.maximum(even_energy, 0) + bias)).sum(axis=1)
    odd_variance = (2 * bias * (2 * np.maximum(odd_energy, 0) + bias)).sum(axis=1)
    square = (1 - value) ** 2 * even_variance + (1 + value) ** 2 * odd_variance
    sd = np.sqrt(np.maximum(square, 0)) / safe  # below 0 only where the noise is not that of counts
    # the line is where Σ w m x y = 0: its error is that of y over the curvature Σ w m² (x² - y²)
    slope_variance = (weight * order.astype(real) ** 2 * bias * np.maximum(even_energy, 0)).sum(axis=1)
    curvature = (order.astype(real) ** 2 * (even_energy - odd_energy)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        angle_sd = np.where(seen & (curvature > 0), np.sqrt(slope_variance) / curvature, np.nan)
    return Mirror(
        value=np.clip(value, 0, 1),
        sd=sd,
        angle=np.where(seen, angle, np.nan),
        angle_sd=np.minimum(angle_sd, np.pi / np.sqrt(12)),
    )


def squares_by_order(components: Components, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ weight · c² over the components of each order, shape (n, order), and these orders, shape (order,)."""
    orders = np.unique(components.order)
    member = (components.order[:, None] == orders).astype(components.variance.dtype)
    member *= weight.astype(member.dtype)[:, None]
    sums: np.ndarray = np.square(components.values) @ member.astype(components.values.dtype)
    return sums, orders


def best_line(squares: np.ndarray, orders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximise Re Σ squares exp(2i · order · α) over the azimuth α of the line.

    Parameters
    ----------
    squares
        Complex, shape (n, order).
    orders
        Ascending, above 0, shape (order,).

    Returns
    -------
    α, shape (n,), in [0, π/step) with `step` the greatest common divisor of the orders, and the maximum (n,).
    """
    if not len(orders):
        return np.zeros(len(squares)), np.zeros(len(squares))
    step = int(np.gcd.reduce(orders))
    waves = orders // step
    n_points = 1 << int(np.ceil(np.log2(POINTS_PER_WAVE * int(waves[-1]))))
    spectrum = np.zeros((len(squares), n_points // 2 + 1), squares.dtype)
    spectrum[:, waves] = np.where(np.isfinite(squares), squares, 0)
    height = _peak_heights(np.fft.irfft(spectrum, n_points, axis=1))
    rows = np.arange(len(squares))
    best_phase, best_value = np.zeros(len(squares)), np.full(len(squares), -np.inf)
    highest = height.max(axis=1, initial=-np.inf)
    for candidate in range(MOST_CANDIDATES):
        at = np.argmax(height[rows], axis=1)
        if candidate >= CANDIDATES:
            level = height[rows, at]
            near = np.isfinite(level) & (highest[rows] - level <= NEAR_TIE * np.abs(highest[rows]))
            rows, at = rows[near], at[near]
        if not len(rows):
            break
        height[rows, at] = -np.inf
        phase, value = _climb(squares[rows], waves, at * (2 * np.pi / n_points), limit=np.pi / n_points)
        better = value > best_value[rows]
        best_phase[rows[better]], best_value[rows[better]] = phase[better], value[better]
    return np.mod(best_phase, 2 * np.pi) / (2 * step), best_value


def _peak_heights(on_lines: np.ndarray) -> np.ndarray:
    """Heights of the peaks of periodic functions on a grid (n, point); -inf where there is none."""
    around = np.concatenate([on_lines[:, -1:], on_lines, on_lines[:, :1]], axis=1)
    before, after = around[:, :-2], around[:, 2:]
    at = np.nonzero((on_lines >= before) & (on_lines >= after))
    here, left, right = on_lines[at], before[at], after[at]
    bend = 2 * here - left - right
    above = np.zeros_like(here)
    np.divide((right - left) ** 2, 8 * bend, out=above, where=bend > 0)  # on a peak at most an eighth of bend
    height = np.full_like(on_lines, -np.inf)
    height[at] = here + above
    return height


def _climb(
    squares: np.ndarray, waves: np.ndarray, phase: np.ndarray, *, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's steps from a grid point to its peak; phase (n,) and height (n,)."""
    real = squares.real.dtype
    wave = waves.astype(real)
    across, up = np.ascontiguousarray(squares.real), np.ascontiguousarray(squares.imag)

    def turned() -> tuple[np.ndarray, np.ndarray]:
        angle = (phase[:, None] * waves).astype(real)
        cos, sin = np.cos(angle), np.sin(angle)
        return across * cos - up * sin, up * cos + across * sin

    for _ in range(NEWTON_STEPS):
        even, odd = turned()
        with np.errstate(invalid="ignore"):  # OpenBLAS may raise it for finite single-precision numbers
            slope, curvature = -(odd @ wave), -(even @ wave**2)
        change = np.divide(-slope, curvature, out=np.zeros_like(slope), where=curvature < 0)
        phase = phase + np.clip(change, -limit, limit)
    return phase, turned()[0].sum(axis=1)


def _maps(components: Components) -> tuple[np.ndarray, ...]:
    found = mirror(components)
    return found.value, found.sd, found.angle, found.angle_sd


MIRROR = Descriptor(
    name="mirror",
    variables=(
        Variable(name="mirror", long_name="correlation of the pattern with its best mirror image"),
        Variable(name="mirror_sd", long_name="standard error of mirror"),
        Variable(
            name="mirror_angle",
            long_name="azimuth of the best mirror line, from +kx to +ky, modulo π",
            units="rad",
            attributes={"order": 2},
        ),
        Variable(name="mirror_angle_sd", long_name="standard error of mirror_angle", units="rad"),
    ),
    compute=_maps,
)
