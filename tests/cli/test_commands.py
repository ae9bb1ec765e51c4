"""Every command: what it prints where, and its exit status."""

import numpy as np
import pytest
import xarray as xr
from pipeline.small import small_config

from orbistem import __version__
from orbistem.cli.options import parse_memory, parse_numbers
from orbistem.errors import OptionError


def test_version_and_help(orbistem):
    assert orbistem("--version").out == f"orbistem {__version__}\n"
    for command in ("demo", "info", "convert", "simulate", "fit", "transform", "verify"):
        done = orbistem(command, "--help")
        assert done.status == 0
        assert "Usage" in done.out
        assert "--json" in done.out
        assert command in orbistem("--help").out
    assert orbistem().status == 2


def test_info_says_what_was_found_and_guessed(orbistem, scan_file):
    done = orbistem("info", scan_file)
    assert done.status == 0
    for text in ("12 x 10 x 32 x 32, uint16", "centre", "gain", "dose", "assumed", "--shape"):
        assert text in done.out
    summary = orbistem("info", scan_file, "--json").summary
    assert summary["schema"] == 1
    assert summary["shape"] == [12, 10, 32, 32]
    assert summary["estimate"]["centre_px"] == pytest.approx([15.6, 15.3], abs=0.15)
    assert orbistem("info", scan_file, "--gain", "2", "--json").summary["estimate"]["gain"] == 2.0


def test_info_of_an_empty_file_still_describes_it(orbistem, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((4, 4, 8, 8)))
    done = orbistem("info", tmp_path / "zero.npy")
    assert done.status == 0
    assert "4 x 4 x 8 x 8" in done.out
    assert "constant, zero" in done.out


