"""The grammar of the policy file, in one table: each key, what may stand there, and what it is for.

`parse` reads by it; the JSON Schema, the documentation and `set` are made of it. What keys mean together is elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from spawner_limits import units
from spawner_limits.limits import FIELDS, READ_BACK, Field
from spawner_limits.policy.model import group_key, user_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

VERSION = "1"
COMBINE = {
    "most": "the loosest of the groups' values",
    "least": "the strictest of the groups' values",
    "first": "the value of the group with the highest `priority`",
}
"""how the values of a user's groups become one"""
_COMBINE = f"expected one of {', '.join(COMBINE)}"
MAX_CONTACT = 200
"""characters"""
REQUIRED = ("mem_limit", "cpu_limit", "pids_limit")
"""fields that everybody must have from `defaults` or `ceiling`: "unlimited" is a word, and never what was left out"""
REQUESTABLE = ("mem_limit", "cpu_limit", "pids_limit")
"""fields that a size may give, and that a server's own request may lower"""
CAPPED = tuple(name for name in FIELDS if name != "cpu_period")
"""fields that the ceiling may have: of a period, neither more nor less is looser"""
HINTS = "thread_hints"
"""the key of a rule that says whether servers are told how many threads fit"""
FLAGS = (HINTS,)
"""what a rule says yes or no to"""
FLAG_WORDS = {"on": "true", "off": "false"}
"""what may be typed for a flag in a terminal → what the file takes"""
SERVERS_PREFIX = "servers."
"""before the keys of `SERVERS` where they stand among a rule's others"""


# -- what may stand at a key: one of these, or a `Field` ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is no amount."""

    name: str
    expected: str
    value: Callable[[str], Any]
    """what it means. ValueError says what was expected"""
    schema: Mapping[str, Any]
    """its JSON Schema"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """A list of different names."""

    expected: str
    known: tuple[str, ...] = ()
    """those that there are; empty: the rest of the file says"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """A mapping with these keys."""

    keys: Mapping[str, Key]
    expected: str = 'expected fields below it, such as "mem_limit: 1G"; "{}" means none'
    required: tuple[str, ...] = ()
    name: str = ""
    """by which the JSON Schema refers to it"""
    same: Callable[[str], str] | None = None
    """where it stands below names of people's choosing: those of which it makes one text are one name"""

    @property
    def fields(self) -> Mapping[str, Field]:
        """Those that hold an amount."""
        return {name: key.holds for name, key in self.keys.items() if isinstance(key.holds, Field)}


Held: TypeAlias = Field | Text | Names | Keys


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file; the texts are for people."""

    holds: Held
    takes: str = ""
    """what may be written"""
    effect: str = ""
    """empty: the keys below it are told instead"""
    proof: str = "`explain`, and the container's label"
    """how it is seen that it holds"""
    takes_effect: str = "at the next spawn"


# -- texts ----------------------------------------------------------------------------------------------------------

UNTIL = (
    'expected a date such as "2026-12-31" (to its end in UTC), or a time with a zone such as "2026-12-31T18:00+01:00"'
)
_UNTIL = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2}))?")


def read_until(text: str) -> datetime:
    """The moment from which on a rule no longer counts. ValueError says what was expected."""
    if _UNTIL.fullmatch(text) is None:
        raise ValueError(UNTIL)
    try:
        if len(text) == len("2026-12-31"):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), datetime.min.time(), UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a moment before the end of the year 9999") from None
    except ValueError:
        raise ValueError("expected a day of the calendar, and a time and zone that there are") from None


def show_until(moment: datetime) -> str:
    """`2026-12-31 17:00 UTC`; a date's end is the next day's 00:00."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'minutes')} UTC"


