"""Whether there is room: for a user's servers together, and on the host."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from spawner_limits.policy.capacity import Allocation, Machine, admit, room
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import resolve
from spawner_limits.units import GIB

MACHINE = Machine(memory_bytes=16 * GIB, cores=4)
DEFAULTS = {"mem_limit": "2G", "cpu_limit": "0.5", "pids_limit": "100"}


def why_not(held, *, user="ann", container="ann", host=None, machine=MACHINE, **rule):
    """Fact and remedy for a server of `user` beside (container, user, GiB, cores)."""
    sections = {"version": 1, "defaults": DEFAULTS, "users": {"ann": rule}} | ({"host": host} if host else {})
    policy = parse(json.dumps(sections).encode(), "limits.yaml")
    entitlement = resolve(policy, user, now=datetime.now(UTC))
    holdings = [
        Allocation(
            container=name, user=who, server=name.partition("-")[2], mem_limit=size and size * GIB, cpu_limit=cores
        )
        for name, who, size, cores in held
    ]
    found = admit(entitlement, container, policy.host, machine, holdings)
    return None if found is None else (found.fact, found.remedy, found.reason)


def others(count, size=2, cores=0.5):
    return [(f"other{number}", f"u{number}", size, cores) for number in range(count)]


FITS = {
    "nothing is counted without `host`": ({}, others(500)),
    "the last place": ({"host": {"cpu_overcommit": "unlimited"}}, others(7)),
    "the last core, of tenths": ({"host": {"memory_overcommit": "unlimited"}, "cpu_limit": 0.1}, others(39, 1, 0.1)),
    "an overcommitted host": ({"host": {"memory_overcommit": 2, "cpu_overcommit": 2}}, others(15)),
    "a server without limits is not counted": ({"host": {"memory_overcommit": 1}}, [("x", "x", None, None)] * 99),
    "its own earlier container": ({"host": {"cpu_overcommit": "unlimited"}}, [*others(7), ("ann", "ann", 2, 1)]),
    "one that asks for no limit": ({"host": {"cpu_overcommit": 1}, "mem_limit": "unlimited"}, others(7)),
    "another user's servers are theirs": ({"servers": {"count": 1, "mem_limit": "2G"}}, others(5)),
    "as many as one may": (
        {"servers": {"count": 3, "mem_limit": "6G"}},
        [("ann-a", "ann", 2, 1), ("ann-b", "ann", 2, 1)],
    ),
    "unlimited servers": ({"servers": {"count": "unlimited"}}, [(f"ann-{n}", "ann", 2, 1) for n in range(50)]),
}


@pytest.mark.parametrize(("rule", "held"), FITS.values(), ids=FITS)
def test_there_is_room(rule, held):
    """What fits, to the last byte and core, starts."""
    assert why_not(held, **rule) is None


WAIT = "Try again when another server has stopped"
FULL = {
    "memory": (
        {"host": {"cpu_overcommit": "unlimited"}},
        others(8),
        "This host is full: the server asks for 2.00 GiB of memory, and 0 B of 16.00 GiB are left",
        f"{WAIT}.",
        "capacity",
    ),
    "memory after the reserve, where a smaller one would fit": (
        {"host": {"reserve_memory": "1G", "cpu_overcommit": "unlimited"}},
        others(7),
        "This host is full: the server asks for 2.00 GiB of memory, and 1.00 GiB of 15.00 GiB are left",
        f"{WAIT} or pick a smaller size.",
        "capacity",
    ),
    "cores": (
        {"host": {"memory_overcommit": "unlimited", "reserve_cpus": 0.5}},
        others(7),
        "This host is full: the server asks for 0.50 cores of CPU, and 0.00 cores of 3.50 cores are left",
        f"{WAIT}.",
        "capacity",
    ),
    "more than the host has": (
        {"host": {"reserve_memory": "64G", "cpu_overcommit": "unlimited"}},
        [],
        "This host is full: the server asks for 2.00 GiB of memory, and 0 B of 0 B are left",
        f"{WAIT}.",
        "capacity",
    ),
    "too many of one's own": (
        {"servers": {"count": 2}},
        [("ann", "ann", 2, 1), ("ann-b", "ann", 2, 1)],
        "You may run 2 servers, and 2 run (the default one, b); the rule is user ann (limits.yaml:1)",
        "Stop one of them first.",
        "servers",
    ),
    "none at all": (
        {"servers": {"count": 0}},
        [],
        "You may run no server, and none runs; the rule is user ann (limits.yaml:1)",
        "",
        "servers",
    ),
    "too much of one's own": (
        {"servers": {"mem_limit": "5G"}},
        [("ann-a", "ann", 2, 1), ("ann-b", "ann", 2, 1)],
        (
            "Your servers may hold 5.00 GiB of memory together; a, b hold 4.00 GiB, and this one asks for 2.00 GiB; "
            "the rule is user ann (limits.yaml:1)"
        ),
        "Stop one of them first, or start a smaller one.",
        "servers",
    ),
    "too many cores of one's own": (
        {"servers": {"cpu_limit": 1}},
        [("ann-a", "ann", 2, 0.75)],
        (
            "Your servers may hold 1.00 cores of CPU together; a holds 0.75 cores, and this one asks for 0.50 cores; "
            "the rule is user ann (limits.yaml:1)"
        ),
        "Stop one of them first, or start a smaller one.",
        "servers",
    ),
}


@pytest.mark.parametrize(("rule", "held", "fact", "remedy", "reason"), FULL.values(), ids=FULL)
def test_there_is_no_room(rule, held, fact, remedy, reason):
    """What is full, what was asked, and what can be done."""
    assert why_not(held, container="ann-new", **rule) == (fact, remedy, reason)


def test_one_server_never_gets_more_than_all_of_a_user_may_hold():
    """So that the first one starts, and has a limit."""
    assert why_not([], mem_limit="unlimited", servers={"mem_limit": "3G"}) is None


def test_what_is_left_is_never_below_nothing():
    """Servers may have been started before the host was counted."""
    policy = parse(json.dumps({"version": 1, "defaults": DEFAULTS, "host": {}}).encode(), "limits.yaml")
    held = [Allocation(container="x", user="x", server="", mem_limit=99 * GIB, cpu_limit=99.0)]
    assert [(one.resource, one.tell(one.left)) for one in room(policy.host, MACHINE, held)] == [
        ("memory", "0 B"),
        ("CPU", "0.00 cores"),
    ]
