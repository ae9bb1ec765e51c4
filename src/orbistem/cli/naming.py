"""The library's sentences in the words of the command line: options as they are typed, not parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["as_typed", "options_of"]

_OTHER_NAMES = {
    "aberrations": "aberration",
    "centre_px": "centre",
    "descan_px": "descan",
    "direction_deg": "direction",
    "doses": "dose",
    "half_angle_mrad": "half_angle",
    "memory_mb": "memory",
    "phonon_configurations": "phonons",
    "psf_sd_px": "psf",
    "scan_rotation_deg": "scan_rotation",
    "semiangle_mrad": "semi_angle",
    "source_sd": "source",
    "twist_deg": "twist",
    "voltage_kv": "voltage",
}
"""Parameters whose option has another name than theirs with hyphens."""
_SUBJECT = re.compile(r"[a-z]\w*(?:(?:, | and )[a-z][\w-]*)*(?=: )")
_NAME = re.compile(r"(?<![-./\w'\"])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w./(])")


def options_of(command: Any) -> dict[str, str]:
    """The option of each parameter of a command (of Click's kind): "frame_gap" is "--frame-gap".

    Parameters
    ----------
    command
        Has `params`, each with a `name` and the spellings `opts`.
    """
    spelled = {
        str(one.name): max(one.opts, key=len)
        for one in getattr(command, "params", ())
        if any(text.startswith("-") for text in one.opts)
    }
    return spelled | {name: spelled[own] for name, own in _OTHER_NAMES.items() if own in spelled}


def as_typed(text: str, options: Mapping[str, str], arguments: Sequence[str]) -> str:
    """A sentence with options in the place of parameters.

    What stands before the first colon is what the sentence is about: it becomes an option unless it may come
    from a configuration file. Elsewhere only names with an underscore are replaced, which no word has.

    Parameters
    ----------
    text
        The sentence.
    options
        What `options_of` returned.
    arguments
        What was typed.

    Examples
    --------
    >>> as_typed("scan_shape: want two numbers", {"scan_shape": "--scan-shape"}, ["--scan-shape", "a"])
    '--scan-shape: want two numbers'
    """
    given = {argument.split("=")[0] for argument in arguments}

    def subject(name: str) -> str:
        option = options.get(name.replace("-", "_"))
        return name if option is None or ("--config" in given and option not in given) else option

    head = _SUBJECT.match(text)
    begin = ""
    if head is not None:
        begin = re.sub(r"[a-z][\w-]*", lambda found: subject(found[0]), head[0])
        text = text[head.end() :]
    return begin + _NAME.sub(lambda found: options.get(found[0], found[0]), text)
