"""Laws of transforms: adjoint, projection, rotation, isotropy, lengths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orbistem.errors import ShapeError
from orbistem.harmonics.rotation import turn_pixels

Function = Callable[[np.ndarray], np.ndarray]
Turn = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
