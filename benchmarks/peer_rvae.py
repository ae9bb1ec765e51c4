"""Training speed of AtomAI's rVAE; run by speed.py with the Python of the peers' environment.

    peers-python benchmarks/peer_rvae.py --px 64 --batch 100 --threads 2 --seconds 20

Prints one line of JSON. AtomAI imports torchvision for networks that rVAE does not use; where torchvision
cannot be loaded, a stand-in without content takes its place.
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

STAND_IN = {
    "__init__.py": "",
    "models.py": "mobilenet_v2 = resnet50 = vgg16 = None\n",
    "utils.py": "make_grid = None\n",
}


def provide_torchvision(folder: Path) -> bool:
    """Make ``import torchvision`` work; True where the stand-in is used."""
    try:
        importlib.import_module("torchvision.models")
        importlib.import_module("torchvision.utils")
    except Exception:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        package = folder / "torchvision"
        package.mkdir()
        for name, text in STAND_IN.items():
            (package / name).write_text(text, encoding="utf-8")
        sys.path.insert(0, str(folder))
        return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text, contextlib.redirect_stdout(sys.stderr):
        torch = importlib.import_module("torch")

        torch.set_num_threads(given.threads)
        stand_in = provide_torchvision(Path(text))
        atomai = importlib.import_module("atomai")

        rng = np.random.default_rng(0)
        patterns = rng.uniform(size=(2 * given.batch, given.px, given.px)).astype(np.float32)
        model = atomai.models.rVAE((given.px, given.px), latent_dim=2, translation=False)
        model.fit(patterns, training_cycles=1, batch_size=given.batch, filename=str(Path(text) / "model"))
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < given.seconds:
            model.train_epoch()
            done += len(patterns)
        seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "patterns_per_s": done / seconds,
                "atomai": atomai.__version__,
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "stand_in": stand_in,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
