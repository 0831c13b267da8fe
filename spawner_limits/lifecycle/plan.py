"""`plan`: what a running server has, what the policy gives it now, and what a change would do. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from spawner_limits.engines.docker import (
    INSPECT,
    PAIRS,
    ROWS,
    allows_no_swap,
    host_config,
    may_get_swap,
    translate,
    with_resets,
)
from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US
from spawner_limits.errors import RequestError
from spawner_limits.lifecycle.attest import Difference, attest
from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy.resolve import resolve
from spawner_limits.policy.user_options import Request
from spawner_limits.units import format_cores, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from spawner_limits.engines.enforcement import CgroupVersion, Enforcement, Expectation
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.lifecycle.servers import Server
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Policy

_REQUEST = "request"
_SWAP = "memswap_limit"
_SWAP_KEY = INSPECT[_SWAP]
_SWAP_RECORD = f"HostConfig.{_SWAP_KEY}"
_PASSING = "it was asked as equal to memory, which systemd forgets when it reloads"


class How(StrEnum):
    """What it takes to bring one limit to what the policy gives."""

    LIVE = "live"
    RESTART = "needs a restart"
    IMPOSSIBLE = "impossible now"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One limit that is not what the policy gives."""

    field: str
    has: str
    """what the Linux kernel shows, for people; `differences` have its own words"""
    gives: str
    """what the policy gives, for people"""
    how: How
    why: str = ""
    """what stands in the way, or what people will notice"""
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What would become of one server."""

    server: Server
    entitlement: Entitlement | None
    """what the policy gives it now; `None`: `problem` says why that is not known"""
    enforcement: Enforcement | None = None
    steps: tuple[Step, ...] = ()
    problem: str = ""
    """why nothing can be said of it, or of some of its limits"""

    @property
    def exit_code(self) -> int:
        """What a command ends with that finds this: 1 drift, 3 not known."""
        return 1 if self.steps else 3 if self.problem else 0

    @property
    def drifts(self) -> bool:
        """Whether it is not known to be within what the policy gives."""
        return bool(self.steps or self.problem)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What of the host decides how a limit reads."""

    cgroup_version: CgroupVersion
    page_size_bytes: int
    swap_bytes: int
    cpus: str
    """all that it has, as the Linux kernel writes them: "0-3" """


def entitle(
    policy: Policy, server: Server, in_force: Entitlement | None, groups: Iterable[str] | None, *, now: datetime
) -> Entitlement:
    """What the policy gives a running server now, with what it asked for at its start.

    `groups`: of the user, by the hub; `None`: the hub does not say, so those of the server's start. A size that may no
    longer be picked gives way to the usual one. `now`: with a zone.
    """
    known = in_force.groups if groups is None and in_force is not None else groups or ()
    asked = request(in_force) if in_force is not None else Request()
    try:
        return resolve(policy, server.user, known, server.server, now=now, request=asked)
    except RequestError:
        return resolve(policy, server.user, known, server.server, now=now, request=replace(asked, size=None))


def request(entitlement: Entitlement) -> Request:
    """What a server asked for itself when it was started."""
    grants = {name: grant for name, grant in entitlement.grants.items() if grant.rule == _REQUEST}
    asked = {name: one.value if one.clamped_by is None else one.clamped_from for name, one in grants.items()}
    return Request(size=entitlement.size, limits=asked)


def plan(server: Server, entitlement: Entitlement, shown: Snapshot, machine: Machine) -> Plan:
    """What is to change on a running server. `shown`: its limits and what it uses, by the Linux kernel.

    What could not be read is no drift, but a `problem`: such as when the server has ended meanwhile.
    """
    enforcement = enforce(entitlement, machine, server.host_config)
    differences = differing(enforcement, server, shown, machine)
    unread = {one.field: one.reason for one in differences if one.found is None}
    found: dict[str, list[Difference]] = {}
    for one in differences:
        if one.field not in unread:
            found.setdefault(one.field, []).append(one)
    expected = {one.field: one for one in enforcement.expect}
    steps = [_step(expected[field], tuple(found[field]), shown, enforcement) for field in found]
    return Plan(
        server=server,
        entitlement=entitlement,
        enforcement=enforcement,
        steps=tuple(_together(steps)),
        problem="; ".join(unread.values()),
    )


def differing(enforcement: Enforcement, server: Server, shown: Snapshot, machine: Machine) -> tuple[Difference, ...]:
    """Where the Linux kernel shows something else than is expected, or what is expected but may not stay."""
    in_kernel = attest(enforcement.expect, shown, swap_bytes=machine.swap_bytes)
    return (*in_kernel, *_passing(host_config(enforcement.ask), server.host_config))


