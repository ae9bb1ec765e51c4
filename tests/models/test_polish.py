"""The decoder fitted to refined latents."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from models.small import EIGENVALUE, OPTIONS, ORDER, as_complex, as_pairs, orders, turned
from models.test_turns import net_of

import orbistem.models.polish as polish_module
from orbistem.models.finish import encoded, evenly
from orbistem.models.objective import OrbitProblem
from orbistem.models.polish import polish
from orbistem.progress import Silent

N, HELD_OUT = 480, 60


class Counted(Silent):
    """How often a round is told."""

    def __init__(self) -> None:
        self.rounds = 0
        self.ended = False

    def advance(self, n: int = 1, *, note: str = "") -> None:
        self.rounds += n

    def finish(self) -> None:
        self.ended = True


def patterns_of(net, rng) -> np.ndarray:
    """Noisy patterns that a net's decoder draws, turned at random: (n, k, 2)."""
    z = rng.normal(size=(N, 2)).astype(np.float32)
    clean = as_complex(net.decoder(jnp.asarray(z)))
    noise = rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape) * (ORDER > 0)
    return as_pairs(turned(clean, rng.uniform(0, 2 * np.pi, N)) + noise)


def last_layer(net):
    return net.decoder.net.layers[-1].weight


def polished(net, pairs, *, progress=None):
    """A net polished to patterns, and what the polishing said."""
    problem = OrbitProblem(orders(), EIGENVALUE, n_patterns=N - HELD_OUT, options=OPTIONS, train_offset=False)
    return polish(
        net,
        np.zeros(len(ORDER), np.float32),
        train=pairs[HELD_OUT:],
        heldout=pairs[:HELD_OUT],
        library=encoded(net, evenly(pairs, 96)),
        training=problem,
        refine_steps=12,
        seed=0,
        progress=progress or Silent(),
    )


def test_templates_that_miss_the_patterns_are_fitted_to_them(rng, monkeypatch) -> None:
    monkeypatch.setattr(polish_module, "ROUNDS", 6)
    monkeypatch.setattr(polish_module, "ROUND_STEPS", 50)
    truth = net_of("O2")
    pairs = patterns_of(truth, rng)
    blurred = eqx.tree_at(last_layer, truth, last_layer(truth) * 0.6)
    progress = Counted()
    found = polished(blurred, pairs, progress=progress)
    at_best = polished(truth, pairs).before
    assert found.after > found.before + 0.8 * (at_best - found.before)
    assert progress.rounds == 6
    assert progress.ended
    assert eqx.tree_equal(found.net.encoder, blurred.encoder)
    np.testing.assert_array_equal(found.net.offset, blurred.offset)


def test_nothing_is_done_where_templates_leave_noise_only(rng) -> None:
    net = net_of("SO2")
    progress = Counted()
    found = polished(net, patterns_of(net, rng), progress=progress)
    assert found.net is net
    assert found.after == found.before
    assert progress.rounds == 0


def test_a_direction_that_rounding_made_negative_stops_nothing():
    """Two latents and an angle; the second latent is known by the prior alone."""
    curvature = np.diag([3e8, -2.0, 1e3])[None]
    factor = polish_module._factor(curvature)
    assert factor.shape == (1, 2, 2)
    assert np.isfinite(factor).all()
    sound = polish_module._factor(np.diag([4.0, 25.0, 100.0])[None])
    np.testing.assert_allclose(sound[0], np.diag([1 / 2, 1 / 5]), rtol=1e-6)
