"""Limits in Swarm's words: the `Resources` of a service's task template, and what the Linux kernel must show for them.

Sources: moby `daemon/cluster/executor/container/container.go` `resources()` (which parts of a task become a
container's limits: no reservation does), `daemon/cluster/convert/service.go`, `api/docs/CHANGELOG.md`. What the engine
then makes of a container is the same as in `docker`.

Swap: a task with `Limits.MemoryBytes` alone may swap as much again (`adaptContainerSettings`, `daemon/daemon_unix.go`).
`Resources.SwapBytes`, from API 1.52 (Docker Engine 29) on, says how much; an older engine drops it without a word. So
it is sent unless the API is known to be older, and the expectation finds an engine that dropped it. Where the API is
known to be older, `memswap_limit` is refused, unless it is what the engine does anyway, or no node has swap.

SwarmSpawner passes its traits through the docker SDK's `Resources`, which knows neither `Pids` nor `SwapBytes`; a plain
dict in `extra_task_spec["resources"]` takes its place (`docker/types/services.py`, SDK 7.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spawner_limits.engines import enforcement
from spawner_limits.engines.docker import NO_SWAPPINESS, UNLIMITED
from spawner_limits.engines.enforcement import (
    DEFAULT_PERIOD_US,
    Enforcement,
    expectation,
    is_given,
    nested,
    pages,
    period_texts,
    quota_texts,
    swap_texts,
)
from spawner_limits.limits import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner_limits.engines.enforcement import CgroupVersion, Texts
    from spawner_limits.limits import Limits

NANO = 10**9
"""`NanoCPUs` in a core"""
Api = tuple[int, int]
"""a version of the Docker Engine's API"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(enforcement.Row):
    """How one field reaches the Linux kernel through Swarm; `option` is a path in `Resources`."""

    since: Api | None = None
    """the first API that has it, where some engines in use are older"""


_SCHEDULER = "for the scheduler, which finds a node with that much unreserved; the Linux kernel is told nothing"

TABLE: tuple[Row, ...] = (
    Row(field="mem_limit", option="Limits.MemoryBytes", v1=("memory.limit_in_bytes",), v2=("memory.max",)),
    Row(
        field="memswap_limit",
        option="SwapBytes",
        since=(1, 52),
        v1=("memory.memsw.limit_in_bytes",),
        v2=("memory.swap.max",),
        note="less `mem_limit`; older engines allow as much swap as memory, so it is refused there",
    ),
    Row(
        field="mem_swappiness",
        option="MemorySwappiness",
        since=(1, 52),
        v1=("memory.swappiness",),
        note="refused on cgroup v2, which has none",
    ),
    Row(field="mem_guarantee", option="Reservations.MemoryBytes", note=_SCHEDULER),
    Row(
        field="cpu_limit",
        option="Limits.NanoCPUs",
        v1=("cpu.cfs_quota_us", "cpu.cfs_period_us"),
        v2=("cpu.max",),
        note="cores × 10⁹; a node with fewer cores rejects the task",
    ),
    Row(field="cpu_guarantee", option="Reservations.NanoCPUs", note=_SCHEDULER),
    Row(
        field="cpu_period",
        option=None,
        v1=("cpu.cfs_period_us",),
        v2=("cpu.max",),
        note="always 100000; another one is refused",
    ),
    Row(field="cpu_shares", option=None, note="refused: Swarm has none"),
    Row(field="cpuset_cpus", option=None, note="refused: Swarm has none"),
    Row(field="pids_limit", option="Limits.Pids", since=(1, 41), v1=("pids.max",), v2=("pids.max",)),
)
assert {row.field for row in TABLE} == set(FIELDS)  # noqa: S101  no field is forgotten


