"""A real hub with `LimitedDockerSpawner` on the host that most people have: systemd, v2, Docker's systemd driver."""

from __future__ import annotations

import pytest

from spawner_limits.engines import labels
from tests.guest.hub import GuestHub

MIB = 1 << 20
POLICY = """\
version: 1
defaults:
  mem_limit: 200M
  cpu_limit: 0.75
  pids_limit: 150
users:
  sue:
    cpu_shares: 2048
"""
SLICE = b"[Slice]\nMemoryMax=1G\nTasksMax=2000\n"
UNIT = "/etc/systemd/system/spawner-limits.slice"
ABOVE = "/sys/fs/cgroup/spawner.slice/spawner-limits.slice"
FILES = {
    "memory.max": str(200 * MIB),
    "memory.swap.max": "0",
    "cpu.max": "75000 100000",
    "pids.max": "150",
}


@pytest.fixture(scope="module")
def hub(guests):
    """A hub whose administrator has given the slice above all servers its caps, as docs/hardening.md says."""
    guest = guests("systemd")
    guest.run(["systemctl", "daemon-reload"], {UNIT: SLICE})
    guest.run(["systemctl", "start", "spawner-limits.slice"])
    running = GuestHub(guest, POLICY)
    yield running
    running.close()
    guest.run(["sh", "-c", f"systemctl stop spawner-limits.slice; rm {UNIT}; systemctl daemon-reload"])


@pytest.fixture(scope="module")
def spawns(hub):
    """User → what the spawn page was told; both servers run."""
    return {user: hub.start(user) for user in ("dan", "sue")}


def files(hub, user, names):
    """Name → text in the cgroup of a user's server, which lies below the slice."""
    found = hub.guest.run_all([["cat", f"{ABOVE}/docker-{hub.container(user)['Id']}.scope/{name}"] for name in names])
    return {name: one.stdout.strip() for name, one in zip(names, found, strict=True)}


@pytest.mark.parametrize("user", ["dan", "sue"])
def test_a_server_starts_and_is_attested(hub, spawns, user):
    """The first and the second: ready, with its limits named, and attested before it is handed over."""
    messages = [event["message"] for event in spawns[user]]
    assert spawns[user][-1].get("ready"), hub.said()[-3000:]
    assert "mem_limit 200 MiB, from defaults (limits.yaml:3)" in messages
    assert any("Attested at " in message for message in messages), messages
    assert f"The limits of {user} are attested, in " in hub.said()
    (server,) = hub.servers(user)
    container = hub.container(user)
    assert server["container_id"] == container["Id"]
    assert server["attested"] > container["State"]["StartedAt"][:19]
    assert (server["drift"], server["problem"]) == ([], None)
    assert container["HostConfig"]["CgroupParent"] == "spawner-limits.slice"
    assert container["Config"]["Labels"][labels.USER] == user


def test_the_kernel_shows_the_limits(hub, spawns):
    """Below the capped slice, in scopes that systemd made; shares by the runtime's formula."""
    assert spawns["dan"][-1].get("ready")
    assert files(hub, "dan", FILES) == FILES
    assert files(hub, "sue", ("cpu.weight",)) == {"cpu.weight": "79"}


def test_the_host_is_protected(hub, spawns):
    """The slice is found to be capped, and the hub is out of the OOM killer's sight: nothing is warned of."""
    assert spawns["dan"][-1].get("ready")
    said = hub.said()
    assert "Protection of the host" not in said
    assert "spawner-limits: " not in said
    ran = hub.guest.run(["sh", "-c", 'cat "/proc/$(systemctl show --property MainPID --value hub)/oom_score_adj"'])
    assert ran.stdout == "-900\n"


def test_no_limit_goes_when_systemd_reads_its_units_anew(hub, spawns):
    """As at the installation of any package with a unit: the kernel's files stay, and nothing drifts."""
    assert spawns["dan"][-1].get("ready")
    hub.guest.run(["systemctl", "daemon-reload"])
    assert files(hub, "dan", FILES) == FILES
    assert [server["drift"] for user in spawns for server in hub.servers(user)] == [[], []]


def test_a_stopped_server_leaves_nothing(hub, spawns):
    """Its container is removed, and another one can be started."""
    assert spawns["dan"][-1].get("ready")
    hub.stop("dan")
    left = 'until [ -z "$(docker ps -aq --filter name=^/jupyter-dan$)" ]; do sleep 0.5; done'
    assert hub.guest.run(["sh", "-c", left], timeout=60).code == 0
    assert hub.servers("dan") == []
