"""What a server gets, and what is refused: on a real hub, through its REST API."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import docker.errors
import pytest

from spawner_limits.engines import labels
from spawner_limits.policy.entitlement import Entitlement
from spawner_limits.units import MIB
from tests.conftest import spawner_limits


def started(hub, user):
    """What `docker inspect` says of a user's new server."""
    answer, events = hub.start(user)
    assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)
    return hub.container(user)


def environment(container):
    """The container's environment."""
    return dict(line.split("=", 1) for line in container["Config"]["Env"])


HOST_CONFIG = {
    "the defaults": ("dan", {"Memory": 256 * MIB, "MemorySwap": 256 * MIB + 1, "CpuQuota": 100_000, "PidsLimit": 200}),
    "the group's rule": (
        "sue",
        {"Memory": 320 * MIB, "MemorySwap": 320 * MIB + 1, "CpuQuota": 120_000, "PidsLimit": 200},
    ),
    "the user's rule over the group's": (
        "eve",
        {"Memory": 384 * MIB, "MemorySwap": 384 * MIB + 1, "CpuQuota": 150_000, "CpuShares": 2048, "PidsLimit": 200},
    ),
    "somebody who says the same as the policy": (
        "same",
        {"Memory": 256 * MIB, "MemorySwap": 256 * MIB + 1, "CpuQuota": 100_000},
    ),
    "somebody who sets what the policy says nothing about": (
        "harmless",
        {"Memory": 256 * MIB, "CpuQuota": 100_000, "ShmSize": 128 * MIB},
    ),
}


@pytest.mark.parametrize(("user", "wanted"), HOST_CONFIG.values(), ids=HOST_CONFIG)
def test_a_server_has_its_limits(hub, user, wanted):
    """The container has the limits of the rule that applies, and the server is told the same by its environment."""
    container = started(hub, user)
    try:
        assert {key: container["HostConfig"][key] for key in wanted} == wanted
        told = environment(container)
        assert int(told["MEM_LIMIT"]) == wanted["Memory"]
        assert float(told["CPU_LIMIT"]) == wanted["CpuQuota"] / container["HostConfig"]["CpuPeriod"]
        assert int(told["PIDS_LIMIT"]) == container["HostConfig"]["PidsLimit"]
    finally:
        hub.stop(user)
    assert hub.container(user) is None


def test_a_container_says_what_it_may_use_and_why(hub, client):
    """Its labels carry user, server, policy and entitlement, so that an audit needs no hub; others' labels stay."""
    container = started(hub, "harmless")
    try:
        given = container["Config"]["Labels"]
        entitlement = Entitlement.from_json(given[labels.ENTITLEMENT])
        assert (given[labels.USER], given[labels.SERVER], given["site"]) == ("harmless", "", "here")
        assert given[labels.POLICY] == entitlement.policy_sha256
        assert entitlement.grants["mem_limit"].rule == "defaults"
        assert entitlement.grants["mem_limit"].line == 3
        assert given[labels.NOTEBOOK] == "/home/jovyan/work/mnist.ipynb"
        execution = client.exec_create(container["Id"], ["stat", "-c", "%U %g %a", given[labels.NOTEBOOK]])["Id"]
        assert client.exec_start(execution) == b"jovyan 100 644\n"
    finally:
        hub.stop("harmless")


@pytest.mark.alone  # who comes late is not told all
def test_the_spawn_page_says_what_and_why(hub):
    """The progress names each limit and its rule, that they are attested, and what became of the notebook."""
    # the request itself waits for the spawn, for some seconds, and a page would be watching meanwhile
    with ThreadPoolExecutor(1) as aside:
        asked = aside.submit(hub.api, "POST", "/users/eve/server")
        while not hub.api("GET", "/users/eve").json()["servers"]:
            time.sleep(0.05)
        messages = [event["message"] for event in hub.progress("/users/eve/server")]
        assert asked.result().status_code in (201, 202)
    hub.stop("eve")
    for message in (
        "mem_limit 384 MiB, from user eve (limits.yaml:12)",
        "cpu_limit 1.50 cores, from user eve (limits.yaml:13)",
        "cpu_shares 2048, from user eve (limits.yaml:14)",
        "cpu_shares 2048: 66.7% of a CPU that one busy server without shares wants too (weight 2048 to 1024)",
        "pids_limit 200, from defaults (limits.yaml:5)",
    ):
        assert message in messages
    assert (
        "Starting with mem_limit 384 MiB, memswap_limit 384 MiB, cpu_limit 1.50 cores, cpu_shares 2048 "
        "(from user eve); pids_limit 200 (from defaults)"
    ) in messages
    assert any("Attested at " in message for message in messages), messages
    assert any("mnist.ipynb" in message and "copied" in message for message in messages), messages


