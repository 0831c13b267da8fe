"""`auto_apply: true`: a changed policy, and a grant that ends, reach running servers by themselves."""

from __future__ import annotations

import os
import signal
import time
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta

import pytest

from spawner_limits.clients.hub_api import StrangerError
from spawner_limits.lifecycle.records import Records
from spawner_limits.policy.reload import PolicyFile
from spawner_limits.service.keeper import Groups, Service, run
from spawner_limits.units import MIB
from tests.conftest import kernel
from tests.e2e.conftest import eventually, own_hub
from tests.kernel_files import memory_limit_bytes

WITHIN_S = 60
"""beside other tests"""
PROMISED_S = 5
POLICY = """\
version: 1
auto_apply: true
defaults: {{mem_limit: {defaults}, cpu_limit: {cores}, pids_limit: 200}}
groups:
  students: {{mem_limit: {students}}}
users:
  eli: {{cpu_limit: 0.8, temporarily: {{mem_limit: {eli}, until: "{until}"}}}}
"""
USUAL = {"defaults": "256M", "students": "320M", "eli": "384M", "cores": "1", "until": "2999-12-31"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub with the service, and servers of dov, sol and eli, of whom the latter two are students."""
    folder, people, groups = tmp_path_factory.mktemp("service-hub"), ("dov", "sol", "eli"), {"students": ["sol", "eli"]}
    with own_hub(folder, POLICY.format(**USUAL), "serviced_config.py", users=people, groups=groups) as running:
        for user in people:
            answer, events = running.start(user)
            assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)
        yield running


def write(hub, **given):
    """Put a policy in the file's place, as `set` does; when."""
    new = hub.policy.with_suffix(".new")
    new.write_text(POLICY.format(**{**USUAL, **given}))
    new.replace(hub.policy)
    return time.monotonic()


def memory(hub, user):
    """MiB, by the Linux kernel."""
    return memory_limit_bytes(kernel(hub.container(user))) // MIB


def await_memory(hub, wanted, *, since, within=WITHIN_S):
    """Wait until the Linux kernel shows it for each of these users."""
    while (seen := {user: memory(hub, user) for user in wanted}) != wanted:
        assert time.monotonic() - since < within, (seen, hub.said()[-3000:])
        time.sleep(0.1)


@pytest.mark.alone  # it is timed
def test_a_changed_file_reaches_running_servers(hub):
    """By each one's rule and groups, within 5 s, and nothing is restarted."""
    pids = {user: hub.container(user)["State"]["Pid"] for user in ("dov", "sol", "eli")}
    await_memory(hub, {"dov": 256, "sol": 320, "eli": 384}, since=time.monotonic())
    since = write(hub, defaults="272M", students="336M", eli="400M", cores="0.9")
    await_memory(hub, {"dov": 272, "sol": 336, "eli": 400}, since=since, within=PROMISED_S)
    assert {user: hub.container(user)["State"]["Pid"] for user in pids} == pids
    assert hub.container("dov")["HostConfig"]["CpuQuota"] == 90_000
    assert hub.container("eli")["HostConfig"]["CpuQuota"] == 80_000
    told = "mem_limit 256 MiB → 272 MiB; memswap_limit 256 MiB → 272 MiB; cpu_limit 1.00 cores → 0.90 cores: applied"
    assert f"dov ({hub.prefix}-dov): {told}" in hub.said()


@pytest.mark.alone  # it is timed
def test_a_grant_that_ends_is_taken_back(hub):
    """At its moment, with no change of the file."""
    until = datetime.now(UTC) + timedelta(seconds=5)
    since = write(hub, eli="448M", until=f"{until:%Y-%m-%dT%H:%M:%S}+00:00")
    await_memory(hub, {"eli": 448}, since=since)
    await_memory(hub, {"eli": 320, "sol": 320}, since=since, within=5 + PROMISED_S)


def test_memory_in_use_is_not_taken_away(hub, client):
    """A limit below what is in use is said once, and the server keeps what it has; others are brought to theirs."""
    since = write(hub)
    await_memory(hub, {"dov": 256, "sol": 320}, since=since)
    container = hub.container("dov")["Id"]
    load = client.exec_create(container, ["python3", "-c", "import time; x = bytearray(120 << 20); time.sleep(60)"])[
        "Id"
    ]
    client.exec_start(load, detach=True)
    while kernel(hub.container("dov")).memory_current_bytes < 190 * MIB:
        assert time.monotonic() - since < 60
        time.sleep(0.1)
    try:
        since = write(hub, defaults="160M", students="288M", eli="288M")
        await_memory(hub, {"sol": 288, "eli": 288}, since=since)
        eventually(lambda: "mem_limit 256 MiB → 160 MiB" in hub.said())
        assert memory(hub, "dov") == 256
        (line,) = [line for line in hub.said().splitlines() if "mem_limit 256 MiB → 160 MiB" in line]
        assert "not in force" in line
        assert "are in use, the limit would be 160 MiB" in line
        assert client.exec_inspect(load)["Running"]
    finally:
        with suppress(ProcessLookupError):
            os.kill(client.exec_inspect(load)["Pid"], signal.SIGKILL)


@pytest.mark.parametrize("parents", [[1, 1], [7, 1]], ids=["its own hub", "a hub that came after its own"])
def test_a_hub_that_does_not_know_the_service(hub, tmp_path, parents, caplog):
    """A token that its own hub refuses is an error; after the hub was killed, the next one has its own service."""
    groups, above = Groups(hub.api_url, "wrong"), iter(parents)
    service = Service(standing=PolicyFile(hub.policy), groups=groups, records=Records(tmp_path))
    with pytest.raises(StrangerError) if parents == [1, 1] else nullcontext():
        run(service, parent=lambda: next(above))
    told = [record.getMessage() for record in caplog.records]
    assert ("the hub that started this service has gone, and the one there now has its own" in told) == (
        parents[0] == 7
    )
    service.engine.close()


def test_without_auto_apply_running_servers_keep_what_they_have(hub):
    """The file alone says whether it is applied."""
    write(hub)
    await_memory(hub, {"sol": 320}, since=time.monotonic())
    hub.policy.write_text(POLICY.format(**{**USUAL, "students": "352M"}).replace("auto_apply: true\n", ""))
    time.sleep(2)
    assert memory(hub, "sol") == 320
    write(hub)


def test_groups_are_those_that_the_hub_has_now(hub):
    """The service's scopes suffice to ask for them: sol has left the group that her container's label still names."""
    write(hub)
    await_memory(hub, {"sol": 320, "eli": 384}, since=time.monotonic())
    assert hub.api("DELETE", "/groups/students/users", json={"users": ["sol"]}).ok
    try:
        since = write(hub, students="336M", eli="400M")
        await_memory(hub, {"sol": 256, "eli": 400}, since=since)
    finally:
        hub.api("POST", "/groups/students/users", json={"users": ["sol"]})