def test_fit_tells_people_and_machines(orbistem, scan_file, quick_toml, tmp_path):
    done = orbistem("fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml)
    assert done.status == 0, done.err
    assert "report.html" in done.out
    assert "The pattern centre" in done.out
    assert "reading patterns" in done.err  # progress goes to stderr
    done = orbistem(
        "fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml, "--overwrite", "--json", "-q"
    )
    assert done.err == ""
    summary = done.summary
    assert summary["schema"] == 1
    assert summary["command"] == "fit"
    assert summary["active_units"] == 2
    assert summary["certificate"]["sentence"]


def test_the_options_of_the_program_stand_anywhere(orbistem, scan_file, tmp_path):
    first = orbistem("--json", "-q", "info", scan_file).summary
    second = orbistem("info", "-q", scan_file, "--json").summary
    for summary in (first, second):
        del summary["estimate"]["read_s"], summary["estimate"]["read_all_s"]
    assert first == second
    log = tmp_path / "orbistem.log"
    assert (
        orbistem("fit", scan_file, "-o", tmp_path / "x", "--centre", "99,99", "--log-file", log).status == 2
    )
    assert "centre" in log.read_text(encoding="utf-8")
    assert orbistem("info", scan_file, "--log-file", tmp_path / "none" / "x.log").status == 2


def test_options_of_fit_reach_the_run(orbistem, scan_file, quick_toml, tmp_path):
    done = orbistem(
        *("fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml),
        *("--centre", "15.5,15.25", "--whiten", "sqrt", "--normalise", "total", "--seed", "9"),
        *("--latent-dim", "1", "--background", "mean", "--group", "SO2", "--gain", "2"),
        *("--memory", "500MB", "--threads", "1", "--reference", "0:6,0:10"),
    )
    assert done.status == 0, done.err
    with xr.open_dataset(tmp_path / "run" / "maps.nc", engine="h5netcdf") as maps:
        assert maps.sizes["latent_dim"] == 1
        assert maps.attrs["centre_px"].tolist() == [15.5, 15.25]
        assert maps.attrs["whitening"] == "sqrt"
        assert maps.attrs["gain"] == 2.0
        assert "orientation" in maps
    text = (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    for line in ("seed = 9", 'normalise = "total"', 'background = "mean"', "memory_mb = 500"):
        assert line in text


def test_transform_gives_the_maps_of_the_fit_again(orbistem, scan_file, quick_toml, tmp_path):
    orbistem("fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml)
    done = orbistem("transform", tmp_path / "run", scan_file, "-o", tmp_path / "other")
    assert done.status == 0, done.err
    with (
        xr.open_dataset(tmp_path / "run" / "maps.nc", engine="h5netcdf") as fitted,
        xr.open_dataset(tmp_path / "other" / "maps.nc", engine="h5netcdf") as applied,
    ):
        assert set(applied.data_vars) == set(fitted.data_vars)
        for name in fitted.data_vars:
            np.testing.assert_allclose(applied[name], fitted[name], rtol=1e-4, atol=1e-4, err_msg=str(name))
    assert orbistem("verify", tmp_path / "other").status == 0
    assert orbistem("transform", tmp_path / "other", scan_file, "-o", tmp_path / "third").status == 0


def test_transform_refuses_another_detector_and_its_own_folder(
    orbistem, scan_file, quick_toml, tmp_path, rng
):
    orbistem("fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml)
    np.save(tmp_path / "small.npy", rng.poisson(5, (4, 4, 16, 16)))
    done = orbistem("transform", tmp_path / "run", tmp_path / "small.npy", "-o", tmp_path / "other")
    assert done.status == 2
    assert "same detector" in done.err
    done = orbistem("transform", tmp_path / "run", scan_file, "-o", tmp_path / "run", "--overwrite")
    assert done.status == 2
    assert orbistem("verify", tmp_path / "run").status == 0


def test_verify_notices_a_change(orbistem, scan_file, quick_toml, tmp_path):
    orbistem("fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml)
    assert orbistem("verify", tmp_path / "run").status == 0
    with (tmp_path / "run" / "maps.nc").open("ab") as file:
        file.write(b"x")
    done = orbistem("verify", tmp_path / "run", "--json")
    assert done.status == 2
    assert done.summary["changed"] == ["maps.nc was changed after the run"]
    assert "maps.nc was changed" in done.err
    assert orbistem("verify", tmp_path).status == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit",), "FILE"),
        (("fit", "none.h5", "-o", "x"), "does not exist"),
        (("fit", "SCAN"), "-o"),
        (("fit", "SCAN", "-o", "x", "--frobnicate"), "frobnicate"),
        (("fit", "SCAN", "-o", "x", "--centre", "here"), "centre: want 2 numbers"),
        (("fit", "SCAN", "-o", "x", "--centre", "40,3"), "--centre"),
        (("fit", "SCAN", "-o", "x", "--group", "C5"), "group"),
        (("fit", "SCAN", "-o", "x", "--classes", "few"), "classes"),
        (("fit", "SCAN", "-o", "x", "--whiten", "log"), "whiten: want"),
        (("fit", "SCAN", "-o", "x", "--background", "nothing.npy"), "background: want"),
        (("fit", "SCAN", "-o", "x", "--memory", "lots"), "memory: want a size"),
        (("fit", "SCAN", "-o", "x", "--threads", "0"), "threads: want at least 1"),
        (("fit", "SCAN", "-o", "x", "--config", "none.toml"), "config: none.toml does not exist"),
        (("fit", "SCAN", "-o", "x", "--shape", "5,5"), "5"),
        (("transform", "none", "SCAN", "-o", "x"), "folder that orbistem fit wrote"),
        (("verify", "none"), "none"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_wrong_use_is_said_in_one_sentence(arguments, message, orbistem, scan_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = orbistem(*(scan_file if argument == "SCAN" else argument for argument in arguments))
    assert done.status == 2
    assert message in done.err
    assert done.err.startswith("orbistem: ")
    assert len(done.err.strip().splitlines()) == 1
    assert done.out == ""
    assert [path.name for path in tmp_path.iterdir()] == [scan_file.name]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (np.zeros((6, 7, 16, 16)), "constant, zero"),
        (np.full((6, 7, 16, 16), np.nan, np.float32), "not finite"),
        (np.ones((6, 7, 16, 16), np.uint8), "constant"),
        (np.arange(256.0).reshape(16, 16), "single one"),
        (np.arange(100.0), "patterns: want"),
        (np.zeros((4, 4, 8, 8), complex), "real numbers"),
    ],
    ids=["zero", "nan", "constant", "single", "not patterns", "complex"],
)
def test_unusable_files_are_refused_in_one_sentence(patterns, message, orbistem, tmp_path):
    np.save(tmp_path / "bad.npy", patterns)
    done = orbistem("fit", tmp_path / "bad.npy", "-o", tmp_path / "run")
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npy"]


def test_few_patterns_are_mapped_without_a_model(orbistem, tmp_path, rng):
    np.save(tmp_path / "few.npy", rng.poisson(5, (3, 3, 16, 16)).astype(np.uint16))
    done = orbistem("fit", tmp_path / "few.npy", "-o", tmp_path / "run")
    assert done.status == 0
    assert "at least 32" in done.out
    assert orbistem("transform", tmp_path / "run", tmp_path / "few.npy", "-o", tmp_path / "x").status == 2


def test_an_occupied_folder_is_refused_before_the_file_is_read(orbistem, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("mine")
    done = orbistem("fit", tmp_path / "no such file", "-o", tmp_path / "run", "--overwrite")
    assert done.status == 2
    assert "holds no run" in done.err


def test_a_bug_is_ours_and_says_so(orbistem, scan_file, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("impossible")

    monkeypatch.setattr("orbistem.pipeline.fit.prepare", fail)
    done = orbistem("fit", scan_file, "-o", tmp_path / "run")
    assert done.status == 1
    assert "bug" in done.err
    assert "impossible" in done.err


def test_a_full_disk_is_said(orbistem, scan_file, quick_toml, tmp_path, monkeypatch):
    def fill(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbistem.pipeline.fit.build_maps", fill)
    done = orbistem("fit", scan_file, "-o", tmp_path / "run", "--config", quick_toml, "-q")
    assert done.status == 2
    assert "disk full" in done.err
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "run.partial").exists()


def test_raw_data_are_described_by_options(orbistem, tmp_path, rng):
    patterns = rng.poisson(5, (6, 5, 16, 16)).astype("<u2")
    (tmp_path / "scan.raw").write_bytes(b"header!!" + patterns.tobytes())
    done = orbistem(
        *("info", tmp_path / "scan.raw", "--shape", "6,5,16,16", "--dtype", "uint16"),
        *("--offset", "8", "--json"),
    )
    assert done.status == 0, done.err
    assert done.summary["shape"] == [6, 5, 16, 16]


def test_simulate_is_there(orbistem, tmp_path):
    assert "graphene-vacancy" in orbistem("simulate", "--list").out
    assert orbistem("simulate", "graphite", "-o", tmp_path / "x.hspy").status == 2


def test_texts_become_values():
    assert parse_memory("2GB") == 2000
    assert parse_memory("1 GiB") == 1073
    for text in ("2", "GB", "-1GB", "1.2.3GB"):
        with pytest.raises(OptionError, match="memory"):
            parse_memory(text)
    assert parse_numbers("centre", "1.5, 2", (2,), float) == (1.5, 2.0)
    with pytest.raises(OptionError, match="2 or 4 whole numbers"):
        parse_numbers("shape", "1,2,3", (2, 4), int)


def test_a_configuration_and_an_option_go_together(orbistem, scan_file, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(small_config(seed=4).to_toml(), encoding="utf-8")
    done = orbistem("fit", scan_file, "-o", tmp_path / "run", "--config", path, "--seed", "0")
    assert done.status == 0, done.err
    assert "seed = 0" in (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")


def test_symmetry_judges_the_places_that_are_named(orbistem, scan_file, tmp_path):
    done = orbistem(
        *("symmetry", scan_file, "-o", tmp_path / "run", "--gain", "1", "--no-check-instrument"),
        *("--at", "2,3", "--region", "0:12,0:2"),
    )
    assert done.status == 0, done.err
    assert "Position 2, 3 (1 pattern)." in done.out
    assert "Region 0:12, 0:2 (24 patterns)." in done.out
    assert "Mistilt and thickness" in done.out
    refused = orbistem("symmetry", scan_file, "-o", tmp_path / "other", "--at", "99,0")
    assert refused.status == 2
    assert "want a position inside" in refused.err
