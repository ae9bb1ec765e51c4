"""The pictures that preparation is checked by show what run.json and examples.nc hold."""

from pathlib import Path

import numpy as np
import pytest
from report.synthetic import synthetic_examples, synthetic_maps, synthetic_run

from orbistem.report.check_figures import descan_picture, drift_picture, mean_picture
from orbistem.report.files import RunFiles


@pytest.fixture
def files(rng):
    maps = synthetic_maps(kind="grid", side=6, rng=rng)
    return RunFiles(
        directory=Path("."), maps=maps, examples=synthetic_examples(maps, rng=rng), run=synthetic_run(maps)
    )


def changed(files, **changes):
    return RunFiles(
        directory=files.directory, maps=files.maps, examples=files.examples, run={**files.run, **changes}
    )


def test_the_mean_pattern_has_its_centre_disk_and_mask(files):
    caption = mean_picture(files).caption
    assert "cyan: 1 hot" in caption
    assert "blue: 72 beam stop" in caption
    assert (
        "radius 16.00 px, a semi-angle of 21.3 mrad; stretched by 2.00 % along 34°, which is undone"
        in caption
    )
    ellipse = dict(files.run["ellipse"], ratio=1.0)
    assert "which is not corrected" in mean_picture(changed(files, ellipse=ellipse)).caption
    assert "Dashed" not in mean_picture(changed(files, ellipse={"disk_px": None, "ratio": 1.0})).caption


def test_descan_is_shown_before_and_after(files):
    picture = descan_picture(files)
    assert picture.wide
    assert "16 parts" in picture.caption
    before, after = (float(part.split()[-1]) for part in picture.caption.split(" px")[1:3])
    assert 0.5 < before < 2
    assert 0.02 < after < 0.06  # what the synthetic run has beside its plane
    none = {"model": "none", "parts": files.run["descan"]["parts"]}
    assert "nothing was corrected" in descan_picture(changed(files, descan=none)).caption
    unknown = {**files.run["descan"]["parts"], "shift_px": [[None, None]] * 16}
    assert descan_picture(changed(files, descan={"model": "plane", "parts": unknown})) is None


def test_drift_is_shown_where_it_is_known(files):
    caption = drift_picture(files).caption
    assert "Lines that jump: 21." in caption
    assert "too little structure to tell: 1." in caption
    assert "makes +4.7 columns" in caption
    assert drift_picture(changed(files, lines={"shift_columns": [None] * 9})) is None


@pytest.mark.parametrize("broken", [{}, {"shift_columns": "x", "parts": 5}, {"parts": {"place": [[1]]}}])
def test_odd_entries_leave_a_picture_out(files, broken):
    assert descan_picture(changed(files, descan=broken)) is None
    assert drift_picture(changed(files, lines=broken)) is None
    assert mean_picture(changed(files, ellipse=broken, centre=broken)) is not None


def test_faults_are_numbered_as_they_were_found():
    from orbistem.pipeline.examples import FAULT_NAMES, pixel_faults
    from orbistem.prepare.mask import MaskResult

    valid = np.ones((4, 5), bool)
    for at in ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (3, 4)):
        valid[at] = False
    stop = np.zeros((4, 5), bool)
    stop[1, 0] = True
    mask = MaskResult(
        valid=valid,
        hot=((0, 0),),
        dead=((0, 1),),
        missing=((0, 2),),
        saturated=((0, 3),),
        beam_stop=stop,
        spiked=(),
        notes=(),
    )
    fault = pixel_faults(valid, mask)
    names = ("used", *FAULT_NAMES)
    assert [names[n] for n in fault[0]] == ["hot", "dead", "never finite", "saturated", "used"]
    assert names[fault[1, 0]] == "beam stop"
    assert names[fault[3, 4]] == "masked"
    assert ((fault == 0) == valid).all()
    assert pixel_faults(valid, None).max() == 1
