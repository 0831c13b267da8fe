"""`change`: a policy's text with other values for one rule, for good or for a time. Pure; the text's rest stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from spawner_limits.errors import UsageError
from spawner_limits.limits import FIELDS, Field, tell
from spawner_limits.policy import constraints, keys, messages
from spawner_limits.policy.keys import Keys, Text
from spawner_limits.policy.model import group_key, user_key
from spawner_limits.policy.yaml_edit import drop, put

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from spawner_limits.policy.model import Policy, Rule
    from spawner_limits.policy.yaml_tree import Path

    Values: TypeAlias = Mapping[str, str]
    """key of a rule, such as `servers.count`, → text"""

_WHOLE = ("defaults", "ceiling")
_NAMED = {"user": "users", "group": "groups", "size": "sizes"}
_EXPECTED = "expected one of user:NAME, group:NAME, size:NAME, defaults, ceiling"
_LISTS = {"sizes": "a list", "default_size": "the name of a size"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Which rule is changed."""

    section: str
    name: str | None = None
    """of a user, a group or a size"""

    @classmethod
    def read(cls, text: str) -> Target:
        """`user:alice`, `group:students`, `size:small`, `defaults` or `ceiling`. UsageError."""
        if text in _WHOLE:
            return cls(section=text)
        kind, colon, name = text.partition(":")
        if kind not in _NAMED or not colon:
            near = messages.near(kind, (*_NAMED, *_WHOLE), least=0.6)
            hint = f'did you mean "{near}{":" + (name or "NAME") if near in _NAMED else ""}"?' if near else _EXPECTED
            raise UsageError(f"TARGET: found {messages.shown(text)}; {hint}")
        if not name or not name.isprintable() or name != name.strip():
            raise UsageError(f"TARGET: found {messages.shown(text)}; expected a name after {kind}:, without blanks")
        return cls(section=_NAMED[kind], name=name)

    @property
    def path(self) -> Path:
        """Of the rule, in the file."""
        return (self.section,) if self.name is None else (self.section, self.name)

    @property
    def fields(self) -> Mapping[str, Field | Text]:
        """What it may be given here."""
        return dict(_settable(keys.RULES[self.section]))

    def rule(self, policy: Policy) -> Rule | None:
        """The rule as it is, if there is one for a person or a group."""
        if self.section == "users":
            return policy.users.get(user_key(self.name or ""))
        return policy.groups.get(group_key(self.name or "")) if self.section == "groups" else None


def _settable(rule: Keys, before: str = "") -> Iterator[tuple[str, Field | Text]]:
    for name, key in rule.keys.items():
        if isinstance(key.holds, Field) or (isinstance(key.holds, Text) and name in keys.FLAGS):
            yield f"{before}{name}", key.holds
        elif name == "servers" and isinstance(key.holds, Keys):
            yield from _settable(key.holds, keys.SERVERS_PREFIX)


def read_values(target: Target, given: Sequence[str]) -> Values:
    """`["mem_limit=4G"]` → key and text; each is one that `target` may have. UsageError."""
    values: dict[str, str] = {}
    for one in given:
        key, equals, value = (part.strip() for part in one.partition("="))
        if not equals:
            raise UsageError(f"found {messages.shown(one)}; expected FIELD=VALUE such as mem_limit=4G")
        if key in values:
            raise UsageError(f"{key}: given twice")
        values[key] = _checked(target, key, value)
    return values


def _checked(target: Target, key: str, value: str) -> str:
    if key in _LISTS:
        raise UsageError(f"{key}: {_LISTS[key]} can't be set by this command; edit the file")
    if key not in target.fields:
        raise UsageError(
            f"{messages.dotted((key,))}: unknown for {messages.dotted(target.path)}; {_nearest(key, target)}"
        )
    field = target.fields[key]
    value = keys.FLAG_WORDS.get(value, value) if key in keys.FLAGS else value
    try:
        field.value(value)
    except ValueError as error:
        raise UsageError(f"{key}: found {messages.shown(value)}; {error}") from None
    return value


