"""A real cgroup v2 host with Docker's cgroupfs driver: files, the cgroup above all servers, the suite's cases."""

from __future__ import annotations

import json

import pytest

from tests.busy import is_busy
from tests.guest.containers import start
from tests.guest.guest import IMAGE
from tests.guest.verdicts import experiment, report

MIB = 1 << 20
OUTCOMES = ("HELD", "BROKEN", "UNKNOWN")
READ = """
import json, sys
from spawner_limits.kernel.reader import Reader
from spawner_limits.kernel.cgroups import find

cgroup = find(int(sys.argv[1]), container_id=sys.argv[2])
with Reader(cgroup) as reader:
    seen = reader.read_limits()
found = {"versions": sorted(set(cgroup.versions.values())), "limits": dict(seen.limits)}
print(json.dumps({**found, "memory_current_bytes": seen.memory_current_bytes}))
"""
PROGRAM = """
import json, os, subprocess, sys, time
from pathlib import Path
from spawner_limits.kernel.cgroups import find
from spawner_limits.lifecycle.cgroup_parent import Caps, CgroupParent, look, remove

def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()

def files():
    names = ("memory.max", "pids.max", "cpu.max")
    return {name: Path("/sys/fs/cgroup/users", name).read_text().strip() for name in names}

hog = "held = bytearray(b'1') * (150 << 20); print('held', flush=True); import time; time.sleep(100)"
wanted = Caps(memory_bytes=256 << 20, processes=300, cores=0.5)
parent = CgroupParent("/users")
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


def test_limits_are_in_the_kernels_files_and_our_package_reads_them_there(v2):
    """Memory, swap and CPU weight: 2048 shares are weight 79 with runc before 1.3.2, which Debian's stable has."""
    container = start(v2, "limited", "-m", "64m", "--cpus", "0.333", "--cpu-shares", "2048")
    try:
        expected = {
            "memory.max": str(64 * MIB),
            # without --memory-swap, as much again
            "memory.swap.max": str(64 * MIB),
            "cpu.max": "33300 100000",
            "cpu.weight": "79",
        }
        assert container.cgroup == f"/sys/fs/cgroup/docker/{container.id}"
        assert container.files(*expected) == expected
        ran = v2.run(["python3", "-c", READ, container.pid, container.id])
    finally:
        container.remove()
    assert ran.code == 0, ran.stderr
    read = json.loads(ran.stdout)
    assert read["versions"] == [2]
    assert {name: read["limits"][name] for name in expected} == expected
    assert 0 < read["memory_current_bytes"] <= 64 * MIB


@pytest.fixture(scope="module")
def told(guests):
    """What came of it in the guest."""
    ran = guests("v2").run(["python3", "-c", PROGRAM, IMAGE], timeout=120)
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


# with other files than on v1, or otherwise decided; those of swap are the systemd guest's
OTHERWISE = "1,2,6,7,8,17,22,30,32,33,34,38,43,46,51,56,58,60,61,66"


@pytest.fixture(scope="module")
def cases(guests):
    """What the suite says of the cases that are otherwise on v2."""
    return report(guests("v2"), "--only", OTHERWISE)


def decided(report):
    """All of them hold, but for what Docker and the Linux kernel are known to drop."""
    outcomes = {
        outcome: {one["number"] for one in report["cases"] if one["outcome"] == outcome} for outcome in OUTCOMES
    }
    assert outcomes["UNKNOWN"] == set()
    assert outcomes["BROKEN"] == {one["number"] for one in report["cases"] if one["defect"]} == {17, 46, 61}, [
        one for one in report["cases"] if one["outcome"] == "BROKEN" and not one["defect"]
    ]
    assert [one["number"] for one in report["cases"] if one["control"] and one["control"]["outcome"] != "BROKEN"] == []


def test_the_cases_that_are_otherwise_are_decided(cases):
    """And no other."""
    decided(cases)
    assert {one["number"] for one in cases["cases"]} == {int(one) for one in OTHERWISE.split(",")}


def test_the_evidence_is_of_cgroup_v2(cases):
    """The same package and the same judge, other files."""
    evidence = {one["number"]: one["evidence"] for one in cases["cases"]}
    assert cases["cgroup_version"] == 2
    assert "cpu.max = 50000 100000" in evidence[8]
    assert "cpu.weight = 79" in evidence[22]
    assert any(file.startswith("memory.peak") for file in evidence[32])
    assert json.dumps(cases).count("memory.limit_in_bytes") == sum(
        one["expected"].count("memory.limit_in_bytes") for one in cases["cases"]
    )


@pytest.mark.soak
def test_the_quick_cases_are_decided(v2):
    """The others too."""
    decided(report(v2, "--quick"))


@pytest.mark.soak
def test_experiments(v2):
    """Falling limits kill there too, a weight is named, and swappiness is no setting."""
    code, document, told = experiment(v2, "oom")
    assert (code, document and document["outcome"]) == (0, "HELD"), told
    code, document, told = experiment(v2, "shares")
    words = " ".join(document["findings"])
    held = (code, "by the formula before runc 1.3.2" in words) == (0, True)
    assert held or ((code, "Nothing is said" in words) == (3, True) and is_busy()), (words, told)
    code, _, told = experiment(v2, "swappiness")
    assert (code, "cgroup v2 has no swappiness" in told) == (3, True)
