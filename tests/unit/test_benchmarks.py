"""The benchmark runs, and measures what it says; no time is asserted here."""

from __future__ import annotations

import asyncio
import json

import pytest

from benchmarks import apply, fresh, made, paired, resolution, spawn
from benchmarks.paired import Pairs
from benchmarks.policy import Figures, Load, Reload, as_text, main
from benchmarks.resolution import Case, Resolution
from spawner_limits.policy.parse import parse

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


# -- two that take turns -----------------------------------------------------------------------------------------

INTERVALS = {
    "all the same": ([2.0] * 5, (2, 2, 2)),
    "one round": ([3.0], (3, 3, 3)),
    "one that stands out": ([1.0] * 30 + [99.0], (1, 1, 1)),
    "two kinds of rounds": ([1.0, 2.0] * 3, (1.5, 1, 2)),
}


@pytest.mark.parametrize(("values", "told"), INTERVALS.values(), ids=INTERVALS)
def test_an_interval_is_as_wide_as_the_rounds_differ(values, told):
    """One odd round does not move it, and the same values always give the same one."""
    found = paired.interval(values)
    assert (found.median, found.low, found.high) == told
    assert paired.interval(values) == found


def test_an_interval_has_its_median_within():
    """And is narrower than all that was seen."""
    found = paired.interval([float(number) for number in range(100)])
    assert 30 < found.low < found.median == 49.5 < found.high < 70


def test_rounds_are_compared_with_themselves():
    """A slow round is slow for both, so that the difference is the rounds' own, not that of the medians."""
    pairs = Pairs(ours=(1.1, 5.1, 2.1), theirs=(1.0, 5.0, 2.0))
    assert pairs.added.median == pytest.approx(0.1)
    assert (pairs.ours_s, pairs.theirs_s, pairs.ratio.median) == (2.1, 2.0, 1.05)


# -- spawns ------------------------------------------------------------------------------------------------------

ALONE = spawn.Spawns(
    count=1,
    pairs=Pairs(ours=(0.6,), theirs=(0.5,)),
    last=Pairs(ours=(0.6,), theirs=(0.5,)),
    attested_s=(0.004,),
    steps={"hardening": 0.001, "attestation, and its record": 0.01, "notebook copied": 0.05},
)
HUNDRED = spawn.Spawns(
    count=100,
    pairs=Pairs(ours=(41, 42, 43), theirs=(40, 41, 42)),
    last=Pairs(ours=(50, 51, 52), theirs=(40, 41, 42)),
    attested_s=(0.1, 0.2, 0.3),
    steps={},
)


def test_what_is_printed_of_spawns():
    """3 % of a burst is more than 100 ms; a target that is just reached is broken."""
    load, compared, last, steps, targets = spawn.as_text(spawn.Figures(load=0.5, spawns=(ALONE, HUNDRED))).split("\n\n")
    assert load == "load average before: 0.5"
    assert compared.splitlines() == [
        "at a time  rounds  DockerSpawner        ours                   added (95%)          ratio (95%)  attested in",
        "        1       1       500.0 ms    600.0 ms     100.0 ms (100.0 to 100.0)  1.20 (1.20 to 1.20)       4.0 ms",
        "      100       3     41000.0 ms  42000.0 ms  1000.0 ms (1000.0 to 1000.0)  1.02 (1.02 to 1.02)     200.0 ms",
    ]
    assert last.splitlines() == [
        "until the last of  DockerSpawner     ours          ratio (95%)",
        "                1         0.50 s   0.60 s  1.20 (1.20 to 1.20)",
        "              100        41.00 s  51.00 s  1.24 (1.24 to 1.25)",
    ]
    assert steps.splitlines() == [
        "what ours does in one spawn   median",
        "            notebook copied  50.0 ms",
        "attestation, and its record  10.0 ms",
        "                  hardening   1.0 ms",
    ]
    assert targets.splitlines() == [
        "                        target     figure    under        ",
        "  added to 1 at a time, median   100.0 ms   100 ms    held",
        "added to 100 at a time, median  1000.0 ms  1230 ms    held",
        "   attestation, and its record    10.0 ms    10 ms  broken",
    ]


def test_time_within_time_is_not_counted_twice():
    """A step that does another one is the whole; methods may be coroutines or not."""

    class Thing:
        async def outer(self):
            await self.inner()

        async def inner(self):
            self.plain()

        def plain(self):
            return 1

    thing, watch = Thing(), spawn.Stopwatch()
    for method in ("outer", "inner", "plain"):
        watch.watch(thing, method, method)
    asyncio.run(thing.outer())
    assert watch.took.keys() == {"outer", "plain"}
    assert watch.took["outer"] > watch.took["plain"] > 0


# -- apply -------------------------------------------------------------------------------------------------------


def test_what_is_printed_of_apply():
    """The slowest round of the most containers has the target."""
    figures = apply.Figures(
        load=0.25,
        changes=(
            apply.Changes(
                count=100,
                plan_s=(0.2, 0.3, 0.4),
                one_by_one=Pairs(ours=(1, 2, 3), theirs=(2, 4, 6)),
                threads=Pairs(ours=(1, 2, 3), theirs=(1, 1, 1)),
                service_s=(2, 3, 5),
            ),
        ),
    )
    load, compared, service, targets = apply.as_text(figures).split("\n\n")
    assert load == "load average before: 0.2"
    head, row = compared.splitlines()
    assert head.split("  ")[0] == "containers"
    assert " ".join(row.split()) == (
        "100 300.0 ms 2000.0 ms 20.0 ms 4000.0 ms 0.50 (0.50 to 0.50) 1000.0 ms 2.00 (1.00 to 3.00)"
    )
    assert service.splitlines() == [
        "a changed file in   least  median    most",
        "   100 containers  2.00 s  3.00 s  5.00 s",
    ]
    assert targets.splitlines() == [
        "                                             target  figure  under        ",
        "a changed file in 100 containers, the slowest round   5.0 s    5 s  broken",
    ]