def _read_contact(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not 0 < len(text) <= MAX_CONTACT:
        raise ValueError(f'expected one line of at most {MAX_CONTACT} characters such as "hub@example.org"')
    return text


def _one_of(name: str, values: Mapping[str, Any], expected: str, schema: Mapping[str, Any]) -> Text:
    def read(text: str) -> Any:
        if text not in values:
            raise ValueError(expected)
        return values[text]

    return Text(name, expected, read, schema)


def _flag(name: str) -> Text:
    return _one_of(name, {"true": True, "false": False}, "expected true or false", {"type": "boolean"})


# -- amounts --------------------------------------------------------------------------------------------------------


def _count(name: str, unit: str, maximum: int, *, unlimited: bool = False) -> Field:
    return Field(
        name=name, words=unit, unit=unit, parse=units.parse_count, minimum=0, maximum=maximum, unlimited=unlimited
    )


def _read_factor(text: str) -> float:
    try:
        return units.parse_cores(text)
    except ValueError:
        raise ValueError('expected a factor such as "1" or "1.5", above 0 and at most 8192') from None


def _factor(name: str) -> Field:
    return Field(name=name, words="factor", unit="factor", parse=_read_factor, minimum=0.01)


_RESERVE_MEMORY = replace(FIELDS["mem_limit"], name="reserve_memory", minimum=1, bound="", unlimited=False, effect="")
_RESERVE_CPUS = replace(FIELDS["cpu_limit"], name="reserve_cpus", unlimited=False, effect="")
# PID_MAX_LIMIT of 64-bit kernels, include/linux/threads.h
_RESERVE_PROCESSES = replace(
    _count("reserve_processes", "processes", 4_194_304), tell=lambda value: f"{value} processes"
)
PRIORITY = _count("priority", "rank", 1_000_000)

# -- the tables -----------------------------------------------------------------------------------------------------

_COUNTED = "counted from all containers' labels"
_A_FACTOR = "a factor, or `unlimited`: not counted"
_SERVERS_TOGETHER = {
    "count": Key(
        _count("count", "servers", 1_000_000, unlimited=True), "a number", "how many servers a user may run", _COUNTED
    ),
    "mem_limit": Key(FIELDS["mem_limit"], "a size", "most memory of a user's servers together", _COUNTED),
    "cpu_limit": Key(FIELDS["cpu_limit"], "cores", "most cores of a user's servers together", _COUNTED),
}
_FIELDS = {name: Key(field, effect=field.effect, proof=field.proof) for name, field in FIELDS.items()}
_RULE = {
    **_FIELDS,
    "servers": Key(Keys(keys=_SERVERS_TOGETHER, expected=f"expected {', '.join(_SERVERS_TOGETHER)} below it")),
    "sizes": Key(
        Names(expected='expected a list of sizes such as "[small, large]"'),
        "a list of names",
        "which sizes may be picked on the spawn page",
    ),
    "default_size": Key(
        Text("default_size", "expected one of the sizes", str, {"type": "string"}),
        "a name",
        "the size of who picks none; if it may not be picked, the smallest that may",
    ),
    HINTS: Key(
        _flag(HINTS),
        "`true`, `false`",
        "tell numerical libraries, Python and Java how many threads fit `cpu_limit` and `cpuset_cpus`; `true` unless "
        "given; where a user's groups differ, `false`, or with `combine: first` the first group's",
        "the server's environment",
    ),
}
_TEMPORARY = _RULE | {
    "until": Key(
        Text("until", UNTIL, read_until, {"type": "string", "pattern": f"^{_UNTIL.pattern}$"}),
        UNTIL.removeprefix("expected "),
        "from then on the rule no longer counts; not in `defaults`",
        takes_effect="at the first spawn after that moment",
    ),
}
_USER = _TEMPORARY | {
    "temporarily": Key(
        Keys(keys=_TEMPORARY, required=("until",), name="temporary"),
        "a rule with its own `until`",
        "beats the rule that it stands in until then; not in `defaults`",
        takes_effect="at the next spawn, and no longer at the first one after that moment",
    ),
}
_GROUP = _USER | {
    "priority": Key(PRIORITY, "a number", "of a group: with `combine: first` the highest counts"),
}
_HOST = {
    "reserve_memory": Key(_RESERVE_MEMORY, "a size", "memory that is not for servers", _COUNTED),
    "reserve_cpus": Key(_RESERVE_CPUS, "cores", "cores that are not for servers", _COUNTED),
    "reserve_processes": Key(
        _RESERVE_PROCESSES,
        "a number",
        "of the processes and threads that the Linux kernel can have, so many are not for servers",
        READ_BACK,
    ),
    "memory_overcommit": Key(
        _factor("memory_overcommit"),
        _A_FACTOR,
        "servers' `mem_limit` together may be (memory − reserve) × this; 1 unless given",
        _COUNTED,
    ),
    "cpu_overcommit": Key(
        _factor("cpu_overcommit"),
        _A_FACTOR,
        "servers' `cpu_limit` together may be (cores − reserve) × this; 1 unless given",
        _COUNTED,
    ),
}
SECTIONS: Mapping[str, Key] = {
    "version": Key(
        _one_of("version", {VERSION: VERSION}, f"expected {VERSION}", {"enum": [int(VERSION), VERSION]}),
        f"`{VERSION}`",
        "the version of this format",
        "`check`",
    ),
    "contact": Key(
        Text(
            "contact",
            'expected one line such as "hub@example.org"',
            _read_contact,
            {"type": "string", "minLength": 1, "maxLength": MAX_CONTACT},
        ),
        "one line",
        "whom refusals and the spawn page say to ask",
        "the page",
    ),
    "combine": Key(
        _one_of("combine", dict(zip(COMBINE, COMBINE, strict=True)), _COMBINE, {"enum": list(COMBINE)}),
        ", ".join(f"`{name}`" for name in COMBINE),
        "; ".join(f"`{name}`: {effect}" for name, effect in COMBINE.items())
        + ". Must be said where two groups give a key differently",
    ),
    "best_effort": Key(
        Names(expected='expected a list of fields such as "[cpu_guarantee]"', known=tuple(FIELDS)),
        "a list of fields",
        "where the engine can't hold one of these, the server starts without it",
        "the log and the spawn page",
    ),
    "auto_apply": Key(
        _flag("auto_apply"),
        "`true`, `false`",
        "the Hub service applies a changed policy to running servers by itself; `false` unless given",
        "`plan`",
        takes_effect="when the Hub service next looks",
    ),
    "host": Key(Keys(keys=_HOST, expected=f"expected {', '.join(_HOST)} below it")),
    "ceiling": Key(
        Keys(keys={name: _FIELDS[name] for name in CAPPED}),
        "fields but `cpu_period`",
        "what nobody gets more than, whatever the rule",
    ),
    "sizes": Key(
        Keys(keys={name: _FIELDS[name] for name in REQUESTABLE}, same=str),
        f"names, each with {', '.join(f'`{name}`' for name in REQUESTABLE)}",
        "presets",
    ),
    "defaults": Key(Keys(keys=_RULE, name="rule"), "a rule", "everybody's"),
    "groups": Key(
        Keys(keys=_GROUP, name="group", same=group_key),
        "names, each with a rule",
        "JupyterHub's groups; they beat `defaults`",
    ),
    "users": Key(Keys(keys=_USER, name="user", same=user_key), "names, each with a rule", "they beat groups"),
}
RULES: Mapping[str, Keys] = {name: key.holds for name, key in SECTIONS.items() if isinstance(key.holds, Keys)}
"""section → the keys of a rule in it"""
SERVERS = Keys(keys=_SERVERS_TOGETHER).fields
"""below `servers`: what all servers of one user may be and hold together"""
HOST = RULES["host"].fields
"""below `host`: what servers may hold together"""


def described(keys: Mapping[str, Key], before: str = "") -> Iterator[tuple[str, Key]]:
    """Each key that has a text of its own, by its dotted name."""
    for name, key in keys.items():
        if key.effect:
            yield f"{before}{name}", key
        elif isinstance(key.holds, Keys):
            yield from described(key.holds.keys, f"{name}.")
