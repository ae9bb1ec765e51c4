"""One training loop: whole rounds inside one scan, held-out evidence after each, resumable state.

The loop knows no model. It takes a function from parameters, a batch and a key to a loss, and a function
for the held-out score; it keeps a running average of the parameters and the best average seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from threading import Event, Lock
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from orbistem.errors import OptionError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """Length and step size of training.

    Parameters
    ----------
    steps
        Gradient steps; `OrbitVAE` takes 1.75 times as many where the noise is a guess.
    batch
        Patterns per step; 0: 256, or 128 of a small scan.
    learning_rate
        Peak step size of Adam.
    schedule
        "cosine": the step size rises over the first twentieth and falls as a half cosine; "constant": it
        stays.
    warm_up
        Share of the steps over which the weight of the KL term rises from 0 to 1.
    rounds
        How often the held-out evidence is measured.
    averaging
        Decay of the running average of the parameters, per step.
    patience
        Stop once the held-out evidence has not improved for this share of the steps (after warm-up).
    """

    steps: int = 2000
    batch: int = 0
    learning_rate: float = 3e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warm_up: float = 0.5
    rounds: int = 40
    averaging: float = 0.99
    patience: float = 0.25

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 0 or self.rounds < 1:
            raise OptionError("steps and rounds: want 1 or more; batch: 1 or more, or 0 for the usual")
        if not 0 < self.learning_rate <= 1:
            raise OptionError(f"learning_rate: want a number above 0, at most 1, got {self.learning_rate}")
        if not 0 <= self.averaging < 1:
            raise OptionError(f"averaging: want a number from 0 to below 1, got {self.averaging}")
        if not self.patience > 0:
            raise OptionError(f"patience: want a share of the steps above 0, got {self.patience}")
        if not 0 <= self.warm_up <= 1:
            raise OptionError(f"warm_up: want a number from 0 to 1, got {self.warm_up}")
        if self.schedule not in ("cosine", "constant"):
            raise OptionError(f"schedule: want cosine or constant, got {self.schedule!r}; choose one of them")

    def for_patterns(self, n: int) -> TrainOptions:
        """The same with the batch settled for so many patterns."""
        return self if self.batch else replace(self, batch=USUAL_BATCH if n >= SMALL_SCAN else SMALL_BATCH)


USUAL_BATCH, SMALL_BATCH, SMALL_SCAN = 256, 128, 1024
"""Of few patterns 256 are half: with 128 a step takes half the time, and less is learned by heart (fold
error of graphene at 10⁶, 518 patterns, two seeds: 0.039, 0.035 → 0.032, 0.030)."""
ROUND_UNIT = 128
"""Steps of a round are padded to a multiple of this: short trainings take 100 a round, long ones 50."""
_OPTIMISER = optax.chain(optax.clip_by_global_norm(1e6), optax.scale_by_adam())


class State(NamedTuple):
    """All that a training needs to go on from where it stopped."""

    params: Any
    average: Any
    extra: Any
    optimiser: Any
    key: PRNGKeyArray
    step: Array


class Problem(Protocol):
    """What is trained: a loss with side statistics, and a score on patterns not trained on."""

    def loss(
        self, params: Any, extra: Any, batch: Any, kl_weight: Array, key: PRNGKeyArray
    ) -> tuple[Array, Any]:
        """Scalar loss and the new `extra` (statistics that follow training without gradients)."""

    def heldout(self, params: Any, extra: Any, batch: Any, key: PRNGKeyArray) -> Array:
        """Mean evidence bound per pattern, nats; higher is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """Parameters with the best held-out evidence, and how training went."""

    params: Any
    extra: Any
    heldout: float
    curve_step: tuple[int, ...]
    curve_train: tuple[float, ...]
    curve_heldout: tuple[float, ...]
    seconds: float
    first_round_seconds: float
    patterns_per_s: float


def begin(params: Any, extra: Any, *, key: PRNGKeyArray) -> State:
    """State before the first step."""
    moved = eqx.filter(params, eqx.is_inexact_array)
    return State(moved, moved, extra, _OPTIMISER.init(moved), key, jnp.zeros((), jnp.int32))


