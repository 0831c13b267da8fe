"""Tables: where cgroup v2 keeps each counter of a `Snapshot`, and which files hold limits. No code.

Source: Linux Documentation/admin-guide/cgroup-v2.rst. The controllers are those of `v1`, row for row, because a hybrid
host decides the version per controller; what v1 calls cpuacct is in v2's `cpu.stat`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.kernel.counter_file import CounterFile

if TYPE_CHECKING:
    from collections.abc import Mapping

_US = 1000  # nanoseconds

COUNTERS: Mapping[str, tuple[CounterFile, ...]] = {
    "cpu_usage_ns": (CounterFile(controller="cpuacct", file="cpu.stat", key="usage_usec", scale=_US),),
    "nr_periods": (CounterFile(controller="cpu", file="cpu.stat", key="nr_periods"),),
    "nr_throttled": (CounterFile(controller="cpu", file="cpu.stat", key="nr_throttled"),),
    "throttled_ns": (CounterFile(controller="cpu", file="cpu.stat", key="throttled_usec", scale=_US),),
    "memory_current_bytes": (CounterFile(controller="memory", file="memory.current"),),
    "memory_peak_bytes": (CounterFile(controller="memory", file="memory.peak"),),
    "memory_inactive_file_bytes": (CounterFile(controller="memory", file="memory.stat", key="inactive_file"),),
    "swap_current_bytes": (CounterFile(controller="memory", file="memory.swap.current"),),
    # no file has the peak of the sum; the sum of the peaks is an upper bound
    "memsw_peak_bytes": (
        CounterFile(controller="memory", file="memory.peak"),
        CounterFile(controller="memory", file="memory.swap.peak"),
    ),
    # with all descendants, unless cgroup2 is mounted with memory_localevents
    "oom_kill": (CounterFile(controller="memory", file="memory.events", key="oom_kill"),),
    "pids_current": (CounterFile(controller="pids", file="pids.current"),),
    "pids_peak": (CounterFile(controller="pids", file="pids.peak"),),
    "pids_max_events": (CounterFile(controller="pids", file="pids.events", key="max"),),
}
"""counter → the numbers whose sum it is"""

LIMITS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("cpu.max", "cpu.weight"),
    "cpuset": ("cpuset.cpus", "cpuset.cpus.effective"),
    "memory": ("memory.max", "memory.swap.max", "memory.low", "memory.high"),
    "pids": ("pids.max",),
}
"""controller → its files that hold a limit"""

_NO_SWAP_ACCOUNTING = "this Linux kernel does not account swap (CONFIG_SWAP is off, or swapaccount=0)"

ABSENT: Mapping[str, str] = {
    "memory.peak": "Linux has it since 5.19",
    "memory.swap.peak": "Linux has it since 6.5",
    "pids.peak": "Linux has it since 6.10",
    "memory.swap.current": _NO_SWAP_ACCOUNTING,
    "memory.swap.max": _NO_SWAP_ACCOUNTING,
}
"""file → why a host may not have it"""
