"""Writes the small AtomAI rVAE that the test of SpatialVAE compares with; run with the peers' Python.

    peers-python benchmarks/peer_state.py tests/models/data/rvae_state.npz

All weights and inputs are random numbers drawn here; the outputs are what AtomAI's networks and loss make of
them.
"""

import argparse
import contextlib
import importlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from peer_rvae import provide_torchvision

SHAPE, WIDTH, LATENT_DIM, N = (9, 8), 12, 2, 6
ROTATION_PRIOR = 0.7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text, contextlib.redirect_stdout(sys.stderr):
        torch = importlib.import_module("torch")
        provide_torchvision(Path(text))
        atomai = importlib.import_module("atomai")
        coords = importlib.import_module("atomai.utils.coords")
        losses = importlib.import_module("atomai.losses_metrics.vi_losses")

        rng = np.random.default_rng(0)
        model = atomai.models.rVAE(
            SHAPE,
            latent_dim=LATENT_DIM,
            translation=False,
            numhidden_encoder=WIDTH,
            numhidden_decoder=WIDTH,
        )
        with torch.no_grad():
            for net in (model.encoder_net, model.decoder_net):
                for parameter in net.parameters():
                    values = 0.6 * rng.normal(size=tuple(parameter.shape))
                    parameter.copy_(torch.from_numpy(values.astype(np.float32)))
            images = torch.from_numpy(rng.normal(size=(N, *SHAPE)).astype(np.float32))
            mean, log_sd = model.encoder_net(images)
            latent = torch.from_numpy(rng.normal(size=(N, 1 + LATENT_DIM)).astype(np.float32))
            grid = model.x_coord.expand(N, *model.x_coord.size())
            turned = coords.transform_coordinates(grid, latent[:, 0], 0)
            decoded = model.decoder_net(turned, latent[:, 1:])
            evidence = losses.rvae_loss("mse", SHAPE, images, decoded, mean, log_sd, phi_prior=ROTATION_PRIOR)
        arrays = {
            "images": images,
            "mean": mean,
            "log_sd": log_sd,
            "latent": latent,
            "decoded": decoded,
            "evidence": evidence,
        }
        arrays = {name: value.numpy() for name, value in arrays.items()}
        for name, net in (("encoder", model.encoder_net), ("decoder", model.decoder_net)):
            arrays |= {f"{name}:{key}": value.numpy() for key, value in net.state_dict().items()}
        arrays["rotation_prior"] = np.float32(ROTATION_PRIOR)
        arrays["version"] = np.array(atomai.__version__)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(given.output, **arrays)
    print(given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
