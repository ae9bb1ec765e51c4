"""Which start is trained longer, and which of several trainings is kept."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from models.small import EIGENVALUE, OPTIONS, ORDER, as_complex, as_pairs, orders, random_net, turned

from orbistem.models.choice import (
    HOPELESS_MARGIN,
    Outcome,
    better_start,
    choose,
    equally_good,
    long_starts,
)
from orbistem.models.finish import Judge, finish, judge
from orbistem.models.orbit import OrbitVAEOptions
from orbistem.models.protocol import Restart

NO_ERROR = np.zeros(len(ORDER), np.float32)
SETTLED = OrbitVAEOptions(net=OPTIONS, refine_steps=8, samples=8)


def outcome(start, heldout, *, seed=0, net=None):
    restart = Restart(
        start=start,
        seed=seed,
        steps=1,
        heldout=heldout,
        curve_step=(),
        curve_train=(),
        curve_heldout=(),
    )
    return Outcome(
        net=net or random_net(seed),
        model_error=NO_ERROR,
        restart=restart,
        patterns_per_s=0.0,
        first_round_s=0.0,
    )


def chosen(drawn, compared, trained, *, bright=False):
    _, train, heldout = drawn
    return choose(
        compared,
        trained,
        train=train,
        heldout=heldout,
        orders=orders(),
        eigenvalue=EIGENVALUE,
        options=SETTLED,
        seed=0,
        bright=bright,
    )


@pytest.fixture(scope="module")
def drawn():
    """A net, and noisy patterns that it draws: 192 to train on, 64 held out."""
    net, rng = random_net(3), np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(256, 2)).astype(np.float32))
    a = turned(as_complex(net.decoder(z)), rng.uniform(0, 2 * np.pi, 256))
    a = a + rng.normal(size=a.shape) + 1j * rng.normal(size=a.shape) * (ORDER > 0)
    return net, as_pairs(a[:192]), as_pairs(a[192:])


class TestStarts:
    def test_the_first_start_stays_unless_another_is_clearly_better(self):
        mean, zero = outcome("mean", -10.0), outcome("zero", -9.0)
        assert better_start([mean, zero]) is mean
        assert better_start([mean, outcome("zero", -5.0)]).restart.start == "zero"

    def test_the_other_start_is_tried_once_where_it_is_near(self):
        mean, zero = outcome("mean", -10.0), outcome("zero", -12.0)
        assert long_starts(mean, [mean, zero], n=3) == ("mean", "mean", "zero")

    def test_a_hopeless_start_is_not_tried_again(self):
        mean, zero = outcome("mean", -10.0), outcome("zero", -11.0 - HOPELESS_MARGIN)
        assert long_starts(mean, [mean, zero], n=3) == ("mean", "mean", "mean")

    def test_one_start_fills_all(self):
        mean = outcome("mean", -10.0)
        assert long_starts(mean, [mean], n=2) == ("mean", "mean")


class TestChoice:
    def judge(self, net, drawn):
        _, train, heldout = drawn
        judged = judge(net, NO_ERROR, train=train, orders=orders(), options=SETTLED, seed=0)
        return judged.evidence(heldout).mean()

    def test_the_net_that_drew_the_patterns_has_more_evidence_than_others(self, drawn):
        own = self.judge(drawn[0], drawn)
        assert own > max(self.judge(random_net(seed), drawn) for seed in (4, 5)) + 3

    def test_the_encoder_does_not_count(self, drawn):
        """A net with the encoder of another one draws the same patterns, and is as good once refined."""
        net = drawn[0]
        borrowed = replace_encoder(net, random_net(9))
        assert abs(self.judge(borrowed, drawn) - self.judge(net, drawn)) < 1

    def test_refined_evidence_overrules_the_bound(self, drawn):
        net = drawn[0]
        good, bad = outcome("mean", -101.0, net=net), outcome("mean", -100.0, seed=4)
        winner, ranked = chosen(drawn, [bad, good], [outcome("zero", -99.0, seed=6), bad, good])
        assert winner.net is net
        assert ranked[0] is winner
        assert len(ranked) == 3
        assert winner.restart.refined > ranked[1].restart.refined
        assert ranked[2].restart.start == "zero"
        assert ranked[2].restart.refined is None

    def test_differences_within_their_error_are_none(self, rng):
        patterns = rng.normal(size=200)
        noise = rng.normal(size=(3, 200))
        evidence = patterns + np.array([[0.0], [0.01], [-1.0]]) + noise * np.array([[0.5], [0.5], [0.5]])
        assert sorted(equally_good(evidence - (noise.mean(axis=1, keepdims=True) * 0.5))) == [0, 1]

    def test_of_equal_trainings_the_one_that_others_confirm_is_kept(self, drawn):
        """Two nets draw alike, one of them with an encoder that does not know the patterns."""
        net = drawn[0]
        lost = outcome("mean", -100.0, net=replace_encoder(net, random_net(9)))
        twins = [outcome("mean", -100.0, net=net), outcome("mean", -100.0, net=replace_encoder(net, net))]
        winner, _ = chosen(drawn, [lost, *twins], [lost, *twins])
        assert winner.net is not lost.net

    def test_of_equal_trainings_one_that_began_as_the_first_is_kept(self, drawn):
        net = drawn[0]
        usual = outcome("mean", -100.0, net=replace_encoder(net, random_net(9)))
        others = [outcome("zero", -100.0, net=net), outcome("zero", -100.0, net=replace_encoder(net, net))]
        assert chosen(drawn, [usual, *others], [usual, *others])[0].net is usual.net
        worse = outcome("mean", -100.0, seed=4)
        assert chosen(drawn, [worse, *others], [worse, *others])[0].net is not worse.net

    def test_of_bright_patterns_what_lies_near_is_equal_too(self):
        evidence = np.array([[-100.0], [-100.6], [-101.2]]) + np.zeros((3, 50))
        assert equally_good(evidence) == [0]
        assert equally_good(evidence, near=1.0) == [0, 1]

    def test_of_bright_patterns_the_latents_that_noise_moves_least_are_kept(self, drawn, monkeypatch):
        net = drawn[0]
        torn, whole = (outcome("mean", -100.0, net=replace_encoder(net, random_net(i))) for i in (8, 9))

        def moved(self):
            return 0.02 if self.infer.net is whole.net else 0.04

        monkeypatch.setattr(Judge, "repeat_error", moved)
        assert chosen(drawn, [torn, whole], [torn, whole], bright=True)[0].net is whole.net
        assert chosen(drawn, [whole, torn], [whole, torn], bright=True)[0].net is whole.net

    def test_a_clearly_worse_training_is_not_kept_for_its_quiet_latents(self, drawn, monkeypatch):
        good, bad = outcome("mean", -100.0, net=drawn[0]), outcome("mean", -100.0, seed=4)
        monkeypatch.setattr(Judge, "repeat_error", lambda _: 0.0)
        assert chosen(drawn, [bad, good], [bad, good], bright=True)[0].net is good.net

    def test_noise_moves_the_latents_of_nothing_more_than_those_of_patterns(self, drawn):
        net, train, _ = drawn
        given = {"orders": orders(), "options": SETTLED, "seed": 0}
        moved = judge(net, NO_ERROR, train=train, **given).repeat_error()
        assert moved == judge(net, NO_ERROR, train=train, **given).repeat_error()
        assert 0 < moved < 0.5
        nothing = np.random.default_rng(1).normal(size=train.shape).astype(np.float32)
        nothing[:, ORDER == 0, 1] = 0
        assert judge(net, NO_ERROR, train=nothing, **given).repeat_error() > 2 * moved

    def test_a_single_training_is_not_judged(self, drawn):
        only = outcome("mean", -100.0, net=drawn[0])
        winner, _ = chosen(drawn, [only], [only])
        assert winner.restart == replace(only.restart, refined=None)


def test_a_model_that_is_only_compared_encodes_as_the_finished_one(drawn):
    net, train, _ = drawn
    given = {"pairs": train, "orders": orders(), "eigenvalue": EIGENVALUE, "options": SETTLED, "seed": 0}
    whole, compared = (finish(net, NO_ERROR, only_compared=flag, **given) for flag in (False, True))
    a, b = (model.encode_fast(as_complex(train)) for model in (whole, compared))
    fit = np.linalg.lstsq(np.column_stack([a, np.ones(len(a))]), b, rcond=None)[0]
    np.testing.assert_allclose(np.column_stack([a, np.ones(len(a))]) @ fit, b, atol=1e-3)


def replace_encoder(net, other):
    import equinox as eqx

    return eqx.tree_at(lambda one: one.encoder, net, other.encoder)
