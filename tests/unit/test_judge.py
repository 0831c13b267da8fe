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
from tests import kernel_files
from tests.kernel_files import ENDLESS, MEMORY, SHARES, SWAP, VERSIONS

HOST = Host(cores=2, memory_bytes=24 * GIB, swap_bytes=0, kernel="6.18", engine="Docker 20.10.24")
LOAD = Load(command=("load",), exit_code=0, oom_killed=False)
LIMITS = Limits(mem_limit=GIB, memswap_limit=GIB, cpu_limit=0.5, pids_limit=256)
SECOND = 1_000_000_000


class Cgroups:
    """A host with one version of cgroups: what is read there, and what the judge makes of it."""

    def __init__(self, version):
        self.version = version
        self.files = (
            kernel_files.memory(version, GIB)
            | kernel_files.quota(version, 0.5)
            | kernel_files.shares(version, 1024)
            | kernel_files.processes(256)
        )

    def series(self, seconds=10.0, cores=0.5, throttled=1.0, files=None, **last):
        """Ten snapshots a second of a load with a constant appetite; `last` is what the last one shows besides."""
        count, shown = round(seconds * 10), self.files if files is None else files
        snapshots = [
            Snapshot(
                monotonic_ns=SECOND + step * SECOND // 10,
                versions=VERSIONS[self.version],
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
                limits=shown if step in (0, count) else {},
            )
            for step in range(count + 1)
        ]
        return (*snapshots[:-1], replace(snapshots[-1], **last))

    def contest(self, mine=None, asked=(2048, 1024), busy=0.99, throttled=0, held_back_s=None, weights=None):
        """Five seconds on one CPU against a sibling; `mine`: the part that was got, else what the weights promise."""
        texts = weights or [kernel_files.shares(self.version, one)[SHARES[self.version]] for one in asked]
        part = int(texts[0]) / sum(map(int, texts)) if mine is None else mine

        def pair(share, text):
            first = Snapshot(
                monotonic_ns=SECOND,
                versions=VERSIONS[self.version],
                cpu_usage_ns=0,
                nr_throttled=0,
                nr_periods=0,
                throttled_ns=0,
            )
            return first, replace(
                first,
                monotonic_ns=6 * SECOND,
                cpu_usage_ns=round(5 * share * busy * SECOND),
                nr_throttled=throttled,
                throttled_ns=None if held_back_s is None else round(held_back_s * SECOND),
                nr_periods=50,
                limits={SHARES[self.version]: text},
            )

        return Contest(subject=pair(part, texts[0]), rivals=(pair(1 - part, texts[1]),))


HOSTS = {f"v{version}": Cgroups(version) for version in VERSIONS}


@pytest.fixture(params=HOSTS.values(), ids=HOSTS)
def cgroups(request):
    """Every verdict is the same on either version, by other files."""
    return request.param


def evidence(snapshots, **changes):
    return Evidence(
        snapshots=tuple(snapshots), load=changes.pop("load", LOAD), host=changes.pop("host", HOST), **changes
    )


def verdict(field, snapshots, limits=LIMITS, **changes):
    (found,) = (one for one in judge(translate(limits).expect, evidence(snapshots, **changes)) if one.field == field)
    return found


PRESSED = {"memory_peak_bytes": GIB, "memsw_peak_bytes": GIB, "oom_kill": 1}

NO_QUOTA = {
    1: "the kernel shows cpu.cfs_quota_us = -1, expected 50000",
    2: "the kernel shows cpu.max = max 100000, expected 50000 100000",
}


