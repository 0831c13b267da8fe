"""What was asked for against what the Linux kernel shows: each file that says something else, in words."""

from __future__ import annotations

import pytest

from spawner_limits.engines.docker import translate
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.lifecycle.attest import attest
from spawner_limits.limits import Limits
from spawner_limits.units import MIB
from tests import kernel_files
from tests.kernel_files import VERSIONS, both_versions

LIMITS = Limits(mem_limit=256 * MIB, memswap_limit=256 * MIB, cpu_limit=0.5, pids_limit=100)
SHOWN = {
    version: kernel_files.memory(version, 256 * MIB) | kernel_files.quota(version, 0.5) | kernel_files.processes(100)
    for version in VERSIONS
}


def shown(versions, limits, unread=None):
    return Snapshot(monotonic_ns=0, versions=versions, limits=limits, unread=unread or {})


@both_versions
def test_all_as_asked(version):
    """Nothing differs."""
    assert attest(translate(LIMITS).expect, shown(VERSIONS[version], SHOWN[version]), swap_bytes=0) == ()


def test_a_hybrid_host():
    """Memory on v2, the rest on v1: each controller by its own version."""
    seen = shown(VERSIONS[1] | {"memory": 2}, SHOWN[1] | SHOWN[2])
    assert attest(translate(LIMITS).expect, seen, swap_bytes=0) == ()


NO_SWAP = "this Linux kernel does not account swap"
NOT_READ = "can't be read (it was not read), expected"
DIFFERENT = {
    # what a host shows instead, by the version of its cgroups: each difference
    "v1, memory raised": (
        1,
        {"memory.limit_in_bytes": "536870912"},
        ["mem_limit: memory.limit_in_bytes is 536870912, expected 268435456"],
    ),
    "v2, memory raised": (
        2,
        {"memory.max": "536870912"},
        ["mem_limit: memory.max is 536870912, expected 268435456"],
    ),
    "v1, no quota": (
        1,
        {"cpu.cfs_quota_us": "-1"},
        ["cpu_limit: cpu.cfs_quota_us is -1, expected 50000"],
    ),
    "v2, no quota": (
        2,
        {"cpu.max": "max 100000"},
        ["cpu_limit: cpu.max is max 100000, expected 50000 100000"],
    ),
    "v1, two at once": (
        1,
        {"pids.max": "max", "memory.limit_in_bytes": "9223372036854771712"},
        [
            "mem_limit: memory.limit_in_bytes is 9223372036854771712, expected 268435456",
            "pids_limit: pids.max is max, expected 100",
        ],
    ),
    "v2, two at once": (
        2,
        {"pids.max": "max", "memory.max": "max"},
        ["mem_limit: memory.max is max, expected 268435456", "pids_limit: pids.max is max, expected 100"],
    ),
    "v1, swap not limited, and there is none": (
        1,
        {"memory.memsw.limit_in_bytes": "536870912"},
        ["memswap_limit: memory.memsw.limit_in_bytes is 536870912, expected 268435456"],
    ),
    "v2, swap not limited, and there is none": (
        2,
        {"memory.swap.max": "max"},
        ["memswap_limit: memory.swap.max is max, expected 0"],
    ),
}


@pytest.mark.parametrize(("version", "instead", "differences"), DIFFERENT.values(), ids=DIFFERENT)
def test_differences(version, instead, differences):
    """Each file is named with what it says and what it should."""
    seen = shown(VERSIONS[version], SHOWN[version] | instead)
    assert [str(one) for one in attest(translate(LIMITS).expect, seen, swap_bytes=0)] == differences


SWAP_EXPECTED = {1: "268435456", 2: "0"}


@both_versions
@pytest.mark.parametrize("swap_bytes", [0, MIB], ids=["no swap", "some swap"])
def test_swap_that_is_not_accounted(version, swap_bytes):
    """It matters where there is some."""
    file = kernel_files.SWAP[version]
    limits = {name: text for name, text in SHOWN[version].items() if name != file}
    found = attest(translate(LIMITS).expect, shown(VERSIONS[version], limits, {file: NO_SWAP}), swap_bytes=swap_bytes)
    told = f"memswap_limit: {file} can't be read ({NO_SWAP}), expected {SWAP_EXPECTED[version]}"
    assert [str(one) for one in found] == ([told] if swap_bytes else [])


GONE = {
    1: [
        "mem_limit: memory.limit_in_bytes can't be read (its cgroup is gone), expected 268435456",
        f"cpu_limit: cpu.cfs_quota_us {NOT_READ} 50000",
        f"cpu_limit: cpu.cfs_period_us {NOT_READ} 100000",
        f"pids_limit: pids.max {NOT_READ} 100",
    ],
    2: [
        "mem_limit: memory.max can't be read (its cgroup is gone), expected 268435456",
        f"cpu_limit: cpu.max {NOT_READ} 50000 100000",
        f"pids_limit: pids.max {NOT_READ} 100",
    ],
}


@both_versions
def test_a_container_that_is_gone(version):
    """Each file is named, with the reason where there is one."""
    seen = shown(VERSIONS[version], {}, {kernel_files.MEMORY[version]: "its cgroup is gone"})
    assert [str(one) for one in attest(translate(LIMITS).expect, seen, swap_bytes=0)] == GONE[version]


ROUNDED = {1: ("cpu.cfs_quota_us", "34000", "35000"), 2: ("cpu.max", "34000 100000", "35000 100000")}


@both_versions
def test_a_rounded_quota_is_right(version):
    """With the systemd driver runc rounds a quota up to a whole percent; not to two."""
    expect = translate(Limits(cpu_limit=0.333, cpu_period=100_000)).expect
    file, right, wrong = ROUNDED[version]
    files = kernel_files.quota(version, 0.333)
    assert attest(expect, shown(VERSIONS[version], files | {file: right}), swap_bytes=0) == ()
    found = attest(expect, shown(VERSIONS[version], files | {file: wrong}), swap_bytes=0)
    # on v2 the file has the period, too
    assert [(one.file, one.field) for one in found] == [(file, "cpu_limit"), (file, "cpu_period")][:version]
