"""One resolution beside JupyterHub's own `Spawner.apply_group_overrides` of the same groups, in turns."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jupyterhub.spawner import Spawner

from benchmarks import made
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import resolve
from spawner_limits.policy.user_options import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spawner_limits.policy.model import Policy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is resolved."""

    users: int
    """in the policy"""
    memberships: int
    """groups that each user is in"""
    sized: bool
    """the policy has a ceiling and sizes, and a size is asked for"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """What one case took, in microseconds a user: medians over the rounds."""

    case: Case
    ours_us: float
    theirs_us: float
    ratio: float
    """ours / theirs, of each round"""


def measured(users: int, memberships: Sequence[int], *, rounds: int, people: int) -> Iterator[Resolution]:
    """Each case of a policy of so many users. In each round `people` users are resolved by us and then by the hub."""
    spawner = _spawner()
    for sized in (False, True):
        policy = parse(made.policy(users, sized=sized).encode(), "made")
        for count in memberships:
            case = Case(users=users, memberships=count, sized=sized)
            yield asyncio.run(_measured(policy, spawner, case, rounds, people))


def _spawner() -> Any:
    """A real one with our groups; without its log lines, one for each group that applies, which would be slower yet."""
    logger = logging.getLogger(__name__)
    logger.setLevel(logging.WARNING)
    return Spawner(user=SimpleNamespace(name="", groups=[]), group_overrides=made.overrides(), log=logger)


async def _measured(policy: Policy, spawner: Any, case: Case, rounds: int, people: int) -> Resolution:
    persons = made.people(case.users, case.memberships, people)
    request = Request(size="medium") if case.sized else Request()
    users = [_user(name, groups) for name, groups in persons]
    turns = [(_ours(policy, persons, request), await _theirs(spawner, users)) for _ in range(rounds)]
    return Resolution(
        case=case,
        ours_us=median(ours for ours, _ in turns),
        theirs_us=median(theirs for _, theirs in turns),
        ratio=median(ours / theirs for ours, theirs in turns),
    )


def _ours(policy: Policy, persons: Sequence[tuple[str, tuple[str, ...]]], request: Request) -> float:
    start = time.perf_counter()
    for user, groups in persons:
        resolve(policy, user, groups, now=NOW, request=request)
    return (time.perf_counter() - start) / len(persons) * 1e6


async def _theirs(spawner: Any, users: Sequence[SimpleNamespace]) -> float:
    start = time.perf_counter()
    for user in users:
        spawner.user = user
        await spawner.apply_group_overrides()
    return (time.perf_counter() - start) / len(users) * 1e6


def _user(name: str, groups: tuple[str, ...]) -> SimpleNamespace:
    return SimpleNamespace(name=name, groups=[SimpleNamespace(name=group) for group in groups])
