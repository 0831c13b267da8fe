"""Rates from counters: the windows of a series of snapshots in which CPU use is measured. Pure.

Shorter than two seconds or ten periods, a window says nothing about a quota: bandwidth is handed out per period.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spawner_limits.kernel.snapshot import Snapshot

SECOND_NS = 1_000_000_000
SHORTEST_S = 2.0
PERIODS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What happened between two snapshots."""

    start_ns: int
    wall_s: float
    cores: float
    """CPU time used, over wall time"""
    periods: int | None
    throttled: int | None
    delay_s: float = 0.0
    """by how much longer the CPU time may have been counted than `wall_s`"""
    steal_s: float = 0.0
    """CPU time that the machine below took from the host meanwhile, as far as it tells"""

    @property
    def end_ns(self) -> int:
        """When it ended."""
        return self.start_ns + round(self.wall_s * SECOND_NS)

    @property
    def used_s(self) -> float:
        """CPU time used."""
        return self.cores * self.wall_s

    @property
    def throttled_ratio(self) -> float | None:
        """Share of the periods in which the quota ran out; `None` without a quota."""
        return None if not self.periods or self.throttled is None else self.throttled / self.periods


def between(first: Snapshot, last: Snapshot) -> Window | None:
    """The window between two snapshots; `None` when CPU time was not read in both."""
    if first.cpu_usage_ns is None or last.cpu_usage_ns is None or last.monotonic_ns <= first.monotonic_ns:
        return None
    wall_ns = last.monotonic_ns - first.monotonic_ns
    return Window(
        start_ns=first.monotonic_ns,
        wall_s=wall_ns / SECOND_NS,
        cores=(last.cpu_usage_ns - first.cpu_usage_ns) / wall_ns,
        periods=rise(first.nr_periods, last.nr_periods),
        throttled=rise(first.nr_throttled, last.nr_throttled),
        delay_s=last.cpu_delay_ns / SECOND_NS,
        steal_s=(rise(first.steal_ns, last.steal_ns) or 0) / SECOND_NS,
    )


def rise(first: int | None, last: int | None) -> int | None:
    """How much a counter rose; `None` when it was not read in both."""
    return None if first is None or last is None else last - first


def shortest_s(period_us: int) -> float:
    """The shortest window that says something about a quota with this period."""
    return max(SHORTEST_S, PERIODS * period_us / 1_000_000)


def sliding(snapshots: Sequence[Snapshot], length_s: float) -> Iterator[Window]:
    """From each snapshot, the window to the first one at least `length_s` later."""
    times = [snapshot.monotonic_ns for snapshot in snapshots]
    for first in snapshots:
        index = bisect_left(times, first.monotonic_ns + int(length_s * SECOND_NS))
        if index == len(times):
            return
        window = between(first, snapshots[index])
        if window is not None:
            yield window


def disjoint(windows: Iterable[Window]) -> Iterator[Window]:
    """Of sliding windows, ones that share no moment: the first, then each that starts after the last one ended."""
    end_ns = 0
    for window in windows:
        if window.start_ns >= end_ns:
            end_ns = window.end_ns
            yield window
