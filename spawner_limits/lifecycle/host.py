"""The host that the engine and its containers are on, as far as limits are read by it. It is this one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.lifecycle.plan import Machine
from spawner_limits.units import KIB

if TYPE_CHECKING:
    from spawner_limits.engines.enforcement import CgroupVersion

_SWAP = re.compile(r"^SwapTotal: +([0-9]+) kB$", flags=re.MULTILINE)
_ONLINE = Path("sys", "devices", "system", "cpu", "online")


def machine(version: CgroupVersion, *, root: Path = Path("/")) -> Machine:
    """The host, whose engine uses that version of cgroups. OSError where /proc or /sys can't be read."""
    return Machine(
        cgroup_version=version,
        page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
        swap_bytes=swap_bytes(root=root),
        cpus=(root / _ONLINE).read_text(encoding="ascii").strip(),
    )


def swap_bytes(*, root: Path = Path("/")) -> int:
    """How much swap there is. OSError where /proc can't be read."""
    found = _SWAP.search((root / "proc" / "meminfo").read_text(encoding="ascii"))
    return int(found[1]) * KIB if found is not None else 0
