"""Sentences on the command line name what was typed."""

import numpy as np
import pytest

from orbistem.cli.app import run
from orbistem.cli.naming import as_typed

OPTIONS = {
    "centre_px": "--centre",
    "scan_shape": "--scan-shape",
    "mask": "--mask",
    "frame_gap": "--frame-gap",
}


@pytest.mark.parametrize(
    ("text", "typed", "want"),
    [
        ("centre_px: want two numbers, got x; correct them", ["--centre", "x"], "--centre: want two numbers"),
        ("mask: want (3, 4); give --mask", ["--mask=a.npy"], "--mask: want (3, 4); give --mask"),
        ("scan_shape: want two; give mask a try", [], "--scan-shape: want two; give mask a try"),
        ("offset, frame-gap: want 0", ["--frame-gap", "-1"], "offset, --frame-gap: want 0"),
        ("it is flat; give centre_px, or wait", [], "it is flat; give --centre, or wait"),
        ("centre_px: want two", ["--config", "a.toml"], "centre_px: want two"),  # a key of the file
        ("/data/mask: odd/centre_px.npy is empty", [], "/data/mask: odd/centre_px.npy is empty"),
        ("mask: want numbers in 'scan_shape'", ["--mask", "a"], "--mask: want numbers in 'scan_shape'"),
    ],
)
def test_words(text, typed, want):
    assert as_typed(text, OPTIONS, typed).startswith(want)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "a.npy", "-o", "out", "--centre", "nan,3"],
        ["fit", "a.npy", "-o", "out", "--centre", "1"],
        ["fit", "a.npy", "-o", "out", "--centre", "500,500"],
        ["fit", "a.npy", "-o", "out", "--scan-rotation", "nan"],
        ["fit", "a.npy", "-o", "out", "--latent-dim", "0"],
        ["fit", "a.npy", "-o", "out", "--angle-zero", "south"],
        ["fit", "a.npy", "-o", "out", "--per-pattern", "perhaps"],
        ["fit", "a.npy", "-o", "out", "--descan", "cubic"],
        ["fit", "a.npy", "-o", "out", "--ellipse", "1"],
        ["fit", "a.npy", "-o", "out", "--seed", "-1"],
        ["fit", "a.npy", "-o", "out", "--gain", "-1"],
        ["fit", "a.npy", "-o", "out", "--memory", "lots"],
        ["symmetry", "a.npy", "-o", "out", "--at", "99,99"],
        ["symmetry", "a.npy", "-o", "out", "--region", "0:99,0:99"],
        ["compare", "a.npy", "-o", "out", "--scan-fold", "3"],
        ["compare", "a.npy", "-o", "out", "--draws", "0"],
        ["compare", "a.npy", "-o", "out", "--components", "0"],
        ["compare", "a.npy", "-o", "out", "--latent-dim", "0"],
        ["compare", "a.npy", "-o", "out", "--within", "-1"],
        ["info", "a.npy", "--gain-map", "zero.npy"],
        ["info", "a.npy", "--mask", "two.npy"],
        ["info", "a.npy", "--shape", "7"],
        ["info", "a.npy", "--roll", "100000"],
        ["info", "a.npy", "--threads", "0"],
        ["info", "a.npy", "--gain", "0"],
        ["simulate", "graphene", "-o", "b.hspy", "--detector-px", "1"],
        ["simulate", "graphene", "-o", "b.hspy", "--scan-shape", "0,1"],
        ["simulate", "graphene", "-o", "b.hspy", "--twist", "77"],
        ["simulate", "graphene", "-o", "b.hspy", "--half-angle", "1e9"],
        ["simulate", "graphene", "-o", "b.hspy", "--hot-pixels", "-1"],
        ["simulate", "graphene", "-o", "b.hspy", "--psf", "-1"],
        ["simulate", "graphene", "-o", "b.hspy", "--semi-angle", "-1"],
        ["simulate", "graphene", "-o", "b.hspy", "--voltage", "-1"],
        ["simulate", "graphene", "-o", "b.hspy", "--phonons", "-1"],
        ["simulate", "graphene", "-o", "b.hspy", "--source", "-1"],
        ["simulate", "graphene", "-o", "b.hspy", "--dose", "-1"],
    ],
    ids=lambda arguments: " ".join([arguments[0], *arguments[-2:]]),
)
def test_the_option_that_was_typed_is_named(tmp_path, rng, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", rng.poisson(5, (8, 7, 12, 10)).astype(np.uint16))
    np.save("zero.npy", np.zeros((12, 10)))
    np.save("two.npy", np.zeros((2, 2)))
    assert run([*arguments, "-q"]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert arguments[-2] in said
    name = arguments[-2][2:].replace("-", "_")
    assert "_" not in name or name not in said
