"""`Enforcement`: what an engine is told, what the Linux kernel must then show, and what this engine can't hold.

Every field of the limits is in `ask` and `expect`, or in `cannot`: none is dropped in silence.
Here is also what the engines share: a row of their tables, and how the Linux kernel writes what they set.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from spawner_limits.limits import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from spawner_limits.limits import Limits, Value

CgroupVersion = Literal[1, 2]
Api = tuple[int, int]
"""a version of the Docker Engine's API"""
Texts = tuple[tuple[str, ...], ...]
"""for each file, the texts that are right in it"""

DEFAULT_PERIOD_US = 100_000
"""the Linux kernel's own `cpu.cfs_period_us`"""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelFile:
    """One cgroup file, and the texts any of which is right in it."""

    controller: str
    name: str
    accept: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What the Linux kernel must show for one field. No files: that cgroup version has none for it."""

    field: str
    value: Value | None
    """`None`: the policy says "unlimited" where the engine has a default of its own"""
    v1: tuple[KernelFile, ...]
    v2: tuple[KernelFile, ...]

    def files(self, version: CgroupVersion) -> tuple[KernelFile, ...]:
        """The files that carry the field on that version of cgroups."""
        return self.v1 if version == 1 else self.v2


@dataclass(frozen=True, kw_only=True, slots=True)
class Enforcement:
    """One server's limits in one engine's terms."""

    ask: Mapping[str, Any]
    """what the engine is told, in its own names"""
    expect: tuple[Expectation, ...]
    cannot: Mapping[str, str]
    """field → why this engine can't hold it"""


# -- what the engines share --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """What is known of where a server will run; `None`: not known."""

    version: CgroupVersion | None = None
    """of cgroups"""
    page_size_bytes: int = 4096
    driver: str | None = None
    """of cgroups: "cgroupfs", "systemd" """
    api: Api | None = None
    """of the engines"""
    swap_bytes: int | None = None
    """the most that a node has"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """How one field reaches the Linux kernel through an engine: all that is known of it there."""

    field: str
    option: str | None
    """what the engine is told it by, in its own words; `None`: it is not told"""
    v1: tuple[str, ...] = ()
    """the Linux kernel's files that show it, on cgroup v1"""
    v2: tuple[str, ...] = ()
    note: str = ""
    """for documentation"""
    cannot: Callable[[Limits, Node], str] = lambda _limits, _node: ""
    """why this engine can't hold it; empty: it can"""
    asks: Callable[[Limits, Node], Any] | None = None
    """what the engine is told, `None` for nothing; without it the value as it is"""
    texts: Callable[[Limits, Node], tuple[Texts, Texts]] | None = None
    """what the v1 files and the v2 files may say; without it the value, a size in whole pages"""

    def ask(self, limits: Limits, node: Node) -> Any:
        """What the engine is told of it; `None`: nothing."""
        return getattr(limits, self.field) if self.asks is None else self.asks(limits, node)

    def expect(self, limits: Limits, node: Node) -> Expectation:
        """What its files must say."""
        value = getattr(limits, self.field)
        if self.texts is not None:
            return expectation(self, value, self.texts(limits, node))
        text = pages(value, node.page_size_bytes) if FIELDS[self.field].unit == "bytes" else (str(value),)
        return expectation(self, value, ((text,), (text,)))


def forgotten(engine: str, table: Iterable[Row]) -> str:
    """Which fields the table of an engine lacks, and which are none; empty: it is whole."""
    rows = {row.field for row in table}
    return "; ".join(
        (
            *(f"{engine} has no row for {name}" for name in FIELDS if name not in rows),
            *(f"limits.FIELDS has no {name}, of which {engine} has a row" for name in rows if name not in FIELDS),
        )
    )


def refusals(table: Iterable[Row], limits: Limits, node: Node) -> dict[str, str]:
    """Field → why an engine can't hold it, of those that are given."""
    reasons = {row.field: row.cannot(limits, node) for row in table if is_given(limits, row.field)}
    return {field: reason for field, reason in reasons.items() if reason}


def options(rows: Iterable[Row], limits: Limits, node: Node) -> dict[str, Any]:
    """Option → what the engine is told."""
    values = {row.option: row.ask(limits, node) for row in rows if row.option is not None}
    return {option: value for option, value in values.items() if value is not None}


def expectations(rows: Iterable[Row], limits: Limits, node: Node) -> tuple[Expectation, ...]:
    """What the Linux kernel must show, of the fields that are given."""
    return tuple(row.expect(limits, node) for row in rows if is_given(limits, row.field))


def never(reason: str) -> Callable[[Limits, Node], str]:
    """A row's `cannot`, where no value can be held."""
    return lambda _limits, _node: reason


def nested(ask: Mapping[str, Any]) -> dict[str, Any]:
    """`{"Limits.Pids": 5}` as the engine takes it: `{"Limits": {"Pids": 5}}`."""
    whole: dict[str, Any] = {}
    for option, value in ask.items():
        *rooms, key = option.split(".")
        inner = whole
        for room in rooms:
            inner = inner.setdefault(room, {})
        inner[key] = value
    return whole


