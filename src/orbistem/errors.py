"""Every exception of orbistem, each with a remedy in its text: what was wanted, what was got, what to do.

No class has an ``__init__`` of its own: an exception raised on a Dask worker must unpickle on the client.
Each is also the built-in kind that a caller would expect, so ``except ValueError`` keeps working.
"""

import re
from operator import index
from typing import Protocol, SupportsIndex, runtime_checkable

__all__ = [
    "ClosedError",
    "FormatError",
    "GoneError",
    "InputError",
    "MissingExtraError",
    "OptionError",
    "OrbistemError",
    "OutputError",
    "ShapeError",
    "VersionError",
    "one_line",
    "require_seed",
    "require_stack",
]


class OrbistemError(Exception):
    """Base of all exceptions that orbistem raises on purpose."""


class ShapeError(OrbistemError, ValueError):
    """An array has the wrong axes."""


class InputError(OrbistemError, ValueError):
    """The data cannot be analysed: no usable pattern, a single pattern, a centre outside the frame."""


class OptionError(OrbistemError, ValueError):
    """An option has a value that it cannot take."""


class FormatError(OrbistemError, ValueError):
    """A file cannot be read: unknown format, damaged, or its content was not named precisely enough."""


class GoneError(OrbistemError, FileNotFoundError):
    """A file that was opened is no longer there when its patterns are read."""


class MissingExtraError(OrbistemError, ImportError):
    """An optional dependency is not installed; the text names ``pip install "orbistem[extra]"``."""


class OutputError(OrbistemError, OSError):
    """A result cannot be written: folder occupied, folder in use, disk full, no permission."""


class VersionError(OrbistemError, ValueError):
    """A file or a run was written by a version of orbistem that this one does not understand."""


class ClosedError(OrbistemError, RuntimeError):
    """Something lazy was used after its file had been closed."""


_SEEDS = 2**63
_PICKLE = re.compile(r"allow_pickle|unpickl|pickled \(object\)")


def one_line(what: object) -> str:
    """Text of an error for a message: one line of at most 200 letters; its kind where it has none.

    Advice of other packages to unpickle what is not trusted is not passed on.

    Examples
    --------
    >>> one_line(ValueError("  two   words "))
    'two words'
    """
    text = "".join(letter if letter.isprintable() else " " for letter in str(what))
    if _PICKLE.search(text):
        return "it holds Python objects, which are not read, since they could run code, or no numbers at all"
    return " ".join(text.split())[:200] or type(what).__name__


@runtime_checkable
class _HasShape(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


def require_seed(seed: SupportsIndex) -> None:
    """Check that a number can start every source of random numbers that is used.

    Raises
    ------
    OptionError
        Below 0, or more than 63 bits.

    Examples
    --------
    >>> require_seed(2021)
    """
    if not 0 <= index(seed) < _SEEDS:
        raise OptionError(f"seed: want a number from 0 to below 2^63, got {seed}; give another one")


def require_stack(name: str, array: _HasShape) -> None:
    """Check that an array is a stack of patterns.

    Parameters
    ----------
    name : str
        What the caller knows the array as; used in the message.
    array : array-like with a shape
        Should have shape (n, ky, kx).

    Raises
    ------
    ShapeError
        If the array has not exactly three axes.

    Examples
    --------
    >>> import numpy as np
    >>> require_stack("patterns", np.zeros((5, 32, 32)))
    """
    shape = tuple(array.shape)
    if len(shape) != 3:
        remedy = f"for one pattern pass {name}[None]" if len(shape) == 2 else "flatten the scan axes into one"
        raise ShapeError(f"{name}: want (n, ky, kx), got {shape}; {remedy}")
