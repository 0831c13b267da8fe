"""The guard: what left a container's cgroup is found, and what only ended is not taken for it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from spawner_limits.bench.guard import Guard
from spawner_limits.kernel import processes
from spawner_limits.kernel.cgroups import Whereabouts
from spawner_limits.kernel.snapshot import Snapshot
from tests import kernel_files


@pytest.fixture
def cgroup():
    """A cgroup of this machine's own Linux kernel; needs root."""
    with kernel_files.made(f"spawner-limits-test-guard-{os.getpid()}") as made:
        yield made


@pytest.fixture
def process(cgroup):
    """A process in a PID namespace of its own, and its child, the first one there; in the cgroup."""
    started = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "sleep 60 & wait"])
    end = time.monotonic() + 10
    while not ((found := inside(started.pid)) and inside(found[0])):
        assert time.monotonic() < end
        time.sleep(0.02)
    for pid in (*found, *inside(found[0])):
        move(pid, cgroup.directories.values())
    yield found[0]
    started.kill()
    started.wait()


def inside(parent):
    """The ids of a process's children."""
    return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def move(pid, directories):
    """Put a process into these cgroups."""
    for directory in set(directories):
        (directory / "cgroup.procs").write_text(str(pid))


def taken(seconds):
    return Snapshot(monotonic_ns=round(seconds * 1e9), versions={})


def test_what_stays_is_no_stray(cgroup, process):
    """Also not in a cgroup below the container's; and who wants to run is counted."""
    guard = Guard(cgroup, process, time.sleep)
    assert guard.look(taken(1)).runnable == 0
    below = [directory / "below" for directory in set(cgroup.directories.values())]
    for directory in below:
        directory.mkdir()
        kernel_files.lend_cpus(directory)
    move(inside(process)[0], below)
    guard.look(taken(2))
    assert guard.strays == {}
    assert inside(process)[0] in processes.members(cgroup)


def test_what_left_before_anybody_looked_is_found_by_its_namespace(cgroup, process):
    """Moved out right after its birth, it was in none of the lists that were read."""
    (child, *_) = inside(process)
    move(child, {directory.parent for directory in cgroup.directories.values()})
    assert child not in processes.members(cgroup)
    guard = Guard(cgroup, process, time.sleep)
    guard.look(taken(1))
    assert "memory" in guard.strays


def test_a_process_that_ends_is_nobody(cgroup, process):
    """While it exits, cgroup v1 shows it in the root cgroup; its number may be another's by then."""
    guard = Guard(cgroup, process, time.sleep)
    for step in range(1, 60):
        child = subprocess.Popen(["sh", "-c", "exit 0"])
        for directory in set(cgroup.directories.values()):
            try:
                (directory / "cgroup.procs").write_text(str(child.pid))
            except ProcessLookupError:
                break
        guard.look(taken(step))
        child.wait()
        assert processes.stray(Whereabouts(cgroup), child.pid) == {}
    assert guard.strays == {}
