"""What a server gets, and what is refused: on a real hub, through its REST API."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from spawner_limits.engines import labels
from spawner_limits.policy.entitlement import Entitlement
from spawner_limits.units import MIB

MINE = "Take it out of the hub's configuration: the policy file alone sets limits."


def started(hub, user):
    """What `docker inspect` says of a user's new server."""
    answer, events = hub.start(user)
    assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)
    return hub.container(user)


def environment(container):
    """The container's environment."""
    return dict(line.split("=", 1) for line in container["Config"]["Env"])


HOST_CONFIG = {
    "the defaults": ("dan", {"Memory": 256 * MIB, "MemorySwap": 256 * MIB, "CpuQuota": 100_000, "PidsLimit": 200}),
    "the group's rule": ("sue", {"Memory": 320 * MIB, "MemorySwap": 320 * MIB, "CpuQuota": 120_000, "PidsLimit": 200}),
    "the user's rule over the group's": (
        "eve",
        {"Memory": 384 * MIB, "MemorySwap": 384 * MIB, "CpuQuota": 150_000, "CpuShares": 2048, "PidsLimit": 200},
    ),
    "somebody who says the same as the policy": ("same", {"Memory": 256 * MIB, "CpuQuota": 100_000}),
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


def test_the_spawn_page_says_what_and_why(hub):
    """The progress names each limit and the rule that it came from, and what became of the notebook."""
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


REFUSED = {
    "mem_limit by group_overrides": (
        "loose-trait",
        f"The hub's configuration would loosen a limit: mem_limit is 8.00 GiB, the policy says 256 MiB. {MINE}",
    ),
    "what a callable answers": (
        "loose-answer",
        f"The hub's configuration would loosen a limit: mem_limit is 8.00 GiB, the policy says 256 MiB. {MINE}",
    ),
    "a tighter one, of which the policy knows nothing": (
        "tight-trait",
        f"The hub's configuration would change a limit: mem_limit is 64 MiB, the policy says 256 MiB. {MINE}",
    ),
    "cpu_limit by group_overrides": (
        "loose-cores",
        f"The hub's configuration would loosen a limit: cpu_limit is 2.00 cores, the policy says 1.00 cores. {MINE}",
    ),
    "memory by extra_host_config": (
        "loose-host",
        "extra_host_config would loosen or change a limit: Memory is 8.00 GiB, the policy says 256 MiB. " + MINE,
    ),
    "swap by extra_host_config": (
        "loose-swap",
        "extra_host_config would loosen or change a limit: MemorySwap is -1, the policy says 256 MiB. " + MINE,
    ),
    "NanoCpus by extra_host_config": (
        "loose-nano",
        "extra_host_config would loosen or change a limit: NanoCpus is 2000000000. " + MINE,
    ),
    "a callable": (
        "loose-callable",
        "extra_host_config would loosen or change a limit: PidsLimit is 100000, the policy says 200. " + MINE,
    ),
    "extra_create_kwargs, past everything else": (
        "loose-create",
        "NanoCpus is 2000000000, but the policy limits it by quota and period. Ask the administrator of this hub.",
    ),
    "what Docker can't hold": (
        "gus",
        "cpu_guarantee (from user gus) can't be held: Docker can't keep cores free for a container; give it cpu_shares",
    ),
}


@pytest.mark.parametrize(("user", "message"), REFUSED.values(), ids=REFUSED)
def test_a_spawn_that_would_loosen_a_limit_is_refused(hub, user, message):
    """No container, a message that names what, where and what to do, no traceback, and the hub goes on."""
    before = len(hub.said())
    refusal = hub.refused(user)
    assert message in refusal
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


def test_a_kept_container_with_other_limits_is_not_started_again(hub, policy):
    """With `remove = False` Docker would start it with its old limits: it is refused, until the policy fits again."""
    started(hub, "kept")
    hub.stop("kept")
    good = policy.read_text()
    policy.write_text(good.replace("mem_limit: 256M", "mem_limit: 224M"))
    refusal = hub.refused("kept")
    assert (
        "The server's container has other limits: Memory is 256 MiB, the policy says 224 MiB; "
        "MemorySwap is 256 MiB, the policy says 224 MiB. Remove the container "
    ) in refusal
    assert hub.container("kept")["State"]["Running"] is False
    policy.write_text(good)
    assert started(hub, "kept")["State"]["Running"] is True
    hub.stop("kept")


BAD_POLICIES = {
    "a misspelt key": "version: 1\ndefaults:\n  mem_limt: 1G\n",
    "not YAML": "version: [",
    "empty": "",
    "not there": None,
}


@pytest.mark.parametrize("text", BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_without_a_policy_that_ever_was_valid_nothing_starts(hub, text):
    """Spawns are refused (503) and the hub lives."""
    broken = hub.policy.with_name("limits.yaml.broken")
    broken.unlink(missing_ok=True) if text is None else broken.write_text(text)
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


@pytest.mark.parametrize("text", BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_breaking_the_policy_changes_nothing_and_is_reported_once(hub, policy, text):
    """The last good policy stays in force; the log says once what is wrong; the mended file counts again."""
    good = policy.read_text()
    assert started(hub, "dan")["HostConfig"]["Memory"] == 256 * MIB  # it has been read
    hub.stop("dan")
    before = len(hub.said())
    policy.unlink() if text is None else policy.write_text(text)
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
    """Under a tmpfs the copy is lost: the server starts all the same, and the log says why there is no notebook."""
    started(hub, "tmpfs")
    hub.stop("tmpfs")
    assert (
        "The stress notebook of tmpfs was not copied: /home/jovyan/work/mnist.ipynb is not in the running container; "
        "does a mount hide it?"
    ) in hub.said()
