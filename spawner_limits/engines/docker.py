"""Limits in Docker's words. One table says for each field what DockerSpawner is told and what the kernel must show.

Sources: moby `daemon/daemon_unix.go` (what becomes of a host config), opencontainers/cgroups (what it writes).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from spawner_limits import units
from spawner_limits.engines import enforcement
from spawner_limits.engines.enforcement import (
    DEFAULT_PERIOD_US,
    Enforcement,
    expectation,
    pages,
    period_texts,
    quota_texts,
    swap_texts,
    weights,
)
from spawner_limits.limits import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.engines.enforcement import CgroupVersion, Expectation, Texts
    from spawner_limits.limits import Limits, Value

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(enforcement.Row):
    """How one field reaches the Linux kernel through Docker; `option` is a key of `extra_host_config`."""

    inspect: str | None
    """key of `HostConfig` in `docker inspect`"""


TABLE: tuple[Row, ...] = (
    Row(field="mem_limit", option="mem_limit", inspect="Memory", v1=("memory.limit_in_bytes",), v2=("memory.max",)),
    Row(
        field="memswap_limit",
        option="memswap_limit",
        inspect="MemorySwap",
        v1=("memory.memsw.limit_in_bytes",),
        v2=("memory.swap.max",),
        note="no swap is asked as `mem_limit` + 1 byte, see below; cgroup v2 counts swap alone",
    ),
    Row(
        field="mem_swappiness",
        option="mem_swappiness",
        inspect="MemorySwappiness",
        v1=("memory.swappiness",),
        note="refused on cgroup v2, which has none",
    ),
    Row(
        field="mem_guarantee",
        option="mem_reservation",
        inspect="MemoryReservation",
        v1=("memory.soft_limit_in_bytes",),
        v2=("memory.low",),
    ),
    Row(
        field="cpu_limit",
        option="cpu_quota",
        inspect="CpuQuota",
        v1=("cpu.cfs_quota_us", "cpu.cfs_period_us"),
        v2=("cpu.max",),
        note="cores × `cpu_period`",
    ),
    Row(field="cpu_guarantee", option=None, inspect=None, note="refused: Docker has none; give `cpu_shares`"),
    Row(
        field="cpu_period",
        option="cpu_period",
        inspect="CpuPeriod",
        v1=("cpu.cfs_period_us",),
        v2=("cpu.max",),
        note="100000 unless the policy says otherwise; only with `cpu_limit`",
    ),
    Row(field="cpu_shares", option="cpu_shares", inspect="CpuShares", v1=("cpu.shares",), v2=("cpu.weight",)),
    Row(field="cpuset_cpus", option="cpuset_cpus", inspect="CpusetCpus", v1=("cpuset.cpus",), v2=("cpuset.cpus",)),
    Row(field="pids_limit", option="pids_limit", inspect="PidsLimit", v1=("pids.max",), v2=("pids.max",)),
)
assert {row.field for row in TABLE} == set(FIELDS)  # noqa: S101  no field is forgotten

_ROWS = {row.field: row for row in TABLE}
INSPECT = {row.option: row.inspect for row in TABLE if row.option and row.inspect}
"""option of `extra_host_config` → key in `docker inspect`"""
RIVALS = {"cpu_quota": "NanoCpus"}
"""option → another key of the host config that would set the same limit"""


def translate(
    limits: Limits, *, version: CgroupVersion | None = None, page_size_bytes: int = 4096, driver: str | None = None
) -> Enforcement:
    """`limits` in Docker's words. `version`, `driver`: of the host's cgroups, where they are known."""
    cannot = _cannot(limits, version)
    held = replace(limits, **dict.fromkeys(cannot))
    ask = _ask(held, page_size_bytes)
    return Enforcement(ask=ask, expect=_expect(held, ask, page_size_bytes, driver), cannot=cannot)


# -- limits that a running container was given, and nobody gives any longer -------------------------------------------

_ORDINARY_SHARES = 1024
_ORDINARY_WEIGHT = "100"
_ORDINARY_SWAPPINESS = 60
_UNSET = (None, 0, UNLIMITED, "")
"""what `docker inspect` says of an option that was never given, or was given up"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """How a running container is freed of one field's limit."""

    field: str
    told: Mapping[str, Any]
    """option → what the engine is told in its place; empty: it can't be told while the container lives"""
    texts: tuple[Texts, Texts]
    """what the field's v1 files and its v2 files then say"""
    value: Value | None = None
    """what then counts; `None`: no limit"""


