"""The machine that is pressed, and its engine, for a report."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from spawner_limits.kernel.host import meminfo
from spawner_limits.proof.evidence import Host

if TYPE_CHECKING:
    from spawner_limits.clients.own_containers import Engine


def host_of(engine: Engine) -> Host:
    """As it is now. OSError where /proc can't be read."""
    memory = meminfo()
    return Host(
        cores=os.cpu_count() or 1,
        memory_bytes=memory["MemTotal"],
        swap_bytes=memory["SwapTotal"],
        kernel=platform.release(),
        engine=f"Docker {engine.info.get('ServerVersion', '?')}, cgroup v{engine.cgroup_version}, "
        f"{engine.cgroup_driver} driver",
    )
