"""Rows of other programs for the laboratory's tables, trained in an environment of their own."""

from __future__ import annotations

import json
import platform
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import load_average, numpy_gemm

from orbistem.models.pixels import NO_ANGLE_SD, PixelSpace
from orbistem.models.protocol import Encoding
from orbistem.pipeline.comparison_case import Case
from orbistem.pipeline.scoring import Cost, Scores, score_model

TITLES = {"atomai": "AtomAI rVAE", "pyroved": "pyroVED iVAE"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What another program made of known patterns, as a `PatternModel` that knows no others.

    Attributes
    ----------
    answers
        First rows of each stack of patterns, (n, ky, kx), and their encodings.
    predicted
        (n, ky, kx) electrons of the first stack.
    """

    answers: tuple[tuple[np.ndarray, Encoding], ...]
    predicted: np.ndarray
    latent_dim: int = 2

    def encode(self, frames: np.ndarray) -> Encoding:
        """The stored answer to these very patterns."""
        for stack, found in self.answers:
            if stack.shape == frames.shape and np.array_equal(stack, frames):
                return found
        raise KeyError("patterns that the other program has not been given")

    def decode(self, z: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Not known."""
        raise NotImplementedError("only what was asked for is known")

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """The stored prediction of the patterns that were fitted."""
        assert len(frames) == len(self.predicted)
        return self.predicted


def encoding_of(mean: np.ndarray, sd: np.ndarray) -> Encoding:
    """Encoding of (n, 1 + latent_dim) means and standard deviations of φ and z; a pattern is turned by −φ."""
    n = len(mean)
    return Encoding(
        z=mean[:, 1:].astype(np.float32),
        z_sd=sd[:, 1:].astype(np.float32),
        angle=np.mod(-mean[:, 0], 2 * np.pi).astype(np.float32),
        angle_sd=np.minimum(sd[:, 0], NO_ANGLE_SD).astype(np.float32),
        angle_order=np.ones(n, np.int32),
        evidence=np.full(n, np.nan, np.float32),
        residual=np.full(n, np.nan, np.float32),
    )


def peer_row(
    program: str, case: Case, python: Path, *, seconds: float, threads: int, oracle_explained: float
) -> tuple[Scores, dict[str, Any]]:
    """Train one program on the patterns of a case; its row, and how it was made."""
    space = PixelSpace.of(case.plan, case.frames[case.fitted], scaling="range")
    stacks = {"fitted": case.frames, "turned": case.turned}
    if case.again is not None:
        stacks["again"] = case.again[case.turned_rows]
    if case.quarter is not None:
        stacks["quarter"] = case.quarter
    load = load_average()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name, frames in stacks.items():
            np.save(folder / f"{name}.npy", space.images(frames))
        command = [
            str(python),
            str(Path(__file__).with_name("peer_fit.py")),
            text,
            *("--program", program, "--seconds", str(seconds), "--threads", str(threads)),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        facts = json.loads(done.stdout.strip().splitlines()[-1])
        with np.load(folder / f"{program}.npz") as arrays:
            answers = tuple(
                (frames, encoding_of(arrays[f"{name}.mean"], arrays[f"{name}.sd"]))
                for name, frames in stacks.items()
            )
            predicted = space.electrons(arrays["predicted"])
    blank = Scores(
        method=program,
        title=f"{TITLES[program]} {facts['version']}",
        invariant=True,
        dose=case.dose,
    )
    row = score_model(
        Replayed(answers=answers, predicted=predicted),
        case,
        blank,
        cost=Cost(seconds=facts["processor_s"]),
        oracle_explained=oracle_explained,
        seed=0,
    )
    return row, facts | {"load": load}


def store(file: Path, scan: str, rows: list[tuple[Scores, dict[str, Any]]]) -> None:
    """Add rows to the JSON file of results; a row of the same program, scan and dose is replaced."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for row, facts in rows:
        known = [
            one
            for one in known
            if (one["scan"], one["dose"], one["program"]) != (scan, row.dose, facts["program"])
        ]
        scores = {
            name: value
            for name, value in asdict(row).items()
            if isinstance(value, float) and np.isfinite(value) and name != "dose"
        }
        machine = {"processor": platform.machine(), "numpy_gflops": round(numpy_gemm().best / 1e9)}
        known.append({"scan": scan, "dose": row.dose} | facts | {"machine": machine, "scores": scores})
    file.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
