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
from spawner_limits.kernel.v1 import NO_LIMIT_BYTES
from spawner_limits.lifecycle.attest import Difference, attest
from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy.resolve import resolve
from spawner_limits.policy.user_options import Request
from spawner_limits.units import format_cores, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from spawner_limits.clients.engine import Server
    from spawner_limits.engines.enforcement import Enforcement, Expectation
    from spawner_limits.kernel.host import HostFacts
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Policy

_REQUEST = "request"
_SWAP = "memswap_limit"
_SWAP_KEY = INSPECT[_SWAP]
_SWAP_RECORD = f"HostConfig.{_SWAP_KEY}"
_PASSING = "it was asked as equal to memory, which systemd forgets when it reloads"


class Effect(StrEnum):
    """What it takes to bring one limit to what the policy gives."""

    LIVE = "live"
    RESTART = "needs a restart"
    IMPOSSIBLE = "impossible now"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One limit that is not what the policy gives."""

    field: str
    actual: str
    """what the Linux kernel shows, for people; `differences` have its own words"""
    wanted: str
    """what the policy gives, for people"""
    effect: Effect
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
    steps: tuple[Change, ...] = ()
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
    asked = {name: grant.value if grant.clamped_by is None else grant.clamped_from for name, grant in grants.items()}
    return Request(size=entitlement.size, limits=asked)


def plan(server: Server, entitlement: Entitlement, shown: Snapshot, host: HostFacts) -> Plan:
    """What is to change on a running server. `shown`: its limits and what it uses, by the Linux kernel.

    What could not be read is no drift, but a `problem`: such as when the server has ended meanwhile.
    """
    enforcement = enforce(entitlement, host, server.asked)
    differences = differing(enforcement, server, shown, host)
    unread = {difference.field: difference.reason for difference in differences if difference.found is None}
    found: dict[str, list[Difference]] = {}
    for difference in differences:
        if difference.field not in unread:
            found.setdefault(difference.field, []).append(difference)
    expected = {expectation.field: expectation for expectation in enforcement.expect}
    steps = [_step(expected[field], tuple(found[field]), shown, enforcement) for field in found]
    return Plan(
        server=server,
        entitlement=entitlement,
        enforcement=enforcement,
        steps=tuple(_together(steps)),
        problem="; ".join(unread.values()),
    )


def differing(enforcement: Enforcement, server: Server, shown: Snapshot, host: HostFacts) -> tuple[Difference, ...]:
    """Where the Linux kernel shows something else than is expected, or what is expected but may not stay."""
    in_kernel = attest(enforcement.expect, shown, swap_bytes=host.swap_bytes)
    wanted = host_config(enforcement.ask)
    if not (allows_no_swap(wanted) and may_get_swap(server.asked)):
        return in_kernel
    # no swap, as it was asked before it was asked to stay: only the engine's record shows that
    expected, found = str(wanted[_SWAP_KEY]), str(server.asked[_SWAP_KEY])
    return (*in_kernel, Difference(field=_SWAP, file=_SWAP_RECORD, expected=(expected,), found=found))


def enforce(entitlement: Entitlement, host: HostFacts, asked: Mapping[str, Any]) -> Enforcement:
    """What a running server must show, also for what it was once given and the policy no longer limits.

    `asked`: what of the limits the engine was asked for at last, in the words of its API.
    """
    given = translate(entitlement.limits, version=host.cgroup_version, page_size_bytes=host.page_size_bytes)
    return with_resets(given, asked, cpus=host.cpus, page_size_bytes=host.page_size_bytes)


def _step(
    expectation: Expectation, differences: tuple[Difference, ...], shown: Snapshot, enforcement: Enforcement
) -> Change:
    row = ROWS[expectation.field]
    can_change = row.live and row.option in enforcement.ask
    effect, why = _obstacle(expectation, shown) if can_change else (Effect.RESTART, _NEVER)
    return Change(
        field=expectation.field,
        actual=_actual(expectation.field, differences, shown),
        wanted=tell(expectation.field, expectation.value),
        effect=effect,
        why=why or (_PASSING if differences[0].file == _SWAP_RECORD else ""),
        differences=differences,
    )


_SIZES = frozenset(name for name, field in FIELDS.items() if field.unit == "bytes")


def _actual(field: str, differences: Sequence[Difference], shown: Snapshot) -> str:
    if field == "cpu_limit":
        return _cores(shown.limits)
    text = differences[0].found or "empty"
    if field not in _SIZES or not text.isdigit():
        return {"max": "unlimited"}.get(text, text)
    size = "unlimited" if int(text) > NO_LIMIT_BYTES else format_size(int(text))
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


def _together(steps: Sequence[Change]) -> Iterator[Change]:
    """What the engine is asked for at one go can't be done in parts: one obstacle is all theirs."""
    stuck = {_part(step.field): step for step in steps if step.effect is not Effect.LIVE}
    for step in steps:
        cause = stuck.get(_part(step.field), step)
        yield replace(step, effect=cause.effect, why=cause.why) if step.effect is Effect.LIVE else step


# -- what stands in the way ----------------------------------------------------------------------------------------


_NEVER = "the engine can't change it while the container lives"


def _obstacle(expectation: Expectation, shown: Snapshot) -> tuple[Effect, str]:
    """What a change takes by what the server uses now, and what stands in its way, or what people will notice."""
    limit, memory, running = expectation.value, used_bytes(shown), shown.pids_current
    if limit is None:
        return Effect.LIVE, ""
    match expectation.field:
        case "mem_limit":
            return _in_use(memory, int(limit), "memory")
        case "memswap_limit":
            both = None if memory is None else memory + (shown.swap_current_bytes or 0)
            return _in_use(both, int(limit), "memory and swap")
        case "pids_limit" if running is not None and running > int(limit):
            return Effect.LIVE, f"{running} run: none can be started until fewer than {limit} do"
        case _:
            return Effect.LIVE, ""


def used_bytes(shown: Snapshot) -> int | None:
    """Memory in use that the Linux kernel does not simply give back: without the cache that nobody has touched lately.

    Some of the rest is cache too; it is counted as used, because whether it goes is known only afterwards.
    """
    if shown.memory_current_bytes is None:
        return None
    return shown.memory_current_bytes - (shown.memory_inactive_file_bytes or 0)


def _in_use(used: int | None, limit: int, what: str) -> tuple[Effect, str]:
    if used is None:
        return Effect.IMPOSSIBLE, f"how much {what} is in use could not be read"
    if used <= limit:
        return Effect.LIVE, ""
    return Effect.IMPOSSIBLE, f"{format_size(used)} of {what} are in use, the limit would be {format_size(limit)}"


# -- what the engine is then asked for -----------------------------------------------------------------------------


def changes(made: Plan, *, force: bool = False) -> tuple[dict[str, Any], ...]:
    """What to ask the engine for, in the words of its API, part by part; what is impossible now only by `force`."""
    if made.enforcement is None:
        return ()
    ask, takes = made.enforcement.ask, {Effect.LIVE, Effect.IMPOSSIBLE} if force else {Effect.LIVE}
    parts = dict.fromkeys(_part(step.field) for step in made.steps if step.effect in takes)
    options = ({ROWS[field].option for field in part} for part in parts)
    updates = (host_config({option: value for option, value in ask.items() if option in own}) for own in options)
    return tuple(update for update in updates if update)


def _part(field: str) -> frozenset[str]:
    """The fields that are asked for together with this one."""
    return next((frozenset(pair) for pair in PAIRS if field in pair), frozenset({field}))