def test_two_servers_of_one_user_both_have_limits(hub):
    """A named server is limited as the default one is, and its label says which it is."""
    for server in ("", "second"):
        hub.start("dan", server)
    try:
        assert [hub.container("dan", server)["HostConfig"]["Memory"] for server in ("", "second")] == [256 * MIB] * 2
    finally:
        for server in ("", "second"):
            hub.stop("dan", server)


# the whole messages: tests/unit/test_overrides.py, test_engines_docker.py
REFUSED = {
    "mem_limit by group_overrides": ("loose-trait", "mem_limit is 8.00 GiB, the policy says 256 MiB"),
    "what a callable answers": ("loose-answer", "mem_limit is 8.00 GiB, the policy says 256 MiB"),
    "a tighter one, of which the policy knows nothing": ("tight-trait", "mem_limit is 64 MiB, the policy says 256 MiB"),
    "cpu_limit by group_overrides": ("loose-cores", "cpu_limit is 2.00 cores, the policy says 1.00 cores"),
    "memory by extra_host_config": ("loose-host", "Memory is 8.00 GiB, the policy says 256 MiB"),
    "swap by extra_host_config": ("loose-swap", "MemorySwap is -1, the policy says 256 MiB + 1 byte (no swap)"),
    "NanoCpus by extra_host_config": ("loose-nano", "NanoCpus is 2000000000"),
    "a callable": ("loose-callable", "PidsLimit is 100000, the policy says 200"),
    "extra_create_kwargs, past everything else": ("loose-create", "NanoCpus is 2000000000"),
    "what Docker can't hold": ("gus", "cpu_guarantee (from user gus) can't be held"),
}
WHAT_TO_DO = ("Take it out of the hub's configuration", "Ask the administrator of this hub", "give it cpu_shares")


@pytest.mark.parametrize(("user", "message"), REFUSED.values(), ids=REFUSED)
def test_a_spawn_that_would_loosen_a_limit_is_refused(hub, user, message):
    """No container, a message that names what, where and what to do, no traceback, and the hub goes on."""
    before = len(hub.said())
    refusal = hub.refused(user)
    assert message in refusal
    assert any(words in refusal for words in WHAT_TO_DO), refusal
    assert hub.container(user) is None
    assert "Traceback" not in hub.said()[before:]
    assert hub.api("GET", "/users/dan").ok


def test_a_missing_image_is_said(hub):
    """An image that is not there, and can't be pulled, refuses the spawn in one sentence."""
    refusal = hub.refused("no-image")
    assert "The image spawner-limits/no-such-image:1 is not on this machine, and can't be pulled: " in refusal


def test_a_changed_policy_counts_from_the_next_spawn_on(hub, policy):
    """No restart of the hub; a server that starts afterwards has the new limits."""
    policy.write_text(policy.read_text().replace("mem_limit: 256M", "mem_limit: 272M"))
    assert started(hub, "dan")["HostConfig"]["Memory"] == 272 * MIB
    hub.stop("dan")


def test_limits_are_attested_before_the_server_is_handed_over(hub):
    """The log says so, and in how many milliseconds; `ps` shows it afterwards, and that nothing drifts."""
    hub.start("dan")
    try:
        container = hub.container("dan")
        assert "The limits of dan are attested, in " in hub.said()
        shown = json.loads(spawner_limits("ps", "dan", "--json").stdout)["servers"]
        (mine,) = (one for one in shown if one["container_id"] == container["Id"])
        assert mine["attested"] > container["State"]["StartedAt"][:19]
        assert 0 < mine["attestation_seconds"] < 10
        assert (mine["drift"], mine["problem"], mine["limits"]["mem_limit_bytes"]["value"]) == ([], None, 256 * MIB)
    finally:
        hub.stop("dan")


def test_a_kept_container_gets_todays_limits(hub, client, policy):
    """With `remove = False` Docker would start it with its old limits; it is changed, and what is in it stays."""
    first = started(hub, "kept")
    client.exec_start(client.exec_create(first["Id"], ["touch", "/tmp/mine"])["Id"])
    hub.stop("kept")
    policy.write_text(policy.read_text().replace("mem_limit: 256M", "mem_limit: 224M"))
    again = started(hub, "kept")
    try:
        assert (again["Id"], again["HostConfig"]["Memory"], again["HostConfig"]["MemorySwap"]) == (
            first["Id"],
            224 * MIB,
            224 * MIB + 1,
        )
        found = client.exec_create(again["Id"], ["test", "-e", "/tmp/mine"])["Id"]
        client.exec_start(found)
        assert client.exec_inspect(found)["ExitCode"] == 0
        assert "The kept container of kept is changed: Memory is 256 MiB, the policy says 224 MiB" in hub.said()
        assert plan(hub, "kept").returncode == 0
    finally:
        hub.stop("kept")
        remove(client, first["Id"])


