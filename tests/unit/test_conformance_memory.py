"""The memory cases' judges: what each says of evidence that is right, wrong, and missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner_limits.conformance import memory, oom, soft
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.loads import FREE, LIMIT_BYTES, LIMITED, reached_bytes, worked
from spawner_limits.conformance.seen import Seen
from spawner_limits.conformance.trial import probe
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.proof.evidence import Host, Load, Outcome
from spawner_limits.report.plot import Point
from spawner_limits.units import GIB, MIB

HELD, BROKEN, UNKNOWN = Outcome.HELD, Outcome.BROKEN, Outcome.UNKNOWN
HOST = Host(cores=2, memory_bytes=24 * GIB, swap_bytes=0, kernel="6.18", engine="Docker 20.10.24")
V1 = dict.fromkeys(("cpu", "cpuacct", "cpuset", "memory", "pids"), 1)
V2 = dict.fromkeys(V1, 2)
MILLISECOND = 1_000_000
CASES = {one.number: one for one in (*memory.CASES, *oom.CASES, *soft.CASES)}


def snapshot(at_ms=0, *, versions=V1, current=10 * MIB, peak=None, oom_kill=0, **limits):
    return Snapshot(
        monotonic_ns=at_ms * MILLISECOND,
        versions=versions,
        memory_current_bytes=current,
        memory_peak_bytes=peak,
        oom_kill=oom_kill,
        limits={name.replace("__", "."): text for name, text in limits.items()},
    )


def evidence(*snapshots, exit_code=None, version=1, **more):
    load = Load(command=(), exit_code=exit_code, oom_killed=None)
    return Seen(snapshots=snapshots, load=load, host=HOST, version=version, **more)


def run(*, peak=LIMIT_BYTES, kills=1, exit_code=137, **more):
    """A run whose counters rose to these, from 10 MiB and no kill."""
    taken = snapshot(peak=10 * MIB), snapshot(100, peak=peak, oom_kill=kills)
    return evidence(*taken, exit_code=exit_code, **more)


def named(table):
    """The rows of a table, each a test with its name."""
    return [pytest.param(*row, id=name) for name, row in table.items()]


def outcomes(verdicts):
    return [one.outcome for one in verdicts]


def steps(last_mib, exit_code=137):
    return run(printed=tuple(map(str, range(4, last_mib + 4, 4))), exit_code=exit_code)


@pytest.mark.parametrize(
    ("taken", "outcome", "reason"),
    named(
        {
            "at the limit": (steps(64), HELD, "last step reached: 64 MiB"),
            "an interpreter and a step below it": (steps(60), HELD, "last step reached: 60 MiB"),
            "as far below as may be": (steps(48), HELD, "last step reached: 48 MiB"),
            "killed long before": (steps(44), BROKEN, "last step reached: 44 MiB, expected from 48 MiB to 64 MiB"),
            "above": (steps(68), BROKEN, "last step reached: 68 MiB, expected from 48 MiB to 64 MiB"),
            "past it, and swapping still": (
                steps(76, None),
                BROKEN,
                "last step reached: 76 MiB, expected from 48 MiB to 64 MiB",
            ),
            "never killed": (steps(128, 0), BROKEN, "last step reached: 128 MiB, expected from 48 MiB to 64 MiB"),
            "ended early by itself": (
                steps(44, 0),
                UNKNOWN,
                "last step reached: 44 MiB, expected from 48 MiB to 64 MiB",
            ),
            "said nothing": (
                run(),
                UNKNOWN,
                "last step reached: nothing was read, expected from 48 MiB to 64 MiB",
            ),
        }
    ),
)
def test_31_the_last_step_lies_in_the_limit_and_near_it(taken, outcome, reason):
    (verdict,) = CASES[31].judge(taken)
    assert (verdict.outcome, verdict.under_load, verdict.reason) == (outcome, outcome, reason)


def test_31_draws_the_staircase_up_to_the_kill():
    taken = evidence(
        snapshot(1000), snapshot(1050, current=64 * MIB), snapshot(1100, current=None, oom_kill=1), snapshot(1150)
    )
    (plot,) = CASES[31].plots(taken)
    assert plot.lines["memory used"][:3] == (
        Point(seconds=0.0, value=10 * MIB),
        Point(seconds=0.05, value=64 * MIB),
        Point(seconds=0.1, value=None),
    )
    assert (plot.unit, plot.limit, plot.marks) == ("bytes", 64 * MIB, {0.1: "OOM kill"})


def test_31_draws_no_kill_that_did_not_come():
    (plot,) = CASES[31].plots(run(kills=0))
    assert plot.marks is None


def peaked(peak, text):
    return evidence(
        snapshot(peak=10 * MIB, memory__limit_in_bytes=text),
        snapshot(9, peak=peak, oom_kill=1, memory__limit_in_bytes=text),
        exit_code=137,
    )


@pytest.mark.parametrize(
    ("taken", "outcome", "under_load"),
    named(
        {
            "exactly the limit": (peaked(LIMIT_BYTES, "67108864"), HELD, HELD),
            "a batch above on each of 2 CPUs": (peaked(LIMIT_BYTES + 128 * 4096, "67108864"), HELD, HELD),
            "a byte more": (peaked(LIMIT_BYTES + 128 * 4096 + 1, "67108864"), BROKEN, BROKEN),
            "not pressed": (peaked(60 * MIB, "67108864"), UNKNOWN, UNKNOWN),
            "the file is wrong, the load no proof of it": (peaked(60 * MIB, "268435456"), BROKEN, UNKNOWN),
        }
    ),
)
def test_32_a_peak_is_pressed_and_within(taken, outcome, under_load):
    (verdict,) = CASES[32].judge(taken)
    assert (verdict.outcome, verdict.under_load) == (outcome, under_load)


READBACK = {
    "v1, rounded down to a page": (30, snapshot(memory__limit_in_bytes="67108864"), HELD),
    "v1, not rounded": (30, snapshot(memory__limit_in_bytes="67109864"), BROKEN),
    "v1, taken away": (30, snapshot(memory__limit_in_bytes="9223372036854771712"), BROKEN),
    "v1, not read": (30, snapshot(), UNKNOWN),
    "v2": (30, snapshot(versions=V2, memory__max="67108864"), HELD),
    "v2, taken away": (30, snapshot(versions=V2, memory__max="max"), BROKEN),
    "a guarantee on v1": (43, snapshot(memory__soft_limit_in_bytes="33554432"), HELD),
    "a guarantee on v2": (43, snapshot(versions=V2, memory__low="33554432"), HELD),
    "a guarantee that was dropped": (43, snapshot(versions=V2, memory__low="0"), BROKEN),
}


@pytest.mark.parametrize(("number", "read", "outcome"), named(READBACK))
def test_30_43_the_files_say_what_was_asked(number, read, outcome):
    assert outcomes(CASES[number].judge(evidence(read))) == [outcome]


def test_30_pages_of_64_kib_round_further():
    read = evidence(snapshot(memory__limit_in_bytes=str(64 * MIB)), page_size_bytes=65536)
    assert outcomes(CASES[30].judge(read)) == [HELD]


KILLS = {
    "33: a kill": (33, run(), [HELD]),
    "33: none": (33, run(kills=0), [BROKEN]),
    "33: not read": (33, evidence(snapshot(oom_kill=None), exit_code=137), [UNKNOWN]),
    "40: killed at the limit": (40, run(), [HELD, HELD]),
    "40: nobody, above the limit": (40, run(kills=0, peak=128 * MIB, exit_code=0), [BROKEN, BROKEN]),
    "42: some of the crowd": (42, run(kills=4, exit_code=0), [HELD, HELD]),
    "42: nobody": (42, run(kills=0, peak=104 * MIB, exit_code=0), [BROKEN, BROKEN]),
    "39: nobody, at the limit": (39, run(kills=0, peak=32 * MIB, exit_code=0), [HELD, HELD]),
    "39: given back early": (39, run(kills=0, peak=29 * MIB, exit_code=0), [HELD, HELD]),
    "39: never cached": (39, run(kills=0, peak=28 * MIB, exit_code=0), [HELD, UNKNOWN]),
    "39: killed": (39, run(kills=1, peak=32 * MIB), [BROKEN, HELD]),
    "39: above": (39, run(kills=0, peak=33 * MIB, exit_code=0), [HELD, BROKEN]),
    "35: the child alone": (35, run(), [HELD, HELD, HELD]),
    "35: it lived": (35, run(kills=0, exit_code=0), [BROKEN, BROKEN, HELD]),
    "35: all died": (35, run(exit_code=None, alive=False), [UNKNOWN, HELD, BROKEN]),
    "36: it alone": (36, run(), [HELD, HELD]),
    "36: it lived": (36, run(kills=0, exit_code=0), [BROKEN, HELD]),
    "36: the container too": (36, run(alive=False), [HELD, BROKEN]),
    "38: another kill": (38, run(kills=0), [HELD, HELD]),
    "38: an OOM kill": (38, run(), [HELD, BROKEN]),
    "38: no kill": (38, run(kills=0, exit_code=0), [BROKEN, HELD]),
}


@pytest.mark.parametrize(("number", "taken", "expected"), named(KILLS))
def test_who_was_killed(number, taken, expected):
    assert outcomes(CASES[number].judge(taken)) == expected


GONE = (snapshot(), snapshot(4, oom_kill=None))
FIRST = {
    "killed, and counted": (run(alive=False), [HELD, HELD]),
    "killed, and gone before it was read": (evidence(*GONE, exit_code=137, alive=False), [HELD, UNKNOWN]),
    "killed, its cgroup still there, not counted": (run(kills=0, alive=False), [HELD, BROKEN]),
    "ended by itself": (evidence(*GONE, exit_code=0, alive=False), [BROKEN, BROKEN]),
}


@pytest.mark.parametrize(("taken", "expected"), named(FIRST))
def test_34_a_vanished_cgroup_is_no_proof_of_anything(taken, expected):
    assert outcomes(CASES[34].judge(taken)) == expected


@pytest.mark.parametrize(
    ("exit_code", "group_kills", "expected"),
    named(
        {
            "all": (137, 1, [HELD, HELD]),
            "one": (None, 0, [BROKEN, BROKEN]),
            "all, but not by this": (137, 0, [HELD, BROKEN]),
            "a kernel before 5.17": (137, None, [HELD, UNKNOWN]),
            "by itself": (0, 1, [BROKEN, HELD]),
        }
    ),
)
def test_37_all_die_together(exit_code, group_kills, expected):
    events = "oom_kill 1" if group_kills is None else f"oom_kill 1\noom_group_kill {group_kills}"
    together = evidence(exit_code=exit_code, version=2, texts={"memory.events": events})
    assert outcomes(CASES[37].judge(together)) == expected


@pytest.mark.parametrize(
    ("hog", "other", "expected"),
    named(
        {
            "the hog alone": (run(), run(kills=0, exit_code=None), [HELD, HELD, HELD]),
            "the neighbour too": (run(), run(alive=False), [HELD, BROKEN, BROKEN]),
            "nobody": (run(exit_code=0), run(kills=0, exit_code=None), [BROKEN, HELD, HELD]),
        }
    ),
)
def test_41_the_neighbour_lives(hog, other, expected):
    assert outcomes(CASES[41].judge(replace(hog, parts={"next door": other}))) == expected


def slowed(above_ms, *, events="low 0\nhigh 7\noom_kill 0\n", kills=0):
    """A MiB each 10 ms up to 32 MiB, and from there each `above_ms`, to 36 MiB."""
    below = [snapshot(10 * mib, current=mib * MIB) for mib in range(1, 33)]
    above = [snapshot(320 + above_ms * mib, current=(32 + mib) * MIB, oom_kill=kills) for mib in range(1, 5)]
    return evidence(*below, *above, version=2, texts={"memory.events": events})


def stopped():
    """It stands still a little above."""
    below = [snapshot(10 * mib, current=mib * MIB) for mib in range(1, 33)]
    above = [snapshot(330 + 20 * at, current=33 * MIB) for at in range(100)]
    return evidence(*below, *above, version=2, texts={"memory.events": "high 7"})


SLOWED = {
    "a hundred times slower": (slowed(1000), [HELD, HELD, HELD]),
    "three times": (slowed(30), [HELD, HELD, HELD]),
    "less, on a host that was busy before": (slowed(29), [HELD, UNKNOWN, HELD]),
    "stands still": (stopped(), [HELD, HELD, HELD]),
    "as fast, and not counted": (slowed(10, events="low 0\nhigh 0\n"), [BROKEN, BROKEN, HELD]),
    "killed": (slowed(1000, kills=1), [HELD, HELD, BROKEN]),
    "no such count": (slowed(1000, events=""), [UNKNOWN, HELD, HELD]),
    "never above": (
        evidence(snapshot(), snapshot(9), version=2, texts={"memory.events": "high 0"}),
        [BROKEN, UNKNOWN, HELD],
    ),
}


@pytest.mark.parametrize(("seen", "expected"), named(SLOWED))
def test_44_above_memory_high_it_is_slower_and_nobody_dies(seen, expected):
    assert outcomes(CASES[44].judge(seen)) == expected


@pytest.mark.parametrize(
    ("refused_at", "said", "outcome"),
    named(
        {
            "at once": ("create", "Minimum memory limit allowed is 6MB", HELD),
            "too late": ("start", "cannot start", BROKEN),
            "never": (None, "it ran", BROKEN),
        }
    ),
)
def test_45_too_little_is_refused_at_once(refused_at, said, outcome):
    (verdict,) = CASES[45].judge(evidence(refused_at=refused_at, said=said))
    assert (verdict.outcome, verdict.files) == (outcome, (f"the engine: {said}",))


def kernel(text):
    """So much memory of the kernel's own, on v1."""
    return evidence(texts={"memory.kmem.usage_in_bytes": text})


