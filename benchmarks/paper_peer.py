"""AtomAI's rVAE on the paper's scan with the paper's settings; run by paper_speed.py with the peers' Python.

    peers-python benchmarks/paper_peer.py FOLDER --seconds 700 --until 0.6 --threads 2

FOLDER holds ``images.npy`` (n, px, px), float32: patterns minus their mean, over their range; and
``clean.npy``, the same without noise. Prints a line of JSON after each evaluation: seconds of training so
far, explained variance of the clean images, spread of the latents.
"""

import argparse
import contextlib
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peer_rvae import provide_torchvision

BATCH, LATENT_DIM = 20, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=700.0)
    parser.add_argument("--until", type=float, default=0.6)
    parser.add_argument("--every", type=float, default=60.0, help="seconds of training between evaluations")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text, contextlib.redirect_stdout(sys.stderr):
        torch = importlib.import_module("torch")
        torch.set_num_threads(given.threads)
        provide_torchvision(Path(text))
        atomai = importlib.import_module("atomai")
        coords = importlib.import_module("atomai.utils.coords")

        started = time.perf_counter()
        images = np.load(given.folder / "images.npy")
        clean = np.load(given.folder / "clean.npy")
        model = atomai.models.rVAE(images.shape[1:], latent_dim=LATENT_DIM, translation=False)
        model.compile_trainer(
            (images, None), (None, None), training_cycles=1, batch_size=BATCH, filename=str(Path(text) / "m")
        )
        model.loss, model.dx_prior = "mse", None
        model.kdict_["phi_prior"] = float(np.pi / 2)
        trained = time.perf_counter() - started

        def explained() -> tuple[float, list[float]]:
            model.encoder_net.eval()
            model.decoder_net.eval()
            missed, spread = 0.0, []
            with torch.no_grad():
                for i in range(0, len(images), 8):
                    block = torch.from_numpy(images[i : i + 8])
                    mean, _ = model.encoder_net(block)
                    grid = model.x_coord.expand(len(block), *model.x_coord.size())
                    drawn = model.decoder_net(coords.transform_coordinates(grid, mean[:, 0], 0), mean[:, 1:])
                    missed += float(((drawn.numpy() - clean[i : i + 8]) ** 2).sum())
                    spread.append(mean[:, 1:].numpy())
            total = float(((clean - clean.mean(axis=0)) ** 2).sum())
            return 1 - missed / total, np.concatenate(spread).std(axis=0).tolist()

        epochs, shown = 0, 0.0
        while trained < given.seconds:
            began = time.perf_counter()
            model.train_epoch()
            trained += time.perf_counter() - began
            epochs += 1
            if trained - shown < given.every and trained < given.seconds:
                continue
            shown = trained
            value, spread = explained()
            line = {
                "seconds": trained,
                "epochs": epochs,
                "explained": value,
                "latent_spread": spread,
                "atomai": atomai.__version__,
                "torch": torch.__version__,
            }
            print(json.dumps(line), file=sys.__stdout__, flush=True)
            if value >= given.until:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
