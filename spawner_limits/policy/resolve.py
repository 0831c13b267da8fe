"""`resolve`: policy, user and request → entitlement. Pure; never raises for a policy that `parse` accepted.

defaults < groups (combined) < user < the server's own request, which only lowers < ceiling; field by field. The order
in the file, and of the groups, never matters. What several rules then make together is settled by the steps of
`_SETTLE`: it is only ever lowered, and each change is recorded. The ceiling is applied before size and request, so that
these lower what one really has; as all of them only lower, the values are those of the order above.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from spawner_limits import units
from spawner_limits.errors import RequestError
from spawner_limits.limits import FIELDS
from spawner_limits.policy import constraints, keys, messages
from spawner_limits.policy.entitlement import Entitlement, Grant
from spawner_limits.policy.model import group_key, user_key
from spawner_limits.policy.user_options import SIZE, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from spawner_limits.limits import Value
    from spawner_limits.policy.constraints import Relation
    from spawner_limits.policy.model import Policy, Rule, Setting

    Source: TypeAlias = tuple[Setting, Rule]
    Sources: TypeAlias = dict[str, Source]
    Grants: TypeAlias = dict[str, Grant]

__all__ = ["Entitlement", "Grant", "resolve"]

_NO_REQUEST = Request()
_ORDINARY_SHARES = 1024
"""what the Linux kernel gives to a container for which nobody says otherwise"""


def resolve(  # noqa: PLR0913  whose server, when, and what it asks for
    policy: Policy,
    user: str,
    groups: Iterable[str] = (),
    server: str = "",
    *,
    now: datetime,
    request: Request = _NO_REQUEST,
) -> Entitlement:
    """What `server` of `user`, who is in `groups`, may use at the moment `now`, which has a zone.

    A group that the policy has no rule for gives nothing. RequestError where `request` has a size that may not be
    picked; never without a request.
    """
    known = sorted({key for name in groups if (key := group_key(name)) in policy.groups})
    sources = _sources(policy, user, [policy.groups[key] for key in known], now)
    grants = {field: _grant(*sources[field]) for field in FIELDS if field in sources}
    _settle(grants)
    servers = {key: _grant(*sources[path]) for key, path in _SERVERS.items() if path in sources}
    if servers or policy.ceiling.values:
        _cap_all(grants, policy.ceiling, servers)
    sizes = _pickable(policy, sources)
    size = _picked(request, sizes, sources)
    if size is not None or request.limits:
        _lower_all(grants, {} if size is None else _preset(policy.sizes[size]), _asked(request))
    return Entitlement(
        user=user,
        server=server,
        groups=tuple(known),
        grants={field: grants[field] for field in FIELDS if field in grants},
        policy_sha256=policy.sha256,
        servers=servers,
        sizes=sizes,
        size=size,
        hints=_grant(*sources[keys.HINTS]) if keys.HINTS in sources else None,
    )


# -- who gives what ----------------------------------------------------------------------------------------------


def _sources(policy: Policy, user: str, groups: Sequence[Rule], now: datetime) -> Sources:
    sources = {key: (setting, policy.defaults) for key, setting in policy.defaults.values.items()}
    if groups:
        sources.update(_combined(policy, groups, now))
    if (own := policy.users.get(user_key(user))) is not None:
        sources.update(own.given(now))
    return sources


def _combined(policy: Policy, groups: Sequence[Rule], now: datetime) -> Sources:
    """The groups' values, joined. Where several give the same, the first group by name is named."""
    if policy.combine == "first":
        groups = sorted(groups, key=lambda rule: -(rule.priority or 0))
    given: dict[str, dict[Any, Source]] = {}
    for rule in groups:
        for key, source in rule.given(now).items():
            # only different values are compared: a user may be in many groups
            given.setdefault(key, {}).setdefault(source[0].value, source)
    return {key: _joined(policy, key, sources) for key, sources in given.items()}


def _joined(policy: Policy, key: str, given: Mapping[Any, Source]) -> Source:
    """One of the different values that are given for a key, or of `sizes` what they come to."""
    if policy.combine == "first" or len(given) == 1:
        return next(iter(given.values()))
    if key in keys.FLAGS:  # neither is looser: on is what everybody has, so that off is what somebody wanted
        return given[False]
    if key == "sizes":
        return _joined_sizes(policy, [*given.values()])
    extent = partial(_extent, policy) if key == "default_size" else partial(_looseness, key)
    return given[(max if policy.combine == "most" else min)(given, key=extent)]


