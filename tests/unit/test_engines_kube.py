"""Translation into Kubernetes' words: a container's `resources`, what the Linux kernel must show, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner_limits.engines.enforcement import Enforcement, Expectation, KernelFile
from spawner_limits.engines.kube import TABLE, translate
from spawner_limits.limits import FIELDS, Limits
from spawner_limits.units import GIB, MIB

EVERYTHING = Limits(
    mem_limit=GIB,
    memswap_limit=GIB,
    mem_swappiness=10,
    mem_guarantee=512 * MIB,
    cpu_limit=1.5,
    cpu_guarantee=0.25,
    cpu_period=100_000,
    cpu_shares=2048,
    cpuset_cpus="0-1",
    pids_limit=256,
)
NEVER = {
    "mem_swappiness": "a pod can't set it; take it out of the policy",
    "cpu_shares": "Kubernetes takes the weight from the request; give cpu_guarantee instead",
    "cpuset_cpus": "the kubelet's CPU manager binds pods to CPUs, not the pod; take it out of the policy",
    "pids_limit": "it is a setting of the node (the kubelet's podPidsLimit), not of the pod; set it there",
}


def file(name, *accept):
    """One kernel file."""
    return KernelFile(controller=name.partition(".")[0], name=name, accept=accept)


def test_a_whole_enforcement():
    """Every field at once: what is asked, what is expected, what is refused."""
    assert translate(EVERYTHING, version=2) == Enforcement(
        ask={
            "limits": {"memory": GIB, "cpu": "1500m"},
            "requests": {"memory": 512 * MIB, "cpu": "250m"},
        },
        expect=(
            Expectation(
                field="mem_limit",
                value=GIB,
                v1=(file("memory.limit_in_bytes", "1073741824"),),
                v2=(file("memory.max", "1073741824"),),
            ),
            Expectation(
                field="memswap_limit",
                value=GIB,
                v1=(file("memory.memsw.limit_in_bytes", "1073741824"),),
                v2=(file("memory.swap.max", "0"),),
            ),
            Expectation(field="mem_guarantee", value=512 * MIB, v1=(), v2=()),
            Expectation(
                field="cpu_limit",
                value=1.5,
                v1=(file("cpu.cfs_quota_us", "150000"), file("cpu.cfs_period_us", "100000")),
                v2=(file("cpu.max", "150000 100000"),),
            ),
            Expectation(
                field="cpu_guarantee",
                value=0.25,
                v1=(file("cpu.shares", "256"),),
                v2=(file("cpu.weight", "10", "35"),),
            ),
            Expectation(
                field="cpu_period",
                value=100_000,
                v1=(file("cpu.cfs_period_us", "100000"),),
                v2=(file("cpu.max", "150000 100000"),),
            ),
        ),
        cannot=NEVER,
    )


ASKED = {
    "no limits, nothing asked": (Limits(), {}),
    "memory, in bytes and without a unit: G would be 10⁹": (
        Limits(mem_limit=GIB, memswap_limit=GIB),
        {"limits": {"memory": 1073741824}},
    ),
    "guaranteed memory": (Limits(mem_guarantee=GIB), {"requests": {"memory": 1073741824}}),
    "a whole core": (Limits(cpu_limit=2.0), {"limits": {"cpu": "2"}}),
    "a part of one": (Limits(cpu_limit=1.5), {"limits": {"cpu": "1500m"}}),
    "a thousandth is exact: 1.001 * 1000 is 1000.999…": (Limits(cpu_limit=1.001), {"limits": {"cpu": "1001m"}}),
    "guaranteed cores": (Limits(cpu_guarantee=0.5), {"requests": {"cpu": "500m"}}),
    "the period is the kubelet's own": (Limits(cpu_period=100_000), {}),
}


@pytest.mark.parametrize(("limits", "asked"), ASKED.values(), ids=ASKED)
def test_what_kubernetes_is_asked(limits, asked):
    """`resources` of the container is exactly this, and nothing is refused."""
    enforcement = translate(limits)
    assert (enforcement.ask, enforcement.cannot) == (asked, {})


SHOWN = {
    "the kernel counts whole pages": (
        Limits(mem_limit=10_000_001, memswap_limit=10_000_001),
        "mem_limit",
        {"memory.limit_in_bytes": ("9998336",)},
        {"memory.max": ("9998336",)},
    ),
    "no swap": (
        Limits(mem_limit=10_000_001, memswap_limit=10_000_001),
        "memswap_limit",
        {"memory.memsw.limit_in_bytes": ("9998336",)},
        {"memory.swap.max": ("0",)},
    ),
    "a limit alone is the request too, and so the weight": (
        Limits(cpu_limit=2),
        "cpu_limit",
        {"cpu.cfs_quota_us": ("200000",), "cpu.cfs_period_us": ("100000",), "cpu.shares": ("2048",)},
        {"cpu.max": ("200000 100000",), "cpu.weight": ("79", "174")},
    ),
    "the systemd driver may round a quota up": (
        Limits(cpu_limit=0.505, cpu_guarantee=0.1),
        "cpu_limit",
        {"cpu.cfs_quota_us": ("50500", "51000"), "cpu.cfs_period_us": ("100000",)},
        {"cpu.max": ("50500 100000", "51000 100000")},
    ),
    "shares are cut: 290 * 1024 / 1000 is 296.96": (
        Limits(cpu_guarantee=0.29),
        "cpu_guarantee",
        {"cpu.shares": ("296",)},
        {"cpu.weight": ("12", "39")},
    ),
    "no more shares than the kernel takes": (
        Limits(cpu_guarantee=300),
        "cpu_guarantee",
        {"cpu.shares": ("262144",)},
        {"cpu.weight": ("10000", "10000")},
    ),
    "a period without a limit": (
        Limits(cpu_period=100_000),
        "cpu_period",
        {"cpu.cfs_period_us": ("100000",)},
        {"cpu.max": ("max 100000",)},
    ),
    "a period whose limit is refused": (
        Limits(cpu_limit=0.5005, cpu_period=100_000),
        "cpu_period",
        {"cpu.cfs_period_us": ("100000",)},
        {"cpu.max": ("max 100000",)},
    ),
    "a request for memory is the scheduler's": (Limits(mem_guarantee=GIB), "mem_guarantee", {}, {}),
}


@pytest.mark.parametrize(("limits", "field", "v1", "v2"), SHOWN.values(), ids=SHOWN)
def test_what_the_kernel_must_show(limits, field, v1, v2):
    """Each file of cgroup v1 and v2, and the texts that are right in it."""
    (one,) = (one for one in translate(limits).expect if one.field == field)
    assert tuple({one.name: one.accept for one in side} for side in (one.v1, one.v2)) == (v1, v2)


NO_SWAP_LIMIT = "a pod can't ask for swap, the kubelet decides (memorySwap.swapBehavior); make it equal to mem_limit"
NO_PERIOD = "it is a setting of the node (the kubelet's cpuCFSQuotaPeriod), not of the pod; take it out of the policy"
THOUSANDTHS = "Kubernetes counts thousandths of a core, and would round it up; write at most three decimals"
CANNOT = {
    **{field: (Limits(**{field: getattr(EVERYTHING, field)}), {field: why}) for field, why in NEVER.items()},
    "some swap": (Limits(mem_limit=GIB, memswap_limit=2 * GIB), {"memswap_limit": NO_SWAP_LIMIT}),
    "unlimited swap": (Limits(mem_limit=GIB), {"memswap_limit": NO_SWAP_LIMIT}),
    "swap without memory": (Limits(memswap_limit=GIB), {"memswap_limit": NO_SWAP_LIMIT}),
    "another period": (Limits(cpu_period=50_000), {"cpu_period": NO_PERIOD}),
    "less than a thousandth": (Limits(cpu_limit=0.5005), {"cpu_limit": THOUSANDTHS}),
    "less than a thousandth, guaranteed": (Limits(cpu_guarantee=0.5005), {"cpu_guarantee": THOUSANDTHS}),
}


@pytest.mark.parametrize(("limits", "cannot"), CANNOT.values(), ids=CANNOT)
def test_what_kubernetes_cannot_hold(limits, cannot):
    """What Kubernetes would drop, or round, in silence is said, and neither asked nor expected."""
    enforcement = translate(limits)
    assert enforcement.cannot == cannot
    assert {one.field for one in enforcement.expect}.isdisjoint(cannot)


@st.composite
def some_limits(draw):
    """Any limits that a policy can come to: none contradicts another."""
    memory, cores = st.integers(6 * MIB, 1 << 40), st.integers(100, 640_000).map(lambda tenth: tenth / 10_000)
    values = {
        "mem_limit": memory,
        "mem_swappiness": st.integers(0, 100),
        "mem_guarantee": memory,
        "cpu_limit": cores,
        "cpu_guarantee": cores,
        "cpu_period": st.sampled_from((50_000, 100_000)),
        "cpu_shares": st.integers(2, 262_144),
        "cpuset_cpus": st.just("0-1"),
        "pids_limit": st.integers(1, 4_194_304),
    }
    given_ = {name: value for name, one in values.items() if (value := draw(st.none() | one)) is not None}
    swap = draw(st.none() | st.just(0) | st.integers(0, 1 << 40))
    return Limits(**given_, memswap_limit=None if swap is None else given_.get("mem_limit", 6 * MIB) + swap)


@given(some_limits(), st.sampled_from((None, 1, 2)))
def test_no_field_is_lost(limits, version):
    """Whatever the policy names is expected of the kernel or refused, never both, and what is asked is expected."""
    enforcement = translate(limits, version=version)
    expected = [one.field for one in enforcement.expect]
    given_ = {name for name in FIELDS if getattr(limits, name) is not None}
    assert given_ <= {*expected, *enforcement.cannot} <= given_ | {"memswap_limit"}
    assert len(expected) == len(set(expected))
    assert set(expected).isdisjoint(enforcement.cannot)
    asked = {f"{room}.{key}" for room, resources in enforcement.ask.items() for key in resources}
    assert asked == {row.option for row in TABLE if row.field in expected and row.option}


@given(st.integers(10, 8_192_000))
def test_cores_are_exact(milli):
    """Every thousandth of a core that a policy can name arrives as itself."""
    enforcement = translate(Limits(cpu_limit=milli / 1000))
    told = enforcement.ask["limits"]["cpu"]
    assert (int(told[:-1]) if told.endswith("m") else int(told) * 1000) == milli
    assert enforcement.expect[0].v1[0].accept[0] == str(milli * 100)


def test_the_table_names_each_field_and_option_once():
    """One row for each field of the policy."""
    assert [row.field for row in TABLE] == list(FIELDS)
    options = [row.option for row in TABLE if row.option]
    assert len(options) == len(set(options))
