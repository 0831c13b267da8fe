"""The judge: three outcomes for each limit, and no way to be talked into HELD."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner_limits.engines.docker import translate
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Contest, Evidence, Host, Load, Outcome, Report, Trial
from spawner_limits.proof.judge import judge
from spawner_limits.units import GIB, MIB

HOST = Host(cores=2, memory_bytes=24 * GIB, swap_bytes=0, kernel="6.18", engine="Docker 20.10.24")
LOAD = Load(command=("load",), exit_code=0, oom_killed=False)
V1 = dict.fromkeys(("cpu", "cpuacct", "cpuset", "memory", "pids"), 1)
V2 = dict.fromkeys(V1, 2)
LIMITS = Limits(mem_limit=GIB, memswap_limit=GIB, cpu_limit=0.5, pids_limit=256)
FILES_V1 = {
    "memory.limit_in_bytes": str(GIB),
    "memory.memsw.limit_in_bytes": str(GIB),
    "cpu.cfs_quota_us": "50000",
    "cpu.cfs_period_us": "100000",
    "cpu.shares": "1024",
    "pids.max": "256",
}
FILES_V2 = {
    "memory.max": str(GIB),
    "memory.swap.max": "0",
    "cpu.max": "50000 100000",
    "cpu.weight": "39",
    "pids.max": "256",
}
SECOND = 1_000_000_000


def series(seconds=10.0, cores=0.5, throttled=1.0, files=FILES_V1, versions=V1, **last):
    """Ten snapshots a second of a load with a constant appetite; `last` is what the last one shows besides."""
    count = round(seconds * 10)
    snapshots = [
        Snapshot(
            monotonic_ns=SECOND + step * SECOND // 10,
            versions=versions,
            cpu_usage_ns=round(step * cores * SECOND / 10),
            nr_periods=step,
            nr_throttled=round(step * throttled),
            throttled_ns=0,
            memory_current_bytes=300 * MIB,
            memory_peak_bytes=300 * MIB,
            swap_current_bytes=0,
            memsw_peak_bytes=300 * MIB,
            oom_kill=0,
            pids_current=20,
            pids_max_events=0,
            limits=files if step in (0, count) else {},
        )
        for step in range(count + 1)
    ]
    return (*snapshots[:-1], replace(snapshots[-1], **last))


def evidence(snapshots, **changes):
    return Evidence(
        snapshots=tuple(snapshots), load=changes.pop("load", LOAD), host=changes.pop("host", HOST), **changes
    )


def verdict(field, snapshots, limits=LIMITS, **changes):
    (found,) = (one for one in judge(translate(limits).expect, evidence(snapshots, **changes)) if one.field == field)
    return found


PRESSED = {"memory_peak_bytes": GIB, "memsw_peak_bytes": GIB, "oom_kill": 1}

OUTCOMES = {
    # memory
    "memory: pressed into an OOM kill": (
        "mem_limit", series(**PRESSED), "HELD", "peak 1.00 GiB, and the OOM killer ended 1 process",
    ),
    "memory: reached, and reclaimed without a kill": (
        "mem_limit", series(memory_peak_bytes=GIB), "HELD", "peak 1.00 GiB reached the limit and did not pass it",
    ),
    "memory: not pressed": ("mem_limit", series(), "UNKNOWN", "not pressed: largest sample 300 MiB"),
    "memory: a page above, as a forced charge may be": (
        "mem_limit", series(memory_peak_bytes=GIB + 4096, oom_kill=1), "HELD",
        "peak 1.00 GiB, 4096 bytes above it, as a batch of 64 pages a CPU may be, and the OOM killer ended 1 process",
    ),
    "memory: above by more than a batch on each CPU": (
        "mem_limit", series(memory_peak_bytes=GIB + 129 * 4096, oom_kill=1), "BROKEN",
        "peak 1.00 GiB (1074270208 bytes) is above the limit",
    ),
    "memory: nearly all of it": (
        "mem_limit", series(memory_peak_bytes=int(0.98 * GIB)), "UNKNOWN", "not pressed: peak 1004 MiB",
    ),
    "memory: a peak of before, and no load": (
        "mem_limit", [replace(one, memory_peak_bytes=GIB) for one in series()], "UNKNOWN",
        "not pressed: largest sample 300 MiB",
    ),
    "memory: the limit was lowered below a peak of before": (
        "mem_limit",
        [replace(one, memory_peak_bytes=2 * GIB) for one in series(memory_current_bytes=GIB, oom_kill=1)], "HELD",
        "largest sample 1.00 GiB, and the OOM killer ended 1 process",
    ),
    "memory: full of cache before, and nobody was killed": (
        "mem_limit", [replace(one, memory_current_bytes=GIB, memory_peak_bytes=GIB) for one in series()], "UNKNOWN",
        "not pressed: largest sample 1.00 GiB; it was full before the press",
    ),
    "memory: full before, and somebody was killed": (
        "mem_limit",
        [replace(one, memory_current_bytes=GIB, memory_peak_bytes=GIB) for one in series(oom_kill=1)], "HELD",
        "largest sample 1.00 GiB, and the OOM killer ended 1 process",
    ),
    "memory: an OOM kill far below the limit presses nothing": (
        "mem_limit", series(oom_kill=1), "UNKNOWN", "not pressed: largest sample 300 MiB",
    ),
    "memory: pressed, but the kernel shows no limit": (
        "mem_limit", series(files=FILES_V1 | {"memory.limit_in_bytes": "9223372036854771712"}, **PRESSED), "BROKEN",
        "the kernel shows memory.limit_in_bytes = 9223372036854771712, expected 1073741824",
    ),
    "memory: peak unread, the largest sample serves": (
        "mem_limit",
        [replace(one, memory_peak_bytes=None) for one in series(memory_current_bytes=GIB, oom_kill=1)], "HELD",
        "largest sample 1.00 GiB, and the OOM killer ended 1 process",
    ),
    "memory: nothing could be read": (
        "mem_limit",
        [
            replace(one, memory_peak_bytes=None, memory_current_bytes=None, unread={"memory_peak_bytes": "it is gone"})
            for one in series()
        ], "UNKNOWN", "memory use could not be read: it is gone",
    ),
    "memory: the limit's file could not be read": (
        "mem_limit",
        [replace(one, limits={}, unread={"memory.limit_in_bytes": "no such file"}) for one in series(**PRESSED)],
        "UNKNOWN", "no such file",
    ),
    # memory and swap
    "swap: pressed": (
        "memswap_limit", series(**PRESSED), "HELD", "peak 1.00 GiB, and the OOM killer ended 1 process",
    ),
    "swap: not pressed on a host without any": (
        "memswap_limit", series(), "UNKNOWN",
        "not pressed: largest sample 300 MiB; this host has no swap to press with",
    ),
    "swap: silently unlimited on v2": (
        "memswap_limit", series(files=FILES_V2 | {"memory.swap.max": "max"}, versions=V2, **PRESSED), "BROKEN",
        "the kernel shows memory.swap.max = max, expected 0",
    ),
    "swap: v2 without a peak file": (
        "memswap_limit",
        [replace(one, memsw_peak_bytes=None) for one in series(files=FILES_V2, versions=V2, **PRESSED)],
        "HELD", "peak 1.00 GiB, and the OOM killer ended 1 process",
    ),
    # CPU
    "CPU: throttled all the time": (
        "cpu_limit", series(), "HELD", "throttled in 100% of periods and never above it, in 5 windows",
    ),
    "CPU: on v2": (
        "cpu_limit", series(files=FILES_V2, versions=V2), "HELD",
        "throttled in 100% of periods and never above it, in 5 windows",
    ),
    "CPU: idle": ("cpu_limit", series(cores=0.1, throttled=0), "UNKNOWN",
        "not pressed: throttled in 0 of 3 windows needed"),
    "CPU: too short": (
        "cpu_limit", series(seconds=5), "UNKNOWN", "not pressed: throttled in 2 of 3 windows needed",
    ),
    "CPU: no window at all": ("cpu_limit", series(seconds=1), "UNKNOWN", "CPU use over two seconds was not read"),
    "CPU: above the quota": (
        "cpu_limit", series(cores=0.6), "BROKEN", "0.60 cores over 2.0 s, 20% above it",
    ),
    "CPU: two cores, no quota at all": (
        "cpu_limit",
        [
            replace(one, nr_periods=0, nr_throttled=0)
            for one in series(cores=2, files=FILES_V1 | {"cpu.cfs_quota_us": "-1"})
        ], "BROKEN",
        "the kernel shows cpu.cfs_quota_us = -1, expected 50000; 2.00 cores over 2.0 s, 300% above it",
    ),
    "CPU: contention, throttled in few periods": (
        "cpu_limit", series(cores=0.48, throttled=0.5), "UNKNOWN",
        "used in full, but not throttled long enough: is something else busy here?",
    ),
    "CPU: throttled, and yet less than the quota": (
        "cpu_limit", series(cores=0.4), "UNKNOWN",
        "throttled, but used only 0.40 cores: is something else busy here?",
    ),
    "CPU: a counter that fell": (
        "cpu_limit", series(cpu_usage_ns=0), "UNKNOWN",
        "cpu_usage_ns went backwards: this was not one cgroup all the time",
    ),
    "CPU: the quota was lifted before the end": (
        "cpu_limit", series(limits=FILES_V1 | {"cpu.cfs_quota_us": "-1"}), "BROKEN",
        "the kernel shows cpu.cfs_quota_us = -1, expected 50000",
    ),
    # processes
    "processes: refused at the limit": (
        "pids_limit", series(pids_current=256, pids_max_events=3), "HELD", "3 forks were refused at the limit",
    ),
    "processes: not pressed": ("pids_limit", series(), "UNKNOWN", "not pressed: 20 processes, no fork refused"),
    "processes: refused by a cgroup above": (
        "pids_limit",
        [replace(one, pids_peak=30) for one in series(pids_current=30, pids_max_events=3)], "UNKNOWN",
        "not pressed: 3 forks were refused at no more than 30 processes, by a limit of a cgroup above",
    ),
    "processes: refused while nobody looked": (
        "pids_limit", series(pids_current=30, pids_max_events=3), "UNKNOWN",
        "not pressed: 3 forks were refused at no more than 30 processes, by a cgroup above, or unseen",
    ),
    "processes: one above the limit in every sample": (
        "pids_limit", [replace(one, pids_current=257) for one in series(pids_max_events=3)], "BROKEN",
        "257 processes at once",
    ),
    "processes: at the limit, but none refused": (
        "pids_limit", series(pids_current=256), "UNKNOWN", "not pressed: 256 processes, no fork refused",
    ),
    "processes: above the limit": ("pids_limit", series(pids_current=300), "BROKEN", "300 processes at once"),
    "processes: one fork more on each CPU, about to be refused": (
        "pids_limit", series(pids_current=258, pids_max_events=1), "HELD", "1 fork was refused at the limit",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("field", "snapshots", "outcome", "reason"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcome(field, snapshots, outcome, reason):
    """One limit, one situation, one outcome with its reason in one sentence."""
    found = verdict(field, snapshots)
    assert (found.outcome, found.reason) == (Outcome(outcome), reason)


def test_a_load_that_failed_is_named_where_a_limit_was_not_pressed():
    """UNKNOWN says why there was no press."""
    load = replace(LOAD, exit_code=1, problem="the load ended with exit code 1: no notebook")
    assert verdict("mem_limit", series(), load=load).reason == (
        "not pressed: largest sample 300 MiB (the load ended with exit code 1: no notebook)"
    )


def test_a_limit_of_all_cores_cannot_be_pressed():
    """A quota that the host has no more cores than is UNKNOWN, and says so."""
    files = FILES_V1 | {"cpu.cfs_quota_us": "200000"}
    found = verdict("cpu_limit", series(cores=1.9, throttled=0, files=files), Limits(cpu_limit=2.0))
    assert (found.outcome, found.reason) == (
        Outcome.UNKNOWN, "this host has 2 cores, so the limit can't be pressed",
    )  # fmt: skip


def test_an_honest_quota_may_pass_one_period_more():
    """Within 2 s a quota of 0.5 lets up to 0.53 cores through: one period, and a slice on each CPU. Not 0.54."""
    assert verdict("cpu_limit", series(cores=0.529)).outcome is Outcome.HELD
    assert verdict("cpu_limit", series(cores=0.54)).outcome is Outcome.BROKEN


def with_extra(snapshots, after, extra_s):
    """The same, with so much more CPU time at one step, for which the load then stands still until it is even."""
    more = [max(0.0, extra_s - 0.05 * (step - after)) if step >= after else 0.0 for step in range(len(snapshots))]
    return [
        replace(one, cpu_usage_ns=one.cpu_usage_ns + round(extra * SECOND))
        for one, extra in zip(snapshots, more, strict=True)
    ]


def test_one_window_a_bit_above_is_no_proof():
    """A host that is held up for a moment lets a period's end pass; twice, or by much more, is another matter."""
    once = verdict("cpu_limit", with_extra(series(), 30, 0.08))
    assert (once.outcome, once.reason) == (
        Outcome.UNKNOWN,
        "0.54 cores over 2.0 s, 8% above it, but for a moment only: was this machine held up?",
    )
    twice = with_extra(with_extra(series(), 30, 0.08), 70, 0.08)
    assert verdict("cpu_limit", twice).outcome is Outcome.UNKNOWN
    assert verdict("cpu_limit", with_extra(series(), 30, 0.25)).outcome is Outcome.UNKNOWN