def expectation(row: Row, value: Value | None, texts: tuple[Texts, Texts]) -> Expectation:
    """What the row's files must say. `texts`: for its v1 files and its v2 files."""
    v1, v2 = (tuple(map(_file, names, wanted)) for names, wanted in zip((row.v1, row.v2), texts, strict=True))
    return Expectation(field=row.field, value=value, v1=v1, v2=v2)


def _file(name: str, accept: tuple[str, ...]) -> KernelFile:
    return KernelFile(controller=name.partition(".")[0], name=name, accept=accept)


def pages(size_bytes: int, page_size_bytes: int) -> tuple[str, ...]:
    """A size in the Linux kernel's files, which counts whole pages: `page_counter_memparse()`."""
    return (str(size_bytes // page_size_bytes * page_size_bytes),)


def swap_texts(memswap_bytes: int | None, mem_bytes: int, page_size_bytes: int) -> tuple[Texts, Texts]:
    """Memory and swap together, as v1 shows it, and swap alone, as v2 does; `None` is unlimited."""
    if memswap_bytes is None:
        return (pages((1 << 63) - 1, page_size_bytes),), (("max",),)
    return (pages(memswap_bytes, page_size_bytes),), (pages(memswap_bytes - mem_bytes, page_size_bytes),)


def quota_texts(quota_us: int, period_us: int, driver: str | None = None) -> tuple[Texts, Texts]:
    """v1's quota and period, and v2's `cpu.max`. `driver`: of cgroups, where it is known."""
    v2 = period_texts(quota_us, period_us, driver)[1]
    return (quotas(quota_us, period_us, driver), (str(period_us),)), v2


def period_texts(quota_us: int | None, period_us: int, driver: str | None = None) -> tuple[Texts, Texts]:
    """v1's period, and v2's `cpu.max`; a quota of `None` is no limit. `driver`: of cgroups, where it is known."""
    v2 = ("max",) if quota_us is None else quotas(quota_us, period_us, driver)
    return ((str(period_us),),), (tuple(f"{quota} {period_us}" for quota in v2),)


def quotas(quota_us: int, period_us: int, driver: str | None = None) -> tuple[str, ...]:
    """`cpu.cfs_quota_us` for a quota: with the systemd driver it is a whole percent of a core, rounded up.

    `driver`: "cgroupfs", which writes what it is told; any other, or `None` for not known, may have rounded it.
    Source: runc cgroups/systemd/common.go.
    """
    if driver == "cgroupfs":
        return (str(quota_us),)
    step = period_us // 100
    rounded = math.ceil(quota_us / step) * step
    return (str(quota_us),) if rounded == quota_us else (str(quota_us), str(rounded))


def is_given(limits: Limits, field: str) -> bool:
    """Whether something is said of a field: unlimited swap beside limited memory is, and on purpose.

    Left out, an engine would limit it, or give none.
    """
    return getattr(limits, field) is not None or (field == "memswap_limit" and limits.mem_limit is not None)


def weights(shares: int) -> tuple[str, ...]:
    """`cpu.weight` for `cpu_shares`: by the formula before runc 1.3.2 and crun 1.23, and by theirs.

    Source: opencontainers/cgroups `utils.go` ConvertCPUSharesToCgroupV2Value.
    """
    old = 1 + (shares - 2) * 9999 // 262142
    exponent = math.log2(shares)
    new = 10_000 if shares >= 262_144 else math.ceil(10 ** ((exponent**2 + 125 * exponent) / 612 - 7 / 34))  # noqa: PLR2004
    return (str(old), str(new))


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What `cpu_shares` come to beside one sibling that was given none, where both want the same CPU."""

    runtime: str
    """which runtimes make it so, for people; empty: all"""
    weight: int
    ordinary: int
    """the sibling's weight"""

    @property
    def part(self) -> float:
        """Of the CPU, from 0 to 1."""
        return self.weight / (self.weight + self.ordinary)


_RUNTIMES = ("runc before 1.3.2, crun before 1.23", "runc 1.3.2, crun 1.23 and later")
_NEW_SINCE = {"runc": (1, 3, 2), "crun": (1, 23)}
_VERSION = re.compile(r"(runc|crun) ([0-9]+(?:\.[0-9]+)*)", re.ASCII)


def shares_told(shares: int, version: CgroupVersion, runtime: str = "") -> tuple[Share, ...]:
    """What a container with these shares gets: on v1 by the shares, on v2 by the weight that its runtime makes of them.

    A container without shares has the Linux kernel's default: 1024 on v1, and on v2 weight 100, which no formula asks.
    `runtime`: "runc 1.3.6", where it is known; else there is one answer for each formula.
    """
    if version == 1:
        return (Share(runtime="", weight=shares, ordinary=1024),)
    shares_of = [
        Share(runtime=runtimes, weight=int(weight), ordinary=100)
        for runtimes, weight in zip(_RUNTIMES, weights(shares), strict=True)
    ]
    if (found := _VERSION.match(runtime)) is None:
        return tuple(shares_of)
    is_new = tuple(map(int, found[2].split("."))) >= _NEW_SINCE[found[1]]
    return (replace(shares_of[is_new], runtime=found[0]),)