KERNEL = {
    "within": (kernel(str(16 * MIB)), HELD, "16 / 16 MiB (100%)"),
    "taken and forgotten": (kernel(str(33 * MIB)), BROKEN, "33 / 16 MiB (206%)"),
    "refused": (evidence(refused_at="start", said="invalid"), HELD, "refused"),
    "not read": (kernel(None), UNKNOWN, "–"),
}


@pytest.mark.parametrize(("taken", "outcome", "seen"), named(KERNEL))
def test_46_kernel_memory_holds_or_is_refused(taken, outcome, seen):
    (verdict,) = CASES[46].judge(taken)
    assert (verdict.outcome, verdict.seen) == (outcome, seen)


@pytest.mark.parametrize(
    ("usage", "stat", "count"),
    named(
        {
            "v1": ("34603008", "cache 9\nrss 8\n", 34603008),
            "v2": (None, "anon 9\nfile 8\nkernel 7000\nkernel_stack 16384\n", 7000),
            "v2 before 5.18": (None, "anon 9\nkernel_stack 16384\n", None),
            "none": (None, "", None),
        }
    ),
)
def test_46_kernel_memory_is_read_on_either_version(usage, stat, count):
    read = evidence(texts={"memory.kmem.usage_in_bytes": usage, "memory.stat": stat})
    assert soft.kernel_bytes(read) == count


