"""What every test may use: a seeded generator, the folder of measured data, strict JAX."""

import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

# Read by JAX when it is first imported, here and in every process that a test starts.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")

import hypothesis
import numpy as np
import pytest
from jaxtyping import install_import_hook

# In tests only: arguments and results are checked against the annotations, with shapes where they have some.
# Not listed are modules with methods that return Self (beartype cannot see their class) or with Protocols.
CHECKED_MODULES = (
    "errors",
    "units",
    "groups",
    "progress",
    "durable",
    "harmonics",
    "plan",
    "metrics",
    "symmetry",
)
install_import_hook([f"orbistem.{name}" for name in CHECKED_MODULES], "beartype.beartype")

# The same examples in every run; `--hypothesis-profile=default` draws new ones.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")

MEASURED_DATA_VARIABLE = "ORBISTEM_TEST_DATA"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=2021, help="seed of every random number of the tests")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of its own for each test, the same in every run with the same --seed."""
    seed = request.config.getoption("--seed")
    return np.random.default_rng([seed, zlib.crc32(request.node.nodeid.encode())])


@pytest.fixture(scope="session")
def measured_data() -> Path:
    """Folder of measured data sets, one folder each; the test is skipped where it is absent."""
    given = os.environ.get(MEASURED_DATA_VARIABLE)
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"measured data absent: no folder {folder}; name it in {MEASURED_DATA_VARIABLE}")
    return folder


@pytest.fixture(autouse=True)
def _own_session() -> Iterator[None]:
    """A quiet call of the program leaves later tests no quiet log."""
    yield
    console = sys.modules.get("orbistem.cli.console")
    if console is not None and console.current() != console.Session():
        console.open_session(verbose=0, quiet=False, as_json=False, log_file=None)
