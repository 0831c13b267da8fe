"""Live update: the engine's answer, its record and the kernel's files, and what a load got afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner_limits.conformance.update import CASES, Change, Crowded, Lasting, Lowered, Turned
from spawner_limits.engines.docker import host_config, translate
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Evidence, Host, Load
from spawner_limits.units import GIB, MIB
from tests.kernel_files import MEMORY, SHARES, VERSIONS, both_versions, memory, processes, quota

JUDGES = {case.number: case.judge for case in CASES}
HOST = Host(cores=2, memory_bytes=GIB, swap_bytes=0, kernel="6.18", engine="Docker 28.5.2")
LARGE, SMALL, AFTER = 96 * MIB, 32 * MIB, 48 * MIB
REPLY = (
    "Cannot update container 83e17b25: runc did not terminate successfully: exit status 1: "
    "the minimum allowed cpu-shares is 2\n: unknown"
)
SECOND = 1_000_000_000


def change(version, limits, before, after, *, reply=None, recorded=None):
    """An update of `limits`; the kernel's files before and after; `recorded`: before → after, if not as asked."""
    asked = host_config(translate(limits).ask)
    records = recorded or (dict.fromkeys(asked, 0), asked if reply is None else dict.fromkeys(asked, 0))
    return Change(
        limits=limits,
        asked=asked,
        version=version,
        page_size_bytes=4096,
        reply=reply,
        recorded=records,
        kernel=(before, after),
    )


def weight(version, before, after, *, value=1, **changes):
    """Of shares: the texts before and after."""
    file = SHARES[version]
    return [change(version, Limits(cpu_shares=value), {file: before}, {file: after}, **changes)]


def lowering(version, after=SMALL, **changes):
    """Of memory without swap, from `LARGE` to `SMALL`, where the kernel then has `after`."""
    limits = Limits(mem_limit=SMALL, memswap_limit=SMALL)
    return change(version, limits, memory(version, LARGE), memory(version, after), **changes)


def lifting(version, swap_bytes, reply=None, recorded=-1):
    """Of swap, to any: what the kernel then has."""
    records = {"Memory": LARGE, "MemorySwap": LARGE + 1}, {"Memory": LARGE, "MemorySwap": recorded}
    files = memory(version, LARGE), memory(version, LARGE, swap_bytes)
    return change(version, Limits(mem_limit=LARGE), *files, reply=reply, recorded=records)


def loaded(version, exit_code, kills, **last):
    first = Snapshot(
        monotonic_ns=0,
        versions=VERSIONS[version],
        memory_current_bytes=4 * MIB,
        memory_peak_bytes=4 * MIB,
        oom_kill=0,
        pids_current=3,
        pids_max_events=0,
    )
    first = replace(first, limits=last.pop("limits", {}))
    load = Load(command=(), exit_code=exit_code, oom_killed=None)
    return Evidence(snapshots=(first, replace(first, oom_kill=kills, **last)), load=load, host=HOST)


def lowered(changed, fate, used, *, before=70 * MIB, kills=0, exceeding=137):
    taken = [
        Snapshot(monotonic_ns=0, versions=VERSIONS[changed.version], memory_current_bytes=size, oom_kill=count)
        for size, count in ((before, 0), (used, kills))
    ]
    return Lowered(
        change=changed,
        lives=fate == "lives",
        snapshots=tuple(taken),
        exceeding=loaded(changed.version, exceeding, int(exceeding == 137)),
    )


def turned(version, cores, seen=0.25):
    """To a quarter of a core, of which the kernel shows `seen`, and the load gets `cores`."""
    taken = [
        Snapshot(
            monotonic_ns=SECOND + at * SECOND // 10,
            versions=VERSIONS[version],
            cpu_usage_ns=round(at * cores * SECOND / 10),
            nr_periods=at,
            nr_throttled=at,
            limits=quota(version, seen),
        )
        for at in range(66)
    ]
    evidence = Evidence(snapshots=tuple(taken), load=Load(command=(), exit_code=None, oom_killed=None), host=HOST)
    changed = change(version, Limits(cpu_limit=0.25), {}, quota(version, 0.25))
    return [Turned(cores=0.25, change=changed, evidence=evidence)]


