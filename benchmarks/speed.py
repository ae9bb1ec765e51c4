"""Training speed beside the machine's matrix-product rate and beside AtomAI's rVAE, and the time to start.

    python benchmarks/speed.py [--peer-python PYTHON] [--dose 1e5,1e7] [--threads N] [--trainings N]
                               [--seconds S]

PYTHON is the interpreter of an environment with AtomAI (docs/benchmarks.md tells how to make one); without it
the comparison is left out. Exit status 1 where a figure falls short.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from flops import Flops, training_flops
from machine import Rate, jax_gemm, limit_threads, load_average, numpy_gemm
from requirements_table import Table
from simulated import as_scan, clean_patterns, draw_counts, n_draws

from orbistem.config import FitConfig
from orbistem.pipeline.preparation import block_size_for, prepare
from orbistem.pipeline.reduction import Reduced, reduce
from orbistem.pipeline.threads import default_runner
from orbistem.progress import Silent
from orbistem.stream import cores

HERE = Path(__file__).resolve().parent
SLICE_S = 0.3  # of matrix products between two rounds of training
PEER_PX, PEER_BATCH = 64, 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Speed of training, and of matrix products in between.

    Attributes
    ----------
    patterns_per_s
        Of training rounds, without compiling and without held-out evidence; of all trainings that run side
        by side.
    gemm
        FLOP/s of float32 products 1536³ in JAX between the rounds, so that other work on the machine slows
        both alike.
    best_patterns_per_s, best_gemm
        Of the quickest round, and of the quickest product.
    flops
        Needed per pattern.
    trainings
        Side by side, as in a fit of this scan.
    """

    patterns_per_s: float
    gemm: float
    best_patterns_per_s: float
    best_gemm: float
    flops: Flops
    trainings: int

    @property
    def share(self) -> float:
        """Needed FLOP/s over the rate of matrix products."""
        return self.patterns_per_s * self.flops.total / self.gemm

    @property
    def best_share(self) -> float:
        """The same for the quickest round and the quickest product."""
        return self.best_patterns_per_s * self.flops.total / self.best_gemm


def reduced_scan(counts: np.ndarray, config: FitConfig) -> Reduced:
    """Kept coefficients of a scan, as a fit finds them."""
    scan = as_scan(counts)
    block_size = block_size_for(scan, config.compute.memory_mb)
    runner, silent = default_runner(config), Silent()
    prepared = prepare(scan, config, runner=runner, block_size=block_size, progress=silent)
    with tempfile.TemporaryDirectory() as folder:
        return reduce(
            scan,
            prepared,
            config,
            directory=Path(folder),
            runner=runner,
            block_size=block_size,
            progress=silent,
        )


def training_pace(reduced: Reduced, config: FitConfig, *, seconds: float, trainings: int = 0) -> Pace:
    """Time rounds of training with the default network, products of matrices in between.

    trainings: side by side; 0: as many as a fit of the scan has, at most one on each core.
    """
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from orbistem.harmonics.steerable_pca import FAINT_SIGNAL
    from orbistem.models.angle import make_orders
    from orbistem.models.counting import Counting
    from orbistem.models.fitting import settled, usual_restarts
    from orbistem.models.objective import OrbitProblem
    from orbistem.models.orbit import as_pairs
    from orbistem.models.orbit_vae import make_net
    from orbistem.models.together import Shared, side_by_side
    from orbistem.models.train import Loop, State, begin
    from orbistem.models.turns import make_turns
    from orbistem.pipeline.training import counted_nodes

    nodes = counted_nodes(reduced)
    counted = nodes is not None
    chosen = settled(config.model, reduced.basis, counted=counted)
    net_options, options = chosen.net, config.model.train
    if nodes is None or reduced.basis.signal_nats > FAINT_SIGNAL:
        counting = None
    else:
        counting = Counting(jnp.asarray(nodes.waves, jnp.float32), jnp.asarray(nodes.electrons, jnp.float32))
    pairs = as_pairs(reduced.coefficients)
    basis = reduced.basis
    orders = make_orders(basis.order)
    key_net, key_train = jax.random.split(jax.random.key(0))
    net = make_net(
        basis.eigenvalue,
        orders,
        start=pairs.mean(axis=0),
        options=net_options,
        key=key_net,
        counting=counting,
    )
    problem = OrbitProblem(
        orders,
        basis.eigenvalue,
        n_patterns=len(pairs),
        options=net_options,
        train_offset=counting is None,
    )
    _, static = eqx.partition(net, eqx.is_inexact_array)
    loop = Loop(problem, static, averaging=options.averaging)
    data = jnp.asarray(pairs)
    if not trainings:
        usual = (
            1 if counting is not None else usual_restarts(len(pairs), basis.n_kept, make_turns(chosen.group))
        )
        trainings = min(usual, cores())
    states = [begin(net, problem.limit, key=key) for key in jax.random.split(key_train, trainings)]

    def one_round(state: State) -> State:
        after, loss = loop.round(state, data, options=options)
        loss.block_until_ready()
        return after

    def all_round() -> list[State]:
        tasks = [partial(one_round, state) for state in states]
        return side_by_side(tasks, threads=trainings, progress=Shared(Silent()))

    states = all_round()  # compiles
    jax_gemm(SLICE_S)
    per_round = trainings * int(states[0].step) * options.for_patterns(len(pairs)).batch
    rounds: list[float] = []
    products: list[Rate] = []
    while sum(rounds) < seconds:
        started = time.perf_counter()
        states = all_round()
        rounds.append(time.perf_counter() - started)
        products.append(jax_gemm(SLICE_S))
    return Pace(
        patterns_per_s=per_round * len(rounds) / sum(rounds),
        gemm=float(np.mean([one.mean for one in products])),
        best_patterns_per_s=per_round / min(rounds),
        best_gemm=max(one.best for one in products),
        flops=training_flops(
            np.asarray(basis.order), net_options, nodes=0 if counting is None else len(counting.electrons)
        ),
        trainings=trainings,
    )


