"""Readings: the snapshots of a press as columns over time, for a chart or a program. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from spawner_limits.proof import windows

if TYPE_CHECKING:
    from spawner_limits.kernel.snapshot import Snapshot

Columns = Mapping[str, Sequence[float | None]]
"""name → its values, equally many in each; `seconds` are since the first snapshot, `None` is what was not read"""

WINDOW_S = 1.0
"""CPU use is told over so long: a quota is handed out per period, so shorter ones only show its teeth"""
_NEARLY_S = 0.05
"""how much shorter than that a window may be, because a sampler is never exactly on time"""
MOST = 600
COUNTERS: Mapping[str, str] = {
    "cpu_cores": "cpu_usage_ns",  # as a rate, over the last `WINDOW_S`
    "memory_bytes": "memory_current_bytes",  # as the limit counts it: with file cache
    "cache_bytes": "memory_inactive_file_bytes",  # of that, what the Linux kernel would give up first
    "swap_bytes": "swap_current_bytes",
    "processes": "pids_current",
}
"""column → the counter of `Snapshot` that it comes from"""


def readings(snapshots: Sequence[Snapshot]) -> Columns:
    """One in each column for each snapshot."""
    gauges = {name: [getattr(one, counter) for one in snapshots] for name, counter in COUNTERS.items()}
    # in place of the CPU time itself, its rate
    return {"seconds": [_seconds(snapshots, one) for one in snapshots], **gauges, "cpu_cores": _cores(snapshots)}


def _seconds(snapshots: Sequence[Snapshot], one: Snapshot) -> float:
    return round((one.monotonic_ns - snapshots[0].monotonic_ns) / windows.SECOND_NS, 3)


def _cores(snapshots: Sequence[Snapshot]) -> list[float | None]:
    times = [one.monotonic_ns for one in snapshots]
    first = [bisect_right(times, time - int((WINDOW_S - _NEARLY_S) * windows.SECOND_NS)) - 1 for time in times]
    spans = [
        windows.between(snapshots[at], last) if at >= 0 else None for at, last in zip(first, snapshots, strict=True)
    ]
    # a counter that fell belongs to another cgroup; the judge says so
    return [round(one.cores, 4) if one is not None and one.cores >= 0 else None for one in spans]


def kills(snapshots: Sequence[Snapshot]) -> tuple[tuple[float, int], ...]:
    """When the count of OOM kills rose, in seconds, and by how much."""
    read = [one for one in snapshots if one.oom_kill is not None]
    rises = [(later, windows.rise(earlier.oom_kill, later.oom_kill) or 0) for earlier, later in pairwise(read)]
    return tuple((_seconds(snapshots, later), risen) for later, risen in rises if risen > 0)


def thinned(columns: Columns, most: int = MOST) -> Columns:
    """At most `most` readings: the first, the last, and between them those with the most memory and CPU."""
    last = len(columns["seconds"]) - 1
    if last < most:
        return columns
    size = math.ceil((last - 1) / ((most - 2) // 2))
    buckets = [range(start, min(start + size, last)) for start in range(1, last, size)]
    highest = [_heights(columns[name]) for name in ("memory_bytes", "cpu_cores")]
    kept = {0, last, *(max(bucket, key=heights.__getitem__) for bucket in buckets for heights in highest)}
    return {name: [values[at] for at in sorted(kept)] for name, values in columns.items()}


def _heights(values: Sequence[float | None]) -> list[float]:
    return [-1.0 if value is None else value for value in values]


def unknown(columns: Columns, snapshots: Sequence[Snapshot]) -> dict[str, str]:
    """Column with a `None` in it → why."""
    return {name: _why(counter, snapshots) for name, counter in COUNTERS.items() if None in columns[name]}


def _why(counter: str, snapshots: Sequence[Snapshot]) -> str:
    reasons = dict.fromkeys(one.unread[counter] for one in snapshots if counter in one.unread)
    if counter == "cpu_usage_ns":
        reasons[f"a rate needs readings {WINDOW_S:g} s apart"] = None
    return "; ".join(reasons) or "it was not read"
