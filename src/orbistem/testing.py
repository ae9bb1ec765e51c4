"""Laws that transforms, models and descriptors must obey, for your own tests as well as for ours.

Every `assert_…` compares what is with what should be over many random draws, raises AssertionError with the
worst case and the tolerance, and returns the worst error, so that a benchmark may print it. Nothing here is
used by the rest of the package. Randomness is an argument.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orbistem.errors import ShapeError
from orbistem.harmonics.rotation import turn_pixels

__all__ = [
    "assert_adjoint",
    "assert_isotropic_is_order_zero",
    "assert_parseval",
    "assert_projects",
    "assert_rotation_equivariant",
    "assert_rotation_invariant",
    "assert_unit_noise",
    "beam_stop",
    "complex_normal",
    "isotropic_patterns",
    "pure_order_patterns",
    "smooth_patterns",
    "threefold_mean",
]

Function = Callable[[np.ndarray], np.ndarray]
Turn = Callable[[np.ndarray, np.ndarray], np.ndarray]


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


def complex_normal(
    rng: np.random.Generator, shape: tuple[int, ...], *, dtype: type = np.complex128
) -> np.ndarray:
    """Complex Gaussian noise of variance 1 in the real and in the imaginary part."""
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


def assert_adjoint(
    forward: Function, backward: Function, *, x: np.ndarray, y: np.ndarray, rtol: float
) -> float:
    """Check Re⟨forward(x), y⟩ = Re⟨x, backward(y)⟩ for every pair of rows.

    Parameters
    ----------
    forward, backward
        Linear maps of stacks (n, …).
    x, y
        Stacks of n arguments of `forward` and of `backward`.
    rtol
        Largest difference over |forward(x)| |y|.

    Returns
    -------
    float
        The worst difference.
    """
    image, back = forward(x), backward(y)
    left = _inner(image, y)
    right = _inner(x, back)
    error = np.abs(left - right) / (_norm(image) * _norm(y))
    return _worst("adjoint: <Ax, y> and <x, A*y> differ", error, rtol)


def assert_projects(
    project: Function, synthesise: Function, *, coefficients: np.ndarray, rtol: float
) -> float:
    """Check project(synthesise(c)) = c for every row, relative to its norm. Returns the worst error."""
    back = project(synthesise(coefficients))
    error = _norm(back - coefficients) / _norm(coefficients)
    return _worst("projection: project(synthesise(c)) is not c", error, rtol)


def assert_rotation_equivariant(
    transform: Function,
    turn: Turn,
    *,
    patterns: np.ndarray,
    angles_rad: np.ndarray,
    rtol: float,
    centre_px: tuple[float, float] | None = None,
    norm: Function | None = None,
) -> float:
    """Check that turning pixels and then transforming is the same as transforming and then turning.

    Parameters
    ----------
    transform
        Patterns (n, ky, kx) → anything (n, …).
    turn
        How the result turns: (result (n, …), angles (n,)) → result.
    patterns
        Shape (n, ky, kx); smooth, or the spline that turns the pixels will be what is tested.
    angles_rad
        One angle each, shape (n,); positive from +kx to +ky.
    rtol
        Largest allowed |difference| over |result|.
    centre_px
        Default: the middle of the frame.
    norm
        (n, …) → (n,); default: the Euclidean norm.

    Returns
    -------
    float
        The worst relative error.
    """
    _require_pairs(patterns, angles_rad)
    middle = (patterns.shape[1] - 1) / 2, (patterns.shape[2] - 1) / 2
    centre = middle if centre_px is None else centre_px
    turned = np.concatenate(
        [
            turn_pixels(pattern[None], by_rad=float(angle), centre_px=centre)
            for pattern, angle in zip(patterns, angles_rad, strict=True)
        ]
    )
    length = norm or _norm
    expected = turn(transform(patterns), angles_rad)
    error = length(transform(turned) - expected) / length(expected)
    return _worst("rotation: turning pixels and turning the result differ", error, rtol)


def assert_rotation_invariant(
    function: Function,
    *,
    coefficients: np.ndarray,
    orders: np.ndarray,
    angles_rad: np.ndarray,
    tolerance: float,
) -> float:
    """Check that a function of coefficients does not change when they are turned.

    Parameters
    ----------
    function
        Coefficients (n, k) → features (n, d).
    coefficients
        Complex, shape (n, k); at least two different ones, so that the features have a spread.
    orders
        Angular order of each coefficient, shape (k,).
    angles_rad
        One angle each, shape (n,).
    tolerance
        Largest allowed change over the spread √(2 · trace cov) of the features.

    Returns
    -------
    float
        The worst change over the spread.
    """
    _require_pairs(coefficients, angles_rad)
    phases = np.exp(-1j * np.asarray(angles_rad)[:, None] * np.asarray(orders)).astype(coefficients.dtype)
    before, after = function(coefficients), function(coefficients * phases)
    spread = np.sqrt(2 * np.var(before.reshape(len(before), -1), axis=0, ddof=1).sum())
    if not spread > 0:
        raise AssertionError("invariance: want features that differ between patterns, got constant ones")
    error = _norm(after - before) / spread
    return _worst("invariance: turned coefficients change the features", error, tolerance)


def assert_isotropic_is_order_zero(transform: Function, *, patterns: np.ndarray, rtol: float) -> float:
    """Check that isotropic patterns have nothing above order 0.

    Parameters
    ----------
    transform
        Patterns (n, ky, kx) → harmonics (n, …, order), order 0 first.
    patterns
        Isotropic about the centre that `transform` uses; `isotropic_patterns` makes some.
    rtol
        Largest norm of all higher orders over that of order 0.

    Returns
    -------
    float
        The worst ratio.
    """
    harmonics = transform(patterns)
    error = _norm(harmonics[..., 1:]) / _norm(harmonics[..., 0])
    return _worst("isotropy: an isotropic pattern has angular orders", error, rtol)


def assert_parseval(norm_squared: np.ndarray, expected: np.ndarray, *, rtol: float) -> float:
    """Check mean squared lengths against their expectation, entry by entry. Returns the worst error."""
    error = np.abs(np.asarray(norm_squared) / np.asarray(expected) - 1)
    return _worst("Parseval: lengths differ from their expectation", error, rtol)


def assert_unit_noise(
    values: np.ndarray,
    *,
    fourth_cumulant: np.ndarray | float | None = None,
    mean_tolerance: float = 0.02,
    limit_sd: float = 5.0,
) -> tuple[float, float]:
    """Check that noise has variance 1, on average and in each degree of freedom.

    Parameters
    ----------
    values
        Repeated draws of pure noise, real, shape (n, dof). Complex coefficients: real and imaginary part are
        two degrees of freedom.
    fourth_cumulant
        Fourth cumulant of each degree of freedom, shape (dof,): the variance of a sample variance is
        (2 + fourth cumulant) / n where the variance is 1. None: estimated from the draws.
    mean_tolerance
        Largest allowed difference of the mean variance from 1.
    limit_sd
        Largest allowed difference of one variance from 1, in its standard errors.

    Returns
    -------
    tuple of float
        Mean variance; worst difference in standard errors.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or np.iscomplexobj(values):
        raise ShapeError(f"values: want real (n, dof), got {values.shape}; stack real and imaginary parts")
    n = len(values)
    deviation = values - values.mean(axis=0)
    variance = np.sum(deviation**2, axis=0) / (n - 1)
    if fourth_cumulant is None:
        fourth_cumulant = np.mean(deviation**4, axis=0) - 3 * variance**2
    standard_error = np.sqrt((2 + np.maximum(fourth_cumulant, 0)) / n)
    worst = float(np.max(np.abs(variance - 1) / standard_error))
    mean = float(variance.mean())
    if not abs(mean - 1) <= mean_tolerance:
        raise AssertionError(f"unit noise: want a mean variance of 1 ± {mean_tolerance:g}, got {mean:.4f}")
    if not worst <= limit_sd:
        raise AssertionError(
            f"unit noise: want each variance within {limit_sd:g} standard errors of 1, got {worst:.2f} "
            f"(variance {variance[np.argmax(np.abs(variance - 1) / standard_error)]:.3f})"
        )
    return mean, worst