def test_an_excess_that_is_paid_back_at_once_is_none():
    """The kernel gives nothing until it is even, however often the machine was held up just before."""
    extra = [0.0] * 30 + [0.1, 0.2, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05] + [0.0] * 63
    paid = [
        replace(one, cpu_usage_ns=one.cpu_usage_ns + round(more * SECOND))
        for one, more in zip(series(), extra, strict=True)
    ]
    assert verdict("cpu_limit", paid).outcome is Outcome.UNKNOWN
    kept = [
        replace(one, cpu_usage_ns=one.cpu_usage_ns + round(max(extra[: step + 1]) * SECOND))
        for step, one in enumerate(series())
    ]
    assert verdict("cpu_limit", kept).outcome is Outcome.BROKEN


def test_a_machine_that_stood_still_is_no_excess():
    """For 0.15 s both the clock and the charged time ran on, in one step: nothing is known, and nothing is BROKEN."""
    files = FILES_V1 | {"cpu.cfs_quota_us": "25000"}
    stopped = [
        replace(one, monotonic_ns=one.monotonic_ns + 150_000_000, cpu_usage_ns=one.cpu_usage_ns + 300_000_000)
        if step >= 30
        else one
        for step, one in enumerate(series(cores=0.25, files=files))
    ]
    assert verdict("cpu_limit", stopped, Limits(cpu_limit=0.25)).outcome is Outcome.UNKNOWN


