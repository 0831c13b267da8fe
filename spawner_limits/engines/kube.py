"""Limits in Kubernetes' words: the `resources` of a container in a pod, and what the Linux kernel must show for them.

Sources: kubernetes `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go` (what a container is started with),
`pkg/kubelet/kuberuntime/helpers_linux.go` and `pkg/kubelet/cm/helpers_linux.go` (cores to quota and shares),
`pkg/apis/core/v1/defaults.go` (a request that is not given equals the limit; cores are rounded up to thousandths).

Swap: a pod can't ask for any, nor for none. The kubelet gives none unless its `memorySwap.swapBehavior` is LimitedSwap,
and then too none where the request equals the limit, that is, without `mem_guarantee` (`GetContainerSwapBehavior`). So
`memswap_limit` equal to `mem_limit` is expected, though nothing is sent for it; a node that swaps all the same shows
another value. Any other `memswap_limit` is refused.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from spawner_limits.engines.enforcement import (
    DEFAULT_PERIOD_US,
    Enforcement,
    Node,
    Row,
    expectations,
    forgotten,
    nested,
    never,
    options,
    period_texts,
    quota_texts,
    refusals,
    swap_texts,
    weights,
)

if TYPE_CHECKING:
    from spawner_limits.engines.enforcement import CgroupVersion, Texts
    from spawner_limits.limits import Limits

MILLI = 1_000
"""thousandths of a core, the least that Kubernetes counts"""
SHARES_PER_CORE = 1_024
MIN_SHARES, MAX_SHARES = 2, 262_144

# -- swap -----------------------------------------------------------------------------------------------------------


def _swap_refusal(limits: Limits, _node: Node) -> str:
    if limits.memswap_limit == limits.mem_limit:
        return ""
    return "a pod can't ask for swap, the kubelet decides (memorySwap.swapBehavior); make it equal to mem_limit"


def _swap_texts(limits: Limits, node: Node) -> tuple[Texts, Texts]:
    memory = limits.mem_limit or 0
    return swap_texts(memory, memory, node.page_size_bytes)


# -- CPU ------------------------------------------------------------------------------------------------------------


def _thousandths(cores: float) -> Decimal:
    # as the policy wrote it: the float 1.001 × 1000 is 1000.9999999999999
    return Decimal(str(cores)) * MILLI


def _cores_refusal(cores: float | None) -> str:
    if cores is None or not _thousandths(cores) % 1:
        return ""
    return "Kubernetes counts thousandths of a core, and would round it up; write at most three decimals"


def _cores(cores: float | None) -> str | None:
    """The form that Kubernetes gives back: "1500m" for 1.5."""
    if cores is None:
        return None
    milli = int(_thousandths(cores))
    return f"{milli}m" if milli % MILLI else str(milli // MILLI)


def _quota_us(limits: Limits) -> int | None:
    """As the kubelet's `milliCPUToQuota`."""
    if limits.cpu_limit is None or _cores_refusal(limits.cpu_limit):
        return None
    return int(_thousandths(limits.cpu_limit)) * DEFAULT_PERIOD_US // MILLI


def _cpu_texts(limits: Limits, _node: Node) -> tuple[Texts, Texts]:
    (v1, v2), (shares, weight) = quota_texts(_quota_us(limits) or 0, DEFAULT_PERIOD_US), _weight_texts(limits.cpu_limit)
    return (v1, v2) if limits.cpu_guarantee is not None else ((*v1, *shares), (*v2, *weight))


def _weight_texts(cores: float | None) -> tuple[Texts, Texts]:
    """As the kubelet's `MilliCPUToShares`."""
    shares = min(max(int(_thousandths(cores or 0)) * SHARES_PER_CORE // MILLI, MIN_SHARES), MAX_SHARES)
    return ((str(shares),),), (weights(shares),)


def _period_refusal(limits: Limits, _node: Node) -> str:
    if limits.cpu_period == DEFAULT_PERIOD_US:
        return ""
    return "it is a setting of the node (the kubelet's cpuCFSQuotaPeriod), not of the pod; take it out of the policy"


TABLE: tuple[Row, ...] = (
    Row(field="mem_limit", option="limits.memory", v1=("memory.limit_in_bytes",), v2=("memory.max",)),
    Row(
        field="memswap_limit",
        option=None,
        v1=("memory.memsw.limit_in_bytes",),
        v2=("memory.swap.max",),
        cannot=_swap_refusal,
        texts=_swap_texts,
        note="not sent: no swap is the kubelet's default; refused where it differs from `mem_limit`",
    ),
    Row(
        field="mem_swappiness",
        option=None,
        cannot=never("a pod can't set it; take it out of the policy"),
        note="refused: Kubernetes has none",
    ),
    Row(
        field="mem_guarantee",
        option="requests.memory",
        note="for the scheduler, which finds a node with that much unrequested; the Linux kernel is told nothing",
    ),
    Row(
        field="cpu_limit",
        option="limits.cpu",
        v1=("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"),
        v2=("cpu.max", "cpu.weight"),
        cannot=lambda limits, _node: _cores_refusal(limits.cpu_limit),
        asks=lambda limits, _node: _cores(limits.cpu_limit),
        texts=_cpu_texts,
        note="thousandths of a core; the weight only without `cpu_guarantee`: the request then equals the limit",
    ),
    Row(
        field="cpu_guarantee",
        option="requests.cpu",
        v1=("cpu.shares",),
        v2=("cpu.weight",),
        cannot=lambda limits, _node: _cores_refusal(limits.cpu_guarantee),
        asks=lambda limits, _node: _cores(limits.cpu_guarantee),
        texts=lambda limits, _node: _weight_texts(limits.cpu_guarantee),
        note="thousandths of a core; 1024 shares a core",
    ),
    Row(
        field="cpu_period",
        option=None,
        cannot=_period_refusal,
        v1=("cpu.cfs_period_us",),
        v2=("cpu.max",),
        note="100000, the kubelet's `cpuCFSQuotaPeriod`; another one is refused",
        texts=lambda limits, _node: period_texts(_quota_us(limits), DEFAULT_PERIOD_US),
    ),
    Row(
        field="cpu_shares",
        option=None,
        cannot=never("Kubernetes takes the weight from the request; give cpu_guarantee instead"),
        note="refused: the weight comes from `cpu_guarantee`",
    ),
    Row(
        field="cpuset_cpus",
        option=None,
        cannot=never("the kubelet's CPU manager binds pods to CPUs, not the pod; take it out of the policy"),
        note="refused: the kubelet's CPU manager decides",
    ),
    Row(
        field="pids_limit",
        option=None,
        cannot=never("it is a setting of the node (the kubelet's podPidsLimit), not of the pod; set it there"),
        note="refused: the kubelet's `podPidsLimit` decides",
    ),
)
assert not forgotten(__name__, TABLE), forgotten(__name__, TABLE)  # noqa: S101


def translate(
    limits: Limits,
    *,
    version: CgroupVersion | None = None,
    page_size_bytes: int = 4096,
) -> Enforcement:
    """`limits` in Kubernetes' words; `ask` is a container's `resources`. `version`: the node's version of cgroups."""
    node = Node(version=version, page_size_bytes=page_size_bytes)
    cannot = refusals(TABLE, limits, node)
    rows = [row for row in TABLE if row.field not in cannot]
    return Enforcement(ask=nested(options(rows, limits, node)), expect=expectations(rows, limits, node), cannot=cannot)