class Loop:
    """Rounds and held-out score of one problem, compiled once for trainings of any length and from any start.

    Parameters
    ----------
    problem
        Loss and held-out score.
    static
        The part of the parameters that is not an array, the same for all trainings.
    averaging
        As in `TrainOptions`.
    """

    def __init__(self, problem: Problem, static: Any, *, averaging: float) -> None:
        self.static = static
        self._run = _first_alone(_compiled(problem, static, averaging=averaging))
        self._score = _first_alone(eqx.filter_jit(problem.heldout))

    def round(self, state: State, data: Any, *, options: TrainOptions) -> tuple[State, Array]:
        """One round of training on arrays of (n, …): the state after it, and the mean loss of its steps."""
        n = len(jax.tree.leaves(data)[0])
        options = options.for_patterns(n)
        size = _steps_per_round(options)
        key, shuffle = jax.random.split(state.key)
        padded = -(-size // ROUND_UNIT) * ROUND_UNIT
        rows = _batches(shuffle, n, padded, options.batch)
        steps = int(state.step) + np.arange(padded)
        weight = np.minimum(steps / max(options.warm_up * options.steps, 1.0), 1.0).astype(np.float32)
        plan = _Steps(rows, _rates(options, steps), weight, np.int32(size))
        after: tuple[State, Array] = self._run(state._replace(key=key), data, plan)
        return after

    def score(self, state: State, heldout: Any, key: PRNGKeyArray) -> float:
        """Held-out score of the averaged parameters."""
        return float(self._score(eqx.combine(state.average, self.static), state.extra, heldout, key))


def train(
    loop: Loop,
    state: State,
    *,
    data: Array,
    heldout: Array,
    options: TrainOptions,
    on_round: Callable[[int, State, list[tuple[int, float, float]], tuple[float, Any, Any]], None]
    | None = None,
    history: tuple[tuple[int, float, float], ...] = (),
    best: tuple[float, Any, Any] | None = None,
    enough: Callable[[], bool] | None = None,
) -> Trained:
    """Train to the end (or go on from `state`) and return the best parameters.

    Parameters
    ----------
    loop
        Compiled rounds of the problem; several trainings may share it.
    state
        From `begin`, or from a checkpoint.
    data, heldout
        Patterns (n, …) trained on and judged on.
    on_round
        Called after each round with the step, the state, the rows (step, training loss, held-out
        evidence) so far, and the best (score, parameters, extra).
    history, best
        From a checkpoint.
    enough
        Asked after each round whether to stop there, for instance because the time is over.
    """
    options = options.for_patterns(data.shape[0])
    per_round = _steps_per_round(options)
    score_key = jax.random.key(0)
    started = time.perf_counter()
    first_round = 0.0
    rows = list(history)
    best_score, best_params, best_extra = best if best is not None else (-np.inf, state.average, state.extra)
    done = int(state.step)
    first, best_step = done, done
    while done < options.steps:
        state, losses = loop.round(state, data, options=options)
        value = loop.score(state, heldout, score_key)
        done = int(state.step)
        rows.append((done, float(losses), value))
        if not first_round:
            first_round = time.perf_counter() - started
        if value > best_score:
            best_score, best_params, best_extra = value, state.average, state.extra
            best_step = done
        if on_round is not None:
            on_round(done, state, rows, (best_score, best_params, best_extra))
        if enough is not None and enough():
            break
        if done - best_step > options.patience * options.steps and done > options.warm_up * options.steps:
            break
    seconds = time.perf_counter() - started
    later = max(seconds - first_round, 1e-9)
    steps_later = max(done - first - per_round, 0)
    return Trained(
        params=eqx.combine(best_params, loop.static),
        extra=best_extra,
        heldout=float(best_score),
        curve_step=tuple(r[0] for r in rows),
        curve_train=tuple(r[1] for r in rows),
        curve_heldout=tuple(r[2] for r in rows),
        seconds=seconds,
        first_round_seconds=first_round,
        patterns_per_s=steps_later * options.batch / later,
    )


def _first_alone(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose first call, which compiles, all other threads wait for."""
    lock, called = Lock(), Event()

    @wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        if not called.is_set():
            with lock:
                if not called.is_set():
                    found = function(*args, **named)
                    called.set()
                    return found
        return function(*args, **named)

    return call


class _Steps(NamedTuple):
    """What the steps of a round are given, padded so that rounds of all lengths share what is compiled."""

    rows: np.ndarray  # (step, batch) of the data
    rate: np.ndarray  # (step,) step size
    kl_weight: np.ndarray  # (step,)
    n: np.int32  # how many steps there are


def _compiled(
    problem: Problem, static: Any, *, averaging: float
) -> Callable[[State, Any, _Steps], tuple[State, Array]]:
    """One round, compiled: a loop over its steps."""

    def objective(params: Any, extra: Any, batch: Any, weight: Array, key: PRNGKeyArray) -> tuple[Array, Any]:
        return problem.loss(eqx.combine(params, static), extra, batch, weight, key)

    @jax.jit
    def run(state: State, data: Any, steps: _Steps) -> tuple[State, Array]:
        def step(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, total = carry
            now, use = jax.random.split(state.key)
            (value, extra), slope = jax.value_and_grad(objective, has_aux=True)(
                state.params,
                state.extra,
                jax.tree.map(lambda one: one[steps.rows[i]], data),
                steps.kl_weight[i],
                use,
            )
            with jax.numpy_dtype_promotion("standard"):  # Optax mixes whole numbers with fractions
                change, opt = _OPTIMISER.update(slope, state.optimiser, state.params)
            change = jax.tree.map(lambda one: -steps.rate[i] * one, change)
            params = optax.apply_updates(state.params, change)
            count = state.step.astype(jnp.float32)
            decay = jnp.minimum(averaging, (1.0 + count) / (10.0 + count))
            average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average, params)
            return State(params, average, extra, opt, now, state.step + 1), total + value

        state, total = jax.lax.fori_loop(0, steps.n, step, (state, jnp.zeros(())))
        return state, total / steps.n.astype(jnp.float32)

    return run


def _batches(key: PRNGKeyArray, n: int, steps: int, batch: int) -> np.ndarray:
    """Row numbers for each step: as many shuffles of all patterns as needed, cut into batches."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    shuffles = [rng.permutation(n) for _ in range(-(-steps * batch // n))]
    return np.concatenate(shuffles)[: steps * batch].reshape(steps, batch).astype(np.int32)


def _rates(options: TrainOptions, steps: np.ndarray) -> np.ndarray:
    """Step sizes (step,): a linear rise, then half a cosine (Loshchilov & Hutter, arXiv:1608.03983)."""
    if options.schedule == "constant":
        return np.full(len(steps), options.learning_rate, np.float32)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        options.learning_rate,
        warmup_steps=max(1, options.steps // 20),
        decay_steps=max(2, options.steps),
        end_value=options.learning_rate * 1e-2,
    )
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(schedule(steps), np.float32)


def _steps_per_round(options: TrainOptions) -> int:
    return max(1, -(-options.steps // options.rounds))
