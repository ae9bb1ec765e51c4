import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import orbistem
from orbistem.cli.simulate import parse_aberration, parse_descan, parse_shape, run, simulate_command
from orbistem.errors import OptionError, OutputError
from orbistem.scan import Truth
from orbistem.simulate import DetectorOptions, Optics, Variant, simulate

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
    assert "simulate: 12" in result.stderr  # how far it is


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


def test_microscope_camera_and_scan_are_options(app, tmp_path):
    """Every option reaches the simulation: the same counts as with the same options in Python."""
    target = tmp_path / "a.hspy"
    text = (
        "zns-110-displaced --dose 1e4 --scan-shape 2,3 --detector-px 16 --seed 3 --voltage 80 "
        "--semi-angle 15 --half-angle 30 --defocus 20 --aberration C30=1e4 --aberration C12=5 --source 0.2 "
        "--phonons 2 --phonon-sd 0.05 --thickness 8 --displacement 0.2 --direction 90 --grid rectangle "
        "--cells 1,2 --psf 0.5 --descan 1,0,0,2 --hot-pixels 2"
    )
    result = CliRunner().invoke(app, [*text.split(), "-o", str(target)], catch_exceptions=False)
    assert result.exit_code == 0
    expected, truth = simulate(
        "zns-110-displaced",
        seed=3,
        dose=1e4,
        scan_shape=(2, 3),
        detector_px=16,
        optics=Optics(
            voltage_kv=80.0,
            semiangle_mrad=15.0,
            half_angle_mrad=30.0,
            defocus=20.0,
            aberrations=(("C30", 1e4), ("C12", 5.0)),
            source_sd=0.2,
            phonon_configurations=2,
            phonon_sd=0.05,
        ),
        detector=DetectorOptions(psf_sd_px=0.5, descan_px=((1.0, 0.0), (0.0, 2.0)), hot_pixels=2),
        variant=Variant(displacement=0.2, direction_deg=90.0, thickness=8.0),
        grid="rectangle",
        cells=(1, 2),
    )
    found = orbistem.open(target)
    np.testing.assert_array_equal(np.asarray(found.patterns), np.asarray(expected.patterns))
    assert found.detector_axes[0].scale == pytest.approx(60 / 16)
    written = Truth.load(tmp_path / "a.truth.nc")
    np.testing.assert_allclose(written.defect_distance, truth.defect_distance)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--aberration", "C30"], "NAME=VALUE"),
        (["--aberration", "C3=1"], "aberrations: want C10"),
        (["--descan", "1,2"], "four numbers"),
        (["--grid", "hexagonal"], "want primitive or rectangle"),
        (["--cells", "1,1"], "leave cells out"),
        (["--thickness", "20"], "takes none of these"),
        (["--dose", "0", "--psf", "1"], "detector: want a dose"),
        (["--semi-angle", "80"], "direct beam would miss the detector"),
    ],
)
def test_what_cannot_be_is_said(app, tmp_path, options, says):
    with pytest.raises(OptionError, match=says):
        CliRunner().invoke(
            app, ["graphene", "-o", str(tmp_path / "a.hspy"), *options], catch_exceptions=False
        )


def test_numbers_of_the_microscope_are_read():
    assert parse_aberration("phi12=0.3") == ("phi12", 0.3)
    assert parse_descan(None) == ((0.0, 0.0), (0.0, 0.0))
