"""Model files whose checksum is right and whose content is not: one sentence at loading, no full memory."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from orbistem.durable import sha256_file
from orbistem.errors import FormatError
from orbistem.result.trained import TrainedModel


@pytest.fixture
def change(real_run, tmp_path):
    """Save the model with changed arrays or facts, as somebody who knows the format would."""

    def write(arrays=lambda found: None, facts=lambda parts: None):
        real_run[1].model.save(tmp_path / "model")
        stored = tmp_path / "model" / "model.safetensors"
        found = dict(load_file(stored))
        arrays(found)
        save_file({name: np.ascontiguousarray(array) for name, array in found.items()}, stored)
        about = json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))
        facts(about["parts"])
        about["sha256"] = sha256_file(stored)
        (tmp_path / "model" / "model.json").write_text(json.dumps(about), encoding="utf-8")
        return tmp_path / "model"

    return write


def test_as_it_was(change):
    assert TrainedModel.load(change()).latent_dim == 2


def test_every_array_of_another_shape_is_refused(change, real_run, tmp_path):
    real_run[1].model.save(tmp_path / "names")
    for name, array in load_file(tmp_path / "names" / "model.safetensors").items():
        if name.startswith(("plan.", "readout.")) or not array.size:
            continue
        with pytest.raises(FormatError, match="damaged"):
            TrainedModel.load(change(lambda found, name=name: found.update({name: found[name][..., None]})))


def test_orders_and_latents_that_are_not_there(change):
    for name, value in (("basis.order", 500), ("orbit_vae.order", 0.5)):
        with pytest.raises(FormatError, match="damaged"):
            TrainedModel.load(
                change(lambda found, n=name, v=value: found.update({n: found[n] * 0 + np.asarray(v)}))
            )
    for wrong in ({"order": [5, 7]}, {"order": [0, 0]}, {"sign": [1.0]}, {"sign": [1.0, 3.0]}):
        with pytest.raises(FormatError, match=r"latents\.\w+ does not fit"):
            TrainedModel.load(change(facts=lambda parts, wrong=wrong: parts["latents"].update(wrong)))


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ((), {"centre_px": [1e9, 1e9]}),
        ((), {"centre_px": [float("nan"), 0.0]}),
        ((), {"pixel_scale": [1.0, 1e9]}),
        ((), {"pixel_scale": [0.0, 0.0]}),
        ((), {"ellipse": [1e9, 0.0]}),
        (("rings",), {"spacing_px": 1e-9}),
    ],
)
def test_geometries_that_would_fill_the_memory(change, where, wrong):
    def facts(parts):
        table = parts["plan"]
        for key in where:
            table = table[key]
        table.update(wrong)

    with pytest.raises(FormatError, match="damaged"):
        TrainedModel.load(change(facts=facts))
