"""The paper's scan: seconds until OrbitVAE explains 0.97 of it, beside AtomAI's rVAE as in the paper.

    python benchmarks/paper_speed.py [--peer-python PYTHON] [--peer-seconds S] [--dose 1e7] [--threads N]

Graphene as in the paper: 24 × 14 positions, 256 × 256 pixels, 60 kV, 32 mrad (simulated once, then kept).
Both programs get the same counts and as many cores, one after the other, in a process of their own; the clock
runs from opening the file, compilation included. The explained variance is that of the clean signal, without
weights, as the peer minimises it; ours is also given in noise units. Exit status 1: a figure falls short.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import limit_threads, load_average, numpy_gemm
from requirements_table import Table

HERE = Path(__file__).resolve().parent
WANTED, PEER_WANTED, TIMES = 0.97, 0.6, 30.0
PUBLISHED = ((141.0, -0.01), (445.0, 0.36), (689.0, 0.61))
"""Seconds and explained variance of AtomAI's rVAE in an earlier run on two cores."""
STEPS, BATCH, ROUNDS, SCOUT_STEPS = 600, 64, 10, 0
REFINE_STEPS, SAMPLES = 6, 8


def clean_scan(keep: Path | None) -> np.ndarray:
    """Noise-free patterns (24, 14, 256, 256), kept between runs."""
    import orbistem
    from orbistem.simulate import simulate

    folder = keep or Path(tempfile.gettempdir()) / "orbistem-benchmarks"
    file = folder / f"graphene-paper-{orbistem.__version__}.npy"
    if not file.is_file():
        scan, _ = simulate("graphene-paper", seed=0, dose=None)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(file, np.asarray(scan.patterns))
    return np.asarray(np.load(file))


def ours(folder: Path) -> dict[str, float]:
    """Fit in this process; seconds until the model can predict, and its explained variance.

    The steps of `orbistem.fit` up to the trained model; the read-out of the pixels, which raises the
    explained variance in noise units, maps, certificate and report, which the peer has not either, are left
    out. One training from one start, few steps of small batches, few samples: a first look.
    """
    from dataclasses import replace

    import orbistem
    from orbistem.config import FitConfig
    from orbistem.harmonics.rings import polar_coordinates
    from orbistem.harmonics.whitening import linear_weight
    from orbistem.metrics import active_units, explained_variance
    from orbistem.models.orbit import OrbitVAEOptions
    from orbistem.models.train import TrainOptions
    from orbistem.pipeline.preparation import block_size_for, prepare
    from orbistem.pipeline.reduction import reduce
    from orbistem.pipeline.threads import default_runner
    from orbistem.pipeline.training import train_model
    from orbistem.progress import Silent

    options = OrbitVAEOptions(
        group="SO2",  # turns only, as the peer
        train=TrainOptions(steps=STEPS, batch=BATCH, rounds=ROUNDS),
        scout_steps=SCOUT_STEPS,
        background="mean",
        restarts=1,
        refine_steps=REFINE_STEPS,
        samples=SAMPLES,
    )
    config = replace(FitConfig(), model=options)
    times: dict[str, float] = {}
    started, cpu_started = time.perf_counter(), time.process_time()

    def lap(name: str) -> None:
        times[f"{name}: seconds so far"] = time.perf_counter() - started
        times[f"{name}: processor seconds so far"] = time.process_time() - cpu_started

    scan, runner = orbistem.open(folder / "counts.npy"), default_runner(config)
    block = block_size_for(scan, config.compute.memory_mb)
    prepared = prepare(scan, config, runner=runner, block_size=block, progress=Silent())
    with tempfile.TemporaryDirectory() as text:
        reduced = reduce(
            scan,
            prepared,
            config,
            directory=Path(text),
            runner=runner,
            block_size=block,
            progress=Silent(),
        )
    lap("reduced")
    training = train_model(reduced, prepared, config, checkpoint=None, progress=Silent())
    lap("trained")
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    model, found = training.model, training.encoding
    if model is None or found is None:
        return times | {"seconds": math.inf, "explained": 0.0, "explained_plain": 0.0, "active": 0}
    counts, clean = np.load(folder / "counts.npy"), np.load(folder / "electrons.npy")
    predicted = model.predict(counts.reshape(-1, *counts.shape[2:]))
    static = clean.mean(axis=0, dtype=np.float64)
    middle = ((static.shape[0] - 1) / 2, (static.shape[1] - 1) / 2)
    everywhere = np.ones(static.shape, bool)
    polar = polar_coordinates(static.shape, centre_px=middle)
    weight = linear_weight(static, polar, pixel_valid=everywhere) ** 2
    return times | {
        "seconds": seconds,
        "processor seconds": cpu_seconds,
        "explained": explained_variance(clean, predicted, static, weight),
        "explained_plain": explained_variance(clean, predicted, static, everywhere.astype(float)),
        "active": active_units(np.asarray(found.z), np.asarray(found.z_sd)),
    }


