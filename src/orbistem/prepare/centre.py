"""The rotation centre of the mean pattern: the point that the harmonics turn about.

Pixel centres have integer coordinates, (y, x), everywhere.

The rule. (1) The pattern is laid on its own half turn at every shift; the shift with the most significant
correlation wins, because a wrong lattice point of a crystal overlaps less, and the centre of mass is no
witness where the illumination is uneven. The square root of the intensity is compared: all pixels then
carry the same noise, and bright reflections do not outvote the rest. A pattern with three-fold symmetry has
its best half turn at its centre, too. (2) The outer edge of the bright-field disk, where there is one,
breaks a tie, and stands in where the half turn finds nothing. (3) The centre of mass is the last resort,
and a problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, optimize

from orbistem.errors import InputError, OptionError, ShapeError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Point = tuple[float, float]

MIN_SD_PX = 0.005  # interpolation between pixels is not better than this
MIN_SCORE = 8.0  # the best of 10,000 shifts of pure noise reaches 6: every pair of pixels counts twice
_SECTORS = 8  # the uncertainty comes from leaving out one of these wedges after another


class Problem(StrEnum):
    """What can keep the centre from being trusted."""

    FLAT = "the mean pattern has no structure to find a centre by; give --centre"
    TIE = "several centres fit equally well; give --centre, or mask the beam stop"
    WEAK = "the mean pattern is not symmetric about any point, the centre of mass is used; give --centre"
    VAGUE = "the centre is uncertain by more than a pixel; check it, or give --centre"


@dataclass(frozen=True, kw_only=True, slots=True)
class CentreOptions:
    """How the centre is found.

    Attributes
    ----------
    min_correlation : float
        A half turn that correlates less is no witness.
    tie_ratio : float
        A second place with more than this share of the best significance is a tie.
    min_overlap : float
        Smallest share of the pixels that must have a partner in the frame under the half turn.
    sd_limit_px : float
        A larger uncertainty is a problem.
    """

    min_correlation: float = 0.3
    tie_ratio: float = 0.85
    min_overlap: float = 0.08
    sd_limit_px: float = 1.0

    def __post_init__(self) -> None:
        for name in ("min_correlation", "tie_ratio", "min_overlap"):
            if not 0 < getattr(self, name) < 1:
                raise OptionError(f"{name}: want a number between 0 and 1, got {getattr(self, name)}")
        if not self.sd_limit_px > 0:
            raise OptionError(f"sd_limit_px: want a positive number of pixels, got {self.sd_limit_px}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CentreFit:
    """Rotation centre of the mean pattern; trust it if `problem` is None.

    Attributes
    ----------
    centre_px, sd_px : (y, x)
        Position and its standard deviation, in pixels from the middle of the first pixel.
    method : str
        How it was found, in words.
    correlation : float
        Correlation of the pattern's square root with its half turn about the centre.
    disk_px : (y, x, radius) or None
        Circle through the outer edge of the bright disk, where there is one.
    problem : Problem or None
    """

    centre_px: Point
    sd_px: Point
    method: str
    correlation: float
    disk_px: tuple[float, float, float] | None = None
    problem: Problem | None = None


def check_centre(centre: Point, detector_shape: tuple[int, int]) -> Point:
    """Return a given centre (y, x) as floats, after checking that it lies on the detector.

    Raises
    ------
    InputError
        The centre is not finite or lies outside the frame.
    """
    y, x = float(centre[0]), float(centre[1])
    ky, kx = detector_shape
    if not (-0.5 <= y <= ky - 0.5 and -0.5 <= x <= kx - 0.5):  # False for NaN, too
        raise InputError(
            f"centre: want (y, x) within 0..{ky - 1}, 0..{kx - 1} pixels, got ({y:g}, {x:g}); "
            "give --centre Y,X in detector pixels, or leave it out to have it found"
        )
    return y, x


def find_centre(
    mean: NDArray[np.floating], *, pixel_valid: Bools | None = None, options: CentreOptions | None = None
) -> CentreFit:
    """Find the rotation centre of a mean pattern.

    Parameters
    ----------
    mean : (ky, kx)
        Mean pattern, any unit; negative values count as zero, values that are not finite as missing.
    pixel_valid : (ky, kx) bool, optional
        False where a pixel is dead, hot, or behind the beam stop.
    options : CentreOptions, optional

    Returns
    -------
    CentreFit

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.indices((32, 40))
    >>> fit = find_centre(1.0 * (np.hypot(y - 14.0, x - 21.5) < 9))
    >>> [round(value, 2) for value in fit.centre_px]
    [14.0, 21.5]
    """
    options = options or CentreOptions()
    if mean.ndim != 2:
        raise ShapeError(f"mean: want (ky, kx), got {mean.shape}")
    if pixel_valid is not None and pixel_valid.shape != mean.shape:
        raise ShapeError(f"pixel_valid: want {mean.shape} like the pattern, got {pixel_valid.shape}")
    valid = np.isfinite(mean) if pixel_valid is None else pixel_valid & np.isfinite(mean)
    root = np.sqrt(np.maximum(np.where(valid, mean, 0.0), 0.0))
    middle = ((mean.shape[0] - 1) / 2, (mean.shape[1] - 1) / 2)
    if not valid.any() or np.ptp(root[valid]) <= 1e-9 * root.max():
        unknown = (mean.shape[0] / 4, mean.shape[1] / 4)
        return CentreFit(
            centre_px=middle,
            sd_px=unknown,
            method="middle of the frame",
            correlation=0.0,
            problem=Problem.FLAT,
        )
    root = root / root[valid].std()
    disk = fit_disk(np.where(valid, mean, np.nan))
    peaks = _half_turn_peaks(root, valid, options)
    peaks = [peak for peak in peaks if peak[1] >= options.min_correlation and peak[2] > MIN_SCORE]
    if not peaks:
        return _without_half_turn(root**2, disk)
    rivals = [peak for peak in peaks if peak[2] >= options.tie_ratio * peaks[0][2]]
    method, problem = "half turn of the mean pattern", None
    best = rivals[0]
    if len(rivals) > 1:
        problem = Problem.TIE
        if disk is not None:
            rivals.sort(key=lambda peak: np.hypot(peak[0][0] - disk[0], peak[0][1] - disk[1]))
            best = rivals[0]
            if np.hypot(best[0][0] - disk[0], best[0][1] - disk[1]) < 0.15 * disk[2]:
                method, problem = (
                    f"{method}, the one of {len(rivals)} that lies in the bright disk's middle",
                    None,
                )
    centre, sd = _refine(root, valid, best[0])
    if disk is not None:
        apart = float(np.hypot(centre[0] - disk[0], centre[1] - disk[1]))
        method += f" (the bright disk's edge gives a centre {apart:.2f} px away)"
    if problem is None and max(sd) > options.sd_limit_px:
        problem = Problem.VAGUE
    return CentreFit(
        centre_px=centre, sd_px=sd, method=method, correlation=best[1], disk_px=disk, problem=problem
    )


def _without_half_turn(image: Floats, disk: tuple[float, float, float] | None) -> CentreFit:
    if disk is not None:
        sd = 0.05 * disk[2]
        return CentreFit(
            centre_px=disk[:2],
            sd_px=(sd, sd),
            method="edge of the bright disk (no half turn fits)",
            correlation=0.0,
            disk_px=disk,
            problem=None if sd <= 1 else Problem.VAGUE,
        )
    y, x = np.indices(image.shape)
    total = image.sum()
    com = float((image * y).sum() / total), float((image * x).sum() / total)
    sd_y, sd_x = (
        float(np.sqrt((image * (k - c) ** 2).sum() / total)) for k, c in zip((y, x), com, strict=True)
    )
    return CentreFit(
        centre_px=com, sd_px=(sd_y, sd_x), method="centre of mass", correlation=0.0, problem=Problem.WEAK
    )


def _half_turn_peaks(root: Floats, valid: Bools, options: CentreOptions) -> list[tuple[Point, float, float]]:
    """Local maxima (centre, correlation, significance), best first, on a grid of half pixels.

    Correlation over the pixels that both the pattern and its half turn have (Padfield, IEEE Trans. Image
    Process. 21, 2706 (2012)); significance is Fisher's: atanh(correlation) times the root of the number of
    pixels.
    """
    weight = valid.astype(np.float64)
    f = np.where(valid, root - root[valid].mean(), 0.0)
    pairs = np.maximum(_self_convolution(weight, weight), 1.0)
    total = _self_convolution(f, weight)
    squares = _self_convolution(f**2, weight)
    cross = _self_convolution(f, f)
    spread = np.maximum(squares - total**2 / pairs, 0.0)
    floor = 0.01 * pairs  # root has variance 1: an empty corner correlates with nothing
    correlation = (cross - total**2 / pairs) / (spread + floor)
    score = np.arctanh(np.clip(correlation, 0.0, 0.9999)) * np.sqrt(pairs)
    score[pairs < options.min_overlap * weight.sum()] = 0.0
    top = (score == ndimage.maximum_filter(score, 5)) & (score > 0.5 * score.max()) & (score > 0)
    at = np.argwhere(top)
    order = np.argsort(-score[top], kind="stable")
    peaks = []
    for y, x in at[order][:8]:
        dy, dx = _parabola(score[:, x], y), _parabola(score[y], x)
        peaks.append((((y + dy) / 2, (x + dx) / 2), float(correlation[y, x]), float(score[y, x])))
    return peaks


def _self_convolution(a: Floats, b: Floats) -> Floats:
    """A * b at all shifts, shape (2 ky - 1, 2 kx - 1): element s sums a(k) b(s - k)."""
    full = tuple(2 * n - 1 for n in a.shape)
    padded = [fft.next_fast_len(n, real=True) for n in full]
    result: Floats = fft.irfft2(fft.rfft2(a, padded) * fft.rfft2(b, padded), padded)[: full[0], : full[1]]
    return result


def _parabola(values: Floats, at: int) -> float:
    """Offset of the top of the parabola through three values, within half a step."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, mid, right = values[at - 1 : at + 2]
    bend = left - 2 * mid + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def _refine(root: Floats, valid: Bools, start: Point) -> tuple[Point, Point]:
    """Gauss-Newton on f(k) - f(2c - k), and its sd from leaving out wedges of the pattern."""
    slopes = [np.gradient(root, axis=axis) for axis in (0, 1)]
    filled = ndimage.spline_filter(root, order=3, mode="nearest")
    filled_slopes = [ndimage.spline_filter(slope, order=3, mode="nearest") for slope in slopes]
    grid = np.indices(root.shape).astype(np.float64)
    broad = ndimage.binary_erosion(valid, iterations=1, border_value=1)
    centre = np.array(start)
    for _ in range(20):
        use, equations = _equations(root, broad, grid, filled, filled_slopes, slopes, centre)
        if use.sum() < 8:
            break
        step = _solve(equations[use].sum(axis=0))
        centre = centre + np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-4:
            break
    if np.hypot(*(centre - start)) > 1.0:  # it left the peak: keep the peak
        centre = np.array(start)
    use, equations = _equations(root, broad, grid, filled, filled_slopes, slopes, centre)
    angle = np.arctan2(grid[0] - centre[0], grid[1] - centre[1])
    wedge = np.floor(np.mod(angle, np.pi) / np.pi * _SECTORS).astype(int) % _SECTORS
    total = equations[use].sum(axis=0)
    left_out = [_solve(total - equations[use & (wedge == sector)].sum(axis=0)) for sector in range(_SECTORS)]
    spread = np.sqrt((_SECTORS - 1) * np.var(left_out, axis=0))
    sd = np.maximum(spread, MIN_SD_PX)
    return (float(centre[0]), float(centre[1])), (float(sd[0]), float(sd[1]))


