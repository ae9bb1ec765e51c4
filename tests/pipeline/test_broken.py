"""`broken` in a run: maps, record and report; reference regions."""

import json

import numpy as np
import pytest
from pipeline.small import SCAN_SHAPE, small_config

from orbistem.config import FitConfig, PrepareOptions
from orbistem.errors import OptionError
from orbistem.pipeline.broken import reference_rows
from orbistem.pipeline.symmetry import measure_symmetry
from orbistem.scan import Axis, Scan
from orbistem.symmetry.reference import densest


def test_a_fit_with_a_reference_maps_what_is_broken(whole_fit, scan, tmp_path):
    asked = small_config(prepare=PrepareOptions(reference_name="auto"))
    result = whole_fit(scan, config=asked)
    broken = result.maps["broken"]
    assert broken.shape == SCAN_SHAPE
    assert broken.dtype == np.float32
    assert np.isfinite(broken.values).all()
    assert broken.attrs["false_discovery_rate"] == 0.05
    assert broken.attrs["units"] == "1"
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["broken"]
    assert "Mistilt" in record["caveat"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Mistilt and thickness" in page
    assert "Broken symmetry" in page


def test_a_fit_without_a_reference_has_no_broken(quick_fit, scan):
    assert "broken" not in quick_fit(scan).maps


def test_references_by_name_region_and_mask(scan, tmp_path):
    assert reference_rows(scan, None, "auto") is None
    assert len(reference_rows(scan, None, "all")) == scan.n_positions
    assert len(reference_rows(scan, (0, 2, 0, 3), None)) == 6
    mask = np.zeros(SCAN_SHAPE, np.uint8)
    mask[3, 4] = 1
    np.save(tmp_path / "mask.npy", mask)
    assert reference_rows(scan, None, str(tmp_path / "mask.npy")).tolist() == [3 * SCAN_SHAPE[1] + 4]


def test_wrong_references_are_one_sentence(scan, tmp_path):
    np.save(tmp_path / "small.npy", np.ones((2, 2)))
    np.save(tmp_path / "empty.npy", np.zeros(SCAN_SHAPE))
    np.save(tmp_path / "nan.npy", np.full(SCAN_SHAPE, np.nan))
    (tmp_path / "text.npy").write_text("no array", encoding="utf-8")
    for name in ("nowhere", *(str(tmp_path / f"{one}.npy") for one in ("small", "empty", "nan", "text"))):
        with pytest.raises(OptionError, match="reference: want"):
            reference_rows(scan, None, name)
    with pytest.raises(OptionError, match=r"auto .*, all, Y0:Y1,X0:X1 or .*\.npy mask"):
        reference_rows(scan, None, "perfect")
    for outside in ((0, 99, 0, 2), (0, 2, 0, 99), (90, 99, 0, 2)):
        with pytest.raises(OptionError, match="reference: want a region inside"):
            reference_rows(scan, outside, None)
    with pytest.raises(OptionError, match="got both"):
        PrepareOptions(reference=(0, 1, 0, 1), reference_name="all")


def test_a_named_reference_is_kept_in_the_configuration():
    config = FitConfig(prepare=PrepareOptions(reference_name="auto"))
    assert FitConfig.from_toml(config.to_toml()) == config


def test_the_densest_part_leaves_out_what_is_far_off(rng):
    latent = np.concatenate([rng.standard_normal((400, 2)), rng.standard_normal((5, 2)) + 30])
    chosen = densest(latent, np.ones(405, bool))
    assert chosen[:400].mean() > 0.9
    assert not chosen[400:].any()
    assert densest(None, np.array([True, False])).tolist() == [True, False]


def test_without_training_the_words_speak_of_no_latents(rng, tmp_path, quiet_report):
    """And say over which lengths differences were averaged."""
    counts = rng.poisson(
        20 * np.exp(-((np.hypot(*(np.indices((24, 24)) - 11.5)) / 5) ** 2)), (11, 11, 24, 24)
    )
    axes = tuple(Axis(name=name, scale=0.5, units="nm") for name in "yx")
    scan = Scan.from_array(counts.astype(np.uint16)).replace(scan_axes=axes)
    config = small_config(prepare=PrepareOptions(reference_name="all", centre_px=(11.5, 11.5)))
    result = measure_symmetry(scan, directory=tmp_path / "run", config=config)
    sentence = result.run["broken"]["sentence"]
    assert "the mean of the reference (121 positions)" in sentence
    assert "latents" not in sentence
    *_, last = result.run["broken"]["widths"]
    assert f"and {last:.3g} nm" in sentence