def lasting(version, *, peak=AFTER, exit_code=137, most=24, refused=3, frozen=None, files=None):
    """After an update; `files`: with another text than the update gave them, or than they had."""
    limits = Limits(mem_limit=AFTER, memswap_limit=AFTER, pids_limit=24)
    bound = memory(version, AFTER) | processes(24) | quota(version, 1.0)
    shown = bound | (files or {})
    hog = loaded(version, exit_code, int(exit_code == 137), memory_peak_bytes=peak, limits=shown)
    forks = loaded(version, 0, 0, pids_current=most, pids_max_events=refused, limits=shown)
    return Lasting(change=change(version, limits, {}, bound), memory=hog, pids=forks, frozen=frozen)


def crowded(version, ran=27, run_on=27, refused=5):
    return Crowded(
        change=change(version, Limits(pids_limit=10), processes(96), processes(10)),
        ran=frozenset(range(ran)),
        run_on=frozenset(range(run_on)),
        evidence=loaded(version, None, 0, pids_max_events=refused),
    )


LIFTED = {"peak": 132 * MIB, "exit_code": 0, "most": 51, "refused": 0}


def outcomes(version):
    """Situation → case, evidence, outcome, and by the load alone; on a host with this version of cgroups."""
    accepted, refused = lowering(version), lowering(version, after=LARGE, reply="device or resource busy")
    half = {**memory(version, LARGE), MEMORY[version]: str(SMALL)}
    by_halves = replace(refused, kernel=(memory(version, LARGE), half))
    raised, no_quota = memory(version, 256 * MIB), quota(version, None)
    return {
        "quota: used as the update says": (57, turned(version, 0.25), "HELD", None),
        "quota: the old one is still in force": (57, turned(version, 0.5, seen=0.5), "BROKEN", "BROKEN"),
        "quota: the kernel's file is right, the load is not": (57, turned(version, 0.5), "BROKEN", "BROKEN"),
        "quota: the load is right, the kernel's file is not": (57, turned(version, 0.25, seen=0.26), "BROKEN", None),
        "below use: refused, and all is as before": (58, lowered(refused, "lives", 70 * MIB), "HELD", None),
        "below use: accepted, and ended by the OOM killer": (
            58,
            lowered(accepted, "ended", 5 * MIB, kills=1),
            "HELD",
            None,
        ),
        "below use: accepted, and swapped": (58, lowered(accepted, "lives", 32 * MIB), "HELD", None),
        "below use: accepted, and not in force": (58, lowered(accepted, "lives", 70 * MIB), "BROKEN", "BROKEN"),
        "below use: refused, but the load died": (58, lowered(refused, "ended", 5 * MIB), "BROKEN", "BROKEN"),
        "below use: refused, but half of it is in force": (58, lowered(by_halves, "lives", 70 * MIB), "BROKEN", None),
        "below use: no limit afterwards": (58, lowered(refused, "lives", 70 * MIB, exceeding=0), "BROKEN", "BROKEN"),
        "below use: it used less than the new limit": (
            58,
            lowered(accepted, "lives", 20 * MIB, before=20 * MIB),
            "UNKNOWN",
            None,
        ),
        "below cache: reclaimed": (59, lowered(accepted, "lives", 32 * MIB), "HELD", None),
        "below cache: one byte too many": (59, lowered(accepted, "lives", 32 * MIB + 1), "BROKEN", "BROKEN"),
        "below cache: refused": (59, lowered(refused, "lives", 70 * MIB), "BROKEN", "BROKEN"),
        "below cache: somebody was killed": (59, lowered(accepted, "ended", 5 * MIB, kills=1), "BROKEN", "BROKEN"),
        "success: in force": (61, lifting(version, None), "HELD", None),
        "success: recorded, and the kernel unchanged": (61, lifting(version, 0), "BROKEN", "BROKEN"),
        "success: refused, and nothing changed": (61, lifting(version, 0, "no", LARGE + 1), "HELD", None),
        "restart: as the update says": (62, lasting(version), "HELD", None),
        "restart: the limits are gone": (62, lasting(version, **LIFTED, files=raised), "BROKEN", "BROKEN"),
        "restart: what the update did not name is gone": (62, lasting(version, files=no_quota), "BROKEN", None),
        "fewer processes: all run on, none starts": (63, crowded(version), "HELD", None),
        "fewer processes: one was killed": (63, crowded(version, run_on=26), "BROKEN", "BROKEN"),
        "fewer processes: new ones start": (63, crowded(version, refused=0), "BROKEN", "BROKEN"),
        "fewer processes: there were not more than that": (63, crowded(version, ran=9, run_on=9), "UNKNOWN", None),
        "paused: in force afterwards": (64, lasting(version, frozen="FROZEN"), "HELD", None),
        "paused: the update let it go on": (64, lasting(version, frozen="THAWED"), "BROKEN", None),
        "paused: no limit afterwards": (64, lasting(version, **LIFTED, frozen="FROZEN"), "BROKEN", "BROKEN"),
    }


