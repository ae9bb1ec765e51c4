"""All options of a fit in one frozen object, and its TOML file.

Each group of options lives beside the step that it steers; `FitConfig` only nests them. A table of the file
is a group, a key is an option; keys that are left out keep their defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

import numpy as np

from orbistem.errors import InputError, OptionError, one_line, require_seed
from orbistem.harmonics.rings import RingOptions
from orbistem.models.orbit import OrbitVAEOptions
from orbistem.prepare.centre import CentreOptions
from orbistem.prepare.counts import CountsOptions
from orbistem.prepare.descan import DescanOptions
from orbistem.prepare.ellipse import EllipseOptions
from orbistem.prepare.left_out import LeaveOutOptions
from orbistem.prepare.mask import MaskOptions
from orbistem.symmetry.classes import ClassOptions
from orbistem.symmetry.options import SymmetryOptions

__all__ = ["ComputeOptions", "FitConfig", "InputOptions", "PrepareOptions"]

CONFIG_SCHEMA = 1
MIN_MEMORY_MB = 64
_HEADER = "# orbistem fit FILE -o DIR --config THIS_FILE repeats the run"


@dataclass(frozen=True, kw_only=True, slots=True)
class InputOptions:
    """How the file is read; see `orbistem.open`.

    Attributes
    ----------
    dataset
        Key inside the file.
    positions
        Key inside the file, or a CSV file of y, x.
    shape, dtype, offset, frame_gap
        Raw data, or to fold a flat stack; `offset` and `frame_gap` in bytes.
    mask
        File with a picture (ky, kx) that is zero where pixels are to be left out.
    gain_map
        File with a picture (ky, kx) of the pixels' sensitivity; patterns are divided by it.
    roll
        So many patterns at the start of each line belong to the end of the line before.
    """

    dataset: str | None = None
    positions: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    offset: int | None = None
    frame_gap: int | None = None
    mask: str | None = None
    gain_map: str | None = None
    roll: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareOptions:
    """From counts to whitened pixels.

    Attributes
    ----------
    centre_px
        Pattern centre (y, x), pixels; found where not given.
    whiten
        "auto" takes whichever keeps more of the information.
    normalise
        "total" divides each pattern by its total: for a beam that drifts.
    background
        File with a vacuum pattern (ky, kx), in counts, as static background; see also ``model.background``.
    scan_rotation_deg
        Azimuth of the scan's +x axis in the detector's axes, degrees, for maps in the axes of the scan; None:
        found from the centres of mass, where they tell.
    scan_mirrored
        Whether one axis of the scan is inverted against the detector's: its +y then lies 90° before its +x.
        None: found from the centres of mass, where they tell.
    reference
        Region y0, y1, x0, x1 (ends excluded) that `orientation` and `broken` are measured against.
    reference_name
        Another reference for `broken`: "auto" (densest part of the latent space), "all", or a file with a
        mask of the scan, not 0 inside.
    """

    centre_px: tuple[float, float] | None = None
    whiten: Literal["auto", "poisson", "sqrt"] = "auto"
    normalise: Literal["none", "total"] = "none"
    background: str | None = None
    scan_rotation_deg: float | None = None
    scan_mirrored: bool | None = None
    reference: tuple[int, int, int, int] | None = None
    reference_name: str | None = None

    def __post_init__(self) -> None:
        if self.whiten not in ("auto", "poisson", "sqrt"):
            raise OptionError(f"whiten: want auto, poisson or sqrt, got {self.whiten!r}; choose one of them")
        if self.normalise not in ("none", "total"):
            raise OptionError(f"normalise: want none or total, got {self.normalise!r}; choose one of them")
        if self.centre_px is not None and not all(math.isfinite(value) for value in self.centre_px):
            raise OptionError(
                f"centre_px: want two finite numbers (y, x), got {self.centre_px}; correct them"
            )
        if self.scan_rotation_deg is not None and not math.isfinite(self.scan_rotation_deg):
            raise OptionError(
                f"scan_rotation_deg: want a finite number, got {self.scan_rotation_deg}; "
                "leave it out if unknown"
            )
        if self.reference is not None and self.reference_name is not None:
            raise OptionError("reference: want a region or a name, got both; leave out one")
        if self.reference is not None:
            y0, y1, x0, x1 = self.reference
            if not (0 <= y0 < y1 and 0 <= x0 < x1):
                raise OptionError(
                    f"reference: want 0 <= y0 < y1 and 0 <= x0 < x1, got {self.reference}; "
                    "give --reference Y0,Y1,X0,X1"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeOptions:
    """What may be used of the machine. The maps depend on `memory_mb` in the last digits only.

    Attributes
    ----------
    memory_mb
        Memory for patterns and their working copies.
    threads
        Threads that read patterns, and trainings at once; None takes the cores of the machine.
    """

    memory_mb: int = 1024
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.memory_mb < MIN_MEMORY_MB:
            raise OptionError(
                f"memory: want at least {MIN_MEMORY_MB} MB, got {self.memory_mb} MB; give --memory 1GB"
            )
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"threads: want at least 1, got {self.threads}; give --threads 1 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """Everything that decides what `orbistem.fit` does.

    Attributes
    ----------
    seed
        Seed of all randomness; equal seeds give equal maps.
    input, prepare, leave_out, centre, descan, ellipse, mask, counts, rings, model, classes, symmetry, compute
        Options of the steps, in their order.
    max_kept
        At most this many coefficients are kept, the strongest first; how many rise above the noise is found.

    Examples
    --------
    >>> config = FitConfig(seed=3, prepare=PrepareOptions(whiten="sqrt"))
    >>> FitConfig.from_toml(config.to_toml()) == config
    True
    """

    seed: int = 0
    max_kept: int = 128
    input: InputOptions = field(default_factory=InputOptions)
    prepare: PrepareOptions = field(default_factory=PrepareOptions)
    leave_out: LeaveOutOptions = field(default_factory=LeaveOutOptions)
    centre: CentreOptions = field(default_factory=CentreOptions)
    descan: DescanOptions = field(default_factory=DescanOptions)
    ellipse: EllipseOptions = field(default_factory=EllipseOptions)
    mask: MaskOptions = field(default_factory=MaskOptions)
    counts: CountsOptions = field(default_factory=CountsOptions)
    rings: RingOptions = field(default_factory=RingOptions)
    model: OrbitVAEOptions = field(default_factory=OrbitVAEOptions)
    classes: ClassOptions = field(default_factory=ClassOptions)
    symmetry: SymmetryOptions = field(default_factory=SymmetryOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if self.max_kept < 1:
            raise OptionError(f"max_kept: want 1 or more, got {self.max_kept}; leave it out for the default")

    def replace(self, **named: Any) -> Self:
        """Return a copy with some attributes changed."""
        return dataclasses.replace(self, **named)

    def to_dict(self) -> dict[str, Any]:
        """All options as plain tables; options that are None are left out."""
        return _to_table(self)

    def to_toml(self) -> str:
        """Text of a TOML file with all options that are not None."""
        return _HEADER + "\n" + _toml({"schema": CONFIG_SCHEMA} | self.to_dict())

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises
        ------
        OptionError
            An unknown key (the text names the nearest known one), or a value of the wrong kind.
        """
        table = dict(table)
        schema = table.pop("schema", CONFIG_SCHEMA)
        if schema != CONFIG_SCHEMA:
            raise OptionError(
                f"config: want schema {CONFIG_SCHEMA}, got {one_line(repr(schema))}; use the orbistem "
                "that wrote the file"
            )
        made: Self = _from_table(cls, table, "")
        return made

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read the text of a TOML file."""
        try:
            table = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise OptionError(f"config: want TOML, got {one_line(error)}; correct the file") from error
        return cls.from_dict(table)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a TOML file."""
        if Path(path).exists() and not Path(path).is_file():  # reading a pipe may never end
            raise InputError(f"config: {path} is no file; give a TOML file")
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise InputError(f"config: {path} does not exist; give an existing TOML file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"config: {path} cannot be read ({error}); give a readable TOML file") from error
        return cls.from_toml(text)

    def fingerprint(self) -> str:
        """Checksum of all that decides the result: everything but `compute.threads`."""
        table = (
            type(self).from_dict(self.to_dict()).to_dict()
        )  # 16 and 16.0 are the same where a number is meant
        table.get("compute", {}).pop("threads", None)
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _to_table(options: Any) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for entry in dataclasses.fields(options):
        value = getattr(options, entry.name)
        if dataclasses.is_dataclass(value):
            table[entry.name] = _to_table(value)
        elif value is not None:
            table[entry.name] = _as_plain(value)
    return table


def _as_plain(value: Any) -> Any:
    """A value as TOML and JSON know it: NumPy numbers and texts, paths and enumerations become plain ones."""
    if isinstance(value, tuple | list):
        return [_as_plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Enum):
        return _as_plain(value.value)
    return str(value) if isinstance(value, PurePath) else value


def _from_table(cls: Any, table: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    names = [entry.name for entry in dataclasses.fields(cls)]
    named: dict[str, Any] = {}
    for key, value in table.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            remedy = f"do you mean {near[0]}?" if near else f"known are {', '.join(names)}"
            raise OptionError(f"config: want known keys only, got {one_line(f'{where}{key}')}; {remedy}")
        named[key] = _value(hints[key], value, f"{where}{key}")
    return cls(**named)


def _value(kind: Any, value: Any, name: str) -> Any:
    """The value as the annotation wants it, or one sentence."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise OptionError(
                f"config: want a table [{name}], got {one_line(repr(value))}; write [{name}] above its keys"
            )
        return _from_table(kind, value, f"{name}.")
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (kind,) = (part for part in parts if part is not type(None))
        return _value(kind, value, name)
    if origin is Literal:
        if value not in parts:
            raise OptionError(
                f"{name}: want one of {', '.join(map(str, parts))}; got {one_line(repr(value))}; correct it"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple) or (parts[-1] is not ... and len(value) != len(parts)):
            count = "" if parts[-1] is ... else f" of {len(parts)}"
            raise OptionError(f"{name}: want a list{count}, got {one_line(repr(value))}; correct it")
        kinds = [parts[0]] * len(value) if parts[-1] is ... else parts
        return tuple(_value(one, part, name) for one, part in zip(kinds, value, strict=True))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        word = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(
            kind, str(kind)
        )
        raise OptionError(f"{name}: want {word}, got {one_line(repr(value))}; correct it")
    return value


def _toml(table: Mapping[str, Any], prefix: str = "") -> str:
    lines = [f"{key} = {_literal(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    text = "\n".join(lines) + "\n" if lines else ""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            text += f"\n[{prefix}{key}]\n{_toml(value, f'{prefix}{key}.')}"
    return text


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(part) for part in value) + "]"
    # JSON escapes what TOML escapes, except that DEL must be escaped, too, and ASCII is not needed
    return (
        str(value)
        if isinstance(value, int)
        else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    )
