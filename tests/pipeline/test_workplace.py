"""DIR is the old run, the new one, or absent; what was interrupted can go on."""

import json

import numpy as np
import pytest
from pipeline.small import small_config, small_scan

import orbistem
from orbistem.config import PrepareOptions
from orbistem.errors import OptionError, OutputError
from orbistem.pipeline.workplace import is_our_run


def interrupt_at(monkeypatch, name):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(name, stop)


def test_an_occupied_folder_is_refused_and_replaced_only_if_asked(scan, quick_fit, tmp_path):
    first = quick_fit(scan)
    with pytest.raises(OutputError, match="--overwrite"):
        quick_fit(scan)
    again = quick_fit(scan, overwrite=True, config=small_config(seed=5))
    assert again.run["seed"] == 5 != first.run["seed"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_of_others_is_never_replaced(scan, quick_fit, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("three years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds no run of orbistem"):
            quick_fit(scan, overwrite=overwrite)
    assert (tmp_path / "run" / "thesis.tex").read_text() == "three years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_file_is_never_replaced(scan, quick_fit, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match="holds no run"):
        quick_fit(scan, overwrite=True)
    assert (tmp_path / "run").read_text() == "a file"


def test_an_empty_folder_is_free_and_missing_parents_are_made(scan, quick_fit, tmp_path):
    (tmp_path / "run").mkdir()
    quick_fit(scan)
    quick_fit(scan, tmp_path / "a new" / "Größe" / "run")
    assert is_our_run(tmp_path / "a new" / "Größe" / "run")


@pytest.mark.parametrize("step", ["train_model", "build_maps", "write_report"])
def test_an_interrupted_run_goes_on(step, scan, quick_fit, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, f"orbistem.pipeline.fit.{step}")
        with pytest.raises(KeyboardInterrupt):
            quick_fit(scan)
    assert {path.name for path in tmp_path.iterdir()} == {"run.partial"}
    with monkeypatch.context() as patch:
        interrupt_at(patch, "orbistem.pipeline.fit.reduce")  # not called: its result is there
        resumed = quick_fit(scan, resume=True)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    straight = quick_fit(scan, tmp_path / "straight")
    for name in straight.maps:
        np.testing.assert_array_equal(resumed.maps[name], straight.maps[name], err_msg=str(name))


def test_resume_wants_the_same_data_and_options(scan, quick_fit, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, "orbistem.pipeline.fit.train_model")
        with pytest.raises(KeyboardInterrupt):
            quick_fit(scan)
    with pytest.raises(OptionError, match="other options"):
        quick_fit(scan, resume=True, config=small_config(prepare=PrepareOptions(whiten="sqrt")))
    with pytest.raises(OptionError, match="other data"):
        quick_fit(small_scan(np.random.default_rng(99)), resume=True)
    assert (tmp_path / "run.partial").is_dir()
    quick_fit(scan, resume=True)


def test_without_resume_an_interrupted_run_begins_anew(scan, quick_fit, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        interrupt_at(patch, "orbistem.pipeline.fit.train_model")
        with pytest.raises(KeyboardInterrupt):
            quick_fit(scan)
    quick_fit(scan, config=small_config(seed=3))
    assert "--resume" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_resume_without_anything_to_resume_begins(scan, quick_fit):
    assert quick_fit(scan, resume=True).model is not None


def test_an_old_run_survives_a_failing_one(scan, quick_fit, tmp_path, monkeypatch):
    before = quick_fit(scan)
    with monkeypatch.context() as patch:
        interrupt_at(patch, "orbistem.pipeline.fit.build_maps")
        with pytest.raises(KeyboardInterrupt):
            quick_fit(scan, overwrite=True, config=small_config(seed=4))
    assert orbistem.load(tmp_path / "run").run["seed"] == before.run["seed"]


def test_a_full_disk_is_said_and_leaves_nothing(scan, quick_fit, tmp_path, monkeypatch):
    def fill(*_, **__):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("orbistem.pipeline.fit.build_examples", fill)
    with pytest.raises(OutputError, match="disk full"):
        quick_fit(scan)
    assert list(tmp_path.iterdir()) == []


def test_a_strange_partial_folder_is_left_alone(scan, quick_fit, tmp_path):
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="in the way"):
        quick_fit(scan)
    assert (tmp_path / "run.partial" / "mine.txt").read_text() == "mine"


def test_what_a_kill_leaves_behind_is_no_obstacle(scan, quick_fit, tmp_path):
    partial = tmp_path / "run.partial"
    (partial / "unfinished").mkdir(parents=True)
    (partial / ".maps.12-ab.partial.nc").write_bytes(b"half")
    (partial / "unfinished" / "state.json").write_text('{"half')
    quick_fit(scan)
    (partial / "model").mkdir(parents=True)  # killed after the state had been removed
    (partial / "maps.nc").write_bytes(b"whole")
    quick_fit(scan, overwrite=True, resume=True)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_checksums_notice_a_change(scan, quick_fit, tmp_path):
    from orbistem.pipeline.record import check_files

    quick_fit(scan)
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    path = tmp_path / "run" / "config.toml"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    (tmp_path / "run" / "examples.nc").unlink()
    assert check_files(tmp_path / "run", run).changed == (
        "examples.nc is missing",
        "config.toml was changed after the run",
    )
    assert check_files(tmp_path / "run", run).notes == ()


@pytest.mark.parametrize("edit", [lambda run: run.update(seed=99), lambda run: run["versions"].clear()])
def test_the_record_notices_a_change_of_itself(scan, quick_fit, tmp_path, edit):
    from orbistem.pipeline.record import check_files

    quick_fit(scan)
    path = tmp_path / "run" / "run.json"
    run = json.loads(path.read_text(encoding="utf-8"))
    assert check_files(tmp_path / "run", run).changed == ()
    edit(run)
    path.write_text(json.dumps(run), encoding="utf-8")
    assert check_files(tmp_path / "run", json.loads(path.read_text(encoding="utf-8"))).changed == (
        "run.json was changed after the run",
    )


def test_an_older_record_and_files_of_others_are_said(scan, quick_fit, tmp_path):
    from orbistem.pipeline.record import check_files

    quick_fit(scan)
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    del run["sha256"]
    for name in ("notes.txt", "model/more.bin", "coefficients.zarr/.DS_Store", "Thumbs.db", "model/._x"):
        (tmp_path / "run" / "model").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("mine", encoding="utf-8")
    found = check_files(tmp_path / "run", run)
    assert found.changed == ()
    assert found.notes == (
        "run.json has no checksum of its own, as older versions wrote it",
        "not part of the run: model/more.bin, notes.txt",
    )
