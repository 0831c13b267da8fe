"""`Entitlement`: what one server gets and, field by field, why; as a value, and as the text of a container's label."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from spawner_limits.limits import FIELDS, Limits
from spawner_limits.policy.keys import HINTS, SERVERS, show_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.limits import Field, Value

_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """One field of an entitlement."""

    value: Value | None
    """in the field's base unit; `None` is unlimited, on purpose"""
    rule: str
    """the rule that it came from: "defaults", "group students", "user alice" """
    file: str
    """the file of that rule, as messages name it"""
    line: int | None
    """the value's line there, from 1"""
    follows: str | None = None
    """the field that this one, which no rule gives, was made equal to; `rule`, `file` and `line` are that field's"""
    clamped_from: Value | None = None
    """what the rule asked for, where `clamped_by` is set; `None` is then unlimited"""
    clamped_by: str | None = None
    """what it had to fit: "memswap_limit of group students", "ceiling"; `None`: the rule has its way"""
    until: datetime | None = None
    """the moment from which on its rule no longer counts, in UTC"""

    @property
    def origin(self) -> str:
        """Where it came from: `user alice (limits.yaml:19)`; the directory is the administrator's business."""
        name = PurePath(self.file).name
        where = name if self.line is None else f"{name}:{self.line}"
        more = (
            f"until {show_until(self.until)}" if self.until else "",
            f"lowered by {self.clamped_by}" if self.clamped_by else "",
        )
        return ", ".join((f"{self.rule} ({where})" if where else self.rule, *filter(None, more)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Entitlement:
    """What one server of one user may use, and why."""

    user: str
    server: str
    """empty for the default server"""
    groups: tuple[str, ...]
    """those of the user's groups that the policy has a rule for, sorted"""
    grants: Mapping[str, Grant]
    """field → grant, in the order of `FIELDS`; a field that nobody gives is not there"""
    policy_sha256: str
    """of the policy file's bytes, in hexadecimal"""
    servers: Mapping[str, Grant] = field(default_factory=dict)
    """what all servers of the user may be and hold together: `count`, `mem_limit`, `cpu_limit`"""
    sizes: tuple[str, ...] = ()
    """the presets that may be picked, from the smallest to the largest"""
    size: str | None = None
    """the preset that this server has"""
    hints: Grant | None = None
    """the rule that says whether the server is told how many threads fit; `None`: none does"""

    @property
    def thread_hints(self) -> bool:
        """Whether the server is told how many threads fit: unless a rule says otherwise."""
        return self.hints is None or bool(self.hints.value)

    @property
    def limits(self) -> Limits:
        """The values alone."""
        values: dict[str, Any] = {name: grant.value for name, grant in self.grants.items()}
        return Limits(**values)

    def to_json(self) -> str:
        """The whole as compact JSON in ASCII, for a container's label; `from_json` gives back an equal value."""
        whole = {
            "schema_version": _SCHEMA_VERSION,
            "user": self.user,
            "server": self.server,
            "groups": self.groups,
            "policy_sha256": self.policy_sha256,
            "grants": {name: _as_object(grant) for name, grant in self.grants.items()},
        }
        more = {
            "servers": {name: _as_object(grant) for name, grant in self.servers.items()},
            "sizes": self.sizes,
            "size": self.size,
            HINTS: None if self.hints is None else _as_object(self.hints),
        }
        whole |= {name: value for name, value in more.items() if value}
        return json.dumps(whole, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Entitlement:
        """What `to_json` wrote. ValueError says what else was found; a label is anyone's who may start containers."""
        try:
            raw = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"not an entitlement: {error}") from None
        whole = _object(raw, "it", required=_WHOLE, optional=_WHOLE_MORE)
        if whole["schema_version"] != _SCHEMA_VERSION:
            raise ValueError(f"not an entitlement of version {_SCHEMA_VERSION}: {whole['schema_version']!r}")
        return cls(
            user=whole["user"],
            server=whole["server"],
            groups=_names(whole["groups"], "groups"),
            grants=_grants(whole["grants"], "grants", FIELDS),
            policy_sha256=whole["policy_sha256"],
            servers=_grants(whole.get("servers", {}), "servers", SERVERS),
            sizes=_names(whole.get("sizes", []), "sizes"),
            size=whole.get("size"),
            hints=_hints(whole[HINTS]) if HINTS in whole else None,
        )


_WHOLE = {
    "schema_version": int,
    "user": str,
    "server": str,
    "groups": list,
    "policy_sha256": str,
    "grants": dict,
}
_WHOLE_MORE = {"servers": dict, "sizes": list, "size": str, HINTS: dict}
"""what is written only where there is some, as it was before there were any"""
_GRANT = {"value": object, "rule": str, "file": str}
_GRANT_MORE = {"line": int, "follows": str, "clamped_from": object, "clamped_by": str, "until": str}
_FLAG, _FLAG_MORE = {"value": bool, "rule": str, "file": str}, {"line": int, "until": str}
"""of what is on or off; nothing lowers it"""
assert {*_GRANT, *_GRANT_MORE} == {field.name for field in fields(Grant)}  # noqa: S101  nothing is lost in a label


def _as_object(grant: Grant) -> dict[str, Any]:
    raw = {name: getattr(grant, name) for name in (*_GRANT, *_GRANT_MORE)}
    if grant.until is not None:
        raw["until"] = grant.until.isoformat()
    return {name: value for name, value in raw.items() if name in _GRANT or value is not None}


def _names(raw: list[Any], what: str) -> tuple[str, ...]:
    return tuple(_typed(name, what, str) for name in raw)


def _grants(raw: Any, what: str, table: Mapping[str, Field]) -> dict[str, Grant]:
    given = _object(raw, what, optional=dict.fromkeys(table, dict))
    return {name: _grant(spec, given[name]) for name, spec in table.items() if name in given}


def _grant(spec: Field, raw: Any) -> Grant:
    given = _object(raw, spec.name, required=_GRANT, optional=_GRANT_MORE)
    for name in ("value", "clamped_from"):
        _check_value(spec, given.get(name))
    if "follows" in given and given["follows"] not in FIELDS:
        raise ValueError(f"not an entitlement: {spec.name} follows {given['follows']!r}")
    if "until" in given:
        given["until"] = _moment(given["until"])
    return Grant(**{"line": None, **given})


def _hints(raw: Any) -> Grant:
    given = _object(raw, HINTS, required=_FLAG, optional=_FLAG_MORE)
    if "until" in given:
        given["until"] = _moment(given["until"])
    return Grant(**{"line": None, **given})


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.isoformat() != text:
        raise ValueError(f"not an entitlement: until is {text!r}")
    return moment


def _check_value(spec: Field, value: Any) -> None:
    """ValueError unless the policy file could have given `value`: its text must read back as the same."""
    if value is None:
        return
    if not isinstance(value, int | float | str):
        raise ValueError(f"not an entitlement: {spec.name} is {type(value).__name__}")  # noqa: TRY004  a text was wrong
    try:
        read = spec.read(str(value))
    except ValueError as error:
        raise ValueError(f"not an entitlement: {spec.name} is {value!r}; {error}") from None
    if type(read) is not type(value) or read != value:
        raise ValueError(f"not an entitlement: {spec.name} is {value!r}; {spec.expected}")


def _object(
    raw: Any, what: str, *, required: Mapping[str, type] | None = None, optional: Mapping[str, type] | None = None
) -> dict[str, Any]:
    known = {**(required or {}), **(optional or {})}
    members: dict[str, Any] = _typed(raw, what, dict)
    if wrong := (members.keys() - known) | ((required or {}).keys() - members):
        raise ValueError(f"not an entitlement: {what} has too many or too few of {', '.join(sorted(wrong))}")
    return {name: _typed(value, name, known[name]) for name, value in members.items()}


def _typed(raw: Any, what: str, kind: type) -> Any:
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise ValueError(f"not an entitlement: {what} is {type(raw).__name__}")
    return raw
