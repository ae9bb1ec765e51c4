"""A gain map: patterns are divided by the sensitivity of the pixels; what cannot be divided is left out."""

import json

import numpy as np
import pytest
from cli.conftest import orbistem

from orbistem.errors import OptionError
from orbistem.io import open_scan
from orbistem.prepare.counts import estimate_gain
from orbistem.prepare.moments import Moments
from orbistem.scan import Scan
from orbistem.stream import Inline

__all__ = ["orbistem"]


def uneven(rng, shape=(12, 10, 16, 14)):
    """Counts of a camera whose pixels differ by 30 %, the electrons behind them, and the sensitivities."""
    sensitivity = rng.uniform(0.5, 1.5, shape[2:])
    sensitivity /= sensitivity.mean()
    electrons = rng.poisson(50.0, shape)
    return (electrons * sensitivity).astype(np.float32), electrons, sensitivity


def test_electrons_come_back_whatever_the_scale_of_the_map(rng):
    counts, electrons, sensitivity = uneven(rng)
    scan = open_scan(counts, gain_map=700 * sensitivity)
    assert np.allclose(scan.block(0, 120).frames, electrons.reshape(-1, 16, 14), rtol=1e-5)
    assert scan.dtype == np.float32
    assert any("divided by a gain map" in text for text in scan.provenance.found)
    assert scan.provenance.checksum != open_scan(counts).provenance.checksum


def test_noise_is_that_of_counting_again(rng):
    counts, _, sensitivity = uneven(rng, (40, 30, 16, 14))
    gains = []
    for scan in (Scan.from_array(counts), open_scan(counts, gain_map=sensitivity)):
        moments = Inline().run(Moments(detector_shape=(16, 14)), scan)
        mean, variance = moments.mean, moments.variance
        gains.append((variance / mean).std())
        fit = estimate_gain(moments, np.ones((16, 14), bool))
    assert gains[1] < 0.2 * gains[0]
    assert fit.gain is None or fit.gain == pytest.approx(1, abs=0.2)


def test_pixels_without_a_sensitivity_are_left_out(rng):
    counts, _, sensitivity = uneven(rng)
    bad = sensitivity.copy()
    bad[0, 0], bad[1, 1], bad[2, 2], bad[3, 3] = 0, np.nan, -1, 1e-9
    scan = open_scan(counts, gain_map=bad)
    assert set(map(tuple, np.argwhere(~scan.pixel_valid))) == {(0, 0), (1, 1), (2, 2), (3, 3)}
    assert np.isfinite(scan.block(0, 5).frames).all()
    assert any("4 pixels without a usable sensitivity" in text for text in scan.provenance.found)


@pytest.mark.parametrize(
    "wrong", [np.ones((4, 4)), np.zeros((16, 14)), np.full((16, 14), "a"), np.ones((16, 14), complex)]
)
def test_a_wrong_map_is_one_sentence(rng, wrong):
    with pytest.raises(OptionError, match="gain_map: want"):
        open_scan(uneven(rng)[0], gain_map=wrong)


def test_on_the_command_line(orbistem, tmp_path, rng):
    counts, electrons, sensitivity = uneven(rng)
    np.save(tmp_path / "a.npy", counts)
    np.save(tmp_path / "gains.npy", sensitivity)
    done = orbistem("info", tmp_path / "a.npy", "--gain-map", tmp_path / "gains.npy", "--json")
    assert done.status == 0, done.err
    assert any("gain map" in text for text in json.loads(done.out)["found"])
    done = orbistem("convert", tmp_path / "a.npy", tmp_path / "b.zspy", "--gain-map", tmp_path / "gains.npy")
    assert done.status == 0, done.err
    again = open_scan(tmp_path / "b.zspy").block(0, 120).frames
    assert np.allclose(again, electrons.reshape(-1, 16, 14), rtol=1e-5)
    np.save(tmp_path / "two.npy", np.stack([sensitivity] * 2))
    done = orbistem("info", tmp_path / "a.npy", "--gain-map", tmp_path / "two.npy")
    assert done.status == 2
    assert "--gain-map: want one picture" in done.err
