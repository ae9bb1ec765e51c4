import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from orbistem.pipeline import compile_cache
from orbistem.pipeline.compile_cache import QUICK_FLAGS, cache_folder, spare_kernel_search, use_compile_cache


@pytest.fixture
def no_cache():
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "orbistem"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / ".cache" / "orbistem"


def test_it_is_used(no_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert use_compile_cache() == tmp_path / "orbistem" / "jax"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "orbistem" / "jax")


def test_the_users_choice_stays(no_cache, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert use_compile_cache() == tmp_path / "mine"


def test_a_folder_that_cannot_be_made_is_no_matter(no_cache, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert use_compile_cache() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert Path(tmp_path / "file").read_text() == ""


@pytest.mark.parametrize(
    ("card", "given", "want"),
    [(True, None, QUICK_FLAGS), (False, None, None), (True, "--mine", "--mine")],
)
def test_only_where_there_is_a_card_and_no_choice_of_the_users_flags_are_set(monkeypatch, card, given, want):
    monkeypatch.setenv("XLA_FLAGS", given or "")
    if given is None:
        monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr(compile_cache, "find_spec", lambda name: object() if card else None)
    spare_kernel_search()
    assert os.environ.get("XLA_FLAGS") == want
    monkeypatch.delenv("XLA_FLAGS", raising=False)


def test_this_jax_knows_the_flags():
    """XLA ends the program over a flag that it does not know."""
    environment = {**os.environ, "XLA_FLAGS": QUICK_FLAGS, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"], env=environment, capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr.decode()[-500:]
