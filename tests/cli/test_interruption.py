"""Ctrl-C, kill and a second process: DIR is the old run, the new one, or absent."""

import json
import os
import signal
import time

import pytest
from pipeline.small import small_config

KILL = """
import os, signal, {module} as module
whole = module.{name}
def stop(*arguments, **named):
    {after}
    os.kill(os.getpid(), signal.SIGKILL)
module.{name} = stop
"""
posix = pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def is_reduced(partial):
    def look():
        try:
            note = json.loads((partial / "unfinished" / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return "reduce" in note["done"]

    return look


@posix
def test_ctrl_c_keeps_what_was_done(start, orbistem, scan_file, quick_toml, tmp_path):
    arguments = ("fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml)
    trains = tmp_path / "trains"
    before = (  # a shell's "&" lets its children ignore the signal
        "import pathlib, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"PlainVAE.pause_s = 300.0; PlainVAE.told = pathlib.Path({str(trains)!r})"
    )
    process = start(*arguments, before=before)
    wait_for(is_reduced(tmp_path / "run.partial"), process)
    other = orbistem(*arguments)  # a second process finds the folder in use
    assert other.status == 2
    assert "in use" in other.err
    wait_for(trains.exists, process)  # not while modules are loaded, which may swallow the signal
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "--resume" in err
    assert not (tmp_path / "run").exists()
    done = orbistem(*arguments, "--resume", "-v")
    assert done.status == 0, done.err
    assert "coefficients of the interrupted run are used" in done.err
    assert not (tmp_path / "run.partial").exists()


@posix
@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        ("orbistem.pipeline.fit", "reduce", "pass"),
        ("orbistem.pipeline.fit", "build_examples", "pass"),
        ("orbistem.pipeline.workplace", "swap_directory", "pass"),
        ("orbistem.pipeline.workplace", "swap_directory", "whole(*arguments, **named)"),
    ],
    ids=["reading", "mapping", "before the swap", "after the swap"],
)
def test_kill_leaves_the_old_run_or_the_new_one(
    module, name, after, start, orbistem, scan_file, quick_toml, tmp_path
):
    arguments = ("fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml)
    assert orbistem(*arguments).status == 0
    before = KILL.format(module=module, name=name, after=after)
    process = start(*arguments, "--overwrite", "--seed", "5", before=before)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert orbistem("verify", tmp_path / "run").status == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert run["seed"] == (5 if after != "pass" else small_config().seed)
    done = orbistem(*arguments, "--overwrite", "--seed", "6")  # the lock of a killed process is no obstacle
    assert done.status == 0, done.err
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {scan_file.name, quick_toml.name, "run"}
