"""A calibrated axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orbistem.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Axis"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One calibrated axis: coordinate = offset + scale * index, in `units`.

    A scale of 1 with units "px" means: not calibrated.
    """

    name: str
    scale: float = 1.0
    offset: float = 0.0
    units: str = "px"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0 and np.isfinite(self.offset)):
            raise OptionError(
                f"axis {self.name}: want a finite scale above 0 and a finite offset, got {self.scale:g} and "
                f"{self.offset:g}; use scale 1 and units 'px' where it is not calibrated"
            )

    def coordinates(self, size: int) -> NDArray[np.float64]:
        """Coordinates of `size` points, in `units`; shape (size,)."""
        return self.offset + self.scale * np.arange(size, dtype=np.float64)
