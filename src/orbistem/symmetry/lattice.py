"""What a periodic crystal's pattern is at each position: plane waves of its lattice over the scan.

Unlike positions of equal latents, this does not ask the position's own pattern which site it is, so a defect
cannot pass for the site that it resembles most. It needs a scan that is periodic: the lattice is found in the
power spectrum of the modes over the scan, refined by least squares, and used where it explains the patterns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.symmetry.expected import Expected
from orbistem.symmetry.pooling import Layout

__all__ = ["Lattice", "expect_on_lattice", "find_lattice"]

PADDING = 4
MIN_POSITIONS = 16
"""Along each side of the grid: fewer hold no lattice that could be told from chance."""
CANDIDATES = 12
"""So many of the strongest peaks are tried as basis vectors."""
ON_LATTICE_BINS = 0.6
POINT_COST = 0.5
"""A lattice pays for each of its points this share of the weakest power that makes a peak."""
PEAK_SD = 8.0
QUARTILE, QUARTILE_SD, LOWEST_QUARTILE = 0.25, 0.67, 0.29
LEAKS = 0.03
"""Lower quartile of power, in standard deviations below its mean, and no lower than that of an exponential;
share of the shot noise that leaks there from the peaks of a crystal."""
WAVE_SD = 3.0
"""A wave is used if its power stands so far above noise."""
MAX_WAVES = 400
NEAR_ORIGIN = 1.6
"""Frequencies within so many resolution steps of 0 are slow changes, not a lattice."""
SAME_BINS = 0.5
"""Waves whose frequencies differ by less than this resolution step, modulo 1 cycle per step, are one."""
POLISHING_STEPS = 3
LARGEST_STEP = 0.02
"""Of a frequency in one step of its fit: cycles at the edge of the scan."""
COLLINEAR = 0.2
CELLS = tuple(
    np.array([[a, b], [0, n // a]])
    for n in (2, 3)
    for a in range(1, n + 1)
    if n % a == 0
    for b in range(n // a)
)
"""Cells that hold two or three of another (Hermite normal forms)."""
FINER_SD = 8.0
"""A larger cell is taken if its waves are common to opposite ends of the scan so far above noise."""
PRINCIPAL = 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lattice:
    """Plane waves of a scan.

    Attributes
    ----------
    reciprocal
        (2, 2) rows g1 and g2, (y, x), cycles per scan step.
    waves
        (wave, 2) integer multiples of them; the first is (0, 0).
    periods
        How often the lattice repeats within the scan in the direction where it does so least; 1 where what
        changes once over the scan holds more than the lattice, as in a scan of a single cell.
    """

    reciprocal: np.ndarray
    waves: np.ndarray
    periods: float = float("inf")

    def design(self, grid_shape: tuple[int, int]) -> np.ndarray:
        """Waves at all positions, (n, wave) complex."""
        return _design(self.waves @ self.reciprocal, grid_shape)


def find_lattice(
    values: np.ndarray, layout: Layout, trusted: np.ndarray, *, noise: float, freedoms: float
) -> Lattice | None:
    """The lattice of a scan, or None where there is none.

    Parameters
    ----------
    values
        Modes (n, mode), complex.
    layout
        Where the positions lie.
    trusted
        (n,) bool: positions of the perfect crystal.
    noise
        Sum over modes of the noise variance of one pattern.
    freedoms
        Real degrees of freedom of the modes together.
    """
    shape = layout.grid_shape
    if shape is None or min(shape) < MIN_POSITIONS:
        return None
    ny, nx = shape
    inside = np.where(trusted[:, None], values - values[trusted].mean(axis=0), 0)
    first = _first_principal(inside[trusted])
    window = (
        np.hanning(ny + 2)[1:-1, None] * np.hanning(nx + 2)[None, 1:-1] * trusted.reshape(shape)
    ).astype(np.float32)
    table = inside.reshape(ny, nx, -1) * window[..., None]
    padded = (PADDING * ny, PADDING * nx)
    power = np.zeros(padded)
    for column in np.moveaxis(table, 2, 0):
        power += np.abs(np.fft.fft2(column, padded)) ** 2
    floor = noise * float(np.sum(window**2))
    least = floor * (1 + PEAK_SD * np.sqrt(2 / freedoms))
    least += _of_disorder(power, inside[trusted], floor=floor, freedoms=freedoms)
    peaks, strength = _peaks(power, shape, least)
    basis = _basis(peaks, strength, layout, least=least)
    if basis is None:
        return None
    refined = _refine(basis, inside @ first, shape, trusted)
    for _ in range(2):
        refined = _of_larger_cell(refined, inside, shape, trusted, noise=noise)
    waves = _multiples(refined, shape)
    if len(waves) > MAX_WAVES:
        return None
    refined = _polished(refined, waves, inside, shape, trusted)
    lattice = Lattice(reciprocal=refined, waves=waves)
    amplitude, covariance = _solve(lattice.design(shape), inside, trusted)
    size = np.sum(np.abs(amplitude) ** 2, axis=1)
    floor_of = noise * np.real(np.diag(covariance))
    keep = size > floor_of * (1 + WAVE_SD * np.sqrt(2 / freedoms))
    keep |= ~np.any(waves, axis=1)
    if keep.sum() < 3:
        return None
    fitted = lattice.design(shape) @ amplitude
    return Lattice(
        reciprocal=refined,
        waves=waves[keep],
        periods=_periods(refined, fitted, inside, shape, trusted, noise=noise),
    )


def expect_on_lattice(
    lattice: Lattice,
    modes: np.ndarray,
    order: np.ndarray,
    rings: np.ndarray,
    *,
    angle: np.ndarray | None,
    reference: np.ndarray,
    layout: Layout,
) -> Expected:
    """Residuals against the waves that fit the reference positions best; arguments as for `expect`."""
    assert layout.grid_shape is not None
    good = layout.usable
    trusted = reference & good
    design = lattice.design(layout.grid_shape)
    clean = np.where(good[:, None], modes, 0)
    amplitude, covariance = _solve(design, clean, trusted)
    ring_amplitude, _ = _solve(design, np.where(good[:, None], rings, 0).astype(complex), trusted)
    turn = np.zeros(len(modes)) if angle is None else np.where(good, np.nan_to_num(angle), 0.0)
    phase = np.exp(1j * order[None, :] * turn[:, None]).astype(np.complex64)
    left = np.where(good[:, None], clean - design @ amplitude, 0)
    leverage = np.einsum("nw,wv,nv->n", design, covariance, design.conj(), optimize=True).real
    return Expected(
        residual=(left * phase).astype(np.complex64),
        phase=phase,
        rings=(design @ ring_amplitude).real,
        spread=np.where(trusted, -leverage, leverage),
        from_own_pattern=False,
        waves=design,
        wave_covariance=covariance,
        fitted=trusted,
    )


def _design(frequencies: np.ndarray, grid_shape: tuple[int, int]) -> np.ndarray:
    along_y = np.exp(2j * np.pi * np.arange(grid_shape[0])[:, None] * frequencies[:, 0])
    along_x = np.exp(2j * np.pi * np.arange(grid_shape[1])[:, None] * frequencies[:, 1])
    return np.asarray((along_y[:, None] * along_x[None]).reshape(-1, len(frequencies)))


def _solve(design: np.ndarray, values: np.ndarray, trusted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes (wave, mode) by least squares, and their covariance for unit noise."""
    rows = design[trusted]
    gram = rows.conj().T @ rows
    gram[np.diag_indices_from(gram)] += 1e-9 * len(rows)
    covariance = np.linalg.inv(gram)
    return covariance @ (rows.conj().T @ values[trusted]), covariance


