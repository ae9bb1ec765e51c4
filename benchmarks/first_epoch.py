"""Seconds from the end of reduction to the end of the first round of training; run by speed.py.

    python benchmarks/first_epoch.py FILE

Prints one line of JSON and stops there. Which compiled programs are found decides XDG_CACHE_HOME.
"""

import argparse
import json
import logging
import sys
import time

import orbistem
from orbistem.progress import Progress


class Enough(Exception):
    """The first round is over."""


class UntilFirstRound(Progress):
    """Stops the fit once training has moved."""

    def __init__(self) -> None:
        self.training = False

    def start(self, task: str, total: int | None) -> None:
        """Note when the training begins."""
        self.training = task == "train"

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Stop after the first steps of training."""
        if self.training and n > 0:
            raise Enough

    def finish(self) -> None:
        """Nothing."""


class StepTimes(logging.Handler):
    """When each step of the fit began."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.began: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the time of the step's name."""
        self.began[record.getMessage()] = time.perf_counter()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    given = parser.parse_args()
    steps = StepTimes()
    logger = logging.getLogger("orbistem.pipeline.fit")
    logger.addHandler(steps)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        orbistem.fit(orbistem.open(given.file), progress=UntilFirstRound())
    except Enough:
        print(json.dumps({"first_epoch_s": time.perf_counter() - steps.began["train"]}))
        return 0
    print("first_epoch: nothing was trained", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
