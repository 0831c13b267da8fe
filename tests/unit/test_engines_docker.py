"""Translation into Docker's words: every field of the policy, what is asked, and what the Linux kernel must show."""

from __future__ import annotations

import pytest

from spawner_limits.engines.docker import TABLE, host_config, mismatches, translate, weights
from spawner_limits.engines.enforcement import shares_told
from spawner_limits.limits import FIELDS, Limits
from spawner_limits.units import GIB, MIB

EVERYTHING = Limits(
    mem_limit=GIB,
    memswap_limit=2 * GIB,
    mem_swappiness=10,
    mem_guarantee=512 * MIB,
    cpu_limit=1.5,
    cpu_period=50_000,
    cpu_shares=2048,
    cpuset_cpus="0-1",
    pids_limit=256,
)

ASKED = {
    "memory alone allows no swap": (
        Limits(mem_limit=GIB, memswap_limit=GIB),
        {"mem_limit": GIB, "memswap_limit": GIB + 1},
    ),
    "no swap, in whole pages": (
        Limits(mem_limit=10_000_001, memswap_limit=10_000_001),
        {"mem_limit": 9_998_336, "memswap_limit": 9_998_337},
    ),
    "unlimited swap is said, or Docker would allow as much again": (
        Limits(mem_limit=GIB, memswap_limit=None),
        {"mem_limit": GIB, "memswap_limit": -1},
    ),
    "half a core over the kernel's own period": (
        Limits(cpu_limit=0.5),
        {"cpu_period": 100_000, "cpu_quota": 50_000},
    ),
    "a quota is rounded, not cut: 0.29 * 100000 is 28999.999…": (
        Limits(cpu_limit=0.29),
        {"cpu_period": 100_000, "cpu_quota": 29_000},
    ),
    "a period without a limit asks for nothing": (Limits(cpu_period=50_000), {}),
    "swappiness 0 is asked for, though it is falsy": (Limits(mem_swappiness=0), {"mem_swappiness": 0}),
    "no limits, nothing asked": (Limits(), {}),
    "everything": (
        EVERYTHING,
        {
            "mem_limit": GIB,
            "memswap_limit": 2 * GIB,
            "mem_swappiness": 10,
            "mem_reservation": 512 * MIB,
            "cpu_period": 50_000,
            "cpu_quota": 75_000,
            "cpu_shares": 2048,
            "cpuset_cpus": "0-1",
            "pids_limit": 256,
        },
    ),
}


@pytest.mark.parametrize(("limits", "asked"), ASKED.values(), ids=ASKED)
def test_what_docker_is_asked(limits, asked):
    """`extra_host_config` is exactly this, and nothing more."""
    assert translate(limits).ask == asked


def test_what_the_kernel_must_show():
    """For each field, each file of cgroup v1 and v2 and the texts that are right in it."""
    shown = {
        one.field: tuple({file.name: file.accept for file in files} for files in (one.v1, one.v2))
        for one in translate(EVERYTHING).expect
    }
    assert shown == {
        "mem_limit": ({"memory.limit_in_bytes": ("1073741824",)}, {"memory.max": ("1073741824",)}),
        "memswap_limit": ({"memory.memsw.limit_in_bytes": ("2147483648",)}, {"memory.swap.max": ("1073741824",)}),
        "mem_swappiness": ({"memory.swappiness": ("10",)}, {}),
        "mem_guarantee": ({"memory.soft_limit_in_bytes": ("536870912",)}, {"memory.low": ("536870912",)}),
        "cpu_limit": ({"cpu.cfs_quota_us": ("75000",), "cpu.cfs_period_us": ("50000",)}, {"cpu.max": ("75000 50000",)}),
        "cpu_period": ({"cpu.cfs_period_us": ("50000",)}, {"cpu.max": ("75000 50000",)}),
        "cpu_shares": ({"cpu.shares": ("2048",)}, {"cpu.weight": ("79", "174")}),
        "cpuset_cpus": ({"cpuset.cpus": ("0-1",)}, {"cpuset.cpus": ("0-1",)}),
        "pids_limit": ({"pids.max": ("256",)}, {"pids.max": ("256",)}),
    }


SHOWN = {
    "the kernel counts whole pages": (Limits(mem_limit=10_000_001, memswap_limit=10_000_001), 4096, "9998336", "0"),
    "pages may be 64 KiB": (Limits(mem_limit=10_000_001, memswap_limit=10_000_001), 65536, "9961472", "0"),
    "unlimited swap": (Limits(mem_limit=GIB), 4096, "9223372036854771712", "max"),
}


@pytest.mark.parametrize(("limits", "page", "memsw", "swap"), SHOWN.values(), ids=SHOWN)
def test_memory_and_swap_in_the_kernel(limits, page, memsw, swap):
    """v1 shows memory and swap together, v2 swap alone, both in whole pages."""
    (expectation,) = (one for one in translate(limits, page_size_bytes=page).expect if one.field == "memswap_limit")
    assert (expectation.v1[0].accept, expectation.v2[0].accept) == ((memsw,), (swap,))


def test_the_systemd_driver_may_round_a_quota_up():
    """With the systemd driver a quota is a whole percent of a core; both texts are right."""
    (expectation,) = translate(Limits(cpu_limit=0.505)).expect
    assert expectation.v1[0].accept == ("50500", "51000")
    assert expectation.v2[0].accept == ("50500 100000", "51000 100000")


