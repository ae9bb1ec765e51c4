"""A trained model on disk: one file of arrays (safetensors) and one of plain facts (JSON), no pickle."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem import __version__
from orbistem.durable import sha256_file, write_aside
from orbistem.errors import FormatError, InputError, VersionError, one_line

logger = logging.getLogger(__name__)

__all__ = ["FORMAT_VERSION", "read_model", "write_model"]

FORMAT_VERSION = "1.0"
"""Major.minor. A reader refuses a larger major; a larger minor only adds what may be ignored."""
ARRAYS, FACTS = "model.safetensors", "model.json"

Arrays = dict[str, NDArray[Any]]


def write_model(
    folder: Path, parts: Mapping[str, tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]]
) -> None:
    """Write the parts of a model.

    Parameters
    ----------
    folder
        Made where absent.
    parts
        Arrays and facts of each part, by the name of the part.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{part}.{name}": np.ascontiguousarray(array)
        for part, (some, _) in parts.items()
        for name, array in some.items()
    }
    with write_aside(folder / ARRAYS) as aside:
        save_file(arrays, aside)
    facts = {
        "format": "orbistem model",
        "version": FORMAT_VERSION,
        "orbistem": __version__,
        "sha256": sha256_file(folder / ARRAYS),
        "parts": {part: dict(some) for part, (_, some) in parts.items()},
    }
    with write_aside(folder / FACTS) as aside:
        aside.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8", newline="\n")


def read_model(folder: Path) -> dict[str, tuple[Arrays, dict[str, Any]]]:
    """Read what `write_model` wrote.

    Raises
    ------
    InputError
        There is no model.
    VersionError
        It was written by a newer major version.
    FormatError
        It is damaged.
    """
    from safetensors.numpy import load_file

    for name in (FACTS, ARRAYS):
        if (folder / name).exists() and not (folder / name).is_file():  # reading a pipe may never end
            raise FormatError(f"{folder / name} is no file; run orbistem fit again")
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        major = int(str(facts["version"]).split(".")[0])
        parts = facts["parts"]
    except FileNotFoundError as error:
        raise InputError(
            f"want a folder with {FACTS}, got {folder}; give the DIR of a finished fit"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(
            f"{folder / FACTS} is damaged ({one_line(error)}); run orbistem fit again"
        ) from error
    _check_version(folder, str(facts["version"]), major, str(facts.get("orbistem", "an unknown version")))
    try:
        if sha256_file(folder / ARRAYS) != facts.get("sha256"):
            raise FormatError(
                f"{folder / ARRAYS} is not the one that {FACTS} was written for; run orbistem fit again"
            )
        arrays = load_file(folder / ARRAYS)
    except FormatError:
        raise
    except Exception as error:  # the parser of safetensors raises several kinds
        raise FormatError(
            f"{folder / ARRAYS} cannot be read ({one_line(error)}); run orbistem fit again"
        ) from error
    if not isinstance(parts, dict) or not all(isinstance(some, dict) for some in parts.values()):
        raise FormatError(f"{folder / FACTS} is damaged (its parts are no tables); run orbistem fit again")
    found: dict[str, tuple[Arrays, dict[str, Any]]] = {part: ({}, dict(some)) for part, some in parts.items()}
    for name, array in arrays.items():
        part, _, short = name.partition(".")
        if part in found:
            found[part][0][short] = array
    return found


def _check_version(folder: Path, version: str, major: int, writer: str) -> None:
    """Refuse a model of another generation, warn of one that holds more than this version knows."""
    ours, minor = (int(part) for part in FORMAT_VERSION.split("."))
    if major != ours:
        raise VersionError(
            f"{folder} was written by orbistem {writer} in model format {version}, this is {__version__} and "
            f"reads {FORMAT_VERSION}; use the orbistem that wrote it, or run orbistem fit again"
        )
    rest = version.split(".")[1:2]
    if rest and rest[0].isdigit() and int(rest[0]) > minor:
        logger.warning(
            "%s was written by orbistem %s in model format %s, this is %s, which reads %s and no more",
            folder,
            writer,
            version,
            __version__,
            FORMAT_VERSION,
        )
