"""A policy file of any bytes: it is refused with `PolicyError`, or it gives everybody something at every moment.

`python -m tests.fuzz.fuzz_policy FOLDER -max_total_time=300`
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, cast

import atheris

from tests.fuzz.harness import fuzz

with atheris.instrument_imports(include=["spawner_limits"]):
    from spawner_limits import units
    from spawner_limits.engines.docker import refusal
    from spawner_limits.errors import PolicyError
    from spawner_limits.policy import constraints
    from spawner_limits.policy.capacity import Allocation, Machine, admit
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.lint import lint, placed
    from spawner_limits.policy.parse import parse
    from spawner_limits.policy.resolve import resolve
    from spawner_limits.policy.user_options import Request
    from tests.fuzz.mutation import changed_policy
    from tests.fuzz.samples import NOT_UTF8, POLICIES, WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spawner_limits.limits import Value
    from spawner_limits.policy.model import Policy, Rule

NAME = "limits.yaml"
SOME = 3
PEOPLE = 6
MACHINE = Machine(memory_bytes=64 << 30, cores=8)
REFUSAL = partial(refusal, version=None)
LOW: Mapping[str, Value | None] = {"mem_limit": 6 << 20, "cpu_limit": 0.01, "pids_limit": 1}
HIGH: Mapping[str, Value | None] = dict.fromkeys(LOW)


def check(data: bytes) -> None:
    """Raise if these bytes show a mistake of ours."""
    try:
        policy = parse(data, NAME)
    except PolicyError as error:
        check_told(error)
        return
    chance = random.Random(data)  # so that what was found is found again
    now = chance.choice([*moments(policy)])
    placed(lint(policy, MACHINE, now=now, refusal=REFUSAL), data.decode("utf-8-sig"))
    for _ in range(PEOPLE):
        check_person(policy, chance, chance.choice([*moments(policy)]))


def check_told(error: PolicyError) -> None:
    """A refusal has its reasons, each on one line that a terminal can show."""
    assert error.problems
    for problem in error.problems:
        assert str(problem).isprintable(), str(problem)
        assert problem.line is not None


def moments(policy: Policy) -> Iterator[datetime]:
    """Both ends of time, and around some moments at which a rule ends."""
    rules = [*islice(policy.groups.values(), SOME), *islice(policy.users.values(), SOME)]
    yield datetime.min.replace(tzinfo=UTC)
    yield datetime.max.replace(tzinfo=UTC)
    for until in set(filter(None, map(end, rules))):
        yield until
        yield until - timedelta(microseconds=1)


def end(rule: Rule) -> datetime | None:
    """When a rule ends, or what it gives for a time."""
    return rule.until or (rule.temporarily.until if rule.temporarily is not None else None)


def check_person(policy: Policy, chance: random.Random, now: datetime) -> None:
    """What one gets can be told, is under the ceiling, and is not more for who asks for something."""
    user = chance.choice([*policy.users, "nobody"])
    groups = chance.sample([*policy.groups, "nobody's"], chance.randint(0, len(policy.groups) + 1))
    usual = resolve(policy, user, groups, now=now)
    size, limits = chance.choice([None, *usual.sizes]), chance.choice((LOW, HIGH, {}))
    got = resolve(policy, user, groups, now=now, request=Request(size=size, limits=limits))
    for one in (usual, got):
        check_entitlement(policy, one)
    assert size in {None, got.size}
    if got.size == usual.size:
        check_below(got, usual)


def check_entitlement(policy: Policy, one: Entitlement) -> None:
    """It is told and read back, it is under the ceiling, and it can be counted."""
    assert Entitlement.from_json(one.to_json()) == one
    for field, most in policy.ceiling.values.items():
        if field == "cpuset_cpus":
            assert units.cpus_in(str(one.grants[field].value)) <= units.cpus_in(str(most.value)), field
        elif field in one.grants:
            assert not constraints.above(one.grants[field].value, cast("Value | None", most.value)), field
    holding = Allocation.of("other", one)
    admit(one, "this", policy.host, MACHINE, [holding] * SOME)


def check_below(low: Entitlement, high: Entitlement) -> None:
    """Who asks for something gets no more of it."""
    for field in LOW:
        if field in high.grants:
            assert not constraints.above(low.grants[field].value, high.grants[field].value), field


if __name__ == "__main__":
    fuzz(check, seeds=[*(text.encode() for text in POLICIES), *NOT_UTF8], words=WORDS, mutated=changed_policy)
