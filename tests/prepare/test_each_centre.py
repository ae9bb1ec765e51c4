"""Single patterns are followed where the beam jumps, and left alone where it is the specimen that changes."""

import json

import numpy as np
import pytest
from cli.conftest import orbistem, quick_toml

from orbistem.config import FitConfig
from orbistem.errors import OptionError
from orbistem.pipeline.preparation import prepare
from orbistem.prepare.descan import DescanOptions, descan_shift
from orbistem.prepare.each_centre import EdgeReader, Edges, Problem, judge
from orbistem.prepare.rest import Geometry, pattern_at_rest
from orbistem.prepare.tiles import Tiles, scan_coordinates
from orbistem.progress import Silent
from orbistem.scan import Scan
from orbistem.stream import Inline, Threads

__all__ = ["orbistem", "quick_toml"]

PX, SCAN_SHAPE, RADIUS_PX = 40, (20, 16), 11.0
N = SCAN_SHAPE[0] * SCAN_SHAPE[1]
CENTRE = (19.3, 20.2)
EVERYWHERE = np.ones((PX, PX), bool)


def rates(shift, rng, *, dose, contrast=0.4):
    """Disks whose brightness leans to a random side and wavers: the centre of mass moves by 2 px."""
    y, x = np.indices((PX, PX), dtype=float)
    patterns = []
    for by in shift:
        dy, dx = y - CENTRE[0] - by[0], x - CENTRE[1] - by[1]
        disk = 1 / (1 + np.exp(3 * (np.hypot(dy, dx) - RADIUS_PX)))
        lean = (dy * rng.normal() + dx * rng.normal()) / RADIUS_PX
        waves = np.cos(dy * rng.uniform(-0.5, 0.5) + dx * rng.uniform(-0.5, 0.5) + rng.uniform(0, 6.3))
        pattern = disk * np.clip(1 + contrast * (lean + 0.5 * waves), 0.15, None) + 0.01
        patterns.append(dose * pattern / pattern.sum())
    return np.stack(patterns)


def scan_of(shift, rng, **named):
    return Scan.from_array(
        rng.poisson(rates(shift, rng, **named)).reshape(*SCAN_SHAPE, PX, PX).astype(np.uint16)
    )


def reader_of(scan):
    tiles = Inline().run(Tiles.of(scan), scan)
    rest, _ = pattern_at_rest(tiles, np.zeros((len(tiles.n), 2)), EVERYWHERE, Geometry(centre_px=CENTRE))
    return EdgeReader(rest=rest, radius_px=RADIUS_PX, valid=EVERYWHERE, shift_px=np.zeros((N, 2)))


def found_in(scan):
    reader = reader_of(scan)
    return judge(Inline().run(reader, scan) if reader.sees_an_edge else None)


def com_error(scan, shift):
    frames = scan.block(0, N).frames.astype(float)
    place = np.indices((PX, PX)).reshape(2, -1) @ frames.reshape(N, -1).T / frames.sum(axis=(1, 2))
    return np.std(place.T - place.mean(axis=1) - shift)


@pytest.mark.parametrize("jump_px", [0.3, 0.7])
def test_a_jumping_beam_is_followed(rng, jump_px):
    shift = rng.normal(0, jump_px, (N, 2))
    shift -= shift.mean(axis=0)
    scan = scan_of(shift, rng, dose=3e4)
    found = found_in(scan)
    assert found.problem is None
    assert found.beam_sd_px == pytest.approx(jump_px, rel=0.15)
    error = np.std(found.shift_px - shift)
    assert error < 0.1
    assert error < 0.1 * com_error(scan, shift)  # the centre of mass follows the specimen
    assert 0.5 < found.left_sd_px / error < 2  # and it knows how well


@pytest.mark.parametrize("dose", [3e3, 1e5, 1e7])
def test_a_still_beam_is_left_alone_whatever_the_specimen_does(rng, dose):
    scan = scan_of(np.zeros((N, 2)), rng, dose=min(dose, 5e6))
    assert com_error(scan, np.zeros((N, 2))) > 1
    found = found_in(scan)
    assert found.problem is Problem.STILL
    assert not found.shift_px.any()


def test_the_less_is_known_the_more_it_is_shrunk(rng):
    shift = rng.normal(0, 0.2, (N, 2))
    assert found_in(scan_of(shift, rng, dose=300.0)).problem in (Problem.NOISE, Problem.STILL)
    gains = []
    for dose in (2e4, 5e5):
        found = found_in(scan_of(shift, rng, dose=dose))
        assert found.problem is None
        assert np.std(found.shift_px - shift + shift.mean(axis=0)) < 0.2
        gains.append(1 - found.left_sd_px**2 / found.beam_sd_px**2)
    assert gains[0] < 0.95 < gains[1]


