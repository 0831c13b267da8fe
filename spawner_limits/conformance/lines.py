"""Lines of a chart from snapshots: a counter's values, or the rate at which it rises. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from spawner_limits.proof import windows
from spawner_limits.report.plot import Plot, Point

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spawner_limits.kernel.snapshot import Snapshot

WINDOW_S = 1.0
"""that a rate is told over: a quota is handed out per period, so shorter ones only show its teeth"""

Line = tuple[Point, ...]


def seconds(begin_ns: int, now_ns: int, digits: int = 2) -> float:
    """Time since the chart's begin."""
    return round((now_ns - begin_ns) / windows.SECOND_NS, digits)


def values(snapshots: Sequence[Snapshot], value: Callable[[Snapshot], int | None], digits: int = 2) -> Line:
    """One point a snapshot."""
    begin_ns = snapshots[0].monotonic_ns
    return tuple(
        Point(seconds=seconds(begin_ns, snapshot.monotonic_ns, digits), value=value(snapshot)) for snapshot in snapshots
    )


def memory(snapshots: Sequence[Snapshot], digits: int = 2) -> Line:
    """Memory in use."""
    return values(snapshots, lambda snapshot: snapshot.memory_current_bytes, digits)


def cores(snapshots: Sequence[Snapshot]) -> Line:
    """Cores used; each point tells of the second before it."""
    begin_ns = snapshots[0].monotonic_ns if snapshots else 0
    return tuple(
        Point(seconds=seconds(begin_ns, window.end_ns), value=round(window.cores, 4))
        for window in windows.sliding(snapshots, WINDOW_S)
    )


def kills(snapshots: Sequence[Snapshot], digits: int = 2) -> dict[float, int]:
    """When the Linux kernel counted OOM kills, and how many."""
    begin_ns, read = snapshots[0].monotonic_ns, [snapshot for snapshot in snapshots if snapshot.oom_kill is not None]
    rises = [
        (after.monotonic_ns, windows.rise(before.oom_kill, after.oom_kill) or 0) for before, after in pairwise(read)
    ]
    return {seconds(begin_ns, at_ns, digits): rise for at_ns, rise in rises if rise > 0}


def with_kills(
    title: str, snapshots: Sequence[Snapshot], lines: Mapping[str, Line], limit: float | None = None
) -> Plot:
    """A plot of memory, in which OOM kills are marked."""
    killed = kills(snapshots)
    marks = dict.fromkeys(killed, "OOM kill")
    return Plot(title=title, unit="bytes", lines=lines, limit=limit, marks=marks, counts=killed)
