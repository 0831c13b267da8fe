"""The policies that are measured, and who is looked up in them. Always the same ones: chance has a fixed seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUPS = 1_000
SIZES = ("small", "medium", "large")
_HEAD = """\
version: 1
contact: hub@example.org
combine: most
defaults: {mem_limit: 1G, cpu_limit: 0.5, pids_limit: 256}
"""
_MORE = """\
ceiling: {mem_limit: 24G, cpu_limit: 6, pids_limit: 2000}
sizes:
  small: {mem_limit: 512M, cpu_limit: 0.5}
  medium: {mem_limit: 2G, cpu_limit: 1}
  large: {mem_limit: 8G, cpu_limit: 4}
"""


def policy(users: int, *, sized: bool) -> str:
    """A policy with three values for each user and two for each of the groups; `sized`: with sizes and a ceiling."""
    return "".join((_HEAD, _MORE if sized else "", *_groups(sized=sized), *_users(users)))


def _groups(*, sized: bool) -> Iterator[str]:
    sizes = f"    sizes: [{', '.join(SIZES)}]\n" if sized else ""
    yield "groups:\n"
    for number in range(GROUPS):
        yield f"  {group(number)}:\n    mem_limit: {_memory(number)}\n    cpu_limit: {_cores(number)}\n{sizes}"


def _users(count: int) -> Iterator[str]:
    yield "users:\n"
    for number in range(count):
        rule = (
            f"    mem_limit: {_memory(number)}\n    cpu_limit: {_cores(number)}\n    pids_limit: {200 + number % 99}\n"
        )
        yield f"  {user(number)}:\n{rule}"


def overrides() -> dict[str, dict[str, Any]]:
    """The same groups with the same values as JupyterHub's `group_overrides`."""
    return {
        f"{number:04}": {
            "groups": [group(number)],
            "spawner_override": {"mem_limit": _memory(number), "cpu_limit": _cores(number)},
        }
        for number in range(GROUPS)
    }


def people(users: int, memberships: int, count: int) -> list[tuple[str, tuple[str, ...]]]:
    """`count` users, each with the groups that they are in."""
    chance = random.Random(users * 100 + memberships)  # noqa: S311  not for secrets
    every = range(GROUPS)
    return [(user(chance.randrange(users)), tuple(map(group, chance.sample(every, memberships)))) for _ in range(count)]


def user(number: int) -> str:
    """A user's name."""
    return f"user-{number:06}"


def group(number: int) -> str:
    """A group's name."""
    return f"group-{number:04}"


def _memory(number: int) -> str:
    return f"{1 + number % 32}G"


def _cores(number: int) -> float:
    return 0.5 + number % 16 / 2
