"""What follows a training: the library of templates."""

import numpy as np
from models.small import ORDER, as_complex, as_pairs, orders
from models.test_turns import NO_ERROR, net_of

from orbistem.models.finish import _Inference, encoded, latent_frame
from orbistem.models.orbit import OrbitVAEOptions

SITES, COPIES = 12, 16


def test_a_library_of_sites_that_repeat_is_known_better_than_one_pattern_is(rng) -> None:
    """Posterior means under the prior around all modes lie nearer to the sites than the modes do."""
    net = net_of("SO2")
    z = np.repeat(rng.normal(size=(SITES, 2)), COPIES, axis=0).astype(np.float32)
    clean = as_complex(net.decoder(z))
    noise = rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape) * (ORDER > 0)
    pairs = as_pairs(clean + noise)
    infer = _Inference(net, orders(), OrbitVAEOptions(refine_steps=12, samples=16))
    found = infer.posterior(pairs, NO_ERROR, encoded(net, pairs))
    frame = latent_frame(found["z"], found["covariance"])
    modes = found["mode"]
    means = infer.sharpened(pairs, NO_ERROR, modes, frame)

    def scatter(latents: np.ndarray) -> float:
        apart = latents.reshape(SITES, COPIES, 2) @ frame.matrix
        return float(np.mean((apart - apart.mean(axis=1, keepdims=True)) ** 2))

    assert scatter(means) < 0.8 * scatter(modes)
    few = infer.sharpened(pairs[:4], NO_ERROR, modes[:4], frame)  # too few for a density
    np.testing.assert_array_equal(few, modes[:4])
