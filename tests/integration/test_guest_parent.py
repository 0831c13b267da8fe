"""The cgroup above all servers on a real cgroup v2 host, in a guest with an engine of its own."""

from __future__ import annotations

import json

import pytest

from tests.guest.guest import IMAGE, Guest, package

MIB = 1 << 20
PROGRAM = """
import json, os, subprocess, sys, time
from pathlib import Path
from spawner_limits.kernel.where import find
from spawner_limits.live.parent import Caps, Parent, look, remove

def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()

def files():
    names = ("memory.max", "pids.max", "cpu.max")
    return {name: Path("/sys/fs/cgroup/users", name).read_text().strip() for name in names}

hog = "held = bytearray(b'1') * (150 << 20); print('held', flush=True); import time; time.sleep(100)"
wanted = Caps(memory_bytes=256 << 20, processes=300, cores=0.5)
parent = Parent("/users")
told = {"made": parent.hold(wanted, cores=1.0), "files": files()}
container = docker("run", "-d", "--cgroup-parent", "/users", "--network", "none", "-m", "200m", "--cpus", "1",
                   sys.argv[1], "python3", "-c", hog)
try:
    while "held" not in docker("logs", container):
        time.sleep(0.2)
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", container))
    told["seen"] = look(find(pid, container_id=container), wanted)
    told["lowered"] = parent.hold(Caps(memory_bytes=64 << 20, processes=200))
    told["after"] = files()
    told["running"] = docker("inspect", "--format", "{{.State.Running}}", container)
finally:
    docker("rm", "-f", container)
while True:
    try:
        remove("/users")
        break
    except OSError:
        time.sleep(0.1)
print(json.dumps(told | {"left": os.path.exists("/sys/fs/cgroup/users")}))
"""


@pytest.fixture(scope="module")
def told():
    """What came of it in the guest."""
    with Guest() as guest:
        ran = guest.run(["python3", "-c", PROGRAM, IMAGE], package(), timeout=120)
    assert ran.code == 0, ran.stderr
    return json.loads(ran.stdout)


def test_it_is_capped_and_a_larger_server_starts_in_it(told):
    """Controllers are turned on, the files say what was wanted, and a container of one core starts below half a one."""
    assert told["made"] == told["seen"] == []
    assert told["files"] == {"memory.max": str(256 * MIB), "pids.max": "300", "cpu.max": "50000 100000"}


def test_memory_in_use_is_not_taken_away(told):
    """There the kernel would kill the container at once: its cap stays, that is said, and the others change."""
    (problem,) = told["lowered"]
    assert problem.startswith(f"/sys/fs/cgroup/users/memory.max stays at {256 * MIB}: 15")
    assert told["after"] == {"memory.max": str(256 * MIB), "pids.max": "200", "cpu.max": "max 100000"}
    assert told["running"] == "true"


def test_it_is_gone(told):
    """Nothing is left in the guest."""
    assert told["left"] is False
