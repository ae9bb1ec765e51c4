"""Runs `info` and `convert` on many paths in one process with a limit on its memory; one JSON line a path.

Usage: python worker.py LIMIT_MIB SECONDS SOUND_FILE < paths

SECONDS are of processor time, so that a busy machine changes nothing; what waits without working is ended
after `WAITING_S`.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

WAITING_S = 900


class TooLong(BaseException):
    """The alarm rang."""


def ring(*_: object) -> None:
    raise TooLong


def watch(processor_s: int, waiting_s: int) -> None:
    """Set the limits of one call; 0 ends them."""
    signal.setitimer(signal.ITIMER_PROF, processor_s)
    signal.alarm(waiting_s)


def call(arguments: list[str], seconds: int) -> dict[str, object]:
    from orbistem.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    watch(seconds, WAITING_S)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status: object = run(arguments)
    except TooLong:
        status = "too long"
    except BaseException as error:
        status = f"{type(error).__name__}: {error}"
    finally:
        watch(0, 0)
    return {
        "status": status,
        "out": out.getvalue()[-500:],
        "err": err.getvalue()[-1500:],
        "s": time.process_time() - began,
    }


def main() -> None:
    limit, seconds = int(sys.argv[1]) * 2**20, int(sys.argv[2])
    import warnings

    import orbistem.pipeline.convert
    import orbistem.prepare.counts  # noqa: F401

    warnings.simplefilter("ignore", ResourceWarning)
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, ring)
    with open("/proc/self/status", encoding="ascii") as file:
        size = next(int(line.split()[1]) for line in file if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + limit, size * 1024 + limit))
    call(["info", sys.argv[3]], 120)  # everything is imported and compiled
    for line in sys.stdin:
        path = line.rstrip("\n")
        told: dict[str, object] = {"path": path}
        told["info"] = call(["info", path, "--json", "-q", "--memory", "100MB", "--threads", "1"], seconds)
        with tempfile.TemporaryDirectory() as folder:
            told["convert"] = call(["convert", path, f"{folder}/out.hspy", "-q"], seconds)
            told["left"] = sorted(entry.name for entry in Path(folder).iterdir())
        sys.__stdout__.write(json.dumps(told) + "\n")
        sys.__stdout__.flush()


if __name__ == "__main__":
    main()
