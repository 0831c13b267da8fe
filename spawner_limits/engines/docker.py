"""Limits in Docker's words. One table has all that is known of a field: asked how, shown where, changed and undone how.

Sources: moby `daemon/daemon_unix.go` (what becomes of a host config), opencontainers/cgroups (what it writes).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from spawner_limits import units
from spawner_limits.engines import enforcement
from spawner_limits.engines.enforcement import (
    DEFAULT_PERIOD_US,
    Enforcement,
    Node,
    expectation,
    expectations,
    forgotten,
    never,
    options,
    pages,
    period_texts,
    quota_texts,
    refusals,
    swap_texts,
    weights,
)
from spawner_limits.limits import FIELDS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spawner_limits.engines.enforcement import CgroupVersion, Texts
    from spawner_limits.limits import Value

UNLIMITED = -1
"""Docker's word for no limit in `memswap_limit`"""
NO_SWAP_BYTES = 1
"""what memory and swap together are asked above memory where there is to be no swap

Asked as equal, `memory.swap.max` is 0, which runc does not hand over to systemd: MemorySwapMax stays infinity there,
and the next `systemctl daemon-reload`, or `docker update` of anything else, writes that to the kernel. A byte is handed
over, and the kernel rounds it down to no page. Source: opencontainers/cgroups#74, moby/moby#51446; measured with
Docker 20.10, 26.1 and 28.5.
"""
NO_SWAPPINESS = "cgroup v2 has no swappiness for a container, and Docker would discard it; take it out of the policy"


_ORDINARY_SHARES = 1024
_ORDINARY_WEIGHT = "100"
_ORDINARY_SWAPPINESS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Reset:
    """How a running container is freed of one field's limit. An update takes 0 for "unchanged"; -1 lifts a limit."""

    ask: Mapping[str, Any] = field(default_factory=dict)
    """option → what the engine is told in its place; empty: it can't be told while the container lives"""
    texts: tuple[Texts, Texts]
    """what the field's v1 files and its v2 files then say"""
    value: Value | None = None
    """what then counts; `None`: no limit"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(enforcement.Row):
    """How one field reaches the Linux kernel through Docker; `option` is a key of `extra_host_config`."""

    inspect: str | None
    """key of `HostConfig` in `docker inspect`"""
    live: bool = True
    """whether a running container can be given another value"""
    reset: Callable[[str, int], Reset] | None
    """for the host's CPUs and the size of its pages; `None`: it goes with another field"""
    after: str = ""
    """the field that is told at one go with it, before it: without that, it is refused or counts by the old other"""
    conflict: str = ""
    """another key of the host config that would set the same limit"""


# -- memory and swap: both are always asked for, as without the second Docker would allow as much swap again --------


def _memory(limits: Limits, node: Node) -> int | None:
    if limits.mem_limit is None or limits.memswap_limit != limits.mem_limit:
        return limits.mem_limit
    # in whole pages, or the byte would begin another one on v1
    return limits.mem_limit // node.page_size_bytes * node.page_size_bytes


def _memory_and_swap(limits: Limits, node: Node) -> int | None:
    memory = _memory(limits, node)
    if memory is None:
        return None
    if limits.memswap_limit is None:
        return UNLIMITED
    return memory + NO_SWAP_BYTES if limits.memswap_limit == limits.mem_limit else limits.memswap_limit


def _swap_texts(limits: Limits, node: Node) -> tuple[Texts, Texts]:
    return swap_texts(limits.memswap_limit, limits.mem_limit or 0, node.page_size_bytes)


def _endless(page: int) -> tuple[Texts, Texts]:
    return (pages((1 << 63) - 1, page),), (("max",),)


def _without_memory_limits(_cpus: str, page: int) -> Reset:
    return Reset(ask={"mem_limit": UNLIMITED, "memswap_limit": UNLIMITED}, texts=_endless(page))


# -- CPU: cores × period is the quota -----------------------------------------------------------------------------


def _period_us(limits: Limits, _node: Node) -> int | None:
    return None if limits.cpu_limit is None else limits.cpu_period or DEFAULT_PERIOD_US


def _quota_us(limits: Limits, node: Node) -> int | None:
    period_us = _period_us(limits, node)
    return None if limits.cpu_limit is None or period_us is None else round(limits.cpu_limit * period_us)


def _cpu_texts(limits: Limits, node: Node) -> tuple[Texts, Texts]:
    return quota_texts(_quota_us(limits, node) or 0, _period_us(limits, node) or 0, node.driver)


def _period_texts(limits: Limits, node: Node) -> tuple[Texts, Texts]:
    return period_texts(_quota_us(limits, node), _period_us(limits, node) or 0, node.driver)


