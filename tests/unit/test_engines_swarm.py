"""Translation into Swarm's words: what a service's task is given, what the Linux kernel must show, what is refused."""

from __future__ import annotations

import pytest
from docker.types import Resources, TaskTemplate
from hypothesis import given
from hypothesis import strategies as st

from spawner_limits.engines.docker import NO_SWAPPINESS
from spawner_limits.engines.enforcement import Enforcement, Expectation, KernelFile
from spawner_limits.engines.swarm import TABLE, translate
from spawner_limits.limits import FIELDS, Limits
from spawner_limits.units import GIB, MIB

OLD, NEW = (1, 41), (1, 52)
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


def files(**accept):
    """Kernel files by name, with `_` for the dot."""
    names = {name: name.replace("_", ".", 1) for name in accept}
    return tuple(
        KernelFile(controller=names[name].partition(".")[0], name=names[name], accept=texts)
        for name, texts in accept.items()
    )


def test_a_whole_enforcement():
    """Every field at once: what is asked, what is expected, what is refused."""
    quota = files(cpu_cfs_quota_us=("150000",), cpu_cfs_period_us=("100000",))
    assert translate(EVERYTHING, version=1) == Enforcement(
        ask={
            "Limits": {"MemoryBytes": GIB, "NanoCPUs": 1_500_000_000, "Pids": 256},
            "Reservations": {"MemoryBytes": 512 * MIB, "NanoCPUs": 250_000_000},
            "SwapBytes": 0,
            "MemorySwappiness": 10,
        },
        expect=(
            Expectation(
                field="mem_limit",
                value=GIB,
                v1=files(memory_limit_in_bytes=("1073741824",)),
                v2=files(memory_max=("1073741824",)),
            ),
            Expectation(
                field="memswap_limit",
                value=GIB,
                v1=(KernelFile(controller="memory", name="memory.memsw.limit_in_bytes", accept=("1073741824",)),),
                v2=(KernelFile(controller="memory", name="memory.swap.max", accept=("0",)),),
            ),
            Expectation(field="mem_swappiness", value=10, v1=files(memory_swappiness=("10",)), v2=()),
            Expectation(field="mem_guarantee", value=512 * MIB, v1=(), v2=()),
            Expectation(field="cpu_limit", value=1.5, v1=quota, v2=files(cpu_max=("150000 100000",))),
            Expectation(field="cpu_guarantee", value=0.25, v1=(), v2=()),
            Expectation(field="cpu_period", value=100_000, v1=quota[1:], v2=files(cpu_max=("150000 100000",))),
            Expectation(field="pids_limit", value=256, v1=files(pids_max=("256",)), v2=files(pids_max=("256",))),
        ),
        cannot={
            "cpu_shares": "Swarm has no weights; take it out of the policy",
            "cpuset_cpus": "Swarm can't bind a service to CPUs; take it out of the policy",
        },
    )


ASKED = {
    "no limits, nothing asked": (Limits(), {}),
    "memory, and no swap": (
        Limits(mem_limit=GIB, memswap_limit=GIB),
        {"Limits": {"MemoryBytes": GIB}, "SwapBytes": 0},
    ),
    "swap is said alone": (
        Limits(mem_limit=GIB, memswap_limit=3 * GIB),
        {"Limits": {"MemoryBytes": GIB}, "SwapBytes": 2 * GIB},
    ),
    "unlimited swap is said, or the engine would allow as much as memory": (
        Limits(mem_limit=GIB),
        {"Limits": {"MemoryBytes": GIB}, "SwapBytes": -1},
    ),
    "swappiness, with limits for it to be read at all": (
        Limits(mem_swappiness=0),
        {"Limits": {}, "MemorySwappiness": 0},
    ),
    "guaranteed memory": (Limits(mem_guarantee=GIB), {"Reservations": {"MemoryBytes": GIB}}),
    "cores": (Limits(cpu_limit=0.5), {"Limits": {"NanoCPUs": 500_000_000}}),
    "cores are rounded, not cut: 1.001 * 10⁹ is 1000999999.999…": (
        Limits(cpu_limit=1.001),
        {"Limits": {"NanoCPUs": 1_001_000_000}},
    ),
    "guaranteed cores": (Limits(cpu_guarantee=2), {"Reservations": {"NanoCPUs": 2_000_000_000}}),
    "the period is Swarm's own": (Limits(cpu_period=100_000), {}),
    "processes": (Limits(pids_limit=256), {"Limits": {"Pids": 256}}),
}


