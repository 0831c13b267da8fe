"""The cgroup above all servers on the real engine: it is capped, and what dies at its cap is below it."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import contextmanager, suppress

import docker.errors
import pytest

from spawner_limits.kernel.cgroups import Cgroup, cgroup_mounts, find
from spawner_limits.lifecycle.cgroup_parent import Caps, CgroupParent, look, named, remove
from spawner_limits.units import GIB, MIB
from tests import kernel_files
from tests.conftest import MINIMAL

CAPS = Caps(memory_bytes=256 * MIB, processes=300)
HOG = "held = bytearray(b'1') * ({0} << 20); print('held', flush=True); import time; time.sleep(60)"
FORKS = """
import os, time
made = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(60)
        made += 1
except BlockingIOError:
    pass
print(made, flush=True)
time.sleep(60)
"""


@pytest.fixture
def name():
    """A cgroup of our own, gone afterwards."""
    own = f"/test-parent-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    yield own
    end = time.monotonic() + 20
    while True:  # the engine says that a container has ended before its cgroup has
        try:
            remove(own)
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert [path for mount in cgroup_mounts() for path in mount.glob(own.strip("/"))] == []


@contextmanager
def running(client, parent, program, **limits):
    """A container below the cgroup, removed afterwards; what it has printed comes from `logs`."""
    config = client.create_host_config(network_mode="none", cgroup_parent=parent, **limits)
    container = client.create_container(MINIMAL, ["python3", "-u", "-c", program], host_config=config)["Id"]
    try:
        client.start(container)
        yield container
    finally:
        with suppress(docker.errors.NotFound):
            client.remove_container(container, force=True)


def said(client, container, *, seconds=20):
    """The first line that a container prints; empty when it ends without one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (text := client.logs(container).decode()) or not client.inspect_container(container)["State"]["Running"]:
            return text.strip()
        time.sleep(0.05)
    return ""


def read(name, controller, file):
    """A file of the cgroup."""
    _, top = kernel_files.hierarchies()[controller]
    return (top / name.strip("/") / file).read_text().strip()


@pytest.mark.v2
def test_the_kernel_has_the_caps(client, name):
    """What was written is what is read; a container below it is found, and what is above it is as wanted."""
    assert named(name, client.info()["CgroupDriver"]) == name
    parent = CgroupParent(name)
    assert parent.hold(CAPS) == ()
    file = kernel_files.MEMORY[kernel_files.here()]
    assert (read(name, "memory", file), read(name, "pids", "pids.max")) == (str(256 * MIB), "300")
    with running(client, name, "import time; time.sleep(60)", mem_limit=64 * MIB) as container:
        cgroup = find(client.inspect_container(container)["State"]["Pid"], container_id=container)
        assert look(cgroup, CAPS) == ()
        (told,) = look(cgroup, Caps(memory_bytes=128 * MIB, processes=300))
        assert f"{name}/{file} above all servers says {256 * MIB}, and the policy leaves them {128 * MIB}" in told


@pytest.mark.v2
def test_a_changed_policy_reaches_it(client, name):
    """Higher and lower, CPUs too, with a container in it."""
    parent = CgroupParent(name)
    assert parent.hold(CAPS) == ()
    with running(client, name, "import time; time.sleep(60)", mem_limit=64 * MIB):
        for wanted in (
            Caps(memory_bytes=GIB, processes=4000),
            Caps(memory_bytes=128 * MIB, processes=200, cores=0.5),
            CAPS,
        ):
            assert parent.hold(wanted) == ()
            assert read(name, "pids", "pids.max") == str(wanted.processes)


@pytest.mark.alone  # it is timed
def test_a_hold_that_has_nothing_to_write_takes_no_time(name):
    """Under 2 ms, as each start has one."""
    parent, took = CgroupParent(name), []
    assert parent.hold(CAPS) == ()
    for _ in range(20):
        begun = time.perf_counter()
        parent.hold(CAPS)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.002


@pytest.mark.v2
def test_whoever_may_not_write_leaves_it_and_looks(name):
    """A hub that is not root: what somebody else has capped is fine, and what nobody has is said."""
    container = f"{name}/1d"
    CgroupParent(container).hold(CAPS)  # makes the one above too, without caps
    try:
        os.seteuid(65534)
        assert CgroupParent(name).hold(CAPS) == ()
        at = kernel_files.hierarchies()
        cgroup = Cgroup(
            directories={controller: top / container.strip("/") for controller, (_, top) in at.items()},
            versions={controller: version for controller, (version, _) in at.items()},
            unified=None,
        )
        assert [" says no limit, and the policy leaves them " in told for told in look(cgroup, CAPS)] == [True, True]
        os.seteuid(0)
        CgroupParent(name).hold(CAPS)
        os.seteuid(65534)
        assert look(cgroup, CAPS) == CgroupParent(name).hold(CAPS) == ()
    finally:
        os.seteuid(0)
        remove(container)


@pytest.mark.v2
def test_memory_in_use_is_not_taken_away(client, name):
    """A cap below what servers hold ends none of them: the old one stays, and that is said."""
    parent = CgroupParent(name)
    parent.hold(CAPS)
    with running(client, name, HOG.format(150)) as container:
        assert said(client, container) == "held"
        (told,) = parent.hold(Caps(memory_bytes=64 * MIB, processes=300))
        assert f"stays at {256 * MIB}: " in told
        assert client.inspect_container(container)["State"]["Running"]


@pytest.mark.v2
def test_at_the_cap_one_below_it_dies_and_nobody_else(client, name):
    """Two containers within their own limits, together above the cap: one is ended; one outside the cgroup goes on."""
    CgroupParent(name).hold(CAPS)
    own = {"mem_limit": 200 * MIB, "memswap_limit": 200 * MIB}
    with (
        running(client, None, HOG.format(150), **own) as outside,
        running(client, name, HOG.format(150), **own) as first,
    ):
        assert (said(client, outside), said(client, first)) == ("held", "held")
        with running(client, name, HOG.format(150), **own) as second:
            said(client, second)
            end = time.monotonic() + 20
            states = {}
            while time.monotonic() < end and not any(state["OOMKilled"] for state in states.values()):
                states = {one: client.inspect_container(one)["State"] for one in (outside, first, second)}
                time.sleep(0.1)
            assert states[outside]["Running"]
            assert not states[outside]["OOMKilled"]
            # at least one: while the first one's memory is not free yet, a busy kernel takes the second one too
            assert {states[one]["ExitCode"] for one in (first, second) if not states[one]["Running"]} == {137}


@pytest.mark.v2
def test_processes_of_all_servers_together_are_capped(client, name):
    """Two containers that may have 200 each get no more than the cap together."""
    CgroupParent(name).hold(CAPS)
    with (
        running(client, name, FORKS, pids_limit=250) as first,
        running(client, name, FORKS, pids_limit=250) as second,
    ):
        made = [int(said(client, one)) for one in (first, second)]
        assert max(made) == 200
        assert 290 <= sum(made) <= 300
        assert int(read(name, "pids", "pids.current")) == 300
