"""The translation on a real engine: what is asked, what `docker inspect` says, and what the Linux kernel then shows."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from dataclasses import replace

import pytest
from docker.errors import APIError

from spawner_limits.engines.docker import TABLE, host_config, mismatches, translate
from spawner_limits.kernel.cgroups import find
from spawner_limits.kernel.reader import Reader
from spawner_limits.limits import FIELDS, Limits
from spawner_limits.units import GIB, MIB
from tests import kernel_files
from tests.conftest import MINIMAL

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
PAGE = os.sysconf("SC_PAGE_SIZE")
pytestmark = pytest.mark.v2


@pytest.fixture(scope="session")
def version(client):
    """The version of cgroups that the engine uses, which is this host's."""
    assert client.info()["CgroupVersion"] == str(kernel_files.here())
    return kernel_files.here()


@pytest.fixture
def create(client):
    """Makes containers from what `translate` asks for. They are gone after the test, however it ends."""
    with ExitStack() as undo:

        def create(ask):
            config = client.create_host_config(network_mode="none", **ask)
            name = f"test-translation-{secrets.token_hex(4)}"
            made = client.create_container(MINIMAL, ["sleep", "600"], name=name, host_config=config)
            undo.callback(client.remove_container, made["Id"], force=True)
            # what the engine can't do it drops with a warning
            assert not made["Warnings"]
            return made["Id"]

        yield create


def held(limits, version):
    """The limits that the host's cgroups have files for, translated."""
    kept = replace(limits, mem_swappiness=None) if version == 2 else limits
    return translate(kept, version=version, page_size_bytes=PAGE)


def start(client, container):
    """Start it, and find its cgroups."""
    client.start(container)
    return find(client.inspect_container(container)["State"]["Pid"], container_id=container)


def files(enforcement, versions):
    """The expectations' files on a host with these versions of cgroups: (field, file) → the texts that are right."""
    return {
        (one.field, file.name): file.accept
        for one in enforcement.expect
        for version in (1, 2)
        for file in one.files(version)
        if versions[file.controller] == version
    }


def test_everything_is_everything():
    """The limits below name each field that Docker can hold."""
    assert {field for field in FIELDS if getattr(EVERYTHING, field) is not None} == set(FIELDS) - {"cpu_guarantee"}


def test_the_whole_host_config(client, create, version):
    """`docker inspect` says what the table says, to the letter; the rest is what Docker gives any container."""
    enforcement = held(EVERYTHING, version)
    plain = client.inspect_container(create({}))["HostConfig"]
    found = client.inspect_container(create(enforcement.ask))["HostConfig"]
    expected = {
        "Memory": 1_073_741_824,
        "MemorySwap": 2_147_483_648,
        "MemorySwappiness": 10,
        "MemoryReservation": 536_870_912,
        "CpuPeriod": 50_000,
        "CpuQuota": 75_000,
        "CpuShares": 2048,
        "CpusetCpus": "0-1",
        "PidsLimit": 256,
    }
    if version == 2:
        del expected["MemorySwappiness"]
    assert found == plain | expected
    assert host_config(enforcement.ask) == expected
    assert mismatches(enforcement.ask, found) == ()


OTHERS = (
    "BlkioWeight",
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
    "CgroupParent",
    "CpuCount",
    "CpuPercent",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetMems",
    "IOMaximumBandwidth",
    "IOMaximumIOps",
    "KernelMemory",
    "KernelMemoryTCP",
    "NanoCpus",
    "OomKillDisable",
    "Ulimits",
)


def test_no_other_limit_is_set(client, create, version):
    """No key of the host config that limits anything is set, but for the table's."""
    found = client.inspect_container(create(held(EVERYTHING, version).ask))["HostConfig"]
    assert {key: found[key] for key in OTHERS if found.get(key)} == {}
    assert {row.inspect for row in TABLE if row.inspect}.isdisjoint(OTHERS)


