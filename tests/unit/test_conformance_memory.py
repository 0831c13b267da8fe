"""The memory cases' judges: what each says of evidence that is right, wrong, and missing."""

from __future__ import annotations

import pytest

from spawner_limits.conformance import memory, oom, soft
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.loads import FREE, LIMIT_BYTES, LIMITED, Run, reached_bytes, worked
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.proof.evidence import Evidence, Host, Load, Outcome
from spawner_limits.report.plot import Point
from spawner_limits.units import GIB, MIB
from tests import kernel_files
from tests.kernel_files import VERSIONS, both_versions

HELD, BROKEN, UNKNOWN = Outcome.HELD, Outcome.BROKEN, Outcome.UNKNOWN
HOST = Host(cores=2, memory_bytes=24 * GIB, swap_bytes=0, kernel="6.18", engine="Docker 20.10.24")
MILLISECOND = 1_000_000
CASES = {one.number: one for one in (*memory.CASES, *oom.CASES, *soft.CASES)}


def snapshot(at_ms=0, *, version=2, current=10 * MIB, peak=None, oom_kill=0, limits=None):
    return Snapshot(
        monotonic_ns=at_ms * MILLISECOND,
        versions=VERSIONS[version],
        memory_current_bytes=current,
        memory_peak_bytes=peak,
        oom_kill=oom_kill,
        limits=limits or {},
    )


def evidence(*snapshots, page_size_bytes=4096):
    load = Load(command=(), exit_code=None, oom_killed=None)
    return Evidence(snapshots=snapshots, load=load, host=HOST, page_size_bytes=page_size_bytes)


def run(*, peak=LIMIT_BYTES, kills=1, exit_code=137, alive=True, printed=()):
    """A run whose counters rose to these, from 10 MiB and no kill."""
    snapshots = evidence(snapshot(peak=10 * MIB), snapshot(100, peak=peak, oom_kill=kills))
    return Run(evidence=snapshots, exit_code=exit_code, alive=alive, printed=printed)


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
    (plot,) = CASES[31].plots(Run(evidence=taken, exit_code=137, alive=True))
    assert plot.lines["memory used"][:3] == (
        Point(seconds=0.0, value=10 * MIB),
        Point(seconds=0.05, value=64 * MIB),
        Point(seconds=0.1, value=None),
    )
    assert (plot.unit, plot.limit, plot.marks) == ("bytes", 64 * MIB, {0.1: "OOM kill"})


def test_31_draws_no_kill_that_did_not_come():
    (plot,) = CASES[31].plots(run(kills=0))
    assert plot.marks is None


def peaked(version, peak, limit=LIMIT_BYTES):
    limits = kernel_files.memory(version, limit)
    first = snapshot(version=version, peak=10 * MIB, limits=limits)
    last = snapshot(9, version=version, peak=peak, oom_kill=1, limits=limits)
    return Run(evidence=evidence(first, last), exit_code=137, alive=True)


@both_versions
@pytest.mark.parametrize(
    ("peak", "limit", "outcome", "under_load"),
    named(
        {
            "exactly the limit": (LIMIT_BYTES, LIMIT_BYTES, HELD, HELD),
            "a batch above on each of 2 CPUs": (LIMIT_BYTES + 128 * 4096, LIMIT_BYTES, HELD, HELD),
            "a byte more": (LIMIT_BYTES + 128 * 4096 + 1, LIMIT_BYTES, BROKEN, BROKEN),
            "not pressed": (60 * MIB, LIMIT_BYTES, UNKNOWN, UNKNOWN),
            "the file is wrong, the load no proof of it": (60 * MIB, 256 * MIB, BROKEN, UNKNOWN),
        }
    ),
)
def test_32_a_peak_is_pressed_and_within(version, peak, limit, outcome, under_load):
    (verdict,) = CASES[32].judge(peaked(version, peak, limit))
    assert (verdict.outcome, verdict.under_load) == (outcome, under_load)


READBACK = {
    "v1, rounded down to a page": (30, 1, {"memory.limit_in_bytes": "67108864"}, HELD),
    "v1, not rounded": (30, 1, {"memory.limit_in_bytes": "67109864"}, BROKEN),
    "v1, taken away": (30, 1, {"memory.limit_in_bytes": "9223372036854771712"}, BROKEN),
    "v1, not read": (30, 1, {}, UNKNOWN),
    "v2, rounded down to a page": (30, 2, {"memory.max": "67108864"}, HELD),
    "v2, not rounded": (30, 2, {"memory.max": "67109864"}, BROKEN),
    "v2, taken away": (30, 2, {"memory.max": "max"}, BROKEN),
    "v2, not read": (30, 2, {}, UNKNOWN),
    "v1, a guarantee": (43, 1, {"memory.soft_limit_in_bytes": "33554432"}, HELD),
    "v1, a guarantee that was dropped": (43, 1, {"memory.soft_limit_in_bytes": "9223372036854771712"}, BROKEN),
    "v2, a guarantee": (43, 2, {"memory.low": "33554432"}, HELD),
    "v2, a guarantee that was dropped": (43, 2, {"memory.low": "0"}, BROKEN),
}