def _joined_sizes(policy: Policy, lists: Sequence[Source]) -> Source:
    """All that a group lists, or what each does; an empty list, which leaves one's limits whole, is the loosest.

    Groups that have none in common would leave nothing to pick: of theirs the smallest is the strictest.
    """
    setting, rule = lists[0]
    names = {frozenset(one.value) for one, _ in lists}
    if len(names) == 1:
        return setting, rule
    everyones = frozenset[str]().union(*names)
    if policy.combine == "most":
        joined = everyones if all(names) else frozenset[str]()
    else:
        joined = frozenset.intersection(*filter(None, names))
    if not joined and policy.combine != "most":
        joined = frozenset({min(everyones, key=lambda name: _extent(policy, name))})
    return replace(setting, value=tuple(joined)), rule


def _looseness(key: str, value: Any) -> tuple[float, str]:
    """Sorts a key's values from the strictest to unlimited; CPU sets by how many CPUs, then by their text."""
    if value is None:
        return float("inf"), ""
    if key == "cpuset_cpus":
        return len(_cpus(value)), value
    return value, ""


# few different ones in a file; reading one of thousands of CPUs takes longer than all the rest
_cpus = lru_cache(maxsize=64)(units.cpus_in)


def _grant(setting: Setting, rule: Rule) -> Grant:
    return Grant(value=setting.value, rule=rule.name, file=setting.file, line=setting.line, until=rule.until)


_SHARED = frozenset({"mem_limit", "cpu_limit"})
_SERVERS = {key: keys.SERVERS_PREFIX + key for key in keys.SERVERS}


# -- sizes -------------------------------------------------------------------------------------------------------


def _pickable(policy: Policy, sources: Sources) -> tuple[str, ...]:
    """The sizes that may be picked, from the smallest to the largest."""
    if "sizes" not in sources:
        return ()
    names = sources["sizes"][0].value
    return tuple(sorted(names, key=lambda name: _extent(policy, name))) if len(names) > 1 else names


def _extent(policy: Policy, size: Any) -> tuple[Any, ...]:
    """Sorts sizes by memory, then cores, then processes, then by name."""
    values = policy.sizes[size].values
    extents = [_looseness(key, values[key].value) if key in values else _MOST for key in keys.REQUESTABLE]
    return (*extents, size)


_MOST = (float("inf"), "")


def _picked(request: Request, sizes: tuple[str, ...], sources: Sources) -> str | None:
    """The size that a server gets: the one asked for, else the default, else the smallest; `None` where are none."""
    if request.size is not None:
        if request.size not in sizes:
            told = messages.one_of(sizes) if sizes else "there are no sizes to pick from"
            raise RequestError(SIZE, f"found {messages.shown(request.size)}; {told}")
        return request.size
    default = sources["default_size"][0].value if "default_size" in sources else None
    return str(default) if default in sizes else next(iter(sizes), None)


# -- what lowers -------------------------------------------------------------------------------------------------


def _cap_all(grants: Grants, ceiling: Rule, servers: Grants) -> None:
    swap = _swap(grants)
    for field in _SHARED & servers.keys():  # one server can't hold more than all of them
        if field in grants:
            _cap(grants, field, servers[field].value, f"servers of {servers[field].rule}")
        else:
            grants[field] = servers[field]
    for field, setting in ceiling.values.items():
        if field != "memswap_limit":
            _cap_or_give(grants, field, setting, ceiling)
    _hold_swap(grants, swap)
    if (most := ceiling.values.get("memswap_limit")) is not None:  # after it was made to follow: that is not loosened
        _FOLLOW_MEMORY(grants)
        _cap_or_give(grants, "memswap_limit", most, ceiling)
    _settle(grants)


def _cap_or_give(grants: Grants, field: str, most: Setting, ceiling: Rule) -> None:
    if field in grants:
        _cap(grants, field, most.value, ceiling.name)
    elif not FIELDS[field].promised and not (field == "cpu_shares" and most.value >= _ORDINARY_SHARES):
        grants[field] = _grant(most, ceiling)


def _lower_all(grants: Grants, *wishes: Grants) -> None:
    swap = _swap(grants)
    for wish in wishes:
        _lower_to(grants, wish)
    _hold_swap(grants, swap)
    _settle(grants)


def _preset(size: Rule) -> Grants:
    return {field: _grant(setting, size) for field, setting in size.values.items()}


def _asked(request: Request) -> Grants:
    return {field: Grant(value=value, rule="request", file="", line=None) for field, value in request.limits.items()}


