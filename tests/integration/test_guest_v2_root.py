"""An engine in the root cgroup of a v2 host with swap, where it finds that swap can't be limited: it is found out."""

from __future__ import annotations

import json

import pytest

from tests.guest.containers import start
from tests.guest.guest import IMAGE
from tests.guest.verdicts import HOG, report, verified

MIB = 1 << 20

PROGRAM = """
import json, subprocess, sys
from spawner_limits.engines.docker import translate
from spawner_limits.kernel.reader import Reader
from spawner_limits.kernel.cgroups import find
from spawner_limits.limits import Limits
from spawner_limits.kernel.host import meminfo
from spawner_limits.lifecycle.attest import attest

def docker(*arguments):
    ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip(), ran.stderr.strip()

limits = Limits(mem_limit=64 << 20, memswap_limit=64 << 20)
container, warning = docker("run", "-d", "--network", "none", "-m", "64m", "--memory-swap", "64m", sys.argv[1],
                            "sleep", "60")
try:
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", container)[0])
    with Reader(find(pid, container_id=container)) as reader:
        shown = reader.read_limits()
finally:
    docker("rm", "-f", container)
swap = meminfo()["SwapTotal"]
found = attest(translate(limits, version=2).expect, shown, swap_bytes=swap)
print(json.dumps({"warning": warning, "swap": swap > 0, "found": [str(one) for one in found]}))
"""


@pytest.fixture(scope="module")
def root(guests):
    """The guest."""
    return guests("v2-root")


@pytest.fixture(scope="module")
def told(root):
    """What came of it there."""
    ran = root.run(["python3", "-c", PROGRAM, IMAGE], timeout=60)
    assert ran.code == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_engine_only_warns(told):
    """It starts the container, without the limit that it was asked for, on a host with swap."""
    assert told["swap"]
    assert told["warning"].startswith("WARNING: Your kernel does not support swap limit capabilities")


def test_it_is_attested_otherwise(told):
    """So that the spawn is refused."""
    assert told["found"] == ["memswap_limit: memory.swap.max is max, expected 0"]


def test_verify_is_not_taken_in(root):
    """Asked for 64 MiB of memory and no swap, a container may swap at will: by the kernel's file, and pressed."""
    container = start(root, "limited", "-m", "64m", "--memory-swap", "64m")
    assert container.files("memory.max", "memory.swap.max") == {"memory.max": str(64 * MIB), "memory.swap.max": "max"}
    container.remove()
    outcome, reason = verified(root, "--mem-limit", "64M", "--", "python3", "-c", HOG)["memswap_limit"]
    assert outcome == "BROKEN"
    assert reason.startswith("the kernel shows memory.swap.max = max, expected 0")


def test_the_suite_finds_it_broken(root):
    """By what the engine says, by the kernel's files, and by a load that swaps."""
    found = report(root, "--only", "5,47,48,52")
    assert {one["number"]: one["outcome"] for one in found["cases"]} == dict.fromkeys((5, 47, 48, 52), "BROKEN")
    assert [one["number"] for one in found["cases"] if one["defect"]] == []
    (swap,) = (one["reason"] for one in found["cases"] if one["number"] == 48)
    assert swap.startswith(
        "swap is NOT limited on this host, because dockerd lives in the root cgroup, where it finds no "
        "memory.swap.max, and so drops --memory-swap"
    )
    assert "swap is NOT limited on this host" in found["summary"]
