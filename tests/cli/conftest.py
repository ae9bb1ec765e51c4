"""The program as a user calls it, in this process or in one of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pipeline.plain_vae import PlainVAE
from pipeline.small import small_config, small_patterns

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    status: int
    out: str
    err: str

    @property
    def summary(self) -> dict:
        """The machine-readable summary, the only line on stdout."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))


@pytest.fixture
def orbistem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Call the program in this process, with a model that needs no training and a report without pictures."""
    from orbistem.cli.app import run

    def write_nothing(directory: Path) -> Path:
        (directory / "report.html").write_text("<!doctype html>", encoding="utf-8")
        return directory / "report.html"

    monkeypatch.setattr("orbistem.pipeline.training.OrbitVAE", PlainVAE)
    monkeypatch.setattr("orbistem.result.trained_files.OrbitVAE", PlainVAE)
    monkeypatch.setattr("orbistem.pipeline.fit.write_report", write_nothing)

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(status=status, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the program in a process of its own, after some lines of Python."""

    def begin(*arguments: object, before: str = "") -> subprocess.Popen[str]:
        code = (
            "import sys\n"
            "from pipeline.plain_vae import PlainVAE, use_plain_vae\n"
            f"use_plain_vae()\n{before}\n"
            "from orbistem.cli import main\n"
            "main(sys.argv[1:])\n"
        )
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    return begin


@pytest.fixture
def scan_file(rng: np.random.Generator, tmp_path: Path) -> Path:
    """A small scan as a file whose name has a space and letters beyond ASCII."""
    path = tmp_path / "Graphén Lücke 1.npy"
    np.save(path, small_patterns(rng))
    return path


@pytest.fixture
def quick_toml(tmp_path: Path) -> Path:
    """Options of a quick fit."""
    path = tmp_path / "quick.toml"
    path.write_text(small_config().to_toml(), encoding="utf-8")
    return path
