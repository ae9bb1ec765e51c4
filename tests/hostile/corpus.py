"""Broken files: sound ones of every format, then cut, flipped, and made to lie. The same in every run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hostile.lies import LIES, put
from hostile.sound import SEED, sound_files

CUTS = (1, 3, 64, 0.1, 0.3, 0.5, 0.9, -1)
"""Bytes that are left (below 1: share of the file; negative: from its end)."""
FLIPS = 10


def broken_files(folder: Path) -> Iterator[Path]:
    """Write the corpus, one path after the other; folders (Zarr, frames) count as one."""
    good = folder / "good"
    good.mkdir()
    rng = np.random.default_rng(SEED)
    for path in sound_files(good):
        content = path.read_bytes()
        for number, cut in enumerate(CUTS):
            length = int(len(content) * cut) if isinstance(cut, float) else cut % len(content)
            yield put(folder, f"cut{number}_{path.name}", content[:length])
        for number in range(FLIPS):
            spoiled = bytearray(content)
            span = len(content) if number % 2 else min(len(content), 2048)
            for place in rng.integers(0, span, 1 + 3 * number):
                spoiled[place] ^= 1 << int(rng.integers(0, 8))
            yield put(folder, f"flip{number}_{path.name}", bytes(spoiled))
    for lie in LIES:
        yield from lie(folder)
