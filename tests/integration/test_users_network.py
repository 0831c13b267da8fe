"""The users' network: no server reaches another one there, the hub reaches them all, and they reach the hub."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from spawner_limits.errors import UnreachableError, UsageError
from spawner_limits.spawners.hardening import hardening
from spawner_limits.spawners.network import ICC, users_network
from tests.conftest import MINIMAL

SERVE = "import http.server as h; h.ThreadingHTTPServer(('', 8888), h.SimpleHTTPRequestHandler).serve_forever()"
REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("reached")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def name(client):
    """A network's name, of our own; what has it is removed afterwards."""
    own = f"test-network-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    yield own
    for one in client.networks(names=[own]):
        client.remove_network(one["Id"])


@contextmanager
def server(client, network):
    """A server on the network, hardened as a user's; its id and its address."""
    config = client.create_host_config(network_mode=network, mem_limit="128m", pids_limit=50, **hardening({}, 1 << 27))
    container = client.create_container(MINIMAL, ["python3", "-c", SERVE], host_config=config)["Id"]
    try:
        client.start(container)
        address = client.inspect_container(container)["NetworkSettings"]["Networks"][network]["IPAddress"]
        end = time.monotonic() + 20
        while not reached(address):
            assert time.monotonic() < end, client.logs(container)
            time.sleep(0.1)
        yield container, address
    finally:
        client.remove_container(container, force=True)


def reached(address):
    """Whether the host reaches the server."""
    try:
        socket.create_connection((address, 8888), 3).close()
    except OSError:
        return False
    return True


def reach(client, container, address, port):
    """How a connection from inside a container ends."""
    command = client.exec_create(container, ["python3", "-c", REACH, address, str(port)])["Id"]
    return client.exec_start(command).decode().strip()


def test_servers_do_not_reach_one_another(client, name):
    """By address or by name; the host reaches both, and both reach what listens on the host's address there."""
    made = users_network(name)
    assert made[0] == name
    with server(client, name) as (first, at_first), server(client, name) as (_, at_second):
        assert reach(client, first, at_second, 8888) == "TimeoutError"
        assert reach(client, first, at_first, 8888) == "reached"  # the program can tell
        with socket.create_server((made[1], 0)) as hub:
            assert reach(client, first, made[1], hub.getsockname()[1]) == "reached"


def test_the_control_on_an_open_network(client, name):
    """The same two servers on a network as Docker makes it reach one another: that is what is prevented."""
    client.create_network(name, driver="bridge")
    with server(client, name) as (first, _), server(client, name) as (_, at_second):
        assert reach(client, first, at_second, 8888) == "reached"


def test_it_is_made_once(client, name):
    """A second hub finds it, also one that starts in the same moment."""
    with ThreadPoolExecutor(4) as hubs:
        found = set(hubs.map(users_network, [name] * 4))
    assert len(found) == 1
    (network,) = client.networks(names=[name])
    assert network["Options"][ICC] == "false"


OPEN = {
    "enable_icc is not given": ({"driver": "bridge"}, f"{ICC} is not false"),
    "enable_icc is true": ({"driver": "bridge", "options": {ICC: "true"}}, f"{ICC} is not false"),
}


@pytest.mark.parametrize(("network", "why"), OPEN.values(), ids=OPEN)
def test_an_open_network_of_that_name_is_refused(client, name, network, why):
    """It is somebody's, so it is not changed: the message says what to do."""
    client.create_network(name, **network)
    with pytest.raises(UsageError) as refused:
        users_network(name)
    assert str(refused.value) == (
        f"on the network {name} servers would reach one another ({why}); remove it when no container uses it "
        f"(docker network rm {name}), and it is made anew, or give users_network() another name"
    )


def test_an_administrators_own_network_will_do(client, name):
    """With another subnet, as long as no server reaches another one on it."""
    pool = {"Subnet": "10.213.77.0/24", "Gateway": "10.213.77.9"}
    client.create_network(name, driver="bridge", options={ICC: "false"}, ipam={"Driver": "default", "Config": [pool]})
    assert users_network(name) == (name, "10.213.77.9")


def test_without_an_engine_it_is_said(tmp_path):
    """One sentence, with what to do."""
    program = "from spawner_limits.spawners.setup import users_network; users_network()"
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"{UnreachableError.__module__}.UnreachableError: the Docker engine does not answer (")
    assert last.endswith("; start it with docker/engine.sh")
