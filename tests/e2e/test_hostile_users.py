"""One user can't take the host down: whatever a server does, others' kernels and the hub go on answering."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from spawner_limits.kernel.cgroups import cgroup_mounts, find
from spawner_limits.kernel.reader import Reader
from spawner_limits.units import MIB
from tests import kernel_files
from tests.e2e.conftest import TestHub, own_hub

POLICY = """\
version: 1
defaults:
  mem_limit: 256M
  cpu_limit: 1
  pids_limit: 200
users:
  mallory:
    mem_limit: 512M
host:
  reserve_memory: 2G
  reserve_cpus: 0.25
  # others test on this machine
  memory_overcommit: unlimited
  cpu_overcommit: unlimited
"""
# others' answers are timed while one takes all that the machine has
pytestmark = pytest.mark.alone
SECONDS = 8
API_S = 1.0
KERNEL_S = 3.0
"""for `1+1` in another user's kernel; two CPUs serve all of this and its tests"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub for three, one of whom means harm."""
    folder, people = tmp_path_factory.mktemp("hostile-hub"), ("mallory", "alice", "opal")
    with own_hub(folder, POLICY, "hostile_config.py", users=people, groups={"open": ["opal"]}) as running:
        yield running
    assert [path for mount in cgroup_mounts() for path in mount.glob(running.prefix)] == []


def server(hub, user):
    """What `docker inspect` says of a user's server, started where it does not run."""
    found = hub.container(user)
    if found is None or not found["State"]["Running"]:
        answer, events = hub.start(user)
        assert answer.status_code == 201 or (events and events[-1].get("ready")), (answer.text, events)
        found = hub.container(user)
    return found


def run(client, container, *command):
    """What a command in the container prints."""
    return client.exec_start(client.exec_create(container["Id"], list(command))["Id"]).decode()


# -- what another user and the hub see meanwhile -----------------------------------------------------------------------


