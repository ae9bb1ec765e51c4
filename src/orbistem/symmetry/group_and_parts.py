"""A point group beside its own operations: the group is judged as a whole, each operation by itself.

The two have different nulls. The test of a group adds up all that the group forbids; an operation forbids a
part of that. Where little of the forbidden energy is broken, it drowns in the noise of the rest, and the
group stands while one of its operations, looked at alone, does not. Both are then said, with their p values.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbistem.groups import POINT_GROUPS, PointGroup
from orbistem.symmetry.components import Components
from orbistem.symmetry.point_group import point_group
from orbistem.symmetry.which import BROKEN_SCORE, MIRROR_AXES, BrokenOperation, Which, fold_of

__all__ = ["GroupVerdict", "own_operations", "whole_and_parts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupVerdict:
    """Point group of a pattern, and its weakest operation.

    Attributes
    ----------
    name
        Schoenflies name; "" where undecided.
    p
        Probability that noise alone breaks the group as much; NaN where undecided.
    weakest
        The operation of the group with the smallest p value; None for C1 and where undecided.
    looks
        How many operations of the group were looked at.
    """

    name: str
    p: float
    weakest: BrokenOperation | None
    looks: int

    @property
    def at_odds(self) -> bool:
        """Whether the weakest operation is broken, for having looked at all (Bonferroni)."""
        from scipy.special import ndtr

        return self.weakest is not None and self.weakest.p * self.looks < float(ndtr(-BROKEN_SCORE))

    def sentence(self) -> str:
        """The verdict in words."""
        if not self.name:
            return "Its point group cannot be told: too little signal speaks for one."
        name = f"{self.name} ({PointGroup.from_name(self.name).international})"
        if self.weakest is None:
            return f"Its point group is {name}."
        if self.looks == 1:
            return (
                f"Its point group is {name}, p = {self.p:.2g}; {self.weakest.name}, p = {self.weakest.p:.2g}."
            )
        text = (
            f"As a whole it agrees with {name}, p = {self.p:.2g}; of the {self.looks} operations of that "
            f"group the {self.weakest.name} agrees least, p = {self.weakest.p:.2g} by itself"
        )
        if not self.at_odds:
            return text + "."
        carrier = self.weakest.carrier
        return (
            f"{text}, which noise does not explain. The two differ because the group is judged by all that "
            f"it forbids together, the operation by its own part, here mostly order {carrier.order}: that is "
            "broken (a small tilt can do it), but too little to break the group as a whole."
        )


def own_operations(which: Which, group: PointGroup) -> tuple[BrokenOperation, ...]:
    """Those of the operations tried that belong to a group whose mirror line is the first that was tried."""
    turns = [one for one in which.operations if not one.operation.mirror]
    lines = [one for one in which.operations if one.operation.mirror]
    own = [one for one in turns if group.order % fold_of(one.operation) == 0]
    return (*own, *(lines[:: MIRROR_AXES // group.order] if group.mirrors else ()))


def whole_and_parts(which: Which, components: Components) -> GroupVerdict:
    """Point group of one pattern beside its operations.

    Parameters
    ----------
    which
        The operations of the pattern, from `pattern_operations`.
    components
        The same pattern: one row.
    """
    found = point_group(components)
    code = int(found.code[0])
    if not code:
        return GroupVerdict(name="", p=float("nan"), weakest=None, looks=0)
    group = POINT_GROUPS[code - 1]
    own = own_operations(which, group)
    return GroupVerdict(
        name=group.name,
        p=float(found.p[0]),
        weakest=min(own, key=lambda one: one.p) if own else None,
        looks=len(own),
    )