@pytest.mark.parametrize(("number", "version", "limits", "outcome"), named(READBACK))
def test_30_43_the_files_say_what_was_asked(number, version, limits, outcome):
    assert outcomes(CASES[number].judge(evidence(snapshot(version=version, limits=limits)))) == [outcome]


@both_versions
def test_30_pages_of_64_kib_round_further(version):
    read = snapshot(version=version, limits=kernel_files.memory(version, 64 * MIB))
    assert outcomes(CASES[30].judge(evidence(read, page_size_bytes=65536))) == [HELD]


KILLS = {
    "33: a kill": (33, run(), [HELD]),
    "33: none": (33, run(kills=0), [BROKEN]),
    "33: not read": (33, Run(evidence=evidence(snapshot(oom_kill=None)), exit_code=137, alive=True), [UNKNOWN]),
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


GONE = evidence(snapshot(), snapshot(4, oom_kill=None))
FIRST = {
    "killed, and counted": (run(alive=False), [HELD, HELD]),
    "killed, and gone before it was read": (Run(evidence=GONE, exit_code=137, alive=False), [HELD, UNKNOWN]),
    "killed, its cgroup still there, not counted": (run(kills=0, alive=False), [HELD, BROKEN]),
    "ended by itself": (Run(evidence=GONE, exit_code=0, alive=False), [BROKEN, BROKEN]),
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
    together = oom.Together(exit_code=exit_code, group_kills=group_kills, file="memory.events")
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
    assert outcomes(CASES[41].judge(oom.Neighbours(hog=hog, other=other))) == expected


def slowed(above_ms, *, events="low 0\nhigh 7\noom_kill 0\n", kills=0):
    """A MiB each 10 ms up to 32 MiB, and from there each `above_ms`, to 36 MiB."""
    below = [snapshot(10 * mib, current=mib * MIB) for mib in range(1, 33)]
    above = [snapshot(320 + above_ms * mib, current=(32 + mib) * MIB, oom_kill=kills) for mib in range(1, 5)]
    return soft.Slowed(evidence=evidence(*below, *above), events=events)


def stopped():
    """It stands still a little above."""
    below = [snapshot(10 * mib, current=mib * MIB) for mib in range(1, 33)]
    above = [snapshot(330 + 20 * at, current=33 * MIB) for at in range(100)]
    return soft.Slowed(evidence=evidence(*below, *above), events="high 7")


SLOWED = {
    "a hundred times slower": (slowed(1000), [HELD, HELD, HELD]),
    "three times": (slowed(30), [HELD, HELD, HELD]),
    "less, on a host that was busy before": (slowed(29), [HELD, UNKNOWN, HELD]),
    "stands still": (stopped(), [HELD, HELD, HELD]),
    "as fast, and not counted": (slowed(10, events="low 0\nhigh 0\n"), [BROKEN, BROKEN, HELD]),
    "killed": (slowed(1000, kills=1), [HELD, HELD, BROKEN]),
    "no such count": (slowed(1000, events=""), [UNKNOWN, HELD, HELD]),
    "never above": (soft.Slowed(evidence=evidence(snapshot(), snapshot(9)), events="high 0"), [BROKEN, UNKNOWN, HELD]),
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
    (verdict,) = CASES[45].judge(soft.Answer(refused_at=refused_at, said=said))
    assert (verdict.outcome, verdict.files) == (outcome, (f"the engine: {said}",))


KERNEL = {
    "within": (soft.Kernel(used_bytes=16 * MIB), HELD, "16 / 16 MiB (100%)"),
    "taken and forgotten": (soft.Kernel(used_bytes=33 * MIB), BROKEN, "33 / 16 MiB (206%)"),
    "refused": (soft.Kernel(used_bytes=None, refusal="invalid"), HELD, "refused"),
    "not read": (soft.Kernel(used_bytes=None), UNKNOWN, "–"),
}


@pytest.mark.parametrize(("kernel", "outcome", "seen"), named(KERNEL))
def test_46_kernel_memory_holds_or_is_refused(kernel, outcome, seen):
    (verdict,) = CASES[46].judge(kernel)
    assert (verdict.outcome, verdict.seen) == (outcome, seen)


@pytest.mark.parametrize(
    ("text", "count"),
    named(
        {
            "v1": ("34603008", 34603008),
            "v2": ("anon 9\nfile 8\nkernel 7000\nkernel_stack 16384\n", 7000),
            "v2 before 5.18": ("anon 9\nkernel_stack 16384\n", None),
            "none": ("", None),
        }
    ),
)
def test_46_kernel_memory_is_read_on_either_version(text, count):
    assert soft.kernel_bytes(text) == count


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
        assert setting.limits.memswap_limit == setting.limits.mem_limit <= 256 * MIB
