"""Arrays that are no scan: constant, below zero, tiny, enormous, not finite; of odd shapes."""

from __future__ import annotations

import numpy as np

KINDS = ("poisson", "normal", "one value", "bits", "sparse", "ramp", "disk", "wide", "below zero", "still")
DTYPES = ("f4", "f8", "u1", "u2", "i2", "i4", "?", "f2", "u8")


def odd_array(
    seed: int, *, sides: tuple[int, ...] = (1, 2, 3, 5, 8, 17), lengths: tuple[int, ...] = (1, 2, 3, 5, 12)
) -> np.ndarray:
    """An array of two to four axes; `sides` and `lengths` are those that detector and scan may have."""
    rng = np.random.default_rng([seed, 7])
    scan = tuple(int(rng.choice(lengths)) for _ in range(rng.choice([0, 1, 2], p=[0.1, 0.3, 0.6])))
    detector = (int(rng.choice(sides)), int(rng.choice(sides)))
    values = _values(rng, str(rng.choice(KINDS)), (*scan, *detector))
    kind = np.dtype(str(rng.choice(DTYPES)))
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        values = np.clip(np.nan_to_num(values), float(limits.min), 0.999 * float(limits.max))
    with np.errstate(all="ignore"):
        array = values.astype(kind)
    if kind.kind == "f":
        lost = float(rng.random())
        if lost < 0.15:
            array[rng.random(array.shape) < 0.1] = np.nan
        elif lost < 0.25:
            array[rng.random(array.shape) < 0.05] = np.inf
        elif lost < 0.3:
            array[..., 0, :] = np.nan
        elif lost < 0.35 and scan:
            array[0] = np.nan
    return array


def _values(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    scale = 10.0 ** int(rng.integers(-6, 8))
    counts = rng.poisson(min(scale, 1e6), shape).astype(float)
    if kind == "poisson":
        return counts
    if kind == "below zero":
        return -counts
    if kind == "normal":
        return scale * rng.normal(size=shape)
    if kind == "one value":
        return np.full(shape, scale)
    if kind == "bits":
        return (rng.random(shape) < rng.random()).astype(float)
    if kind == "sparse":
        return np.where(rng.random(shape) < 0.02, scale, 0.0)
    if kind == "ramp":
        return scale * np.arange(np.prod(shape), dtype=float).reshape(shape)
    if kind == "wide":
        return rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)
    if kind == "still":  # the same picture everywhere
        return np.broadcast_to(scale * rng.normal(size=shape[-2:]), shape).copy()
    ky, kx = np.indices(shape[-2:])
    inside = np.hypot(ky - shape[-2] / 2, kx - shape[-1] / 2) < min(shape[-2:]) / 3
    return rng.poisson(np.broadcast_to(min(scale, 1e5) * inside + 0.1, shape)).astype(float)
