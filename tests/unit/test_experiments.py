"""Experiments: the sums of `docker stats` and `top`, and what is found in figures, from hand-made readings."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from spawner_limits.conformance.seen import NO_LOAD, Seen
from spawner_limits.conformance.share import Rivals
from spawner_limits.experiments import accounts, cpu, memory, oom, sharing, stats, swap
from spawner_limits.experiments.accounts import Account
from spawner_limits.experiments.experiment import Done, Experiment, Figure, Judged
from spawner_limits.experiments.listed import EXPERIMENTS
from spawner_limits.experiments.page import page_of
from spawner_limits.experiments.stairs import Climb, size
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.proof.claims import claim
from spawner_limits.proof.evidence import Host, Load, Outcome
from spawner_limits.report import table, to_html, to_json
from spawner_limits.units import GIB, MIB
from tests.unit.command import run

__all__ = ["run"]

HOST = Host(cores=2, memory_bytes=24 * GIB, swap_bytes=0, kernel="6.18", engine="Docker 20.10.24, cgroup v1")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids")
V1, V2 = dict.fromkeys(CONTROLLERS, 1), dict.fromkeys(CONTROLLERS, 2)
SECOND = 1_000_000_000


def seen(snapshots, exit_code=0, version=1, **more):
    load = Load(command=(), exit_code=exit_code, oom_killed=None)
    return Seen(snapshots=tuple(snapshots), load=load, host=HOST, version=version, **more)


# -- what docker stats sums up -----------------------------------------------------------------------------------


def answer(used=1_500_000_000, before=1_000_000_000, system=12 * SECOND, earlier=10 * SECOND, **more):
    """The engine's answer a second after the one before: half a core used, on two CPUs."""
    return {
        "read": "2026-11-22T06:02:13.824286731Z",
        "preread": "2026-11-22T06:02:12.824286731Z",
        "cpu_stats": {"cpu_usage": {"total_usage": used}, "system_cpu_usage": system, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": before}, "system_cpu_usage": earlier, "online_cpus": 2},
        "memory_stats": {"usage": 64 * MIB, "stats": {"total_inactive_file": 55 * MIB, "inactive_file": 1}},
        **more,
    }


def test_docker_stats_sums_a_sample_up():
    """0.5 s of the 2 s that two CPUs have in a second, times two CPUs, is 50 %; memory goes without idle cache."""
    assert stats.sample(answer(), 7) == stats.Sample(
        received_ns=7,
        cpu_percent=50.0,
        cpu_ns=SECOND // 2,
        interval_ns=SECOND,
        system_ns=2 * SECOND,
        cpus=2,
        memory_bytes=9 * MIB,
        memory_usage_bytes=64 * MIB,
    )


PERCENTS = {
    "half a core": ((SECOND // 2, 2 * SECOND, 2), 50.0),
    "the host's time counted 1.5 % too long": ((1_500_000_000, 2_030_000_000, 2), 147.783),
    "17.2 % of it stolen, which is not in the sum": ((2_500_000_000, 3_312_000_000, 4), 301.932),
    "nothing used": ((0, 2 * SECOND, 2), 0.0),
    "no host time, as of an engine that just started": ((SECOND, 0, 2), 0.0),
}


@pytest.mark.parametrize(("given", "percent"), PERCENTS.values(), ids=PERCENTS)
def test_cpu_percent(given, percent):
    """As the docker command computes it."""
    assert stats.cpu_percent(*given) == pytest.approx(percent, abs=0.001)


MEMORY = {
    "v1": ({"usage": 100, "stats": {"total_inactive_file": 60, "inactive_file": 10}}, 40),
    "v2": ({"usage": 100, "stats": {"inactive_file": 97}}, 3),
    "more cache than usage, read at two moments": ({"usage": 100, "stats": {"inactive_file": 101}}, 100),
    "no stat": ({"usage": 100}, 100),
    "a container that has ended": ({}, None),
}


@pytest.mark.parametrize(("given", "shown"), MEMORY.values(), ids=MEMORY)
def test_memory_bytes(given, shown):
    """Usage without idle file cache."""
    assert stats.memory_bytes(given) == shown


def test_a_first_sample_has_no_percentage():
    """There is nothing to compare it with."""
    first = answer(precpu_stats={"cpu_usage": {"total_usage": 0}}, preread="0001-01-01T00:00:00Z")
    assert stats.sample(first, 0).cpu_percent is None


def test_an_old_engine_does_not_say_how_many_cpus_are_online():
    """Then the docker command counts those that a time is given for."""
    old = answer()
    old["cpu_stats"] = {"cpu_usage": {"total_usage": 1_500_000_000, "percpu_usage": [1, 2, 3]}, "system_cpu_usage": 12}
    assert stats.sample(old, 0).cpus == 3


def test_process_ticks():
    """The name may have anything in it."""
    stat = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 1 0 100 5 6"
    assert accounts.process_ticks(stat) == 150


def test_host_ticks():
    """Seven fields count; steal, the eighth, is apart."""
    assert accounts.host_ticks("cpu  1 2 3 4 5 6 7 80 9 10\ncpu0 1 1 1 1\n") == (28, 80)
    assert accounts.host_ticks("cpu 1 2 3 4 5 6 7") == (28, 0)


def test_cores_of_processes():
    """Ticks over time; what began meanwhile counts whole."""
    first = Account(monotonic_ns=0, processes={1: 100, 2: 50}, host=0, steal=0)
    last = Account(monotonic_ns=2 * SECOND, processes={1: 200, 3: 20}, host=400, steal=0)
    assert accounts.cores(first, last) == {1: 0.5, 3: 0.1}


LOG = [
    "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/abc,task_memcg=/docker/abc,task=python3,pid=77,uid=1000",
    "Memory cgroup out of memory: Killed process 77 (python3) total-vm:9kB, anon-rss:8kB",
]


# -- cpu ---------------------------------------------------------------------------------------------------------

SIZES = {1: ((None, 0.75, 0.5), 1), 2: ((None, 1.5, 0.5), 2), 4: ((None, 2.5, 0.5), 4), 64: ((None, 2.5, 0.5), 4)}


@pytest.mark.parametrize(("cores", "tried"), SIZES.items(), ids=map(str, SIZES))
def test_limits_that_a_host_is_large_enough_for(cores, tried):
    """2.5 cores where there are more, else three quarters; never more than four workers."""
    assert cpu.settings(cores) == tried


def watched(limit=0.5, cores=0.5, throttled=1.0, system=1.0, steal=0):
    """Seven seconds of two workers."""
    files = {"cpu.cfs_quota_us": "-1" if limit is None else str(int(limit * 100_000)), "cpu.cfs_period_us": "100000"}
    taken = [
        Snapshot(
            monotonic_ns=SECOND + step * SECOND // 10,
            versions=V1,
            cpu_usage_ns=int(step * cores * SECOND / 10),
            nr_periods=step,
            nr_throttled=int(step * throttled),
            limits=files,
        )
        for step in range(71)
    ]
    shown = [
        stats.sample(answer(used=int((cores + 1) * SECOND), system=int((10 + 2 * system) * SECOND)), SECOND * second)
        for second in range(3, 8)
    ]
    kept = [
        Account(
            monotonic_ns=one.monotonic_ns,
            processes={1: 1, 10: int(5 * cores * number), 11: int(5 * cores * number)},
            host=20 * number,
            steal=steal * number,
        )
        for number, one in enumerate(taken)
    ]
    return cpu.Watched(limit=limit, workers=2, seen=seen(taken), shown=tuple(shown), accounts=tuple(kept))


def test_cpu_that_holds():
    """Each container's own sentence, then what the two other tools make of it."""
    free, held = watched(limit=None, cores=2.0), watched(system=1.015)
    found = cpu.told([free, held])
    assert found.outcome is Outcome.HELD
    assert found.findings[:3] == (
        "Without a limit, 2 busy processes used 2.000 cores.",
        "The limit of 0.50 cores HELD: the same load used 0.500 cores, and was stopped in each period.",
        "docker stats was between -1.5% and +0.0% off what the Linux kernel counted meanwhile.",
    )
    assert "for each second on each CPU it counted 1.000 to 1.015 s." in found.findings[3]
    assert found.findings[4].startswith(
        "top shows processes, not containers: under the limit of 0.50 cores it had 2 busy lines of at most 25%, "
    )


def test_steal_makes_docker_stats_read_high():
    """The time that the machine below took is not in its divisor."""
    (_, _, why, *_) = cpu.told([watched(system=0.828, steal=4)]).findings
    assert why.startswith("top") is False
    told = " ".join(cpu.told([watched(system=0.828, steal=4)]).findings)
    assert "between +20.8% and +20.8% off" in told
    assert "Time that the machine below took (16.7% of it here) is not in that sum, which makes it read high." in told


def test_docker_stats_that_is_right_is_called_so():
    """No difference is made where there is none."""
    told = cpu.told([watched()]).findings[1]
    assert told.startswith("docker stats was between +0.0% and +0.0% off")
    assert "Here it may be believed" in told


def test_a_quota_that_was_not_pressed_is_unknown():
    """Others on the host had the CPUs: nothing is said of the limit."""
    found = cpu.told([watched(limit=None, cores=0.7), watched(cores=0.3, throttled=0.2)])
    assert found.outcome is Outcome.UNKNOWN
    assert found.findings[0].endswith("others on this host wanted the CPUs too.")
    assert found.findings[1].startswith("The limit of 0.50 cores is UNKNOWN: not pressed")


def test_a_quota_that_does_not_hold_is_broken():
    """The word is the judge's own."""
    assert cpu.told([watched(cores=1.0, throttled=0)]).outcome is Outcome.BROKEN


def test_no_sample_of_docker_stats():
    """It is said; nothing is made up."""
    found = cpu.told([replace(watched(), shown=())])
    assert "docker stats gave no sample in the time." in found.findings
    (row,) = [one for one in found.figures if one.key == "shown_most_cores"]
    assert (row.value, row.number) == ("–", None)


# -- memory, swap ------------------------------------------------------------------------------------------------


def climb(*, limit=64 * MIB, total=64 * MIB, peak=64 * MIB, swapped=0, kills=1, code=137, reached=60, v=1, **files):
    """A staircase that ended so."""
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if v == 1 else ("memory.max", "memory.swap.max")
    limits = {names[0]: str(limit), names[1]: str(total if v == 1 else total - limit), **files}
    first, last = (
        Snapshot(
            monotonic_ns=at,
            versions=V1 if v == 1 else V2,
            memory_current_bytes=used,
            memory_peak_bytes=used,
            memsw_peak_bytes=used + swap_used,
            swap_current_bytes=swap_used,
            memory_inactive_file_bytes=0,
            oom_kill=killed,
            limits=limits,
        )
        for at, used, swap_used, killed in ((0, MIB, 0, 3), (SECOND, peak, swapped, 3 + kills))
    )
    return Climb(seen=seen([first, last], code, version=v), shown=(), reached_bytes=reached * MIB)


def filled(usage=63 * MIB, cache=55 * MIB, kills=0):
    taken = tuple(
        Snapshot(
            monotonic_ns=at * SECOND,
            versions=V1,
            memory_current_bytes=usage,
            memory_inactive_file_bytes=cache,
            oom_kill=count,
        )
        for at, count in ((1, 0), (2, kills))
    )
    return memory.Filled(seen=seen(taken), sample=stats.sample(answer(), 0))


def test_memory_that_holds():
    """The kill, what docker stats leaves out, and that cache kills nobody."""
    found = memory.told(climb(), filled())
    assert found.outcome is Outcome.HELD
    assert found.findings[0] == (
        "The limit HELD: the process reached 60 MiB, asked for 4 MiB more, and the Linux kernel's OOM killer ended it "
        "with exit code 137; no more than 64 MiB was ever counted. The container lives on: only the process was ended."
    )
    assert found.findings[1].startswith("docker stats showed 9 MiB where the limit counted 63 MiB of 64 MiB: ")
    assert found.plots[0].counts == {1.0: 1}


def test_memory_that_does_not_hold():
    """More was counted than allowed."""
    found = memory.told(climb(peak=80 * MIB, kills=0, code=0, reached=96), filled())
    assert found.outcome is Outcome.BROKEN
    assert found.findings[0].startswith("The memory limit is BROKEN: peak 80 MiB")


def test_an_unread_sample_is_said():
    """No comparison without both."""
    found = memory.told(climb(), replace(filled(), sample=None))
    assert found.findings[1:] == ("What docker stats shows could not be compared: one of the two was not read.",)


def test_swap_that_holds():
    """Ten MiB more, in swap."""
    found = swap.told_swap(climb(), climb(total=74 * MIB, swapped=10 * MIB, reached=72))
    assert found.outcome is Outcome.HELD
    assert found.findings[0] == (
        "Both limits HELD. Without swap the process was ended after 60 MiB, with 10 MiB of swap after 72 MiB: 12 "
        "MiB more."
    )
    assert found.findings[1].startswith("Memory stopped at its own limit (64 MiB), and 10 MiB went to swap: ")


def test_swap_that_is_not_limited():
    """As where the engine finds no swap limit: the kernel shows another value, and the process lives."""
    unlimited = climb(v=2, total=64 * MIB, swapped=40 * MIB, kills=0, code=0, reached=112, **{"memory.swap.max": "max"})
    found = swap.told_swap(climb(v=2), unlimited)
    assert found.outcome is Outcome.BROKEN
    assert any(one.startswith("with 10 MiB of swap: memswap_limit is BROKEN: ") for one in found.findings)


def test_swappiness():
    """0 is killed, 60 swaps; the other way round is BROKEN."""
    killed = climb(total=128 * MIB, **{"memory.swappiness": "0"})
    swapped = climb(total=128 * MIB, swapped=40 * MIB, kills=0, code=0, reached=96, **{"memory.swappiness": "60"})
    found = swap.told_swappiness({0: killed, 60: swapped})
    assert found.outcome is Outcome.HELD
    assert found.findings[:2] == (
        "With swappiness 0 the process reached 60 MiB, 0 B were swapped out, and the OOM killer ended it.",
        "With swappiness 60 the process reached 96 MiB, 40 MiB were swapped out, and it ended by itself, with exit 0.",
    )
    assert swap.told_swappiness({0: swapped, 60: killed}).outcome is Outcome.BROKEN
    assert (
        swap.told_swappiness({0: replace(killed, seen=replace(killed.seen, load=NO_LOAD))}).outcome is Outcome.UNKNOWN
    )


def test_sizes_that_are_close():
    """A decimal where MiB are not whole."""
    assert [size(one) for one in (None, 0, 64 * MIB, 64 * MIB - 4096, 820 * 1024)] == [
        *("not read", "0 B", "64 MiB", "64.0 MiB", "820 KiB"),
    ]


# -- shares ------------------------------------------------------------------------------------------------------


def contestants(shares, parts, weights, *, version=1, theirs=1.0):
    """Three containers on one CPU; `parts` of each phase."""
    versions, file = (V1, "cpu.shares") if version == 1 else (V2, "cpu.weight")

    def phase(begin, got):
        taken = tuple(
            tuple(
                Snapshot(
                    monotonic_ns=begin + at * SECOND,
                    versions=versions,
                    cpu_usage_ns=int(at * part * theirs * SECOND),
                    limits={file: str(one)},
                )
                for at in range(6)
            )
            for part, one in zip(got, weights, strict=True)
        )
        return Rivals(taken=taken, cpus=1, idle=0.0, seen=seen(taken[0]))

    three, two = parts
    return sharing.Contestants(shares=shares, phases=(phase(SECOND, three), phase(7 * SECOND, (*two, 0.0))))


THIRDS = ((1 / 3, 1 / 3, 1 / 3), (0.5, 0.5))
TWO_ONE_ONE = (2048, 1024, 1024)


def test_sharing():
    """A third each; then a half."""
    found = sharing.told_sharing(contestants((None,) * 3, THIRDS, (1024,) * 3))
    assert (found.outcome, len(found.judged)) == (Outcome.HELD, 5)
    assert (
        "shared the CPU 33.3 / 33.3 / 33.3 %: each has the Linux kernel's ordinary weight (1024)" in found.findings[0]
    )
    assert found.findings[1].startswith("When the third stopped, the other two had 50.0 / 50.0 % at once: ")
    assert list((found.plots[0].marks or {}).values()) == ["the third stops"]


def test_shares_on_v1():
    """As they are: two to one to one, then two to one."""
    found = sharing.told_shares(contestants(TWO_ONE_ONE, ((0.5, 0.25, 0.25), (2 / 3, 1 / 3)), TWO_ONE_ONE))
    assert found.outcome is Outcome.HELD
    assert found.findings[0] == "With cpu_shares 2048 / 1024 / 1024 they got 50.0 / 25.0 / 25.0 %."
    assert found.findings[2].startswith("On cgroup v1 the Linux kernel takes the shares as they are")


def test_shares_on_v2_by_the_new_formula():
    """Twice the shares are 1.74 times the CPU; the formula is told by the weight."""
    weights = (174, 100, 100)
    parts = (tuple(one / 374 for one in weights), (174 / 274, 100 / 274))
    found = sharing.told_shares(contestants(TWO_ONE_ONE, parts, weights, version=2))
    assert found.outcome is Outcome.HELD
    assert found.findings[2] == (
        "On cgroup v2 the container's runtime makes weights of them: 174 / 100 / 100 here, by the formula since runc "
        "1.3.2 and crun 1.23. So twice the shares are 1.74 times the CPU, and not twice: plan with the weights."
    )


def test_shares_on_v2_by_the_old_formula():
    """Nearly as asked."""
    weights = (79, 39, 39)
    parts = (tuple(one / 157 for one in weights), (79 / 118, 39 / 118))
    found = sharing.told_shares(contestants(TWO_ONE_ONE, parts, weights, version=2))
    assert found.findings[2] == (
        "On cgroup v2 the container's runtime makes weights of them: 79 / 39 / 39 here, by the formula before runc "
        "1.3.2 and crun 1.23."
    )


def test_a_contest_that_others_disturbed_says_nothing_of_shares():
    """UNKNOWN, and the parts are not called anybody's due."""
    found = sharing.told_sharing(contestants((None,) * 3, THIRDS, (1024,) * 3, theirs=0.6))
    assert found.outcome is Outcome.UNKNOWN
    assert found.findings == (
        "all three: UNKNOWN: the CPU was only 60% theirs: something else is busy here.",
        "the third stopped: UNKNOWN: the CPU was only 60% theirs: something else is busy here.",
        "Nothing is said of the parts above: they are what others left. Repeat it on a quiet host.",
    )


def test_shares_that_the_kernel_does_not_keep_are_broken():
    """All the CPU is theirs, and the parts are not those of the weights."""
    found = sharing.told_shares(contestants(TWO_ONE_ONE, THIRDS, TWO_ONE_ONE))
    assert found.outcome is Outcome.BROKEN
    assert not any(one.startswith("With cpu_shares") for one in found.findings)


# -- oom ---------------------------------------------------------------------------------------------------------


def fall(*, version=1, refusal="Device or resource busy", code=137, kills=8, alive=True, log=(LOG[1],), problem=""):
    taken = [
        Snapshot(
            monotonic_ns=at * SECOND,
            versions=V1 if version == 1 else V2,
            memory_current_bytes=MIB,
            oom_kill=min(at, kills),
            pids_current=9 - min(at, 8),
        )
        for at in range(10)
    ]
    return oom.Fall(
        seen=seen(taken, code, version, alive=alive, recorded={"Memory": 256 * MIB}),
        written=tuple(
            oom.Written(monotonic_ns=at * SECOND, limit_bytes=(72 - 8 * at) * MIB, refusal=None) for at in range(9)
        ),
        left=1,
        last=oom.Written(monotonic_ns=9 * SECOND + 1, limit_bytes=MIB, refusal=refusal),
        flag=True,
        log=log,
        log_problem=problem,
    )


def test_oom_on_v1():
    """One after the other; the very low limit is refused, and ends the last one all the same."""
    found = oom.told(fall())
    assert found.outcome is Outcome.HELD
    assert found.findings[0].startswith(
        "The Linux kernel's OOM killer ended 8 processes, one by one as the limit fell, and"
    )
    assert found.findings[1].startswith("docker inspect said 256 MiB all the time: ")
    assert found.findings[2].startswith("A limit of 1 MiB was refused (Device or resource busy): cgroup v1 ")
    assert found.findings[3] == f"The Linux kernel's log says: {LOG[1]}"


def test_oom_on_v2():
    """There the very low limit is taken."""
    found = oom.told(fall(version=2, refusal=None))
    assert found.findings[2].startswith("A limit of 1 MiB was taken, and ended what was left at once: exit code 137.")
    assert found.figures[0].source == "memory.max"


def test_oom_that_did_not_come():
    """No kill, or a container that outlives the end, is BROKEN; a log that can't be read is said."""
    assert oom.told(fall(kills=0)).findings[0] == "No process was killed while the limit fell."
    assert oom.told(fall(kills=0)).outcome is Outcome.BROKEN
    assert oom.told(fall(code=None)).outcome is Outcome.UNKNOWN
    assert oom.told(fall(alive=False)).outcome is Outcome.BROKEN
    refused = replace(fall(kills=7, code=None), written=fall().written[:5])
    assert oom.told(refused).outcome is Outcome.UNKNOWN  # what was to kill was never in force
    unread = oom.told(fall(log=(), problem="/dev/kmsg: Operation not permitted"))
    assert unread.findings[-1] == "The Linux kernel's log could not be read (/dev/kmsg: Operation not permitted)."


# -- told --------------------------------------------------------------------------------------------------------

ALL = {
    "cpu": cpu.told([watched(limit=None, cores=2.0), watched(), watched(limit=1.5, cores=1.5)]),
    "memory": memory.told(climb(), filled()),
    "swap": swap.told_swap(climb(), climb(total=74 * MIB, swapped=10 * MIB, reached=72)),
    "swappiness": swap.told_swappiness({0: climb(**{"memory.swappiness": "0"})}),
    "sharing": sharing.told_sharing(contestants((None,) * 3, THIRDS, (1024,) * 3)),
    "shares": sharing.told_shares(contestants(TWO_ONE_ONE, ((0.5, 0.25, 0.25), (2 / 3, 1 / 3)), TWO_ONE_ONE)),
    "oom": oom.told(fall()),
}


def done(experiment):
    return Done(
        experiment=experiment,
        host=HOST,
        image="image",
        started="2026-11-22T06:00:00+00:00",
        seconds=12.3,
        version="0.1.0",
    )


@pytest.mark.parametrize("found", ALL.values(), ids=ALL)
def test_it_fits_a_terminal(found):
    """80 columns, with every figure and every finding."""
    console = Console(width=80, highlight=False, no_color=True)
    with console.capture() as drawn:
        console.print(table(page_of(done(found))))
    lines = drawn.get().splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(drawn.get().split())
    assert [one.what for one in found.figures if one.what not in words] == []
    assert [one for one in found.findings if one.split()[0] not in words] == []


@pytest.mark.parametrize("found", ALL.values(), ids=ALL)
def test_the_page_has_the_charts(found):
    """One chart a plot, in units that charts know; nothing is loaded from anywhere."""
    page = to_html(page_of(done(found)))
    assert page.count("<svg ") == len(found.plots) > 0
    assert "default-src 'none'" in page
    assert "<script" not in page


@pytest.mark.parametrize("found", ALL.values(), ids=ALL)
def test_the_document_for_programs(found):
    """Every figure under its key; `null` with a reason."""
    document = json.loads(to_json(page_of(done(found))))
    assert (document["schema_version"], document["experiment"]) == (1, found.name)
    for row, figure in zip(document["figures"], found.figures, strict=True):
        assert row[figure.key] == figure.number
        assert ("reason" in row) is (figure.number is None)
    assert {line["label"] for plot in document["plots"] for line in plot["lines"]}


def test_what_a_page_is_told_is_escaped():
    """A name of an image is no markup."""
    assert "<b>" not in to_html(page_of(replace(done(ALL["oom"]), image="<b>"))).split("</head>")[1]


CODES = {True: 0, False: 1, None: 3}


@pytest.mark.parametrize(("holds", "code"), CODES.items(), ids=map(str, CODES))
def test_exit_codes(holds, code):
    """BROKEN is 1, UNKNOWN 3."""
    verdict = claim("it", expected="so", seen="so", holds=holds)
    figure = Figure(part="a", what="b", value="c", source="d", key="e_bytes", number=1)
    found = Experiment(
        name="x", title="X", setup="", figures=(figure,), findings=(), judged=(Judged(part="a", verdict=verdict),)
    )
    assert done(found).exit_code == code


def test_without_anything_judged_it_is_done():
    """There is nothing that could be wrong."""
    assert done(Experiment(name="x", title="X", setup="", figures=(), findings=())).exit_code == 0


# -- the verb ----------------------------------------------------------------------------------------------------

REFUSED = {
    "a slip": (("shars",), 'spawner-limits: "shars": no such experiment; did you mean "shares"?\n'),
    "no experiment": (("x",), f'spawner-limits: "x": no such experiment; expected one of {", ".join(EXPERIMENTS)}\n'),
    "no image": (("cpu", "--image", ""), "spawner-limits: --image is empty: give the name of an image\n"),
    "a time for what has its own": (
        ("oom", "--seconds", "5"),
        "spawner-limits: --seconds: oom ends by itself; it is for cpu, sharing and shares\n",
    ),
    "a file in no directory": (
        ("oom", "--json", "no/such"),
        "spawner-limits: --json no/such: not a file in a directory that exists\n",
    ),
    "two for stdout": (
        ("oom", "--json", "-", "--html", "-"),
        "spawner-limits: only one of --json, --html and --junit can go to stdout\n",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(run, arguments, message):
    """Before anything is made."""
    ended = run("experiment", *arguments)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", message)


def test_help_names_every_experiment(run):
    """So that nobody has to guess."""
    ended = run("experiment", "--help")
    assert [name for name in EXPERIMENTS if name not in ended.stdout] == []


# -- the docs ----------------------------------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs" / "experiments"
PAGES = {name: (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ALL}
SHOWN = {
    f"{name} {number}": (name, shown)
    for name, page in PAGES.items()
    for number, shown in enumerate(re.findall(r"^```console\n(\$ .*?)^```$", page, re.MULTILINE | re.DOTALL), 1)
}


def test_each_experiment_has_a_page():
    """And the index names all of them."""
    assert {*PAGES, "overhead"} == set(EXPERIMENTS)
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [name for name in EXPERIMENTS if not re.search(rf"^\| \[?{name}\b", index, re.MULTILINE)] == []


@pytest.mark.parametrize(("name", "shown"), SHOWN.values(), ids=SHOWN)
def test_what_a_page_shows(name, shown):
    """The command of its own name, and what that prints at 80 columns."""
    command, *lines = shown.splitlines()
    assert command == f"$ spawner-limits experiment {name}"
    refused = lines[0].startswith("spawner-limits: ")
    assert refused or max(map(len, lines)) <= 80
    assert refused or " ".join(lines).startswith(EXPERIMENTS[name].title)
    assert refused or [one for one in ("What one sees", f"\n{name}: ") if one not in shown] == []
    assert "BROKEN" not in shown


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_its_experiment(name):
    """At least once as it ends when it is done."""
    assert any(one == name and "What one sees" in shown for one, shown in SHOWN.values())


@pytest.mark.parametrize(("name", "found"), ALL.items(), ids=ALL)
def test_a_page_has_the_rows_of_today(name, found):
    """A figure that was renamed is renamed there too."""
    rows = {
        one.what for one in found.figures if ":" not in one.what and one.source.startswith(("cpu", "docker", "/dev"))
    }
    text = " ".join(PAGES[name].split())
    assert sorted(one for one in rows if one not in text) == []
