"""The host as a whole, from /proc and /sys: memory, swap, CPUs, and how busy they are. Decides nothing."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.units import KIB

if TYPE_CHECKING:
    from spawner_limits.engines.enforcement import CgroupVersion

_ONLINE = Path("sys", "devices", "system", "cpu", "online")
_STEAL = 8
"""field of the first line of /proc/stat, counted from its name"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostFacts:
    """What of a host decides how a limit reads."""

    cgroup_version: CgroupVersion
    page_size_bytes: int
    swap_bytes: int
    cpus: str
    """all that it has, as the Linux kernel writes them: "0-3" """


def host_facts(version: CgroupVersion, *, root: Path = Path("/")) -> HostFacts:
    """Of the host that this runs on, whose engine has that version of cgroups. OSError: /proc or /sys can't be read."""
    return HostFacts(
        cgroup_version=version,
        page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
        swap_bytes=meminfo(root=root)["SwapTotal"],
        cpus=(root / _ONLINE).read_text(encoding="ascii").strip(),
    )


def meminfo(*, root: Path = Path("/")) -> dict[str, int]:
    """/proc/meminfo: name → bytes, proc_meminfo(5); what has no size in kB is left out. OSError."""
    rows = (line.split() for line in (root / "proc" / "meminfo").read_text(encoding="ascii").splitlines())
    return {row[0].rstrip(":"): int(row[1]) * KIB for row in rows if row[2:] == ["kB"]}


def steal_ns(root: Path = Path("/")) -> int | None:
    """CPU time that the machine below took from this host, all CPUs since boot, in steps of a tick: proc_stat(5).

    `None` where it can't be read.
    """
    try:
        fields = (root / "proc" / "stat").read_text(encoding="ascii").partition("\n")[0].split()
        return int(fields[_STEAL]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def idle_seconds() -> dict[int, float]:
    """CPU → seconds that it was idle since boot, also waiting for a disk: proc_stat(5)."""
    tick = os.sysconf("SC_CLK_TCK")
    rows = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
    return {int(row[0][3:]): sum(map(int, row[4:6])) / tick for row in rows if row[0][:3] == "cpu" and row[0] != "cpu"}


class Idle:
    """How idle the host's CPUs are, from when this was made."""

    def __init__(self) -> None:
        self._began, self._idle = time.monotonic(), idle_seconds()

    def cores(self, cpu: int | None = None) -> float:
        """CPUs that nobody used since, on average; with `cpu`, of that one."""
        wall, now = time.monotonic() - self._began, idle_seconds()
        cpus = now if cpu is None else [cpu]
        return sum(now[number] - self._idle.get(number, 0.0) for number in cpus) / wall
