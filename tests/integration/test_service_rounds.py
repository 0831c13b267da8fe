"""The Hub service, round by round, on real containers: what it does, what it leaves alone, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from spawner_limits.clients.docker import DockerEngine
from spawner_limits.engines import labels
from spawner_limits.engines.docker import translate
from spawner_limits.lifecycle.hub_service import POLICY_VARIABLE
from spawner_limits.lifecycle.records import Records
from spawner_limits.policy.parse import load
from spawner_limits.policy.reload import PolicyFile
from spawner_limits.policy.resolve import resolve
from spawner_limits.service.keeper import RETRY_S, Groups, Service
from spawner_limits.units import MIB
from tests.conftest import MINIMAL, kernel
from tests.integration.conftest import TINY, eventually
from tests.kernel_files import memory_limit_bytes

NO_HUB = "http://127.0.0.1:9/hub/api"
POLICY = """\
version: 1
auto_apply: true
defaults: {{mem_limit: {size}, cpu_limit: 1, pids_limit: 100}}
groups:
  students: {{mem_limit: 320M}}
users:
  eve: {{temporarily: {{mem_limit: 400M, until: "2999-11-22T12:00Z"}}}}
"""
NOW = datetime(2999, 11, 22, 11, tzinfo=UTC)
HOG = "import time; x = bytearray(150 << 20); time.sleep(60)"


@pytest.fixture
def path(tmp_path):
    """A policy that gives everybody 256 MiB."""
    file = tmp_path / "limits.yaml"
    file.write_text(POLICY.format(size="256M"))
    return file


@pytest.fixture
def seconds():
    """What the service's clock shows."""
    return [0.0]


@pytest.fixture
def service(path, tmp_path, seconds):
    """One whose hub does not answer."""

    def clock():
        return seconds[0]

    made = Service(
        standing=PolicyFile(path), groups=Groups(NO_HUB, "none", clock=clock), records=Records(tmp_path), clock=clock
    )
    yield made
    made.engine.close()


@pytest.fixture
def started(client, path):
    """Starts a container as the hub's spawner would, under the policy as it is; all are gone afterwards."""
    found = []

    def start(user="ann", groups=(), file=path, now=NOW):
        entitlement = resolve(load(file), user, groups, now=now)
        given = {
            labels.USER: user,
            labels.SERVER: "",
            labels.POLICY: entitlement.policy_sha256,
            labels.ENTITLEMENT: entitlement.to_json(),
        }
        limits = client.create_host_config(**translate(entitlement.limits).ask)
        made = client.create_container(MINIMAL, ["sleep", "300"], labels=given, host_config=limits)["Id"]
        found.append(made)
        client.start(made)
        return made

    yield start
    for container in found:
        client.remove_container(container, force=True)


def memory(client, container):
    """MiB, by the Linux kernel."""
    return memory_limit_bytes(kernel(client.inspect_container(container))) // MIB


def change(path, size):
    new = path.with_suffix(".new")
    new.write_text(POLICY.format(size=size))
    new.replace(path)


def settle():
    """Until a container's spawner would have read back what it asked for."""
    time.sleep(1.1)


@pytest.mark.v2
def test_a_changed_policy_is_applied_once(client, service, started, path):
    """To all; what is as it should be is not looked at again before the next change."""
    one, other = started(), started("bob", ["students"])
    settle()
    assert service.round(NOW) == ()
    change(path, "288M")
    (done,) = service.round(NOW)
    assert done.holds
    assert [memory(client, container) for container in (one, other)] == [288, 320]
    client.update_container(one, mem_limit=200 * MIB, memswap_limit=200 * MIB)
    assert service.round(NOW) == ()


def test_a_server_that_starts_while_the_policy_changes(client, service, started, path):
    """It has what the old file gave, and is brought to the new one; but not while its spawner still reads it back."""
    change(path, "288M")
    service.round(NOW)
    change(path, "256M")
    late = started()
    change(path, "288M")
    assert service.round(NOW) == ()
    assert memory(client, late) == 256
    settle()
    assert [done.holds for done in service.round(NOW)] == [True]
    assert memory(client, late) == 288


