"""Single places and the check of the instrument, in a run without a model and in a fit."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr
from pipeline.small import CENTRE_PX, DETECTOR_PX, SCAN_SHAPE, small_config

from orbistem.config import FitConfig, PrepareOptions
from orbistem.errors import OptionError
from orbistem.groups import Operation
from orbistem.pipeline.fit import fit
from orbistem.pipeline.instrument import (
    GIVEN_SD_PX,
    SIGMAS,
    _ellipse_of,
    _parts,
    instrument_moves,
    worth_checking,
)
from orbistem.pipeline.places import asked_places
from orbistem.pipeline.preparation import block_size_for, prepare
from orbistem.pipeline.symmetry import measure_symmetry
from orbistem.pipeline.turned import image_under
from orbistem.plan import Plan
from orbistem.progress import Silent
from orbistem.scan import Scan
from orbistem.scan.ellipse import ellipse_matrix
from orbistem.stream import Inline
from orbistem.symmetry.options import SymmetryOptions

DOSE = 1e6


def fourfold_scan(rng: np.random.Generator, *, off_px: float = 0.0) -> Scan:
    """A square site that fades along x, at a place (off_px along kx) beside the nominal centre."""
    ky, kx = np.indices((DETECTOR_PX, DETECTOR_PX), dtype=float)
    y, x = ky - CENTRE_PX[0], kx - CENTRE_PX[1] - off_px
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    disk = 1 / (1 + np.exp(1.5 * (radius - 9)))
    strength = np.linspace(0, 1, SCAN_SHAPE[1])[None, :, None, None] * np.ones((SCAN_SHAPE[0], 1, 1, 1))
    clean = disk * (1 + 0.4 * strength * np.minimum(radius / 9, 1) ** 4 * np.cos(4 * (azimuth - 0.3))) + 1e-3
    return Scan.from_array(rng.poisson(DOSE * clean / disk.sum()).astype(np.uint32))


def asked(**named: object) -> FitConfig:
    return small_config(
        prepare=PrepareOptions(centre_px=CENTRE_PX),
        model=dataclasses.replace(small_config().model, background="azimuthal"),
        symmetry=SymmetryOptions(**named),
    )


def test_a_place_says_what_it_keeps_and_what_carries_the_rest(rng, tmp_path):
    config = asked(at=((5, 9),), regions=((0, 12, 8, 10),), check_instrument=True)
    measure_symmetry(fourfold_scan(rng), directory=tmp_path / "run", config=config)
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in run["places"]] == ["position 5, 9", "region 0:12, 8:10"]
    for one in run["places"]:
        operations = {entry["name"]: entry for entry in one["operations"]}
        assert not operations["turn by 90°"]["broken"]
        assert operations["turn by 90°"]["correlation"] > 0.95
        assert operations["turn by 120°"]["broken"]
        assert operations["turn by 120°"]["order"] == 4
        assert 4 < operations["turn by 120°"]["radius_px"] < 11
        assert not operations["turn by 120°"]["by_instrument"]
        assert "Mistilt and thickness" in one["caveat"]
    with xr.open_dataset(tmp_path / "run" / "examples.nc") as examples:
        assert examples["place_change"].shape == (2, DETECTOR_PX, DETECTOR_PX)
        shown = examples["place_change"].values[1]
        radius = np.hypot(*(np.indices(shown.shape) - np.array(CENTRE_PX)[:, None, None]))
        assert np.nanstd(shown[radius < 9]) > 5 * np.nanstd(shown[radius > 12])
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Which operation, and whose fault" in page
    assert "Mistilt and thickness" in page


def test_a_centre_that_is_off_breaks_a_symmetry_and_is_found_out(rng, tmp_path, quiet_report):
    """A centre is off by as much as its uncertainty may be: the broken half-turn is the instrument's."""
    config = asked(regions=((0, 12, 8, 10),), check_instrument=True)
    off = SIGMAS * GIVEN_SD_PX
    result = measure_symmetry(fourfold_scan(rng, off_px=off), directory=tmp_path / "run", config=config)
    half = result.run["places"][0]["operations"][0]
    assert half["name"] == "half-turn (Friedel pairs)"
    assert half["broken"]
    assert half["by_instrument"]
    assert "may be the instrument" in str(result.run["places"][0]) or "verdict changes" in str(
        result.run["places"][0]["sentence"]
    )
    flags = result.maps["point_group_by_instrument"]
    assert flags.attrs["units"] == "1"
    assert set(np.unique(flags.values[np.isfinite(flags.values)])) <= {0.0, 1.0}


def test_places_outside_the_scan_are_one_sentence(scan):
    for named in (
        {"at": ((99, 0),)},
        {"at": ((1,),)},
        {"regions": ((50, 60, 0, 2),)},
        {"regions": ((0, 2, 0, 99),)},
    ):
        with pytest.raises(OptionError, match="want"):
            asked_places(scan, asked(**named))
    for named in ({"at": ((1, 2, 3),)}, {"at": ((-1, 0),)}, {"regions": ((3, 3, 0, 2),)}):
        with pytest.raises(OptionError, match="want"):
            SymmetryOptions(**named)


