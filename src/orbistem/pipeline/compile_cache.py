"""Compiled programs of JAX are kept in the user's cache folder: the next run starts in a second."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

__all__ = ["cache_folder", "spare_kernel_search", "use_compile_cache"]

_FOLDER = "jax_compilation_cache_dir"
MIN_COMPILE_S = 0.2
"""Programs that compile faster are not worth a file."""
CARDS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
QUICK_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
"""On a graphics card XLA times several kernels for every product; for ours, all small, that takes minutes and
gains nothing: a fit that needs 61 s without had not ended after 11 minutes."""


def cache_folder() -> Path:
    """The user's cache folder of orbistem; it need not exist."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given, "orbistem")
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local", "orbistem", "Cache")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "orbistem"
    return Path.home() / ".cache" / "orbistem"


def spare_kernel_search() -> None:
    """Where JAX has a graphics card, compile without a search for kernels; flags that the user gave stay.

    Without effect once JAX has found its devices.
    """
    if "XLA_FLAGS" not in os.environ and any(find_spec(name) is not None for name in CARDS):
        os.environ["XLA_FLAGS"] = QUICK_FLAGS


def use_compile_cache() -> Path | None:
    """Let JAX keep compiled programs, unless the user has chosen a folder, or none can be written.

    Returns
    -------
    pathlib.Path or None
        The folder that is used.
    """
    import jax

    chosen: str | None = getattr(jax.config, _FOLDER)
    if chosen is not None:
        return Path(chosen)
    try:
        folder = cache_folder() / "jax"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    update: Callable[[str, object], None] = jax.config.update
    update(_FOLDER, str(folder))
    update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_S)
    return folder
