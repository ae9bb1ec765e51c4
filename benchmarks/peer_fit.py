"""Train another program's network and encode with it; run by peers.py with the peers' Python.

    peers-python benchmarks/peer_fit.py FOLDER --program atomai|pyroved --seconds 300 --threads 1

FOLDER holds ``fitted.npy`` (n, px, px), float32: patterns minus their mean, over their range; and more
more of the same kind to encode, those of ``again.npy``, ``turned.npy`` and ``quarter.npy`` that are there.
Writes ``PROGRAM.npz``: angle and latents of each stack with their standard deviations, and what is decoded
from those of the first. Prints one line of JSON. The time is that of the processor, so that a busy machine
does not shorten the training; --wall ends it anyhow.
"""

import argparse
import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peer_rvae import provide_torchvision

LATENT_DIM = 2
STACKS = ("fitted", "again", "turned", "quarter")
BLOCK = 16
ROTATION_PRIOR = float(np.pi / 2)
BATCH = {"atomai": 20, "pyroved": 100}
"""The paper's, and pyroVED's default."""


class AtomAI:
    """rVAE with the paper's settings."""

    def __init__(self, torch: Any, images: np.ndarray, folder: Path) -> None:
        self.torch = torch
        atomai = importlib.import_module("atomai")
        self.coords = importlib.import_module("atomai.utils.coords")
        self.version = atomai.__version__
        self.model = atomai.models.rVAE(images.shape[1:], latent_dim=LATENT_DIM, translation=False)
        self.model.compile_trainer(
            (images, None),
            (None, None),
            training_cycles=1,
            batch_size=BATCH["atomai"],
            filename=str(folder / "m"),
        )
        self.model.loss, self.model.dx_prior = "mse", None
        self.model.kdict_["phi_prior"] = ROTATION_PRIOR

    def epoch(self) -> None:
        """Train once on all images."""
        self.model.train_epoch()

    def encode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations (n, 1 + latents) of angle and latents."""
        self.model.encoder_net.eval()
        with self.torch.no_grad():
            mean, log_sd = self.model.encoder_net(self.torch.from_numpy(images))
        return mean.numpy(), np.exp(log_sd.numpy())

    def decode(self, mean: np.ndarray) -> np.ndarray:
        """Images of means."""
        self.model.decoder_net.eval()
        with self.torch.no_grad():
            given = self.torch.from_numpy(mean)
            grid = self.model.x_coord.expand(len(mean), *self.model.x_coord.size())
            turned = self.coords.transform_coordinates(grid, given[:, 0], 0)
            return np.asarray(self.model.decoder_net(turned, given[:, 1:]).numpy())


class PyroVED:
    """iVAE with default settings, for images without limits: a Gaussian sampler, no sigmoid."""

    def __init__(self, torch: Any, images: np.ndarray, folder: Path) -> None:
        del folder
        self.torch = torch
        pyroved = importlib.import_module("pyroved")
        self.coord = importlib.import_module("pyroved.utils.coord")
        self.version = pyroved.__version__
        self.model = pyroved.models.iVAE(
            images.shape[1:], latent_dim=LATENT_DIM, invariances=["r"], sampler_d="gaussian", sigmoid_d=False
        )
        self.trainer = pyroved.trainers.SVItrainer(self.model)
        self.loader = pyroved.utils.init_dataloader(torch.from_numpy(images), batch_size=BATCH["pyroved"])

    def epoch(self) -> None:
        """Train once on all images."""
        self.trainer.step(self.loader)

    def encode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations (n, 1 + latents) of angle and latents."""
        with self.torch.no_grad():
            mean, sd = self.model.encode(self.torch.from_numpy(images))
        return mean.numpy(), sd.numpy()

    def decode(self, mean: np.ndarray) -> np.ndarray:
        """Images of means."""
        with self.torch.no_grad():
            given = self.torch.from_numpy(mean)
            grid = self.model.grid.expand(len(mean), *self.model.grid.shape)
            turned = self.coord.transform_coordinates(grid, given[:, 0], 0, self.torch.ones(len(mean)))
            return np.asarray(self.model.decoder(turned, given[:, 1:]).numpy())


PROGRAMS: dict[str, Callable[[Any, np.ndarray, Path], Any]] = {"atomai": AtomAI, "pyroved": PyroVED}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--program", choices=tuple(PROGRAMS), required=True)
    parser.add_argument("--seconds", type=float, default=300.0, help="of the processor")
    parser.add_argument("--wall", type=float, default=900.0, help="and no longer than this")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text, contextlib.redirect_stdout(sys.stderr):
        torch = importlib.import_module("torch")
        torch.set_num_threads(given.threads)
        provide_torchvision(Path(text))
        stacks = {
            name: np.load(given.folder / f"{name}.npy")
            for name in STACKS
            if (given.folder / f"{name}.npy").is_file()
        }
        program = PROGRAMS[given.program](torch, stacks["fitted"], Path(text))
        epochs, began, began_wall = 0, time.process_time(), time.perf_counter()
        while time.process_time() - began < given.seconds and time.perf_counter() - began_wall < given.wall:
            program.epoch()
            epochs += 1
        spent, wall = time.process_time() - began, time.perf_counter() - began_wall
        arrays: dict[str, np.ndarray] = {}
        for name, images in stacks.items():
            parts = [program.encode(images[i : i + BLOCK]) for i in range(0, len(images), BLOCK)]
            mean, sd = (np.concatenate(part) for part in zip(*parts, strict=True))
            arrays |= {f"{name}.mean": mean, f"{name}.sd": sd}
        mean = arrays["fitted.mean"]
        drawn = [program.decode(mean[i : i + BLOCK]) for i in range(0, len(mean), BLOCK)]
        arrays["predicted"] = np.concatenate(drawn).reshape(stacks["fitted"].shape)
        np.savez(given.folder / f"{given.program}.npz", **arrays)
    line = {
        "program": given.program,
        "version": program.version,
        "torch": torch.__version__,
        "epochs": epochs,
        "steps": epochs * -(-len(stacks["fitted"]) // BATCH[given.program]),
        "processor_s": spent,
        "wall_s": wall,
        "threads": given.threads,
    }
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