def test_places_are_kept_in_the_configuration():
    config = asked(at=((1, 2), (3, 4)), regions=((0, 2, 0, 3),), check_instrument=False)
    assert FitConfig.from_toml(config.to_toml()) == config


def test_a_large_scan_is_checked_only_when_asked(scan):
    assert worth_checking(scan, asked())
    assert not worth_checking(scan, asked(check_instrument=False))
    large = Scan.from_array(np.broadcast_to(np.uint16(1), (100, 100, 32, 32)))
    assert not worth_checking(large, asked())
    assert worth_checking(large, asked(check_instrument=True))


def test_a_fit_with_a_reference_checks_the_instrument(rng, quick_fit):
    config = small_config(prepare=PrepareOptions(reference_name="all", centre_px=CENTRE_PX))
    result = quick_fit(fourfold_scan(rng), config=config)
    assert len(result.run["instrument"]["moves"]) >= 4
    assert result.maps["broken_by_instrument"].shape == SCAN_SHAPE
    assert np.isfinite(result.maps["broken_by_instrument"].values).all()


def test_a_fit_of_few_patterns_has_maps_of_symmetry(rng, tmp_path, quiet_report):
    few = Scan.from_array(np.asarray(fourfold_scan(rng).patterns)[:2])
    result = fit(few, config=asked(check_instrument=True), directory=tmp_path / "run")
    assert "point_group_by_instrument" in result.maps  # asked for without a reference
    assert result.model is None
    assert "Nothing was trained" in " ".join(result.problems)
    assert result.maps["n_fold"].shape == (2, SCAN_SHAPE[1], 4)
    assert np.isfinite(result.maps["n_fold"].sel(order=4).values[:, -1]).all()
    assert "point_group" in result.maps


def test_everything_uncertain_is_moved(rng):
    scan = fourfold_scan(rng)
    hidden = np.ones((DETECTOR_PX, DETECTOR_PX), bool)
    hidden[3, 4] = False
    config = small_config(prepare=PrepareOptions(centre_px=CENTRE_PX))
    found = prepare(
        scan.replace(pixel_valid=hidden),
        config,
        runner=Inline(),
        block_size=block_size_for(scan, 256),
        progress=Silent(),
    )
    ellipse = dataclasses.replace(found.ellipse, ratio_sd=0.002, found=(1.001, 0.0))
    moves = instrument_moves(found.plan, dataclasses.replace(found, ellipse=ellipse), scan)
    names = " ".join(move.name for move in moves)
    for what in ("centre by +0.100 px along ky", "ellipse by 0.50 % along 45°", "mask grown"):
        assert what in names
    grown = next(move.plan for move in moves if "mask" in move.name).pixel_valid
    assert (~grown).sum() == 5  # a cross


def test_stretches_multiply():
    ratio, angle = _ellipse_of(ellipse_matrix((1.04, 0.6)) @ ellipse_matrix((1.01, 0.6)))
    assert ratio == pytest.approx(1.04 * 1.01)
    assert angle == pytest.approx(0.6)


def test_the_image_of_a_pattern_is_what_its_azimuths_say():
    """A lobe at azimuth 20°, on an ellipse, turned by 50° and mirrored at 10°: to 70°, and to 0°."""
    plan = Plan(
        mean=np.ones((41, 41)),
        pixel_valid=np.ones((41, 41), bool),
        centre_px=(19.0, 21.0),
        ellipse=(1.1, 0.4),
    )

    def lobe(azimuth_deg):
        y, x = np.indices((41, 41), dtype=float) - np.array([19.0, 21.0])[:, None, None]
        back = np.linalg.inv(ellipse_matrix(plan.ellipse))
        y, x = back[0, 0] * y + back[0, 1] * x, back[1, 0] * y + back[1, 1] * x
        towards = np.deg2rad(azimuth_deg)
        return np.exp(-((y - 9 * np.sin(towards)) ** 2 + (x - 9 * np.cos(towards)) ** 2) / 8)

    every = np.ones((41, 41), bool)
    for operation, wanted in (
        (Operation(angle_rad=np.deg2rad(50), mirror=False), 70),
        (Operation(angle_rad=np.deg2rad(20), mirror=True), 0),
    ):
        image, seen = image_under(lobe(20), every, plan, operation)
        np.testing.assert_allclose(image[seen], lobe(wanted)[seen], atol=0.02)


def test_what_was_not_moved_is_said():
    said = _parts([{"name": "centre by +0.1 px along ky"}, {"name": "ellipse by 0.2 % along 0°"}])
    assert said.startswith("centre, ellipse; descan not: none was corrected")
    assert "mask not" in said
