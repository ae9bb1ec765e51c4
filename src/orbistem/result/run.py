"""What a fit gives: maps, the trained model, and the record of the run; and the folder they live in."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from orbistem.durable import recover
from orbistem.errors import FormatError, InputError, VersionError, one_line
from orbistem.result.trained import TrainedModel

if TYPE_CHECKING:
    import xarray as xr

    from orbistem.plan import Plan

__all__ = ["Result", "load", "plain", "read_run"]

RUN_SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Result:
    """A finished run.

    Attributes
    ----------
    maps
        One variable a quantity, dims (y, x) or position; NaN where a position is not usable.
    model
        Encodes further patterns and decodes latents; None where nothing was trained.
    run
        The content of run.json: versions, seeds, checksums, times, what was done in words, problems.
    directory
        Where it lies; None for a run that was not written.
    """

    maps: xr.Dataset
    model: TrainedModel | None
    run: dict[str, Any] = field(default_factory=dict)
    directory: Path | None = None

    @property
    def plan(self) -> Plan | None:
        """The steps from counts to harmonics."""
        return None if self.model is None else self.model.plan

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about what cannot be trusted; empty if all is well."""
        return tuple(self.run.get("problems") or ())


def load(directory: Path | str) -> Result:
    """Read a run directory.

    Parameters
    ----------
    directory
        What ``orbistem fit`` or ``orbistem transform`` wrote.

    Raises
    ------
    InputError
        There is no run.
    FormatError
        It is damaged.
    VersionError
        It was written by a newer orbistem, which changed the format.
    """
    import xarray as xr

    directory = Path(directory)
    recover(directory)
    if not (directory / "maps.nc").is_file():
        raise InputError(f"want a folder that orbistem fit wrote, got {directory}; give its DIR")
    run = read_run(directory)
    try:
        with xr.open_dataset(directory / "maps.nc", engine="h5netcdf", decode_times=False) as dataset:
            maps = dataset.load()
    except Exception as error:  # HDF5 and xarray raise every kind for a damaged file
        raise FormatError(
            f"{directory / 'maps.nc'} is damaged ({one_line(error)}); run orbistem fit again"
        ) from error
    folder = directory / "model"
    model = TrainedModel.load(folder) if folder.is_dir() else None
    return Result(maps=maps, model=model, run=run, directory=directory)


def read_run(directory: Path) -> dict[str, Any]:
    """The content of run.json, if this version understands it."""
    path = directory / "run.json"
    if path.exists() and not path.is_file():  # reading a pipe may never end
        raise InputError(f"{path} is no file; run orbistem fit again")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"want a folder that orbistem fit wrote, got {directory} without run.json"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: want JSON, got {one_line(error)}; run orbistem fit again") from error
    except (OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({one_line(error)}); run orbistem fit again") from error
    schema = run.get("schema") if isinstance(run, dict) else None
    if not isinstance(schema, int) or schema > RUN_SCHEMA:
        raise VersionError(
            f"{path}: want schema {RUN_SCHEMA}, got {one_line(repr(schema))}; use a newer orbistem to read it"
        )
    return dict(run)


def plain(value: Any) -> Any:
    """A value as JSON wants it: no NumPy types, NaN and infinity as null; times as ISO 8601 has them."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(part) for part in value), key=str)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    return value