WEIGHTS = {2: (1, 1), 100: (4, 17), 256: (10, 35), 512: (20, 59), 1024: (39, 100), 2048: (79, 174)} | {
    4096: (157, 303),
    8192: (313, 532),
    262144: (10000, 10000),
}


@pytest.mark.parametrize(("shares", "expected"), WEIGHTS.items())
def test_shares_become_weights_by_either_formula(shares, expected):
    """`cpu.weight` as runc before 1.3.2 and from 1.3.2 on writes it, as measured with both."""
    assert weights(shares) == tuple(map(str, expected))


def test_no_field_is_lost():
    """Whatever the policy names is expected of the kernel, or said to be impossible."""
    limits = Limits(
        **{name: getattr(EVERYTHING, name) for name in FIELDS if name != "cpu_guarantee"}, cpu_guarantee=1.0
    )
    enforcement = translate(limits, version=2)
    assert {one.field for one in enforcement.expect} | set(enforcement.cannot) == set(FIELDS)


CANNOT = {
    "guaranteed cores": (
        Limits(cpu_guarantee=1.0),
        1,
        {"cpu_guarantee": "Docker can't keep cores free for a container; give it cpu_shares instead"},
    ),
    "swappiness on cgroup v2": (
        Limits(mem_swappiness=10),
        2,
        {
            "mem_swappiness": "cgroup v2 has no swappiness for a container, and Docker would discard it; "
            "take it out of the policy"
        },
    ),
    "swappiness on cgroup v1 is fine": (Limits(mem_swappiness=10), 1, {}),
}


@pytest.mark.parametrize(("limits", "version", "cannot"), CANNOT.values(), ids=CANNOT)
def test_what_docker_cannot_hold(limits, version, cannot):
    """What the engine would drop in silence is said, and neither asked for nor expected."""
    found = translate(limits, version=version)
    assert found.cannot == cannot
    assert not {*cannot} & {*found.ask, *(one.field for one in found.expect)}


def test_the_table_names_each_field_and_option_once():
    """One row for each field of the policy."""
    assert sorted(row.field for row in TABLE) == sorted(FIELDS)
    assert len({row.option for row in TABLE}) == len({row.inspect for row in TABLE}) == len(TABLE)


MISMATCHES = {
    "the same": ({}, ()),
    "more memory": ({"Memory": 2 * GIB}, ("Memory is 2.00 GiB, the policy says 1.00 GiB",)),
    "a byte more": ({"Memory": GIB + 1}, ("Memory is 1073741825, the policy says 1073741824",)),
    "no swap as it was asked once": (
        {"MemorySwap": GIB},
        ("MemorySwap is 1.00 GiB, the policy says 1.00 GiB + 1 byte (no swap)",),
    ),
    "no swap for another memory": (
        {"Memory": GIB // 2, "MemorySwap": GIB // 2 + 1},
        (
            "Memory is 512 MiB, the policy says 1.00 GiB",
            "MemorySwap is 512 MiB + 1 byte (no swap), the policy says 1.00 GiB + 1 byte (no swap)",
        ),
    ),
    "swap without end": ({"MemorySwap": -1}, ("MemorySwap is -1, the policy says 1.00 GiB + 1 byte (no swap)",)),
    "a quota taken away": ({"CpuQuota": 0}, ("CpuQuota is 0, the policy says 75000",)),
    "left out": ({"PidsLimit": None}, ("PidsLimit is not set, the policy says 256",)),
    "NanoCpus beside the quota": (
        {"NanoCpus": 4_000_000_000},
        ("NanoCpus is 4000000000, but the policy limits it by quota and period",),
    ),
    "what the policy says nothing about": ({"ShmSize": 1}, ()),
}


@pytest.mark.parametrize(("change", "sentences"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_host_config_that_differs_is_told(change, sentences):
    """Every key that differs from the policy is named, with both values."""
    enforcement = translate(Limits(mem_limit=GIB, memswap_limit=GIB, cpu_limit=1.5, cpu_period=50_000, pids_limit=256))
    assert mismatches(enforcement.ask, {**host_config(enforcement.ask), **change}) == sentences


WEIGHTS = {
    # runtime as the engine names it: weights of 2048 shares
    "": [79, 174],
    "runc 1.1.5+ds1": [79],
    "runc 1.3.1": [79],
    "runc 1.3.2": [174],
    "runc 1.3.6": [174],
    "runc 1.4.0-rc.1": [174],
    "crun 1.22": [79],
    "crun 1.23.1": [174],
    "kata 3.2": [79, 174],
    "runc unknown": [79, 174],
}


@pytest.mark.parametrize("runtime", WEIGHTS)
def test_shares_on_cgroup_v2_are_what_the_runtime_makes_of_them(runtime):
    """One answer where the runtime is known, else one for each formula; on v1 no runtime has a say."""
    assert [one.weight for one in shares_told(2048, 2, runtime)] == WEIGHTS[runtime]
    assert [(one.weight, one.ordinary, one.runtime) for one in shares_told(2048, 1, runtime)] == [(2048, 1024, "")]