def test_a_machine_that_stands_still_again_and_again_is_no_excess():
    """Each time both CPUs are charged, and before it a period may just have ended, so that some more was used."""

    def used_s(step):  # 0.3 s on each of two CPUs, some of it paid back, and a period's edge before
        times, after = divmod(max(0, step - 10), 20)
        return 0.05 * step + 0.3 * times - 0.05 * min(after, 6) * (times > 0) + 0.3 * (times > 0) + 0.04 * (after > 15)

    taken = [
        replace(
            one,
            monotonic_ns=one.monotonic_ns + 300_000_000 * (max(0, step - 10) // 20),
            cpu_usage_ns=round(used_s(step) * SECOND),
        )
        for step, one in enumerate(series())
    ]
    assert verdict("cpu_limit", taken).outcome is Outcome.UNKNOWN


def test_stolen_time_is_no_excess():
    """What the machine below took from this host was charged to whoever ran then."""
    stolen = [
        replace(one, cpu_usage_ns=one.cpu_usage_ns + step * 10_000_000, steal_ns=step * 10_000_000)
        for step, one in enumerate(series())
    ]
    assert verdict("cpu_limit", stolen).outcome is Outcome.UNKNOWN
    assert verdict("cpu_limit", [replace(one, steal_ns=0) for one in stolen]).outcome is Outcome.BROKEN


def test_swap_that_is_allowed_must_be_used():
    """Memory alone comes within 99 % of a limit of both that is little above it."""
    limits = Limits(mem_limit=GIB, memswap_limit=GIB + 8 * MIB)
    files = FILES_V1 | {"memory.memsw.limit_in_bytes": str(GIB + 8 * MIB)}
    host = replace(HOST, swap_bytes=GIB)
    alone = verdict("memswap_limit", series(files=files, limits=files, **PRESSED), limits, host=host)
    assert (alone.outcome, alone.reason) == (Outcome.UNKNOWN, "not pressed: 0 / 8 MiB (0%) of the swap in it was used")
    both = PRESSED | {"memsw_peak_bytes": GIB + 8 * MIB, "swap_current_bytes": 8 * MIB}
    assert verdict("memswap_limit", series(files=files, limits=files, **both), limits, host=host).outcome is (
        Outcome.HELD
    )


def test_what_the_kernel_has_given_out_is_no_excess():
    """By its own count of periods more time went by than by our clock, which was read late."""
    taken = series(cores=0.54)
    slow = [replace(one, nr_periods=round(1.1 * step), nr_throttled=step) for step, one in enumerate(taken)]
    assert verdict("cpu_limit", slow).outcome is Outcome.UNKNOWN
    assert verdict("cpu_limit", taken).outcome is Outcome.BROKEN


def test_a_small_quota_is_pressed_for_longer():
    """A slice on each CPU is more than a hundredth of a core is given in eight seconds."""
    files = FILES_V1 | {"cpu.cfs_quota_us": "1000"}
    found = verdict("cpu_limit", series(8, cores=0.01, files=files), Limits(cpu_limit=0.01))
    assert (found.outcome, found.reason) == (
        Outcome.UNKNOWN, "not pressed for long enough: 8 of 18 s, which so small a quota needs to be told from more",
    )  # fmt: skip


@pytest.mark.parametrize(("cores", "limit", "used"), [(2, 0.01, 0.015), (64, 0.1, 0.26)])
def test_a_small_quota_has_no_slack_for_each_window(cores, limit, used):
    """A slice for each CPU of the host counts once over all that was pressed: half as much again is not HELD."""
    files = FILES_V1 | {"cpu.cfs_quota_us": str(round(limit * 100_000))}
    host = replace(HOST, cores=cores)
    found = verdict("cpu_limit", series(60, cores=used, files=files), Limits(cpu_limit=limit), host=host)
    assert found.outcome is not Outcome.HELD
    assert verdict("cpu_limit", series(60, cores=limit, files=files), Limits(cpu_limit=limit), host=host).outcome is (
        Outcome.HELD
    )


def test_a_reading_that_came_late_is_no_excess():
    """Between the clock and the counter the reader was interrupted for 0.2 s: so much longer the load had."""
    late = [
        replace(one, cpu_delay_ns=200_000_000) if step in {30, 70} else one
        for step, one in enumerate(with_extra(with_extra(series(), 30, 0.1), 70, 0.1))
    ]
    assert verdict("cpu_limit", late).outcome is Outcome.HELD
    assert verdict("cpu_limit", [replace(one, cpu_delay_ns=0) for one in late]).outcome is Outcome.UNKNOWN


def test_a_burst_between_quiet_stretches_is_found():
    """A quota that failed for two seconds in ten is BROKEN, whatever the average."""
    quiet = series(cores=0.2)
    extra = [0] * 40 + [round(step * 0.6 * SECOND / 10) for step in range(21)] + [round(1.2 * SECOND)] * 40
    burst = [replace(one, cpu_usage_ns=one.cpu_usage_ns + more) for one, more in zip(quiet, extra, strict=True)]
    assert verdict("cpu_limit", burst).outcome is Outcome.BROKEN


def test_unlimited_is_not_judged():
    """What the policy leaves open on purpose has no verdict."""
    limits = Limits(mem_limit=GIB, memswap_limit=None)
    assert [one.field for one in judge(translate(limits).expect, evidence(series(**PRESSED)))] == ["mem_limit"]


def test_what_can_only_be_read_is_never_held():
    """Swappiness and guarantees are read back, not pressed: UNKNOWN, and BROKEN when the kernel shows another value."""
    limits = Limits(mem_swappiness=10, mem_guarantee=512 * MIB)
    files = {"memory.swappiness": "10", "memory.soft_limit_in_bytes": str(512 * MIB)}
    outcomes = {one.field: one.outcome for one in judge(translate(limits).expect, evidence(series(files=files)))}
    assert outcomes == {"mem_swappiness": Outcome.UNKNOWN, "mem_guarantee": Outcome.UNKNOWN}
    files["memory.swappiness"] = "60"
    assert verdict("mem_swappiness", series(files=files), limits).outcome is Outcome.BROKEN


def contest(mine=2 / 3, weights=("2048", "1024"), busy=0.99, throttled=0, name="cpu.shares", held_back_s=None):
    def pair(share, text):
        first = Snapshot(monotonic_ns=SECOND, versions=V1, cpu_usage_ns=0, nr_throttled=0, nr_periods=0, throttled_ns=0)
        return first, replace(
            first,
            monotonic_ns=6 * SECOND,
            cpu_usage_ns=round(5 * share * busy * SECOND),
            nr_throttled=throttled,
            throttled_ns=None if held_back_s is None else round(held_back_s * SECOND),
            nr_periods=50,
            limits={name: text},
        )

    return Contest(subject=pair(mine, weights[0]), rivals=(pair(1 - mine, weights[1]),))


SHARES = {
    "two thirds": (contest(), "HELD", "weight 2048 against a sibling's 1024 on one CPU for 5 s"),
    "the kernel's own weights count, not the request": (
        contest(mine=174 / 274, weights=("174", "100"), name="cpu.weight"), "HELD",
        "weight 174 against a sibling's 100 on one CPU for 5 s",
    ),
    "a bit more than two thirds": (
        contest(mine=0.69), "BROKEN",
        "weight 2048 against a sibling's 1024 on one CPU for 5 s gave 69.0%, expected 66.7%",
    ),
    "half, not two thirds": (
        contest(mine=0.5), "BROKEN",
        "weight 2048 against a sibling's 1024 on one CPU for 5 s gave 50.0%, expected 66.7%",
    ),
    "somebody else on that CPU": (
        contest(busy=0.9), "UNKNOWN", "the CPU was only 90% theirs: something else is busy here",
    ),
    "the quota binds first": (
        contest(throttled=40), "UNKNOWN", "cpu_limit was reached before the share was: it binds first",
    ),
    "the quota took a tenth of the time": (
        contest(mine=0.6, throttled=20, held_back_s=0.5),
        "UNKNOWN",
        "cpu_limit was reached before the share was: it binds first",
    ),
    "the quota ran out for a moment, beside something else in the server": (
        contest(throttled=2, held_back_s=0.03), "HELD", "weight 2048 against a sibling's 1024 on one CPU for 5 s",
    ),
    "a moment that may have hidden what is too much": (
        contest(mine=0.676, throttled=2, held_back_s=0.03),
        "UNKNOWN",
        "cpu_limit was reached before the share was: it binds first",
    ),
    "a moment of the quota that does not explain so little": (
        contest(mine=0.6, throttled=2, held_back_s=0.03),
        "BROKEN",
        "weight 2048 against a sibling's 1024 on one CPU for 5 s gave 60.0%, expected 66.7%",
    ),
    "more than that CPU has": (
        contest(busy=1.05), "UNKNOWN",
        "something else runs in these containers and used 0.05 cores: the share can't be told",
    ),
    "something else in the container": (
        replace(contest(), others_s=(0.5, 0.0)), "UNKNOWN",
        "something else runs in these containers and used 0.10 cores: the share can't be told",
    ),
    "a little else, wherever it ran": (
        replace(contest(), others_s=(0.05, 0.0)), "HELD", "weight 2048 against a sibling's 1024 on one CPU for 5 s",
    ),
    "a little else, which decides": (
        replace(contest(mine=0.655), others_s=(0.05, 0.0)), "UNKNOWN",
        "something else runs in these containers and used 0.01 cores: the share can't be told",
    ),
    "as much else elsewhere, which divides the weight": (
        replace(contest(mine=0.75, busy=2.0), others_s=(5.0, 0.0)), "UNKNOWN",
        "something else runs in these containers and used 1.00 cores: the share can't be told",
    ),
    "a little else, and far too much": (
        replace(contest(mine=0.75), others_s=(0.1, 0.0)), "BROKEN",
        "weight 2048 against a sibling's 1024 on one CPU for 5 s gave 75.0%, expected 66.7%",
    ),
    "no contest": (None, "UNKNOWN", "not pressed: a share shows only when a sibling wants the same CPU"),
}  # fmt: skip


@pytest.mark.parametrize(("one", "outcome", "reason"), SHARES.values(), ids=SHARES)
def test_shares(one, outcome, reason):
    """A share holds when a contest on one CPU gives what the kernel's weights promise, within 2 %."""
    found = verdict("cpu_shares", series(files=FILES_V1 | {"cpu.shares": "2048"}), Limits(cpu_shares=2048), contest=one)
    assert (found.outcome, found.reason) == (Outcome(outcome), reason)


def wanting(threads, **load):
    """A series in which so many threads wanted a CPU, each time that somebody looked."""
    return [replace(one, runnable=None if step % 5 else threads) for step, one in enumerate(series(**load))]


def test_shares_that_were_not_given_break_by_the_load():
    """Judged by the weight that should be there: by its own, a container without shares would always hold."""
    files = FILES_V1 | {"cpu.shares": "1024"}
    one = contest(mine=0.5, weights=("1024", "1024"))
    found = verdict("cpu_shares", series(files=files), Limits(cpu_shares=2048), contest=one)
    assert (found.outcome, found.under_load) == (Outcome.BROKEN, Outcome.BROKEN)


@pytest.mark.parametrize(("driver", "quota", "outcome"), [
    ("cgroupfs", "33300", "HELD"), ("cgroupfs", "34000", "BROKEN"), ("systemd", "34000", "HELD"),
])  # fmt: skip
def test_a_quota_that_systemd_rounds_up_is_judged_as_it_is_shown(driver, quota, outcome):
    """Where systemd writes it, 0.333 cores are 0.34; where nobody rounds, another quota is another limit."""
    taken = series(cores=int(quota) / 100_000, files=FILES_V1 | {"cpu.cfs_quota_us": quota})
    (found,) = judge(translate(Limits(cpu_limit=0.333), driver=driver).expect, evidence(taken))
    assert found.outcome is Outcome(outcome)


CPUSET = {
    "one CPU of two, all of it busy, and two wanted it": (wanting(2, cores=0.99), HOST, "HELD"),
    "one CPU of two, busy with one thread": (wanting(1, cores=0.99), HOST, "UNKNOWN"),
    "one CPU of two, busy, and nobody looked with what": (series(cores=0.99), HOST, "UNKNOWN"),
    "more than the set has": (series(cores=1.5), HOST, "BROKEN"),
    "not pressed": (series(cores=0.5), HOST, "UNKNOWN"),
    "every CPU that there is": (series(cores=0.99), replace(HOST, cores=1), "UNKNOWN"),
}


@pytest.mark.parametrize(("snapshots", "host", "outcome"), CPUSET.values(), ids=CPUSET)
def test_cpuset(snapshots, host, outcome):
    """A CPU set holds when its CPUs were all busy and no more time was used than they have."""
    shown = [replace(one, limits=one.limits and {"cpuset.cpus": "0"}) for one in snapshots]
    assert verdict("cpuset_cpus", shown, Limits(cpuset_cpus="0"), host=host).outcome is Outcome(outcome)


def test_a_period_is_counted():
    """`cpu_period` holds when the kernel counts as many periods as it promises, and is BROKEN when it counts others."""
    files = FILES_V1 | {"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "50000"}
    limits = Limits(cpu_limit=0.5, cpu_period=50_000)
    twice = [
        replace(one, nr_periods=2 * one.nr_periods, nr_throttled=2 * one.nr_throttled) for one in series(files=files)
    ]
    assert verdict("cpu_period", twice, limits).outcome is Outcome.HELD
    assert verdict("cpu_period", series(files=files), limits).outcome is Outcome.BROKEN


def test_evidence_names_files_and_values():
    """A verdict carries the files it was read from, limits with their text, counters with their rise."""
    assert verdict("mem_limit", series(**PRESSED)).files == (
        "memory.limit_in_bytes = 1073741824",
        "memory.max_usage_in_bytes: 314572800 → 1073741824",
        "memory.oom_control oom_kill: 0 → 1",
    )
    assert verdict("cpu_limit", series(files=FILES_V2, versions=V2)).files == (
        "cpu.max = 50000 100000",
        "cpu.stat usage_usec: 0 → 5000000000",
        "cpu.stat nr_throttled: 0 → 100",
        "cpu.stat nr_periods: 0 → 100",
    )


def trial(outcome, *, control=False):
    snapshots = {"HELD": series(**PRESSED), "BROKEN": series(memory_peak_bytes=2 * GIB), "UNKNOWN": series()}[outcome]
    expect = translate(Limits(mem_limit=GIB, memswap_limit=None)).expect
    shown = evidence(snapshots)
    return Trial(
        subject="alice", limits=(), expect=expect, evidence=shown, verdicts=judge(expect, shown), control=control
    )


def by_file_alone():
    """A control that a file makes BROKEN, and no load."""
    control = trial("UNKNOWN", control=True)
    (memory,) = control.verdicts
    return replace(control, verdicts=(replace(memory, outcome=Outcome.BROKEN),))


EXITS = {
    "a control that only its file breaks": ([trial("HELD"), by_file_alone()], 1),
    "a control, and nothing held that it could break": ([trial("UNKNOWN"), trial("BROKEN", control=True)], 1),
    "all held": ([trial("HELD")], 0),
    "one broken": ([trial("HELD"), trial("BROKEN")], 1),
    "one unknown": ([trial("HELD"), trial("UNKNOWN")], 3),
    "broken outweighs unknown": ([trial("UNKNOWN"), trial("BROKEN")], 1),
    "a control that is broken, as it must be": ([trial("HELD"), trial("BROKEN", control=True)], 0),
    "a control that holds: the judge has no power": ([trial("HELD"), trial("HELD", control=True)], 1),
    "a control that is unknown proves nothing": ([trial("HELD"), trial("UNKNOWN", control=True)], 1),
    "nothing was tried": ([], 3),
    "only a control": ([trial("BROKEN", control=True)], 3),
}


@pytest.mark.parametrize(("trials", "code"), EXITS.values(), ids=EXITS)
def test_exit_code(trials, code):
    """0 only if every limit is HELD and every control BROKEN."""
    assert Report(trials=tuple(trials), host=HOST, started="2026-11-21T00:00:00+00:00", version="0").exit_code == code


def test_a_process_under_another_cgroup_is_broken():
    """For the limits of that controller; the others are judged as ever."""
    found = {
        one.field: (one.outcome, one.reason)
        for one in judge(translate(LIMITS).expect, evidence(series(**PRESSED), strays={"cpu": "/elsewhere"}))
    }
    assert found["cpu_limit"] == (Outcome.BROKEN, "a process of the container was moved to the cgroup /elsewhere")
    assert found["mem_limit"][0] is Outcome.HELD


@pytest.mark.parametrize("counter", ["oom_kill", "nr_periods", "nr_throttled", "pids_max_events", "cpu_usage_ns"])
def test_no_limit_is_judged_by_counters_that_fall(counter):
    """A count that fell is another cgroup's, or somebody has reset it: whatever the limit, nothing is known."""
    first, *rest = series(**PRESSED)
    fallen = [replace(first, **{counter: getattr(first, counter) + 10**9}), *rest]
    for one in judge(translate(LIMITS).expect, evidence(fallen)):
        assert (one.outcome, one.reason) == (
            Outcome.UNKNOWN,
            f"{counter} went backwards: this was not one cgroup all the time",
        )


def test_the_engines_flag_decides_nothing():
    """`OOMKilled` has four meanings, one of them of an earlier life: without a press it does not make HELD."""
    flagged = replace(LOAD, exit_code=137, oom_killed=True)
    found = verdict("mem_limit", series(), load=flagged)
    assert (found.outcome, found.reason) == (Outcome.UNKNOWN, "not pressed: largest sample 300 MiB")
