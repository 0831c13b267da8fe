"""The whole policy on a running hub: requests, sizes, time limits, and room for so many servers and no more."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from spawner_limits.engines import labels
from spawner_limits.policy.entitlement import Entitlement
from spawner_limits.spawners.thread_env import THREADS
from spawner_limits.units import MIB
from tests.e2e.conftest import TestHub

HERE = Path(__file__).parent
CROWD = tuple(f"u{number:02}" for number in range(50))
PEOPLE = ("ann", "ben", "cho", "<b>eve", "fay", "gil")
POLICY = """\
version: 1
contact: <hub@example.org> & friends
combine: most
best_effort: [cpu_guarantee]
host:
  reserve_memory: {reserve}
  memory_overcommit: {overcommit}
  cpu_overcommit: unlimited
ceiling:
  mem_limit: 640M
sizes:
  small: {{mem_limit: 256M, cpu_limit: 0.5}}
  '<i>large': {{mem_limit: 8G, cpu_limit: 8}}
defaults:
  mem_limit: 256M
  cpu_limit: 1
  pids_limit: 200
groups:
  class: {{mem_limit: 320M}}
  lab: {{mem_limit: 384M, cpu_guarantee: 0.1}}
  pickers: {{mem_limit: 512M, sizes: [small, <i>large], default_size: small}}
users:
  cho:
    servers: {{count: 2, mem_limit: 400M}}
  fay:
    mem_limit: 768M
    until: 2001-01-01
  gil:
    mem_limit: 272M
    temporarily: {{mem_limit: 288M, until: "{until}"}}
"""
ROOM = 10


def written(*, until="2999-12-31"):
    """The policy, with room for everybody: other tests' servers take room as well."""
    return POLICY.format(reserve="1G", overcommit="unlimited", until=until)


def scarce(client):
    """The policy that has room for `ROOM` servers of 256 MiB on this host."""
    return POLICY.format(reserve=client.info()["MemTotal"] - ROOM * 256 * MIB, overcommit=1, until="2999-12-31")


@pytest.fixture(scope="module")
def hub(client, tmp_path_factory):
    """A hub of its own."""
    folder = tmp_path_factory.mktemp("policy-hub")
    policy = folder / "limits.yaml"
    policy.write_text(written())
    before = dict(os.environ)
    os.environ |= {"SPAWNER_LIMITS_TEST_POLICY": str(policy), "SPAWNER_LIMITS_TEST_VOLUME": "not-used"}
    groups = {"class": ["ann", "ben"], "lab": ["ben"], "pickers": ["<b>eve"]}
    users = (*PEOPLE, *CROWD)
    with TestHub(users=users, groups=groups, config=HERE / "jupyterhub_config.py", log=folder / "hub.log") as running:
        running.policy = policy
        yield running
    os.environ.clear()
    os.environ.update(before)
    assert client.containers(all=True, filters={"name": f"^/{running.prefix}-"}) == []


def entitlement(hub, user, server=""):
    """What the label of a user's container says."""
    return Entitlement.from_json(hub.container(user, server)["Config"]["Labels"][labels.ENTITLEMENT])


def memory(hub, user, server="", **options):
    """The memory limit in MiB of a server that is started, looked at and stopped."""
    answer, events = hub.start(user, server, **options)
    assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)
    limit = hub.container(user, server)["HostConfig"]["Memory"] // MIB
    hub.stop(user, server)
    return limit


# -- requests ----------------------------------------------------------------------------------------------------

REQUESTS = {
    "nothing asked": ({}, 320),
    "less": ({"mem_limit": "200M"}, 200),
    "more than the rule, beside what others read": ({"mem_limit": "64G", "profile": "gpu"}, 320),
}