def _first_principal(values: np.ndarray) -> np.ndarray:
    """Strongest directions (mode, few) of modes."""
    _, axes = np.linalg.eigh(values.conj().T @ values)
    return np.asarray(axes[:, ::-1][:, :PRINCIPAL])


def _peaks(power: np.ndarray, shape: tuple[int, int], least: float) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of a periodic spectrum above a level: frequencies (peak, 2) per step, and powers."""
    from scipy.ndimage import maximum_filter

    fy, fx = (np.fft.fftfreq(n) for n in power.shape)
    slow = (np.abs(fy)[:, None] * shape[0] < NEAR_ORIGIN) & (np.abs(fx)[None, :] * shape[1] < NEAR_ORIGIN)
    there = (power >= maximum_filter(power, size=2 * PADDING - 1, mode="wrap")) & (power > least) & ~slow
    y, x = np.nonzero(there)
    return np.stack([fy[y], fx[x]], axis=1), power[y, x]


def _basis(peaks: np.ndarray, strength: np.ndarray, layout: Layout, *, least: float) -> np.ndarray | None:
    """The lattice that holds most power for its number of points: two of the strongest peaks, then fitted."""
    assert layout.grid_shape is not None
    bins, steps = np.asarray(layout.grid_shape, float), np.asarray(layout.steps, float)
    ranked = np.argsort(-strength)[:CANDIDATES]
    farthest = float(np.linalg.norm(peaks[ranked] / steps, axis=1).max(initial=0))
    best: tuple[float, np.ndarray] | None = None
    for i, first in enumerate(ranked):
        for second in ranked[i + 1 :]:
            pair = _reduced(peaks[[first, second]], steps)
            if pair is None:
                continue
            whole = np.round(peaks @ np.linalg.inv(pair))
            on = (np.abs((peaks - whole @ pair) * bins).max(axis=1) < ON_LATTICE_BINS) & np.any(whole, axis=1)
            area = abs(float(np.linalg.det(pair / steps)))
            worth = float(strength[on].sum()) - POINT_COST * least * np.pi * farthest**2 / area
            if best is None or worth > best[0]:
                weight = np.sqrt(strength[on])[:, None]
                fitted, *_ = np.linalg.lstsq(whole[on] * weight, peaks[on] * weight, rcond=None)
                best = (worth, fitted)
    return None if best is None else best[1]


def _reduced(pair: np.ndarray, steps: np.ndarray) -> np.ndarray | None:
    """The shortest two vectors of a lattice (Lagrange and Gauss); None for parallel ones."""
    metric = pair / steps
    lengths = np.linalg.norm(metric, axis=1)
    if abs(np.linalg.det(metric)) < COLLINEAR * lengths[0] * lengths[1]:
        return None
    short, long = metric[np.argsort(lengths)]
    for _ in range(32):
        long = long - np.round(long @ short / (short @ short)) * short
        if long @ long >= short @ short * (1 - 1e-9):
            break
        short, long = long, short
    return np.asarray(np.stack([short, long]) * steps)


def _refine(basis: np.ndarray, values: np.ndarray, shape: tuple[int, int], trusted: np.ndarray) -> np.ndarray:
    """Move the basis until its waves explain most."""
    from scipy.optimize import minimize

    few = np.array([(h, k) for h in range(-2, 3) for k in range(-2, 3)])
    few = few[np.abs(few @ basis).max(axis=1) < 0.5]
    resolution = 1 / np.asarray(shape, float)

    def left(shift: np.ndarray) -> float:
        design = _design(few @ (basis + shift.reshape(2, 2) * resolution), shape)
        amplitude, _ = _solve(design, values, trusted)
        explained = np.sum((design[trusted].conj() * (values[trusted] @ amplitude.conj().T)).real)
        return -float(explained)

    start = np.zeros(4)
    simplex = np.concatenate([start[None], 0.05 * np.eye(4)])
    found = minimize(
        left,
        start,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-9 * abs(left(start)), "maxfev": 300},
    )
    return np.asarray(basis + found.x.reshape(2, 2) * resolution)


def _polished(
    basis: np.ndarray, waves: np.ndarray, inside: np.ndarray, shape: tuple[int, int], trusted: np.ndarray
) -> np.ndarray:
    """The basis after Gauss-Newton steps on all waves and modes, amplitudes solved for in between.

    Positions count from the middle of the scan, where a change of frequency and one of amplitude are nearly
    independent.
    """
    y, x = np.divmod(np.arange(len(inside)), shape[1])
    middle = (np.asarray(shape) - 1) / 2
    place = (np.stack([y, x], axis=1) - middle)[trusted]
    for _ in range(POLISHING_STEPS):
        design = _design(waves @ basis, shape)
        amplitude, _ = _solve(design, inside, trusted)
        rows = design[trusted]
        left = inside[trusted] - rows @ amplitude
        slopes = [
            2j * np.pi * place[:, axis, None] * (rows @ (waves[:, vector, None] * amplitude))
            for vector in (0, 1)
            for axis in (0, 1)
        ]
        normal = np.array([[np.vdot(a, b).real for b in slopes] for a in slopes])
        step, *_ = np.linalg.lstsq(normal, np.array([np.vdot(a, left).real for a in slopes]), rcond=1e-10)
        basis = basis + np.clip(step.reshape(2, 2), -LARGEST_STEP / middle, LARGEST_STEP / middle)
    return basis


def _of_larger_cell(
    basis: np.ndarray, inside: np.ndarray, shape: tuple[int, int], trusted: np.ndarray, *, noise: float
) -> np.ndarray:
    """The reciprocal basis of a cell two or three times as large, where the patterns repeat only after that.

    Weak waves between strong ones are easily overlooked: in a thin crystal the two halves of a centred cell
    end at different heights. What is left by the waves of `basis` is compared between opposite thirds of the
    scan, along y and along x: a superlattice is in all of them, a defect is not.
    """
    design = _design(_multiples(basis, shape) @ basis, shape)
    amplitude, _ = _solve(design, inside, trusted)
    left = inside - design @ amplitude
    y, x = np.divmod(np.arange(len(inside)), shape[1])
    ends = [
        [trusted & (place < size / 3), trusted & (place >= size - size / 3)]
        for place, size in ((y, shape[0]), (x, shape[1]))
    ]
    if min(int(end.sum()) for pair in ends for end in pair) < MIN_POSITIONS:
        return basis
    best, found = FINER_SD, basis
    for cell in CELLS:
        to_fine = np.linalg.inv(cell).T
        fine = to_fine @ basis
        pairs = _multiples(fine, shape)
        between = np.abs(pairs @ to_fine - np.rint(pairs @ to_fine)).max(axis=1) > 1e-6
        if len(pairs) > min(MAX_WAVES, trusted.sum() / 4) or not between.any():
            continue
        waves = _design(pairs[between] @ fine, shape)
        common = []
        for pair in ends:
            first, second = (waves[end].conj().T @ left[end] / end.sum() for end in pair)
            sd = noise * np.sqrt(2 * between.sum() / inside.shape[1]) / np.sqrt(pair[0].sum() * pair[1].sum())
            common.append(float(np.sum((first.conj() * second).real)) / sd)
        if min(common) > best:
            best, found = min(common), fine
    return found


def _of_disorder(power: np.ndarray, values: np.ndarray, *, floor: float, freedoms: float) -> float:
    """By how much patterns that differ without any order raise the level of a peak.

    Their spectrum is white: its lower quartile, far below the peaks of a crystal, says how much there is. It
    is spread over as many freedoms as the patterns differ in, which may be few.
    """
    of_shot = 1 - QUARTILE_SD * np.sqrt(2 / freedoms)
    excess = float(np.quantile(power, QUARTILE)) / of_shot - (1 + LEAKS) * floor
    if excess <= 0:
        return 0.0
    # standard deviation of the power of one wave, over its mean
    size = np.linalg.eigvalsh(values.conj().T @ values / len(values))
    above = np.maximum(size - np.median(size), 0)
    spread = np.sqrt(float(above @ above)) / max(float(above.sum()), np.finfo(float).tiny)
    mean = excess / max(1 - QUARTILE_SD * spread, LOWEST_QUARTILE)
    return float(mean * (1 + PEAK_SD * spread))


def _periods(
    basis: np.ndarray,
    fitted: np.ndarray,
    inside: np.ndarray,
    shape: tuple[int, int],
    trusted: np.ndarray,
    *,
    noise: float,
) -> float:
    """See `Lattice.periods`; `fitted` is what the waves of the lattice make of `inside`."""
    size = np.asarray(shape, float)
    once = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)])
    slow = _design(once / size, shape)
    amplitude, _ = _solve(slow, inside - fitted, trusted)
    energy = [float(np.sum(np.abs(part[trusted]) ** 2)) for part in (slow @ amplitude, fitted)]
    if energy[0] - len(once) * noise > energy[1]:
        return 1.0
    reduced = _reduced(basis * size, np.ones(2))  # cycles over the scan
    return float(np.linalg.norm(basis * size if reduced is None else reduced, axis=1).min())


def _multiples(basis: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """All waves up to the resolution of the scan, (0, 0) first; of equal ones the first."""
    reach = int(np.ceil(0.75 / np.sqrt(abs(np.linalg.det(basis))))) + 2
    h, k = (table.ravel() for table in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    pairs = np.stack([h, k], axis=1)
    step = SAME_BINS / np.asarray(shape, float)
    pairs = pairs[(np.abs(pairs @ basis) < 0.5 + step / 2).all(axis=1)]
    pairs = pairs[np.argsort(np.abs(pairs).sum(axis=1), kind="stable")]
    frequency = pairs @ basis
    at_rim = np.flatnonzero((np.abs(frequency) > 0.5 - step / 2).any(axis=1))
    keep = np.ones(len(pairs), bool)
    for i in at_rim:
        away = frequency[:i][keep[:i]] - frequency[i]
        keep[i] = not (np.abs(away - np.rint(away)) < step).all(axis=1).any()
    return np.asarray(pairs[keep])
