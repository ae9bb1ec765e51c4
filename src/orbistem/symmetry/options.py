"""What is asked about single places, and whether the instrument is tried as the cause."""

from __future__ import annotations

from dataclasses import dataclass

from orbistem.errors import OptionError

__all__ = ["SymmetryOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SymmetryOptions:
    """Places whose operations are judged, and the check of the instrument.

    Attributes
    ----------
    at
        Positions (y, x), or (number,) in a list of positions.
    regions
        Regions y0, y1, x0, x1 (ends excluded); their patterns are averaged as they lie on the detector.
    check_instrument
        Whether verdicts are repeated with centre, descan, ellipse and mask moved within their uncertainties;
        None: where that takes little time.
    """

    at: tuple[tuple[int, ...], ...] = ()
    regions: tuple[tuple[int, int, int, int], ...] = ()
    check_instrument: bool | None = None

    def __post_init__(self) -> None:
        for place in self.at:
            if len(place) not in (1, 2) or min(place) < 0:
                raise OptionError(
                    f"at: want y, x (or one number in a list of positions) from 0 on, got {place}; "
                    "give --at Y,X"
                )
        for y0, y1, x0, x1 in self.regions:
            if not (0 <= y0 < y1 and 0 <= x0 < x1):
                raise OptionError(
                    f"region: want 0 <= y0 < y1 and 0 <= x0 < x1, got {y0}:{y1},{x0}:{x1}; "
                    "give --region Y0:Y1,X0:X1"
                )
