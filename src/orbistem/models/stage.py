"""A stage of a fit: one training from one start, which goes on where it was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from orbistem.models.angle import Orders
from orbistem.models.checkpoint import load_done, load_state, save_done, save_state
from orbistem.models.choice import Outcome
from orbistem.models.counting import Counting
from orbistem.models.objective import OrbitProblem
from orbistem.models.orbit import OrbitVAEOptions
from orbistem.models.orbit_vae import make_net
from orbistem.models.protocol import Restart
from orbistem.models.train import Loop, State, TrainOptions, begin, train
from orbistem.models.turns import Turns
from orbistem.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class StageData:
    """What all trainings of a fit share.

    Attributes
    ----------
    pairs
        All coefficients (n, k, 2), real and imaginary part.
    train, heldout
        Those to train on and those to judge by.
    mean
        (k, 2), of all.
    orders, eigenvalue
        Of the coefficients.
    counting
        Where shot noise follows the signal; None: the same noise for all patterns.
    turns
        The group.
    """

    pairs: np.ndarray
    train: jax.Array
    heldout: jax.Array
    mean: np.ndarray
    orders: Orders
    eigenvalue: np.ndarray
    counting: Counting | None
    turns: Turns


def run_stage(
    data: StageData,
    options: OrbitVAEOptions,
    train_options: TrainOptions,
    start: str,
    *,
    loops: dict[bool, Loop],
    seed: int,
    stage: int,
    progress: Progress,
    checkpoint: Path | None,
    settled_offset: np.ndarray | None = None,
) -> Outcome:
    """Train from a given start; go on from a checkpoint where there is one.

    Parameters
    ----------
    data
        Of the fit.
    options
        Settled.
    train_options
        Length of this training.
    start
        Of the static background: "mean" or "zero".
    loops
        What is compiled already, by whether shot noise follows the signal.
    seed
        Every random number follows from it.
    stage
        Number of this training, by which its checkpoint is found.
    progress
        Told about each round.
    checkpoint
        Folder; None: nothing is kept.
    settled_offset
        Static offset (k, 2) that is kept as it is, with shot noise that follows the signal.
    """
    counted = settled_offset is not None and data.counting is not None
    offset = data.mean if start == "mean" else np.zeros_like(data.mean)
    if settled_offset is not None:
        offset = settled_offset
    key_net, key_train = jax.random.split(jax.random.key(seed))
    net = make_net(
        data.eigenvalue,
        data.orders,
        start=offset,
        options=options.net,
        key=key_net,
        counting=data.counting if counted else None,
        turns=data.turns,
    )
    moved, static = eqx.partition(net, eqx.is_inexact_array)
    problem = OrbitProblem(
        data.orders,
        data.eigenvalue,
        n_patterns=len(data.train),
        options=options.net,
        train_offset=options.background == "learned" and not counted,
    )
    loop = loops.setdefault(counted, Loop(problem, static, averaging=train_options.averaging))
    state = begin(net, problem.limit, key=key_train)
    history: tuple[tuple[int, float, float], ...] = ()
    best = None
    if checkpoint is not None:
        done = load_done(checkpoint, stage=stage, like=(moved, problem.limit))
        if done is not None:
            progress.advance(train_options.steps)
            return Outcome(
                net=eqx.combine(done[0], static),
                model_error=done[1],
                restart=done[2],
                patterns_per_s=0.0,
                first_round_s=0.0,
            )
        found = load_state(checkpoint, stage=stage, like=state)
        if found is not None:
            state, history, best = found
    reached = [int(state.step)]
    progress.advance(reached[0])

    def on_round(
        step: int, now: State, rows: list[tuple[int, float, float]], so_far: tuple[float, Any, Any]
    ) -> None:
        if checkpoint is not None:
            save_state(checkpoint, stage=stage, state=now, history=rows, best=so_far)
        progress.advance(step - reached[0], note=f"held-out evidence {rows[-1][2]:.1f} nats")
        reached[0] = step

    trained = train(
        loop,
        state,
        data=data.train,
        heldout=data.heldout,
        options=train_options,
        on_round=on_round,
        history=history,
        best=best,
    )
    restart = Restart(
        start=start,
        seed=seed,
        steps=train_options.steps,
        heldout=trained.heldout,
        curve_step=trained.curve_step,
        curve_train=trained.curve_train,
        curve_heldout=trained.curve_heldout,
    )
    if checkpoint is not None:
        kept = eqx.filter(trained.params, eqx.is_inexact_array)
        save_done(checkpoint, stage=stage, params=kept, extra=trained.extra, restart=restart)
    return Outcome(
        net=trained.params,
        model_error=trained.extra,
        restart=restart,
        patterns_per_s=trained.patterns_per_s,
        first_round_s=trained.first_round_seconds,
    )
