"""Where each single pattern lies, from the edge of its bright disk: for a beam that jumps between positions.

The edge is the image of the aperture: it moves as a whole, whatever the specimen does, which changes the
brightness on both of its sides. So about the edge each pattern is read in sectors, and in each sector by
least squares as brightness and slope inside, brightness outside, and a radial displacement u of the edge,

    u(φ) = d · n(φ) + e,

with d the shift of the pattern, n the direction of the sector and e a change of radius. What the eight
displacements differ by beyond that no shift can make: it is noise, or the specimen after all, and says by how
much d is uncertain. The variance that d has beyond it is the beam's, and each d is shrunk by the ratio of the
two (Wiener), towards the smooth model. The centre of mass would follow the specimen instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from orbistem.errors import ShapeError
from orbistem.prepare.rest import PROFILE_STEP_PX, PatternAtRest, drawn
from orbistem.scan import Block

__all__ = ["EachCentre", "EdgeReader", "Edges", "Problem", "judge"]

Floats = NDArray[np.float64]

SECTORS = 8
MIN_SECTORS = 6
"""Three displacements of the sectors are a shift and a radius; the others tell what is uncertain."""
MIN_PIXELS = 12
"""Of a sector, for its four terms."""
STEP_PX = 0.25
"""Distance of the places for which the reading of a frame is prepared."""
BLUR_PX = (2.5, 1.5, 0.75, 0.0, 0.0, 0.0)
"""A pattern is read so many times, each time at the place nearest to where it was found; first with a wide
edge, since a displacement is linear within the width of the edge only."""
LARGEST_PX = 4.0
MIN_RELIABILITY = 0.5
"""Share of the variance of the shifts that must be the beam's; below, the smooth model is the safer one."""
MIN_SD_PX = 0.02
"""A beam that jumps by less does no harm."""
MIN_POSITIONS = 64
OUTLIER = 5.0
DARK = 0.15
"""A sector so much darker than the others shows no edge."""
MIN_WEIGHT = 0.5
"""Least eigenvalue of the equations for a shift that can be solved; about 4 where all sectors are bright."""


class Problem(StrEnum):
    """Why single patterns are not followed; the smooth model stays."""

    NO_EDGE = "the bright disk has no sharp edge within the frame by which single patterns could be followed"
    FEW = "there are too few patterns to tell a beam that jumps from noise"
    NOISE = "what the edges of single patterns move by is mostly noise or the specimen; more dose would help"
    STILL = "the beam does not jump"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EachCentre:
    """How single patterns lie off the smooth model; use it if `problem` is None.

    Attributes
    ----------
    shift_px : (position, 2)
        Expected shift beyond the smooth model, y and x; zero where a pattern could not be read, or with a
        problem.
    beam : (2, 2)
        Covariance of the jumps, px².
    noise : (2, 2)
        Covariance of the error of one measured shift, px².
    left : (2, 2)
        Covariance of what `shift_px` is wrong by, px².
    why : str
    problem : Problem or None
    """

    shift_px: Floats
    beam: Floats
    noise: Floats
    left: Floats
    why: str
    problem: Problem | None = None

    @property
    def beam_sd_px(self) -> float:
        """Root mean square jump along one axis."""
        return float(np.sqrt(np.trace(self.beam) / 2))

    @property
    def left_sd_px(self) -> float:
        """Root mean square error that is left along one axis."""
        return float(np.sqrt(np.trace(self.left) / 2))


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """Linear maps of a frame with its pattern at one place."""

    pixels: NDArray[np.int64]
    maps: Floats  # (sector, 2, pixel): brightness inside, displacement times brightness
    design: Floats  # (sector, 3): what y, x and radius displace


Key = tuple[int, int, float]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """What the edges of the disks tell; NaN where a pattern could not be read.

    Attributes
    ----------
    off
        (position, 2) measured shift beyond the smooth model, px.
    spread
        (position,) mean squared displacement of a sector that no shift explains, px².
    unit
        (position, 2, 2) covariance of the shift if the variance of a sector were 1.
    """

    off: Floats
    spread: Floats
    unit: Floats


