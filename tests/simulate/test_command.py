import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import orbistem
from orbistem.cli.simulate import parse_shape, run, simulate_command
from orbistem.errors import OptionError, OutputError
from orbistem.scan import Truth

SMALL = {"dose": 1e3, "scan_shape": (3, 4), "detector_px": 16, "seed": 0}


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(simulate_command)
    return app


def test_a_file_and_its_truth_are_written_and_read_back(app, tmp_path):
    target = tmp_path / "grün phene.hspy"
    options = ["--dose", "1000", "--scan-shape", "3,4", "--detector-px", "16"]
    result = CliRunner().invoke(app, ["graphene", "-o", str(target), *options], catch_exceptions=False)
    assert result.exit_code == 0
    scan = orbistem.open(target)
    assert scan.patterns.shape == (3, 4, 16, 16)
    assert scan.detector_axes[0].units == "mrad"
    truth = Truth.load(tmp_path / "grün phene.truth.nc")
    assert truth.point_group[0, 0] == "D6"
    assert np.isinf(truth.defect_distance).all()


def test_the_list_names_every_simulation(app):
    result = CliRunner().invoke(app, ["--list"], catch_exceptions=False)
    assert "graphene-stone-wales" in result.stdout


def test_nothing_is_replaced_unasked_and_nothing_is_simulated_in_vain(tmp_path):
    target = tmp_path / "a.hspy"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"):
        run("graphene", target, **SMALL)
    assert target.read_bytes() == b"mine"
    with pytest.raises(OptionError, match="suffix"):
        run("graphene", tmp_path / "a.tif", **SMALL)
    with pytest.raises(OutputError, match="folder"):
        run("graphene", tmp_path / "none" / "a.hspy", **SMALL)
    with pytest.raises(OptionError, match="want one of"):
        run("graphite", tmp_path / "b.hspy", **SMALL)


def test_shapes_are_two_integers():
    assert parse_shape("24,14") == (24, 14)
    assert parse_shape(None) is None
    with pytest.raises(OptionError, match="24,24"):
        parse_shape("24")