def run(command: list[str], environment: dict[str, str]) -> list[dict[str, float]]:
    """Lines of JSON that a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"want lines of JSON from {command[0]}, got this:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="interpreter of the environment with AtomAI")
    parser.add_argument("--peer-seconds", type=float, default=700.0, help="time for AtomAI's training")
    parser.add_argument("--dose", type=float, default=1e7, help="electrons per pattern")
    parser.add_argument("--threads", type=int, help="cores to use (default: all)")
    parser.add_argument("--keep", type=Path, help="folder where noise-free patterns are kept")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours is not None:
        print(json.dumps(ours(given.ours)))
        return 0
    threads, table = limit_threads(given.threads), Table()
    print(f"{threads} cores, load {load_average():.1f} before, product {numpy_gemm().best / 1e9:.0f} GFLOP/s")
    clean = clean_scan(given.keep)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        rng = np.random.default_rng(0)
        electrons = (given.dose * clean).astype(np.float32)
        counts = rng.poisson(electrons).astype(np.uint16 if electrons.max() < 6e4 else np.float32)
        np.save(folder / "counts.npy", counts)
        np.save(folder / "electrons.npy", electrons.reshape(-1, *clean.shape[2:]))
        flat = counts.reshape(-1, *clean.shape[2:]).astype(np.float32)
        span, mean = np.ptp(flat), flat.mean(axis=0)
        np.save(folder / "images.npy", (flat - mean) / span)
        np.save(folder / "clean.npy", (electrons.reshape(flat.shape) - mean) / span)
        table.head(f"OrbitVAE, {given.dose:.0e} electrons, a new process, nothing compiled before")
        command = [sys.executable, str(HERE / "paper_speed.py"), "--ours", str(folder)]
        found = run(command, {**os.environ, "XDG_CACHE_HOME": str(folder)})[0]
        for name, value in found.items():
            if name not in ("explained_plain", "active", "seconds"):
                table.line(name, value)
        table.line("explained variance, without weights", found["explained_plain"], want=(">=", WANTED))
        table.line("latents in use", found["active"], want=(">=", 2))
        table.line("seconds", found["seconds"])
        table.head("AtomAI's rVAE, the paper's settings (batch 20, step 1e-4, 2 × 128 units)")
        reached = PUBLISHED[-1][0]
        if given.peer_python is None:
            for seconds, value in PUBLISHED:
                table.line(f"an earlier run, after {seconds:.0f} s: explained variance", value)
        else:
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            command = [str(given.peer_python), str(HERE / "paper_peer.py"), str(folder)]
            command += ["--seconds", str(given.peer_seconds), "--until", str(PEER_WANTED)]
            lines = run([*command, "--threads", str(threads)], environment)
            for line in lines:
                table.line(f"after {line['seconds']:.0f} s: explained variance", line["explained"])
            reached = lines[-1]["seconds"]
            if lines[-1]["explained"] < PEER_WANTED:
                print(f"  {PEER_WANTED} was not reached; the ratio below is a lower bound")
        table.line("times sooner", reached / found["seconds"], want=(">=", TIMES))
    print(f"load {load_average():.1f} after")
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
