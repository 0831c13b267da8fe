"""Live update: the engine's answer, its record and the kernel's files, and what a load got afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner_limits.conformance import lasting as lasting_cases
from spawner_limits.conformance import update
from spawner_limits.conformance.change import Change
from spawner_limits.conformance.seen import Seen
from spawner_limits.engines.docker import host_config, translate
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Host, Load
from spawner_limits.units import GIB, MIB

JUDGES = {case.number: case.judge for case in (*update.CASES, *lasting_cases.CASES)}
HOST = Host(cores=2, memory_bytes=GIB, swap_bytes=0, kernel="6.18", engine="Docker 28.5.2")
LARGE, SMALL, AFTER = str(96 * MIB), str(32 * MIB), str(48 * MIB)
ENDLESS = "9223372036854771712"
REPLY = (
    "Cannot update container 83e17b25: runc did not terminate successfully: exit status 1: "
    "the minimum allowed cpu-shares is 2\n: unknown"
)


def change(limits, before, after, *, reply=None, recorded=None, keys=(), version=1):
    """An update of `limits`; the kernel's files before and after; `recorded`: before → after, if not as asked."""
    asked = {key: value for key, value in host_config(translate(limits).ask).items() if not keys or key in keys}
    records = recorded or (dict.fromkeys(asked, 0), asked if reply is None else dict.fromkeys(asked, 0))
    looks = [look(record, files, version) for record, files in zip(records, (before, after), strict=True)]
    return Change(limits=limits, asked=asked, reply=reply, before=looks[0], after=looks[1], seen=looks[1])


def look(record, files, version):
    """What engine and kernel say at one moment."""
    taken = Snapshot(monotonic_ns=0, versions={"cpu": version, "memory": version, "pids": version}, limits=files)
    return Seen(host=HOST, version=version, snapshots=(taken,), recorded=record)


def shares(before, after, *, value=1, **changes):
    return [change(Limits(cpu_shares=value), {"cpu.shares": before}, {"cpu.shares": after}, **changes)]


def weight(before, after, *, value=1):
    files = {"cpu.weight": before}, {"cpu.weight": after}
    return [change(Limits(cpu_shares=value), *files, version=2)]


def swap(after, reply=None, recorded=-1):
    files = memory(LARGE), {**memory(LARGE), "memory.memsw.limit_in_bytes": after}
    return change(
        Limits(mem_limit=96 * MIB),
        *files,
        reply=reply,
        recorded=(
            {"Memory": 96 * MIB, "MemorySwap": 96 * MIB + 1},
            {"Memory": 96 * MIB, "MemorySwap": recorded},
        ),
    )


def memory(size):
    return {"memory.limit_in_bytes": size, "memory.memsw.limit_in_bytes": size}


ACCEPTED = change(Limits(mem_limit=32 * MIB, memswap_limit=32 * MIB), memory(LARGE), memory(SMALL))
REFUSED = change(
    Limits(mem_limit=32 * MIB, memswap_limit=32 * MIB), memory(LARGE), memory(LARGE), reply="device or resource busy"
)
BY_HALVES = change(
    Limits(mem_limit=32 * MIB, memswap_limit=32 * MIB),
    memory(LARGE),
    {**memory(LARGE), "memory.limit_in_bytes": SMALL},
    reply="device or resource busy",
)


def loaded(exit_code, kills, **last):
    first = Snapshot(
        monotonic_ns=0,
        versions={"cpu": 1, "memory": 1, "pids": 1},
        memory_current_bytes=4 * MIB,
        memory_peak_bytes=4 * MIB,
        oom_kill=0,
        pids_current=3,
        pids_max_events=0,
    )
    first = replace(first, limits=last.pop("limits", {}))
    load = Load(command=(), exit_code=exit_code, oom_killed=None)
    return Seen(snapshots=(first, replace(first, oom_kill=kills, **last)), load=load, host=HOST, version=1)


