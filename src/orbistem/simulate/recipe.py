"""`Recipe`: all that a named simulation needs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from orbistem.errors import OptionError
from orbistem.simulate.multislice import SAMPLES_PER_PIXEL, Optics
from orbistem.simulate.structures import Specimen
from orbistem.simulate.variants import Variant

DEFAULT_DETECTOR_PX = 64


class BuildSpecimen(Protocol):
    """Makes specimens."""

    def __call__(self, *, extent: float) -> Specimen:
        """Make one whose box is at least `extent` Å wide."""


class BuildVariant(Protocol):
    """Makes specimens with a number to choose."""

    def __call__(self, variant: Variant, *, extent: float) -> Specimen:
        """Make one whose box is at least `extent` Å wide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that a named simulation needs.

    Attributes
    ----------
    name, title
        Name on the command line, and what it is in a few words.
    build
        Makes the specimen.
    optics
        The microscope.
    scan
        "primitive": positions along the lattice vectors a1 and a2, one primitive cell. "rectangle": a
        rectangle of `cells` (y, x) repeats of the crystal's rectangular cell about the origin. Either way
        the scan's end is its begin.
    scan_shape
        Default (y, x) number of positions.
    cells
        Size of a rectangular scan in rectangular cells, (y, x).
    samples_per_pixel
        Diffraction samples across a detector pixel; they set the width of the box, and so the time.
    detector_px
        Default number of detector pixels along each side.
    build_variant, variant
        For a specimen with a number to choose: makes it, and the default numbers; it does not take what is
        None in `variant`.
    """

    name: str
    title: str
    build: BuildSpecimen
    optics: Optics = dataclasses.field(default_factory=Optics)
    scan: Literal["primitive", "rectangle"] = "primitive"
    scan_shape: tuple[int, int] = (24, 24)
    cells: tuple[int, int] = (1, 1)
    samples_per_pixel: float = SAMPLES_PER_PIXEL
    detector_px: int = DEFAULT_DETECTOR_PX
    build_variant: BuildVariant | None = None
    variant: Variant = dataclasses.field(default_factory=Variant)

    def builder(self, variant: Variant) -> BuildSpecimen:
        """What makes the specimen with these numbers.

        Raises
        ------
        OptionError
            A number that this specimen does not take.
        """
        taken = self.variant.given()
        wrong = [name for name in variant.given() if name not in taken]
        if wrong:
            raise OptionError(
                f"{wrong[0]}: want a simulation that takes it, got {self.name}, which takes "
                f"{', '.join(taken) or 'none of these'}; leave it out"
            )
        if self.build_variant is None:
            return self.build
        return partial(self.build_variant, variant.over(self.variant))
