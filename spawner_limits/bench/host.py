"""What the host as a whole does meanwhile, from /proc. It decides nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Idle:
    """How idle the host's CPUs are, from when this was made."""

    def __init__(self) -> None:
        self._began, self._idle = time.monotonic(), idle_seconds()

    def cores(self, cpu: int | None = None) -> float:
        """CPUs that nobody used since, on average; with `cpu`, of that one."""
        wall, now = time.monotonic() - self._began, idle_seconds()
        cpus = now if cpu is None else [cpu]
        return sum(now[one] - self._idle.get(one, 0.0) for one in cpus) / wall


def idle_seconds() -> dict[int, float]:
    """CPU → seconds that it was idle since boot, also waiting for a disk: proc_stat(5)."""
    tick = os.sysconf("SC_CLK_TCK")
    rows = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
    return {int(row[0][3:]): sum(map(int, row[4:6])) / tick for row in rows if row[0][:3] == "cpu" and row[0] != "cpu"}
