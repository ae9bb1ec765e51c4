"""A table of what was measured beside what is wanted; remembers whether something falls short."""

from __future__ import annotations

from typing import Literal

Sense = Literal[">=", "<=", "<", "=="]


class Table:
    """One line a figure."""

    def __init__(self) -> None:
        self.short: list[str] = []

    def head(self, title: str) -> None:
        """Name what follows."""
        print(f"\n{title}\n{'-' * len(title)}", flush=True)

    def line(
        self,
        name: str,
        value: float | tuple[float, ...],
        unit: str = "",
        *,
        want: tuple[Sense, float] | None = None,
    ) -> None:
        """Print a figure, or several that must all hold, and whether it is as wanted; NaN never is."""
        values = value if isinstance(value, tuple) else (value,)
        shown = " ".join(f"{one:.5g}" for one in values)
        text = f"  {name:<58} {shown + (' ' + unit if unit else ''):>24}"
        if want is not None:
            sense, limit = want
            holds = all(_holds(one, sense, limit) for one in values)
            text += f"   want {sense} {limit:g}" + ("" if holds else "   FALLS SHORT")
            if not holds:
                self.short.append(f"{name}: {shown}, want {sense} {limit:g}")
        print(text, flush=True)

    def close(self) -> int:
        """Sum up; returns the exit status."""
        print()
        if not self.short:
            print("everything is as wanted")
            return 0
        print(f"{len(self.short)} figures fall short:")
        for text in self.short:
            print(f"  {text}")
        return 1


def _holds(value: float, sense: Sense, limit: float) -> bool:
    if sense == ">=":
        return value >= limit
    if sense == "<=":
        return value <= limit
    if sense == "<":
        return value < limit
    return value == limit
