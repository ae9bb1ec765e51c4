"""The demo, with a simulation that takes no time."""

import numpy as np
from pipeline.small import SCAN_SHAPE, small_config, small_scan

from orbistem.scan import Truth


def test_demo_leaves_input_truth_and_report(orbistem, tmp_path, rng, monkeypatch):
    truth = Truth(
        site=np.zeros(SCAN_SHAPE, np.int64),
        angle=np.zeros(SCAN_SHAPE),
        point_group=np.full(SCAN_SHAPE, "C1"),
        defect_distance=np.ones(SCAN_SHAPE),
    )
    asked = {}

    def simulate(name, **named):
        asked.update(named, name=name)
        return small_scan(rng), truth

    monkeypatch.setattr("orbistem.simulate.simulate", simulate)
    monkeypatch.setattr("orbistem.config.FitConfig", lambda **named: small_config(**named))
    done = orbistem("demo", "-o", tmp_path / "demo")
    assert done.status == 0, done.err
    assert (asked["name"], asked["dose"], asked["scan_shape"]) == ("graphene-vacancy", 1e5, (64, 64))
    assert {path.name for path in tmp_path.iterdir()} == {"demo", "demo-input"}
    assert Truth.load(tmp_path / "demo-input" / "graphene-vacancy.truth.nc").site.shape == SCAN_SHAPE
    assert str(tmp_path / "demo" / "report.html") in done.out
    assert "vacancy" in done.out
    assert orbistem("demo", "-o", tmp_path / "demo").status == 2
    assert orbistem("demo", "-o", tmp_path / "demo", "--overwrite", "-q").out == ""
