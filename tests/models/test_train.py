"""Training repeats itself, goes on where it stopped, and keeps the best."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orbistem.errors import OptionError
from orbistem.models.checkpoint import load_state, save_state
from orbistem.models.fitting import SCOUT_ROUNDS
from orbistem.models.orbit import OrbitVAEOptions
from orbistem.models.train import Loop, TrainOptions, begin, train

OPTIONS = TrainOptions(steps=120, batch=16, rounds=6, learning_rate=3e-2)


class Line:
    """Least squares on a noisy line; `extra` counts the batches."""

    def loss(self, params, extra, batch, kl_weight, key):
        wobble = 0.01 * jax.random.normal(key, batch[:, 0].shape)
        apart = params["slope"] * batch[:, 0] + params["level"] + wobble - batch[:, 1]
        return kl_weight * jnp.mean(apart**2) + 1e-3 * params["slope"] ** 2, extra + 1

    def heldout(self, params, extra, batch, key):
        apart = params["slope"] * batch[:, 0] + params["level"] - batch[:, 1]
        return -jnp.mean(apart**2)


class GrowingWorse(Line):
    """The held-out score falls with every step away from the start."""

    def heldout(self, params, extra, batch, key):
        return -extra


PARAMS = {"slope": jnp.zeros(()), "level": jnp.zeros(())}


@pytest.fixture
def data(rng):
    x = rng.uniform(-1, 1, 200)
    y = 2 * x - 0.5 + 0.05 * rng.normal(size=200)
    return jnp.asarray(np.stack([x, y], axis=1), jnp.float32)


class Counted(Line):
    """How often its loss was traced, which is how often it was compiled."""

    def __init__(self):
        self.traced = 0

    def loss(self, params, extra, batch, kl_weight, key):
        self.traced += 1
        return super().loss(params, extra, batch, kl_weight, key)


def start(seed=7):
    return begin(PARAMS, jnp.zeros(()), key=jax.random.key(seed))


def loop(problem, averaging=OPTIONS.averaging):
    static = eqx.filter(PARAMS, eqx.is_inexact_array, inverse=True)
    return Loop(problem, static, averaging=averaging)


def run(data, state, *, problem=None, options=OPTIONS, shared=None, **named):
    shared = shared or loop(problem or Line(), options.averaging)
    return train(shared, state, data=data[:160], heldout=data[160:], options=options, **named)


def assert_same(left, right):
    for a, b in zip(jax.tree.leaves(left.params), jax.tree.leaves(right.params), strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))
    assert left.heldout == right.heldout
    assert left.curve_heldout == right.curve_heldout
    assert left.curve_train == right.curve_train


def test_it_learns(data):
    found = run(data, start())
    assert found.heldout > -0.05
    assert found.params["slope"] == pytest.approx(2, abs=0.2)  # the average lags behind
    assert found.curve_step == (20, 40, 60, 80, 100, 120)


def test_short_and_long_trainings_of_a_fit_share_what_is_compiled(data):
    problem = Counted()
    usual = OrbitVAEOptions()
    scout = replace(usual.train, steps=usual.scout_steps, rounds=SCOUT_ROUNDS)
    shared = loop(problem, usual.train.averaging)
    for options in (scout, usual.train):
        run(data, start(), shared=shared, options=options, enough=lambda: True)
    assert problem.traced == 1


def test_equal_seeds_give_equal_parameters_and_others_do_not(data):
    first = run(data, start())
    assert_same(first, run(data, start()))
    assert run(data, start(seed=8)).params["slope"] != first.params["slope"]


def test_trainings_of_other_lengths_share_what_is_compiled(data):
    problem = Counted()
    shorter = replace(OPTIONS, steps=30, rounds=2)
    shared = loop(problem)
    both = [run(data, start(), shared=shared, options=one) for one in (OPTIONS, shorter)]
    assert problem.traced == 1
    assert both[1].curve_step == (15, 30)
    assert_same(both[0], run(data, start()))
    assert_same(both[1], run(data, start(), options=shorter))


def test_an_interrupted_training_ends_like_an_uninterrupted_one(data, tmp_path):
    def stop_in_the_middle(step, state, rows, best):
        save_state(tmp_path, stage=0, state=state, history=rows, best=best)
        if step >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, start(), on_round=stop_in_the_middle)
    assert load_state(tmp_path, stage=1, like=start()) is None
    state, history, best = load_state(tmp_path, stage=0, like=start())
    assert int(state.step) == 60
    assert_same(run(data, state, history=history, best=best), run(data, start()))


def test_it_stops_early_and_keeps_the_best(data):
    options = TrainOptions(steps=120, batch=16, rounds=12, warm_up=0.2, patience=0.25)
    seen = []

    def remember(step, state, rows, best):
        seen.append(jax.tree.map(np.asarray, state.average))

    found = run(data, start(), problem=GrowingWorse(), options=options, on_round=remember)
    assert found.curve_step[-1] == 50  # best at 10, patience of 30 steps
    assert found.heldout == -10
    assert found.params["slope"] == seen[0]["slope"]


def test_wrong_options_are_refused():
    for wrong in ({"steps": 0}, {"learning_rate": 0.0}, {"warm_up": 1.5}):
        with pytest.raises(OptionError, match="want"):
            TrainOptions(**wrong)


@pytest.mark.parametrize(
    ("n", "given", "used"), [(518, 0, 128), (1513, 0, 256), (518, 256, 256), (50_000, 32, 32)]
)
def test_a_small_scan_is_trained_in_smaller_batches(n, given, used):
    assert TrainOptions(batch=given).for_patterns(n).batch == used


def test_stops_when_told(data):
    found = run(data, start(), enough=lambda: True)
    assert found.curve_step == (20,)


def test_constant_steps(data):
    """Adam moves by its step size while the slope keeps its sign, from the first step on."""
    options = TrainOptions(
        steps=3, batch=160, rounds=1, learning_rate=1e-3, schedule="constant", averaging=0, warm_up=0
    )
    found = run(data, start(), problem=Steep(), options=options)
    assert np.isclose(float(found.params["slope"]), 3e-3, rtol=1e-4)
    with pytest.raises(OptionError, match="cosine or constant"):
        TrainOptions(schedule="linear")


class Steep(Line):
    """A plane that falls along the slope."""

    def loss(self, params, extra, batch, kl_weight, key):
        return -params["slope"] + 0 * params["level"], extra