LIMITS = {
    "everything": EVERYTHING,
    "nothing": Limits(),
    "memory without swap": Limits(mem_limit=300 * MIB, memswap_limit=300 * MIB),
    "memory with any swap": Limits(mem_limit=300 * MIB, memswap_limit=None),
    "memory that is no whole page": Limits(mem_limit=100_000_001, memswap_limit=100_000_001),
    "a swappiness of 0": Limits(mem_swappiness=0),
    "a guarantee alone": Limits(mem_guarantee=64 * MIB),
    "half a core": Limits(cpu_limit=0.5),
    "the least part of a core": Limits(cpu_limit=0.01),
    "a core over the longest period": Limits(cpu_limit=1.0, cpu_period=1_000_000),
    "the least weight": Limits(cpu_shares=2),
    "the greatest weight": Limits(cpu_shares=262_144),
    "one CPU": Limits(cpuset_cpus="1"),
    "few processes": Limits(pids_limit=64),
    "the most processes": Limits(pids_limit=4_194_304),
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_the_kernel_shows_what_was_asked(client, create, version, limits):
    """Each file of each expectation says, in the running container, one of the texts that are right in it."""
    enforcement = held(limits, version)
    container = create(enforcement.ask)
    assert mismatches(enforcement.ask, client.inspect_container(container)["HostConfig"]) == ()
    with Reader(start(client, container)) as reader:
        snapshot = reader.read_limits()
    expected = files(enforcement, snapshot.versions)
    given = {field for field in FIELDS if getattr(limits, field) is not None}
    # unlimited swap has to be said, or Docker would allow as much again
    given |= {"memswap_limit"} if limits.mem_limit is not None else set()
    assert {field for field, _ in expected} == given - ({"mem_swappiness"} if version == 2 else set())
    shown = {key: snapshot.limits.get(key[1], snapshot.unread.get(key[1])) for key in expected}
    assert {key: (shown[key], accept) for key, accept in expected.items() if shown[key] not in accept} == {}


def test_a_limit_that_is_taken_away_behind_the_engine(client, create, version):
    """The kernel's files tell it, at the next reading; `docker inspect` does not."""
    enforcement = held(Limits(cpu_limit=0.5), version)
    container = create(enforcement.ask)
    cgroup = start(client, container)
    name = kernel_files.QUOTA[version]
    with Reader(cgroup) as reader:
        assert reader.read_limits().limits[name] in files(enforcement, cgroup.versions)["cpu_limit", name]
        _, lifted = kernel_files.lift_quota(cgroup)
        assert reader.read_limits().limits[name] == lifted
    assert mismatches(enforcement.ask, client.inspect_container(container)["HostConfig"]) == ()


def test_a_limit_that_is_changed_through_the_engine(client, create, version):
    """After `docker update` inspect and the kernel both tell it."""
    enforcement = translate(Limits(cpu_limit=0.5, pids_limit=64))
    container = create(enforcement.ask)
    with Reader(start(client, container)) as reader:
        client.update_container(container, cpu_quota=80_000)
        seen = reader.read_limits()
    assert kernel_files.quota(version, 0.8).items() <= seen.limits.items()
    found = client.inspect_container(container)["HostConfig"]
    assert mismatches(enforcement.ask, found) == ("CpuQuota is 80000, the policy says 50000",)


# what the bounds in limits.FIELDS rest on: one below the least, or above the most, and the engine's answer
REFUSED = {
    "mem_limit": ({"mem_limit": 6 * MIB - 1}, "Minimum memory limit allowed is 6MB"),
    "memswap_limit": (
        {"mem_limit": 7 * MIB, "memswap_limit": 6 * MIB},
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    ),
    "mem_guarantee": ({"mem_reservation": 6 * MIB - 1}, "Minimum memory reservation allowed is 6MB"),
    "cpu_limit": ({"cpu_period": 100_000, "cpu_quota": 999}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    "cpu_period": (
        {"cpu_period": 999, "cpu_quota": 1000},
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    ),
}


@pytest.mark.parametrize(("asked", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_engine_refuses(create, asked, message):
    """A little less than a field's least value is refused by the engine, in these words."""
    with pytest.raises(APIError) as caught:
        create(asked)
    assert message in caught.value.explanation


def test_the_least_of_everything_is_accepted(client, create):
    """The engine takes the least value that the policy takes of each field."""
    least = {name: field.minimum for name, field in FIELDS.items() if field.minimum is not None}
    least |= {"cpu_guarantee": None, "mem_swappiness": None, "cpu_period": 100_000}
    ask = translate(Limits(**least)).ask
    assert mismatches(ask, client.inspect_container(create(ask))["HostConfig"]) == ()