def _lower_to(grants: Grants, wishes: Grants) -> None:
    """Give what is wished, and no more than was given before."""
    for field, wish in wishes.items():
        have = grants.get(field)
        grants[field] = (
            _clamped(wish, have.value, have.clamped_by or have.rule)
            if have is not None and constraints.above(wish.value, have.value)
            else wish
        )


def _cap(grants: Grants, field: str, most: Value | None, by: str) -> None:
    have = grants[field]
    if field == "cpuset_cpus":
        _cap_cpus(grants, have, cast("str", most), by)
    elif constraints.above(have.value, most):
        grants[field] = _clamped(have, most, by)


def _cap_cpus(grants: Grants, have: Grant, most: str, by: str) -> None:
    """Leave the CPUs that both name; where there are none, as many of the ceiling's."""
    allowed = _cpus(most)
    wanted = allowed if have.value is None else _cpus(cast("str", have.value))
    if have.value is None or not wanted <= allowed:
        left = wanted & allowed or frozenset(sorted(allowed)[: len(wanted)])
        grants["cpuset_cpus"] = _clamped(have, units.format_cpuset(left), by)


def _clamped(grant: Grant, value: Value | None, by: str) -> Grant:
    """`grant` brought to `value`; what was first asked for stays told."""
    first = grant.value if grant.clamped_by is None else grant.clamped_from
    return Grant(  # dataclasses.replace takes four times as long
        value=value,
        rule=grant.rule,
        file=grant.file,
        line=grant.line,
        follows=grant.follows,
        clamped_from=first,
        clamped_by=by,
        until=grant.until,
    )


# -- what must fit together --------------------------------------------------------------------------------------


def _swap(grants: Grants) -> int | None:
    """Bytes of swap beside memory; `None` is unlimited, or not a matter of two limits."""
    both, memory = grants.get("memswap_limit"), grants.get("mem_limit")
    if both is None or memory is None or both.value is None or memory.value is None:
        return None
    return cast("int", both.value) - cast("int", memory.value)


def _hold_swap(grants: Grants, swap: int | None) -> None:
    """Where memory was lowered, lower memory and swap by as much: less memory is not more swap."""
    memory = grants.get("mem_limit")
    if grants.get("memswap_limit", _FOLLOWS).follows is not None:
        grants.pop("memswap_limit", None)  # it follows anew
    elif swap is not None and memory is not None and memory.value is not None:
        both, most = grants["memswap_limit"], cast("int", memory.value) + swap
        if constraints.above(both.value, most):
            grants["memswap_limit"] = _clamped(both, most, f"mem_limit of {_cause(memory)}")


_FOLLOWS = Grant(value=None, rule="", file="", line=None, follows="mem_limit")


def _cause(grant: Grant) -> str:
    """What made a value what it is: its rule, unless the ceiling did."""
    return grant.rule if grant.clamped_by != _CEILING else _CEILING


_CEILING = "ceiling"


def _follow(field: str, other: str) -> Callable[[Grants], None]:
    """A step: where no rule gives `field`, it is made equal to `other`, if that is limited."""

    def settle(grants: Grants) -> None:
        leader = grants.get(other)
        if field not in grants and leader is not None and leader.value is not None:
            grants[field] = replace(leader, follows=other, clamped_from=None, clamped_by=None)

    return settle


def _lower(pair: Relation) -> Callable[[Grants], None]:
    """A step: `pair.low` is lowered to `pair.high` where it is above."""

    def settle(grants: Grants) -> None:
        low, high = grants.get(pair.low), grants.get(pair.high)
        if low is not None and high is not None and constraints.above(low.value, high.value):
            grants[pair.low] = _clamped(low, high.value, f"{pair.high} of {_cause(high)}")

    return settle


def _lengthen_period(grants: Grants) -> None:
    """A step: `cpu_period` is raised to the least that makes a quota of `cpu_limit`; the cores stay the same."""
    cores, period = grants.get("cpu_limit"), grants.get("cpu_period")
    if cores is not None and period is not None:
        least = constraints.too_short(cores.value, period.value)
        if least is not None:
            grants["cpu_period"] = _clamped(period, least, f"cpu_limit of {_cause(cores)}")


_FOLLOW_MEMORY = _follow("memswap_limit", "mem_limit")
_SETTLE: tuple[Callable[[Grants], None], ...] = (
    # Docker can't limit memory and swap together without limiting memory
    _follow("mem_limit", "memswap_limit"),
    *(_lower(pair) for pair in constraints.NEVER_ABOVE),
    # Docker would allow as much swap again as memory
    _FOLLOW_MEMORY,
    _lengthen_period,
)


def _settle(grants: Grants) -> None:
    for settle in _SETTLE:
        settle(grants)