def outcomes(cgroups):
    """Situation → the limit, what is read, its outcome with the reason."""
    series, version = cgroups.series, cgroups.version
    return {
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
            (
                "peak 1.00 GiB, 4096 bytes above it, as a batch of 64 pages a CPU may be, "
                "and the OOM killer ended 1 process"
            ),
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
            "mem_limit", series(files=cgroups.files | {MEMORY[version]: ENDLESS[version]}, **PRESSED), "BROKEN",
            f"the kernel shows {MEMORY[version]} = {ENDLESS[version]}, expected 1073741824",
        ),
        "memory: peak unread, the largest sample serves": (
            "mem_limit",
            [replace(one, memory_peak_bytes=None) for one in series(memory_current_bytes=GIB, oom_kill=1)], "HELD",
            "largest sample 1.00 GiB, and the OOM killer ended 1 process",
        ),
        "memory: nothing could be read": (
            "mem_limit",
            [
                replace(one, memory_peak_bytes=None, memory_current_bytes=None, unread={"memory_peak_bytes": "gone"})
                for one in series()
            ], "UNKNOWN", "memory use could not be read: gone",
        ),
        "memory: the limit's file could not be read": (
            "mem_limit",
            [replace(one, limits={}, unread={MEMORY[version]: "no such file"}) for one in series(**PRESSED)],
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
        "swap: silently unlimited": (
            "memswap_limit", series(files=cgroups.files | {SWAP[version]: ENDLESS[version]}, **PRESSED), "BROKEN",
            f"the kernel shows {SWAP[version]} = {ENDLESS[version]}, expected {cgroups.files[SWAP[version]]}",
        ),
        "swap: without a peak file": (
            "memswap_limit",
            [replace(one, memsw_peak_bytes=None) for one in series(**PRESSED)],
            "HELD", "peak 1.00 GiB, and the OOM killer ended 1 process",
        ),
        # CPU
        "CPU: throttled all the time": (
            "cpu_limit", series(), "HELD", "throttled in 100% of periods and never above it, in 5 windows",
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
                for one in series(cores=2, files=cgroups.files | kernel_files.quota(version, None))
            ], "BROKEN",
            f"{NO_QUOTA[version]}; 2.00 cores over 2.0 s, 300% above it",
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
            "cpu_limit", series(limits=cgroups.files | kernel_files.quota(version, None)), "BROKEN", NO_QUOTA[version],
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


OUTCOMES = {f"{name}: {case}": row for name, cgroups in HOSTS.items() for case, row in outcomes(cgroups).items()}


@pytest.mark.parametrize(("field", "snapshots", "outcome", "reason"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcome(field, snapshots, outcome, reason):
    """One limit, one situation, one outcome with its reason in one sentence."""
    found = verdict(field, snapshots)
    assert (found.outcome, found.reason) == (Outcome(outcome), reason)


def test_a_load_that_failed_is_named_where_a_limit_was_not_pressed(cgroups):
    """UNKNOWN says why there was no press."""
    load = replace(LOAD, exit_code=1, problem="the load ended with exit code 1: no notebook")
    assert verdict("mem_limit", cgroups.series(), load=load).reason == (
        "not pressed: largest sample 300 MiB (the load ended with exit code 1: no notebook)"
    )


def test_a_limit_of_all_cores_cannot_be_pressed(cgroups):
    """A quota that the host has no more cores than is UNKNOWN, and says so."""
    files = cgroups.files | kernel_files.quota(cgroups.version, 2.0)
    found = verdict("cpu_limit", cgroups.series(cores=1.9, throttled=0, files=files), Limits(cpu_limit=2.0))
    assert (found.outcome, found.reason) == (
        Outcome.UNKNOWN, "this host has 2 cores, so the limit can't be pressed",
    )  # fmt: skip


def test_an_honest_quota_may_pass_one_period_more(cgroups):
    """Within 2 s a quota of 0.5 lets up to 0.53 cores through: one period, and a slice on each CPU. Not 0.54."""
    assert verdict("cpu_limit", cgroups.series(cores=0.529)).outcome is Outcome.HELD
    assert verdict("cpu_limit", cgroups.series(cores=0.54)).outcome is Outcome.BROKEN


def with_extra(snapshots, after, extra_s):
    """The same, with so much more CPU time at one step, for which the load then stands still until it is even."""
    more = [max(0.0, extra_s - 0.05 * (step - after)) if step >= after else 0.0 for step in range(len(snapshots))]
    return [
        replace(one, cpu_usage_ns=one.cpu_usage_ns + round(extra * SECOND))
        for one, extra in zip(snapshots, more, strict=True)
    ]


def test_one_window_a_bit_above_is_no_proof(cgroups):
    """A host that is held up for a moment lets a period's end pass; twice, or by much more, is another matter."""
    once = verdict("cpu_limit", with_extra(cgroups.series(), 30, 0.08))
    assert (once.outcome, once.reason) == (
        Outcome.UNKNOWN,
        "0.54 cores over 2.0 s, 8% above it, but for a moment only: was this machine held up?",
    )
    twice = with_extra(with_extra(cgroups.series(), 30, 0.08), 70, 0.08)
    assert verdict("cpu_limit", twice).outcome is Outcome.UNKNOWN
    assert verdict("cpu_limit", with_extra(cgroups.series(), 30, 0.25)).outcome is Outcome.UNKNOWN


def test_an_excess_that_is_paid_back_at_once_is_none(cgroups):
    """The kernel gives nothing until it is even, however often the machine was held up just before."""
    extra = [0.0] * 30 + [0.1, 0.2, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05] + [0.0] * 63
    paid = [
        replace(one, cpu_usage_ns=one.cpu_usage_ns + round(more * SECOND))
        for one, more in zip(cgroups.series(), extra, strict=True)
    ]
    assert verdict("cpu_limit", paid).outcome is Outcome.UNKNOWN
    kept = [
        replace(one, cpu_usage_ns=one.cpu_usage_ns + round(max(extra[: step + 1]) * SECOND))
        for step, one in enumerate(cgroups.series())
    ]
    assert verdict("cpu_limit", kept).outcome is Outcome.BROKEN


def test_a_machine_that_stood_still_is_no_excess(cgroups):
    """For 0.15 s both the clock and the charged time ran on, in one step: nothing is known, and nothing is BROKEN."""
    files = cgroups.files | kernel_files.quota(cgroups.version, 0.25)
    stopped = [
        replace(one, monotonic_ns=one.monotonic_ns + 150_000_000, cpu_usage_ns=one.cpu_usage_ns + 300_000_000)
        if step >= 30
        else one
        for step, one in enumerate(cgroups.series(cores=0.25, files=files))
    ]
    assert verdict("cpu_limit", stopped, Limits(cpu_limit=0.25)).outcome is Outcome.UNKNOWN


def test_a_machine_that_stands_still_again_and_again_is_no_excess(cgroups):
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
        for step, one in enumerate(cgroups.series())
    ]
    assert verdict("cpu_limit", taken).outcome is Outcome.UNKNOWN


def test_stolen_time_is_no_excess(cgroups):
    """What the machine below took from this host was charged to whoever ran then."""
    stolen = [
        replace(one, cpu_usage_ns=one.cpu_usage_ns + step * 10_000_000, steal_ns=step * 10_000_000)
        for step, one in enumerate(cgroups.series())
    ]
    assert verdict("cpu_limit", stolen).outcome is Outcome.UNKNOWN
    assert verdict("cpu_limit", [replace(one, steal_ns=0) for one in stolen]).outcome is Outcome.BROKEN


def test_swap_that_is_allowed_must_be_used(cgroups):
    """Memory alone comes within 99 % of a limit of both that is little above it."""
    limits = Limits(mem_limit=GIB, memswap_limit=GIB + 8 * MIB)
    files = cgroups.files | kernel_files.memory(cgroups.version, GIB, 8 * MIB)
    host = replace(HOST, swap_bytes=GIB)
    alone = verdict("memswap_limit", cgroups.series(files=files, limits=files, **PRESSED), limits, host=host)
    assert (alone.outcome, alone.reason) == (Outcome.UNKNOWN, "not pressed: 0 / 8 MiB (0%) of the swap in it was used")
    both = PRESSED | {"memsw_peak_bytes": GIB + 8 * MIB, "swap_current_bytes": 8 * MIB}
    assert verdict("memswap_limit", cgroups.series(files=files, limits=files, **both), limits, host=host).outcome is (
        Outcome.HELD
    )


def test_what_the_kernel_has_given_out_is_no_excess(cgroups):
    """By its own count of periods more time went by than by our clock, which was read late."""
    taken = cgroups.series(cores=0.54)
    slow = [replace(one, nr_periods=round(1.1 * step), nr_throttled=step) for step, one in enumerate(taken)]
    assert verdict("cpu_limit", slow).outcome is Outcome.UNKNOWN
    assert verdict("cpu_limit", taken).outcome is Outcome.BROKEN


def test_a_small_quota_is_pressed_for_longer(cgroups):
    """A slice on each CPU is more than a hundredth of a core is given in eight seconds."""
    files = cgroups.files | kernel_files.quota(cgroups.version, 0.01)
    found = verdict("cpu_limit", cgroups.series(8, cores=0.01, files=files), Limits(cpu_limit=0.01))
    assert (found.outcome, found.reason) == (
        Outcome.UNKNOWN, "not pressed for long enough: 8 of 18 s, which so small a quota needs to be told from more",
    )  # fmt: skip


@pytest.mark.parametrize(("cores", "limit", "used"), [(2, 0.01, 0.015), (64, 0.1, 0.26)])
def test_a_small_quota_has_no_slack_for_each_window(cgroups, cores, limit, used):
    """A slice for each CPU of the host counts once over all that was pressed: half as much again is not HELD."""
    files = cgroups.files | kernel_files.quota(cgroups.version, limit)
    host = replace(HOST, cores=cores)
    found = verdict("cpu_limit", cgroups.series(60, cores=used, files=files), Limits(cpu_limit=limit), host=host)
    assert found.outcome is not Outcome.HELD
    assert verdict(
        "cpu_limit", cgroups.series(60, cores=limit, files=files), Limits(cpu_limit=limit), host=host
    ).outcome is (Outcome.HELD)


def test_a_reading_that_came_late_is_no_excess(cgroups):
    """Between the clock and the counter the reader was interrupted for 0.2 s: so much longer the load had."""
    late = [
        replace(one, cpu_delay_ns=200_000_000) if step in {30, 70} else one
        for step, one in enumerate(with_extra(with_extra(cgroups.series(), 30, 0.1), 70, 0.1))
    ]
    assert verdict("cpu_limit", late).outcome is Outcome.HELD
    assert verdict("cpu_limit", [replace(one, cpu_delay_ns=0) for one in late]).outcome is Outcome.UNKNOWN


def test_a_burst_between_quiet_stretches_is_found(cgroups):
    """A quota that failed for two seconds in ten is BROKEN, whatever the average."""
    quiet = cgroups.series(cores=0.2)
    extra = [0] * 40 + [round(step * 0.6 * SECOND / 10) for step in range(21)] + [round(1.2 * SECOND)] * 40
    burst = [replace(one, cpu_usage_ns=one.cpu_usage_ns + more) for one, more in zip(quiet, extra, strict=True)]
    assert verdict("cpu_limit", burst).outcome is Outcome.BROKEN


def test_unlimited_is_not_judged(cgroups):
    """What the policy leaves open on purpose has no verdict."""
    limits = Limits(mem_limit=GIB, memswap_limit=None)
    assert [one.field for one in judge(translate(limits).expect, evidence(cgroups.series(**PRESSED)))] == ["mem_limit"]


def test_a_guarantee_can_only_be_read_and_is_never_held(cgroups):
    """It is read back, not pressed: UNKNOWN, and BROKEN when the kernel shows another value."""
    limits = Limits(mem_guarantee=512 * MIB)
    right, wrong = (kernel_files.guarantee(cgroups.version, size) for size in (512 * MIB, 0))
    assert verdict("mem_guarantee", cgroups.series(files=right), limits).outcome is Outcome.UNKNOWN
    assert verdict("mem_guarantee", cgroups.series(files=wrong), limits).outcome is Outcome.BROKEN


def test_on_v1_swappiness_can_only_be_read_and_is_never_held():
    """So is it where there is such a thing."""
    limits, series = Limits(mem_swappiness=10), HOSTS["v1"].series
    assert verdict("mem_swappiness", series(files={"memory.swappiness": "10"}), limits).outcome is Outcome.UNKNOWN
    assert verdict("mem_swappiness", series(files={"memory.swappiness": "60"}), limits).outcome is Outcome.BROKEN


DUE = {1: ("weight 2048 against a sibling's 1024 on one CPU for 5 s", "66.7%"),
       2: ("weight 79 against a sibling's 39 on one CPU for 5 s", "66.9%")}  # fmt: skip
QUOTA_FIRST = "cpu_limit was reached before the share was: it binds first"
NOT_TOLD = "something else runs in these containers and used {} cores: the share can't be told"


def contests(cgroups):
    """Situation → what was seen of 2048 shares against 1024, its outcome with the reason."""
    contest, (due, percent) = cgroups.contest, DUE[cgroups.version]
    part = int(percent.replace(".", "").rstrip("%")) / 1000
    return {
        "what the weights promise": (contest(), "HELD", due),
        "a bit more": (contest(mine=0.69), "BROKEN", f"{due} gave 69.0%, expected {percent}"),
        "half": (contest(mine=0.5), "BROKEN", f"{due} gave 50.0%, expected {percent}"),
        "somebody else on that CPU": (
            contest(busy=0.9), "UNKNOWN", "the CPU was only 90% theirs: something else is busy here",
        ),
        "the quota binds first": (contest(throttled=40), "UNKNOWN", QUOTA_FIRST),
        "the quota took a tenth of the time": (
            contest(mine=0.6, throttled=20, held_back_s=0.5), "UNKNOWN", QUOTA_FIRST,
        ),
        "the quota ran out for a moment": (contest(throttled=2, held_back_s=0.03), "HELD", due),
        "a moment that may have hidden what is too much": (
            contest(mine=part + 0.01, throttled=2, held_back_s=0.03), "UNKNOWN", QUOTA_FIRST,
        ),
        "a moment of the quota that does not explain so little": (
            contest(mine=0.6, throttled=2, held_back_s=0.03), "BROKEN", f"{due} gave 60.0%, expected {percent}",
        ),
        "more than that CPU has": (contest(busy=1.05), "UNKNOWN", NOT_TOLD.format("0.05")),
        "something else in the container": (
            replace(contest(), others_s=(0.5, 0.0)), "UNKNOWN", NOT_TOLD.format("0.10"),
        ),
        "a little else, wherever it ran": (replace(contest(), others_s=(0.05, 0.0)), "HELD", due),
        "a little else, which decides": (
            replace(contest(mine=part - 0.012), others_s=(0.05, 0.0)), "UNKNOWN", NOT_TOLD.format("0.01"),
        ),
        "as much else elsewhere, which divides the weight": (
            replace(contest(mine=0.75, busy=2.0), others_s=(5.0, 0.0)), "UNKNOWN", NOT_TOLD.format("1.00"),
        ),
        "a little else, and far too much": (
            replace(contest(mine=0.75), others_s=(0.1, 0.0)), "BROKEN", f"{due} gave 75.0%, expected {percent}",
        ),
        "no contest": (None, "UNKNOWN", "not pressed: a share shows only when a sibling wants the same CPU"),
    }  # fmt: skip


CONTESTS = {
    f"{name}: {case}": (cgroups, *row) for name, cgroups in HOSTS.items() for case, row in contests(cgroups).items()
}
NEWER = HOSTS["v2"].contest(weights=("174", "100"))
CONTESTS["v2: the kernel's own weights count, not the request"] = (
    HOSTS["v2"], NEWER, "HELD", "weight 174 against a sibling's 100 on one CPU for 5 s",
)  # fmt: skip


@pytest.mark.parametrize(("cgroups", "seen", "outcome", "reason"), CONTESTS.values(), ids=CONTESTS)
def test_shares(cgroups, seen, outcome, reason):
    """A share holds when a contest on one CPU gives what the kernel's weights promise, within 2 %."""
    files = cgroups.files | kernel_files.shares(cgroups.version, 2048)
    found = verdict("cpu_shares", cgroups.series(files=files), Limits(cpu_shares=2048), contest=seen)
    assert (found.outcome, found.reason) == (Outcome(outcome), reason)


def wanting(cgroups, threads, **load):
    """A series in which so many threads wanted a CPU, each time that somebody looked."""
    return [replace(one, runnable=None if step % 5 else threads) for step, one in enumerate(cgroups.series(**load))]


def test_shares_that_were_not_given_break_by_the_load(cgroups):
    """Judged by the weight that should be there: by its own, a container without shares would always hold."""
    files = cgroups.files | kernel_files.shares(cgroups.version, 1024)
    seen = cgroups.contest(asked=(1024, 1024))
    found = verdict("cpu_shares", cgroups.series(files=files), Limits(cpu_shares=2048), contest=seen)
    assert (found.outcome, found.under_load) == (Outcome.BROKEN, Outcome.BROKEN)


@pytest.mark.parametrize(
    ("driver", "cores", "outcome"),
    [("cgroupfs", 0.333, "HELD"), ("cgroupfs", 0.34, "BROKEN"), ("systemd", 0.34, "HELD")],
)
def test_a_quota_that_systemd_rounds_up_is_judged_as_it_is_shown(cgroups, driver, cores, outcome):
    """Where systemd writes it, 0.333 cores are 0.34; where nobody rounds, another quota is another limit."""
    taken = cgroups.series(cores=cores, files=cgroups.files | kernel_files.quota(cgroups.version, cores))
    (found,) = judge(translate(Limits(cpu_limit=0.333), driver=driver).expect, evidence(taken))
    assert found.outcome is Outcome(outcome)


CPUSET = {
    # cores used, threads that wanted one, CPUs of the host
    "one CPU of two, all of it busy, and two wanted it": (0.99, 2, 2, "HELD"),
    "one CPU of two, busy with one thread": (0.99, 1, 2, "UNKNOWN"),
    "one CPU of two, busy, and nobody looked with what": (0.99, None, 2, "UNKNOWN"),
    "more than the set has": (1.5, None, 2, "BROKEN"),
    "not pressed": (0.5, None, 2, "UNKNOWN"),
    "every CPU that there is": (0.99, None, 1, "UNKNOWN"),
}


@pytest.mark.parametrize(("cores", "threads", "cpus", "outcome"), CPUSET.values(), ids=CPUSET)
def test_cpuset(cgroups, cores, threads, cpus, outcome):
    """A CPU set holds when its CPUs were all busy and no more time was used than they have."""
    taken = wanting(cgroups, threads, cores=cores, files={"cpuset.cpus": "0"})
    found = verdict("cpuset_cpus", taken, Limits(cpuset_cpus="0"), host=replace(HOST, cores=cpus))
    assert found.outcome is Outcome(outcome)


def test_a_period_is_counted(cgroups):
    """`cpu_period` holds when the kernel counts as many periods as it promises, and is BROKEN when it counts others."""
    files = cgroups.files | kernel_files.quota(cgroups.version, 0.5, 50_000)
    limits = Limits(cpu_limit=0.5, cpu_period=50_000)
    twice = [
        replace(one, nr_periods=2 * one.nr_periods, nr_throttled=2 * one.nr_throttled)
        for one in cgroups.series(files=files)
    ]
    assert verdict("cpu_period", twice, limits).outcome is Outcome.HELD
    assert verdict("cpu_period", cgroups.series(files=files), limits).outcome is Outcome.BROKEN


FILES = {
    1: {
        "mem_limit": (
            "memory.limit_in_bytes = 1073741824",
            "memory.max_usage_in_bytes: 314572800 → 1073741824",
            "memory.oom_control oom_kill: 0 → 1",
        ),
        "cpu_limit": (
            "cpu.cfs_quota_us = 50000",
            "cpu.cfs_period_us = 100000",
            "cpuacct.usage: 0 → 5000000000",
            "cpu.stat nr_throttled: 0 → 100",
            "cpu.stat nr_periods: 0 → 100",
        ),
    },
    2: {
        "mem_limit": (
            "memory.max = 1073741824",
            "memory.peak: 314572800 → 1073741824",
            "memory.events oom_kill: 0 → 1",
        ),
        "cpu_limit": (
            "cpu.max = 50000 100000",
            "cpu.stat usage_usec: 0 → 5000000000",
            "cpu.stat nr_throttled: 0 → 100",
            "cpu.stat nr_periods: 0 → 100",
        ),
    },
}


def test_evidence_names_files_and_values(cgroups):
    """A verdict carries the files it was read from, limits with their text, counters with their rise."""
    taken = cgroups.series(**PRESSED)
    assert {field: verdict(field, taken).files for field in ("mem_limit", "cpu_limit")} == FILES[cgroups.version]


def trial(outcome, *, control=False):
    last = {"HELD": PRESSED, "BROKEN": {"memory_peak_bytes": 2 * GIB}, "UNKNOWN": {}}[outcome]
    expect = translate(Limits(mem_limit=GIB, memswap_limit=None)).expect
    shown = evidence(HOSTS["v2"].series(**last))
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


def test_a_process_under_another_cgroup_is_broken(cgroups):
    """For the limits of that controller; the others are judged as ever."""
    found = {
        one.field: (one.outcome, one.reason)
        for one in judge(translate(LIMITS).expect, evidence(cgroups.series(**PRESSED), strays={"cpu": "/elsewhere"}))
    }
    assert found["cpu_limit"] == (Outcome.BROKEN, "a process of the container was moved to the cgroup /elsewhere")
    assert found["mem_limit"][0] is Outcome.HELD


@pytest.mark.parametrize("counter", ["oom_kill", "nr_periods", "nr_throttled", "pids_max_events", "cpu_usage_ns"])
def test_no_limit_is_judged_by_counters_that_fall(cgroups, counter):
    """A count that fell is another cgroup's, or somebody has reset it: whatever the limit, nothing is known."""
    first, *rest = cgroups.series(**PRESSED)
    fallen = [replace(first, **{counter: getattr(first, counter) + 10**9}), *rest]
    for one in judge(translate(LIMITS).expect, evidence(fallen)):
        assert (one.outcome, one.reason) == (
            Outcome.UNKNOWN,
            f"{counter} went backwards: this was not one cgroup all the time",
        )


def test_the_engines_flag_decides_nothing(cgroups):
    """`OOMKilled` has four meanings, one of them of an earlier life: without a press it does not make HELD."""
    flagged = replace(LOAD, exit_code=137, oom_killed=True)
    found = verdict("mem_limit", cgroups.series(), load=flagged)
    assert (found.outcome, found.reason) == (Outcome.UNKNOWN, "not pressed: largest sample 300 MiB")