def _releases(cpus: str, page: int) -> tuple[Release, ...]:
    """An update takes 0 for "unchanged"; -1 is what lifts a limit."""
    endless: tuple[Texts, Texts] = ((pages((1 << 63) - 1, page),), (("max",),))
    shares, swappiness = str(_ORDINARY_SHARES), str(_ORDINARY_SWAPPINESS)
    return (
        Release(field="mem_limit", told={"mem_limit": UNLIMITED, "memswap_limit": UNLIMITED}, texts=endless),
        Release(field="memswap_limit", told={"mem_limit": UNLIMITED, "memswap_limit": UNLIMITED}, texts=endless),
        Release(field="mem_swappiness", told={}, texts=(((swappiness,),), ()), value=_ORDINARY_SWAPPINESS),
        # -1 would become memory.low = max on v2, which keeps everything
        Release(field="mem_guarantee", told={}, texts=(endless[0], (("0",),))),
        Release(
            field="cpu_limit",
            told={"cpu_quota": UNLIMITED, "cpu_period": DEFAULT_PERIOD_US},
            texts=((("-1",), (str(DEFAULT_PERIOD_US),)), period_texts(None, DEFAULT_PERIOD_US)[1]),
        ),
        Release(
            field="cpu_shares",
            told={"cpu_shares": _ORDINARY_SHARES},
            texts=(((shares,),), ((*weights(_ORDINARY_SHARES), _ORDINARY_WEIGHT),)),
            value=_ORDINARY_SHARES,
        ),
        Release(field="cpuset_cpus", told={"cpuset_cpus": cpus}, texts=(((cpus,),), ((cpus,),)), value=cpus),
        Release(field="pids_limit", told={"pids_limit": UNLIMITED}, texts=((("max",),), (("max",),))),
    )


def released(given: Enforcement, asked: Mapping[str, Any], *, cpus: str, page_size_bytes: int) -> Enforcement:
    """`given`, and what frees a container of the limits that it was given beside that.

    `asked`: its `HostConfig`. `cpus`: all of the host's. What the engine can't be told is only in `expect`.
    """
    surplus = [
        one
        for one in _releases(cpus, page_size_bytes)
        if (row := _ROWS[one.field]).option not in given.ask and asked.get(str(row.inspect)) not in _UNSET
    ]
    ask = {option: value for one in surplus for option, value in one.told.items()}
    expect = (expectation(_ROWS[one.field], one.value, one.texts) for one in surplus)
    return replace(given, ask={**given.ask, **ask}, expect=(*given.expect, *expect))


def host_config(ask: Mapping[str, Any]) -> dict[str, Any]:
    """What `docker inspect` must say under `HostConfig` for what was asked."""
    return {INSPECT[option]: value for option, value in ask.items()}


def allows_no_swap(asked: Mapping[str, Any]) -> bool:
    """Whether a host config gives no swap as it is asked here, so that it stays."""
    return asked.get(_MEMORY) not in _UNSET and asked.get(_SWAP) == asked[_MEMORY] + NO_SWAP_BYTES


def may_get_swap(asked: Mapping[str, Any]) -> bool:
    """Whether a host config gives no swap in the way that systemd forgets: as equal to memory."""
    return asked.get(_MEMORY) not in _UNSET and asked.get(_SWAP) == asked[_MEMORY]


