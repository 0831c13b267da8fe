"""What was asked for against what the Linux kernel shows: each file that says something else, in words."""

from __future__ import annotations

import pytest

from spawner_limits.engines.docker import translate
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.lifecycle.attest import attest
from spawner_limits.limits import Limits
from spawner_limits.units import MIB

V1 = dict.fromkeys(("cpu", "cpuacct", "cpuset", "memory", "pids"), 1)
V2 = dict.fromkeys(V1, 2)
LIMITS = Limits(mem_limit=256 * MIB, memswap_limit=256 * MIB, cpu_limit=0.5, pids_limit=100)
SHOWN_V1 = {
    "memory.limit_in_bytes": "268435456",
    "memory.memsw.limit_in_bytes": "268435456",
    "cpu.cfs_quota_us": "50000",
    "cpu.cfs_period_us": "100000",
    "pids.max": "100",
}
SHOWN_V2 = {"memory.max": "268435456", "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "100"}


def shown(versions, limits, unread=None):
    return Snapshot(monotonic_ns=0, versions=versions, limits=limits, unread=unread or {})


NO_SWAP = "this Linux kernel does not account swap"
NO_ACCOUNTING = {"memory.memsw.limit_in_bytes": NO_SWAP}
WITHOUT = {key: text for key, text in SHOWN_V1.items() if "memsw" not in key}
CASES = {
    "v1: all as asked": (shown(V1, SHOWN_V1), 0, []),
    "v2: all as asked": (shown(V2, SHOWN_V2), 0, []),
    "hybrid: memory on v2, the rest on v1": (shown(V1 | {"memory": 2}, SHOWN_V1 | SHOWN_V2), 0, []),
    "memory raised": (
        shown(V1, SHOWN_V1 | {"memory.limit_in_bytes": "536870912"}),
        0,
        ["mem_limit: memory.limit_in_bytes is 536870912, expected 268435456"],
    ),
    "no quota": (
        shown(V2, SHOWN_V2 | {"cpu.max": "max 100000"}),
        0,
        ["cpu_limit: cpu.max is max 100000, expected 50000 100000"],
    ),
    "two at once": (
        shown(V2, SHOWN_V2 | {"pids.max": "max", "memory.max": "max"}),
        0,
        ["mem_limit: memory.max is max, expected 268435456", "pids_limit: pids.max is max, expected 100"],
    ),
    "swap not limited, and there is none": (
        shown(V2, SHOWN_V2 | {"memory.swap.max": "max"}),
        0,
        ["memswap_limit: memory.swap.max is max, expected 0"],
    ),
    "swap not accounted, and there is none": (shown(V1, WITHOUT, NO_ACCOUNTING), 0, []),
    "swap not accounted, and there is some": (
        shown(V1, WITHOUT, NO_ACCOUNTING),
        MIB,
        [
            f"memswap_limit: memory.memsw.limit_in_bytes can't be read ({NO_SWAP}), expected 268435456",
        ],
    ),
    "gone": (
        shown(V2, {}, {"memory.max": "memory.max: its cgroup is gone"}),
        0,
        [
            "mem_limit: memory.max can't be read (memory.max: its cgroup is gone), expected 268435456",
            "cpu_limit: cpu.max can't be read (it was not read), expected 50000 100000",
            "pids_limit: pids.max can't be read (it was not read), expected 100",
        ],
    ),
}


@pytest.mark.parametrize(("seen", "swap_bytes", "differences"), CASES.values(), ids=CASES)
def test_differences(seen, swap_bytes, differences):
    """Each file is named with what it says and what it should."""
    assert [str(one) for one in attest(translate(LIMITS).expect, seen, swap_bytes=swap_bytes)] == differences


def test_a_rounded_quota_is_right():
    """With the systemd driver runc rounds a quota up to a whole percent."""
    expect = translate(Limits(cpu_limit=0.333, cpu_period=100_000)).expect
    assert attest(expect, shown(V2, {"cpu.max": "34000 100000"}), swap_bytes=0) == ()
    assert [one.file for one in attest(expect, shown(V2, {"cpu.max": "35000 100000"}), swap_bytes=0)] == ["cpu.max"] * 2
