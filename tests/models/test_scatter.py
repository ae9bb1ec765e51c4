"""What `latent_sd` says: by how much a latent scatters when its site is measured again."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from models.small import EIGENVALUE, OPTIONS, ORDER, as_complex, as_pairs, orders, turned
from models.test_turns import NO_ERROR, net_of

from orbistem.models.empirical import around
from orbistem.models.finish import _Inference, encoded, evenly, finish, latent_frame
from orbistem.models.orbit import LatentFrame, OrbitVAE, OrbitVAEOptions
from orbistem.models.scatter import scatter_of_repeats

SITES, COPIES = 40, 16


def measured(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With unit noise for each real degree of freedom."""
    noise = rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape) * (ORDER > 0)
    return clean + noise


@pytest.mark.slow
@pytest.mark.parametrize("group", ["SO2", "O2"])
def test_repeats_lie_within_one_sd_of_the_noise_free_pattern_as_often_as_they_should(rng, group) -> None:
    """Where sites repeat the posterior's own sd says too much: the scan's prior draws repeats together."""
    net = net_of(group)
    z = np.repeat(rng.normal(size=(SITES, 2)), COPIES, axis=0).astype(np.float32)
    clean = turned(as_complex(net.decoder(z)), rng.uniform(0, 2 * np.pi, len(z)))
    pairs = as_pairs(measured(clean, rng))
    options = OrbitVAEOptions(net=OPTIONS, group=group, refine_steps=12, samples=16)
    infer = _Inference(net, orders(), options)
    library = infer.posterior(pairs, NO_ERROR, encoded(net, pairs))["mode"]
    found = infer.posterior(pairs, NO_ERROR, library)
    frame = latent_frame(found["z"], found["covariance"])
    library = infer.sharpened(pairs, NO_ERROR, library, frame)
    prior = around(library, frame.matrix, frame.activity)
    posterior = partial(infer.posterior, model_error=NO_ERROR, library=library, prior=prior)
    scatter = scatter_of_repeats(posterior, net, evenly(library, 256), NO_ERROR, frame, orders(), seed=0)
    model = OrbitVAE(
        net,
        model_error=NO_ERROR,
        library=library,
        frame=replace(frame, scatter=scatter),
        orders=orders(),
        eigenvalue=EIGENVALUE,
        options=options,
    )
    assert model.active.all()
    known = model.encode(clean).z
    again = [model.encode(measured(clean, rng)) for _ in range(2)]
    away = np.concatenate([np.abs(one.z - known) / one.z_sd for one in again])
    share, by_posterior = (away <= 1).mean(axis=0), (away * scatter <= 1).mean(axis=0)
    # library entries lie beside these few sites, and repeats of their templates scatter a tenth more
    assert ((share > 0.63) & (share < 0.77)).all()
    assert (by_posterior > share + 0.07).all()


def test_a_latent_that_is_not_in_use_keeps_the_sd_of_its_posterior() -> None:
    frame = LatentFrame(centre=np.zeros(2), matrix=np.eye(2), activity=np.array([9.0, 1.5]))
    given: list[np.ndarray] = []

    def posterior(pairs: np.ndarray) -> dict[str, np.ndarray]:
        given.append(pairs)
        moved = np.full((len(pairs), 2), 0.25 * (len(given) == 2))
        return {"z": moved, "covariance": np.tile(np.eye(2), (len(pairs), 1, 1))}

    library = np.zeros((16, 2), np.float32)
    scatter = scatter_of_repeats(posterior, net_of("SO2"), library, NO_ERROR, frame, orders(), seed=0)
    np.testing.assert_allclose(scatter, [0.25, 1.0])
    noise = given[1].reshape(-1, 16, len(ORDER), 2) - given[0]
    assert np.all(noise[..., ORDER == 0, 1] == 0)  # order 0 is real
    assert 0.8 < noise[:, :, ORDER > 0].std() < 1.2


def test_scatter_is_stored_and_models_without_it_load() -> None:
    bare = LatentFrame(centre=np.zeros(2), matrix=np.eye(2), activity=np.array([9.0, 8.0]))
    library = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    sd = {}
    for name, frame in {"bare": bare, "scaled": replace(bare, scatter=np.array([0.5, 0.7]))}.items():
        model = OrbitVAE(
            net_of("SO2"),
            model_error=NO_ERROR,
            library=library,
            frame=frame,
            orders=orders(),
            eigenvalue=EIGENVALUE,
            options=OrbitVAEOptions(net=OPTIONS, group="SO2", refine_steps=6, samples=8),
        )
        arrays, values = model.state()
        assert ("frame.scatter" in arrays) == (name == "scaled")
        clean = as_complex(net_of("SO2").decoder(np.ones((4, 2), np.float32)))
        sd[name] = OrbitVAE.from_state(arrays, values).encode(clean).z_sd
    np.testing.assert_allclose(sd["scaled"], sd["bare"] * [0.5, 0.7], rtol=1e-5)


def test_a_finished_model_knows_how_its_latents_scatter(rng) -> None:
    net = net_of("SO2")
    clean = as_complex(net.decoder(rng.normal(size=(64, 2)).astype(np.float32)))
    options = OrbitVAEOptions(net=OPTIONS, group="SO2", refine_steps=6, samples=8)
    given = {"pairs": as_pairs(measured(clean, rng)), "orders": orders(), "eigenvalue": EIGENVALUE}
    model = finish(net, NO_ERROR, options=options, seed=0, **given)
    scatter = model.state()[0]["frame.scatter"]
    assert ((scatter > 0.2) & (scatter < 1.5)).all()
    compared = finish(net, NO_ERROR, options=options, seed=0, only_compared=True, **given)
    assert "frame.scatter" not in compared.state()[0]
