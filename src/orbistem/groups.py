"""Symmetry groups of the plane: the ten crystallographic point groups, and the groups a fit averages over.

A rotation is by an angle that grows from +kx to +ky. The mirror m0 maps ky to -ky; every mirror of a group is
m0 followed by a rotation, so a mirror line at azimuth phi is ``Operation(angle_rad=2*phi, mirror=True)``.
On circular harmonics: m0 is the complex conjugate, a rotation by alpha multiplies order m by exp(-i m alpha).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from orbistem.errors import OptionError

__all__ = ["GROUPS", "POINT_GROUPS", "Group", "GroupName", "Operation", "PointGroup"]

GroupName = Literal["SO2", "O2", "C2", "C3", "C4", "C6", "D2", "D3", "D4", "D6"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One symmetry operation: first the mirror ky -> -ky where `mirror`, then a turn by `angle_rad`.

    Attributes
    ----------
    angle_rad : float
        Turn, in [0, 2 pi), from +kx to +ky.
    mirror : bool
        Whether a mirror comes first.
    """

    angle_rad: float
    mirror: bool

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the (2, 2) matrix that acts on column vectors (kx, ky)."""
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        flip = -1.0 if self.mirror else 1.0
        return np.array([[cos, -sin * flip], [sin, cos * flip]])


@dataclass(frozen=True, kw_only=True, slots=True)
class PointGroup:
    """One of the ten crystallographic point groups of the plane.

    Attributes
    ----------
    name : str
        Schoenflies: "C1", "C2", "C3", "C4", "C6", "D1", "D2", "D3", "D4" or "D6".
    order : int
        Rotation order n: a turn by 2 pi / n is a symmetry.
    mirrors : bool
        Whether it has n mirror lines.

    Examples
    --------
    >>> PointGroup.from_name("3m").name
    'D3'
    >>> PointGroup.from_name("C3").is_subgroup(of=PointGroup.from_name("D6"))
    True
    """

    name: str
    order: int
    mirrors: bool

    @classmethod
    def from_name(cls, name: str) -> "PointGroup":
        """Return the group of a Schoenflies ("D3") or international ("3m") name.

        Raises
        ------
        OptionError
            If there is no such group.
        """
        for group in POINT_GROUPS:
            if name in (group.name, group.international):
                return group
        known = ", ".join(group.name for group in POINT_GROUPS)
        raise OptionError(f"point group: want one of {known}, got {name!r}; name one of these")

    @property
    def international(self) -> str:
        """International (Hermann-Mauguin) name, such as "3m"."""
        if not self.mirrors:
            return str(self.order)
        return {1: "m", 2: "2mm", 3: "3m", 4: "4mm", 6: "6mm"}[self.order]

    @property
    def size(self) -> int:
        """Number of operations."""
        return self.order * (2 if self.mirrors else 1)

    def operations(self) -> tuple[Operation, ...]:
        """Return all operations, the identity first, then turns, then mirrors; one mirror line is ky = 0."""
        turns = [2 * math.pi * step / self.order for step in range(self.order)]
        kinds = (False, True) if self.mirrors else (False,)
        return tuple(Operation(angle_rad=turn, mirror=mirror) for mirror in kinds for turn in turns)

    def is_subgroup(self, *, of: "PointGroup") -> bool:
        """Whether this group, suitably turned, is contained in `of`; every group contains itself."""
        return of.order % self.order == 0 and (of.mirrors or not self.mirrors)


POINT_GROUPS: tuple[PointGroup, ...] = tuple(
    PointGroup(name=f"{'D' if mirrors else 'C'}{order}", order=order, mirrors=mirrors)
    for mirrors in (False, True)
    for order in (1, 2, 3, 4, 6)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The group over which a fit treats patterns as the same site.

    Attributes
    ----------
    name : str
        "SO2" (any turn), "O2" (any turn and a mirror), "C2" to "C6" (turns by 2 pi / n only),
        "D2" to "D6" (these turns and a mirror).
    order : int or None
        Number of turns; None where any angle is allowed.
    mirrors : bool
        Whether mirror images are the same site too.

    Examples
    --------
    >>> Group.from_name("O2")
    Group(name='O2', order=None, mirrors=True)
    >>> Group.from_name("C4").angles(48).shape
    (4,)
    """

    name: GroupName
    order: int | None
    mirrors: bool

    @classmethod
    def from_name(cls, name: str) -> "Group":
        """Return the group of that name.

        Raises
        ------
        OptionError
            If there is no such group.
        """
        for group in GROUPS:
            if group.name == name:
                return group
        known = ", ".join(group.name for group in GROUPS)
        raise OptionError(f"group: want one of {known}, got {name!r}; SO2 is right where in doubt")

    @property
    def continuous(self) -> bool:
        """Whether any angle is allowed."""
        return self.order is None

    def angles(self, n: int) -> npt.NDArray[np.float64]:
        """Return the allowed angles in rad, from 0: `n` equal steps if continuous, else one per turn."""
        count = n if self.order is None else self.order
        return np.arange(count, dtype=np.float64) * np.float64(2 * np.pi / count)


def _fit_group(name: GroupName) -> Group:
    order = None if name in ("SO2", "O2") else int(name[1:])
    return Group(name=name, order=order, mirrors=name[0] in "OD")


GROUPS: tuple[Group, ...] = tuple(_fit_group(name) for name in get_args(GroupName))
