"""Odd things in the place of files and numbers: one sentence, exit status 2, nothing waits or is left."""

import os
import sys

import h5py
import numpy as np
import pytest

from orbistem.cli.app import run
from orbistem.errors import FormatError, OptionError
from orbistem.models.orbit_vae import OrbitOptions


@pytest.fixture
def place(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", rng.poisson(5, (6, 5, 12, 10)).astype(np.uint16))
    with open("junk.npy", "w", encoding="utf-8") as file:
        file.write("no array at all")
    return tmp_path


def refused(capsys, *arguments):
    assert run([*arguments, "-q"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("orbistem: ")
    return lines[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_file(place, capsys):
    """Reading a pipe that nobody writes to never ends."""
    for name in ("pipe.npy", "pipe.toml", "pipe.csv"):
        os.mkfifo(name)
    assert "pipe" in refused(capsys, "info", "pipe.npy")
    assert "pipe" in refused(capsys, "convert", "pipe.npy", "out.hspy")
    assert "pipe" in refused(capsys, "info", "good.npy", "--mask", "pipe.npy")
    assert "pipe" in refused(capsys, "info", "good.npy", "--gain-map", "pipe.npy")
    assert "give a TOML file" in refused(capsys, "fit", "good.npy", "-o", "out", "--config", "pipe.toml")
    refused(capsys, "info", "good.npy", "--positions", "pipe.csv")
    os.mkdir("frames")
    for number in range(3):
        np.save(f"frames/f{number}.npy", np.ones((4, 5)) * np.arange(5))
    os.mkfifo("frames/f3.npy")
    assert run(["info", "frames", "-q"]) == 0  # what is no file is no frame
    assert sorted(p.name for p in place.iterdir() if p.name.startswith("out")) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_an_hdf5_file_that_points_to_a_pipe_is_not_followed(place, capsys):
    os.mkfifo("pipe.raw")
    with h5py.File("link.h5", "w") as file:
        file["data"] = h5py.ExternalLink("pipe.raw", "/data")
    with h5py.File("storage.h5", "w") as file:
        file.create_dataset("data", (6, 5, 12, 10), "u2", external=[("pipe.raw", 0, 7200)])
    for name in ("link.h5", "storage.h5"):
        assert "holds no stack" in refused(capsys, "info", name)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_nowhere(place, capsys):
    os.symlink("b.npy", "a.npy")
    os.symlink("a.npy", "b.npy")
    os.symlink("/nowhere/at all.npy", "dangling.npy")
    refused(capsys, "info", "a.npy")
    assert "does not exist" in refused(capsys, "info", "dangling.npy")


def test_a_table_of_positions_that_is_none(place, capsys):
    assert "positions: junk.npy is no readable table" in refused(
        capsys, "info", "good.npy", "--positions", "junk.npy"
    )


def test_a_frame_that_is_none_gets_no_unsafe_advice(place, capsys):
    os.mkdir("frames")
    np.save("frames/f0.npy", np.ones((4, 5)) * np.arange(5))
    os.rename("junk.npy", "frames/f1.npy")
    said = refused(capsys, "info", "frames")
    assert "f1.npy is damaged" in said
    assert "allow_pickle" not in said


@pytest.mark.parametrize(
    ("name", "value"), [("latent_dim", -1), ("latent_dim", 10**9), ("encoder_width", -1), ("draws", -1)]
)
def test_networks_that_cannot_be_are_refused_when_written(name, value):
    with pytest.raises(OptionError, match=rf"^{name}: want a number from"):
        OrbitOptions(**{name: value})


def test_no_latent_is_refused_before_the_file_is_read(place, capsys):
    assert "--latent-dim: want" in refused(capsys, "fit", "good.npy", "-o", "out", "--latent-dim", "0")
    assert not os.path.exists("out")


def test_wrong_names_are_answered_with_the_right_ones(place, capsys):
    for command in ("fit", "symmetry"):
        said = refused(capsys, command, "good.npy", "-o", "out", "--reference", "perfect")
        assert all(name in said for name in ("auto", "all", "Y0:Y1,X0:X1", ".npy", "got perfect"))
    said = refused(capsys, "fit", "good.npy", "-o", "out", "--group", "C5")
    assert all(name in said for name in ("auto", "SO2", "O2", "C6", "D6", "'C5'"))
    assert "want" in refused(capsys, "fit", "good.npy", "-o", "out", "--reference", "0:2,0")


def test_names_that_cannot_be(place, capsys):
    """Too long, below a file, in a circle of links: a sentence, wherever the name is given."""
    os.symlink("circle", "circle")
    for name in ("a" * 300, "good.npy/x", "circle/x"):
        refused(capsys, "info", name)
        refused(capsys, "verify", name)
        refused(capsys, "transform", name, "good.npy", "-o", "out")
        refused(capsys, "symmetry", "good.npy", "-o", name)
        for option in ("--mask", "--gain-map", "--positions"):
            refused(capsys, "info", "good.npy", option, name)
        for option in ("--config", "--background", "--reference"):
            refused(capsys, "symmetry", "good.npy", "-o", "out", option, name)
    assert not os.path.lexists("out")


def test_odd_things_in_the_place_of_a_model(place, capsys, tmp_path):
    from orbistem.pipeline.workplace import is_our_run
    from orbistem.result.model_files import read_model

    os.makedirs("model/model.json")
    with pytest.raises(FormatError, match=r"model\.json is no file"):
        read_model(tmp_path / "model")
    os.makedirs("run")
    for text in ('{"schema": 1, "versions": 5}', "[" * 100_000, "null"):
        (tmp_path / "run" / "run.json").write_text(text, encoding="utf-8")
        assert not is_our_run(tmp_path / "run")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_verify_does_not_wait_for_a_pipe(place, capsys):
    os.makedirs("run")
    os.mkfifo("run/maps.nc")
    with open("run/run.json", "w", encoding="utf-8") as file:
        file.write('{"schema": 1, "files": {"maps.nc": "0"}}')
    assert "maps.nc is missing" in refused(capsys, "verify", "run")


def test_a_file_that_is_gone_while_it_is_read(place, capsys, monkeypatch, rng):
    from orbistem import io

    with h5py.File("scan.h5", "w") as file:
        file["data"] = rng.poisson(5, (6, 5, 12, 10)).astype(np.uint16)
    describe = io.describe

    def vanish(scan):
        os.remove("scan.h5")
        return describe(scan)

    monkeypatch.setattr(io, "describe", vanish)
    assert "scan.h5" in refused(capsys, "info", "scan.h5")


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", ""),
        ("info", " "),
        ("convert", "good.npy", ""),
        ("convert", "", "out.hspy"),
        ("fit", "good.npy", "-o", ""),
        ("fit", "good.npy", "--output="),
        ("fit", "", "-o", "out"),
        ("symmetry", "good.npy", "-o", ""),
        ("compare", "good.npy", "-o", ""),
        ("transform", "", "good.npy", "-o", "out"),
        ("transform", "good.npy", "", "-o", "out"),
        ("verify", ""),
        ("demo", "-o", ""),
        ("simulate", "graphene", "-o", ""),
        ("simulate", ""),
        ("info", "good.npy", "--mask", ""),
        ("info", "good.npy", "--gain-map="),
        ("info", "good.npy", "--positions", ""),
        ("info", "good.npy", "--dataset", ""),
        ("fit", "good.npy", "-o", "out", "--config", ""),
        ("fit", "good.npy", "-o", "out", "--background", ""),
        ("fit", "good.npy", "-o", "out", "--reference", ""),
        ("info", "good.npy", "--log-file", ""),
    ],
)
def test_an_empty_name_is_not_the_current_folder(place, capsys, arguments):
    before = sorted(os.listdir())
    assert "empty argument" in refused(capsys, *arguments)
    assert sorted(os.listdir()) == before


def test_an_empty_name_in_python(place):
    from orbistem.errors import InputError
    from orbistem.io import open_scan

    with pytest.raises(InputError, match="empty"):
        open_scan("")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_overwrite_replaces_files_and_folders_only(place, capsys, kind):
    import socket
    import stat
    import subprocess

    def make(name):
        if kind == "pipe":
            os.mkfifo(name)
        elif kind == "device":
            os.symlink(os.devnull, name)
        else:
            code = f"import socket; socket.socket(socket.AF_UNIX).bind({name!r})"
            subprocess.run([sys.executable, "-c", code], check=True)

    assert hasattr(socket, "AF_UNIX")
    for name in ("a.hspy", "a.zspy", "b.h5", "c.truth.nc", "out"):
        make(name)
        before = os.stat(name)
        if name == "out":
            refused(capsys, "fit", "good.npy", "-o", name, "--overwrite")
        elif name == "c.truth.nc":
            assert "stays" in refused(capsys, "simulate", "graphene", "-o", "c.hspy", "--overwrite")
        else:
            assert "stays" in refused(capsys, "convert", "good.npy", name, "--overwrite")
        if name.startswith("a."):
            assert "stays" in refused(capsys, "simulate", "graphene", "-o", name, "--overwrite")
        assert stat.S_IFMT(os.stat(name).st_mode) == stat.S_IFMT(before.st_mode)
        assert os.stat(name).st_ino == before.st_ino


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_log_into_a_pipe_that_nobody_reads_does_not_wait(place, capsys):
    os.mkfifo("pipe")
    assert "log file: pipe cannot be written" in refused(capsys, "info", "good.npy", "--log-file", "pipe")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_that_is_no_utf8(place, encoding):
    """Bytes from an older disk: shown and written with escapes, never a traceback."""
    import json
    import subprocess

    name = os.fsdecode(b"\xff grau.npy")
    os.rename("good.npy", name)
    calls = (
        ("info", name),
        ("--json", "info", name),
        ("convert", name, f"{name}.h5"),
        ("convert", name, f"{name}.zspy"),
        ("convert", name, "..h5"),
        ("info", f"{name}.h5"),
    )
    for arguments in calls:
        done = subprocess.run(
            [sys.executable, "-m", "orbistem", *arguments],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if arguments[0] == "--json":
            json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_run_of_a_name_that_is_no_utf8(place, orbistem, quick_toml):
    name = os.fsdecode(b"\xff grau.npy")
    os.rename("good.npy", name)
    assert orbistem("fit", name, "-o", f"{name} run", "--config", quick_toml).status == 0
    assert orbistem("--json", "verify", f"{name} run").summary["well"]


@pytest.mark.parametrize("command", ["fit good.npy -o out", "compare good.npy -o out", "demo -o out",
                                     "symmetry good.npy -o out --config seed.toml",
                                     "simulate graphene -o out.hspy"])  # fmt: skip
@pytest.mark.parametrize("seed", ["-1", "99999999999999999999"])
def test_seeds_that_no_generator_takes(place, capsys, command, seed):
    with open("seed.toml", "w", encoding="utf-8") as file:
        file.write(f"seed = {seed}\n")
    given = [] if "seed.toml" in command else ["--seed", seed]
    assert "seed: want a number from 0" in refused(capsys, *command.split(), *given)
    assert not any(name.startswith("out") for name in os.listdir())


@pytest.mark.parametrize("name", [".", "..", "/", "x", "x.h5"])
def test_names_that_no_simulation_can_have(place, capsys, name):
    assert "--output: want a name that ends in .hspy or .zspy" in refused(
        capsys, "simulate", "graphene", "-o", name
    )


@pytest.mark.parametrize("content", ['"' + "x" * 200_000 + '",1\n', '"1,2\n' * 30, "1,5;2,5\n" * 30])
def test_lists_of_positions_that_are_none(place, capsys, content):
    with open("list.csv", "w", encoding="utf-8") as file:
        file.write(content)
    assert "--positions: want" in refused(capsys, "info", "good.npy", "--positions", "list.csv")
    np.save("flat.npy", np.load("good.npy").reshape(30, 12, 10))
    os.rename("list.csv", "positions.csv")  # beside a file it is left out
    assert run(["info", "flat.npy", "-q"]) == 0
