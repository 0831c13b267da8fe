"""A real cgroup v2 host, in a guest with an engine of its own: what was asked for is in its kernel's files."""

from __future__ import annotations

import json

import pytest

from tests.guest.guest import IMAGE, Guest, package

MIB = 1 << 20
READ = """
import json, sys
from spawner_limits.kernel.reader import Reader
from spawner_limits.kernel.where import find

cgroup = find(int(sys.argv[1]), container_id=sys.argv[2])
with Reader(cgroup) as reader:
    seen = reader.read_limits()
found = {"versions": sorted(set(cgroup.versions.values())), "limits": dict(seen.limits)}
print(json.dumps({**found, "memory_current_bytes": seen.memory_current_bytes}))
"""


@pytest.fixture(scope="module")
def v2():
    """The newest engine that there is, on cgroup v2."""
    with Guest() as guest:
        assert guest.run(["true"], package()).code == 0
        yield guest


def start(guest, name, *options):
    """A container that waits, in the guest; its PID and id."""
    command = ("docker", "run", "-d", "--name", name, "--network", "none", *options, IMAGE, "sleep", "600")
    ran = guest.run(command, timeout=90)
    assert ran.code == 0, ran.stderr
    told = guest.run(["docker", "inspect", "--format", "{{.State.Pid}} {{.Id}}", name])
    pid, container_id = told.stdout.split()
    return pid, container_id


def text(guest, container_id, name):
    """A file of the container's cgroup, as the guest's kernel gives it."""
    return guest.run(["cat", f"/sys/fs/cgroup/docker/{container_id}/{name}"]).stdout.strip()


HOG = "held = [bytearray(b'1') * (1 << 20) for _ in range(100)]"
FORKS = "for i in $(seq 40); do sleep 3 & done; wait"
BURN = "for i in 1 2; do (timeout 12 sh -c 'while :; do :; done') & done; wait"
TRIES = 3
"""what others on the host disturbed is UNKNOWN, and may be repeated so often; HELD and BROKEN never are"""


def verified(guest, *arguments):
    """Field → outcome and reason, as `verify --image` finds them in the guest."""
    for _ in range(TRIES):
        ran = guest.run(["spawner-limits", "verify", "--image", IMAGE, "--json", "-", *arguments], timeout=150)
        assert ran.code in (0, 1, 3), ran.stderr
        (trial,) = json.loads(ran.stdout)["trials"]
        found = {one["field"]: (one["outcome"], one["reason"]) for one in trial["verdicts"]}
        if all(outcome != "UNKNOWN" for outcome, _ in found.values()):
            break
    return found


# first, because one guest runs at a time, and the other's lasts to the end of the module
def test_an_engine_in_the_root_cgroup_limits_no_swap():
    """Asked for 64 MiB of memory and no swap, it drops the second with a mere warning: a container may swap at will."""
    with Guest(variant="v2-root") as guest:
        _, container_id = start(guest, "limited", "-m", "64m", "--memory-swap", "64m")
        assert text(guest, container_id, "memory.max") == str(64 * MIB)
        assert text(guest, container_id, "memory.swap.max") == "max"
        assert guest.run(["true"], package()).code == 0
        # and `verify` is not taken in
        outcome, reason = verified(guest, "--mem-limit", "64M", "--", "python3", "-c", HOG)["memswap_limit"]
    assert outcome == "BROKEN"
    assert reason.startswith("the kernel shows memory.swap.max = max, expected 0")


def test_limits_are_in_the_kernels_files_and_our_package_reads_them_there(v2):
    """Memory, swap and CPU weight: 2048 shares are weight 174 with runc since 1.3.2, not 79."""
    pid, container_id = start(v2, "limited", "-m", "64m", "--cpus", "0.5", "--cpu-shares", "2048")
    expected = {
        "memory.max": str(64 * MIB),
        # without --memory-swap, as much again
        "memory.swap.max": str(64 * MIB),
        "cpu.max": "50000 100000",
        "cpu.weight": "174",
    }
    assert {name: text(v2, container_id, name) for name in expected} == expected
    ran = v2.run(["python3", "-c", READ, pid, container_id])
    assert ran.code == 0, ran.stderr
    read = json.loads(ran.stdout)
    assert read["versions"] == [2]
    assert {name: read["limits"][name] for name in expected} == expected
    assert 0 < read["memory_current_bytes"] <= 64 * MIB


HELD = {
    "memory": (("--mem-limit", "64M", "--", "python3", "-c", HOG), {"mem_limit", "memswap_limit"}),
    "CPU": (("--cpu-limit", "0.5", "--", "sh", "-c", BURN), {"cpu_limit"}),
    "processes": (("--pids-limit", "20", "--", "sh", "-c", FORKS), {"pids_limit"}),
    "shares, by the weights that the runtime makes of them": (("--cpu-shares", "2048", "--", "true"), {"cpu_shares"}),
}


@pytest.mark.parametrize(("arguments", "fields"), HELD.values(), ids=HELD)
def test_limits_hold_there(v2, arguments, fields):
    """The same command, prover and judge as elsewhere, on files of cgroup v2."""
    found = verified(v2, *arguments)
    assert {field: outcome for field, (outcome, _) in found.items()} == dict.fromkeys(fields, "HELD"), found


def test_a_command_gives_its_exit_code_and_both_outputs(v2):
    """Files arrive whole, bytes that are no text too; no such command and one that takes too long are told as such."""
    content = bytes(range(256)) * 4096
    assert tuple(v2.run(["wc", "-c", "/tmp/in/bytes"], {"/tmp/in/bytes": content})) == (
        0,
        "1048576 /tmp/in/bytes\n",
        "",
    )
    assert tuple(v2.run(["sh", "-c", "echo out; echo err >&2; exit 7"])) == (7, "out\n", "err\n")
    assert tuple(v2.run(["no-such-command"])) == (127, "", "no-such-command: No such file or directory\n")
    assert tuple(v2.run(["sh", "-c", "echo begun; sleep 60"], timeout=1)) == (124, "begun\n", "")


def test_our_command_runs_in_the_guest(v2):
    """With all that it imports; the guest has no hub."""
    ran = v2.run(["spawner-limits", "--version"])
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.strip()
