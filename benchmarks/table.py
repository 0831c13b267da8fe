"""What the benchmarks print: plain tables, and whether each target is held. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.paired import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A figure, and what it has to stay under."""

    what: str
    figure: float
    most: float
    unit: str

    @property
    def is_held(self) -> bool:
        """Whether it does."""
        return self.figure < self.most


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns that are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)


def verdicts(targets: Iterable[Target]) -> list[tuple[str, ...]]:
    """A row for each target."""
    head = ("target", "figure", "under", "")
    rows = [
        (one.what, f"{one.figure:.1f} {one.unit}", f"{one.most:g} {one.unit}", "held" if one.is_held else "broken")
        for one in targets
    ]
    return [head, *rows]


def ms(seconds: float) -> str:
    """`12.3 ms`."""
    return f"{seconds * 1e3:.1f} ms"


def ms_interval(found: Interval) -> str:
    """`12.3 ms (10.0 to 14.1)`."""
    return f"{ms(found.median)} ({found.low * 1e3:.1f} to {found.high * 1e3:.1f})"


def ratio(found: Interval) -> str:
    """`1.04 (0.98 to 1.11)`."""
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"