TABLE: tuple[Row, ...] = (
    Row(
        field="mem_limit",
        option="mem_limit",
        inspect="Memory",
        v1=("memory.limit_in_bytes",),
        v2=("memory.max",),
        asks=_memory,
        reset=_without_memory_limits,
    ),
    Row(
        field="memswap_limit",
        option="memswap_limit",
        inspect="MemorySwap",
        v1=("memory.memsw.limit_in_bytes",),
        v2=("memory.swap.max",),
        asks=_memory_and_swap,
        texts=_swap_texts,
        reset=_without_memory_limits,
        after="mem_limit",
        note="no swap is asked as `mem_limit` + 1 byte, see below; cgroup v2 counts swap alone",
    ),
    Row(
        field="mem_swappiness",
        option="mem_swappiness",
        inspect="MemorySwappiness",
        v1=("memory.swappiness",),
        cannot=lambda _limits, node: NO_SWAPPINESS if node.version == 2 else "",  # noqa: PLR2004
        live=False,
        reset=lambda _cpus, _page: Reset(texts=(((str(_ORDINARY_SWAPPINESS),),), ()), value=_ORDINARY_SWAPPINESS),
        note="refused on cgroup v2, which has none",
    ),
    Row(
        field="mem_guarantee",
        option="mem_reservation",
        inspect="MemoryReservation",
        v1=("memory.soft_limit_in_bytes",),
        v2=("memory.low",),
        # -1 would become memory.low = max on v2, which keeps everything
        reset=lambda _cpus, page: Reset(texts=(_endless(page)[0], (("0",),))),
    ),
    Row(
        field="cpu_limit",
        option="cpu_quota",
        inspect="CpuQuota",
        v1=("cpu.cfs_quota_us", "cpu.cfs_period_us"),
        v2=("cpu.max",),
        asks=_quota_us,
        texts=_cpu_texts,
        reset=lambda _cpus, _page: Reset(
            ask={"cpu_quota": UNLIMITED, "cpu_period": DEFAULT_PERIOD_US},
            texts=((("-1",), (str(DEFAULT_PERIOD_US),)), period_texts(None, DEFAULT_PERIOD_US)[1]),
        ),
        after="cpu_period",
        conflict="NanoCpus",
        note="cores × `cpu_period`",
    ),
    Row(
        field="cpu_guarantee",
        option=None,
        inspect=None,
        cannot=never("Docker can't keep cores free for a container; give it cpu_shares instead"),
        reset=None,
        note="refused: Docker has none; give `cpu_shares`",
    ),
    Row(
        field="cpu_period",
        option="cpu_period",
        inspect="CpuPeriod",
        v1=("cpu.cfs_period_us",),
        v2=("cpu.max",),
        asks=_period_us,
        texts=_period_texts,
        reset=None,
        note="100000 unless the policy says otherwise; only with `cpu_limit`",
    ),
    Row(
        field="cpu_shares",
        option="cpu_shares",
        inspect="CpuShares",
        v1=("cpu.shares",),
        v2=("cpu.weight",),
        texts=lambda limits, _node: (((str(limits.cpu_shares),),), (weights(limits.cpu_shares or 0),)),
        reset=lambda _cpus, _page: Reset(
            ask={"cpu_shares": _ORDINARY_SHARES},
            texts=(((str(_ORDINARY_SHARES),),), ((*weights(_ORDINARY_SHARES), _ORDINARY_WEIGHT),)),
            value=_ORDINARY_SHARES,
        ),
    ),
    Row(
        field="cpuset_cpus",
        option="cpuset_cpus",
        inspect="CpusetCpus",
        v1=("cpuset.cpus",),
        v2=("cpuset.cpus",),
        reset=lambda cpus, _page: Reset(ask={"cpuset_cpus": cpus}, texts=(((cpus,),), ((cpus,),)), value=cpus),
    ),
    Row(
        field="pids_limit",
        option="pids_limit",
        inspect="PidsLimit",
        v1=("pids.max",),
        v2=("pids.max",),
        reset=lambda _cpus, _page: Reset(ask={"pids_limit": UNLIMITED}, texts=((("max",),), (("max",),))),
    ),
)
assert not forgotten(__name__, TABLE), forgotten(__name__, TABLE)  # noqa: S101

