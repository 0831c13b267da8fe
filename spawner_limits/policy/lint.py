"""`lint`: what in a policy is allowed and all the same most likely a mistake, on a host, at a moment. Pure.

A caution has the path of what it is about; its line is looked up in the text by `placed`, as the policy's own values
keep no position of `until`, `priority` or `host`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from yaml.events import MappingStartEvent, ScalarEvent

from spawner_limits import units
from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy import constraints, keys
from spawner_limits.policy.capacity import room
from spawner_limits.policy.model import Host
from spawner_limits.policy.resolve import resolve
from spawner_limits.policy.user_options import Request
from spawner_limits.policy.yaml_tree import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from spawner_limits.limits import Value
    from spawner_limits.policy.capacity import Machine
    from spawner_limits.policy.model import Policy, Rule, Setting
    from spawner_limits.policy.yaml_tree import Path

    Refusal: TypeAlias = Callable[[str, Value], str | None]
    """field and value → why the engine can't hold it; `None`: it can"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution:
    """One warning."""

    kind: str
    """for programs: "over", "unused-size", …"""
    path: Path
    message: str
    line: int | None = None
    """from 1; `None` until `placed`"""
    column: int | None = None


def lint(
    policy: Policy, machine: Machine, *, now: datetime, refusal: Refusal = lambda _field, _value: None
) -> tuple[Caution, ...]:
    """What is odd in `policy` on `machine` at the moment `now`, with a zone. `refusal`: what the engine can't hold."""
    case = _Case(policy=policy, machine=machine, now=now, refusal=refusal)
    return tuple(caution for check in _CHECKS for caution in check(case))


def placed(cautions: Iterable[Caution], text: str) -> tuple[Caution, ...]:
    """`cautions` with their places in `text`, which is a valid policy, in its order."""
    cautions = tuple(cautions)
    document = Document(text, "")
    document.root()
    places = dict(_places(document, (), {caution.path for caution in cautions}))
    found = (replace(each, line=places[each.path][0], column=places[each.path][1]) for each in cautions)
    return tuple(sorted(found, key=lambda caution: (caution.line, caution.column)))


def _places(document: Document, path: Path, wanted: set[Path]) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Where the value of each path stands, or the key of one that is a mapping."""
    for name, value in document.entries(path):
        here = (*path, name)
        if here in wanted:
            mark: Any = (value if isinstance(value, ScalarEvent) else document.key).start_mark
            yield here, (mark.line + 1, mark.column + 1)
        if isinstance(value, MappingStartEvent):
            yield from _places(document, here, wanted)


# -- what is looked at ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One policy, on one host, at one moment."""

    policy: Policy
    machine: Machine
    now: datetime
    refusal: Refusal

    @cached_property
    def live(self) -> tuple[tuple[Path, Rule], ...]:
        """The rules for people that count now or will go on counting."""
        return tuple((path, rule) for path, rule in self.policy.rules() if not rule.is_over(self.now))

    @property
    def ceiling(self) -> Mapping[str, Setting]:
        """What nobody gets more than."""
        return self.policy.ceiling.values


# -- what anybody gets -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Loosest:
    """The most that anybody gets of one field."""

    value: Value | None
    """`None` is unlimited"""
    rule: str
    line: int


def loosest(policy: Policy, field: str, now: datetime) -> Loosest:
    """What the loosest rule gives, lowered to the ceiling. `field`: one that is in `defaults` or `ceiling`."""
    live = (rule for _, rule in policy.rules() if not rule.is_over(now))
    given = [(rule, rule.values[field]) for rule in live if field in rule.values]
    rule, setting = max(given, key=lambda pair: _looseness(pair[1].value), default=(policy.ceiling, None))
    most = policy.ceiling.values.get(field)
    if setting is None or (most is not None and constraints.above(setting.value, most.value)):
        rule, setting = policy.ceiling, policy.ceiling.values[field]
    return Loosest(value=setting.value, rule=rule.name, line=setting.line)


def _looseness(value: Any) -> float:
    return float("inf") if value is None else float(value)


# -- rules that never apply ----------------------------------------------------------------------------------------


def _over(case: _Case) -> Iterator[Caution]:
    for path, rule in case.policy.rules():
        if rule.until is not None and rule.is_over(case.now):
            message = f"over since {keys.show_until(rule.until)}: it never applies; take it out, or give a new time"
            yield Caution(kind="over", path=(*path, "until"), message=message)


