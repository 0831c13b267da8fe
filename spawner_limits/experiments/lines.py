"""Lines of a chart from snapshots: a counter's values, or the rate at which it rises. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from spawner_limits.proof import windows
from spawner_limits.report.plot import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from spawner_limits.kernel.snapshot import Snapshot

WINDOW_S = 1.0
"""that a rate is told over: a quota is handed out per period, so shorter ones only show its teeth"""

Line = tuple[Point, ...]


def seconds(begin_ns: int, now_ns: int) -> float:
    """Time since the chart's begin."""
    return round((now_ns - begin_ns) / windows.SECOND_NS, 2)


def values(snapshots: Iterable[Snapshot], begin_ns: int, value: Callable[[Snapshot], int | None]) -> Line:
    """One point a snapshot."""
    return tuple(Point(seconds=seconds(begin_ns, one.monotonic_ns), value=value(one)) for one in snapshots)


def cores(snapshots: Sequence[Snapshot], begin_ns: int, factor: float = 1.0) -> Line:
    """Cores used, times `factor`; each point tells of the second before it."""
    return tuple(
        Point(
            seconds=seconds(begin_ns, one.end_ns),
            value=round(one.cores * factor, 4),
        )
        for one in windows.sliding(snapshots, WINDOW_S)
    )


def rises(counts: Sequence[tuple[int, int]], begin_ns: int) -> dict[float, int]:
    """Seconds → by how much a counter rose then, of its (nanoseconds, value)."""
    return {
        seconds(begin_ns, after[0]): after[1] - before[1] for before, after in pairwise(counts) if after[1] > before[1]
    }


def kills(snapshots: Sequence[Snapshot], begin_ns: int) -> dict[float, int]:
    """When the Linux kernel counted OOM kills, and how many."""
    return rises([(one.monotonic_ns, one.oom_kill) for one in snapshots if one.oom_kill is not None], begin_ns)
