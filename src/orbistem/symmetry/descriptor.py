"""What a descriptor is: a function from components to maps, and the words that go with each map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orbistem.symmetry.components import Components

__all__ = ["Descriptor", "Variable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """One map.

    Parameters
    ----------
    name
        In ``maps.nc``.
    long_name
        What it is, in words.
    units
        "1" for a pure number.
    dim, labels
        A further dimension and its coordinate, where each position has several numbers.
    attributes
        Further attributes of the map.
    """

    name: str
    long_name: str
    units: str = "1"
    dim: str | None = None
    labels: tuple[Any, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A descriptor.

    Parameters
    ----------
    name
        Of the descriptor.
    variables
        The maps that it makes.
    compute
        Components of n patterns → one array (n,) or (n, labels) a map, in their order.
    """

    name: str
    variables: tuple[Variable, ...]
    compute: Callable[[Components], tuple[np.ndarray, ...]]
