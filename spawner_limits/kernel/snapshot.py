"""`Snapshot`: one reading of one container's kernel files. What was not read is `None`, with its reason, never 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Counters and limits of one container at one moment."""

    monotonic_ns: int
    versions: Mapping[str, Literal[1, 2]]
    """controller → version of cgroups that it was found on"""
    cpu_usage_ns: int | None = None
    cpu_delay_ns: int = 0
    """from `monotonic_ns` until that was surely read: a reader may be interrupted in between"""
    nr_periods: int | None = None
    nr_throttled: int | None = None
    throttled_ns: int | None = None
    memory_current_bytes: int | None = None
    memory_peak_bytes: int | None = None
    memory_inactive_file_bytes: int | None = None
    swap_current_bytes: int | None = None
    memsw_peak_bytes: int | None = None
    """most memory and swap together: v1 `memory.memsw.max_usage_in_bytes`; v2 has only `memory.peak` +
    `memory.swap.peak`, an upper bound"""
    oom_kill: int | None = None
    pids_current: int | None = None
    pids_peak: int | None = None
    """most processes ever, in the cgroup's life"""
    pids_max_events: int | None = None
    """forks that failed: `pids.events` `max`; on v1, and before Linux 6.11, also those that a cgroup above refused"""
    runnable: int | None = None
    """threads of the container that ran or wanted to (state R), where somebody looked; no file of a cgroup tells it"""
    steal_ns: int | None = None
    """CPU time that the machine below took from this host so far, where it is told; the host's, not the container's"""
    limits: Mapping[str, str] = field(default_factory=dict)
    """limit file → its text, stripped: {"memory.limit_in_bytes": "1073741824"}"""
    unread: Mapping[str, str] = field(default_factory=dict)
    """counter or limit file → why it could not be read"""
