"""Several hundred broken files: one sentence each, in bounded memory and time, and never half an output."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile.corpus import broken_files
from hostile.sound import patterns, sound_files

from orbistem.io import open_scan

WORKER = Path(__file__).with_name("worker.py")
MEMORY_MIB = 900
"""Beyond what the program takes after it has opened one sound file; the budget asked for is 100 MB."""
SECONDS = 60
"""Of processor time: nothing may hang; the slowest of the corpus needs about three."""
KNOWN = (0, 2)


def test_the_sound_files_are_sound(tmp_path):
    import numpy as np

    for path in sound_files(tmp_path):
        scan = open_scan(path, shape=None if path.suffix in {".npz", ".npy"} else (6, 4))
        assert scan.n_positions == 24, path
        assert np.array_equal(scan.block(0, 24).frames.reshape(patterns().shape), patterns()), path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by means of Linux")
def test_every_broken_file_is_one_sentence(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    paths = list(broken_files(folder))
    assert len(paths) >= 200
    done = subprocess.run(
        [sys.executable, str(WORKER), str(MEMORY_MIB), str(SECONDS), str(folder / "good" / "sound.npy")],
        input="\n".join(map(str, paths)) + "\n",
        env={**os.environ, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(paths)
    findings = []
    for result in results:
        name = Path(result["path"]).name
        for command in ("info", "convert"):
            told = result[command]
            lines = told["err"].strip().splitlines()
            if told["status"] not in KNOWN or "Traceback" in told["err"]:
                findings.append((command, name, told["status"], lines[-3:]))
            elif told["status"] == 2 and (len(lines) != 1 or not lines[0].startswith("orbistem: ")):
                findings.append((command, name, "not one sentence", lines))
        expected = ["out.hspy"] if result["convert"]["status"] == 0 else []
        if result["left"] != expected:
            findings.append(("convert", name, "left behind", result["left"]))
    assert not findings, "\n".join(map(str, findings[:20]))
    told = {Path(result["path"]).name: result["info"]["status"] for result in results}
    secrets = [name for name in told if name.split(".")[0].endswith((" outside", " absolute", " device"))]
    assert len(secrets) >= 6
    assert all(told[name] == 2 for name in secrets)  # nothing outside the folder was read
    assert not list(tmp_path.rglob("*owned*"))  # no code ran, no path was climbed


def test_a_damaged_run_is_one_sentence(tmp_path):
    import h5py
    import numpy as np

    from orbistem.cli.app import run
    from orbistem.errors import FormatError
    from orbistem.result import load

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"schema": 1}', encoding="utf-8")
    with h5py.File(tmp_path / "run" / "maps.nc", "w") as file:
        file["dose"] = np.zeros((4, 5))
    content = (tmp_path / "run" / "maps.nc").read_bytes()
    for number, spoiled in enumerate(
        (content[:900], b"x" * 500, b"", content[:100] + bytes(400) + content[500:])
    ):
        (tmp_path / "run" / "maps.nc").write_bytes(spoiled)
        with pytest.raises(FormatError, match=r"maps\.nc is damaged") as caught:
            load(tmp_path / "run")
        assert "\n" not in str(caught.value)
        np.save(tmp_path / "a.npy", patterns())
        target = str(tmp_path / f"out{number}")
        assert run(["transform", str(tmp_path / "run"), str(tmp_path / "a.npy"), "-o", target]) == 2
        assert not (tmp_path / target).exists()
