"""What `top` and `ps` go by: each process's CPU time in /proc/PID/stat, and the host's in /proc/stat.

Source: proc(5). Times are in ticks of 10 ms; `top` shows their rise over the time between two screens, per process.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_COUNTED = 7
"""user, nice, system, idle, iowait, irq, softirq: what `docker stats` takes for all time; the eighth is steal"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """CPU time at one moment, in ticks."""

    monotonic_ns: int
    processes: Mapping[int, int]
    """process id → its own time, user and system"""
    host: int
    """of all CPUs, idle or not, as `docker stats` adds it up"""
    steal: int
    """that the machine below took from this one"""


def process_ticks(stat: str) -> int:
    """User and system time (utime, stime) of /proc/PID/stat; the name in it may have blanks and brackets."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def host_ticks(stat: str) -> tuple[int, int]:
    """Of /proc/stat: all counted time, and steal."""
    fields = [int(one) for one in stat.partition("\n")[0].split()[1:]]
    return sum(fields[:_COUNTED]), fields[_COUNTED] if len(fields) > _COUNTED else 0


def read(pids: Iterable[int]) -> Account:
    """The accounts of these processes, of those that still are, and of the host."""
    processes = {}
    for pid in pids:
        with suppress(OSError):
            processes[pid] = process_ticks(Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace"))
    host, steal = host_ticks(Path("/proc/stat").read_text(encoding="ascii"))
    return Account(monotonic_ns=time.monotonic_ns(), processes=processes, host=host, steal=steal)


def cores(first: Account, last: Account) -> dict[int, float]:
    """Process id → cores used between the two; a process that ended meanwhile is in no account, as in `top`."""
    wall_s = (last.monotonic_ns - first.monotonic_ns) / 1_000_000_000
    ticks = {pid: used - first.processes.get(pid, 0) for pid, used in last.processes.items()}
    return {pid: used / TICKS_PER_SECOND / wall_s for pid, used in ticks.items()}
