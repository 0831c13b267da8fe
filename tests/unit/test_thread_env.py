"""Hints for threads: which variables a server gets from its entitlement, and which it must not."""

from __future__ import annotations

import pytest

from spawner_limits.clients.docker import variables_of
from spawner_limits.limits import FIELDS, Limits
from spawner_limits.policy.entitlement import Entitlement, Grant
from spawner_limits.spawners.thread_env import JAVA, THREADS, environment, threads
from spawner_limits.units import GIB

OFF = Grant(value=False, rule="user ann", file="limits.yaml", line=9)
ON = Grant(value=True, rule="user ann", file="limits.yaml", line=9)


def entitlement(hints=None, **values):
    """What somebody gets with these limits."""
    grants = {
        name: Grant(value=values[name], rule="defaults", file="limits.yaml", line=3)
        for name in FIELDS
        if name in values
    }
    return Entitlement(user="ann", server="", groups=(), grants=grants, policy_sha256="", hints=hints)


COUNTS = {
    "half a core is one thread": ({"cpu_limit": 0.5}, None, 1),
    "the least there can be": ({"cpu_limit": 0.01}, None, 1),
    "one core": ({"cpu_limit": 1.0}, None, 1),
    "a little more than one": ({"cpu_limit": 1.01}, None, 2),
    "many": ({"cpu_limit": 96.0}, None, 96),
    "more than the host has": ({"cpu_limit": 96.0}, 2, 2),
    "fewer than the host has": ({"cpu_limit": 1.5}, 64, 2),
    "a smaller CPU set": ({"cpu_limit": 4.0, "cpuset_cpus": "0-1"}, 64, 2),
    "a larger CPU set": ({"cpu_limit": 1.5, "cpuset_cpus": "0-7,12"}, 64, 2),
    "a CPU set alone": ({"cpuset_cpus": "1,3,5-6"}, 64, 4),
    "a CPU set, cores without limit": ({"cpu_limit": None, "cpuset_cpus": "3"}, None, 1),
    "no CPU set but its word": ({"cpu_limit": 3.0, "cpuset_cpus": None}, None, 3),
    "cores without limit": ({"cpu_limit": None}, 64, None),
    "nothing said of cores": ({}, 64, None),
}


@pytest.mark.parametrize(("limits", "cpus", "count"), COUNTS.values(), ids=COUNTS)
def test_how_many_threads_fit(limits, cpus, count):
    """Cores rounded up, and never more than there are CPUs to run on; where CPU is not limited there is none."""
    assert threads(Limits(**limits), cpus) == count


NUMBERS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "PYTHON_CPU_COUNT",
)
ALL = {**dict.fromkeys(NUMBERS, "2"), JAVA: "-XX:ActiveProcessorCount=2 -XX:MaxRAMPercentage=50.0"}
GIVEN = {
    "unless a rule says otherwise": ({}, (), ALL),
    "a rule says yes": ({"hints": ON}, (), ALL),
    "a rule says no": ({"hints": OFF}, (), {}),
    "no limit on memory": ({"mem_limit": None}, (), ALL | {JAVA: "-XX:ActiveProcessorCount=2"}),
    "no limit on CPU": ({"cpu_limit": None}, (), {JAVA: "-XX:MaxRAMPercentage=50.0"}),
    "no limit on either": ({"cpu_limit": None, "mem_limit": None}, (), {}),
    "one is set already": (
        {},
        {"TF_NUM_INTRAOP_THREADS"},
        {name: hint for name, hint in ALL.items() if name != "TF_NUM_INTRAOP_THREADS"},
    ),
    "Java's is set already": ({}, {"PATH", JAVA}, dict.fromkeys(NUMBERS, "2")),
    "OpenMP's is set already, and those that go by it": (
        {},
        {"OMP_NUM_THREADS"},
        {name: ALL[name] for name in (*NUMBERS[4:], JAVA)},
    ),
    "one that would go by OpenMP's is set already": (
        {},
        {"MKL_NUM_THREADS"},
        {name: hint for name, hint in ALL.items() if name != "MKL_NUM_THREADS"},
    ),
    "all are set already": ({}, set(ALL), {}),
}


@pytest.mark.parametrize(("more", "given", "expected"), GIVEN.values(), ids=GIVEN)
def test_what_a_server_is_told(more, given, expected):
    """Every variable, but for those that are set already; Java also of its memory."""
    assert environment(entitlement(**{"cpu_limit": 1.5, "mem_limit": GIB, **more}), cpus=8, given=given) == expected


def test_the_host_counts():
    """More threads than the host has CPUs are no help, whatever the limit is."""
    assert environment(entitlement(cpu_limit=64.0), cpus=2)["OMP_NUM_THREADS"] == "2"


def test_the_table_has_each_variable():
    """And leads to variables of its own only."""
    assert tuple(THREADS) == NUMBERS
    assert {other for other in THREADS.values() if other is not None} <= set(THREADS)


IMAGES = {
    "some": (
        {"Config": {"Env": ["PATH=/bin:/usr/bin", "OMP_NUM_THREADS=3", "A=b=c"]}},
        {"PATH", "OMP_NUM_THREADS", "A"},
    ),
    "one without value": ({"Config": {"Env": ["OMP_NUM_THREADS=", "BARE"]}}, {"OMP_NUM_THREADS", "BARE"}),
    "none": ({"Config": {"Env": []}}, set()),
    "null": ({"Config": {"Env": None}}, set()),
    "no list": ({"Config": {}}, set()),
    "no configuration": ({"Config": None}, set()),
}


@pytest.mark.parametrize(("image", "names"), IMAGES.values(), ids=IMAGES)
def test_what_an_image_sets(image, names):
    """The names alone, also where the value is empty: that is the image's word, too."""
    assert variables_of(image["Config"]) == names
