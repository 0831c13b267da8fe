"""What the file may say: every key of each section, how it is read, and what it is for. One table for code and docs."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.limits import FIELDS, Field

if TYPE_CHECKING:
    from collections.abc import Mapping

COMBINE = {
    "most": "the loosest of the groups' values",
    "least": "the strictest of the groups' values",
    "first": "the value of the group with the highest `priority`",
}
"""how the values of a user's groups become one"""
MAX_CONTACT = 200
"""characters"""
UNTIL = (
    'expected a date such as "2026-12-31" (to its end in UTC), or a time with a zone such as "2026-12-31T18:00+01:00"'
)
REQUIRED = ("mem_limit", "cpu_limit", "pids_limit")
"""fields that everybody must have from `defaults` or `ceiling`: "unlimited" is a word, and never what was left out"""
REQUESTABLE = ("mem_limit", "cpu_limit", "pids_limit")
"""fields that a size may give, and that a server's own request may lower"""
CAPPED = tuple(name for name in FIELDS if name != "cpu_period")
"""fields that the ceiling may have: of a period, neither more nor less is looser"""

UNTIL_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2}))?$"
_UNTIL = re.compile(UNTIL_PATTERN[1:-1])


def _count(name: str, unit: str, minimum: int, maximum: int) -> Field:
    return Field(
        name=name, words=unit, unit=unit, parse=units.parse_count, minimum=minimum, maximum=maximum, unlimited=False
    )


def _factor(text: str) -> float:
    try:
        return units.parse_cores(text)
    except ValueError:
        raise ValueError('expected a factor such as "1" or "1.5", above 0 and at most 8192') from None


SERVERS: Mapping[str, Field] = {
    "count": replace(_count("count", "servers", 0, 1_000_000), unlimited=True),
    "mem_limit": FIELDS["mem_limit"],
    "cpu_limit": FIELDS["cpu_limit"],
}
"""below `servers`: what all servers of one user may be and hold together"""
SERVERS_PREFIX = "servers."
"""before the keys of `SERVERS` where they stand among a rule's others"""

HOST: Mapping[str, Field] = {
    "reserve_memory": replace(FIELDS["mem_limit"], name="reserve_memory", minimum=1, bound="", unlimited=False),
    "reserve_cpus": replace(FIELDS["cpu_limit"], name="reserve_cpus", unlimited=False),
    # PID_MAX_LIMIT of 64-bit kernels, include/linux/threads.h
    "reserve_processes": replace(
        _count("reserve_processes", "processes", 0, 4_194_304), tell=lambda value: f"{value} processes"
    ),
    **{
        name: Field(name=name, words="factor", unit="factor", parse=_factor, minimum=0.01)
        for name in ("memory_overcommit", "cpu_overcommit")
    },
}
"""below `host`: what servers may hold together"""
PRIORITY = _count("priority", "rank", 0, 1_000_000)


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


def read_flag(text: str) -> bool:
    """`true` or `false`. ValueError says what was expected."""
    if text not in {"true", "false"}:
        raise ValueError("expected true or false")
    return text == "true"


HINTS = "thread_hints"
"""the key of a rule that says whether servers are told how many threads fit"""
FLAGS: Mapping[str, Field] = {
    HINTS: Field(
        name=HINTS,
        words="thread hints",
        unit="true or false",
        parse=read_flag,
        tell=lambda value: "on" if value else "off",
        unlimited=False,
    )
}
"""what a rule says yes or no to"""
FLAG_WORDS = {"on": "true", "off": "false"}
"""what may be typed for a flag in a terminal → what the file takes"""


def read_contact(text: str) -> str:
    """Whom to ask, on one line. ValueError says what was expected."""
    if not text.isprintable() or text != text.strip() or not 0 < len(text) <= MAX_CONTACT:
        raise ValueError(f'expected one line of at most {MAX_CONTACT} characters such as "hub@example.org"')
    return text


def read_combine(text: str) -> str:
    """One of `COMBINE`. ValueError says what was expected."""
    if text not in COMBINE:
        raise ValueError(f"expected one of {', '.join(COMBINE)}")
    return text