@dataclass
class Kernel:
    """A real Jupyter kernel in a user's server, spoken to as JupyterLab does."""

    hub: TestHub
    user: str

    @property
    def _headers(self):
        return {"Authorization": f"token {self.hub.token}"}

    def start(self):
        """Start one; it answers before it is used."""
        url = f"{self.hub.url}user/{self.user}/api/kernels"
        answer = requests.post(url, headers=self._headers, json={"name": "python3"}, timeout=30)
        answer.raise_for_status()
        self.channels = f"{url.replace('http', 'ws', 1)}/{answer.json()['id']}/channels"
        assert len(asyncio.run(self.latencies(1))) >= 1

    async def latencies(self, seconds):
        """How long each `1+1` takes, asked for each half second: seconds."""
        connection = await websocket_connect(HTTPRequest(self.channels, headers=self._headers, request_timeout=60))
        took, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            begun = time.monotonic()
            await asyncio.wait_for(self._ask(connection), 60)
            took.append(time.monotonic() - begun)
            await asyncio.sleep(max(0, 0.5 - took[-1]))
        connection.close()
        while await connection.read_message() is not None:
            pass
        return took

    async def _ask(self, connection):
        header = {"msg_id": uuid.uuid4().hex, "username": self.user, "session": "test", "version": "5.3"}
        content = {"code": "1+1", "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header | {"msg_type": "execute_request", "date": ""}, "content": content}
        await connection.write_message(
            json.dumps(message | {"parent_header": {}, "metadata": {}, "buffers": [], "channel": "shell"})
        )
        results = []
        while True:
            answer = json.loads(await connection.read_message())
            if answer["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if answer["msg_type"] == "execute_result":
                results.append(answer["content"]["data"]["text/plain"])
            if answer["msg_type"] == "execute_reply":
                assert answer["content"]["status"] == "ok"
            if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                assert results == ["2"]
                return


def api_latencies(hub, seconds):
    """How long the hub takes to list its users, asked for five times a second: seconds."""
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        assert hub.api("GET", "/users").ok
        took.append(time.monotonic() - begun)
        time.sleep(max(0, 0.2 - took[-1]))
    return took


@pytest.fixture(scope="module")
def kernel(hub):
    """Alice's."""
    server(hub, "alice")
    one = Kernel(hub, "alice")
    one.start()
    return one


# -- what is done to the host ------------------------------------------------------------------------------------------

HOG = "held = []\nwhile True:\n    held.append(bytearray(b'1') * (1 << 20))\n"
FORKS = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
PRESSES = {
    "a memory hog": ["sh", "-c", 'while :; do python3 -c "$0"; done', HOG],
    "a page-cache hog": [
        *("sh", "-c"),
        "while :; do dd if=/dev/zero of=big bs=1M count=1024; cat big big > /dev/null; rm big; done",
    ],
    "a /dev/shm hog": ["sh", "-c", "while :; do dd if=/dev/zero of=/dev/shm/x bs=1M conv=notrunc; done"],
    "a disk writer": ["sh", "-c", "while :; do dd if=/dev/zero of=big bs=1M count=256 conv=fsync; rm big; done"],
    "a fork bomb": ["python3", "-I", "-S", "-c", FORKS],
}


def pressed(name, before, after, shm):
    """Whether the load did what it is for, by the kernel's counters of the container."""
    match name:
        case "a fork bomb":
            return after.pids_max_events > before.pids_max_events and after.pids_current >= 190
        case "a memory hog":
            return after.oom_kill > before.oom_kill
        case "a /dev/shm hog":
            return int(shm) == 64 * MIB
        case _:
            return after.memory_peak_bytes > 500 * MIB


@pytest.mark.parametrize("name", PRESSES)
def test_others_go_on(hub, kernel, client, name, capsys):
    """While one user's server does its worst, another one's kernel answers, and the hub within a second."""
    container = server(hub, "mallory")
    cgroup = find(container["State"]["Pid"], container_id=container["Id"])
    ends = [] if name == "a fork bomb" else ["timeout", str(SECONDS + 2)]
    with Reader(cgroup) as reader, ThreadPoolExecutor(2) as watchers:
        before = reader.read()
        command = client.exec_create(container["Id"], [*ends, *PRESSES[name]], workdir="/home/jovyan")["Id"]
        client.exec_start(command, detach=True)
        asked = watchers.submit(api_latencies, hub, SECONDS)
        answered = watchers.submit(lambda: asyncio.run(kernel.latencies(SECONDS)))
        api, cells = asked.result(), answered.result()
        after = reader.read()
    if name == "a fork bomb":  # it leaves no place for a process that would end it
        shm = ""
        client.kill(container["Id"])
        hub.stop("mallory")
    else:
        shm = run(client, container, "df", "--output=used", "-B1", "/dev/shm").split()[-1]
    with capsys.disabled():
        print(  # noqa: T201  the figures are what one wants to see
            f"\n{name}: /hub/api/users {max(api):.3f} s at worst of {len(api)}, 1+1 in another's kernel "
            f"{max(cells):.3f} s of {len(cells)}"
        )
    assert pressed(name, before, after, shm), (before, after, shm)
    assert max(api) < API_S
    assert max(cells) < KERNEL_S
    assert hub.container("alice")["State"]["Running"]


# -- what is around each server ----------------------------------------------------------------------------------------


def test_a_server_is_hardened(hub, client):
    """No new privileges, no capability that it could ever have, and a small /dev/shm: by the kernel's own words."""
    container = server(hub, "alice")
    wanted = {"SecurityOpt": ["no-new-privileges"], "CapDrop": ["ALL"], "ShmSize": 64 * MIB, "PidsLimit": 200}
    assert {key: container["HostConfig"][key] for key in wanted} == wanted
    status = dict(line.split(":\t", 1) for line in run(client, container, "cat", "/proc/1/status").splitlines())
    assert {status[key].strip() for key in ("CapBnd", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert run(client, container, "df", "--output=size", "-B1", "/dev/shm").split()[-1] == str(64 * MIB)


def test_all_servers_are_below_one_capped_cgroup(hub):
    """Its memory, processes and CPU are the machine's less the policy's reserve."""
    parent = Path(f"/{hub.prefix}")
    for user in ("alice", "mallory"):
        container = server(hub, user)
        assert container["HostConfig"]["CgroupParent"] == str(parent)
        cgroup = find(container["State"]["Pid"], container_id=container["Id"])
        assert {directory.parent.name for directory in cgroup.directories.values()} == {hub.prefix}
    (total,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    version, top = kernel_files.hierarchies()["memory"]
    left = int(total.split()[1]) * 1024 - 2048 * MIB
    assert int((top / hub.prefix / kernel_files.MEMORY[version]).read_text()) == left // MIB * MIB
    assert "the cgroup above all servers" not in hub.said()


def test_servers_do_not_reach_one_another(hub, client):
    """Not one server's port from another's container; the hub is reached, as both servers have reported to it."""
    alice, mallory = server(hub, "alice"), server(hub, "mallory")
    (address,) = (one["IPAddress"] for one in alice["NetworkSettings"]["Networks"].values())
    program = "import socket, sys; socket.create_connection((sys.argv[1], 8888), 3)"
    assert "TimeoutError" in run(client, mallory, "python3", "-c", program, address)
    assert run(client, alice, "python3", "-c", program, address) == ""


def test_an_open_network_is_told(hub):
    """Where the configuration puts servers on a network on which they reach one another, the log says so, once."""
    told = (
        "Protection of the host: on the network bridge servers reach one another; put them on that of users_network()"
    )
    assert told not in hub.said()
    for _ in range(2):
        server(hub, "opal")
        hub.stop("opal")
    assert hub.said().count(told) == 1


def test_the_hub_is_no_victim(hub):
    """The OOM killer takes it last, and its proxy; or the log says what to do, where the kernel does not allow it."""
    scores = [Path(f"/proc/{pid}/oom_score_adj").read_text().strip() for pid in family(hub._process.pid)]
    assert len(scores) == 2
    if set(scores) != {"-900"}:
        assert "the hub is not protected from the OOM killer (Permission denied" in hub.said()
    container = hub.container("alice")
    assert Path(f"/proc/{container['State']['Pid']}/oom_score_adj").read_text() == "0\n"


def family(pid):
    """A process, and those that it has started."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
