"""One small fit with the real model; everything else with a model that needs no training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pipeline.plain_vae import PlainVAE
from pipeline.small import small_config, small_scan

from orbistem.pipeline.fit import fit
from orbistem.result import Result
from orbistem.scan import Scan


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, cache_home: Path) -> None:
    """Nothing is written into the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))


@pytest.fixture
def plain_vae(monkeypatch: pytest.MonkeyPatch) -> type[PlainVAE]:
    monkeypatch.setattr("orbistem.pipeline.training.OrbitVAE", PlainVAE)
    monkeypatch.setattr("orbistem.result.trained_files.OrbitVAE", PlainVAE)
    return PlainVAE


@pytest.fixture
def scan(rng: np.random.Generator) -> Scan:
    return small_scan(rng)


@pytest.fixture
def whole_fit(plain_vae: type[PlainVAE], tmp_path: Path) -> Callable[..., Result]:
    """Fit without training, into tmp_path/run."""
    del plain_vae

    def run(source, directory: Path | None = None, **named) -> Result:
        named.setdefault("config", small_config())
        return fit(source, directory=directory or tmp_path / "run", **named)

    return run


@pytest.fixture
def quiet_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that says nothing: drawing takes longer than all the rest."""

    def write_nothing(directory: Path) -> Path:
        (directory / "report.html").write_text("<!doctype html>", encoding="utf-8")
        return directory / "report.html"

    monkeypatch.setattr("orbistem.pipeline.fit.write_report", write_nothing)


@pytest.fixture
def quick_fit(whole_fit: Callable[..., Result], quiet_report: None) -> Callable[..., Result]:
    """`whole_fit` with a quiet report."""
    del quiet_report
    return whole_fit


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> tuple[Scan, Result]:
    """A scan and its fit with the real model, trained for a few steps."""
    scan = small_scan(np.random.default_rng(2021))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        result = fit(scan, config=small_config(), directory=tmp_path_factory.mktemp("real") / "run")
    return scan, result