def peer_pace(python: Path, *, threads: int, seconds: float) -> dict[str, float | str]:
    """AtomAI's rVAE in its own environment, on as many threads."""
    command = [str(python), str(HERE / "peer_rvae.py"), "--px", str(PEER_PX), "--batch", str(PEER_BATCH)]
    command += ["--threads", str(threads), "--seconds", str(seconds)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"peer: want a line of JSON from {python}, got this:\n{done.stderr[-2000:]}")
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def seconds_to_first_epoch(file: Path, cache: Path) -> float:
    """One new process that fits the file until its first round of training is over."""
    done = subprocess.run(
        [sys.executable, str(HERE / "first_epoch.py"), str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"first epoch: want a line of JSON, got this:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["first_epoch_s"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="interpreter of the environment with AtomAI")
    parser.add_argument(
        "--dose",
        type=lambda text: [float(part) for part in text.split(",")],
        default=[1e5, 1e7],
        help="electrons per pattern of the graphene scans that say how many coefficients are kept",
    )
    parser.add_argument("--threads", type=int, help="cores to use (default: all)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of training that are timed")
    parser.add_argument(
        "--trainings",
        type=int,
        default=0,
        help="side by side (default: as a fit of the scan has, on each core)",
    )
    parser.add_argument("--without-start", action="store_true", help="leave out the time to the first epoch")
    parser.add_argument("--keep", type=Path, help="folder where noise-free patterns are kept")
    given = parser.parse_args()
    threads = limit_threads(given.threads)
    config, table = FitConfig(), Table()
    print(f"{threads} cores, load {load_average():.1f} before")
    table.head("Product of two 1536 × 1536 float32 matrices")
    for name, rate in (("JAX", jax_gemm(2.0)), ("NumPy", numpy_gemm(2.0))):
        table.line(f"{name}: best, mean", (rate.best / 1e9, rate.mean / 1e9), "GFLOP/s")

    clean = clean_patterns("graphene", given.keep)
    paces = {}
    for dose in given.dose:
        counts = draw_counts(clean, dose=dose, n=n_draws(dose), rng=np.random.default_rng(0))
        reduced = reduced_scan(counts, config)
        pace = paces[dose] = training_pace(reduced, config, seconds=given.seconds, trainings=given.trainings)
        table.head(f"Training, graphene at {dose:.0e} electrons, 64 px, K = {reduced.basis.n_kept}")
        table.line("trainings side by side", pace.trainings)
        table.line("patterns/s", pace.patterns_per_s)
        for part in fields(pace.flops):
            table.line(f"MFLOP per pattern: {part.name}", getattr(pace.flops, part.name) / 1e6)
        table.line("MFLOP per pattern: all", pace.flops.total / 1e6)
        table.line("needed", pace.patterns_per_s * pace.flops.total / 1e9, "GFLOP/s")
        table.line("JAX's products in between", pace.gemm / 1e9, "GFLOP/s")
        table.line("share of the matrix-product rate", pace.share, want=(">=", 0.40))
        table.line("share, quickest round over quickest product", pace.best_share)

    if given.peer_python is not None:
        table.head(f"AtomAI's rVAE, {PEER_PX} px, batch {PEER_BATCH}, the same cores")
        peer = peer_pace(given.peer_python, threads=threads, seconds=2 * given.seconds)
        slow = float(peer["patterns_per_s"])
        print(f"  AtomAI {peer['atomai']}, PyTorch {peer['torch']}, {peer['threads']} threads")
        table.line("patterns/s", slow)
        for dose, pace in paces.items():
            table.line(
                f"orbistem at {dose:.0e} electrons: times as fast",
                pace.patterns_per_s / slow,
                want=(">=", 300.0),
            )

    if not given.without_start:
        dose = given.dose[0]
        table.head(f"New process, {dose:.0e} electrons: from reduction to the end of the first round")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "graphene.npy"
            counts = draw_counts(clean, dose=dose, n=n_draws(dose), rng=np.random.default_rng(0))
            np.save(file, np.asarray(as_scan(counts).patterns))
            table.line("first run", seconds_to_first_epoch(file, Path(folder)), "s")
            table.line("second run", seconds_to_first_epoch(file, Path(folder)), "s", want=("<", 3.0))
    print(f"load {load_average():.1f} after")
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