@pytest.mark.v2
def test_servers_of_another_policy_file_are_left_alone(client, service, started, tmp_path, path):
    """Another hub's servers on the same engine are none of ours."""
    other = tmp_path / "other.yaml"
    other.write_text(POLICY.format(size="272M"))
    theirs, ours = started(file=other), started()
    settle()
    change(path, "288M")
    service.round(NOW)
    assert [memory(client, container) for container in (theirs, ours)] == [272, 288]


CLOCKS = {
    "the clock passes the end": [timedelta(hours=1)],
    "the clock jumps over it": [timedelta(days=400)],
    "the clock jumps over it, back, and over it again": [timedelta(days=2), timedelta(), timedelta(days=2)],
}


@pytest.mark.v2
@pytest.mark.parametrize("jumps", CLOCKS.values(), ids=CLOCKS)
def test_a_grant_ends(client, service, started, jumps):
    """By the wall clock as it is at each round, wherever it was before."""
    container = started("eve")
    settle()
    assert service.round(NOW) == ()
    for jump in jumps:
        service.round(NOW + jump)
        assert memory(client, container) == (400 if jump < timedelta(hours=1) else 256)


@pytest.mark.v2
def test_memory_in_use_is_tried_again(client, service, started, path, seconds, caplog):
    """Said once, tried each 30 s, applied when the memory is free; meanwhile nothing is changed or killed."""
    container = started()
    load = client.exec_create(container, ["python3", "-c", HOG])["Id"]
    client.exec_start(load, detach=True)
    settle()
    eventually(lambda: kernel(client.inspect_container(container)).memory_current_bytes >= 150 * MIB)
    change(path, "128M")
    with caplog.at_level(logging.INFO, "spawner-limits"):
        assert [done.holds for done in service.round(NOW)] == [False]
        assert service.round(NOW) == ()
        seconds[0] += RETRY_S
        assert [done.holds for done in service.round(NOW)] == [False]
        assert (memory(client, container), client.exec_inspect(load)["Running"]) == (256, True)
        with suppress(ProcessLookupError):
            os.kill(client.exec_inspect(load)["Pid"], signal.SIGKILL)
        eventually(lambda: not client.exec_inspect(load)["Running"])
        seconds[0] += RETRY_S
        assert [done.holds for done in service.round(NOW)] == [True]
    assert memory(client, container) == 128
    told = [record.getMessage() for record in caplog.records if "128 MiB" in record.getMessage()]
    assert ["applied" in line for line in told] == [False, True]
    assert "of memory are in use, the limit would be 128 MiB" in told[0]


