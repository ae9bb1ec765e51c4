"""Bad pixels: found where they are, and nowhere else, at any dose."""

import numpy as np
import pytest
from prepare.scans import expected_counts, reduce_blocks

from orbistem.errors import OptionError
from orbistem.prepare.centre import find_centre
from orbistem.prepare.mask import MaskOptions, find_bad_pixels

DEAD = (
    (15, 11),
    (6, 15),
    (20, 20),
    (10, 10),
    (16, 24),
)  # (15, 11) inside the disk, (6, 15) and (16, 24) on its edge


def spots(*, detector_px=48, step_px=9.0, radius_px=2.6, softness=4.0):
    """Mean pattern of a crystal: small disks with sharp edges, far brighter in the middle, uneven."""
    y, x = np.indices((detector_px, detector_px)).astype(float)
    middle = (detector_px - 1) / 2 + np.array([0.3, -0.4])
    pattern = np.full((detector_px, detector_px), 1e-3)
    for h in range(-2, 3):
        for k in range(-2, 3):
            strength = np.exp(-(h * h + k * k) / 1.5) * (1 + 0.6 * np.sin(h + 2 * k))
            r = np.hypot(y - middle[0] - step_px * h, x - middle[1] - step_px * (k + 0.3 * h))
            pattern += strength / (1 + np.exp(softness * (r - radius_px)))
    return pattern / pattern.mean()


def put_faults(frames, rng, *, n_hot=20, dead=DEAD):
    frames = frames.copy()
    free = [
        (y, x)
        for y, x in np.ndindex(frames.shape[1:])
        if all(max(abs(y - a), abs(x - b)) > 1 for a, b in dead)
    ]
    chosen = rng.choice(len(free), n_hot - 1, replace=False)
    hot = {(13, 17), *(free[i] for i in chosen)}
    for y, x in hot:
        frames[:, y, x] = 5000
    for y, x in dead:
        frames[:, y, x] = 0
    return frames, hot


@pytest.mark.parametrize("electrons", [300, 8000, 1_000_000])
def test_hot_and_dead_pixels_are_found(count_scan, rng, electrons):
    frames, hot = put_faults(count_scan(electrons=electrons), rng)
    if electrons == 1_000_000:  # 5,000 is no longer hot inside the disk
        frames[:, [y for y, _ in hot], [x for _, x in hot]] *= 20
    mask = find_bad_pixels(reduce_blocks(frames))
    assert set(mask.hot) == hot
    assert set(mask.dead) == set(DEAD)
    assert mask.valid.sum() == mask.valid.size - len(hot) - len(DEAD)
    assert any("hot" in note for note in mask.notes)
    assert mask.problem is None


@pytest.mark.parametrize("electrons_px", [0.02, 0.2, 2, 50, 1e4])
def test_no_false_alarm_at_disk_edges(count_scan, electrons_px):
    mask = find_bad_pixels(reduce_blocks(count_scan(electrons=electrons_px * 32 * 32)))
    assert mask.valid.all()
    assert mask.notes == ()


@pytest.mark.parametrize("electrons_px", [0.02, 2, 1e4])
@pytest.mark.parametrize("radius_px", [1.2, 2.6])
def test_no_false_alarm_in_bragg_disks(rng, electrons_px, radius_px):
    expected = electrons_px * spots(radius_px=radius_px)
    frames = rng.poisson(expected * rng.gamma(5, 0.2, (300, 1, 1))).astype(np.uint32)
    mask = find_bad_pixels(reduce_blocks(frames))
    assert mask.valid.all()


def test_faults_follow_the_pattern_turned(count_scan, rng):
    frames, _ = put_faults(count_scan(electrons=8000), rng)
    frames[:, :15, 14:18] = 0
    mask = find_bad_pixels(reduce_blocks(frames)).valid
    turned = find_bad_pixels(reduce_blocks(np.rot90(frames, axes=(1, 2)))).valid
    assert (np.rot90(mask) != turned).sum() <= 3  # rim pixels of the beam stop may fall on either side
    flipped = find_bad_pixels(reduce_blocks(frames[:, :, ::-1])).valid
    assert (mask[:, ::-1] != flipped).sum() <= 3


@pytest.mark.parametrize("leak", [0.0, 0.02])
def test_beam_stop(count_scan, rng, leak):
    clean = expected_counts(electrons=8000)
    shade = np.zeros((32, 32), bool)
    shade[:17, 14:18] = True
    frames = rng.poisson(np.where(shade, leak * clean, clean)).astype(np.uint16)
    moments = reduce_blocks(frames)
    mask = find_bad_pixels(moments)
    lit = clean.mean(axis=0) > 1
    assert mask.beam_stop[shade & lit].all()
    assert (mask.beam_stop & ~shade & lit).sum() <= 4
    assert not mask.hot
    assert not mask.dead
    fit = find_centre(moments.mean, pixel_valid=mask.valid)
    assert np.abs(np.subtract(fit.centre_px, 15.5)).max() < 0.05


