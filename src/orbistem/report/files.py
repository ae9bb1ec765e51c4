"""Reading what the report shows: maps.nc, examples.nc, run.json and config.toml of a run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbistem.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RunFiles", "number", "numbers", "read_run", "section", "sentences"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFiles:
    """The content of a run directory, as far as a report needs it.

    Attributes
    ----------
    directory
        Where it was read from.
    maps
        maps.nc, in memory.
    examples
        examples.nc, in memory; None where the run has none.
    run
        run.json.
    config
        Text of config.toml; empty where the run has none.
    """

    directory: Path
    maps: xr.Dataset
    examples: xr.Dataset | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""


def read_run(directory: Path) -> RunFiles:
    """Read the files of a run directory.

    Raises
    ------
    InputError
        If there is no maps.nc, or run.json is damaged.
    """
    maps = directory / "maps.nc"
    if not maps.is_file():
        raise InputError(
            f"report: want a run directory with maps.nc, got {directory}; run orbistem fit first"
        )
    examples = directory / "examples.nc"
    return RunFiles(
        directory=directory,
        maps=_read_dataset(maps),
        examples=_read_dataset(examples) if examples.is_file() else None,
        run=_read_json(directory / "run.json"),
        config=_read_text(directory / "config.toml"),
    )


def section(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of run.json by name; empty where it is absent or null."""
    part = run.get(name)
    return part if isinstance(part, Mapping) else {}


def number(part: Mapping[str, Any], name: str) -> float | None:
    """A number of run.json by name; None where it is absent, null or no number."""
    value = part.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def numbers(values: object) -> list[float]:
    """A list of numbers of run.json, null as NaN; empty where it is none."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return []
    return [float(v) if isinstance(v, int | float) else float("nan") for v in values]


def sentences(part: Mapping[str, Any], name: str) -> list[str]:
    """A list of texts of run.json by name; one text counts as a list."""
    value = part.get(name)
    if isinstance(value, str):
        return [value] if value else []
    return [str(text) for text in value] if isinstance(value, Sequence) else []


def _read_dataset(path: Path) -> xr.Dataset:
    import xarray as xr

    with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as dataset:
        return dataset.load()


def _read_json(path: Path) -> Mapping[str, Any]:
    text = _read_text(path)
    if not text:
        return {}
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path.name}: want JSON, got {error}; run orbistem fit again") from error
    return content if isinstance(content, dict) else {}


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
