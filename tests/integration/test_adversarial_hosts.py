"""Hosts that lie: what root, or an earlier life, does behind the engine's back must not pass for a limit that holds.

The quota set to -1 and the raised memory limit are in `test_verify`, a SIGKILL that looks like an OOM kill and an idle
load too; a cgroup that vanishes in the middle is in `test_verify_faults`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from spawner_limits.clients.own_containers import Engine
from spawner_limits.engines import labels
from spawner_limits.kernel import processes
from spawner_limits.kernel.cgroups import CgroupError, Whereabouts, find
from spawner_limits.kernel.processes import identity
from spawner_limits.policy.entitlement import Entitlement, Grant
from spawner_limits.units import GIB, MIB
from spawner_limits.verify.run import Prover, Watch
from tests.conftest import MINIMAL
from tests.integration.conftest import eventually
from tests.kernel_files import only_v1

LIMIT = 64 * MIB
SPIN = ("stress-ng", "--cpu", "2", "--timeout", "9", "--quiet")


def members(cgroup, controller):
    """The processes of a container's cgroup."""
    return (cgroup.directories[controller] / "cgroup.procs").read_text().split()


def move_out(cgroup, controller):
    """Every process of the container goes to the cgroup above it."""
    above = cgroup.directories[controller].parent
    if cgroup.versions[controller] == 2:  # a cgroup with controllers for its children may have no processes itself
        above = above.parent
    for pid in members(cgroup, controller):
        (above / "cgroup.procs").write_text(pid)


