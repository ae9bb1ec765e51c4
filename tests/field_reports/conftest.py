"""The base scan, and the program as a user calls it."""

import numpy as np
import pytest
from cli.conftest import Done, orbistem, quick_toml
from field_reports.base import base_patterns

__all__ = ["Done", "base", "orbistem", "quick_toml"]


@pytest.fixture
def base(rng: np.random.Generator) -> np.ndarray:
    """The base scan: (24, 20, 32, 32) uint16, 8,000 electrons a pattern."""
    return base_patterns(rng)