def _worst(what: str, error: np.ndarray, limit: float) -> float:
    worst = float(np.max(error))
    if not worst <= limit:
        raise AssertionError(
            f"{what}: worst of {np.size(error)} is {worst:.3g} (number {int(np.argmax(error))}), "
            f"want at most {limit:.3g}"
        )
    return worst


def _norm(stack: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(np.asarray(stack).reshape(len(stack), -1), axis=1))


def _inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    wide = np.complex128 if np.iscomplexobj(left) or np.iscomplexobj(right) else np.float64
    product = np.conj(np.asarray(left, wide)) * np.asarray(right, wide)
    return np.asarray(product.reshape(len(product), -1).sum(axis=1).real)


def _require_pairs(stack: np.ndarray, angles_rad: np.ndarray) -> None:
    if np.shape(angles_rad) != (len(stack),):
        raise ShapeError(f"angles_rad: want ({len(stack)},), got {np.shape(angles_rad)}; one angle each")


def _polar(px: int) -> tuple[np.ndarray, np.ndarray]:
    """Radius over the side of the frame, and azimuth, about the middle."""
    y, x = (np.indices((px, px)) - (px - 1) / 2) / px
    return np.hypot(y, x), np.arctan2(y, x)


def _smooth_wave(radius: np.ndarray, azimuth: np.ndarray, order: int) -> np.ndarray:
    """(r / sqrt m)^m exp((m - r²) / 2) exp(-i m phi): smooth at the origin, at most 1."""
    log_power = order * np.log(np.maximum(radius, 1e-300) / np.sqrt(max(order, 1)))
    return np.asarray(np.exp((order - radius**2) / 2 + log_power - 1j * order * azimuth))