def test_no_edge_or_few_patterns_are_said(rng):
    scan = scan_of(np.zeros((N, 2)), rng, dose=1e4)
    edges = Inline().run(reader_of(scan), scan)
    few = Edges(edges.off[:20], edges.spread[:20], edges.unit[:20])
    assert judge(few).problem is Problem.FEW
    flat = Scan.from_array(rng.poisson(5, (*SCAN_SHAPE, PX, PX)))
    assert found_in(flat).problem is Problem.NO_EDGE
    assert "not followed" in found_in(flat).why


def test_unusable_patterns_and_blocks(rng):
    shift = rng.normal(0, 0.5, (N, 2))
    frames = rates(shift, rng, dose=3e4).astype(np.float32)
    frames[7] = np.nan
    measured = np.ones(SCAN_SHAPE, bool)
    measured[0, 3] = False
    scan = Scan.from_array(frames.reshape(*SCAN_SHAPE, PX, PX), measured=measured)
    whole = Inline().run(reader_of(scan), scan, block_size=N)
    parts = Threads(2).run(reader_of(scan), scan, block_size=23)
    for name in ("off", "spread", "unit"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), rtol=1e-9, atol=1e-12)
    assert np.isnan(whole.off[[3, 7]]).all()
    assert not judge(whole).shift_px[[3, 7]].any()


def test_the_plan_reads_followed_patterns_as_if_they_had_lain_still(rng):
    coefficients = np.array([[0.8, -0.4], [0.3, 0.9]])
    place = scan_coordinates(Scan.from_array(np.zeros((*SCAN_SHAPE, 2, 2), np.uint8)))
    jumps = rng.normal(0, 0.5, (N, 2))
    seed = int(rng.integers(2**31))
    moved, still = (
        scan_of(shift, np.random.default_rng(seed), dose=1e6, contrast=0.3)
        for shift in (descan_shift(coefficients, place) + jumps, np.zeros((N, 2)))
    )
    error = {}
    for name, options in (
        ("none", DescanOptions()),
        ("auto", DescanOptions(per_pattern="auto")),
        ("perfect", None),
    ):
        scan = still if options is None else moved
        config = FitConfig(descan=options or DescanOptions())
        done = prepare(scan, config, runner=Inline(), block_size=100, progress=Silent())
        harmonics = done.plan.harmonics(scan.block(0, N).frames, np.arange(N))
        if name == "auto":
            assert done.each.problem is None
            found = done.plan.shift_px - done.plan.shift_px.mean(axis=0)
            true = descan_shift(coefficients, place) + jumps - jumps.mean(axis=0)
            assert np.std(found - true) < 0.1
            assert any("each pattern was followed" in word.lower() for word in done.words)
            same = done.plan.for_places(place, of=scan.provenance.checksum)
            assert np.array_equal(same.shift_px, done.plan.shift_px)
            other = done.plan.for_places(place, of="another")
            assert np.allclose(other.shift_px, descan_shift(done.plan.descan_px, place))
            again = type(done.plan).from_dict(done.plan.to_dict(), done.plan.arrays())
            assert np.array_equal(again.each_px, done.plan.each_px)
        else:
            assert done.each is None
        error[name] = harmonics[:, :, :5]
    rings = min(part.shape[1] for part in error.values())
    perfect = error["perfect"][:, :rings]
    apart = [np.mean(np.abs(error[name][:, :rings] - perfect) ** 2) for name in ("none", "auto")]
    assert apart[1] < 0.2 * apart[0]


def test_options_are_checked():
    with pytest.raises(OptionError, match="per_pattern"):
        DescanOptions(per_pattern="always")


def test_the_whole_program_follows_repeats_and_forgets(orbistem, quick_toml, tmp_path, rng):
    jumps = rng.normal(0, 0.5, (N, 2))
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", scan_of(jumps, rng, dose=1e5).patterns)
    arguments = ("fit", tmp_path / "a.npy", "--config", quick_toml, "--per-pattern", "auto")
    done = orbistem(*arguments, "-o", tmp_path / "run")
    assert done.status == 0, done.err
    assert "each pattern was followed" in done.out.lower()
    told = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["per_pattern"]
    assert told["used"]
    assert told["beam_sd_px"] == pytest.approx(0.5, rel=0.15)
    assert told["left_sd_px"] < 0.1
    again = orbistem(
        "fit", tmp_path / "a.npy", "--config", tmp_path / "run" / "config.toml", "-o", tmp_path / "again"
    )
    assert again.status == 0, again.err
    for source in ("a", "b"):  # the jumps of another scan are others
        done = orbistem(
            "transform", tmp_path / "run", tmp_path / f"{source}.npy", "-o", tmp_path / f"t{source}"
        )
        assert done.status == 0, done.err
    still = orbistem("fit", tmp_path / "a.npy", "--config", quick_toml, "-o", tmp_path / "none")
    assert still.status == 0
    assert "per_pattern" not in json.loads((tmp_path / "none" / "run.json").read_text(encoding="utf-8"))
    wrong = orbistem(*arguments[:-1], "always", "-o", tmp_path / "wrong")
    assert wrong.status == 2
    assert "--per-pattern: want none or auto" in wrong.err