OUTCOMES = {f"v{version}, {name}": row for version in VERSIONS for name, row in outcomes(version).items()} | {
    "v1, refused: nothing changed": (60, weight(1, "1024", "1024", reply=REPLY), "HELD", None),
    "v1, refused: but the kernel has it": (60, weight(1, "1024", "2", reply=REPLY), "BROKEN", "BROKEN"),
    "v1, refused: but the engine recorded it": (
        60,
        weight(1, "1024", "1024", reply=REPLY, recorded=({"CpuShares": 0}, {"CpuShares": 1})),
        "BROKEN",
        "BROKEN",
    ),
    "v2, accepted: the least weight": (60, weight(2, "100", "1"), "HELD", None),
    "v2, accepted: the largest weight": (60, weight(2, "1", "10000", value=300_000), "HELD", None),
    "v2, accepted: the weight did not change": (60, weight(2, "100", "100"), "BROKEN", "BROKEN"),
    "v2, accepted: nothing could be read": (60, [change(2, Limits(cpu_shares=1), {}, {})], "UNKNOWN", None),
}


def worst(outcomes):
    return next((one for one in ("BROKEN", "UNKNOWN", "HELD") if one in outcomes), None)


@pytest.mark.parametrize(("number", "evidence", "outcome", "by_load"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes(number, evidence, outcome, by_load):
    """The worst of the verdicts, and whether the load alone shows a missing limit: that is what a control needs."""
    verdicts = JUDGES[number](evidence)
    assert worst([one.outcome for one in verdicts]) == outcome, [(one.reason, one.outcome) for one in verdicts]
    assert ("BROKEN" in [one.under_load for one in verdicts]) == (by_load == "BROKEN")


def test_on_v1_a_refusal_that_changed_something_says_what():
    """The cause in the engine's words, and the drift."""
    reasons = [one.reason for one in JUDGES[60](weight(1, "1024", "2", reply=REPLY))]
    assert reasons == [
        "CpuShares=1 was refused (the minimum allowed cpu-shares is 2), and HostConfig did not change",
        "CpuShares=1 was refused (the minimum allowed cpu-shares is 2), but in the kernel's files cpu.shares: 1024 → 2",
    ]


UNCHANGED = {
    1: "memory.memsw.limit_in_bytes: 100663296, expected 9223372036854771712",
    2: "memory.swap.max: 0, expected max",
}


@both_versions
def test_success_that_changed_nothing_says_what_the_kernel_shows(version):
    """Reply and record are right, the kernel's file is not."""
    reply, _, record, _, kernel = JUDGES[61](lifting(version, 0))
    assert (reply.reason, record.reason) == (
        "reply to Memory=100663296 MemorySwap=-1: success",
        "HostConfig.MemorySwap: -1",
    )
    assert kernel.reason == UNCHANGED[version]
