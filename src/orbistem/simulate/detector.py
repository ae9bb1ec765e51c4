"""From the fraction of the beam in each pixel to what a camera writes: descan, dose, spread, hot pixels.

The order is that of the instrument: the pattern is stretched (ellipse) and wanders (descan), a beam stop
hides a part, electrons arrive one by one (Poisson), each may light several pixels (spread), and some pixels
are hot. Spread after counting correlates the noise of neighbours, as in a real camera; blurring the
expectation instead would not. Light spreads before pixels sum it up: patterns that are drawn finer than the
detector's pixels are counted and spread on a grid finer still, and summed afterwards. Spread on the pixels
would keep what a sharp edge does between them, and no camera with so wide a spread shows that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import OptionError, require_stack
from orbistem.simulate.distortion import beam_stop, distort

UINT16_MAX = 65535
SUBDIVIDED = 2
"""Fine pixels are cut into so many along each side where light spreads."""
BLOCK = 128  # patterns at a time, so that float64 copies stay small


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorOptions:
    """A camera that is not perfect.

    Attributes
    ----------
    psf_sd_px
        Standard deviation of the spread of one electron's signal, pixels; above 0 the output is float32.
    gain
        Counts per electron.
    descan_px
        2 × 2: shift of the pattern, (ky, kx) in pixels, from the first to the last row (first entry) and
        from the first to the last column (second entry) of the scan; its mean over the scan is zero.
    ellipse
        Long over short axis of what should be a circle, and the azimuth of the long axis in radian.
    beam_stop_px
        Width of a beam stop, a bar from the left edge to the middle; 0 for none.
    hot_pixels
        Number of pixels, drawn at random, that add `hot_counts` to every pattern.
    hot_counts
        Counts that a hot pixel adds.
    """

    psf_sd_px: float = 0.0
    gain: float = 1.0
    descan_px: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    ellipse: tuple[float, float] = (1.0, 0.0)
    beam_stop_px: float = 0.0
    hot_pixels: int = 0
    hot_counts: int = 1000

    def __post_init__(self) -> None:
        if self.psf_sd_px < 0 or not self.gain > 0 or self.hot_pixels < 0 or self.hot_counts < 0:
            raise OptionError(
                "detector: want psf_sd_px >= 0, gain > 0, hot_pixels >= 0 and hot_counts >= 0, got "
                f"{self.psf_sd_px}, {self.gain}, {self.hot_pixels} and {self.hot_counts}; correct one"
            )
        if not (1 <= self.ellipse[0] < 2 and np.isfinite(self.ellipse[1])) or self.beam_stop_px < 0:
            raise OptionError(
                "detector: want an ellipse with a ratio from 1 to 2 and a finite angle, and beam_stop_px "
                f">= 0, got {self.ellipse} and {self.beam_stop_px}; correct one"
            )

    @property
    def distorts(self) -> bool:
        """Whether patterns are moved or stretched."""
        return self.ellipse[0] != 1 or bool(np.any(self.descan_px))


def require_dose(dose: float) -> None:
    """Refuse electrons per pattern that are no finite number above 0."""
    if not (dose > 0 and np.isfinite(dose)):
        raise OptionError(f"dose: want electrons per pattern above 0, got {dose}; give for instance 1e5")


def expose(
    clean: np.ndarray,
    *,
    dose: float,
    rng: np.random.Generator,
    options: DetectorOptions | None = None,
    scan_shape: tuple[int, int] | None = None,
    binning: int = 1,
) -> np.ndarray:
    """What the camera records of noise-free patterns.

    Parameters
    ----------
    clean
        (n, ky, kx), fraction of the beam in each pixel; finer by `binning` for sharp edges that are moved.
    dose
        Electrons in the beam per pattern.
    rng
        Draws the counts and the hot pixels.
    options
        Imperfections; None is a perfect counting camera.
    scan_shape
        (y, x) of the scan, needed only for descan.
    binning
        Pixels of `clean` across one of the detector.

    Returns
    -------
    numpy.ndarray
        (n, ky, kx), uint16 counts; float32 where a spread is asked for or counts exceed uint16.

    Raises
    ------
    OptionError
        A dose that is not positive, or descan without `scan_shape`.
    """
    require_stack("clean", clean)
    require_dose(dose)
    options = DetectorOptions() if options is None else options
    shifts = _descan_shifts(len(clean), options, scan_shape)
    plain = options.psf_sd_px == 0 and options.gain == 1.0
    shape = (clean.shape[1] // binning, clean.shape[2] // binning)
    spreads_finely = options.psf_sd_px > 0 and binning > 1
    later = SUBDIVIDED * binning if spreads_finely else 1  # light spreads before pixels sum it up
    dark = None
    if options.beam_stop_px:
        dark = beam_stop((later * shape[0], later * shape[1]), later * options.beam_stop_px)
    out = np.empty((len(clean), *shape), dtype=np.uint32 if plain else np.float32)
    for start in range(0, len(clean), BLOCK):
        part = slice(start, start + BLOCK)
        block = _subdivided(clean[part], SUBDIVIDED) if spreads_finely else clean[part]
        block = _on_detector(block, later * shifts[part], options, 1 if spreads_finely else binning)
        if dark is not None:
            block[:, dark] = 0.0
        counts = rng.poisson(dose * np.maximum(block, 0.0))
        if plain:
            out[part] = counts
        else:
            light = spread(counts.astype(np.float64), later * options.psf_sd_px)
            out[part] = options.gain * _summed(light, later)
    if options.hot_pixels:
        where = rng.choice(shape[0] * shape[1], size=options.hot_pixels, replace=False)
        out.reshape(len(out), -1)[:, where] += np.array(options.hot_counts, dtype=out.dtype)
    if plain:
        return out.astype(np.uint16 if out.max(initial=0) <= UINT16_MAX else np.float32)
    return out


def shift_pattern(pattern: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Pattern (ky, kx) moved by (ky, kx) pixels; between pixels intensity is shared in proportion to area."""
    out = pattern
    for axis, distance in enumerate(by):
        whole = int(np.floor(distance))
        part = float(distance) - whole
        out = (1 - part) * _roll_in_zeros(out, whole, axis) + part * _roll_in_zeros(out, whole + 1, axis)
    return np.asarray(out)