def _unused_priority(case: _Case) -> Iterator[Caution]:
    for rule in case.policy.groups.values():
        if rule.priority is not None and case.policy.combine != "first":
            message = 'never looked at: it counts only with "combine: first"'
            yield Caution(kind="unused-priority", path=("groups", rule.own_name, "priority"), message=message)


def _sizes(case: _Case) -> Iterator[Caution]:
    listed = {name for _, rule in case.live for name in _listed(rule) or ()}
    for name, size in case.policy.sizes.items():
        if name not in listed:
            yield Caution(kind="unused-size", path=("sizes", name), message="no rule lists it, so nobody can pick it")
            continue
        for field, setting in size.values.items():
            value, who = _most(case, name, field)
            if constraints.above(setting.value, value):
                message = (
                    f"{tell(field, setting.value)} is above what anybody gets who may pick it "
                    f"({tell(field, value)}, {who}): lowered for good"
                )
                yield Caution(kind="oversized", path=("sizes", name, field), message=message)


def _listed(rule: Rule) -> tuple[str, ...] | None:
    """The sizes that a rule lets people pick; `None`: it leaves that to the rules below."""
    return rule.values["sizes"].value if "sizes" in rule.values else None


def _most(case: _Case, size: str, field: str) -> tuple[Value | None, str]:
    """The most that anybody gets of a field who may pick a size, and who says so."""
    shared = any(size in (_listed(rule) or ()) for path, rule in case.live if path[0] != "users")
    own, below = [], []
    for path, rule in case.live:
        setting, listed = rule.values.get(field), _listed(rule)
        if path[0] != "users":
            below += [(setting.value, rule.name)] if setting else []
        elif size in listed if listed is not None else shared:
            own.append((setting.value, rule.name) if setting else None)
    # whoever has no value of their own gets a group's, or the defaults'
    found = [pair for pair in own if pair] + (below if shared or None in own else [])
    most = max(found, key=lambda pair: _looseness(pair[0]), default=(None, "defaults"))
    ceiling = case.ceiling.get(field)
    return most if ceiling is None or not constraints.above(most[0], ceiling.value) else (ceiling.value, "ceiling")


# -- values ----------------------------------------------------------------------------------------------------------


def _values(case: _Case) -> Iterator[Caution]:
    """Cautions of single values; a file of many users has few different ones, so each is judged once."""
    known: dict[tuple[str, Any], tuple[tuple[str, str], ...]] = {}
    for path, rule in case.live:
        for key, setting in rule.values.items():
            judged = (key, setting.value)
            if judged not in known:
                known[judged] = tuple(_notes(case, _VALUES, key, setting.value))
            for kind, message in known[judged]:
                yield Caution(kind=kind, path=(*path, *key.split(".")), message=message)


def _ceiling(case: _Case) -> Iterator[Caution]:
    for key, setting in case.ceiling.items():
        for kind, message in _notes(case, _CEILING, key, setting.value):
            yield Caution(kind=kind, path=("ceiling", key), message=message)


