"""`python -m orbistem` is the program, and importing it does nothing."""

import multiprocessing
import runpy
import subprocess
import sys

import pytest


def test_the_module_is_the_program():
    done = subprocess.run(
        [sys.executable, "-m", "orbistem", "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("orbistem ")
    wrong = subprocess.run(
        [sys.executable, "-m", "orbistem", "inof"], capture_output=True, text=True, timeout=120, check=False
    )
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("orbistem: ")


def test_a_spawned_process_may_import_it(capsys):
    """`multiprocessing` runs the main module again under the name ``__mp_main__``."""
    names = runpy.run_module("orbistem.__main__", run_name="__mp_main__")
    assert callable(names["main"])
    assert capsys.readouterr().out == ""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(len, ("abc",)) == 3


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"]])
def test_help_names_the_program(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "orbistem", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert "Usage: orbistem" in done.stdout