@pytest.mark.parametrize(("limits", "asked"), ASKED.values(), ids=ASKED)
def test_what_swarm_is_asked(limits, asked):
    """`Resources` of the task template is exactly this, and nothing is refused."""
    enforcement = translate(limits)
    assert (enforcement.ask, enforcement.cannot) == (asked, {})


def test_what_is_asked_is_spelled_as_the_docker_sdk_does():
    """The SDK's `Resources` makes the same of what it knows, and a task template takes the whole as it is."""
    ask = translate(EVERYTHING).ask
    theirs = Resources(mem_limit=GIB, cpu_limit=1_500_000_000, mem_reservation=512 * MIB, cpu_reservation=250_000_000)
    assert {**ask["Limits"], **theirs["Limits"]} == ask["Limits"]
    assert theirs["Reservations"] == ask["Reservations"]
    assert TaskTemplate(container_spec={}, resources=ask)["Resources"] == ask


SHOWN = {
    "the kernel counts whole pages": (
        Limits(mem_limit=10_000_001),
        "mem_limit",
        {"memory.limit_in_bytes": ("9998336",)},
        {"memory.max": ("9998336",)},
    ),
    "unlimited swap": (
        Limits(mem_limit=GIB),
        "memswap_limit",
        {"memory.memsw.limit_in_bytes": ("9223372036854771712",)},
        {"memory.swap.max": ("max",)},
    ),
    "the systemd driver may round a quota up": (
        Limits(cpu_limit=0.505),
        "cpu_limit",
        {"cpu.cfs_quota_us": ("50500", "51000"), "cpu.cfs_period_us": ("100000",)},
        {"cpu.max": ("50500 100000", "51000 100000")},
    ),
    "a period without a limit": (
        Limits(cpu_period=100_000),
        "cpu_period",
        {"cpu.cfs_period_us": ("100000",)},
        {"cpu.max": ("max 100000",)},
    ),
    "a reservation is the scheduler's": (Limits(mem_guarantee=GIB), "mem_guarantee", {}, {}),
}


@pytest.mark.parametrize(("limits", "field", "v1", "v2"), SHOWN.values(), ids=SHOWN)
def test_what_the_kernel_must_show(limits, field, v1, v2):
    """Each file of cgroup v1 and v2, and the texts that are right in it."""
    (one,) = (one for one in translate(limits).expect if one.field == field)
    assert tuple({file.name: file.accept for file in side} for side in (one.v1, one.v2)) == (v1, v2)


NO_SWAP_LIMIT = (
    "before Docker Engine 29 (API 1.52) Swarm can't limit swap, and the engine allows as much swap as memory; "
    "upgrade, or turn swap off on the nodes"
)
CANNOT = {
    "weights": (Limits(cpu_shares=2048), {}, {"cpu_shares": "Swarm has no weights; take it out of the policy"}),
    "CPUs": (
        Limits(cpuset_cpus="0"),
        {},
        {"cpuset_cpus": "Swarm can't bind a service to CPUs; take it out of the policy"},
    ),
    "another period": (
        Limits(cpu_period=50_000),
        {},
        {"cpu_period": "Swarm counts cores over 100000 µs and no other period; take it out of the policy"},
    ),
    "swap without memory": (
        Limits(memswap_limit=GIB),
        {},
        {"memswap_limit": "Swarm limits swap only together with memory; give mem_limit too"},
    ),
    "swappiness on cgroup v2": (Limits(mem_swappiness=10), {"version": 2}, {"mem_swappiness": NO_SWAPPINESS}),
    "swappiness on cgroup v1 is fine": (Limits(mem_swappiness=10), {"version": 1}, {}),
    "no swap, by an old engine": (
        Limits(mem_limit=GIB, memswap_limit=GIB),
        {"api": OLD},
        {"memswap_limit": NO_SWAP_LIMIT},
    ),
    "unlimited swap, by an old engine": (Limits(mem_limit=GIB), {"api": OLD}, {"memswap_limit": NO_SWAP_LIMIT}),
    "no swap, by the first engine that knows": (Limits(mem_limit=GIB, memswap_limit=GIB), {"api": NEW}, {}),
    "no swap, on nodes that have some": (
        Limits(mem_limit=GIB, memswap_limit=GIB),
        {"api": OLD, "swap_bytes": GIB},
        {"memswap_limit": NO_SWAP_LIMIT},
    ),
    "swappiness by an old engine": (
        Limits(mem_swappiness=10),
        {"api": OLD},
        {
            "mem_swappiness": "before Docker Engine 29 (API 1.52) Swarm has no swappiness; take it out of the policy",
        },
    ),
    "processes by the first engine that knows": (Limits(pids_limit=256), {"api": (1, 41)}, {}),
    "processes by a still older engine": (
        Limits(pids_limit=256),
        {"api": (1, 40)},
        {"pids_limit": "before Docker Engine 20.10 (API 1.41) Swarm can't limit processes; upgrade"},
    ),
}


