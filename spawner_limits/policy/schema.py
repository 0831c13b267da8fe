"""What each key of the file does, and the file's JSON Schema, made from that. For editors and for the documentation.

The schema says what an editor can complete and mark; `file` decides, with positions and across keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spawner_limits import units
from spawner_limits.limits import FIELDS
from spawner_limits.policy import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spawner_limits.limits import Field

    Schema: TypeAlias = dict[str, Any]

NEXT_SPAWN = "at the next spawn"
READ_BACK = "read back from the Linux kernel"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One key, for people."""

    takes: str
    """what may be written"""
    effect: str
    takes_effect: str = NEXT_SPAWN
    proof: str = "`explain`, and the container's label"
    """how it is seen that it holds"""


_PRESSED = "`verify` presses on it"
FIELD_ENTRIES: Mapping[str, Entry] = {
    name: Entry(takes=FIELDS[name].expected.removeprefix("expected "), effect=effect, proof=proof)
    for name, effect, proof in (
        ("mem_limit", "most memory", f"{_PRESSED}: peak, and OOM kills"),
        ("memswap_limit", "most memory and swap together; equal to `mem_limit` unless given", f"{_PRESSED}: peak"),
        ("mem_swappiness", "how readily the Linux kernel swaps", READ_BACK),
        ("mem_guarantee", "memory kept for the server when the host is short of it", READ_BACK),
        ("cpu_limit", "most cores", f"{_PRESSED}: CPU time and throttled periods"),
        ("cpu_guarantee", "cores kept for the server when the host is busy", "`explain`: Docker refuses it"),
        ("cpu_period", "the time over which `cpu_limit` is counted", f"{_PRESSED}: throttled periods"),
        ("cpu_shares", "weight against other servers when the host is busy", "`verify`: a contest of known weights"),
        ("cpuset_cpus", "the CPUs that may be used", f"{_PRESSED}: CPU time"),
        ("pids_limit", "most processes and threads", f"{_PRESSED}: refused forks"),
    )
}
"""field → what it does; in `defaults`, groups, users, and in `temporarily`"""
assert tuple(FIELD_ENTRIES) == tuple(FIELDS)  # noqa: S101  one row each

_NAMES = "a list of names"
_COUNTED = "counted from all containers' labels"
RULE_ENTRIES: Mapping[str, Entry] = {
    "servers.count": Entry(takes="a number", effect="how many servers a user may run", proof=_COUNTED),
    "servers.mem_limit": Entry(takes="a size", effect="most memory of a user's servers together", proof=_COUNTED),
    "servers.cpu_limit": Entry(takes="cores", effect="most cores of a user's servers together", proof=_COUNTED),
    "sizes": Entry(takes=_NAMES, effect="which sizes may be picked on the spawn page"),
    "default_size": Entry(
        takes="a name", effect="the size of who picks none; if it may not be picked, the smallest that may"
    ),
    keys.HINTS: Entry(
        takes="`true`, `false`",
        effect="tell numerical libraries, Python and Java how many threads fit `cpu_limit` and `cpuset_cpus`; "
        "`true` unless given; where a user's groups differ, `false`, or with `combine: first` the first group's",
        proof="the server's environment",
    ),
    "until": Entry(
        takes=keys.UNTIL.removeprefix("expected "),
        effect="from then on the rule no longer counts; not in `defaults`",
        takes_effect="at the first spawn after that moment",
    ),
    "temporarily": Entry(
        takes="a rule with its own `until`",
        effect="beats the rule that it stands in until then; not in `defaults`",
        takes_effect="at the next spawn, and no longer at the first one after that moment",
    ),
    "priority": Entry(takes="a number", effect="of a group: with `combine: first` the highest counts"),
}
"""the other keys of a rule"""
SECTION_ENTRIES: Mapping[str, Entry] = {
    "version": Entry(takes="`1`", effect="the version of this format", proof="`check`"),
    "contact": Entry(takes="one line", effect="whom refusals and the spawn page say to ask", proof="the page"),
    "combine": Entry(
        takes=", ".join(f"`{name}`" for name in keys.COMBINE),
        effect="; ".join(f"`{name}`: {effect}" for name, effect in keys.COMBINE.items())
        + ". Must be said where two groups give a key differently",
    ),
    "best_effort": Entry(
        takes="a list of fields",
        effect="where the engine can't hold one of these, the server starts without it",
        proof="the log and the spawn page",
    ),
    "auto_apply": Entry(
        takes="`true`, `false`",
        effect="the Hub service applies a changed policy to running servers by itself; `false` unless given",
        takes_effect="when the Hub service next looks",
        proof="`plan`",
    ),
    "host.reserve_memory": Entry(takes="a size", effect="memory that is not for servers", proof=_COUNTED),
    "host.reserve_cpus": Entry(takes="cores", effect="cores that are not for servers", proof=_COUNTED),
    "host.reserve_processes": Entry(
        takes="a number",
        effect="of the processes and threads that the Linux kernel can have, so many are not for servers",
        proof=READ_BACK,
    ),
    "host.memory_overcommit": Entry(
        takes="a factor, or `unlimited`: not counted",
        effect="servers' `mem_limit` together may be (memory − reserve) × this; 1 unless given",
        proof=_COUNTED,
    ),
    "host.cpu_overcommit": Entry(
        takes="a factor, or `unlimited`: not counted",
        effect="servers' `cpu_limit` together may be (cores − reserve) × this; 1 unless given",
        proof=_COUNTED,
    ),
    "ceiling": Entry(takes="fields but `cpu_period`", effect="what nobody gets more than, whatever the rule"),
    "sizes": Entry(takes=f"names, each with {', '.join(f'`{name}`' for name in keys.REQUESTABLE)}", effect="presets"),
    "defaults": Entry(takes="a rule", effect="everybody's"),
    "groups": Entry(takes="names, each with a rule", effect="JupyterHub's groups; they beat `defaults`"),
    "users": Entry(takes="names, each with a rule", effect="they beat groups"),
}
"""the file's sections"""


