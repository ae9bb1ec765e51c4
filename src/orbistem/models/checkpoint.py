"""State of a running training on disk: written aside and renamed after each round, no pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orbistem.durable import write_aside
from orbistem.models.protocol import Restart
from orbistem.models.train import State

STATE_FILE = "training{stage:02d}.npz"
DONE_FILE = "stage{stage:02d}.npz"


def save_state(
    folder: Path,
    *,
    stage: int,
    state: State,
    history: list[tuple[int, float, float]],
    best: tuple[float, Any, Any],
) -> None:
    """Write the state of one stage (one training) after a round."""
    leaves = jax.tree.leaves(_without_key(state))
    best_leaves = jax.tree.leaves((best[1], best[2]))
    arrays: dict[str, Any] = {f"state.{i:03d}": np.asarray(x) for i, x in enumerate(leaves)}
    arrays |= {f"best.{i:03d}": np.asarray(x) for i, x in enumerate(best_leaves)}
    arrays["key"] = np.asarray(jax.random.key_data(state.key))
    arrays["history"] = np.asarray(history, dtype=np.float64).reshape(-1, 3)
    arrays["stage"] = np.asarray(stage)
    arrays["best_score"] = np.asarray(best[0])
    folder.mkdir(parents=True, exist_ok=True)
    with write_aside(folder / STATE_FILE.format(stage=stage)) as aside, open(aside, "wb") as file:
        np.savez(file, **arrays)


def load_state(
    folder: Path, *, stage: int, like: State
) -> tuple[State, tuple[tuple[int, float, float], ...], tuple[float, Any, Any]] | None:
    """State of a stage, or None where there is none that fits."""
    path = folder / STATE_FILE.format(stage=stage)
    if not path.exists():
        return None
    with np.load(path) as stored:
        if int(stored["stage"]) != stage:
            return None
        leaves, tree = jax.tree.flatten(_without_key(like))
        found = [stored.get(f"state.{i:03d}") for i in range(len(leaves))]
        if any(f is None or f.shape != x.shape for f, x in zip(found, leaves, strict=True)):
            return None
        bare = jax.tree.unflatten(tree, [jnp.asarray(f) for f in found])
        state = bare._replace(key=jax.random.wrap_key_data(jnp.asarray(stored["key"])))
        best_leaves, best_tree = jax.tree.flatten((like.average, like.extra))
        best = jax.tree.unflatten(
            best_tree, [jnp.asarray(stored[f"best.{i:03d}"]) for i in range(len(best_leaves))]
        )
        history = tuple((int(s), float(t), float(h)) for s, t, h in stored["history"])
        return state, history, (float(stored["best_score"]), best[0], best[1])


def save_done(folder: Path, *, stage: int, params: Any, extra: Any, restart: Restart) -> None:
    """Write the outcome of a finished stage; its state is no longer needed."""
    leaves = jax.tree.leaves((params, extra))
    arrays: dict[str, Any] = {f"{i:03d}": np.asarray(x) for i, x in enumerate(leaves)}
    arrays["restart"] = np.frombuffer(json.dumps(asdict(restart)).encode(), dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    with write_aside(folder / DONE_FILE.format(stage=stage)) as aside, open(aside, "wb") as file:
        np.savez(file, **arrays)
    (folder / STATE_FILE.format(stage=stage)).unlink(missing_ok=True)


def load_done(folder: Path, *, stage: int, like: tuple[Any, Any]) -> tuple[Any, Any, Restart] | None:
    """Outcome of a finished stage, or None."""
    path = folder / DONE_FILE.format(stage=stage)
    if not path.exists():
        return None
    with np.load(path) as stored:
        leaves, tree = jax.tree.flatten(like)
        params, extra = jax.tree.unflatten(
            tree, [jnp.asarray(stored[f"{i:03d}"]) for i in range(len(leaves))]
        )
        values = json.loads(stored["restart"].tobytes().decode())
    for name in ("curve_step", "curve_train", "curve_heldout"):
        values[name] = tuple(values[name])
    return params, extra, Restart(**values)


def _without_key(state: State) -> State:
    return state._replace(key=jnp.zeros((), jnp.float32))
