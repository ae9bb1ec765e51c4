import pickle
import threading
from dataclasses import dataclass

import numpy as np
import pytest

from orbistem.errors import InputError, OptionError
from orbistem.scan import Scan
from orbistem.stream import Distributed, Inline, Threads, Together


@dataclass(frozen=True)
class Sums:
    """Count, sum and sum of squares of the measured frames; fractions on purpose, so that order matters."""

    power: float = 0.5

    def start(self):
        return [0, 0.0, 0.0, []]

    def add(self, state, block):
        frames = block.frames[block.measured].astype(np.float64) ** self.power
        more = (len(frames), frames.sum(axis=0), (frames**2).sum(axis=0), [block.start])
        return [a + b for a, b in zip(state, more, strict=True)]

    def merge(self, left, right):
        return [a + b for a, b in zip(left, right, strict=True)]

    def finish(self, state):
        n, total, squares, starts = state
        return n, total / n, squares / n - (total / n) ** 2, starts


@dataclass(frozen=True)
class Ticker:
    log: list

    def start(self, task, total):
        self.log.append((task, total))

    def advance(self, n=1, *, note=""):
        self.log.append(n)

    def finish(self):
        self.log.append("finish")


def make_scan(rng, *, as_lazy=False):
    array = rng.poisson(3, size=(11, 7, 6, 8)).astype(np.uint16)
    measured = rng.random((11, 7)) > 0.1
    if as_lazy:
        import dask.array as da

        array = da.from_array(array, chunks=(4, 7, 6, 8))
    return Scan.from_array(array, measured=measured)


def assert_same_to_the_last_bit(got, want):
    assert got[0] == want[0]
    assert got[3] == want[3]
    for a, b in zip(got[1:3], want[1:3], strict=True):
        assert a.tobytes() == b.tobytes()


def test_any_split_merges_to_what_numpy_says(rng):
    scan = make_scan(rng)
    frames = np.asarray(scan.patterns).reshape(-1, 6, 8)[scan.measured.reshape(-1)] ** 0.5
    reduction = Sums()
    for _ in range(50):
        cuts = np.sort(rng.choice(np.arange(1, 77), size=rng.integers(0, 12), replace=False))
        bounds = list(zip([0, *cuts], [*cuts, 77], strict=True))
        states = [reduction.add(reduction.start(), scan.block(int(a), int(b))) for a, b in bounds]
        while len(states) > 1:  # merge any neighbours, left before right
            at = int(rng.integers(len(states) - 1))
            states[at : at + 2] = [reduction.merge(states[at], states[at + 1])]
        n, mean, variance, starts = reduction.finish(states[0])
        assert n == len(frames)
        assert starts == sorted(starts)
        np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(variance, frames.var(axis=0), rtol=1e-10)


@pytest.mark.parametrize("as_lazy", [False, True])
@pytest.mark.parametrize("block_size", [1, 5, 14, 77, 100])
def test_threads_equal_inline_to_the_last_bit(rng, block_size, as_lazy):
    scan = make_scan(rng, as_lazy=as_lazy)
    want = Inline().run(Sums(), scan, block_size=block_size)
    for n_threads in (1, 2, 5):
        assert_same_to_the_last_bit(Threads(n_threads).run(Sums(), scan, block_size=block_size), want)


def test_together_is_one_pass(rng):
    scan = make_scan(rng)
    both = Inline().run(Together((Sums(0.5), Sums(1.0))), scan, block_size=10)
    assert_same_to_the_last_bit(both[0], Inline().run(Sums(0.5), scan, block_size=10))
    assert_same_to_the_last_bit(both[1], Inline().run(Sums(1.0), scan, block_size=10))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_few_blocks_are_held_at_a_time(rng, n_threads):
    scan, held, most, lock = make_scan(rng), 0, 0, threading.Lock()

    def task(block):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return block.start

    starts = []
    for n_positions, start in Threads(n_threads).map(task, scan, block_size=2):
        with lock:
            held -= 1
        starts.append(start)
        assert n_positions == (1 if start == 76 else 2)
    assert starts == list(range(0, 77, 2))
    assert most <= n_threads + 2  # one is counted before the loop takes it off


def test_progress_counts_positions(rng):
    log = []
    Threads(2).run(Sums(), make_scan(rng), block_size=30, progress=Ticker(log))
    assert log == [("reading patterns", 77), 30, 30, 17, "finish"]


def test_an_error_in_a_block_comes_through_and_ends_the_pass(rng):
    @dataclass(frozen=True)
    class Fails(Sums):
        def add(self, state, block):
            if block.start == 20:
                raise InputError("bad frame")
            return Sums.add(self, state, block)

    for runner in (Inline(), Threads(2)):
        log = []
        with pytest.raises(InputError, match="bad frame"):
            runner.run(Fails(), make_scan(rng), block_size=10, progress=Ticker(log))
        assert log[-1] == "finish"


def test_refuses_bad_options(rng):
    with pytest.raises(OptionError, match="--threads"):
        Threads(0)
    with pytest.raises(OptionError, match="block_size"):
        list(make_scan(rng).iter_blocks(0))
    assert pickle.loads(pickle.dumps(Together((Sums(),)))) == Together((Sums(),))


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_to_the_last_bit(rng, tmp_path):
    import h5py
    from distributed import LocalCluster

    from orbistem.io import open_scan

    scan = make_scan(rng)
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=scan.patterns, chunks=(2, 7, 6, 8), compression="gzip")
    in_file = open_scan(path).replace(measured=scan.measured)
    want = Inline().run(Sums(), scan, block_size=9)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=40
    ) as cluster:
        runner = Distributed(cluster.scheduler_address)
        assert_same_to_the_last_bit(runner.run(Sums(), scan, block_size=9), want)
        assert_same_to_the_last_bit(runner.run(Sums(), in_file, block_size=9), want)
        path.unlink()
        with pytest.raises(InputError, match="cannot find"):
            runner.run(Sums(), in_file, block_size=9)


def test_no_scheduler_is_one_sentence(rng, monkeypatch):
    monkeypatch.setattr("orbistem.stream.CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(OptionError, match="dask scheduler"):
        Distributed("tcp://127.0.0.1:9").run(Sums(), make_scan(rng))
    with pytest.raises(OptionError, match="dask scheduler"):
        Distributed("nonsense://x").run(Sums(), make_scan(rng))
