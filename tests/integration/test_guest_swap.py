"""An engine that finds that its kernel can't limit swap, on a host that has swap: attestation sees what it left out."""

from __future__ import annotations

import json

import pytest

from tests.guest.guest import IMAGE, Guest, package

PROGRAM = """
import json, subprocess, sys
from spawner_limits.engines.docker import translate
from spawner_limits.kernel.reader import Reader
from spawner_limits.kernel.where import find
from spawner_limits.limits import Limits
from spawner_limits.live import host
from spawner_limits.live.attest import attest

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
swap = host.swap_bytes()
found = attest(translate(limits, version=2).expect, shown, swap_bytes=swap)
print(json.dumps({"warning": warning, "swap": swap > 0, "found": [str(one) for one in found]}))
"""


@pytest.fixture(scope="module")
def told():
    """What came of it in the guest."""
    with Guest(variant="v2-root") as guest:
        ran = guest.run(["python3", "-c", PROGRAM, IMAGE], package(), timeout=60)
    assert ran.code == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_engine_only_warns(told):
    """It starts the container, without the limit that it was asked for, on a host with swap."""
    assert told["swap"]
    assert told["warning"].startswith("WARNING: Your kernel does not support swap limit capabilities")


def test_it_is_attested_otherwise(told):
    """So that the spawn is refused."""
    assert told["found"] == ["memswap_limit: memory.swap.max is max, expected 0"]
