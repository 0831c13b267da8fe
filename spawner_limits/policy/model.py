"""`Policy`: the administrator's file as values, each with its position. What is here has been checked.

Names are kept as they were written; they are looked up by `user_key` and `group_key`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One key as a rule gives it, and where its value stands. A file has hundreds of thousands: one object each."""

    value: Any
    """in the field's base unit; `None` is the word `unlimited`; names for the key `sizes`, a `bool` for a flag"""
    file: str
    """as messages name it"""
    line: int
    """from 1"""
    column: int
    """from 1, in characters"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What one entry of the file gives."""

    name: str
    """for people: "defaults", "group students", "user alice" """
    values: Mapping[str, Setting]
    """key → what was given for it; a key that is not there is left to the rules below. The keys are the fields',
    `servers.count`, `servers.mem_limit`, `servers.cpu_limit`, `sizes`, `default_size` and `thread_hints`"""
    until: datetime | None = None
    """from then on the rule no longer counts; with a zone"""
    priority: int | None = None
    """of a group, for `combine: first`: the highest comes first"""
    temporarily: Rule | None = None
    """beats `values` until its own `until`"""

    @property
    def own_name(self) -> str:
        """Of a user, a group or a size, as it is written: that of "user alice"."""
        return self.name.partition(" ")[2]

    def is_over(self, now: datetime) -> bool:
        """Whether the rule no longer counts at the moment `now`, which has a zone."""
        return self.until is not None and now >= self.until

    def given(self, now: datetime) -> dict[str, tuple[Setting, Rule]]:
        """What it gives at the moment `now`, with what it gives temporarily on top, and which of the two does."""
        given = {} if self.is_over(now) else {key: (setting, self) for key, setting in self.values.items()}
        if self.temporarily is not None:
            given |= self.temporarily.given(now)
        return given


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """What servers may hold together on one host."""

    reserve_memory: int = 0
    """bytes that are not for servers"""
    reserve_cpus: float = 0.0
    """cores that are not for servers"""
    memory_overcommit: float | None = 1.0
    """times the rest; `None`: memory is not counted"""
    cpu_overcommit: float | None = 1.0
    """times the rest; `None`: cores are not counted"""
    reserve_processes: int | None = None
    """of the Linux kernel's processes and threads, so many are not for servers; `None`: the file does not say"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """One policy file."""

    file: str
    """as messages name it"""
    sha256: str
    """of the file's bytes, in hexadecimal"""
    defaults: Rule
    groups: Mapping[str, Rule]
    """`group_key` of the name → rule"""
    users: Mapping[str, Rule]
    """`user_key` of the name → rule"""
    combine: str | None = None
    """how values of several groups become one; `None`: no two groups of the file differ"""
    ceiling: Rule = field(default_factory=lambda: Rule(name="ceiling", values={}))
    """what nobody gets more than"""
    sizes: Mapping[str, Rule] = field(default_factory=dict)
    """name → preset"""
    host: Host | None = None
    """`None`: what the host has is not counted"""
    contact: str | None = None
    """whom to ask"""
    best_effort: frozenset[str] = frozenset()
    """fields without which a server may start where they can't be held"""
    auto_apply: bool = False
    """whether the Hub service applies a changed policy to running servers by itself"""

    def rules(self) -> Iterator[tuple[tuple[str, ...], Rule]]:
        """Every rule for people with its path in the file, also what it gives temporarily."""
        yield ("defaults",), self.defaults
        for section, rules in (("groups", self.groups), ("users", self.users)):
            for rule in rules.values():
                path = section, rule.own_name
                yield path, rule
                if rule.temporarily is not None:
                    yield (*path, "temporarily"), rule.temporarily

    def without_people(self) -> Policy:
        """What a running server needs of it; whoever keeps it keeps no old file of 100,000 users in memory."""
        return replace(self, groups={}, users={})


def group_key(name: str) -> str:
    """The form in which group names are compared: Unicode's NFC; case matters, as it does to JupyterHub."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def user_key(name: str) -> str:
    """The form in which user names are compared: lower case, as JupyterHub makes them, and Unicode's NFC.

    Source: `Authenticator.normalize_username`, JupyterHub 6.1.
    """
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", group_key(name).lower())
