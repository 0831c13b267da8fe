"""Which fields must fit each other. `parse` refuses a rule that breaks this; `resolve` clamps what several make.

Facts: moby daemon/daemon_unix.go, `verifyPlatformContainerResources`, and the Linux kernel's kernel/sched/core.c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from spawner_limits.limits import Value

MIN_QUOTA_US = 1_000
"""microseconds: the least quota that the Linux kernel takes (`min_cfs_quota_period`)"""
QUOTA = "cpu_limit × cpu_period is the quota, and the Linux kernel takes none below 1000 µs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """`low` may not be above `high`, where both are given."""

    low: str
    high: str
    why: str


NEVER_ABOVE = (
    # in this order: what clamps mem_limit comes before what mem_limit clamps
    Relation(low="mem_limit", high="memswap_limit", why="memswap_limit counts memory and swap together"),
    Relation(low="mem_guarantee", high="mem_limit", why="no more can be guaranteed than is allowed"),
    Relation(low="cpu_guarantee", high="cpu_limit", why="no more can be guaranteed than is allowed"),
)


def above(low: Value | None, high: Value | None) -> bool:
    """Whether `low` is more than `high`; `None` is unlimited. Both are numbers of one unit."""
    if low is None or high is None:
        return low is None and high is not None
    return cast("float", low) > cast("float", high)


def least_period_us(cores: float) -> int:
    """The least whole period, in microseconds, in which `cores` come to a quota that the Linux kernel takes."""
    period = math.ceil(MIN_QUOTA_US / cores)
    # a float's last digit can leave the product just below
    return period if cores * period >= MIN_QUOTA_US else period + 1


def too_short(cores: Value | None, period_us: Value | None) -> int | None:
    """The least period for `cores` when `period_us` is below it, else `None`. Without a limit no quota is set."""
    if cores is None or period_us is None or float(cores) * float(period_us) >= MIN_QUOTA_US:
        return None
    return least_period_us(float(cores))
