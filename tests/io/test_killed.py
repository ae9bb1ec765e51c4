"""kill -9 at random moments of writing: the old file or the new one is there, never half of one."""

import json
import os
import subprocess
import sys

import pytest

KILLS = 30
"""Random moments for each suffix; runs of a fit are killed in tests/cli."""
PROGRAM = """
import itertools, json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
import dask.array, h5py, rsciio.hspy, rsciio.zspy, zarr  # once, before the forks
from orbistem.io import open_scan
from orbistem.io.save import save_scan
from orbistem.scan import Scan

target, kills, draw = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
both = [Scan.from_array(np.full((6, 5, 64, 64), word, np.uint16)) for word in (1, 2)]
save_scan(both[0], target)

def forked(action):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(action())
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(99)
    return pid

def write_for_ever():
    for scan in itertools.cycle(both[::-1]):
        save_scan(scan, target)

def which():
    frames = open_scan(target).block(0, 30).frames
    words = np.unique(frames)
    return int(words[0]) if len(words) == 1 and words[0] in (1, 2) else 98

found = []
for _ in range(kills):
    pid = forked(write_for_ever)
    time.sleep(draw.uniform(0.0, 0.25))
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status), status
    found.append(os.WEXITSTATUS(os.waitpid(forked(which), 0)[1]))
assert os.WEXITSTATUS(os.waitpid(forked(lambda: save_scan(both[1], target) or which()), 0)[1]) == 2
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a kill that cannot be caught is POSIX's")
@pytest.mark.parametrize("suffix", [".hspy", ".zspy"])
def test_killed_at_any_moment_of_writing(request, tmp_path, suffix):
    """A process replaces a file for ever by one of two; whenever killed, one of them is there, whole."""
    seed = request.config.getoption("--seed")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            PROGRAM,
            str(tmp_path / f"out{suffix}"),
            str(KILLS),
            str(seed),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) == KILLS
    assert set(found) == {1, 2}, found


def test_an_interrupted_swap_is_finished_by_whoever_opens_the_file(tmp_path, rng):
    import numpy as np

    from orbistem.io import open_scan, save_scan
    from orbistem.scan import Scan

    counts = rng.integers(0, 9, (3, 4, 6, 5)).astype(np.uint16)
    save_scan(Scan.from_array(counts), tmp_path / "a.zspy")
    (tmp_path / "a.zspy").rename(tmp_path / "new.zspy")
    (tmp_path / "a.zspy.swap").write_text('{"new": "new.zspy"}', encoding="utf-8")
    assert np.array_equal(open_scan(tmp_path / "a.zspy").block(0, 12).frames, counts.reshape(-1, 6, 5))
    (tmp_path / "b.npy.swap").write_text(
        "mine", encoding="utf-8"
    )  # nothing is touched beside a file that is there
    np.save(tmp_path / "b.npy", counts)
    open_scan(tmp_path / "b.npy")
    assert (tmp_path / "b.npy.swap").read_text(encoding="utf-8") == "mine"