def disagreements(ask: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a host config in the API's form differs from what was asked; one sentence each, empty when they agree."""
    wanted = host_config(ask)
    told = [disagreement(key, found, wanted) for key, value in wanted.items() if found.get(key) != value]
    rivals = [(RIVALS[option], found.get(RIVALS[option])) for option in ask if option in RIVALS]
    return (
        *told,
        *(f"{key} is {seen!r}, but the policy limits it by quota and period" for key, seen in rivals if seen),
    )


_MEMORY, _SWAP = (str(_ROWS[field].inspect) for field in ("mem_limit", "memswap_limit"))
_SIZES = {row.inspect for row in TABLE if row.field in ("mem_limit", "memswap_limit", "mem_guarantee")}


def disagreement(key: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """One key of a host config that is not as asked, in a sentence: sizes in the units that people read.

    `found`, `wanted`: whole host configs, for what one key means may depend on another.
    """
    texts = [_told(key, config) for config in (found, wanted)]
    if texts[0] == texts[1]:  # a difference that rounding hides
        texts = [repr(found.get(key)), repr(wanted[key])]
    return f"{key} is {texts[0]}, the policy says {texts[1]}"


def _told(key: str, config: Mapping[str, Any]) -> str:
    value = config.get(key)
    if value is None:
        return "not set"
    if key not in _SIZES or value <= 0:
        return repr(value)
    if key == _SWAP and allows_no_swap(config):
        return f"{units.format_size(value - NO_SWAP_BYTES)} + {NO_SWAP_BYTES} byte (no swap)"
    return units.format_size(value)


def _ask(limits: Limits, page: int) -> dict[str, Any]:
    ask: dict[str, Any] = {}
    if limits.mem_limit is not None:
        ask |= _ask_memory(limits.mem_limit, limits.memswap_limit, page)
    if limits.cpu_limit is not None:
        ask["cpu_period"] = limits.cpu_period or DEFAULT_PERIOD_US
        ask["cpu_quota"] = round(limits.cpu_limit * ask["cpu_period"])
    same = ("mem_swappiness", "mem_guarantee", "cpu_shares", "cpuset_cpus", "pids_limit")
    given = {field: getattr(limits, field) for field in same}
    ask.update({str(_ROWS[field].option): value for field, value in given.items() if value is not None})
    return ask


def _ask_memory(mem_bytes: int, memswap_bytes: int | None, page: int) -> dict[str, int]:
    """Both are always asked for: without the second Docker would allow as much swap again."""
    if memswap_bytes is None:
        return {"mem_limit": mem_bytes, "memswap_limit": UNLIMITED}
    if memswap_bytes != mem_bytes:
        return {"mem_limit": mem_bytes, "memswap_limit": memswap_bytes}
    # in whole pages, or the byte would begin another one on v1
    whole = mem_bytes // page * page
    return {"mem_limit": whole, "memswap_limit": whole + NO_SWAP_BYTES}


def _cannot(limits: Limits, version: CgroupVersion | None) -> dict[str, str]:
    cannot = {}
    if limits.cpu_guarantee is not None:
        cannot["cpu_guarantee"] = "Docker can't keep cores free for a container; give it cpu_shares instead"
    if limits.mem_swappiness is not None and version == 2:  # noqa: PLR2004
        cannot["mem_swappiness"] = NO_SWAPPINESS
    return cannot


def _expect(limits: Limits, ask: Mapping[str, Any], page: int, driver: str | None) -> tuple[Expectation, ...]:
    """In the table's order: what each asked field must look like in the Linux kernel's files."""
    # a period that the policy does not name is only half of cpu_limit
    rows = (row for row in TABLE if row.option in ask and (row.field != "cpu_period" or limits.cpu_period is not None))
    return tuple(
        expectation(row, getattr(limits, row.field), _texts(str(row.option), ask, page, driver)) for row in rows
    )


def _texts(option: str, ask: Mapping[str, Any], page: int, driver: str | None) -> tuple[Texts, Texts]:
    """What an option's v1 files may say, and its v2 files."""
    value = ask[option]
    v1: Texts = ((str(value),),)
    v2: Texts = v1
    match option:
        case "mem_limit" | "mem_reservation":
            v1 = v2 = (pages(value, page),)
        case "memswap_limit":
            v1, v2 = swap_texts(None if value == UNLIMITED else value, ask["mem_limit"], page)
        case "cpu_quota":
            v1, v2 = quota_texts(value, ask["cpu_period"], driver)
        case "cpu_period":
            v1, v2 = period_texts(ask["cpu_quota"], value, driver)
        case "cpu_shares":
            v2 = (weights(value),)
    return v1, v2
