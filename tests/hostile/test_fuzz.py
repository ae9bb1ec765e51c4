"""The fuzzer: our own readers, models and configurations meet spoiled input; only our own errors come out.

An ordinary run has 10,000 cases; ``ORBISTEM_FUZZ_TIMES=20`` (the job ``nox -s fuzz``) has twenty times more.
"""

import json
import os
import signal
import sys

import numpy as np
import pytest
from hostile.mutate import JUNK, spoiled_bytes, spoiled_json
from hostile.odd_arrays import odd_array
from hostile.sound import patterns, sound_files, zarr3_array
from hostile.test_numbers import look
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline.conftest import _own_cache, cache_home, real_run

from orbistem.config import FitConfig
from orbistem.errors import OrbistemError
from orbistem.io import describe, open_scan
from orbistem.result import TrainedModel, read_run

__all__ = ["_own_cache", "cache_home", "real_run"]

TIMES = int(os.environ.get("ORBISTEM_FUZZ_TIMES", "1"))
SECONDS = 20
"""No case may use so much processor time; they use milliseconds. How busy the machine is does not matter."""
WAITING = 900
"""A case that waits for something that never comes uses no processor: it is ended after so many seconds."""
ROOM_MIB = 1500
"""Memory that all cases together may take beyond what the process has."""
CASES = {
    "npy": 1400,
    "npz": 700,
    "packed npz": 700,
    "ndata1": 1200,
    "ebsp": 1400,
    "mrcz": 700,
    "zarr 3": 700,
    "zarr 3 metadata": 900,
    "positions": 500,
    "config values": 800,
    "config text": 500,
    "model facts": 800,
    "model arrays": 300,
    "run": 100,
    "numbers": 300,
}
SUFFIXES = {
    "npy": ".npy",
    "npz": "sound.npz",
    "packed npz": "packed.npz",
    "ndata1": ".ndata1",
    "ebsp": ".ebsp",
    "mrcz": ".mrcz",
}
SUFFIXES |= {"zarr 3": ".zip"}
pytestmark = pytest.mark.slow


def often(name):
    """So many cases; a failing one is printed whole and shrunk."""
    return settings(
        max_examples=CASES[name] * TIMES,
        deadline=None,
        database=None,
        derandomize=TIMES == 1,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def _bounded():
    """Time and memory are limited as long as a test runs."""
    if sys.platform != "linux":
        yield
        return
    import resource

    def ring(number, _):
        worked = number == signal.SIGPROF
        raise AssertionError(
            f"a case used {SECONDS} s of processor time" if worked else f"a case waited for {WAITING} s"
        )

    with open("/proc/self/status", encoding="ascii") as file:
        size = next(int(line.split()[1]) for line in file if line.startswith("VmSize"))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = {number: signal.signal(number, ring) for number in (signal.SIGALRM, signal.SIGPROF)}
    resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + ROOM_MIB * 2**20, hard))
    try:
        yield
    finally:
        watch(0, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def survives(action, *arguments, **named):
    """Run it: it works, or says one sentence."""
    watch(SECONDS, WAITING)
    try:
        return action(*arguments, **named)
    except OrbistemError as error:
        text = str(error)
        assert text
        assert "\n" not in text, text
        assert len(text) < 1000, text
        return None
    finally:
        watch(0, 0)


def watch(processor_s, waiting_s):
    """Set the limits of one case; 0 ends them."""
    if sys.platform == "linux":
        signal.setitimer(signal.ITIMER_PROF, processor_s)
        signal.alarm(waiting_s)


def read(path, **named):
    scan = open_scan(path, **named)
    json.dumps(describe(scan))
    if scan.nbytes < 2**26:
        frames = scan.block(0, scan.n_positions).frames
        assert frames.shape == (scan.n_positions, *scan.detector_shape)
    else:
        scan.block(0, 1)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    return {path.name: path.read_bytes() for path in sound_files(folder)}


@pytest.mark.parametrize("name", SUFFIXES)
def test_files(sound, tmp_path, name):
    source = next(key for key in sound if key.endswith(SUFFIXES[name]))
    path = tmp_path / source

    @often(name)
    @given(spoiled_bytes(sound[source]))
    def check(content):
        path.write_bytes(content)
        survives(read, path)

    check()


def test_zarr_3_metadata(tmp_path):
    store = tmp_path / "a.zarr"
    (store / "c/0/0/0").mkdir(parents=True)
    (store / "c/0/0/0/0").write_bytes(patterns().tobytes())
    about = zarr3_array(patterns())
    about["codecs"] = [
        {"name": "transpose", "configuration": {"order": [3, 2, 1, 0]}},
        {"name": "bytes", "configuration": {"endian": "little"}},
    ]

    @often("zarr 3 metadata")
    @given(spoiled_json(about))
    def check(changed):
        (store / "zarr.json").write_text(json.dumps(changed))
        survives(read, store)

    check()


def test_positions(tmp_path):
    counts = np.zeros((6, 5, 4), np.uint8)
    text = "y [µm];x [µm]\n" + "".join(f"{index // 3};{index % 3}\n" for index in range(6))

    @often("positions")
    @given(spoiled_bytes(text.encode()), st.sampled_from([None, (2, 3), (3, 2)]))
    def check(content, shape):
        (tmp_path / "p.csv").write_bytes(content)
        survives(open_scan, counts, positions=tmp_path / "p.csv", shape=shape)

    check()


@often("config values")
@given(spoiled_json(FitConfig(seed=3).to_dict()))
def test_config_values(changed):
    survives(FitConfig.from_dict, changed if isinstance(changed, dict) else {})


@often("config text")
@given(spoiled_bytes(FitConfig(seed=3).to_toml().encode()))
def test_config_text(content):
    survives(FitConfig.from_toml, content.decode("utf-8", errors="replace"))


def test_numbers():
    @often("numbers")
    @given(st.integers(0, 2**40))
    def check(seed):
        survives(look, odd_array(seed))

    check()


def test_model_facts(real_run, tmp_path):
    _, result = real_run
    result.model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    facts = json.loads(path.read_text(encoding="utf-8"))

    @often("model facts")
    @given(spoiled_json(facts))
    def check(changed):
        path.write_text(json.dumps(changed), encoding="utf-8")
        survives(TrainedModel.load, tmp_path / "model")

    check()


def test_model_arrays(real_run, tmp_path):
    _, result = real_run
    result.model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    facts_path = tmp_path / "model" / "model.json"
    facts = json.loads(facts_path.read_text(encoding="utf-8"))
    content = path.read_bytes()

    @often("model arrays")
    @given(spoiled_bytes(content), st.booleans())
    def check(changed, with_checksum):
        import hashlib

        path.write_bytes(changed)
        told = facts | {"sha256": hashlib.sha256(changed).hexdigest()} if with_checksum else facts
        facts_path.write_text(json.dumps(told), encoding="utf-8")
        model = survives(TrainedModel.load, tmp_path / "model")
        assert model is None or with_checksum or changed == content

    check()


def test_run(real_run, tmp_path):
    import shutil

    _, result = real_run
    (tmp_path / "run").mkdir()
    shutil.copy(result.directory / "run.json", tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    run = json.loads(path.read_text(encoding="utf-8"))

    @often("run")
    @given(st.one_of(spoiled_json(run), JUNK))
    def check(changed):
        path.write_text(json.dumps(changed), encoding="utf-8")
        survives(read_run, tmp_path / "run")

    check()


def test_there_are_enough_cases():
    assert sum(CASES.values()) >= 10_000