@pytest.mark.parametrize(("options", "got"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_through_the_rest_api_only_lowers(hub, options, got):
    """`user_options` above the rule are clamped to it; keys that are not ours are left alone."""
    # an empty request would be the last one's again
    assert memory(hub, "ann", **(options or {"profile": ""})) == got


def test_a_malformed_request_is_a_clean_400(hub):
    """It names the field, leaves no container and no traceback, and is not kept for the next spawn.

    What else is malformed: `tests/unit/test_policy_request.py`.
    """
    before = len(hub.said())
    answer, events = hub.start("ann", mem_limt="200M")
    assert answer.status_code == 400 or events, answer.text
    assert 'mem_limt: unknown key; did you mean "mem_limit"?' in (
        events[-1]["message"] if events else answer.json()["message"]
    )
    assert hub.container("ann") is None
    assert "Traceback" not in hub.said()[before:]
    assert memory(hub, "ann") == 320


def test_groups_are_combined_and_best_effort_lets_a_server_start(hub):
    """`combine: most`; what Docker can't hold is told, and the server runs without it; threads are hinted."""
    answer, events = hub.start("ben")
    assert answer.status_code == 201 or events[-1].get("ready")
    container = hub.container("ben")
    told = dict(line.split("=", 1) for line in container["Config"]["Env"])
    assert container["HostConfig"]["Memory"] == 384 * MIB
    assert {told[name] for name in THREADS} == {"1"}
    assert "starts without a limit, as the policy allows: cpu_guarantee (from group lab) can't be held" in hub.said()
    hub.stop("ben")


def test_what_has_expired_no_longer_counts(hub):
    """A rule after its `until` is as if it were not there; a temporary one gives way to the permanent one."""
    assert memory(hub, "fay") == 256
    assert memory(hub, "gil") == 288
    hub.policy.write_text(written(until="2001-01-01T00:00Z"))
    assert memory(hub, "gil") == 272


# -- the spawn page ----------------------------------------------------------------------------------------------


@pytest.fixture
def session(hub):
    """Somebody with sizes to pick from, logged in without JavaScript."""
    with requests.Session() as session:
        page = session.get(f"{hub.url}hub/login")
        form = {"username": "<b>eve", "password": hub.passwords["<b>eve"], "_xsrf": session.cookies["_xsrf"]}
        assert page.ok
        assert session.post(f"{hub.url}hub/login", data=form).ok
        yield session
    hub.stop("%3Cb%3Eeve")


@pytest.mark.alone  # others' servers would take some of the room that it tells
def test_the_spawn_page_offers_the_sizes(hub, client, session):
    """What each size gives and why, what the host has left, whom to ask; every text escaped; no script needed."""
    hub.policy.write_text(scarce(client))
    page = session.get(f"{hub.url}hub/spawn/%3Cb%3Eeve")
    form = " ".join(page.text[page.text.index("<fieldset") : page.text.index("</fieldset>")].split())
    words = " ".join(re.sub("<[^>]*>", " ", form).split())
    assert re.search(r'value="small"[^>]* checked', form)
    assert "memory and CPU from size small; processes from defaults." in words
    assert "memory from size &lt;i&gt;large (lowered from 8.00 GiB by group pickers);" in words
    assert "The host has 2.50 GiB of 2.50 GiB of memory left." in words
    assert "Ask &lt;hub@example.org&gt; &amp; friends." in words
    assert "<i>" not in form
    assert "<script" not in form


FORMS = {"the one that is clamped": ("<i>large", 512, 100_000), "the small one": ("small", 256, 50_000)}


@pytest.mark.parametrize(("size", "mebibytes", "quota"), FORMS.values(), ids=FORMS)
def test_a_size_that_was_picked_is_given(hub, session, size, mebibytes, quota):
    """The form gives the size, and no more than the rule."""
    page = f"{hub.url}hub/spawn/%3Cb%3Eeve"
    session.get(page)
    answer = session.post(page, data={"size": size, "_xsrf": session.cookies["_xsrf"]})
    assert answer.ok, answer.text
    hub.progress("/users/%3Cb%3Eeve/server")
    found = hub.container("<b>eve")
    assert (found["HostConfig"]["Memory"] // MIB, found["HostConfig"]["CpuQuota"]) == (mebibytes, quota)
    assert entitlement(hub, "<b>eve").size == size


def test_a_size_that_is_not_offered_is_refused_on_the_page(hub, session):
    """A form that somebody changed by hand is a 400 with the field's name, and the form again."""
    page = f"{hub.url}hub/spawn/%3Cb%3Eeve"
    session.get(page)
    answer = session.post(page, data={"size": "<huge>", "_xsrf": session.cookies["_xsrf"]})
    assert answer.status_code == 400
    assert "size: found &#34;&lt;huge&gt;&#34;; expected one of small, &lt;i&gt;large" in answer.text
    assert "<fieldset" in answer.text
    assert "SpawnException" not in answer.text


# -- room --------------------------------------------------------------------------------------------------------


def test_three_named_servers_are_not_three_quotas(hub):
    """A user's servers are counted together, by number and by what they hold; a smaller one may still fit."""
    hub.start("cho", "one", mem_limit="200M")
    try:
        told = hub.refused("cho", "two", mem_limit="unlimited")
        assert (
            "400 MiB of memory together; one holds 200 MiB, and this one asks for 256 MiB; the rule is user cho" in told
        )
        hub.start("cho", "two", mem_limit="192M")
        assert "You may run 2 servers, and 2 run (" in hub.refused("cho", "three", mem_limit="6M")
    finally:
        for server in ("one", "two"):
            hub.stop("cho", server)


@pytest.mark.alone  # others' servers would take some of the room
def test_a_burst_takes_what_there_is_and_no_more(hub, client):
    """50 spawns at once against room for 10: exactly 10 start, 40 are refused cleanly, and nothing is left of them."""
    hub.policy.write_text(scarce(client))
    with ThreadPoolExecutor(len(CROWD)) as crowd:
        went = list(crowd.map(hub.start, CROWD))
    up = {user for user in CROWD if hub.container(user) is not None}
    told = [events[-1] if events else answer.json() for answer, events in went if answer.status_code != 201]
    why = [one["message"] for one in told if not one.get("ready")]
    assert len(up) == ROOM
    assert len(why) == len(CROWD) - ROOM
    for message in why:
        assert "This host is full: the server asks for 256 MiB of memory, and 0 B of 2.50 GiB are left" in message
        assert "Ask <hub@example.org> & friends." in message
    running = client.containers(all=True, filters={"label": labels.ENTITLEMENT, "name": f"^/{hub.prefix}-"})
    assert len(running) == ROOM
    with ThreadPoolExecutor(ROOM) as crowd:
        list(crowd.map(hub.stop, up))
