"""Processes and cgroups that go while they are looked at, as a container's do all the time."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from spawner_limits.kernel.cgroups import Cgroup
from spawner_limits.kernel.processes import cpu_seconds, identity, is_asleep, members, namespace, runnable

MANY = 150
"""of a look by Path.glob, 7 % ended in FileNotFoundError"""


LOOKS = (lambda pid: runnable([pid]), lambda pid: is_asleep([pid]), identity, cpu_seconds, namespace)


@pytest.mark.parametrize("look", LOOKS)
def test_a_process_that_ends(look):
    """Is not there, which is no error."""
    for _ in range(MANY):
        process = subprocess.Popen(["true"])
        reaper = threading.Thread(target=process.wait)
        reaper.start()
        while reaper.is_alive():
            look(process.pid)
        reaper.join()


def test_a_cgroup_that_is_removed(tmp_path):
    """Has no members."""
    (tmp_path / "cgroup.procs").write_text("7\n")
    cgroup = Cgroup(directories={"memory": tmp_path}, versions={"memory": 2}, unified=None)
    done = threading.Event()

    def churn():
        while not done.is_set():
            deep = tmp_path / "a" / "b"
            deep.mkdir(parents=True)
            (deep / "cgroup.procs").write_text("8\n")
            (deep / "cgroup.procs").unlink()
            deep.rmdir()
            deep.parent.rmdir()

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _ in range(3000):
            assert members(cgroup) in ({7}, {7, 8})
    finally:
        done.set()
        churning.join()


def test_members_below(tmp_path):
    """Of all cgroups below, each once."""
    for name, pids in {".": "7\n", "a": "8\n9\n", "a/b": "9\n"}.items():
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cgroup.procs").write_text(pids)
    assert members(Cgroup(directories={"memory": tmp_path}, versions={"memory": 2}, unified=None)) == {7, 8, 9}


def test_threads_that_run():
    """Who asks runs; who waits does not count."""
    assert runnable([os.getpid()]) >= 1
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as waiting:  # until its input ends with this block
        end = time.monotonic() + 30
        while (runnable([waiting.pid]) or not is_asleep([waiting.pid])) and time.monotonic() < end:
            time.sleep(0.01)
        assert runnable([waiting.pid]) == 0
        assert is_asleep([waiting.pid])
        assert not is_asleep([os.getpid()])
