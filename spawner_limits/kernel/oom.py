"""`OomFiles`: how often the OOM killer came to one container, through a descriptor that stays open. Decides nothing.

Beside `Reader`, which reads all counters: this one is looked at every second for every server, as long as it runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from spawner_limits.kernel.reader import TABLES
from spawner_limits.kernel.v1 import NO_LIMIT_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from spawner_limits.kernel.cgroups import Cgroup

_LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
_MOST = 1 << 12
"""bytes; these files have a few lines"""


class OomFiles:
    """One container's count of OOM kills, its memory limit and the most that it ever used."""

    def __init__(self, cgroup: Cgroup) -> None:
        """Open them. OSError where the counter can't be; `close` it."""
        version, directory = cgroup.versions["memory"], cgroup.directories["memory"]
        (self._kills,) = TABLES[version].COUNTERS["oom_kill"]
        (peak,) = TABLES[version].COUNTERS["memory_peak_bytes"]
        self._counter = os.open(directory / self._kills.file, os.O_RDONLY | os.O_CLOEXEC)
        self._limit, self._peak = _opened(directory / _LIMIT[version]), _opened(directory / peak.file)

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in (self._counter, self._limit, self._peak):
            if descriptor is not None:
                os.close(descriptor)

    def kills(self) -> int:
        """The counter, now. OSError once the container has ended; ValueError where the file has no such counter."""
        number: int = self._kills.number(os.pread(self._counter, _MOST, 0))
        return number

    def limit_bytes(self) -> int | None:
        """The memory limit in force; `None`: there is none, or it can't be read."""
        limit = _number(self._limit)
        return limit if limit is not None and limit < NO_LIMIT_BYTES else None

    def peak_bytes(self) -> int | None:
        """The most memory that was in use; `None` where the kernel has no such file, or the container has ended."""
        return _number(self._peak)


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # this Linux kernel has no such file
        return None


def _number(descriptor: int | None) -> int | None:
    if descriptor is None:
        return None
    try:
        text = os.pread(descriptor, _MOST, 0).strip()
    except OSError:  # the container has ended
        return None
    return int(text) if text.isdigit() else None
