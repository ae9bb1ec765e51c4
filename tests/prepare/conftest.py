"""Scans with known centre and counts, and the measured ones."""

from collections.abc import Callable

import numpy as np
import pytest
from prepare.scans import expected_counts


@pytest.fixture
def count_scan(rng: np.random.Generator) -> Callable[..., np.ndarray]:
    """Poisson counts (n, ky, kx), uint32, of `expected_counts`."""

    def make(**named: object) -> np.ndarray:
        return rng.poisson(expected_counts(**named)).astype(np.uint32)  # type: ignore[arg-type]

    return make


@pytest.fixture
def measured_frames(measured_data) -> Callable[[str], np.ndarray]:
    """Frames (n, ky, kx) of a measured data set."""

    def load(name: str) -> np.ndarray:
        if name == "siemens":
            import h5py

            with h5py.File(measured_data / "siemens-star" / "siemens-star.h5") as file:
                return file["data"][:]
        if name == "blo":
            from rsciio.blockfile import file_reader

            stack = np.asarray(file_reader(str(measured_data / "sped-astar-blo" / "test1.blo"))[0]["data"])
        else:
            path = {
                "srtio3": "dlacbed-srtio3-001/scan4d_inner.npz",
                "cryo": "cryo4dstem-rotavirus-a/scan4d.npz",
                "xray": "xray-ptycho-aps235/patterns.npz",
            }[name]
            stack = np.load(measured_data / path)["data"]
        return stack.reshape(-1, *stack.shape[-2:])

    return load