def schema() -> Schema:
    """The JSON Schema of a policy file (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "spawner-limits policy",
        "description": "What each JupyterHub user and group may use.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "defaults"],
        "properties": {name: _section(name) for name in _SECTIONS},
        "allOf": [_given_somewhere(field) for field in keys.REQUIRED],
        "$defs": {
            "rule": _rule(_RULE),
            "user": _rule((*_RULE, "until", "temporarily")),
            "group": _rule((*_RULE, "until", "temporarily", "priority")),
            "temporary": {**_rule((*_RULE, "until")), "required": ["until"]},
        },
    }


_SECTIONS = tuple(dict.fromkeys(name.partition(".")[0] for name in SECTION_ENTRIES))
_RULE = (*FIELDS, "servers", "sizes", "default_size", *keys.FLAGS)
_LIST_OF_NAMES: Schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
_UNLIMITED: Schema = {"const": "unlimited"}


def _section(name: str) -> Schema:
    told = {"description": SECTION_ENTRIES[name].effect} if name in SECTION_ENTRIES else {}
    return told | _SECTION_SCHEMAS[name]


def _rule(names: Iterable[str]) -> Schema:
    properties = {name: _field(FIELDS[name]) if name in FIELDS else _RULE_SCHEMAS[name] for name in names}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _fields(table: Mapping[str, Field], names: Iterable[str] | None = None) -> Schema:
    properties = {name: _field(table[name]) for name in (table if names is None else names)}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _names_of(item: Schema) -> Schema:
    return {"type": "object", "additionalProperties": item}


def _given_somewhere(field: str) -> Schema:
    sections: list[Schema] = [
        {"required": [name], "properties": {name: {"required": [field]}}} for name in ("defaults", "ceiling")
    ]
    return {"anyOf": sections}


def _field(field: Field) -> Schema:
    """A number, or a text as `units` reads it; the bounds are for numbers only."""
    entry = FIELD_ENTRIES.get(field.name)
    told = {"description": f"{entry.effect} ({field.unit})" if entry is not None else field.unit}
    kinds: list[Schema] = [_PATTERNS[field.parse]] if field.parse in _PATTERNS else [{"type": "string"}]
    if field.parse is not units.parse_cpuset:
        kinds.append({"type": "integer" if field.parse in _WHOLE else "number", **_bounds(field)})
    else:
        kinds.append({"type": "integer", "minimum": 0})
    return told | {"anyOf": [*kinds, _UNLIMITED] if field.unlimited else kinds}


def _bounds(field: Field) -> Schema:
    given = {"minimum": field.minimum, "maximum": field.maximum}
    return {name: value for name, value in given.items() if value is not None}


_WHOLE: tuple[Any, ...] = (units.parse_size, units.parse_count)
_PATTERNS: Mapping[Any, Schema] = {
    units.parse_size: {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKmMgGtT]([iI]?[bB])?|[bB])?$"},
    units.parse_count: {"type": "string", "pattern": "^[0-9]+$"},
    units.parse_cpuset: {"type": "string", "pattern": r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$"},
}
_RULE_SCHEMAS: Mapping[str, Schema] = {
    "servers": _fields(keys.SERVERS),
    "sizes": {"description": RULE_ENTRIES["sizes"].effect, **_LIST_OF_NAMES},
    "default_size": {"description": RULE_ENTRIES["default_size"].effect, "type": "string"},
    keys.HINTS: {"description": RULE_ENTRIES[keys.HINTS].effect, "type": "boolean"},
    "until": {"description": RULE_ENTRIES["until"].effect, "type": "string", "pattern": keys.UNTIL_PATTERN},
    "temporarily": {"$ref": "#/$defs/temporary"},
    "priority": _field(keys.PRIORITY),
}
_SECTION_SCHEMAS: Mapping[str, Schema] = {
    "version": {"enum": [1, "1"]},
    "contact": {"type": "string", "minLength": 1, "maxLength": keys.MAX_CONTACT},
    "combine": {"enum": list(keys.COMBINE)},
    "best_effort": {"type": "array", "items": {"enum": list(FIELDS)}, "uniqueItems": True},
    "auto_apply": {"type": "boolean"},
    "host": _fields(keys.HOST),
    "ceiling": _fields(FIELDS, keys.CAPPED),
    "sizes": _names_of(_fields(FIELDS, keys.REQUESTABLE)),
    "defaults": {"$ref": "#/$defs/rule"},
    "groups": _names_of({"$ref": "#/$defs/group"}),
    "users": _names_of({"$ref": "#/$defs/user"}),
}
assert tuple(_SECTION_SCHEMAS) == _SECTIONS  # noqa: S101  one row each
