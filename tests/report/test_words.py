import shlex
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbistem.report.files import RunFiles
from orbistem.report.history import evidence_history, per_order
from orbistem.report.words import command_line, count_word, input_name, readable, verdict


def files_with(active=None, run=None):
    maps = xr.Dataset({"dose": (("y", "x"), np.full((2, 2), 500.0)), "angle": (("y", "x"), np.zeros((2, 2)))})
    if active is not None:
        maps["latent"] = (("y", "x", "latent_dim"), np.zeros((2, 2, len(active))), {"active": active})
    return RunFiles(directory=Path("run"), maps=maps, run=run or {})


@pytest.mark.parametrize(
    ("active", "words"),
    [
        ([0, 0], "No latent is active"),
        ([1], "The one latent is active"),
        (
            [1, 0, 0],
            "One of three latents is active: apart from rotation, the local structure varies in one way",
        ),
        ([1, 1, 0], "Two of three latents are active"),
        ([1, 1, 1], "All three latents are active"),
    ],
)
def test_the_verdict_counts_latents(active, words):
    assert words in verdict(files_with(active))


@pytest.mark.parametrize(
    ("residual", "variance", "words"),
    [
        (1.0, 1.0, "noise alone explains what the model leaves"),
        (2.0, 1.0, "more than noise remains unexplained"),
        (0.7, 1.005, "as where most patterns scatter less than the mean"),
        (0.7, 0.8, "check the gain"),
        (0.7, None, "check the gain"),
    ],
)
def test_a_low_residual_blames_the_gain_only_where_the_noise_is_not_right(residual, variance, words):
    files = files_with(run={"noise": {"gain": 1.0, "unit_variance": variance}})
    files.maps["residual"] = (("y", "x"), np.full((2, 2), residual))
    assert words in verdict(files)


@pytest.mark.parametrize(("gain", "words"), [(1.0, "makes 1 count;"), (2.5, "makes 2.5 counts;")])
def test_one_count_is_not_counts(gain, words):
    assert words in verdict(files_with(run={"noise": {"gain": gain}}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.0123"),
        (0.5, "0.5"),
        (-83.24, "−83.2"),
        (3.1e-5, "3.1 × 10⁻⁵"),
        (-2e9, "−2.0 × 10⁹"),
        (17400.0, "17\u202f400"),
        (99_999.7, "100\u202f000"),
        (1234567, "1\u202f234\u202f567"),
        (0.0, "0"),
        (True, "yes"),
        (None, "not known"),
        (float("nan"), "not known"),
        ([1, 2.5], "1, 2.5"),
        ("as it is", "as it is"),
    ],
)
def test_numbers_are_written_for_people(value, text):
    assert readable(value) == text


def test_the_command_can_be_pasted_into_a_shell():
    path = "/data/it's a scan; rm -rf x.hspy"
    assert shlex.split(command_line(files_with(run={"input": {"path": path}})))[2] == path
    assert command_line(files_with(run={"command": ["orbistem", "fit", "a b"]})) == "orbistem fit 'a b'"


@pytest.mark.parametrize("path", ["/a/b/scan 1.h5", r"C:\data\scan 1.h5"])
def test_the_title_is_the_name_of_the_file(path):
    assert input_name(files_with(run={"input": {"path": path}})) == "scan 1.h5"


def test_the_best_restart_owns_the_curve():
    training = {
        "curve": {"step": [0, 10], "train": [-5, -2], "heldout": [-5, -3]},
        "restarts": [{"seed": 0, "heldout": -4.0}, {"seed": 1, "heldout": -3.0}],
    }
    other, best = evidence_history(training)
    assert (best.chosen, list(best.heldout)) == (True, [-5, -3])
    assert (other.chosen, list(other.step), list(other.heldout)) == (False, [10], [-4])


def test_numbers_per_order_from_a_list_or_a_table():
    assert (
        per_order([[3.0], [2.0, 1.0]])
        == per_order({"0": [3.0], "1": [2.0, 1.0]})
        == {0: [3.0], 1: [2.0, 1.0]}
    )
    assert per_order(None) == {}


def test_small_numbers_are_words():
    assert (count_word(3), count_word(12)) == ("three", "12")