def _nearest(key: str, target: Target) -> str:
    return messages.nearest(key, tuple(target.fields))


def change(  # noqa: PLR0913  what is changed, and for how long
    text: str,
    policy: Policy | None,
    target: Target,
    values: Values,
    *,
    file: str,
    now: datetime,
    until: datetime | None = None,
) -> str:
    """`text` with `values` for the rule of `target`, for good or `until` a moment with a zone.

    `policy` is what the text was read as; `None`, which goes with no `until`, if it is none yet. `file` is the text's
    name in messages. For a time, values for a rule that counts go below its `temporarily`; what is over already is
    replaced. PolicyError, UsageError.
    """
    if until is None:
        return _put(text, target.path, values, file=file)
    if target.section not in ("users", "groups"):
        raise UsageError("--for is for users and groups; other rules have no time")
    if "priority" in values:
        raise UsageError("priority: can't be set for a time; leave out --for")
    rule = None if policy is None else target.rule(policy)
    path, old = _for_a_time(target, rule, now)
    text = _put(text, path, {**values, "until": show(until)}, file=file)
    if old is not None:
        for key in old.values:
            if key not in values:
                text = drop(text, (*path, *key.split(".")), same=same, file=file)
        text = _without_empty(text, (*path, "servers"), old, values, file=file)
    return text


def _for_a_time(target: Target, rule: Rule | None, now: datetime) -> tuple[Path, Rule | None]:
    """Where values for a time go, and the rule that is over there, whose values must go."""
    if rule is None:
        return target.path, None
    if rule.temporarily is None and rule.is_over(now):
        return target.path, rule
    below = (*target.path, "temporarily")
    return below, rule.temporarily if rule.temporarily is not None and rule.temporarily.is_over(now) else None


def _without_empty(text: str, path: Path, old: Rule, values: Values, *, file: str) -> str:
    """`servers: {}` says nothing."""
    had, has = (any(key.startswith(keys.SERVERS_PREFIX) for key in given) for given in (old.values, values))
    if had and not has:
        return drop(text, path, same=same, file=file)
    return text


def _put(text: str, path: Path, values: Values, *, file: str) -> str:
    for key, value in values.items():
        text = put(text, (*path, *key.split(".")), value, same=same, file=file)
    return text


def same(path: Path, key: str) -> str:
    """The form in which two keys of the file are compared."""
    if path == ("users",):
        return user_key(key)
    return group_key(key) if path == ("groups",) else key


def show(until: datetime) -> str:
    """A moment as the file has it: `2026-12-31T17:00Z`."""
    return until.strftime("%Y-%m-%dT%H:%MZ")


def shadows(
    policy: Policy, target: Target, values: Values, *, now: datetime, until: datetime | None
) -> tuple[str, ...]:
    """Why what was just set counts less than it says, or not at all now; one sentence each. `policy`: the new one."""
    told = [*_lowered(policy, target, values)]
    rule = target.rule(policy)
    if rule is not None and until is None:
        told += _hidden(rule, values, now)
    return tuple(told)


def _lowered(policy: Policy, target: Target, values: Values) -> Iterator[str]:
    if target.section == "ceiling":
        return
    for key, text in values.items():
        most = policy.ceiling.values.get(key)
        if most is None or key == "cpuset_cpus":
            continue
        value, ceiling = FIELDS[key].value(text), most.value
        if constraints.above(value, ceiling):
            yield f"{key} is lowered to the ceiling's {tell(key, ceiling)} (line {most.line})"


def _hidden(rule: Rule, values: Values, now: datetime) -> Iterator[str]:
    if rule.until is not None and rule.is_over(now):
        yield f"the rule is over since {keys.show_until(rule.until)}, and does not count: give it a new until"
    elif rule.until is not None:
        yield f"the rule as a whole counts until {keys.show_until(rule.until)} only"
    more = rule.temporarily
    if more is None or more.until is None or more.is_over(now):
        return
    hidden = ", ".join(key for key in values if key in more.values)
    if hidden:
        yield f"until {keys.show_until(more.until)} the temporary {hidden} counts instead"
