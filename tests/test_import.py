import os
import subprocess
import sys
import time

import pytest

import orbistem

HEAVY = [
    "jax",
    "equinox",
    "abtem",
    "panel",
    "dask.distributed",
    "distributed",
    "matplotlib",
    "sklearn",
    "h5py",
]
IMPORT_LIMIT_S = 0.5  # measured 2 ms on top of the interpreter; a loaded machine is slower, JAX takes 1 s


def _python(code, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_import_is_silent_light_and_leaves_no_file(tmp_path):
    code = (
        "import sys, time; start = time.perf_counter(); import orbistem; took = time.perf_counter() - start\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], took)"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = _python(code, tmp_path, HOME=str(home), USERPROFILE=str(home), PYTHONDONTWRITEBYTECODE="1")
    loaded, took = done.stdout.rsplit(maxsplit=1)
    assert done.stderr == ""
    assert loaded == "[]"
    assert float(took) < IMPORT_LIMIT_S
    assert [path.name for path in tmp_path.rglob("*")] == ["home"]


def test_import_touches_no_logging_warning_or_random_state(tmp_path):
    code = (
        "import logging, warnings, random\n"
        "before = logging.root.handlers[:], logging.root.level, warnings.filters[:], random.getstate()\n"
        "import orbistem\n"
        "after = logging.root.handlers[:], logging.root.level, warnings.filters[:], random.getstate()\n"
        "print(before == after)"
    )
    assert _python(code, tmp_path).stdout.strip() == "True"


@pytest.mark.parametrize("name", orbistem.__all__)
def test_public_names_are_there(name):
    assert getattr(orbistem, name) is not None
    assert name in dir(orbistem)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = orbistem.opne


def test_version_is_the_installed_one():
    from importlib.metadata import version

    assert orbistem.__version__ == version("orbistem")


def test_help_starts_quickly_enough(tmp_path):
    start = time.perf_counter()
    code = "import sys; sys.argv = ['orbistem', '--help']; from orbistem.cli import main; main()"
    done = _python(code, tmp_path)
    assert "Usage" in done.stdout
    assert time.perf_counter() - start < 20  # a loaded machine; an import of JAX alone would not show here
