"""`Policy`: the administrator's file as values, each with its position. What is here has been checked.

Names are kept as they were written; they are looked up by `user_key` and `group_key`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.limits import Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One field as a rule gives it, and where its value stands. A file has hundreds of thousands: one object each."""

    value: Value | None
    """in the field's base unit; `None` is the word `unlimited`"""
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
    """field → what was given for it; a field that is not there is left to the rules below"""


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


def group_key(name: str) -> str:
    """The form in which group names are compared: Unicode's NFC; case matters, as it does to JupyterHub."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def user_key(name: str) -> str:
    """The form in which user names are compared: lower case, as JupyterHub makes them, and Unicode's NFC.

    Source: `Authenticator.normalize_username`, JupyterHub 6.1.
    """
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", group_key(name).lower())