Parts = tuple[tuple[int, Edges], ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EdgeReader:
    """The reduction; any runner of `orbistem.stream` takes it. Its result is what `judge` takes.

    Parameters
    ----------
    rest
        The mean pattern, in stored units.
    radius_px
        Of the bright disk.
    valid
        (ky, kx) bool: pixels to believe.
    shift_px
        (position, 2) of the smooth model.
    """

    rest: PatternAtRest
    radius_px: float
    valid: NDArray[np.bool_]
    shift_px: Floats
    _kept: dict[Key, _Reading | None] = field(default_factory=dict)

    def start(self) -> Parts:
        """Return shifts of nothing."""
        return ()

    def add(self, state: Parts, block: Block) -> Parts:
        """Return the shifts with those of one more block."""
        frames = np.asarray(block.frames)
        if frames.shape[1:] != self.valid.shape:
            raise ShapeError(f"frames: want (n, {self.valid.shape}), got {frames.shape}")
        smooth = self.shift_px[block.start : block.start + len(frames)]
        found, lost = smooth.copy(), ~np.asarray(block.measured, bool)
        spread, unit = np.full(len(frames), np.nan), np.full((len(frames), 2, 2), np.nan)
        rows = np.flatnonzero(~lost)
        for blur_px in BLUR_PX:
            keys = np.rint(found[rows] / STEP_PX).astype(int)
            for key in np.unique(keys, axis=0):
                here = rows[(keys == key).all(axis=1)]
                at, left, one, sound = self._read(frames[here], (int(key[0]), int(key[1]), blur_px))
                sound &= np.hypot(*(at - smooth[here]).T) < LARGEST_PX
                lost[here] = ~sound
                found[here] = np.where(sound[:, None], at, smooth[here])
                spread[here], unit[here] = left, one
            if blur_px == 0:
                rows = rows[np.abs(found[rows] - keys * STEP_PX).max(axis=1) > 0.6 * STEP_PX]
            if not len(rows):
                break
        off = found - smooth
        off[lost], spread[lost], unit[lost] = np.nan, np.nan, np.nan
        return (*state, (block.start, Edges(off, spread, unit)))

    def merge(self, left: Parts, right: Parts) -> Parts:
        """Return the shifts of two runs of blocks."""
        return left + right

    def finish(self, state: Parts) -> Edges:
        """Return the shifts of the whole scan."""
        n = len(self.shift_px)
        whole = Edges(np.full((n, 2), np.nan), np.full(n, np.nan), np.full((n, 2, 2), np.nan))
        for start, part in state:
            here = slice(start, start + len(part.off))
            whole.off[here], whole.spread[here], whole.unit[here] = part.off, part.spread, part.unit
        return whole

    @property
    def sees_an_edge(self) -> bool:
        """Whether enough of a sharp edge lies in the frame."""
        return self._at((0, 0, 0.0)) is not None

    def _read(self, frames: NDArray[Any], key: Key) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
        """Places (n, 2), `spread` and `unit` as in `Edges`, and which are sound (n,)."""
        n = len(frames)
        reading = self._at(key)
        if reading is None:
            lost = np.full(n, np.nan)
            return np.full((n, 2), np.nan), lost, np.full((n, 2, 2), np.nan), np.zeros(n, bool)
        values = frames.reshape(n, -1)[:, reading.pixels].astype(np.float64)
        answer = np.einsum("stp,np->nst", reading.maps, values)
        finite = np.isfinite(answer).all(axis=(1, 2))
        answer = np.where(finite[:, None, None], answer, 0.0)
        bright = np.maximum(answer[:, :, 0], 0.0)
        usual = np.maximum(np.median(bright, axis=1, keepdims=True), 1e-300)
        weight = np.clip(bright / usual, 0.0, 1.0) ** 2  # a dark sector shows no edge
        weight[weight < DARK**2] = 0.0
        moved = np.divide(answer[:, :, 1], bright, out=np.zeros_like(bright), where=weight > 0)
        design = reading.design
        normal = np.einsum("si,ns,sj->nij", design, weight, design)
        sound = finite & (np.linalg.eigvalsh(normal)[:, 0] > MIN_WEIGHT)
        inverse = np.linalg.inv(np.where(sound[:, None, None], normal, np.eye(3)))
        solved = np.einsum("nij,sj,ns,ns->ni", inverse, design, weight, moved)
        freedom = weight.sum(axis=1) - 3
        sound &= freedom > 1
        left = (weight * (moved - solved @ design.T) ** 2).sum(axis=1) / np.maximum(freedom, 1.0)
        return solved[:, :2] + STEP_PX * np.array(key[:2]), left, inverse[:, :2, :2], sound

    def _at(self, key: Key) -> _Reading | None:
        if key not in self._kept:
            self._kept[key] = self._prepared((key[0] * STEP_PX, key[1] * STEP_PX), key[2])
        return self._kept[key]

    def _prepared(self, by: tuple[float, float], blur_px: float) -> _Reading | None:
        geometry, profile = self.rest.geometry, self.rest.profile
        if blur_px:
            profile = ndimage.gaussian_filter1d(profile, blur_px / PROFILE_STEP_PX, mode="nearest")
        radius = geometry.radius_px(self.valid.shape, by)
        y, x = np.indices(self.valid.shape, dtype=np.float64)
        azimuth = np.arctan2(y - geometry.centre_px[0] - by[0], x - geometry.centre_px[1] - by[1])
        width = max(3.0, 0.15 * self.radius_px) + 2 * blur_px
        near = self.valid & (np.abs(radius - self.radius_px) <= width)
        sector = np.floor(np.mod(azimuth, 2 * np.pi) / (2 * np.pi) * SECTORS).astype(int) % SECTORS
        # smoothly from 1 inside to 0 outside, as the edge of the mean falls
        r = PROFILE_STEP_PX * np.arange(len(profile))
        inner = float(np.interp(self.radius_px - width, r, profile))
        outer = float(np.interp(self.radius_px + width, r, profile))
        if not inner > 1.5 * max(outer, 0.0):
            return None
        inside = np.clip((drawn(profile, radius) - outer) / (inner - outer), 0.0, None)
        slope = -drawn(np.gradient(profile, PROFILE_STEP_PX), radius) / (inner - outer)
        level = np.maximum(drawn(profile, radius), 0.05 * inner)
        whole = [np.flatnonzero(near & (sector == s)) for s in range(SECTORS)]
        used = [pixels for pixels in whole if len(pixels) >= max(MIN_PIXELS, 0.6 * max(map(len, whole)))]
        if len(used) < MIN_SECTORS:
            return None
        pixels = np.concatenate(used)
        maps = np.zeros((len(used), 2, len(pixels)))
        design = np.zeros((len(used), 3))
        start = 0
        for s, part in enumerate(used):
            phi = azimuth.flat[part]
            along = radius.flat[part] - self.radius_px
            h = inside.flat[part]
            terms = np.stack([h, slope.flat[part], h * along, 1 - h], axis=1)
            weighted = terms / level.flat[part][:, None]
            fit = np.linalg.pinv(terms.T @ weighted, hermitian=True) @ weighted.T
            maps[s, :, start : start + len(part)] = fit[:2]
            strength = np.maximum(slope.flat[part], 0.0)
            design[s] = np.average(
                np.stack([np.sin(phi), np.cos(phi), np.ones_like(phi)], axis=1), axis=0, weights=strength
            )
            start += len(part)
        return _Reading(pixels=pixels, maps=maps, design=design)


def judge(edges: Edges | None) -> EachCentre:
    """Tell the beam's jumps from noise and specimen, and shrink each shift by it.

    Parameters
    ----------
    edges
        What `EdgeReader` gives; None where it sees no edge.
    """
    zero = np.zeros((2, 2))

    def stays(problem: Problem, n: int, beam: Floats = zero, noise: Floats = zero) -> EachCentre:
        why = f"single patterns are not followed: {problem.value}"
        if noise.any():
            why += f" (jumps {_sd(beam):.2g} px rms, error of one shift {_sd(noise):.2g} px)"
        shift = np.zeros((n, 2))
        return EachCentre(shift_px=shift, beam=beam, noise=noise, left=zero, why=why, problem=problem)

    if edges is None:
        return stays(Problem.NO_EDGE, 0)
    n = len(edges.off)
    known = np.isfinite(edges.spread)
    if known.sum() < MIN_POSITIONS:
        return stays(Problem.FEW, n)
    off = edges.off - np.mean(edges.off[known], axis=0)
    distance = np.hypot(*off[known].T)
    usual = distance <= OUTLIER * max(float(np.median(distance)) / 1.1774, 1e-9)
    lost = np.flatnonzero(known)[~usual]  # caught on an edge of something else
    usual &= edges.spread[known] <= OUTLIER**2 * float(np.median(edges.spread[known]))
    seen = off[known][usual].T @ off[known][usual] / usual.sum()
    # sectors err independently: what they leave is the variance of one
    one = float(np.mean(edges.spread[known][usual]))
    noise = one * np.mean(edges.unit[known][usual], axis=0)
    level, axes = np.linalg.eigh(seen - noise)
    beam: Floats = (axes * np.maximum(level, 0.0)) @ axes.T
    if _sd(beam) < MIN_SD_PX:
        return stays(Problem.STILL, n, beam, noise)
    if np.trace(beam) < MIN_RELIABILITY * np.trace(seen):
        return stays(Problem.NOISE, n, beam, noise)
    # a pattern whose sectors disagree more than others' is believed less; one that shows no edge not at all
    gain, shift = np.zeros((n, 2, 2)), np.zeros((n, 2))
    known = known.copy()
    known[lost] = False
    own = np.maximum(edges.spread[known], one)[:, None, None] * edges.unit[known]
    gain[known] = beam @ np.linalg.inv(beam + own)
    shift[known] = np.einsum("nij,nj->ni", gain[known], off[known])
    left = np.mean(beam - gain @ beam, axis=0)
    why = (
        f"each pattern was followed by the edge of its disk: the beam jumps by {_sd(beam):.2g} px (root mean "
        f"square along an axis) about the smooth model, of which {_sd(left):.2g} px are left; one shift is "
        f"uncertain by {_sd(noise):.2g} px and was shrunk to {np.trace(gain.mean(axis=0)) / 2:.0%}"
    )
    return EachCentre(shift_px=shift, beam=beam, noise=noise, left=left, why=why)


def _sd(covariance: Floats) -> float:
    return float(np.sqrt(max(float(np.trace(covariance)), 0.0) / 2))