@pytest.mark.parametrize(("limits", "host", "cannot"), CANNOT.values(), ids=CANNOT)
def test_what_swarm_cannot_hold(limits, host, cannot):
    """What Swarm would drop in silence is said, and neither asked nor expected."""
    enforcement = translate(limits, **host)
    assert enforcement.cannot == cannot
    assert {one.field for one in enforcement.expect}.isdisjoint(cannot)


ANYWAY = {
    "twice the memory is what an old engine allows": (Limits(mem_limit=GIB, memswap_limit=2 * GIB), {}),
    "nodes without swap": (Limits(mem_limit=GIB, memswap_limit=GIB), {"swap_bytes": 0}),
    "nodes without swap, of which any may be used": (Limits(mem_limit=GIB), {"swap_bytes": 0}),
}


@pytest.mark.parametrize(("limits", "host"), ANYWAY.values(), ids=ANYWAY)
def test_swap_that_an_old_engine_holds_anyway(limits, host):
    """It is not sent, but what such an engine shows is expected: as much swap as memory."""
    enforcement = translate(limits, api=OLD, **host)
    (one,) = (one for one in enforcement.expect if one.field == "memswap_limit")
    assert enforcement.ask == {"Limits": {"MemoryBytes": GIB}}
    assert (one.v1[0].accept, one.v2[0].accept) == (("2147483648",), ("1073741824",))


@st.composite
def some_limits(draw):
    """Any limits that a policy can come to: none contradicts another."""
    memory, cores = st.integers(6 * MIB, 1 << 40), st.integers(10, 64_000).map(lambda milli: milli / 1000)
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
    swap = draw(st.none() | st.integers(0, 1 << 40))
    return Limits(**given_, memswap_limit=None if swap is None else given_.get("mem_limit", 6 * MIB) + swap)


@given(
    some_limits(),
    st.sampled_from((None, 1, 2)),
    st.sampled_from((None, (1, 40), OLD, NEW)),
    st.sampled_from((None, 0, GIB)),
)
def test_no_field_is_lost(limits, version, api, swap_bytes):
    """Whatever the policy names is expected of the kernel or refused, never both, and what is asked is expected."""
    enforcement = translate(limits, version=version, api=api, swap_bytes=swap_bytes)
    expected = [one.field for one in enforcement.expect]
    given_ = {name for name in FIELDS if getattr(limits, name) is not None}
    assert given_ <= {*expected, *enforcement.cannot} <= given_ | {"memswap_limit"}
    assert len(expected) == len(set(expected))
    assert set(expected).isdisjoint(enforcement.cannot)
    asked = {
        *(f"{room}.{key}" for room in ("Limits", "Reservations") for key in enforcement.ask.get(room, ())),
        *(enforcement.ask.keys() - {"Limits", "Reservations"}),
    }
    options = {row.option for row in TABLE if row.field in expected and row.option}
    assert asked <= options
    assert options - asked <= {"SwapBytes"}  # held by an old engine without being asked


def test_the_table_names_each_field_and_option_once():
    """One row for each field of the policy."""
    assert [row.field for row in TABLE] == list(FIELDS)
    options = [row.option for row in TABLE if row.option]
    assert len(options) == len(set(options))