def test_a_weak_reflection_is_no_beam_stop(rng):
    pattern = spots()
    y, x = np.indices(pattern.shape)
    far = np.hypot(y - 23.8 - 9, x - 23.1 - 2.7) < 4.5  # one reflection gone, its opposite stays
    frames = rng.poisson(20 * np.where(far, 0.01, pattern), (200, *pattern.shape)).astype(np.uint16)
    assert not find_bad_pixels(reduce_blocks(frames)).beam_stop.any()


def test_always_missing_pixels(count_scan):
    frames = count_scan(electrons=8000).astype(np.float32)
    frames[:, 3, 4] = np.nan
    frames[:, 15, 15] = np.nan
    frames[7, 20, 20] = np.nan
    mask = find_bad_pixels(reduce_blocks(frames))
    assert mask.missing == ((3, 4), (15, 15))
    assert mask.valid[20, 20]
    assert mask.hot == mask.dead == ()


def test_saturated_pixels(count_scan):
    clipped = np.minimum(count_scan(electrons=80000), 255).astype(np.uint8)
    mask = find_bad_pixels(reduce_blocks(clipped))
    often = (clipped == 255).mean(axis=0) > 0.05
    assert set(mask.saturated) >= {tuple(at) for at in np.argwhere(often).tolist()}
    assert (clipped == 255).any(axis=0)[tuple(np.array(mask.saturated).T)].all()
    assert mask.hot == ()
    assert any("saturated" in note for note in mask.notes)


def test_a_streak_in_one_pattern_is_flagged_and_masks_nothing(count_scan):
    frames = count_scan(electrons=8000)
    frames[100, 8, 3:15] = 30000
    mask = find_bad_pixels(reduce_blocks(frames))
    assert mask.spiked == (100,)
    assert mask.valid.all()


def test_the_focused_beam_is_not_a_hot_pixel(rng):
    expected = np.full((20, 24), 0.05)
    expected[10, 13] = 500
    frames = rng.poisson(expected, (300, 20, 24)).astype(np.uint16)
    assert find_bad_pixels(reduce_blocks(frames)).hot == ()
    frames[:, 10, 13] = 500  # never varies: no beam does that
    assert find_bad_pixels(reduce_blocks(frames)).hot == ((10, 13),)


def test_dark_subtracted_camera_with_dead_pixels(count_scan, rng):
    frames = count_scan(electrons=8000) * 140.0 + rng.normal(0, 5, (480, 32, 32))
    zero = rng.random((32, 32)) < 0.05
    frames[:, zero] = 0
    mask = find_bad_pixels(reduce_blocks(frames.astype(np.float32)))
    dead = np.zeros((32, 32), bool)
    dead[tuple(np.array(mask.dead).T)] = True
    assert not (dead & ~zero).any()
    lit = expected_counts(electrons=8000).mean(axis=0) > 3
    assert (dead & lit).sum() >= 0.9 * (zero & lit).sum()


def test_pixels_known_before_stay_masked(count_scan):
    moments = reduce_blocks(count_scan(electrons=8000))
    given = np.ones((32, 32), bool)
    given[4:8, 4:8] = False
    mask = find_bad_pixels(moments, pixel_valid=given)
    np.testing.assert_array_equal(mask.valid, given)


def test_mostly_masked_is_a_problem(count_scan):
    given = np.zeros((32, 32), bool)
    given[10:20, 10:20] = True
    mask = find_bad_pixels(reduce_blocks(count_scan(electrons=8000)), pixel_valid=given)
    assert mask.problem is not None
    assert "--mask" in mask.problem


def test_too_few_patterns_mask_nothing(rng):
    frames = rng.poisson(1.0, (2, 16, 18)).astype(np.uint16)
    frames[:, 5, 5] = 900
    assert find_bad_pixels(reduce_blocks(frames)).valid.all()


def test_options_are_checked():
    with pytest.raises(OptionError, match="sigma"):
        MaskOptions(sigma=0)
    with pytest.raises(OptionError, match="dark_ratio"):
        MaskOptions(dark_ratio=2)


@pytest.mark.parametrize(("name", "n_dead"), [("srtio3", 0), ("siemens", 0), ("cryo", 0), ("xray", 17)])
def test_measured_scans(measured_frames, name, n_dead):
    """The X-ray detector has pixels with 0 to 5 counts among thousands; the others are clean."""
    mask = find_bad_pixels(reduce_blocks(measured_frames(name)))
    assert mask.hot == ()
    assert not mask.beam_stop.any()
    assert len(mask.dead) == n_dead


def test_saturated_direct_beam_of_a_measured_scan(measured_frames):
    frames = measured_frames("blo")
    mask = find_bad_pixels(reduce_blocks(frames))
    assert len(mask.saturated) > 10
    assert (frames == 255).any(axis=0)[tuple(np.array(mask.saturated).T)].all()
