"""Every method behind the one protocol: shapes, storage, what it explains, and what turns do to it."""

from dataclasses import replace

import numpy as np
import pytest
from models import lobes

from orbistem.errors import InputError, OptionError
from orbistem.metrics import fold_error
from orbistem.models.invariants import InvariantsOptions
from orbistem.models.linear import LinearOptions, signal_share
from orbistem.models.methods import Effort, find_method
from orbistem.models.pixels import PixelSpace

LINEAR = ("pca", "nmf", "ica", "gmm", "kmeans")
INVARIANT = ("com", "harmonics", "bispectrum")
FOLDED = 0.1  # noise alone: 0.01 to 0.05
EXPLAINED = {
    "pca": 0.95,
    "nmf": 0.8,
    "ica": 0.95,
    "gmm": 0.5,
    "kmeans": 0.5,
    "com": 0.2,
    "harmonics": 0.95,
    "bispectrum": 0.95,
}


def fit(name, given, seed=0):
    effort = Effort(seed=seed, latent_dim=2, components=8)
    return find_method(name).fit(given.frames, plan=given.plan, effort=effort)[0]


@pytest.fixture(scope="module")
def given():
    return lobes.make(np.random.default_rng(5))


@pytest.mark.parametrize("name", LINEAR + INVARIANT)
def test_the_protocol(name, given):
    model = fit(name, given)
    found = model.encode(given.frames)
    n, d = len(given.frames), model.latent_dim
    assert found.z.shape == found.z_sd.shape == (n, d)
    for one in (found.angle, found.angle_sd, found.angle_order, found.evidence, found.residual):
        assert one.shape == (n,)
    assert np.isfinite(found.z).all()
    assert ((found.angle >= 0) & (found.angle < 2 * np.pi)).all()
    drawn = model.decode(found.z, found.angle)
    assert drawn.shape == given.frames.shape
    if name not in ("pca", "ica"):  # these take the noise out of their scores
        assert np.allclose(model.predict(given.frames), drawn, rtol=1e-3)
    assert lobes.explained(given, model) > EXPLAINED[name]


@pytest.mark.parametrize("name", LINEAR + INVARIANT)
def test_stored_and_read_again(name, given):
    model = fit(name, given)
    arrays, values = model.state()
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())
    again = type(model).from_state(arrays, values)
    some = given.frames[:20]
    assert np.array_equal(again.encode(some).z, model.encode(some).z)
    assert np.array_equal(again.predict(some), model.predict(some))


@pytest.mark.parametrize("name", LINEAR + INVARIANT)
def test_who_is_invariant(name, given):
    """Latents of turned copies: equal within the noise for invariants, like strangers for the others."""
    model = fit(name, given)
    rng = np.random.default_rng(6)
    content = np.repeat(given.content[::4], 2)
    copies = lobes.draw(content, rng.uniform(0, 2 * np.pi, 80))
    z = model.encode(rng.poisson(copies)).z
    error = fold_error(z, np.arange(80).reshape(-1, 2))
    if name in INVARIANT:
        assert error < FOLDED
    else:
        assert error > 0.5


@pytest.mark.parametrize("name", INVARIANT)
def test_angles_follow_the_turn(name, given):
    model = fit(name, given)
    rng = np.random.default_rng(7)
    by = rng.uniform(0, 2 * np.pi, 40)
    still = model.encode(rng.poisson(lobes.draw(given.content[::4], given.angle[::4])))
    moved = model.encode(rng.poisson(lobes.draw(given.content[::4], given.angle[::4] + by)))
    away = np.degrees(np.abs(np.angle(np.exp(1j * (moved.angle - still.angle - by)))))
    assert np.median(away) < 2


def test_pca_has_unit_noise(given):
    model = fit("pca", given)
    rng = np.random.default_rng(8)
    draws = rng.poisson(np.repeat(given.clean[:1], 1000, axis=0))
    found = model.encode(draws)
    assert np.allclose(found.z.std(axis=0), found.z_sd[0], rtol=0.15)


def test_the_noise_is_taken_out_as_well_as_by_trying(rng):
    """No other factor on the first component gives a smaller error, and noise is left out altogether."""
    n, p, size = 300, 200, 60.0
    u, v = rng.normal(size=n), rng.normal(size=p)
    clean = size * np.outer(u / np.linalg.norm(u), v / np.linalg.norm(v))
    left, singular, right = np.linalg.svd(clean + rng.normal(size=(n, p)), full_matrices=False)
    share = signal_share(singular, (n, p))
    tried = np.linspace(0, 1, 101)
    errors = [np.sum((f * singular[0] * np.outer(left[:, 0], right[0]) - clean) ** 2) for f in tried]
    assert share[0] == pytest.approx(tried[np.argmin(errors)], abs=0.02)
    assert not share[2:].any()


@pytest.mark.parametrize("name", ["pca", "ica"])
def test_predictions_of_faint_patterns_are_no_worse_than_the_mean(name, rng):
    faint = lobes.make(rng, dose=3e3)
    model = fit(name, faint)
    apart = (
        (model.decode(model.encode(faint.frames).z, np.zeros(160)) - faint.clean) * faint.plan.weight
    ) ** 2
    signal = ((faint.clean - faint.plan.clean_mean) * faint.plan.weight) ** 2
    assert lobes.explained(faint, model) > 1 - apart.sum() / signal.sum()
    assert lobes.explained(faint, model) > 0


def test_pixels_return(given):
    for scaling in ("noise", "range"):
        space = PixelSpace.of(given.plan, given.frames, scaling=scaling)
        assert np.allclose(space.electrons(space.images(given.frames)), given.frames, atol=1e-2)
    assert np.ptp(space.images(given.frames) / space.factor) == pytest.approx(
        np.ptp(given.frames - given.plan.clean_mean), rel=1e-4
    )


def test_noise_alone_says_so(given, rng):
    isotropic = given.plan.clean_mean
    given = replace(given, frames=rng.poisson(np.repeat(isotropic[None], 60, axis=0)))
    with pytest.raises(InputError, match="above the noise"):
        fit("harmonics", given)


def test_wrong_options():
    with pytest.raises(OptionError, match="pca, nmf"):
        find_method("tsne")
    with pytest.raises(OptionError, match="pca, nmf"):
        LinearOptions(kind="svd")
    with pytest.raises(OptionError, match="harmonics or bispectrum"):
        InvariantsOptions(kind="moments")
