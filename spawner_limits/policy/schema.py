"""The JSON Schema of the policy file, made from `keys`, for editors: what they can complete and mark.

`parse` decides, with positions and across keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from spawner_limits import units
from spawner_limits.limits import Field
from spawner_limits.policy import keys
from spawner_limits.policy.keys import Keys, Names, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.policy.keys import Held, Key

    Schema: TypeAlias = dict[str, Any]


def schema() -> Schema:
    """The JSON Schema of a policy file (draft 2020-12)."""
    rules = (*(keys.RULES[section] for section in ("defaults", "users", "groups")), _TEMPORARY)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "spawner-limits policy",
        "description": "What each JupyterHub user and group may use.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "defaults"],
        "properties": {name: _described(key) for name, key in keys.SECTIONS.items()},
        "allOf": [_given_somewhere(field) for field in keys.REQUIRED],
        "$defs": {rule.name: _mapping(rule) for rule in rules},
    }


_TEMPORARY: Any = keys.RULES["users"].keys["temporarily"].holds


def _described(key: Key) -> Schema:
    return ({"description": key.effect} if key.effect else {}) | _of(key.holds)


def _of(held: Held) -> Schema:
    match held:
        case Field():
            return _field(held)
        case Text():
            return dict(held.schema)
        case Names():
            item = {"enum": list(held.known)} if held.known else {"type": "string"}
            return {"type": "array", "items": item, "uniqueItems": True}
        case Keys():
            rule = {"$ref": f"#/$defs/{held.name}"} if held.name else _mapping(held)
            return rule if held.same is None else {"type": "object", "additionalProperties": rule}


def _mapping(held: Keys) -> Schema:
    """Amounts are described by their units; what is described elsewhere is referred to."""
    properties = {
        name: _described(key) if isinstance(key.holds, Text | Names) else _of(key.holds)
        for name, key in held.keys.items()
    }
    required = {"required": list(held.required)} if held.required else {}
    return {"type": "object", "additionalProperties": False, "properties": properties} | required


def _given_somewhere(field: str) -> Schema:
    sections: list[Schema] = [
        {"required": [name], "properties": {name: {"required": [field]}}} for name in ("defaults", "ceiling")
    ]
    return {"anyOf": sections}


def _field(field: Field) -> Schema:
    """A number, or a text as `units` reads it; the bounds are for numbers only."""
    bounds = {"minimum": field.minimum, "maximum": field.maximum}
    number: Schema = {"type": "integer" if field.parse in _WHOLE else "number"}
    number |= {name: value for name, value in bounds.items() if value is not None}
    if field.parse is units.parse_cpuset:
        number = {"type": "integer", "minimum": 0}
    kinds = [_PATTERNS.get(field.parse, {"type": "string"}), number, *([_UNLIMITED] if field.unlimited else [])]
    return {"description": f"{field.effect} ({field.unit})" if field.effect else field.unit, "anyOf": kinds}


_UNLIMITED: Schema = {"const": "unlimited"}
_WHOLE: tuple[Any, ...] = (units.parse_size, units.parse_count)
_PATTERNS: Mapping[Any, Schema] = {
    units.parse_size: {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKmMgGtT]([iI]?[bB])?|[bB])?$"},
    units.parse_count: {"type": "string", "pattern": "^[0-9]+$"},
    units.parse_cpuset: {"type": "string", "pattern": r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$"},
}