ROWS = {row.field: row for row in TABLE}
"""field → row"""
INSPECT = {row.option: row.inspect for row in TABLE if row.option and row.inspect}
"""option of `extra_host_config` → key in `docker inspect`"""
CONFLICTS = {row.option: row.conflict for row in TABLE if row.option and row.conflict}
"""option → another key of the host config that would set the same limit"""
PAIRS = tuple((row.after, row.field) for row in TABLE if row.after)
"""fields that are told to the engine at one go: half of a pair is refused, or counts by the old other"""
_ASKED_IN_ORDER = tuple(ROWS[name] for name in dict.fromkeys((*(name for pair in PAIRS for name in pair), *ROWS)))
_NEVER_FIRST = sorted(TABLE, key=lambda row: row.option is not None)
_UNSET = (None, 0, UNLIMITED, "")
"""what `docker inspect` says of an option that was never given, or was given up"""


def translate(
    limits: Limits, *, version: CgroupVersion | None = None, page_size_bytes: int = 4096, driver: str | None = None
) -> Enforcement:
    """`limits` in Docker's words. `version`, `driver`: of the host's cgroups, where they are known."""
    node = Node(version=version, page_size_bytes=page_size_bytes, driver=driver)
    cannot = refusals(_NEVER_FIRST, limits, node)
    ask = options((row for row in _ASKED_IN_ORDER if row.field not in cannot), limits, node)
    return Enforcement(
        ask=ask, expect=expectations((row for row in TABLE if row.option in ask), limits, node), cannot=cannot
    )


def refusal(field: str, value: Value, *, version: CgroupVersion | None) -> str | None:
    """Why Docker can't hold this value of this field; `None`: it can. `version`: of the host's cgroups, if known."""
    given: dict[str, Any] = {field: value}
    return ROWS[field].cannot(Limits(**given), Node(version=version)) or None


def with_resets(given: Enforcement, asked: Mapping[str, Any], *, cpus: str, page_size_bytes: int) -> Enforcement:
    """`given`, and what frees a container of limits that it was given once and nobody gives any longer.

    `asked`: its `HostConfig`. `cpus`: all of the host's. What the engine can't be told is only in `expect`.
    """
    resets = {
        row.field: row.reset(cpus, page_size_bytes)
        for row in TABLE
        if row.reset is not None and row.option not in given.ask and asked.get(str(row.inspect)) not in _UNSET
    }
    ask = {option: value for reset in resets.values() for option, value in reset.ask.items()}
    expect = (expectation(ROWS[name], reset.value, reset.texts) for name, reset in resets.items())
    return replace(given, ask={**given.ask, **ask}, expect=(*given.expect, *expect))


def host_config(ask: Mapping[str, Any]) -> dict[str, Any]:
    """What `docker inspect` must say under `HostConfig` for what was asked."""
    return {INSPECT[option]: value for option, value in ask.items()}


_MEMORY, _SWAP = (str(ROWS[name].inspect) for name in ("mem_limit", "memswap_limit"))
_SIZES = {row.inspect for row in TABLE if FIELDS[row.field].unit == "bytes"}


def allows_no_swap(asked: Mapping[str, Any]) -> bool:
    """Whether a host config gives no swap as it is asked here, so that it stays."""
    return asked.get(_MEMORY) not in _UNSET and asked.get(_SWAP) == asked[_MEMORY] + NO_SWAP_BYTES


def may_get_swap(asked: Mapping[str, Any]) -> bool:
    """Whether a host config gives no swap in the way that systemd forgets: as equal to memory."""
    return asked.get(_MEMORY) not in _UNSET and asked.get(_SWAP) == asked[_MEMORY]


def mismatches(ask: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a host config in the API's form differs from what was asked; one sentence each, empty when they agree."""
    wanted = host_config(ask)
    conflicts = {key: found.get(key) for option, key in CONFLICTS.items() if option in ask}
    return (
        *(mismatch(key, found, wanted) for key, value in wanted.items() if found.get(key) != value),
        *(
            f"{key} is {seen!r}, but the policy limits it by quota and period"
            for key, seen in conflicts.items()
            if seen
        ),
    )


def mismatch(key: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """One key of a host config that is not as asked, in a sentence: sizes in the units that people read.

    `found`, `wanted`: whole host configs, for what one key means may depend on another.
    """
    texts = [_shown(key, config) for config in (found, wanted)]
    if texts[0] == texts[1]:  # a difference that rounding hides
        texts = [repr(found.get(key)), repr(wanted[key])]
    return f"{key} is {texts[0]}, the policy says {texts[1]}"


def _shown(key: str, config: Mapping[str, Any]) -> str:
    value = config.get(key)
    if value is None:
        return "not set"
    if key not in _SIZES or value <= 0:
        return repr(value)
    if key == _SWAP and allows_no_swap(config):
        return f"{units.format_size(value - NO_SWAP_BYTES)} + {NO_SWAP_BYTES} byte (no swap)"
    return units.format_size(value)
