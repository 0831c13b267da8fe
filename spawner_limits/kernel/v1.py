"""Tables: where cgroup v1 keeps each counter of a `Snapshot`, and which files hold limits. No code.

Sources: Linux Documentation/admin-guide/cgroup-v1/{memory,cpuacct,pids}.rst and Documentation/scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.kernel.counter_file import CounterFile

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTERS: Mapping[str, tuple[CounterFile, ...]] = {
    "cpu_usage_ns": (CounterFile(controller="cpuacct", file="cpuacct.usage"),),
    "nr_periods": (CounterFile(controller="cpu", file="cpu.stat", key="nr_periods"),),
    "nr_throttled": (CounterFile(controller="cpu", file="cpu.stat", key="nr_throttled"),),
    # nanoseconds here, microseconds on v2
    "throttled_ns": (CounterFile(controller="cpu", file="cpu.stat", key="throttled_time"),),
    "memory_current_bytes": (CounterFile(controller="memory", file="memory.usage_in_bytes"),),
    "memory_peak_bytes": (CounterFile(controller="memory", file="memory.max_usage_in_bytes"),),
    # total_*: with all descendants, which is what the limit counts
    "memory_inactive_file_bytes": (CounterFile(controller="memory", file="memory.stat", key="total_inactive_file"),),
    "swap_current_bytes": (CounterFile(controller="memory", file="memory.stat", key="total_swap"),),
    "memsw_peak_bytes": (CounterFile(controller="memory", file="memory.memsw.max_usage_in_bytes"),),
    # this cgroup only: kills in its children (a container in the container) are counted there, not here
    "oom_kill": (CounterFile(controller="memory", file="memory.oom_control", key="oom_kill"),),
    "pids_current": (CounterFile(controller="pids", file="pids.current"),),
    "pids_peak": (CounterFile(controller="pids", file="pids.peak"),),
    "pids_max_events": (CounterFile(controller="pids", file="pids.events", key="max"),),
}
"""counter → the numbers whose sum it is"""

LIMITS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"),
    "cpuset": ("cpuset.cpus",),
    "memory": (
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.soft_limit_in_bytes",
        "memory.swappiness",
    ),
    "pids": ("pids.max",),
}
"""controller → its files that hold a limit"""

NO_LIMIT_BYTES = 1 << 62
"""what the files say above this is no limit: the largest whole number of pages"""

_NO_SWAP_ACCOUNTING = "this Linux kernel does not account swap (CONFIG_SWAP is off, or swapaccount=0)"

ABSENT: Mapping[str, str] = {
    "memory.memsw.limit_in_bytes": _NO_SWAP_ACCOUNTING,
    "memory.memsw.max_usage_in_bytes": _NO_SWAP_ACCOUNTING,
    "pids.peak": "Linux has it since 6.10",
    "cpu.cfs_quota_us": "this Linux kernel has no CPU quotas (CONFIG_CFS_BANDWIDTH is off)",
    "cpu.cfs_period_us": "this Linux kernel has no CPU quotas (CONFIG_CFS_BANDWIDTH is off)",
}
"""file → why a host may not have it"""
