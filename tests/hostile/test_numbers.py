"""Numbers that no microscope gave: every command says what it sees, without a warning of NumPy's."""

import json

import numpy as np
import pytest
from cli.conftest import orbistem, quick_toml
from hostile.odd_arrays import odd_array

from orbistem.cli.info import _estimate, _lines
from orbistem.errors import OrbistemError
from orbistem.io import describe, open_scan

__all__ = ["orbistem", "quick_toml"]

SEEDS = 150
"""The nightly fuzzer (`test_fuzz.py`) takes others, and many more."""


def look(array):
    """What `info` does; (gain, dose) or None where nothing can be said."""
    scan = open_scan(array)
    facts = describe(scan)
    estimate = _estimate(scan, gain=None, memory_mb=256, threads=None)
    json.dumps(facts | {"estimate": estimate})
    assert _lines(facts, estimate)
    return (estimate["gain"], estimate["dose"]) if "dose" in estimate else None


def test_info_knows_no_dose_without_light():
    told = 0
    for seed in range(SEEDS):
        try:
            found = look(odd_array(seed))
        except OrbistemError:
            continue
        if found is not None:
            gain, dose = found
            told += 1
            assert gain is None or dose > 0, seed
    assert told > SEEDS / 3


def test_a_single_pattern_is_no_stream_of_single_electrons(orbistem, tmp_path, rng):
    np.save(tmp_path / "a.npy", rng.normal(300, 90, (40, 50)).astype(np.int32))
    estimate = orbistem("info", tmp_path / "a.npy", "--json").summary["estimate"]
    assert estimate["gain"] is None
    assert estimate["dose_unit"] == "counts"
    assert estimate["dose"] == pytest.approx(300 * 2000, rel=0.1)


def test_dark_frames_have_no_dose(orbistem, tmp_path, rng):
    np.save(tmp_path / "a.npy", (rng.poisson(60, (6, 5, 40, 50)) - 75).astype(np.int32))
    done = orbistem("info", tmp_path / "a.npy", "--json")
    assert done.summary["estimate"]["gain"] is None
    assert any("below zero on average" in text for text in done.summary["estimate"]["problems"])
    assert orbistem("info", tmp_path / "a.npy", "--gain", "2").status == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "symmetry"])
def test_fit_and_symmetry_of_odd_numbers(orbistem, quick_toml, tmp_path, command):
    statuses = []
    for seed in range(25):
        array = odd_array(seed, sides=(23, 32), lengths=(3, 5, 12))
        if array.ndim < 3:
            continue
        np.save(tmp_path / "a.npy", array)
        options = ("--config", quick_toml) if command == "fit" else ()
        done = orbistem(command, tmp_path / "a.npy", "-o", tmp_path / str(seed), "-q", *options)
        assert done.status in (0, 2), (seed, done.err)
        assert (tmp_path / str(seed)).exists() == (done.status == 0)
        statuses.append(done.status)
    assert statuses.count(0) >= 2
    assert not list(tmp_path.glob("*.partial"))
