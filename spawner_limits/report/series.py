"""The series of a trial: snapshots turned into points in time that a chart or a program can take. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING

from spawner_limits.proof import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spawner_limits.kernel.snapshot import Snapshot

WINDOW_S = 1.0
"""CPU use is told over so long: a quota is handed out per period, so shorter ones only show its teeth"""
_NEARLY_S = 0.05
"""how much shorter than that a window may be, because a sampler is never exactly on time"""
MOST = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One moment. What was not read is `None`."""

    seconds: float
    """since the first snapshot"""
    cpu_cores: float | None
    """over the last `WINDOW_S`"""
    memory_bytes: int | None
    """as the limit counts it: with file cache"""
    cache_bytes: int | None
    """of that, file cache that the Linux kernel would give up first"""
    swap_bytes: int | None
    processes: int | None


COLUMNS = tuple(field.name for field in fields(Point))
_COUNTERS: Mapping[str, str] = {
    "cpu_cores": "cpu_usage_ns",
    "memory_bytes": "memory_current_bytes",
    "cache_bytes": "memory_inactive_file_bytes",
    "swap_bytes": "swap_current_bytes",
    "processes": "pids_current",
}
"""column → the counter of `Snapshot` that it comes from"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """The OOM killer's work between two snapshots."""

    seconds: float
    count: int


def points(snapshots: Sequence[Snapshot]) -> tuple[Point, ...]:
    """One point a snapshot."""
    times = [snapshot.monotonic_ns for snapshot in snapshots]
    return tuple(
        Point(
            seconds=_seconds(snapshots, snapshot),
            cpu_cores=_cores(snapshots, times, snapshot),
            memory_bytes=snapshot.memory_current_bytes,
            cache_bytes=snapshot.memory_inactive_file_bytes,
            swap_bytes=snapshot.swap_current_bytes,
            processes=snapshot.pids_current,
        )
        for snapshot in snapshots
    )


def _seconds(snapshots: Sequence[Snapshot], one: Snapshot) -> float:
    return round((one.monotonic_ns - snapshots[0].monotonic_ns) / windows.SECOND_NS, 3)


def _cores(snapshots: Sequence[Snapshot], times: Sequence[int], last: Snapshot) -> float | None:
    index = bisect_right(times, last.monotonic_ns - int((WINDOW_S - _NEARLY_S) * windows.SECOND_NS)) - 1
    window = windows.between(snapshots[index], last) if index >= 0 else None
    # a counter that fell belongs to another cgroup; the judge says so
    return round(window.cores, 4) if window is not None and window.cores >= 0 else None


def kills(snapshots: Sequence[Snapshot]) -> tuple[Kill, ...]:
    """When the count of OOM kills rose, and by how much."""
    read = [snapshot for snapshot in snapshots if snapshot.oom_kill is not None]
    return tuple(
        Kill(seconds=_seconds(snapshots, later), count=risen)
        for earlier, later in pairwise(read)
        if (risen := windows.rise(earlier.oom_kill, later.oom_kill) or 0) > 0
    )


def thinned(every: Sequence[Point], most: int = MOST) -> tuple[Point, ...]:
    """At most `most` of the points: the first, the last, and between them those with the most memory and CPU."""
    if len(every) <= most:
        return tuple(every)
    size = math.ceil((len(every) - 2) / ((most - 2) // 2))
    kept = {0, len(every) - 1}
    for start in range(1, len(every) - 1, size):
        bucket = range(start, min(start + size, len(every) - 1))
        kept.add(max(bucket, key=_by(every, "memory_bytes")))
        kept.add(max(bucket, key=_by(every, "cpu_cores")))
    return tuple(every[index] for index in sorted(kept))


def _by(every: Sequence[Point], column: str) -> Callable[[int], float]:
    def rank(index: int) -> float:
        value = getattr(every[index], column)
        return -1.0 if value is None else float(value)

    return rank


def unknown(every: Sequence[Point], snapshots: Sequence[Snapshot]) -> dict[str, str]:
    """Column with a `None` in it → why."""
    gaps = [column for column in _COUNTERS if any(getattr(point, column) is None for point in every)]
    return {column: _why(_COUNTERS[column], snapshots) for column in gaps}


def _why(counter: str, snapshots: Sequence[Snapshot]) -> str:
    reasons = dict.fromkeys(one.unread[counter] for one in snapshots if counter in one.unread)
    if counter == "cpu_usage_ns":
        reasons[f"a rate needs readings {WINDOW_S:g} s apart"] = None
    return "; ".join(reasons) or "it was not read"