def _notes(case: _Case, checks: Mapping[str, _Check], key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Kind and message of what one value is cautioned of."""
    if key in FIELDS:
        messages = ((kind, check(case, key, value)) for kind, check in checks.items())
        yield from ((kind, message) for kind, message in messages if message is not None)


def _above_ceiling(case: _Case, key: str, value: Value | None) -> str | None:
    if not _is_over_ceiling(case, key, value):
        return None
    most = case.ceiling[key]
    return f"{tell(key, value)} is above the ceiling's {tell(key, most.value)} (line {most.line}): lowered for good"


def _is_over_ceiling(case: _Case, key: str, value: Value | None) -> bool:
    most = case.ceiling.get(key)
    if most is None:
        return False
    if key == "cpuset_cpus":
        return value is None or not units.cpus_in(str(value)) <= units.cpus_in(most.value)
    return constraints.above(value, most.value)


def _uncounted(case: _Case, key: str, value: Value | None) -> str | None:
    host = case.policy.host
    counted = {} if host is None else {"mem_limit": host.memory_overcommit, "cpu_limit": host.cpu_overcommit}
    if value is not None or counted.get(key) is None or key in case.ceiling:
        return None
    return f"unlimited, though host counts {FIELDS[key].words}: such a server is not counted"


def _above_host(case: _Case, key: str, value: Value | None) -> str | None:
    fact = None if _is_over_ceiling(case, key, value) else _beyond_host(case, key, value)
    return None if fact is None else f"{fact}: one server may take all of it"


def _ceiling_above_host(case: _Case, key: str, value: Value | None) -> str | None:
    fact = _beyond_host(case, key, value)
    return None if fact is None else f"{fact}: it protects nothing"


def _beyond_host(case: _Case, key: str, value: Value | None) -> str | None:
    has = {"mem_limit": case.machine.memory_bytes, "cpu_limit": case.machine.cores}.get(key)
    if has is None or value is None or float(value) <= has:
        return None
    return f"{tell(key, value)} is above the host's {tell(key, has)}"


def _missing_cpus(case: _Case, key: str, value: Value | None) -> str | None:
    if key != "cpuset_cpus" or value is None:
        return None
    has = frozenset(range(case.machine.cores))
    missing = units.cpus_in(str(value)) - has
    if not missing:
        return None
    cpus, all_cpus = units.format_cpuset(missing), units.format_cpuset(has)
    return f"the host has no CPU {cpus} (it has {all_cpus}), so Docker starts no such server"


def _not_held(case: _Case, key: str, value: Value | None) -> str | None:
    reason = None if value is None or key in case.policy.best_effort else case.refusal(key, value)
    return None if reason is None else f"each spawn is refused, as best_effort does not list it: {reason}"


def _ceiling_not_held(case: _Case, key: str, value: Value | None) -> str | None:
    # a ceiling promises nobody anything
    return None if FIELDS[key].promised else _not_held(case, key, value)


_Check: TypeAlias = "Callable[[_Case, str, Value | None], str | None]"
_VALUES: Mapping[str, _Check] = {
    "above-ceiling": _above_ceiling,
    "uncounted": _uncounted,
    "above-host": _above_host,
    "missing-cpus": _missing_cpus,
    "not-held": _not_held,
}
"""kind → what it looks for in a rule's value"""
_CEILING: Mapping[str, _Check] = {
    "ceiling-above-host": _ceiling_above_host,
    "missing-cpus": _missing_cpus,
    "not-held": _ceiling_not_held,
}
"""kind → what it looks for in the ceiling's value"""


# -- the host as a whole -------------------------------------------------------------------------------------------


def _reserve(case: _Case) -> Iterator[Caution]:
    host = case.policy.host or Host()
    reserved = (
        ("reserve_memory", host.reserve_memory, case.machine.memory_bytes),
        ("reserve_cpus", host.reserve_cpus, case.machine.cores),
        ("reserve_processes", host.reserve_processes, case.machine.processes),
    )
    for key, value, has in reserved:
        if value and has is not None and value >= has:
            field = keys.HOST[key]
            message = f"{field.tell(value)} leaves nothing of the host's {field.tell(has)} for servers"
            yield Caution(kind="reserve-above-host", path=("host", key), message=message)


def _promised(case: _Case) -> Iterator[Caution]:
    users, host = case.policy.users, case.policy.host
    amounts = room(Host() if host is None else host, case.machine, ())
    memory = next((amount for amount in amounts if amount.resource == "memory"), None)
    if memory is None or not users:
        return
    promised = _promises(case)
    if promised > memory.capacity:
        few = {1: "the one user named here starts", 2: "both users named here start"}
        all_users = few.get(len(users), f"all {len(users)} users named here start")
        end = "nothing stops them without a section host" if host is None else "the last ones are refused"
        message = (
            f"if {all_users} a server, they may hold {tell('mem_limit', promised)} of memory, and "
            f"{memory.tell(memory.capacity)} are for servers: {end}"
        )
        yield Caution(kind="promised", path=("users",), message=message)


def _promises(case: _Case) -> int:
    """Bytes that the users of the file may hold, each with one server or with what all of theirs may hold."""
    known: dict[frozenset[tuple[str, Any]], int] = {}
    total = 0
    for name, rule in case.policy.users.items():
        # users who are given the same get the same
        given = frozenset((key, setting.value) for key, (setting, _) in rule.given(case.now).items())
        if given not in known:
            known[given] = _holds(case, name)
        total += known[given]
    return total


def _holds(case: _Case, user: str) -> int:
    """Bytes that one user may hold; one without a limit counts as nothing, and is told apart."""
    entitlement = resolve(case.policy, user, now=case.now)
    total = entitlement.servers.get("mem_limit")
    if total is not None and total.value is not None:
        return int(total.value)
    if entitlement.sizes:
        entitlement = resolve(case.policy, user, now=case.now, request=Request(size=entitlement.sizes[-1]))
    return entitlement.limits.mem_limit or 0


_CHECKS: tuple[Callable[[_Case], Iterator[Caution]], ...] = (
    _over,
    _unused_priority,
    _sizes,
    _ceiling,
    _values,
    _reserve,
    _promised,
)
