"""The benchmark runs, and measures what it says; no time is asserted here."""

from __future__ import annotations

import asyncio
import json

import pytest

from benchmarks import fresh, made, resolution
from benchmarks.policy import Figures, Load, Reload, as_text, main
from benchmarks.resolution import Case, Resolution
from spawner_limits.policy.file import parse

TINY = ("--users", "3", "20", "--repeats", "1", "--rounds", "2", "--people", "2", "--json")


@pytest.mark.parametrize("sized", [False, True])
def test_the_policies_are_what_is_said(sized):
    """So many users, a thousand groups; and a size and a ceiling or none."""
    policy = parse(made.policy(7, sized=sized).encode(), "made")
    assert (len(policy.users), len(policy.groups)) == (7, made.GROUPS)
    assert (bool(policy.sizes), bool(policy.ceiling.values)) == (sized, sized)
    assert {len(rule.values) for rule in policy.users.values()} == {3}


def test_the_hub_really_applies_its_overrides():
    """The last of a user's groups wins, in the order of the overrides' names."""
    spawner = resolution._spawner()
    user = resolution._user("alice", (made.group(4), made.group(2), "other"))
    asyncio.run(resolution._theirs(spawner, [user]))
    assert (spawner.mem_limit, spawner.cpu_limit) == (5 << 30, 2.5)


def test_a_hold_up_is_seen():
    """A sum keeps the interpreter to itself, and so holds up the loop for nearly as long as it takes."""
    held, took = asyncio.run(fresh._held_up(sum, range(20_000_000)))
    assert took / 2 < held <= took


def test_all_is_measured(capsys):
    """Each size of policy, each number of groups, with and without sizes; the peer beside each."""
    assert main(TINY) in {0, 1}
    told = json.loads(capsys.readouterr().out)
    assert told["schema_version"] == 1
    assert [one["users"] for one in told["loads"]] == [3, 20]
    assert all(0 < one["seconds"] <= one["median_seconds"] for one in told["loads"])
    assert all(0 < one["before_bytes"] <= one["peak_bytes"] for one in told["loads"])
    cases = [(users, groups, sized) for users in (3, 20) for sized in (False, True) for groups in (1, 5, 50)]
    assert [
        tuple(one["case"][key] for key in ("users", "memberships", "sized")) for one in told["resolutions"]
    ] == cases
    assert all(min(one["ours_us"], one["theirs_us"], one["ratio"]) > 0 for one in told["resolutions"])
    assert len(told["reload"]["held_up_s"]) == fresh.RELOADS
    assert len(told["targets"]) == 6


FIGURES = Figures(
    loads=(
        Load(
            users=10,
            file_bytes=50_000,
            seconds=0.01,
            median_seconds=0.02,
            peak_bytes=26 * 10**6,
            before_bytes=25 * 10**6,
        ),
        Load(
            users=1000, file_bytes=10**6, seconds=3, median_seconds=4.5, peak_bytes=90 * 10**6, before_bytes=25 * 10**6
        ),
    ),
    resolutions=(
        Resolution(case=Case(users=10, memberships=1, sized=False), ours_us=10.04, theirs_us=100, ratio=0.1),
        Resolution(case=Case(users=1000, memberships=1, sized=True), ours_us=20, theirs_us=100, ratio=0.2),
    ),
    reload=Reload(users=1000, held_up_s=(0.01, 0.02, 0.049), took_s=(1, 2, 3), counting_s=0.001),
)


def test_what_is_printed():
    """Plain tables; a target that is just reached is broken."""
    loads, resolutions, reload, targets = as_text(FIGURES).split("\n\n")
    assert loads.splitlines() == [
        "users    file  load, least   median  peak memory  of it before",
        "   10  0.1 MB      0.010 s  0.020 s      26.0 MB       25.0 MB",
        "1,000  1.0 MB      3.000 s  4.500 s      90.0 MB       25.0 MB",
    ]
    assert resolutions.splitlines() == [
        "users  in groups  size and ceiling  resolve  group_overrides  ratio",
        "   10          1                no  10.0 µs         100.0 µs  0.100",
        "1,000          1               yes  20.0 µs         100.0 µs  0.200",
    ]
    assert reload.splitlines() == [
        "  reload of  event loop held up, least   median     most  counting thread  took, median",
        "1,000 users                    10.0 ms  20.0 ms  49.0 ms           1.0 ms         2.0 s",
    ]
    assert [line.split()[-1] for line in targets.splitlines()[1:]] == ["broken", "held", "held", "held"]