def test_a_kept_container_that_cannot_be_changed_is_put_aside(hub, client, policy):
    """The user gets a new one; the old one is kept under another name, with the files that are in no volume."""
    first = started(hub, "kept")
    hub.stop("kept")
    policy.write_text(policy.read_text() + "  kept:\n    mem_swappiness: 10\n")
    again = started(hub, "kept")
    try:
        old = client.inspect_container(first["Id"])
        assert old["Name"].startswith(f"{again['Name']}-kept-20")
        assert old["State"]["Running"] is False
        assert again["Id"] != first["Id"]
        assert again["HostConfig"]["MemorySwappiness"] == 10
        assert "The old container of kept can't be given its limits (MemorySwappiness is not set" in hub.said()
    finally:
        hub.stop("kept")
        remove(client, first["Id"])
        remove(client, again["Id"])


def remove(client, container):
    """What the hub keeps, and the tests should not."""
    with suppress(docker.errors.NotFound):
        client.remove_container(container, force=True)


def plan(hub, user):
    """What `plan` says of a user's servers under the hub's policy; groups are those of each server's start."""
    return spawner_limits("plan", user, "--file", str(hub.policy), JUPYTERHUB_API_TOKEN="")


def test_a_changed_policy_is_drift_until_it_is_applied(hub, policy):
    """`plan` finds it, `apply` brings it to the Linux kernel while the server runs, and then there is none."""
    container = started(hub, "dan")
    try:
        assert plan(hub, "dan").returncode == 0
        policy.write_text(policy.read_text().replace("cpu_limit: 1\n", "cpu_limit: 0.75\n"))
        found = plan(hub, "dan")
        assert found.returncode == 1
        assert re.search(r"cpu_limit +0.75 cores +1.00 cores +live", found.stdout), found.stdout
        done = spawner_limits("apply", "dan", "--file", str(hub.policy), JUPYTERHUB_API_TOKEN="")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "cpu_limit is 0.75 cores (it was 1.00 cores)" in done.stdout
        assert plan(hub, "dan").returncode == 0
        assert hub.container("dan")["State"]["StartedAt"] == container["State"]["StartedAt"]
        assert hub.container("dan")["HostConfig"]["CpuQuota"] == 75_000
    finally:
        hub.stop("dan")


# what else a policy can lack: tests/unit/test_policy_reload.py
BAD_POLICY = "version: 1\ndefaults:\n  mem_limt: 1G\n"


def test_without_a_policy_that_ever_was_valid_nothing_starts(hub):
    """Spawns are refused (503) and the hub lives."""
    hub.policy.with_name("limits.yaml.broken").write_text(BAD_POLICY)
    answer, events = hub.start("no-policy")
    assert answer.status_code == 503 or events[-1]["failed"]
    assert "There is no valid policy of limits" in (events[-1]["message"] if events else answer.json()["message"])
    assert hub.container("no-policy") is None
    assert hub.api("GET", "/users/dan").ok


def test_once_the_policy_is_mended_servers_start(hub):
    """The hub needs no restart for that."""
    hub.policy.with_name("limits.yaml.broken").write_text(hub.policy.read_text())
    assert started(hub, "no-policy")["HostConfig"]["Memory"] == 256 * MIB
    hub.stop("no-policy")


def test_breaking_the_policy_changes_nothing_and_is_reported_once(hub, policy):
    """The last good policy stays in force; the log says once what is wrong; the mended file counts again."""
    good = policy.read_text()
    assert started(hub, "dan")["HostConfig"]["Memory"] == 256 * MIB  # it has been read
    hub.stop("dan")
    before = len(hub.said())
    policy.write_text(BAD_POLICY)
    for user in ("dan", "sue"):
        assert started(hub, user)["HostConfig"]["Memory"] == (256 if user == "dan" else 320) * MIB
        hub.stop(user)
    said = hub.said()[before:]
    assert said.count("The policy can't be used, so the last good one stays in force:\n") == 1
    assert f"{policy}:" in said
    policy.write_text(good.replace("mem_limit: 256M", "mem_limit: 272M"))
    assert started(hub, "dan")["HostConfig"]["Memory"] == 272 * MIB
    hub.stop("dan")


def test_a_notebook_that_a_mount_hides_is_reported(hub):
    """Under a tmpfs it would be lost: the server starts all the same, and the log says why there is no notebook."""
    started(hub, "tmpfs")
    hub.stop("tmpfs")
    why = "the tmpfs that is mounted at /home/jovyan/work would hide it"
    assert f"The stress notebook of tmpfs was not copied: {why}\n" in hub.said()


def test_a_file_that_is_too_large_for_the_notebook(hub, client):
    """It is left alone, and the log says so; the server starts, with the rest."""
    container = started(hub, "kept")
    try:
        client.exec_start(client.exec_create(container["Id"], ["truncate", "-s", "1T", "work/mnist.ipynb"])["Id"])
        hub.stop("kept")
        started(hub, "kept")
        rest = "mnist_2k_500.npz, MNIST-LICENSE.md already there"
        told = f"In /home/jovyan/work of kept: {rest}; mnist.ipynb left alone: too large to be ours\n"
        assert hub.said().count(told) == 1
    finally:
        hub.stop("kept")
        remove(client, container["Id"])
