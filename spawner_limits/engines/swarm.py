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
    Node,
    expectations,
    forgotten,
    nested,
    never,
    options,
    period_texts,
    quota_texts,
    refusals,
    swap_texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner_limits.engines.enforcement import Api, CgroupVersion, Texts
    from spawner_limits.limits import Limits

NANO = 10**9
"""`NanoCPUs` in a core"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(enforcement.Row):
    """How one field reaches the Linux kernel through Swarm; `option` is a path in `Resources`."""

    since: Api | None = None
    """the first API that has it, where some engines in use are older"""


_PIDS_SINCE = (1, 41)
_SWAP_SINCE = (1, 52)


def _is_older(node: Node, since: Api | None) -> bool:
    return node.api is not None and since is not None and node.api < since


def _before(since: Api, reason: str) -> Callable[[Limits, Node], str]:
    return lambda _limits, node: reason if _is_older(node, since) else ""


# -- swap: an older engine allows as much as memory -----------------------------------------------------------------


def _swap_refusal(limits: Limits, node: Node) -> str:
    if limits.mem_limit is None:
        return "Swarm limits swap only together with memory; give mem_limit too"
    # it may be what the engine does anyway
    if not _is_older(node, _SWAP_SINCE) or node.swap_bytes == 0 or limits.memswap_limit == 2 * limits.mem_limit:
        return ""
    return (
        "before Docker Engine 29 (API 1.52) Swarm can't limit swap, and the engine allows as much swap as memory; "
        "upgrade, or turn swap off on the nodes"
    )


def _swap_bytes(limits: Limits, _node: Node) -> int | None:
    if limits.mem_limit is None:
        return None
    return UNLIMITED if limits.memswap_limit is None else limits.memswap_limit - limits.mem_limit


def _swap_texts(limits: Limits, node: Node) -> tuple[Texts, Texts]:
    memory = limits.mem_limit or 0
    return swap_texts(
        2 * memory if _is_older(node, _SWAP_SINCE) else limits.memswap_limit, memory, node.page_size_bytes
    )


def _swappiness_refusal(limits: Limits, node: Node) -> str:
    return NO_SWAPPINESS if node.version == 2 else _NO_SWAPPINESS_YET(limits, node)  # noqa: PLR2004


_NO_SWAPPINESS_YET = _before(
    _SWAP_SINCE, "before Docker Engine 29 (API 1.52) Swarm has no swappiness; take it out of the policy"
)

# -- CPU ----------------------------------------------------------------------------------------------------------


def _nano(cores: float | None) -> int | None:
    return None if cores is None else round(cores * NANO)


def _quota_us(limits: Limits) -> int | None:
    # getCPUResources(), moby daemon/daemon_unix.go: whole numbers, cut
    nano = _nano(limits.cpu_limit)
    return None if nano is None else nano * DEFAULT_PERIOD_US // NANO


def _period_refusal(limits: Limits, _node: Node) -> str:
    if limits.cpu_period == DEFAULT_PERIOD_US:
        return ""
    return "Swarm counts cores over 100000 µs and no other period; take it out of the policy"


_SCHEDULER = "for the scheduler, which finds a node with that much unreserved; the Linux kernel is told nothing"

TABLE: tuple[Row, ...] = (
    Row(field="mem_limit", option="Limits.MemoryBytes", v1=("memory.limit_in_bytes",), v2=("memory.max",)),
    Row(
        field="memswap_limit",
        option="SwapBytes",
        since=_SWAP_SINCE,
        v1=("memory.memsw.limit_in_bytes",),
        v2=("memory.swap.max",),
        cannot=_swap_refusal,
        asks=_swap_bytes,
        texts=_swap_texts,
        note="less `mem_limit`; older engines allow as much swap as memory, so it is refused there",
    ),
    Row(
        field="mem_swappiness",
        option="MemorySwappiness",
        since=_SWAP_SINCE,
        v1=("memory.swappiness",),
        cannot=_swappiness_refusal,
        note="refused on cgroup v2, which has none",
    ),
    Row(field="mem_guarantee", option="Reservations.MemoryBytes", note=_SCHEDULER),
    Row(
        field="cpu_limit",
        option="Limits.NanoCPUs",
        v1=("cpu.cfs_quota_us", "cpu.cfs_period_us"),
        v2=("cpu.max",),
        asks=lambda limits, _node: _nano(limits.cpu_limit),
        texts=lambda limits, _node: quota_texts(_quota_us(limits) or 0, DEFAULT_PERIOD_US),
        note="cores × 10⁹; a node with fewer cores rejects the task",
    ),
    Row(
        field="cpu_guarantee",
        option="Reservations.NanoCPUs",
        asks=lambda limits, _node: _nano(limits.cpu_guarantee),
        note=_SCHEDULER,
    ),
    Row(
        field="cpu_period",
        option=None,
        v1=("cpu.cfs_period_us",),
        v2=("cpu.max",),
        cannot=_period_refusal,
        texts=lambda limits, _node: period_texts(_quota_us(limits), DEFAULT_PERIOD_US),
        note="always 100000; another one is refused",
    ),
    Row(
        field="cpu_shares",
        option=None,
        cannot=never("Swarm has no weights; take it out of the policy"),
        note="refused: Swarm has none",
    ),
    Row(
        field="cpuset_cpus",
        option=None,
        cannot=never("Swarm can't bind a service to CPUs; take it out of the policy"),
        note="refused: Swarm has none",
    ),
    Row(
        field="pids_limit",
        option="Limits.Pids",
        since=_PIDS_SINCE,
        v1=("pids.max",),
        v2=("pids.max",),
        cannot=_before(_PIDS_SINCE, "before Docker Engine 20.10 (API 1.41) Swarm can't limit processes; upgrade"),
    ),
)
assert not forgotten(__name__, TABLE), forgotten(__name__, TABLE)  # noqa: S101


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
    node = Node(version=version, api=api, swap_bytes=swap_bytes, page_size_bytes=page_size_bytes)
    cannot = refusals(TABLE, limits, node)
    rows = [row for row in TABLE if row.field not in cannot]
    ask: dict[str, Any] = nested(options((row for row in rows if not _is_older(node, row.since)), limits, node))
    if "MemorySwappiness" in ask:
        ask.setdefault("Limits", {})  # resources() reads it only behind `if r.Limits == nil { return }`
    return Enforcement(ask=ask, expect=expectations(rows, limits, node), cannot=cannot)
