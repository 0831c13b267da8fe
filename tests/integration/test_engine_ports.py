"""The port to engines: what the Docker and the Swarm adapter tell of a server, on a real engine of the test's own."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime

import pytest

from spawner_limits.clients.docker import DockerEngine, LocalSnapshots
from spawner_limits.clients.engine import GoneError, RefusedError, SlowError
from spawner_limits.clients.swarm import SwarmReader
from spawner_limits.engines import docker, labels, swarm
from spawner_limits.errors import UnreachableError
from spawner_limits.limits import Limits
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import resolve
from spawner_limits.units import MIB
from tests.integration.conftest import TINY

POLICY = b"version: 1\ndefaults: {mem_limit: 64M, cpu_limit: 0.5, pids_limit: 50}\n"
LIMITS = Limits(mem_limit=64 * MIB, memswap_limit=64 * MIB, cpu_limit=0.5, pids_limit=50)


def given(user):
    """The labels of a server."""
    entitlement = resolve(parse(POLICY, "limits.yaml"), user, now=datetime.now(UTC))
    return {
        labels.USER: user,
        labels.SERVER: "lab",
        labels.POLICY: entitlement.policy_sha256,
        labels.ENTITLEMENT: entitlement.to_json(),
    }


@pytest.fixture(scope="module")
def arguments(own_engine):
    return {"base_url": own_engine.host, "version": "auto"}


@pytest.fixture
def engine(arguments):
    found = DockerEngine(arguments)
    yield found
    found.close()


@pytest.fixture
def container(own_engine):
    """A server's, which runs."""
    client = own_engine.client
    config = client.create_host_config(network_mode="none", **docker.translate(LIMITS).ask)
    made = client.create_container(TINY, ["sleep", "300"], labels=given("ann"), host_config=config)["Id"]
    client.start(made)
    yield made
    client.remove_container(made, force=True)


@pytest.mark.v2
def test_a_server_as_docker_knows_it(engine, container):
    """All of it, and by its labels alone."""
    server = engine.inspect(container)
    assert (server.id, server.user, server.server, server.state, server.runs) == (
        container,
        "ann",
        "lab",
        "running",
        True,
    )
    assert (server.containers, server.exit_code, server.goes, server.problem) == ((container,), None, False, "")
    assert server.entitlement.limits.mem_limit == server.asked["Memory"] == 64 * MIB
    assert server.started <= datetime.now(UTC)
    assert engine.servers(users=["Ann"]) == (server,)
    assert engine.servers(users=["bob"]) == ()
    assert LocalSnapshots(engine).of(server).pids_current == 1


@pytest.mark.v2
def test_errors_are_the_ports_own(engine, container):
    """Whatever the SDK raises: nothing of it leaves the room."""
    with pytest.raises(GoneError):
        engine.inspect("f" * 64)
    with pytest.raises(RefusedError, match="refused what it had to do"):
        engine.update(container, {"Memory": 1 * MIB, "MemorySwap": 1 * MIB})
    with pytest.raises(UnreachableError, match="does not answer"):
        DockerEngine({"base_url": "tcp://127.0.0.1:1", "version": "1.41"}).info()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        slow = DockerEngine({"base_url": address, "version": "1.41", "timeout": 0.5})
        with pytest.raises(SlowError, match="in time"):
            slow.info()


@pytest.mark.v2
def test_an_update_and_an_end(engine, container):
    """An update is what is asked then; killing twice is no error."""
    engine.update(container, {"PidsLimit": 40})
    assert engine.inspect(container).asked["PidsLimit"] == 40
    engine.kill(container)
    engine.kill(container)
    ended = engine.inspect(container)
    assert (ended.runs, ended.exit_code, ended.started) == (False, 137, None)


@pytest.fixture(scope="module")
def reader(own_engine, arguments):
    """The same engine, as a Swarm of one node for this module's time."""
    own_engine.client.init_swarm(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:2399")
    found = SwarmReader(arguments)
    yield found
    found.close()
    own_engine.client.leave_swarm(force=True)


def test_a_server_as_swarm_knows_it(reader, own_engine):
    """What was stored and what runs, in the same value as Docker's; gone when it is."""
    client = own_engine.client
    ask = swarm.translate(LIMITS, api=(1, 41), swap_bytes=0).ask
    spec = {"Name": "jupyter-ben", "Labels": given("ben"), "TaskTemplate": {
        "ContainerSpec": {"Image": TINY, "Command": ["sleep", "300"]},
        "Resources": ask, "RestartPolicy": {"Condition": "none"},
    }}  # fmt: skip
    made = client._result(client._post_json(client._url("/services/create"), data=spec), json=True)["ID"]
    try:
        end = time.monotonic() + 30
        while not (server := reader.inspect(made)).runs:
            assert time.monotonic() < end, server
            time.sleep(0.1)
        assert (server.id, server.name, server.user, server.server) == (made, "jupyter-ben", "ben", "lab")
        assert server.asked["Limits"] == ask["Limits"]
        assert server.entitlement.limits.mem_limit == 64 * MIB
        (container,) = server.containers
        assert client.inspect_container(container)["HostConfig"]["Memory"] == 64 * MIB
        assert server.node == client.info()["Swarm"]["NodeID"]
        assert (server.image, server.state, server.problem) == (TINY, "running", "")
        assert reader.servers(users=["ben"]) == (server,)
        assert reader.servers(users=["ann"]) == ()
    finally:
        client.remove_service(made)
    with pytest.raises(GoneError):
        reader.inspect(made)
