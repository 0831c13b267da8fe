"""`resolve`: policy and user → entitlement. Pure; never raises for a policy that `file` accepted.

User beats group beats defaults, field by field; the order in the file, and of the groups, never matters. What several
rules then make together is settled by the steps of `_SETTLE`: it is only ever lowered, and each change is recorded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, cast

from spawner_limits import units
from spawner_limits.limits import FIELDS
from spawner_limits.policy import relations
from spawner_limits.policy.entitlement import Entitlement, Grant
from spawner_limits.policy.model import group_key, user_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from spawner_limits.limits import Value
    from spawner_limits.policy.model import Policy, Rule, Setting
    from spawner_limits.policy.relations import Relation

    Given: TypeAlias = tuple[Setting, str]
    Grants: TypeAlias = dict[str, Grant]

__all__ = ["Entitlement", "Grant", "resolve"]


def resolve(policy: Policy, user: str, groups: Iterable[str] = (), server: str = "") -> Entitlement:
    """What `server` of `user`, who is in `groups`, may use. A group that the policy has no rule for gives nothing."""
    known = sorted({key for name in groups if (key := group_key(name)) in policy.groups})
    given = dict(_given(policy.defaults))
    given.update(_strictest(policy.groups[key] for key in known))
    if (own := policy.users.get(user_key(user))) is not None:
        given.update(_given(own))
    grants = {field: _grant(*one) for field, one in given.items()}
    for settle in _SETTLE:
        settle(grants)
    return Entitlement(
        user=user,
        server=server,
        groups=tuple(known),
        grants={field: grants[field] for field in FIELDS if field in grants},
        policy_sha256=policy.sha256,
    )


def _given(rule: Rule) -> Iterator[tuple[str, Given]]:
    return ((field, (setting, rule.name)) for field, setting in rule.values.items())


def _strictest(rules: Iterable[Rule]) -> dict[str, Given]:
    """Of each field the least that any of the rules gives; where several give the same, the first of them."""
    least: dict[str, Given] = {}
    for rule in rules:
        for field, one in _given(rule):
            if field not in least or _looseness(field, one[0].value) < _looseness(field, least[field][0].value):
                least[field] = one
    return least


def _looseness(field: str, value: Value | None) -> tuple[float, str]:
    """Sorts a field's values from the strictest to unlimited; CPU sets by how many CPUs, then by their text."""
    if value is None:
        return float("inf"), ""
    if field == "cpuset_cpus":
        return len(units.cpus_in(str(value))), str(value)
    return cast("float", value), ""


def _grant(setting: Setting, rule: str) -> Grant:
    return Grant(value=setting.value, rule=rule, file=setting.file, line=setting.line)


def _clamped(grant: Grant, value: Value | None, by: str) -> Grant:
    return replace(grant, value=value, clamped_from=grant.value, clamped_by=by)


def _follow(field: str, other: str) -> Callable[[Grants], None]:
    """A step: where no rule gives `field`, it is made equal to `other`, if that is limited."""

    def settle(grants: Grants) -> None:
        leader = grants.get(other)
        if field not in grants and leader is not None and leader.value is not None:
            grants[field] = Grant(
                value=leader.value, rule=leader.rule, file=leader.file, line=leader.line, follows=other
            )

    return settle


def _lower(pair: Relation) -> Callable[[Grants], None]:
    """A step: `pair.low` is lowered to `pair.high` where it is above."""

    def settle(grants: Grants) -> None:
        low, high = grants.get(pair.low), grants.get(pair.high)
        if low is not None and high is not None and relations.above(low.value, high.value):
            grants[pair.low] = _clamped(low, high.value, f"{pair.high} of {high.rule}")

    return settle


def _lengthen_period(grants: Grants) -> None:
    """A step: `cpu_period` is raised to the least that makes a quota of `cpu_limit`; the cores stay the same."""
    cores, period = grants.get("cpu_limit"), grants.get("cpu_period")
    if cores is not None and period is not None:
        least = relations.too_short(cores.value, period.value)
        if least is not None:
            grants["cpu_period"] = _clamped(period, least, f"cpu_limit of {cores.rule}")


_SETTLE: tuple[Callable[[Grants], None], ...] = (
    # Docker can't limit memory and swap together without limiting memory
    _follow("mem_limit", "memswap_limit"),
    *(_lower(pair) for pair in relations.NEVER_ABOVE),
    # Docker would allow as much swap again as memory
    _follow("memswap_limit", "mem_limit"),
    _lengthen_period,
)
