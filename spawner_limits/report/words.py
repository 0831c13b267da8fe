"""What all pages share in telling things: texts made fit to be shown, counts, the fields' names, the host. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.limits import FIELDS
from spawner_limits.proof.evidence import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.proof.evidence import Host

_UNSPEAKABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline: a terminal would obey, XML 1.0 refuses
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks, that show a text in another order
    "\ud800-\udfff\ufffe\uffff]"  # no characters at all
)


def plain(text: str) -> str:
    """`text` with what can't be shown, or would be obeyed by a terminal, replaced by U+FFFD."""
    return _UNSPEAKABLE.sub("\ufffd", text)


def line(text: str) -> str:
    """`text` on one line, fit to be shown."""
    return plain(" ".join(text.split()))


def cut(text: str, length: int) -> str:
    """At most `length` characters; an ellipsis stands for the rest."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def counted(count: int, what: str) -> str:
    """A count with its noun: "1 core", "2 cores"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def lower(outcome: Outcome) -> str:
    """Within a sentence: held, unknown; BROKEN stays as loud as it is."""
    return outcome.value if outcome is Outcome.BROKEN else outcome.value.lower()


def tally(outcomes: Sequence[Outcome]) -> str:
    """`12 held, 1 BROKEN`."""
    return ", ".join(f"{outcomes.count(one)} {lower(one)}" for one in Outcome if one in outcomes)


def resource(field: str) -> str:
    """A field's name for people; its own where it has no other."""
    return FIELDS[field].words if field in FIELDS else field


def host(machine: Host) -> str:
    """The machine, in one line."""
    swap = f"{units.format_size(machine.swap_bytes)} swap" if machine.swap_bytes else "no swap"
    size = f"{counted(machine.cores, 'core')}, {units.format_size(machine.memory_bytes)} memory, {swap}"
    return line(f"{machine.engine} · Linux {machine.kernel} · {size}")
