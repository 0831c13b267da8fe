"""CPU time that the machine below took from this host: the `steal` of /proc/stat, proc_stat(5). Decides nothing."""

from __future__ import annotations

import os
from pathlib import Path

_STEAL = 8
"""field of the first line, counted from its name"""


def steal_ns(root: Path = Path("/")) -> int | None:
    """Of all CPUs since boot, in nanoseconds and in steps of a tick; `None` where it can't be read."""
    try:
        fields = (root / "proc" / "stat").read_text(encoding="ascii").partition("\n")[0].split()
        return int(fields[_STEAL]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None