def _equations(
    root: Floats,
    valid: Bools,
    grid: Floats,
    filled: Floats,
    filled_slopes: list[Floats],
    slopes: list[Floats],
    centre: Floats,
) -> tuple[Bools, Floats]:
    """Normal equations of every pixel, shape (ky, kx, 5): J'J (yy, yx, xx) and J'r (y, x).

    Moving the centre by d moves the half turn by 2d: f(2c - k) changes by 2 d grad f(2c - k). The slope is
    averaged over the two partners, which makes the equations symmetric. Residuals beyond 2.5 robust
    deviations count less.
    """
    there = 2 * centre[:, None, None] - grid
    ky, kx = root.shape
    inside = (there[0] >= 0) & (there[0] <= ky - 1) & (there[1] >= 0) & (there[1] <= kx - 1)
    partner_valid = ndimage.map_coordinates(valid.astype(np.float64), there, order=1, mode="nearest") > 0.999
    use = valid & inside & partner_valid

    def turned(spline: Floats) -> Floats:
        values: Floats = ndimage.map_coordinates(spline, there, order=3, mode="nearest", prefilter=False)
        return values

    residual = root - turned(filled)
    jy, jx = (turned(a) - b for a, b in zip(filled_slopes, slopes, strict=True))
    scale = 1.4826 * np.median(np.abs(residual[use])) if use.any() else 1.0
    weight = 1 / np.maximum(1.0, np.abs(residual) / max(2.5 * scale, 1e-3))
    stacked = np.stack([jy * jy, jy * jx, jx * jx, jy * residual, jx * residual], axis=-1)
    return use, stacked * weight[..., None]


