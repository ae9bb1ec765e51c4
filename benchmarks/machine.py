"""What this machine can do at best: its float32 matrix-product rate, beside which all seconds are quoted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SIZE = 1536
FLOPS = 2 * SIZE**3


def limit_threads(n: int | None) -> int:
    """Keep this process, and those that it starts, on `n` cores (None: all allowed ones); returns how many.

    Call it before JAX is used for the first time.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if not hasattr(os, "sched_setaffinity"):
        if n is not None:
            raise SystemExit("--threads: this system cannot bind a program to cores; leave it out")
        return os.cpu_count() or 1
    cores = sorted(os.sched_getaffinity(0))
    if n is not None:
        cores = cores[:n]
        os.sched_setaffinity(0, cores)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(len(cores))
    threadpool_limits(limits=len(cores), user_api="blas")
    return len(cores)


class Rate(NamedTuple):
    """FLOP/s: of the shortest call, and over all calls."""

    best: float
    mean: float


def jax_gemm(seconds: float = 1.0) -> Rate:
    """Rate of float32 products of two 1536 × 1536 matrices in JAX, as many as fit in `seconds`."""
    import jax
    import jax.numpy as jnp

    left = jax.random.normal(jax.random.key(0), (SIZE, SIZE), jnp.float32)
    product = jax.jit(lambda a, b: a @ b)
    return _rate(lambda: product(left, left).block_until_ready(), seconds)


def numpy_gemm(seconds: float = 1.0) -> Rate:
    """The same in NumPy."""
    left = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    return _rate(lambda: left @ left, seconds)


def load_average() -> float:
    """Processes that wanted to run over the last minute; NaN where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def describe(seconds: float = 1.0) -> str:
    """One line for the head of a table."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return (
        f"this machine: {cores} cores, load {load_average():.1f} before; float32 product of {SIZE}³: "
        f"JAX {jax_gemm(seconds).best / 1e9:.0f} GFLOP/s, NumPy {numpy_gemm(seconds).best / 1e9:.0f} GFLOP/s"
    )


def _rate(call: Callable[[], object], seconds: float) -> Rate:
    call()
    spent: list[float] = []
    while not spent or sum(spent) < seconds:
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    return Rate(best=FLOPS / min(spent), mean=FLOPS * len(spent) / sum(spent))