def spread(counts: np.ndarray, sd_px: float) -> np.ndarray:
    """Each count of (n, ky, kx) spread as a Gaussian over its neighbours; the total is kept."""
    if sd_px == 0:
        return counts
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(counts, sigma=(0, sd_px, sd_px), mode="reflect"))


def _subdivided(patterns: np.ndarray, by: int) -> np.ndarray:
    """Each pixel as `by` × `by` with equal shares, (n, ky, kx) → (n, by · ky, by · kx)."""
    return np.asarray(patterns.repeat(by, axis=1).repeat(by, axis=2) / by**2)


def _summed(patterns: np.ndarray, by: int) -> np.ndarray:
    """Sums over squares of pixels, (n, by · ky, by · kx) → (n, ky, kx)."""
    n, ky, kx = patterns.shape
    return np.asarray(patterns.reshape(n, ky // by, by, kx // by, by).sum(axis=(2, 4)))


def _roll_in_zeros(pattern: np.ndarray, by: int, axis: int) -> np.ndarray:
    out = np.zeros_like(pattern)
    n = pattern.shape[axis]
    if abs(by) < n:
        source, target = [slice(None)] * 2, [slice(None)] * 2
        source[axis], target[axis] = slice(max(0, -by), n - max(0, by)), slice(max(0, by), n - max(0, -by))
        out[tuple(target)] = pattern[tuple(source)]
    return out


def _on_detector(clean: np.ndarray, shifts: np.ndarray, options: DetectorOptions, binning: int) -> np.ndarray:
    """Float64 patterns (n, ky, kx), moved and stretched; by area where they are only moved, and not finer."""
    if options.ellipse[0] == 1 and binning == 1:
        block = clean.astype(np.float64)
        if options.distorts:
            block = np.stack([shift_pattern(one, by) for one, by in zip(block, shifts, strict=True)])
        return block
    return distort(clean, shifts, ellipse=options.ellipse, binning=binning)


def _descan_shifts(n: int, options: DetectorOptions, scan_shape: tuple[int, int] | None) -> np.ndarray:
    slope = np.array(options.descan_px, dtype=np.float64)
    if not slope.any():
        return np.zeros((n, 2))
    if scan_shape is None or scan_shape[0] * scan_shape[1] != n:
        raise OptionError(
            f"scan_shape: want (y, x) of {n} positions for descan, got {scan_shape}; give the scan's shape"
        )
    y, x = (np.linspace(-0.5, 0.5, size) if size > 1 else np.zeros(1) for size in scan_shape)
    return np.asarray((y[:, None, None] * slope[0] + x[None, :, None] * slope[1]).reshape(n, 2))