def _solve(sums: Floats) -> Floats:
    yy, yx, xx, ry, rx = sums
    matrix = np.array([[yy, yx], [yx, xx]]) + 1e-9 * max(yy + xx, 1e-12) * np.eye(2)
    step: Floats = np.linalg.solve(matrix, np.array([ry, rx]))
    return step


def fit_disk(mean: Floats) -> tuple[float, float, float] | None:
    """Circle (y, x, radius) through the outer edge of the bright disk, or None where there is no such disk.

    The edge is where rays from the middle of the bright area fall below half of the bright level for the last
    time; a ray that leaves the frame or meets a missing pixel there is no witness. It counts as a disk when
    more than half of the rays have an edge, it is round to 3 % of its radius, and most of its inside is
    bright.
    """
    known = np.isfinite(mean)
    image = np.where(known, mean, 0.0)
    level = 0.5 * float(np.quantile(image[known], 0.9))
    if level <= 0:
        return None
    label, count = ndimage.label(ndimage.binary_fill_holes((image > level) | ~known))
    if count == 0:
        return None
    sizes = ndimage.sum_labels(image, label, np.arange(1, count + 1))
    y, x = np.nonzero(label == int(np.argmax(sizes)) + 1)
    centre = np.array([y.mean(), x.mean()])
    angles = np.arange(96) * 2 * np.pi / 96
    radii = np.arange(0.0, np.hypot(*mean.shape), 0.25)
    unknown = (~known).astype(np.float64)
    circle: Floats | None = None
    for _ in range(2):  # the second time from the fitted middle
        at = centre[:, None, None] + np.stack(
            [np.multiply.outer(np.sin(angles), radii), np.multiply.outer(np.cos(angles), radii)]
        )
        inside = np.all((at >= 0) & (at <= np.array(mean.shape)[:, None, None] - 1), axis=0)
        values = np.where(inside, ndimage.map_coordinates(image, at, order=1, mode="nearest"), 0.0)
        last = values.shape[1] - 1 - np.argmax((values > level)[:, ::-1], axis=1)
        rows = np.arange(len(angles))
        after = np.minimum(last + 1, values.shape[1] - 1)
        bad = ndimage.map_coordinates(unknown, at, order=1, mode="nearest") > 0.01
        good = (values[rows, last] > level) & inside[rows, after] & ~bad[rows, last] & ~bad[rows, after]
        if good.sum() < len(angles) // 2:
            return None
        high, low = values[rows, last], values[rows, after]
        edge = radii[last] + 0.25 * (high - level) / np.maximum(high - low, 1e-12)
        points = centre[:, None] + edge * np.stack([np.sin(angles), np.cos(angles)])
        points = points[:, good]

        def miss(p: Floats, points: Floats = points) -> Floats:
            distance: Floats = np.hypot(points[0] - p[0], points[1] - p[1]) - p[2]
            return distance

        start = np.array([*centre, np.median(edge[good])])
        circle = optimize.least_squares(miss, start, loss="soft_l1", f_scale=0.3).x
        centre = circle[:2]
    if circle is None or circle[2] < 2:
        return None
    if np.median(np.abs(miss(circle))) > 0.03 * circle[2]:
        return None
    if np.mean(values[:, radii < 0.9 * circle[2]] > level) < 0.5:  # a ring of spots is no disk
        return None
    return float(circle[0]), float(circle[1]), float(circle[2])