def test_a_probe_is_sent_as_the_text_of_its_file():
    """The image needs nothing but a python3."""
    *python, text, size, step = probe("hog", 128, 4)
    assert (python, size, step) == (["python3", "-I", "-S", "-u", "-c"], "128", "4")
    assert text.startswith('"""hog.py MIB')


@pytest.mark.parametrize("code", [0, 137])
def test_a_load_that_worked_or_was_killed_has_pressed(code):
    assert worked(code, "") == code


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (127, "the load failed with exit 127: python3: not found"),
        (1, "the load failed with exit 1: python3: not found"),
        (None, "the load did not end in 40 s: python3: not found"),
    ],
)
def test_a_load_that_failed_proves_nothing(code, message):
    """An image without python3 must not make a limit look BROKEN."""
    with pytest.raises(CannotError) as error:
        worked(code, "python3: not found")
    assert str(error.value) == message


@pytest.mark.parametrize(("printed", "size"), [("", 0), ("4\n8\n12\n", 12 * MIB), ("filled\n", 0)])
def test_what_a_load_told_of(printed, size):
    assert reached_bytes(printed) == size


def test_no_case_leaves_swap_or_takes_the_hosts_memory():
    for setting in (LIMITED, FREE):
        assert setting.asked.memswap_limit == setting.asked.mem_limit <= 256 * MIB
