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
from typing import TYPE_CHECKING, Any

from spawner_limits.engines.enforcement import (
    DEFAULT_PERIOD_US,
    Enforcement,
    Row,
    expectation,
    is_given,
    nested,
    pages,
    period_texts,
    quota_texts,
    swap_texts,
    weights,
)
from spawner_limits.limits import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner_limits.engines.enforcement import CgroupVersion, Texts
    from spawner_limits.limits import Limits

MILLI = 1_000
"""thousandths of a core, the least that Kubernetes counts"""
SHARES_PER_CORE = 1_024
MIN_SHARES, MAX_SHARES = 2, 262_144

TABLE: tuple[Row, ...] = (
    Row(field="mem_limit", option="limits.memory", v1=("memory.limit_in_bytes",), v2=("memory.max",)),
    Row(
        field="memswap_limit",
        option=None,
        v1=("memory.memsw.limit_in_bytes",),
        v2=("memory.swap.max",),
        note="not sent: no swap is the kubelet's default; refused where it differs from `mem_limit`",
    ),
    Row(field="mem_swappiness", option=None, note="refused: Kubernetes has none"),
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
        note="thousandths of a core; the weight only without `cpu_guarantee`: the request then equals the limit",
    ),
    Row(
        field="cpu_guarantee",
        option="requests.cpu",
        v1=("cpu.shares",),
        v2=("cpu.weight",),
        note="thousandths of a core; 1024 shares a core",
    ),
    Row(
        field="cpu_period",
        option=None,
        v1=("cpu.cfs_period_us",),
        v2=("cpu.max",),
        note="100000, the kubelet's `cpuCFSQuotaPeriod`; another one is refused",
    ),
    Row(field="cpu_shares", option=None, note="refused: the weight comes from `cpu_guarantee`"),
    Row(field="cpuset_cpus", option=None, note="refused: the kubelet's CPU manager decides"),
    Row(field="pids_limit", option=None, note="refused: the kubelet's `podPidsLimit` decides"),
)
assert {row.field for row in TABLE} == set(FIELDS)  # noqa: S101  no field is forgotten


def translate(
    limits: Limits,
    *,
    version: CgroupVersion | None = None,  # noqa: ARG001  as the other engines have it; nothing depends on it here
    page_size_bytes: int = 4096,
) -> Enforcement:
    """`limits` in Kubernetes' words; `ask` is a container's `resources`. `version`: the node's version of cgroups."""
    cannot = dict(_cannot(limits))
    rows = [row for row in TABLE if is_given(limits, row.field) and row.field not in cannot]
    ask = nested({row.option: _told(limits, row.field) for row in rows if row.option})
    held = {row.field for row in rows}
    expect = (
        expectation(row, getattr(limits, row.field), _texts(limits, row.field, held, page_size_bytes)) for row in rows
    )
    return Enforcement(ask=ask, expect=tuple(expect), cannot=cannot)


# -- what is refused ---------------------------------------------------------------------------------------------

_NEVER = {
    "mem_swappiness": "a pod can't set it; take it out of the policy",
    "cpu_shares": "Kubernetes takes the weight from the request; give cpu_guarantee instead",
    "cpuset_cpus": "the kubelet's CPU manager binds pods to CPUs, not the pod; take it out of the policy",
    "pids_limit": "it is a setting of the node (the kubelet's podPidsLimit), not of the pod; set it there",
}
_SWAP = "a pod can't ask for swap, the kubelet decides (memorySwap.swapBehavior); make it equal to mem_limit"
_PERIOD = "it is a setting of the node (the kubelet's cpuCFSQuotaPeriod), not of the pod; take it out of the policy"
_THOUSANDTHS = "Kubernetes counts thousandths of a core, and would round it up; write at most three decimals"


def _cannot(limits: Limits) -> Iterator[tuple[str, str]]:
    for row in TABLE:
        value: Any = getattr(limits, row.field)
        match row.field:
            case _ if not is_given(limits, row.field):
                continue
            case "memswap_limit" if value != limits.mem_limit:
                yield row.field, _SWAP
            case "cpu_period" if value != DEFAULT_PERIOD_US:
                yield row.field, _PERIOD
            case "cpu_limit" | "cpu_guarantee" if _thousandths(value) % 1:
                yield row.field, _THOUSANDTHS
            case field if field in _NEVER:
                yield field, _NEVER[field]


# -- what is said, and what it becomes ---------------------------------------------------------------------------


def _thousandths(cores: float) -> Decimal:
    # as the policy wrote it: the float 1.001 × 1000 is 1000.9999999999999
    return Decimal(str(cores)) * MILLI


def _told(limits: Limits, field: str) -> int | str:
    value: Any = getattr(limits, field)
    if field in ("cpu_limit", "cpu_guarantee"):
        # the form that Kubernetes gives back: "1500m" for 1.5
        milli = int(_thousandths(value))
        return f"{milli}m" if milli % MILLI else str(milli // MILLI)
    return int(value)


def _texts(limits: Limits, field: str, held: set[str], page: int) -> tuple[Texts, Texts]:
    """What a field's v1 files may say, and its v2 files; `held`: the fields that are not refused."""
    value: Any = getattr(limits, field)
    match field:
        case "mem_limit":
            return (pages(value, page),), (pages(value, page),)
        case "memswap_limit":
            return swap_texts(value, value, page)
        case "cpu_limit":
            (v1, v2), (shares, weight) = quota_texts(_quota_us(value), DEFAULT_PERIOD_US), _weight_texts(value)
            return (v1, v2) if limits.cpu_guarantee is not None else ((*v1, *shares), (*v2, *weight))
        case "cpu_guarantee":
            return _weight_texts(value)
        case "cpu_period":
            quota_us = _quota_us(limits.cpu_limit) if limits.cpu_limit is not None and "cpu_limit" in held else None
            return period_texts(quota_us, value)
        case _:  # a request for memory has no files
            return (), ()


def _quota_us(cores: float) -> int:
    """As the kubelet's `milliCPUToQuota`."""
    return int(_thousandths(cores)) * DEFAULT_PERIOD_US // MILLI


def _weight_texts(cores: float) -> tuple[Texts, Texts]:
    """As the kubelet's `MilliCPUToShares`."""
    shares = min(max(int(_thousandths(cores)) * SHARES_PER_CORE // MILLI, MIN_SHARES), MAX_SHARES)
    return ((str(shares),),), (weights(shares),)
