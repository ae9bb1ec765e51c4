"""A fit end to end: what lies in the folder, and that it says the truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from pipeline.small import CENTRE_PX, DOSE, SCAN_SHAPE, small_config, small_patterns
from scipy.ndimage import gaussian_filter

import orbistem
from orbistem.config import FitConfig, PrepareOptions
from orbistem.errors import InputError, OptionError
from orbistem.harmonics.store import open_store
from orbistem.pipeline.record import Verified, check_files
from orbistem.result import read_run
from orbistem.scan import Axis, Scan
from orbistem.symmetry import DESCRIPTORS

SYMMETRY = {variable.name for descriptor in DESCRIPTORS for variable in descriptor.variables}
MAPS = {
    "latent",
    "latent_sd",
    "angle",
    "angle_sd",
    "angle_order",
    "evidence",
    "residual",
    "com_y",
    "com_x",
    "dose",
}
FILES = {"maps.nc", "examples.nc", "run.json", "config.toml", "report.html", "model", "coefficients.zarr"}


def test_the_folder_holds_everything_and_nothing_else(scan, whole_fit, tmp_path):
    whole_fit(scan)
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert check_files(tmp_path / "run", read_run(tmp_path / "run")) == Verified(changed=())


def test_maps_are_named_calibrated_and_float32(scan, quick_fit, tmp_path):
    quick_fit(scan)
    with xr.open_dataset(tmp_path / "run" / "maps.nc", engine="h5netcdf") as maps:
        assert set(maps.data_vars) == MAPS | SYMMETRY
        for name, variable in maps.data_vars.items():
            assert variable.dtype == np.float32, name
            assert variable.dims[:2] == ("y", "x")
            assert variable.attrs["units"]
            assert variable.attrs["long_name"]
            assert np.isfinite(variable).all() or name in SYMMETRY, name
        assert maps.latent.dims == ("y", "x", "latent_dim")
        assert maps.latent.attrs["active"].tolist() == [1, 1]
        assert maps.com_y.attrs["units"] == "1/nm"
        assert maps.y.attrs["units"] == "nm"
        assert maps.x.values[1] == pytest.approx(0.5)
        assert maps.attrs["whitening"] in ("poisson", "sqrt")
        assert maps.attrs["gain"] == 1.0
        np.testing.assert_allclose(maps.attrs["centre_px"], CENTRE_PX, atol=0.15)


def test_latents_are_sorted_by_activity_and_lean_to_the_positive_side(scan, quick_fit):
    maps = quick_fit(scan).maps
    z = maps.latent.values.reshape(-1, 2).astype(float)
    activity = z.std(axis=0) / np.sqrt((maps.latent_sd.values.reshape(-1, 2) ** 2).mean(axis=0))
    assert activity[0] >= activity[1]
    assert (((z - z.mean(axis=0)) ** 3).mean(axis=0) >= 0).all()


@pytest.mark.parametrize(
    ("quiet", "counted", "enough"),
    [(0, "2 of 2 latents are in use", None), (1, "1 of 2 latents are in use", "one latent is")],
)
def test_latents_in_use_are_counted_once(scan, quick_fit, plain_vae, monkeypatch, quiet, counted, enough):
    loud = plain_vae.encode

    def quietly(self, coefficients):
        found = loud(self, coefficients)
        found.z_sd[:, 2 - quiet :] = 1e3
        return found

    monkeypatch.setattr(plain_vae, "encode", quietly)
    words = [one.lower() for one in quick_fit(scan).run["words"]]
    assert sum("latents are in use" in one for one in words) == 1
    assert any(counted in one for one in words)
    assert [f"{enough} enough at this dose" in one for one in words].count(True) == (enough is not None)


@pytest.mark.parametrize(
    ("group", "dose", "said"), [("usual", DOSE / 10, 1), ("SO2", DOSE / 10, 0), ("usual", DOSE, 0)]
)
def test_faint_scans_are_told_what_knowing_less_freedom_buys(rng, quick_fit, group, dose, said):
    config = small_config()
    config = config.replace(model=replace(config.model, group=group))
    faint = Scan.from_array(small_patterns(rng, dose=dose))
    words = quick_fit(faint, config=config).run["words"]
    assert sum("--group auto --latent-dim auto" in one for one in words) == said


def test_dose_and_centre_of_mass_are_those_of_the_patterns(scan, quick_fit):
    maps = quick_fit(scan).maps
    frames = np.asarray(scan.patterns, float)
    np.testing.assert_allclose(maps.dose, frames.sum(axis=(2, 3)), rtol=1e-6)
    ky, kx = np.indices(frames.shape[2:])
    centre = maps.attrs["centre_px"]
    expected = (np.einsum("yxij,ij->yx", frames, ky) / frames.sum(axis=(2, 3)) - centre[0]) * 0.1
    np.testing.assert_allclose(maps.com_y, expected, atol=1e-5)
    expected = (np.einsum("yxij,ij->yx", frames, kx) / frames.sum(axis=(2, 3)) - centre[1]) * 0.1
    np.testing.assert_allclose(maps.com_x, expected, atol=1e-5)


def test_the_dose_of_a_camera_that_spreads_electrons_counts_each_once(rng, quick_fit):
    """The noise of its pixels is that of many more, but one electron in several pixels is one electron."""
    ky, kx = np.indices((32, 32)) - 15.5
    disk = 1 / (1 + np.exp(np.hypot(ky, kx) - 10))
    wave = np.sin(np.arange(12) / 3)[:, None, None, None] + np.cos(np.arange(20) / 4)[None, :, None, None]
    light = DOSE * disk / disk.sum() * (1 + 0.02 * wave * ky)
    seen = gaussian_filter(7.0 * rng.poisson(light), (0, 0, 1, 1)).astype(np.float32)
    result = quick_fit(Scan.from_array(seen), config=small_config(counts=FitConfig().counts))
    assert result.run["noise"]["correlated"] > 5
    assert result.run["noise"]["dose"] == pytest.approx(DOSE, rel=0.1)
    assert float(result.maps.dose.median()) == pytest.approx(DOSE, rel=0.1)
    assert result.run["noise"]["gain"] * result.run["noise"]["together"] == pytest.approx(7, rel=0.1)


def test_masked_and_hot_pixels_count_in_no_map(rng, quick_fit):
    patterns = small_patterns(rng)
    clean = quick_fit(Scan.from_array(patterns)).maps
    hot = patterns.copy()
    hot[..., 3, 4] = 5000
    run = quick_fit(Scan.from_array(hot), overwrite=True)
    assert any("hot" in text for text in run.run["words"])
    np.testing.assert_allclose(run.maps.dose, clean.dose, rtol=1e-3)
    np.testing.assert_allclose(run.maps.com_y, clean.com_y, atol=0.02)


def test_the_record_has_its_keys_and_plain_numbers(scan, quick_fit, tmp_path):
    quick_fit(scan)
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert run["schema"] == 1
    assert set(run["timings_s"]) == {"prepare", "reduce", "train", "map", "report"}
    assert {
        "patterns_per_s",
        "steps",
        "kept_coefficients",
        "active_units",
        "heldout_evidence",
        "curve",
        "restarts",
    } <= set(run["training"])
    assert run["noise"]["gain"] == 1.0
    assert run["noise"]["unit_variance"] == pytest.approx(1, abs=0.2)
    assert run["noise"]["dose"] == pytest.approx(DOSE, rel=0.1)
    assert run["basis"]["kept"] == run["training"]["kept_coefficients"]
    assert run["input"]["shape"] == [*SCAN_SHAPE, 32, 32]
    assert run["checksums"]["input"]
    assert run["versions"]["orbistem"] == orbistem.__version__
    assert run["problems"] == []
    assert all(text[0] == text[0].upper() and text[-1] in ".!?" for text in run["words"])


def test_an_exactly_invariant_model_gets_a_clean_certificate(scan, quick_fit):
    certificate = quick_fit(scan).run["certificate"]
    assert certificate["latent_change_turned_coefficients"] < 1e-5
    assert certificate["latent_change_turned_pixels"] < 0.2  # interpolation blurs the noise
    assert certificate["angle_error_deg"] < 1e-3
    assert certificate["restarts_agree"] is True
    assert "Turning a pattern changes its latents by" in certificate["sentence"]


def test_coefficients_are_whitened_and_stored_by_position(scan, quick_fit, tmp_path):
    result = quick_fit(scan)
    store = open_store(tmp_path / "run" / "coefficients.zarr")
    assert store.read("harmonics").shape[0] == scan.n_positions
    steerable = store.read("steerable")
    assert steerable.shape == (scan.n_positions, result.run["basis"]["kept"])
    order = store.read("order")
    per_dof = np.where(order > 0, 2, 1)
    second = (np.abs(steerable) ** 2).mean(axis=0) / per_dof
    np.testing.assert_allclose(second, store.read("eigenvalue"), rtol=1e-3)


def test_examples_show_decoded_patterns_beside_measured_ones(scan, quick_fit, tmp_path):
    quick_fit(scan)
    with xr.open_dataset(tmp_path / "run" / "examples.nc", engine="h5netcdf") as examples:
        at = examples.example_position.values
        assert len(set(at.tolist())) == 8
        frames = np.asarray(scan.patterns).reshape(-1, 32, 32)
        np.testing.assert_allclose(examples.nearest, frames[at], rtol=1e-6)
        assert examples.template.shape == (8, 32, 32)
        np.testing.assert_allclose(examples["mean"], frames.mean(axis=0), rtol=1e-5)


def test_the_written_configuration_repeats_the_maps(scan, quick_fit, tmp_path):
    first = quick_fit(scan)
    config = FitConfig.load(tmp_path / "run" / "config.toml")
    again = quick_fit(scan, tmp_path / "again", config=config)
    xr.testing.assert_identical(first.maps, again.maps)


def test_threads_change_nothing(scan, quick_fit, tmp_path):
    from orbistem.stream import Inline, Threads

    one = quick_fit(scan, tmp_path / "one", runner=Inline())
    three = quick_fit(scan, tmp_path / "three", runner=Threads(3))
    xr.testing.assert_identical(one.maps, three.maps)


def test_an_irregular_scan_has_a_position_dimension(rng, quick_fit):
    patterns = small_patterns(rng).reshape(-1, 32, 32)
    positions = rng.uniform(0, 9, (len(patterns), 2))
    maps = quick_fit(Scan.from_array(patterns, positions=positions, position_units="um")).maps
    assert maps.angle.dims == ("position",)
    np.testing.assert_array_equal(maps.position_y, positions[:, 0])
    assert maps.position_x.attrs["units"] == "um"


def test_a_line_stays_a_line(rng, quick_fit):
    maps = quick_fit(Scan.from_array(small_patterns(rng).reshape(-1, 32, 32))).maps
    assert maps.angle.shape == (120, 1)


def test_a_primitive_cell_scan_keeps_its_vectors(rng, quick_fit):
    axes = (Axis(name="y", scale=0.1, units="Å"), Axis(name="x", scale=0.1, units="Å"))
    vectors = np.array([[0.0, 0.1], [0.09, 0.05]])
    maps = quick_fit(Scan.from_array(small_patterns(rng), scan_axes=axes, scan_vectors=vectors)).maps
    np.testing.assert_array_equal(maps.attrs["a1"], vectors[0])
    np.testing.assert_array_equal(maps.attrs["a2"], vectors[1])
    assert maps.attrs["a_units"] == "Å"
    np.testing.assert_array_equal(maps.x, np.arange(SCAN_SHAPE[1]))


def test_missing_positions_are_nan_everywhere_and_the_others_stay(rng, quick_fit):
    patterns = small_patterns(rng).astype(np.float32)
    patterns[2, 3] = 0
    patterns[4, 5] = np.nan
    patterns[6, 7] = 3.5
    patterns[1, 1, 10, 12] = np.nan  # one missing pixel
    patterns[1, 2, 10, 12] = -4.0  # a negative value is kept
    measured = np.ones(SCAN_SHAPE, bool)
    measured[0, 0] = False
    result = quick_fit(Scan.from_array(patterns, measured=measured))
    lost = np.zeros(SCAN_SHAPE, bool)
    lost[[2, 4, 6, 0], [3, 5, 7, 0]] = True
    for name, variable in result.maps.data_vars.items():
        values = variable.values if variable.ndim == 2 else variable.values[..., 0]
        if name in SYMMETRY:  # also where a pattern shows too little to have a share of anything
            assert np.isnan(values[lost]).all(), name
        else:
            np.testing.assert_array_equal(np.isnan(values), lost, err_msg=name)
    assert "4 are not measured, empty or constant" in result.run["words"][0]


def test_a_given_vacuum_pattern_is_the_background(scan, quick_fit, tmp_path):
    vacuum = np.asarray(scan.patterns).mean(axis=(0, 1))
    np.save(tmp_path / "vacuum.npy", vacuum)
    config = small_config(
        prepare=PrepareOptions(background=str(tmp_path / "vacuum.npy")),
    )
    config = config.replace(model=replace(config.model, background="none"))
    model = quick_fit(scan, config=config).model
    assert model.background.shape == (model.basis.n_kept,)
    assert (model.background[model.basis.order == 0] == 0).all()
    np.save(tmp_path / "small.npy", vacuum[:20])
    config = config.replace(prepare=PrepareOptions(background=str(tmp_path / "small.npy")))
    with pytest.raises(OptionError, match="same detector"):
        quick_fit(scan, tmp_path / "other", config=config)


def test_normalising_removes_a_drift_of_the_beam(rng, quick_fit):
    patterns = small_patterns(rng, dose=2e5).astype(np.float64)
    drift = np.linspace(0.5, 1.5, SCAN_SHAPE[0])[:, None, None, None]
    config = small_config(prepare=PrepareOptions(normalise="total"))
    flat = quick_fit(Scan.from_array(patterns), config=config)
    drifting = quick_fit(Scan.from_array(patterns * drift), config=config, overwrite=True)
    np.testing.assert_allclose(drifting.maps.latent, flat.maps.latent, rtol=0.3, atol=3)
    assert any("same total" in text for text in drifting.run["words"])


def test_without_poisson_statistics_the_gain_is_null_and_the_dose_in_counts(rng, quick_fit):
    drawn = np.log1p(small_patterns(rng).astype(np.float32))
    config = small_config(counts=FitConfig().counts)
    result = quick_fit(Scan.from_array(drawn), config=config)
    assert result.run["noise"]["gain"] is None
    assert result.maps.dose.attrs["units"] == "counts"
    assert np.isnan(result.maps.attrs["gain"])
    assert any("--gain" in text for text in result.problems)
    assert any("noise was taken from" in text for text in result.run["words"])


def test_one_training_without_short_ones_has_nothing_to_agree_with(rng):
    scan = Scan.from_array(small_patterns(rng))
    model = replace(small_config().model, scout_steps=0)
    training = orbistem.fit(scan, config=small_config(model=model)).run["training"]
    assert training["steps"] == model.train.steps
    assert training["agreement"] is None
    with pytest.raises(OptionError, match="scout_steps"):
        replace(model, scout_steps=-1)


def test_below_32_patterns_nothing_is_trained(rng, whole_fit, tmp_path):
    result = whole_fit(Scan.from_array(small_patterns(rng, shape=(5, 6))))
    assert result.model is None
    assert set(result.maps.data_vars) >= {"dose", "com_y", "com_x", "point_group", "n_fold", "mirror"}
    assert not {"latent", "angle", "evidence", "residual"} & set(result.maps.data_vars)
    assert any("at least 32" in text for text in result.problems)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert orbistem.load(tmp_path / "run").model is None


def test_pure_noise_gives_empty_latents_and_says_so(rng, whole_fit, tmp_path):
    ky, kx = np.indices((32, 32))
    disk = 20.0 / (1 + np.exp(2 * (np.hypot(ky - 15.6, kx - 15.3) - 9))) + 0.01
    result = whole_fit(Scan.from_array(rng.poisson(disk, (*SCAN_SHAPE, 32, 32)).astype(np.uint16)))
    assert np.isnan(result.maps.latent).all()
    assert np.isfinite(result.maps.dose).all()
    assert any(text.startswith("No latent at this dose") for text in result.problems)
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (np.zeros((6, 7, 16, 16)), "constant, zero"),
        (np.full((6, 7, 16, 16), np.nan), "not finite"),
        (np.ones((6, 7, 16, 16), np.uint8), "constant"),
        (np.arange(256.0).reshape(1, 1, 16, 16), "single one"),
    ],
    ids=["zero", "nan", "constant", "single"],
)
def test_unusable_input_is_refused_and_leaves_nothing(patterns, message, quick_fit, tmp_path):
    with pytest.raises(InputError, match=message):
        quick_fit(Scan.from_array(patterns))
    assert list(tmp_path.iterdir()) == []


def test_one_usable_pattern_is_no_stack(rng, quick_fit, tmp_path):
    patterns = np.zeros((4, 4, 32, 32))
    patterns[1, 1] = rng.poisson(5, (32, 32))
    with pytest.raises(InputError, match="single usable one"):
        quick_fit(Scan.from_array(patterns))
    assert list(tmp_path.iterdir()) == []


def test_a_centre_outside_the_frame_is_refused_before_reading(scan, quick_fit, tmp_path):
    config = small_config(prepare=PrepareOptions(centre_px=(40.0, 3.0)))
    with pytest.raises(InputError, match="--centre"):
        quick_fit(scan, config=config)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_the_result_stays_in_memory(scan, plain_vae, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = orbistem.fit(scan, config=small_config())
    assert result.directory is None
    assert result.maps.angle.shape == SCAN_SHAPE
    assert result.model.encode(scan).z.shape == (120, 2)
    assert list(tmp_path.iterdir()) == []
