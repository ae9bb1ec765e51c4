"""One comparison: the same data for all, scores that mean what they say, one table and one figure."""

import json
import math

import numpy as np
import pytest
from pipeline.plain_vae import PlainVAE
from pipeline.small import small_config, small_scan

from orbistem.cli.app import run
from orbistem.errors import InputError, OptionError, OutputError
from orbistem.io import save_scan
from orbistem.pipeline.compare import CompareOptions, all_names, compare
from orbistem.pipeline.comparison_case import make_case
from orbistem.pipeline.scoring import measure_cost
from orbistem.simulate import simulate

QUICK = ("pca", "com", "harmonics", "oracle")


@pytest.fixture(scope="module")
def graphene():
    return simulate("graphene", seed=0, dose=None, scan_shape=(12, 12), detector_px=32)


def by_name(found, dose):
    return {row.method: row for row in found.rows if row.dose == dose}


def test_scores_of_known_methods(graphene, tmp_path):
    options = CompareOptions(methods=QUICK, doses=(1e5, 1e8))
    found = compare(*graphene, options=options, directory=tmp_path / "out")
    bright, faint = by_name(found, 1e8), by_name(found, 1e5)
    assert set(bright) == set(faint) == set(QUICK)
    assert bright["pca"].fold_error > 0.8  # rotated copies are strangers to PCA
    assert bright["harmonics"].fold_error < 0.1
    assert bright["harmonics"].angle_error_deg < 1
    assert math.isnan(bright["pca"].angle_error_deg)
    assert bright["oracle"].explained > 0.999
    assert faint["oracle"].explained < bright["oracle"].explained
    for row in found.rows:
        assert row.explained_ratio <= 1 + 1e-9
        assert row.seconds > 0
    assert faint["harmonics"].repeat_error > 3 * bright["harmonics"].repeat_error
    assert bright["harmonics"].rotation_error < 0.3 < bright["pca"].rotation_error
    assert bright["harmonics"].quarter_error < 0.1 < bright["pca"].quarter_error
    assert bright["pca"].orbit_count > bright["com"].orbit_count == 1

    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert written["schema"] == 1
    assert len(written["rows"]) == 8
    assert written["rows"][0]["angle_error_deg"] is None
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.count("\n") == 10
    assert "| 1e+05 | PCA |" in table
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000


@pytest.mark.parametrize(("asked", "got"), [(3, 3), (None, 2)])  # small_config asks for two
def test_ours_is_a_row(rng, monkeypatch, asked, got):
    monkeypatch.setattr("orbistem.pipeline.training.OrbitVAE", PlainVAE)
    options = CompareOptions(methods=("com", "orbit-vae"), latent_dim=asked)
    found = compare(small_scan(rng), config=small_config(), options=options)
    assert [row.method for row in found.rows] == ["com", "orbit-vae"]
    ours = found.rows[1]
    assert ours.problem is None
    assert ours.latent_dim == got
    assert math.isnan(ours.dose)
    assert math.isfinite(ours.explained)  # on held-out patterns
    assert ours.rotation_error < 0.5


def test_all_methods_see_the_same_case(graphene):
    scan, truth = graphene
    config = small_config()
    case = make_case(scan, truth, config=config, dose=1e5, draws=2, scan_fold=None, within=None, seed=0)
    assert case.frames.shape == (288, 32, 32)
    assert case.scan.scan_shape == (24, 12)
    assert case.clean.sum(axis=(1, 2)).mean() == pytest.approx(1e5, rel=0.05)
    assert case.fitted.all()
    assert case.judged.all()
    p, q = case.pairs.rows.T
    assert (case.pairs.rows.max(), case.pairs.rows.min()) == (
        287,
        1,
    )  # position 0 is the only one of its site
    assert (case.site[p] == case.site[q]).all()
    again = make_case(scan, truth, config=config, dose=1e5, draws=2, scan_fold=None, within=None, seed=0)
    assert np.array_equal(again.frames, case.frames)
    assert np.array_equal(again.turned, case.turned)


def test_measured_scans_hold_patterns_back(rng):
    case = make_case(
        small_scan(rng), None, config=small_config(), dose=None, draws=1, scan_fold=2, within=None, seed=0
    )
    assert case.clean is None
    assert case.judged.sum() == 12
    assert not (case.fitted & case.judged).any()
    assert case.scan.measured.sum() == 108
    assert np.array_equal(np.flatnonzero(~case.scan.measured.ravel()), np.flatnonzero(case.judged))
    assert np.allclose(case.pairs.turn, np.pi)


def test_a_method_that_finds_nothing_says_why(graphene):
    scan, truth = graphene
    flat = scan.replace(patterns=np.broadcast_to(scan.patterns.mean(axis=(0, 1)), scan.patterns.shape).copy())
    found = compare(flat, truth, options=CompareOptions(methods=("harmonics",), doses=(1e5,)))
    assert "above the noise" in found.rows[0].problem
    assert "above the noise" in found.table()


def test_cost_counts_time_and_memory():
    with measure_cost() as cost:
        block = np.ones(2**24)  # 128 MB
        del block
    assert cost.seconds > 0
    assert cost.peak_mb > 20  # sampled: a quick release may be missed in part


def test_bad_input(graphene, rng, tmp_path):
    scan, truth = graphene
    with pytest.raises(OptionError, match="pca, nmf"):
        CompareOptions(methods=("umap",))
    with pytest.raises(InputError, match="noise-free"):
        compare(small_scan(rng), options=CompareOptions(methods=("pca",), doses=(1e5,)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    options = CompareOptions(methods=("com",), doses=(1e6,))
    with pytest.raises(OutputError, match="no comparison"):
        compare(scan, truth, options=options, directory=tmp_path / "mine", overwrite=True)
    compare(scan, truth, options=options, directory=tmp_path / "ours")
    with pytest.raises(OutputError, match="--overwrite"):
        compare(scan, truth, options=options, directory=tmp_path / "ours")
    compare(scan, truth, options=options, directory=tmp_path / "ours", overwrite=True)


def test_every_row_has_a_name_of_its_own():
    assert len(set(all_names())) == len(all_names())


def test_the_command(graphene, tmp_path, capsys):
    scan, truth = graphene
    file = tmp_path / "g.hspy"
    save_scan(scan, file)
    truth.save(tmp_path / "g.truth.nc")
    out = tmp_path / "out"
    status = run(["compare", str(file), "-o", str(out), "--dose", "1e6", "--methods", "pca,com", "--json"])
    assert status == 0
    said = json.loads(capsys.readouterr().out)
    assert said["command"] == "compare"
    assert said["rows"] == 2
    assert (out / "table.md").is_file()
    assert run(["compare", str(file), "-o", str(out), "--dose", "x"]) == 2
    assert "1e4,1e6" in capsys.readouterr().err
    assert run(["compare", str(file), "-o", str(out), "--truth", str(tmp_path / "no.nc"), "--overwrite"]) == 2