def translate(
    limits: Limits,
    *,
    version: CgroupVersion | None = None,
    api: Api | None = None,
    swap_bytes: int | None = None,
    page_size_bytes: int = 4096,
) -> Enforcement:
    """`limits` in Swarm's words; `ask` is the `Resources` of a task template.

    `version` of cgroups, `api` of the engines, `swap_bytes`, the most swap that a node has: each where it is known.
    """
    cannot = dict(_cannot(limits, version, api, swap_bytes))
    rows = [row for row in TABLE if is_given(limits, row.field) and row.field not in cannot]
    told = {row.option: _told(limits, row.field) for row in rows if row.option and not _too_new(row, api)}
    ask = nested(told)
    if "MemorySwappiness" in ask:
        ask.setdefault("Limits", {})  # resources() reads it only behind `if r.Limits == nil { return }`
    expect = (expectation(row, getattr(limits, row.field), _texts(limits, row, api, page_size_bytes)) for row in rows)
    return Enforcement(ask=ask, expect=tuple(expect), cannot=cannot)


def _too_new(row: Row, api: Api | None) -> bool:
    return api is not None and row.since is not None and api < row.since


# -- what is refused ---------------------------------------------------------------------------------------------

_NEVER = {
    "cpu_shares": "Swarm has no weights; take it out of the policy",
    "cpuset_cpus": "Swarm can't bind a service to CPUs; take it out of the policy",
}
_TOO_OLD = {
    "memswap_limit": "before Docker Engine 29 (API 1.52) Swarm can't limit swap, and the engine allows as much swap as "
    "memory; upgrade, or turn swap off on the nodes",
    "mem_swappiness": "before Docker Engine 29 (API 1.52) Swarm has no swappiness; take it out of the policy",
    "pids_limit": "before Docker Engine 20.10 (API 1.41) Swarm can't limit processes; upgrade",
}
_SWAP_ALONE = "Swarm limits swap only together with memory; give mem_limit too"
_PERIOD = "Swarm counts cores over 100000 µs and no other period; take it out of the policy"


def _cannot(
    limits: Limits, version: CgroupVersion | None, api: Api | None, swap_bytes: int | None
) -> Iterator[tuple[str, str]]:
    for row in TABLE:
        match row.field:
            case _ if not is_given(limits, row.field):
                continue
            case "memswap_limit" if limits.mem_limit is None:
                yield row.field, _SWAP_ALONE
            case "memswap_limit" if _comes_anyway(limits, swap_bytes):
                continue
            case "mem_swappiness" if version == 2:  # noqa: PLR2004
                yield row.field, NO_SWAPPINESS
            case "cpu_period" if limits.cpu_period != DEFAULT_PERIOD_US:
                yield row.field, _PERIOD
            case field if field in _NEVER:
                yield field, _NEVER[field]
            case field if _too_new(row, api):
                yield field, _TOO_OLD[field]


def _comes_anyway(limits: Limits, swap_bytes: int | None) -> bool:
    """Whether memory and swap stay within the limit though the engine allows twice the memory."""
    return swap_bytes == 0 or (limits.mem_limit is not None and limits.memswap_limit == 2 * limits.mem_limit)


# -- what is said, and what it becomes ---------------------------------------------------------------------------


def _told(limits: Limits, field: str) -> int:
    value: Any = getattr(limits, field)
    match field:
        case "memswap_limit":
            return UNLIMITED if value is None else int(value - (limits.mem_limit or 0))
        case "cpu_limit" | "cpu_guarantee":
            return round(float(value) * NANO)
        case _:
            return int(value)


def _texts(limits: Limits, row: Row, api: Api | None, page: int) -> tuple[Texts, Texts]:
    """What a field's v1 files may say, and its v2 files."""
    value: Any = getattr(limits, row.field)
    match row.field:
        case "mem_limit":
            return (pages(value, page),), (pages(value, page),)
        case "memswap_limit":
            mem_limit = int(limits.mem_limit or 0)
            return swap_texts(2 * mem_limit if _too_new(row, api) else value, mem_limit, page)
        case "cpu_limit":
            return quota_texts(_quota_us(value), DEFAULT_PERIOD_US)
        case "cpu_period":
            return period_texts(None if limits.cpu_limit is None else _quota_us(limits.cpu_limit), value)
        case _:  # a reservation has no files
            return ((str(value),),), ((str(value),),)


def _quota_us(cores: float) -> int:
    # getCPUResources(), moby daemon/daemon_unix.go: whole numbers, cut
    return round(cores * NANO) * DEFAULT_PERIOD_US // NANO
