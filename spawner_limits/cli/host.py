"""The machine that this runs on, as far as a policy is judged by it. Asks no engine, and decides nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.errors import LimitsError, UsageError
from spawner_limits.kernel import cgroups
from spawner_limits.kernel.host import meminfo
from spawner_limits.policy.capacity import Machine

if TYPE_CHECKING:
    from spawner_limits.engines.enforcement import CgroupVersion

_MOST_PROCESSES = ("pid_max", "threads-max")


def machine(memory: str | None = None, cores: int | None = None, *, root: Path = Path("/")) -> Machine:
    """The host, or one of that memory and so many cores. UsageError where `memory` is no size, or can't be read."""
    size = _memory(root) if memory is None else _size(memory)
    processes = _processes(root) if memory is None and cores is None else None
    return Machine(memory_bytes=size, cores=cores or os.cpu_count() or 1, processes=processes)


def cgroup_version(*, root: Path = Path("/")) -> CgroupVersion | None:
    """The version of cgroups that memory is limited by on this host; `None`: that can't be seen from here."""
    try:
        return cgroups.find(os.getpid(), root=root).versions["memory"]
    except (LimitsError, OSError):
        return None


def _size(text: str) -> int:
    try:
        return units.parse_size(text)
    except ValueError as error:
        raise UsageError(f"--memory {text or '(empty)'}: {error}") from None


def _processes(root: Path) -> int | None:
    """The lower of the two limits that the Linux kernel has on all processes and threads together, proc(5)."""
    try:
        return min(int((root / "proc/sys/kernel" / name).read_text(encoding="ascii")) for name in _MOST_PROCESSES)
    except (OSError, ValueError):
        return None


def _memory(root: Path) -> int:
    try:
        return meminfo(root=root)["MemTotal"]
    except (OSError, KeyError, ValueError):
        path = root / "proc" / "meminfo"
        raise UsageError(f"{path} does not say how much memory this host has; give it with --memory") from None