def test_a_hub_that_does_not_answer_is_said_once(client, service, started, path, caplog):
    """The groups that the server was started with count then."""
    container = started("sue", ["students"])
    settle()
    for size in ("288M", "304M"):
        change(path, size)
        service.round(NOW)
    path.write_text(path.read_text().replace("320M", "336M"))
    service.round(NOW)
    assert memory(client, container) == 336
    told = [record.getMessage() for record in caplog.records if "does not answer" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(f"the hub at {NO_HUB} does not answer, and will be asked again: ")


def test_a_policy_with_mistakes_changes_nothing(client, service, started, path, caplog):
    """The mistake is said once, with its line."""
    container = started()
    settle()
    service.round(NOW)
    path.write_text("version: 1\ndefaults: {mem_limt: 1G}\n")
    for _ in range(3):
        assert service.round(NOW) == ()
    assert memory(client, container) == 256
    told = [record.getMessage() for record in caplog.records]
    (line,) = [line for line in told if "mem_limt" in line]
    assert line.startswith("the policy can't be used, so running servers keep what they have: ")


@pytest.fixture
def frozen(own_engine):
    """An engine that does not answer until its process goes on."""
    own_engine.process.send_signal(signal.SIGSTOP)
    yield own_engine
    own_engine.process.send_signal(signal.SIGCONT)


def test_an_engine_that_does_not_answer_is_said_once(frozen, path, tmp_path, seconds, caplog):
    """It is asked ever more seldom; when it answers again, what was missed is done."""
    records, address = Records(tmp_path), frozen.host

    def clock():
        return seconds[0]

    service = Service(
        standing=PolicyFile(path),
        groups=Groups(NO_HUB, "none", clock=clock),
        records=records,
        clock=clock,
        engine=DockerEngine({"base_url": address, "version": "auto", "timeout": 1}),
    )
    for _ in range(3):
        assert service.round(NOW) == ()
        seconds[0] += 60
    frozen.process.send_signal(signal.SIGCONT)
    entitlement = resolve(load(path), "ann", now=NOW)
    ask = translate(entitlement.limits).ask
    change(path, "288M")
    given = {labels.ENTITLEMENT: entitlement.to_json(), labels.USER: "ann", labels.SERVER: ""}
    client = frozen.client
    limits = client.create_host_config(network_mode="none", **ask)
    container = client.create_container(TINY, ["sleep", "60"], labels=given, host_config=limits)["Id"]
    try:
        client.start(container)
        settle()
        assert [done.holds for done in service.round(NOW)] == [True]
        assert memory(client, container) == 288
    finally:
        client.remove_container(container, force=True)
        service.engine.close()
    told = [record.getMessage() for record in caplog.records if "engine" in record.getMessage()]
    assert ["answers again" in line for line in told] == [False, True], told


@pytest.mark.alone  # its end is timed
def test_it_ends_when_it_is_told_to_while_the_engine_hangs(frozen, process):
    """An engine that does not answer holds up the hub's end by less than a second."""
    running = process(DOCKER_HOST=frozen.host)
    running.stderr.readline()
    time.sleep(2)  # it has asked the engine by then, or not yet: it must end all the same
    begun = time.monotonic()
    running.terminate()
    running.communicate(timeout=10)
    assert time.monotonic() - begun < 1
    assert running.returncode == 0


@pytest.fixture
def process(path, tmp_path):
    """Starts the service as the hub does."""
    running = []

    def start(**environment):
        given = {"JUPYTERHUB_API_URL": NO_HUB, "JUPYTERHUB_API_TOKEN": "none", POLICY_VARIABLE: str(path)}
        given |= {"SPAWNER_LIMITS_RECORDS": str(tmp_path)} | environment
        command = [sys.executable, "-m", "spawner_limits.service.keeper"]
        running.append(subprocess.Popen(command, env={**os.environ, **given}, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.communicate()


@pytest.mark.alone  # its end is timed
@pytest.mark.parametrize("engine", [None, "unix:///no/such/socket"], ids=["at work", "without an engine"])
def test_it_ends_when_it_is_told_to(process, engine):
    """Within a second; an engine that does not answer is said once, and waited for."""
    running = process(**({} if engine is None else {"DOCKER_HOST": engine}))
    line = running.stderr.readline()
    assert "is applied to running servers" in line
    line = line if engine is None else said(running)
    time.sleep(4)  # for rounds in which it might be said again
    begun = time.monotonic()
    running.terminate()
    _, told = running.communicate(timeout=5)
    assert time.monotonic() - begun < 1
    assert running.returncode == 0
    assert (line + told).count("the Docker engine does not answer") == (engine is not None), line + told
    assert "Traceback" not in line + told


def said(process):
    """The next line that a process says, within a minute."""
    late = threading.Timer(60, process.kill)
    late.start()
    try:
        return process.stderr.readline()
    finally:
        late.cancel()


def test_without_its_environment_it_says_what_is_missing(process):
    """It is no command for people."""
    running = process(JUPYTERHUB_API_TOKEN="")
    _, told = running.communicate(timeout=20)
    assert running.returncode == 2
    assert "no JUPYTERHUB_API_TOKEN in the environment" in told