def lowered(changed, fate, used, *, before=70 * MIB, kills=0, exceeding=137):
    taken = [
        Snapshot(monotonic_ns=0, versions={"memory": 1}, memory_current_bytes=size, oom_kill=count)
        for size, count in ((before, 0), (used, kills))
    ]
    parts = {"exceeding": loaded(exceeding, int(exceeding == 137))}
    seen = Seen(snapshots=tuple(taken), host=HOST, version=1, parts=parts)
    return replace(changed, seen=seen, ran=1, ran_on=int(fate == "lives"))


QUOTA = {"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "100000"}
SECOND = 1_000_000_000


def turned(cores, shown="25000"):
    files = {**QUOTA, "cpu.cfs_quota_us": shown}
    taken = [
        Snapshot(
            monotonic_ns=SECOND + at * SECOND // 10,
            versions={"cpu": 1, "cpuacct": 1},
            cpu_usage_ns=round(at * cores * SECOND / 10),
            nr_periods=at,
            nr_throttled=at,
            limits=files,
        )
        for at in range(66)
    ]
    seen = Seen(snapshots=tuple(taken), host=HOST, version=1)
    return [replace(change(Limits(cpu_limit=0.25), {}, QUOTA), seen=seen)]


BOUND = {**memory(AFTER), "pids.max": "24", "cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}


def lasting(*, peak=48 * MIB, exit_code=137, most=24, refused=3, files=BOUND, frozen=None):
    limits = Limits(mem_limit=48 * MIB, memswap_limit=48 * MIB, pids_limit=24)
    hog = loaded(exit_code, int(exit_code == 137), memory_peak_bytes=peak, limits=files)
    forks = loaded(0, 0, pids_current=most, pids_max_events=refused, limits=files)
    texts = {} if frozen is None else {lasting_cases.STATE: frozen}
    return replace(change(limits, {}, BOUND), seen=replace(hog, texts=texts, parts={"forks": forks}))


def crowded(ran=27, run_on=27, refused=5):
    changed = change(Limits(pids_limit=10), {"pids.max": "96"}, {"pids.max": "10"})
    return replace(changed, seen=loaded(None, 0, pids_max_events=refused), ran=ran, ran_on=run_on)


LIFTED = {"peak": 132 * MIB, "exit_code": 0, "most": 51, "refused": 0}
RAISED = {**BOUND, **memory(str(256 * MIB))}

OUTCOMES = {
    "quota: used as the update says": (57, turned(0.25), "HELD", None),
    "quota: the old one is still in force": (57, turned(0.5, shown="50000"), "BROKEN", "BROKEN"),
    "quota: the kernel's file is right, the load is not": (57, turned(0.5), "BROKEN", "BROKEN"),
    "quota: the load is right, the kernel's file is not": (57, turned(0.25, shown="26000"), "BROKEN", None),
    "below use: refused, and all is as before": (58, lowered(REFUSED, "lives", 70 * MIB), "HELD", None),
    "below use: accepted, and ended by the OOM killer": (
        58,
        lowered(ACCEPTED, "ended", 5 * MIB, kills=1),
        "HELD",
        None,
    ),
    "below use: accepted, and swapped": (58, lowered(ACCEPTED, "lives", 32 * MIB), "HELD", None),
    "below use: accepted, and not in force": (58, lowered(ACCEPTED, "lives", 70 * MIB), "BROKEN", "BROKEN"),
    "below use: refused, but the load died": (58, lowered(REFUSED, "ended", 5 * MIB), "BROKEN", "BROKEN"),
    "below use: refused, but half of it is in force": (58, lowered(BY_HALVES, "lives", 70 * MIB), "BROKEN", None),
    "below use: no limit afterwards": (58, lowered(REFUSED, "lives", 70 * MIB, exceeding=0), "BROKEN", "BROKEN"),
    "below use: it used less than the new limit": (
        58,
        lowered(ACCEPTED, "lives", 20 * MIB, before=20 * MIB),
        "UNKNOWN",
        None,
    ),
    "below cache: reclaimed": (59, lowered(ACCEPTED, "lives", 32 * MIB), "HELD", None),
    "below cache: one byte too many": (59, lowered(ACCEPTED, "lives", 32 * MIB + 1), "BROKEN", "BROKEN"),
    "below cache: refused": (59, lowered(REFUSED, "lives", 70 * MIB), "BROKEN", "BROKEN"),
    "below cache: somebody was killed": (59, lowered(ACCEPTED, "ended", 5 * MIB, kills=1), "BROKEN", "BROKEN"),
    "refused: nothing changed": (60, shares("1024", "1024", reply=REPLY), "HELD", None),
    "refused: but the kernel has it": (60, shares("1024", "2", reply=REPLY), "BROKEN", "BROKEN"),
    "refused: but the engine recorded it": (
        60,
        shares("1024", "1024", reply=REPLY, recorded=({"CpuShares": 0}, {"CpuShares": 1})),
        "BROKEN",
        "BROKEN",
    ),
    "accepted: the least weight": (60, weight("100", "1"), "HELD", None),
    "accepted: the largest weight": (60, weight("1", "10000", value=300_000), "HELD", None),
    "accepted: the weight did not change": (60, weight("100", "100"), "BROKEN", "BROKEN"),
    "accepted: nothing could be read": (60, [change(Limits(cpu_shares=1), {}, {}, version=2)], "UNKNOWN", None),
    "success: in force": (61, swap(ENDLESS), "HELD", None),
    "success: recorded, and the kernel unchanged": (61, swap(LARGE), "BROKEN", "BROKEN"),
    "success: refused, and nothing changed": (61, swap(LARGE, reply="no", recorded=96 * MIB + 1), "HELD", None),
    "restart: as the update says": (62, lasting(), "HELD", None),
    "restart: the limits are gone": (62, lasting(**LIFTED, files=RAISED), "BROKEN", "BROKEN"),
    "restart: what the update did not name is gone": (
        62,
        lasting(files={**BOUND, "cpu.cfs_quota_us": "-1"}),
        "BROKEN",
        None,
    ),
    "fewer processes: all run on, none starts": (63, crowded(), "HELD", None),
    "fewer processes: one was killed": (63, crowded(run_on=26), "BROKEN", "BROKEN"),
    "fewer processes: new ones start": (63, crowded(refused=0), "BROKEN", "BROKEN"),
    "fewer processes: there were not more than that": (63, crowded(ran=9, run_on=9), "UNKNOWN", None),
    "paused: in force afterwards": (64, lasting(frozen="FROZEN"), "HELD", None),
    "paused: the update let it go on": (64, lasting(frozen="THAWED"), "BROKEN", None),
    "paused: no limit afterwards": (64, lasting(**LIFTED, frozen="FROZEN"), "BROKEN", "BROKEN"),
}


def worst(outcomes):
    return next((one for one in ("BROKEN", "UNKNOWN", "HELD") if one in outcomes), None)


@pytest.mark.parametrize(("number", "evidence", "outcome", "by_load"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes(number, evidence, outcome, by_load):
    """The worst of the verdicts, and whether the load alone shows a missing limit: that is what a control needs."""
    verdicts = JUDGES[number](evidence)
    assert worst([one.outcome for one in verdicts]) == outcome, [(one.reason, one.outcome) for one in verdicts]
    assert ("BROKEN" in [one.under_load for one in verdicts]) == (by_load == "BROKEN")


def test_a_refusal_that_changed_something_says_what():
    """The cause in the engine's words, and the drift."""
    reasons = [one.reason for one in JUDGES[60](shares("1024", "2", reply=REPLY))]
    assert reasons == [
        "CpuShares=1 was refused (the minimum allowed cpu-shares is 2), and HostConfig did not change",
        "CpuShares=1 was refused (the minimum allowed cpu-shares is 2), but in the kernel's files cpu.shares: 1024 → 2",
    ]


def test_success_that_changed_nothing_says_what_the_kernel_shows():
    """Reply and record are right, the kernel's file is not."""
    reply, _, record, _, kernel = JUDGES[61](swap(LARGE))
    assert (reply.reason, record.reason) == (
        f"reply to Memory={LARGE} MemorySwap=-1: success",
        "HostConfig.MemorySwap: -1",
    )
    assert kernel.reason == f"memory.memsw.limit_in_bytes: {LARGE}, expected {ENDLESS}"