MOVED = {
    "from its quota": ("--cpu-limit=0.2", "cpu", "cpu_limit", SPIN),
    "from its memory": (
        "--mem-limit=64M", "memory", "mem_limit",
        ("sh", "-c", "sleep 3; python3 -c 'x = bytearray(b\"x\") * (128 << 20)'; sleep 1.5"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MOVED.values(), ids=MOVED)
def test_a_container_that_is_moved_out_of_its_cgroup_is_broken(verify, case):
    """Its own files look right and its own counters stand still; its processes are found elsewhere."""
    option, controller, field, load = case
    process = verify.start("--image", MINIMAL, option, "--json", "-", "--", *load)
    cgroup = verify.pressed(process)
    eventually(lambda: len(members(cgroup, controller)) > 2)
    move_out(cgroup, controller)
    outcome, reason = verify.end(process).verdicts()[field]
    assert outcome == "BROKEN"
    assert reason.startswith("a process of the container was moved to the cgroup /")


@only_v1("cpu.stat of v2 can't be written; tests/unit/test_judge.py has counters that fall on either")
def test_counters_that_go_backwards_are_unknown(verify):
    """Root sets cpuacct.usage to 0 in the middle: whatever was used before is gone, so nothing is known."""
    process = verify.start("--image", MINIMAL, "--cpu-limit=0.2", "--json", "-", "--", *SPIN)
    cgroup = verify.pressed(process)
    usage = cgroup.directories["cpuacct"] / "cpuacct.usage"
    eventually(lambda: int(usage.read_text()) > 500_000_000)
    usage.write_text("0")
    outcome, reason = verify.end(process).verdicts()["cpu_limit"]
    assert (outcome, reason) == (
        "UNKNOWN",
        "cpu_usage_ns went backwards: this was not one cgroup all the time",
    )


def test_a_load_on_another_container_presses_nothing(verify, client):
    """What a neighbour uses is not counted for the one that is looked at."""
    command = ["python3", "-c", "x = bytearray(b'x') * (48 << 20)\nwhile True: pass"]
    host_config = client.create_host_config(mem_limit=LIMIT, memswap_limit=LIMIT, auto_remove=True)
    other = client.create_container(
        MINIMAL, command, entrypoint=[], host_config=host_config, labels={labels.TRIAL: identity_of_us()}
    )["Id"]
    client.start(other)
    try:
        found = verify("--image", MINIMAL, "--mem-limit=64M", "--cpu-limit=0.2", "--json", "-", "--", "sleep", "7")
    finally:
        client.remove_container(other, force=True)
    assert {field: outcome for field, (outcome, _) in found.verdicts().items()} == {
        "mem_limit": "UNKNOWN", "memswap_limit": "UNKNOWN", "cpu_limit": "UNKNOWN",
    }  # fmt: skip


def identity_of_us():
    """The label's value that keeps another run's sweep away."""
    return identity(os.getpid())


@pytest.fixture
def survivor(client):
    """A server of a hub that ran out of memory in an earlier life, and was started again."""
    grants = {"mem_limit": LIMIT, "memswap_limit": LIMIT}
    told = {name: Grant(value=value, rule="defaults", file="limits.yaml", line=2) for name, value in grants.items()}
    entitlement = Entitlement(user="eve", server="", groups=(), grants=told, policy_sha256="0" * 64)
    made = client.create_container(
        MINIMAL,
        ["sh", "-c", "[ -e /tmp/second ] && exec sleep 60; touch /tmp/second; exec python3 -c 'bytearray(128 << 20)'"],
        entrypoint=[],
        host_config=client.create_host_config(**grants),
        labels={labels.TRIAL: identity_of_us(), labels.ENTITLEMENT: entitlement.to_json(), labels.USER: "eve"},
    )["Id"]
    client.start(made)
    client.wait(made)
    client.start(made)
    yield made
    client.remove_container(made, force=True)


def test_an_oom_kill_of_an_earlier_life_is_no_evidence(client, survivor):
    """Whatever the engine's OOMKilled says: the counters since this start show no kill, and no press."""
    state = client.inspect_container(survivor)["State"]
    assert state["Running"]
    engine = Engine()
    prover = Prover(engine=engine, seconds=30, watch=Watch(say=lambda _: None, sample=lambda *_: None))
    trial = prover._server("eve", engine.inspect(survivor))
    (memory, _) = trial.verdicts
    assert memory.outcome == "UNKNOWN"
    assert memory.reason.startswith("not pressed: largest sample ")
    assert memory.figures["oom_kills"] == 0


def test_a_container_that_was_moved_before_is_not_looked_for_elsewhere():
    """Nothing is read from a cgroup that is not the container's own: that is an error, and says why."""
    engine = Engine()
    host_config = {"mem_limit": LIMIT, "memswap_limit": LIMIT}
    with engine.trial_container(MINIMAL, host_config=host_config, environment={}, seconds=60) as container:
        move_out(engine.cgroup(container), "memory")
        with pytest.raises(CgroupError, match="which is not named after the container"):
            find(container.pid, container_id=container.id)


def test_a_process_that_has_ended_and_nobody_waited_for_has_not_escaped():
    """On cgroup v1 the Linux kernel shows it in the root cgroup, wherever it was."""
    child = os.fork()
    if not child:
        os._exit(0)
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert identity(child) == ""
        assert identity(os.getpid()).startswith(f"{os.getpid()}.")
    finally:
        os.waitpid(child, 0)
    assert identity(child) == ""


def test_a_process_that_is_giving_back_its_memory_has_not_escaped():
    """A large one takes a while to exit, and on cgroup v1 alone is shown in the root cgroup from the first moment."""
    engine, command = Engine(), ("python3", "-c", f"import time; x = b'x' * {GIB}; time.sleep(60)")
    with engine.trial_container(MINIMAL, host_config={}, environment={}, seconds=60, command=command) as container:
        cgroup = engine.cgroup(container)
        large = eventually(lambda: next((pid for pid in processes.members(cgroup) if resident(pid) > GIB), 0))
        known, elsewhere, whereabouts = identity(large), 0, Whereabouts(cgroup)
        os.kill(large, signal.SIGKILL)
        while True:
            try:
                found = whereabouts.outside(large)
            except CgroupError:
                break
            assert processes.stray(whereabouts, large) == {}
            if now := identity(large):
                assert (now, found) == (known, {})
            elsewhere += bool(found)
    assert (elsewhere > 0) is (cgroup.versions["memory"] == 1)


def resident(pid):
    """The memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