def _passing(wanted: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[Difference]:
    """No swap as it was asked before it was asked to stay: only the engine's record tells."""
    if allows_no_swap(wanted) and may_get_swap(asked):
        expected, found = str(wanted[_SWAP_KEY]), str(asked[_SWAP_KEY])
        yield Difference(field=_SWAP, file=_SWAP_RECORD, expected=(expected,), found=found)


def enforce(entitlement: Entitlement, machine: Machine, asked: Mapping[str, Any]) -> Enforcement:
    """What a running server must show, also for what it was once given and the policy no longer limits.

    `asked`: `HostConfig` of the container, what the engine was asked for at last.
    """
    given = translate(entitlement.limits, version=machine.cgroup_version, page_size_bytes=machine.page_size_bytes)
    return with_resets(given, asked, cpus=machine.cpus, page_size_bytes=machine.page_size_bytes)


def _step(
    expectation: Expectation, differences: tuple[Difference, ...], shown: Snapshot, enforcement: Enforcement
) -> Step:
    row = ROWS[expectation.field]
    obstacle = _OBSTACLES.get(row.field, _none) if row.live and row.option in enforcement.ask else _never
    how, why = obstacle(expectation, shown)
    return Step(
        field=expectation.field,
        has=_has(expectation.field, differences, shown),
        gives=tell(expectation.field, expectation.value),
        how=how,
        why=why or (_PASSING if differences[0].file == _SWAP_RECORD else ""),
        differences=differences,
    )


_SIZES = frozenset(name for name, field in FIELDS.items() if field.unit == "bytes")
_ENDLESS = 1 << 62
"""bytes: what the Linux kernel's v1 files say above this is no limit"""


def _has(field: str, differences: Sequence[Difference], shown: Snapshot) -> str:
    if field == "cpu_limit":
        return _cores(shown.limits)
    text = differences[0].found or "empty"
    if field not in _SIZES or not text.isdigit():
        return {"max": "unlimited"}.get(text, text)
    size = "unlimited" if int(text) > _ENDLESS else format_size(int(text))
    if differences[0].file == _SWAP_RECORD:
        return f"{size}, which may not stay"
    # v1 counts memory and swap together, v2 swap alone
    return f"{size} of swap" if differences[0].file == "memory.swap.max" else size


def _cores(limits: Mapping[str, str]) -> str:
    """`cpu.max` is v2's, quota and period in one file."""
    quota, _, period = limits.get("cpu.max", "").partition(" ")
    quota, period = quota or limits.get("cpu.cfs_quota_us", ""), period or limits.get("cpu.cfs_period_us", "")
    if not (quota.isdigit() and period.isdigit()):
        return "unlimited"
    cores = format_cores(int(quota) / int(period))
    return cores if int(period) == DEFAULT_PERIOD_US else f"{cores}, counted over {period} µs"


def _together(steps: Sequence[Step]) -> Iterator[Step]:
    """What is told to the engine at one go can't be done in parts: one obstacle is all theirs."""
    stuck = {_part(one.field): one for one in steps if one.how is not How.LIVE}
    for one in steps:
        cause = stuck.get(_part(one.field))
        yield one if cause is None or one.how is not How.LIVE else replace(one, how=cause.how, why=cause.why)


# -- what stands in the way ----------------------------------------------------------------------------------------


def _none(_expectation: Expectation, _shown: Snapshot) -> tuple[How, str]:
    return How.LIVE, ""


def _never(_expectation: Expectation, _shown: Snapshot) -> tuple[How, str]:
    return How.RESTART, "the engine can't change it while the container lives"


def _memory(expectation: Expectation, shown: Snapshot) -> tuple[How, str]:
    return _in_use(expectation, used_bytes(shown), "memory")


def _memory_and_swap(expectation: Expectation, shown: Snapshot) -> tuple[How, str]:
    memory, swap = used_bytes(shown), shown.swap_current_bytes
    return _in_use(expectation, None if memory is None else memory + (swap or 0), "memory and swap")


def used_bytes(shown: Snapshot) -> int | None:
    """Memory in use that the Linux kernel does not simply give back: without the cache that nobody has touched lately.

    Some of the rest is cache too; it is counted as used, because whether it goes is known only afterwards.
    """
    if shown.memory_current_bytes is None:
        return None
    return shown.memory_current_bytes - (shown.memory_inactive_file_bytes or 0)


def _in_use(expectation: Expectation, used: int | None, what: str) -> tuple[How, str]:
    limit = expectation.value
    if limit is None:
        return How.LIVE, ""
    if used is None:
        return How.IMPOSSIBLE, f"how much {what} is in use could not be read"
    if used <= int(limit):
        return How.LIVE, ""
    return How.IMPOSSIBLE, f"{format_size(used)} of {what} are in use, the limit would be {format_size(int(limit))}"


def _processes(expectation: Expectation, shown: Snapshot) -> tuple[How, str]:
    limit, running = expectation.value, shown.pids_current
    if limit is None or running is None or running <= int(limit):
        return How.LIVE, ""
    return How.LIVE, f"{running} run: none can be started until fewer than {limit} do"


_OBSTACLES: Mapping[str, Callable[[Expectation, Snapshot], tuple[How, str]]] = {
    "mem_limit": _memory,
    "memswap_limit": _memory_and_swap,
    "pids_limit": _processes,
}


# -- what the engine is then told ----------------------------------------------------------------------------------


def changes(one: Plan, *, force: bool = False) -> tuple[dict[str, Any], ...]:
    """What the engine is to be told, in the words of its API, part by part; what is impossible now only by `force`."""
    if one.enforcement is None:
        return ()
    takes = {How.LIVE, How.IMPOSSIBLE} if force else {How.LIVE}
    parts = dict.fromkeys(_part(step.field) for step in one.steps if step.how in takes)
    return tuple(told for part in parts if (told := _told(part, one.enforcement)))


def _part(field: str) -> frozenset[str]:
    return next((frozenset(pair) for pair in PAIRS if field in pair), frozenset({field}))


def _told(part: frozenset[str], enforcement: Enforcement) -> dict[str, Any]:
    wanted = {ROWS[field].option for field in part}
    return host_config({option: value for option, value in enforcement.ask.items() if option in wanted})
