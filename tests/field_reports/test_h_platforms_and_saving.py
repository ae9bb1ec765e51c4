"""Section H of the field reports: platforms, progress, saving and loading."""

import enum
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from field_reports.base import said
from pipeline.conftest import _own_cache, cache_home, real_run

import orbistem as package
from orbistem.config import FitConfig
from orbistem.errors import FormatError, InputError, VersionError
from orbistem.io import open_scan, save_scan
from orbistem.prepare.counts import CountsOptions
from orbistem.result import TrainedModel, plain
from orbistem.scan import Scan

__all__ = ["_own_cache", "cache_home", "real_run"]

TESTS = Path(__file__).resolve().parents[1]
SIX_LINES = """
import multiprocessing, sys
import orbistem
multiprocessing.set_start_method("spawn")
result = orbistem.fit(sys.argv[1], directory=sys.argv[2])
print(result.maps.dose.shape)
"""


def run_python(code, *arguments, **named):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
    }
    environment |= named.pop("env", {})
    command = [sys.executable, "-c", code] if "\n" in code else [sys.executable, code]
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, timeout=300, check=False, text=True, **named
    )


def test_report_64_a_script_without_a_guard(tmp_path, base):
    np.save(tmp_path / "few.npy", base[:5, :6])  # too few to train: everything else runs
    (tmp_path / "script.py").write_text(SIX_LINES)
    done = run_python(
        str(tmp_path / "script.py"), tmp_path / "few.npy", tmp_path / "run", capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(5, 6)\n"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}, {"JPY_PARENT_PID": "1"}])
def test_report_65_progress_without_a_terminal(tmp_path, base, environment):
    np.save(tmp_path / "scan.npy", base)
    code = "import sys\nsys.modules['ipywidgets'] = None\nfrom orbistem.cli import main\nmain(sys.argv[1:])\n"
    with (tmp_path / "err.txt").open("w") as err:
        arguments = ("info", tmp_path / "scan.npy", "--json")
        done = run_python(code, *arguments, stdout=subprocess.PIPE, stderr=err, env=environment)
    assert done.returncode == 0
    assert json.loads(done.stdout)["schema"] == 1
    assert len(done.stdout.splitlines()) == 1
    text = (tmp_path / "err.txt").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "\r" not in text
    assert 1 <= len(text.splitlines()) <= 3


def test_report_66_files_of_another_version(tmp_path, base):
    path = tmp_path / "a.hspy"
    save_scan(Scan.from_array(base), path)
    with h5py.File(path, "r+") as file:
        file.attrs["file_format_version"] = "3.99"
    assert "written in version 3.99 of the HyperSpy format" in said(open_scan(path))
    with h5py.File(path, "r+") as file:
        file.attrs["file_format_version"] = "99.0"
    with pytest.raises(VersionError, match=r"written in version 99\.0 .*, this reads 3"):
        open_scan(path)


def test_report_66_models_of_another_version(real_run, tmp_path, caplog):
    _, result = real_run
    result.model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    major, minor = (int(part) for part in facts["version"].split("."))
    path.write_text(
        json.dumps(facts | {"version": f"{major}.{minor + 1}", "orbistem": "9.1"}), encoding="utf-8"
    )
    TrainedModel.load(tmp_path / "model")
    assert "written by orbistem 9.1" in caplog.text
    path.write_text(json.dumps(facts | {"version": f"{major + 1}.0", "orbistem": "9.1"}), encoding="utf-8")
    with pytest.raises(VersionError, match=rf"written by orbistem 9\.1 .*this is {package.__version__}"):
        TrainedModel.load(tmp_path / "model")
    for missing in ("version", "parts", "orbistem"):
        some = {key: value for key, value in facts.items() if key != missing}
        path.write_text(json.dumps(some), encoding="utf-8")
        if missing == "orbistem":  # for information only
            TrainedModel.load(tmp_path / "model")
            continue
        with pytest.raises(FormatError, match=f"model.json is damaged .*{missing}"):
            TrainedModel.load(tmp_path / "model")
    for part in facts["parts"]:
        rest = {key: value for key, value in facts["parts"].items() if key != part}
        path.write_text(json.dumps(facts | {"parts": rest}), encoding="utf-8")
        if part == "readout":  # its absence means that none was fitted
            continue
        with pytest.raises((InputError, FormatError), match=part):
            TrainedModel.load(tmp_path / "model")


class Colour(enum.Enum):
    RED = "red"


def test_report_68_numpy_values_in_configurations_and_records():
    config = replace(
        FitConfig(seed=np.int64(3)),
        counts=CountsOptions(gain=np.float64(1.5), offset=np.float32(0.25)),
    )
    config = config.replace(
        mask=replace(config.mask, hot=np.bool_(False)),
        prepare=replace(config.prepare, whiten=np.str_("sqrt"), centre_px=(np.float64(15.5), np.int16(16))),
        input=replace(config.input, shape=tuple(np.array([24, 20])), mask=np.str_("mask.npy")),
    )
    again = FitConfig.from_toml(config.to_toml())
    assert again == config
    assert type(again.counts.gain) is float
    assert type(again.mask.hot) is bool
    assert again.fingerprint() == config.fingerprint()
    json.dumps(config.to_dict())
    record = {
        "float": np.float64(0.1),
        "nothing": np.nan,
        "flag": np.bool_(True),
        "words": np.array(["a", "b"]),
        "text": np.str_("x"),
        "path": Path("folder") / "file",
        "time": datetime(2021, 5, 3, 12, 30),
        "date": datetime(2021, 5, 3).date(),
        "colour": Colour.RED,
        "set": {1},
        "bytes": b"\xb5m",
        "array": np.arange(3),
    }
    told = json.loads(json.dumps(plain(record)))
    assert told["float"] == 0.1
    assert told["nothing"] is None
    assert told["flag"] is True
    assert told["words"] == ["a", "b"]
    assert told["path"] == str(Path("folder") / "file")
    assert told["time"] == "2021-05-03T12:30:00"
    assert told["date"] == "2021-05-03"
    assert told["colour"] == "red"
    assert told["set"] == [1]
    assert told["array"] == [0, 1, 2]
    assert plain(plain(record)) == plain(record)
