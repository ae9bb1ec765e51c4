"""Stored counts to electrons, pixel by pixel: gain, offset, missing pixels, total."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orbistem.errors import InputError

MIN_TOTAL_SHARE = 0.05
"""Patterns with a total below this share of the reference are scaled as if they had it: otherwise the shot
noise of an almost empty pattern would be blown up beyond everything else."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Electrons:
    """Electrons at some pixels of some frames.

    Parameters
    ----------
    pixels
        Shape (n, pixel), float32. Missing pixels have their expected value: that of the mean pattern, scaled
        to what the rest of the frame holds. NaN for a frame without any finite pixel.
    missing
        Bool, shape (n, pixel); None where nothing is missing.
    level
        Electrons of each frame over those of the mean pattern, shape (n,), where `missing` is given.
    """

    pixels: np.ndarray
    missing: np.ndarray | None = None
    level: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ElectronReader:
    """Reads the valid pixels of frames.

    Parameters
    ----------
    pixels
        Flat indices of all valid pixels, in the order in which they come out, shape (pixel,).
    mean
        Mean pattern at these pixels, electrons, shape (pixel,).
    gain
        Counts per electron.
    offset
        Counts without any electron.
    total
        Electrons to which every pattern is scaled; None: not scaled.
    """

    pixels: np.ndarray
    mean: np.ndarray
    gain: float = 1.0
    offset: float = 0.0
    total: float | None = None

    def read(self, frames: np.ndarray, n_pixels: int) -> Electrons:
        """Electrons at the first `n_pixels` of `pixels` for frames (n, ky, kx) of stored counts."""
        flat = frames.reshape(len(frames), -1)
        n_read = n_pixels if self.total is None else len(self.pixels)
        pixels = self._scaled(flat[:, self.pixels[:n_read]])
        with np.errstate(invalid="ignore"):  # inf - inf: seen in the next lines
            totals = pixels.sum(axis=1, dtype=np.float32 if self.total is None else np.float64)
        missing = level = None
        rows = np.flatnonzero(~np.isfinite(totals))
        if len(rows):
            whole = self._scaled(flat[np.ix_(rows, self.pixels)])
            gone = ~np.isfinite(whole)
            seen = np.where(gone, 0.0, self.mean).sum(axis=1)
            got = np.where(gone, 0, whole).sum(axis=1, dtype=np.float64)
            share = np.divide(got, seen, out=np.full(len(rows), np.nan), where=seen > 0)
            fill = np.maximum(share, 0)[:, None] * self.mean
            pixels[rows] = np.where(gone, fill, whole)[:, :n_read]
            missing = np.zeros(pixels.shape, bool)
            missing[rows] = gone[:, :n_read]
            level = np.ones(len(frames))
            level[rows] = share
            totals[rows] = share * self.mean.sum()
        if self.total is not None:
            factor = self.total / np.maximum(totals, MIN_TOTAL_SHARE * self.total)
            pixels *= factor[:, None].astype(np.float32)
            level = None if level is None else level * factor
        if missing is not None:
            missing = missing[:, :n_pixels]
        return Electrons(pixels=pixels[:, :n_pixels], missing=missing, level=level)

    def _scaled(self, counts: np.ndarray) -> np.ndarray:
        """Counts to electrons, float32; a large offset goes before precision is lost."""
        pixels = (counts - self.offset if self.offset else counts).astype(np.float32)
        if self.gain != 1:
            pixels *= np.float32(1 / self.gain)
        return pixels


def reference_total(totals: np.ndarray) -> float:
    """Total to which patterns are scaled so that shot noise keeps its variance on average.

    A pattern of total t scaled to T has noise variance T / t times that of Poisson counts, so T is the
    harmonic mean. Patterns far below the median (see `MIN_TOTAL_SHARE`) do not count.

    Parameters
    ----------
    totals
        Electrons of each pattern over the valid pixels; NaN where unusable.
    """
    good = totals[np.isfinite(totals) & (totals > 0)]
    if not len(good):
        raise InputError("want patterns with a total above 0, got none; leave out --normalise total")
    good = good[good > MIN_TOTAL_SHARE * np.median(good)]
    return float(1 / np.mean(1 / good))
