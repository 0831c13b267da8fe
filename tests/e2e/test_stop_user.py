"""`spawner-limits stop USER`: the hub's servers through the hub, strays on the engine, forged ones never unasked."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest

import docker
from spawner_limits.engines import labels
from spawner_limits.policy.entitlement import Entitlement
from tests.conftest import MINIMAL, spawner_limits
from tests.e2e.conftest import POLICY, own_hub

OTHER = "spawner-limits-test/other:1"
NO_HUB = "http://127.0.0.1:9/hub/api"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub of its own, whose servers' records are apart from those of others on this machine."""
    folder, people = tmp_path_factory.mktemp("stop-hub"), ("dot", "sid", "pia", "zoe")
    with own_hub(folder, POLICY, "serviced_config.py", users=people, groups={}) as running:
        yield running


@pytest.fixture
def servers(hub):
    """What `docker inspect` says of the default and a named server of dot, which are stopped afterwards."""
    for server in ("", "second"):
        answer, events = hub.start("dot", server)
        assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)
    yield [hub.container("dot", server) for server in ("", "second")]
    for server in ("", "second"):
        hub.stop("dot", server)


@pytest.fixture
def made(client, hub, servers):
    """Makes a running container; all that it made are gone afterwards."""
    found = []

    def make(name, labels, *, image=MINIMAL, on=None, auto_remove=True, starts=True):
        config = client.create_host_config(init=True, auto_remove=auto_remove, network_mode=on or network(servers[0]))
        whole = f"{hub.prefix}-made-{name}"
        arguments = {"name": whole, "labels": labels, "host_config": config}
        found.append(client.create_container(image, ["sleep", "600"], **arguments)["Id"])
        if starts:
            client.start(found[-1])
        return whole

    yield make
    for container in found:
        with suppress(docker.errors.NotFound):
            client.remove_container(container, force=True)


@pytest.fixture
def other_image(client):
    """The same image by a name that the hub does not use."""
    name, _, tag = OTHER.partition(":")
    client.tag(MINIMAL, name, tag)
    yield OTHER
    client.remove_image(OTHER, noprune=True)


def network(server):
    """The one that the hub's servers are on."""
    (name,) = server["NetworkSettings"]["Networks"]
    return name


def labelled(server, name):
    """The labels that the hub's spawner would give to another server of the same user."""
    given = dict(server["Config"]["Labels"])
    given[labels.SERVER] = name
    entitlement = Entitlement.from_json(given[labels.ENTITLEMENT])
    given[labels.ENTITLEMENT] = replace(entitlement, server=name).to_json()
    return given


def stop(hub, *arguments, **environment):
    """Run the command against the test's hub."""
    given = {"JUPYTERHUB_API_URL": hub.api_url, "JUPYTERHUB_API_TOKEN": hub.token, "COLUMNS": "120"} | environment
    return spawner_limits("stop", *arguments, **given)


def state(client, name):
    """The engine's word for a container, or `None` when it is gone."""
    try:
        return client.inspect_container(name)["State"]["Status"]
    except docker.errors.NotFound:
        return None


def test_everything_of_a_user_is_stopped_and_nothing_else(client, hub, servers, made, other_image):
    """The hub's two servers through the hub, two strays on the engine; the forged ones are listed apart and go on."""
    names = [server["Name"].removeprefix("/") for server in servers]
    stray = made("stray", labelled(servers[0], "lost"))
    kept = made("kept", labelled(servers[0], "kept"), auto_remove=False)
    remnant = made("remnant", labelled(servers[0], "cut"), starts=False)
    forged = made("forged", labelled(servers[0], ""), image=other_image)
    plain = made("plain", {labels.USER: "dot"})
    alone = made("alone", labelled(servers[0], "apart"), on="none")
    hub.start("sid")
    try:
        listed = stop(hub, "DOT")
        assert listed.returncode == 2, listed.stderr
        assert "say --yes if that may be" in listed.stderr
        assert [state(client, name) for name in (*names, stray, kept)] == ["running"] * 4

        told = json.loads(stop(hub, "dot", "--json").stdout)
        # another hub on this engine may have a user of that name
        doubts = {one["container"]: one["doubts"] for one in told["containers"] if hub.prefix in one["container"]}
        assert {name for name, why in doubts.items() if not why} == {*names, stray, kept, remnant}, doubts
        assert doubts[forged] == [f"its image {OTHER} is none of the hub's"]
        assert doubts[plain][0].startswith("it has no label spawner-limits.server")
        assert doubts[alone] == [f"it is on none of the hub's networks ({network(servers[0])})"]
        assert {one["container"] for one in told["containers"] if one["known_to_hub"]} == set(names)

        done = stop(hub, "dot", "--yes")
        assert done.returncode == 0, done.stderr + done.stdout
        assert hub.api("GET", "/users/dot").json()["servers"] == {}
        assert [state(client, name) for name in (*names, stray, remnant)] == [None] * 4
        assert state(client, kept) == "exited"
        assert [state(client, name) for name in (forged, plain, alone)] == ["running"] * 3
        assert f"{kept}: stopped and kept" in done.stdout
        assert f"{names[0]}: stopped and removed through the hub" in done.stdout
        assert hub.container("sid")["State"]["Running"]

        assert stop(hub, "dot", "--yes", f"--container={forged}").returncode == 0
        assert [state(client, name) for name in (forged, plain)] == [None, "running"]
    finally:
        hub.stop("sid")


def test_a_hub_that_does_not_answer_stops_nobody_from_stopping(client, hub):
    """It is said; what is the hub's is then told by its image and its network, where nobody has attested it."""
    silent = {"JUPYTERHUB_API_URL": NO_HUB, "SPAWNER_LIMITS_RECORDS": "/nowhere"}
    hub.start("pia")
    try:
        server = hub.container("pia")
        apart = stop(hub, "pia", "--yes", **silent)
        assert apart.returncode == 0, apart.stderr
        assert f"no hub answers at {NO_HUB}" in apart.stderr
        assert "see --image and --network" in " ".join(apart.stdout.split())
        assert state(client, server["Id"]) == "running"
        done = stop(hub, "pia", "--yes", f"--image={MINIMAL}", f"--network={network(server)}", **silent)
        assert done.returncode == 0, done.stderr + done.stdout
        assert state(client, server["Id"]) is None
    finally:
        hub.stop("pia")


BAD = {
    "a user that there is not": (("nobody-here", "--yes"), {}, 2, "the hub knows no user 'nobody-here'"),
    "a container that is not theirs": (("dot", "--container=x"), {}, 2, "--container x: no container of that name"),
    "a wrong token": (("dot",), {"JUPYTERHUB_API_TOKEN": "wrong"}, 4, "does not accept the token"),
    "no token, and a hub": (("dot",), {"JUPYTERHUB_API_TOKEN": ""}, 2, "list:users, read:servers and delete:servers"),
    "no engine": (("dot",), {"DOCKER_HOST": "unix:///nowhere"}, 4, "the Docker engine does not answer"),
}


@pytest.mark.parametrize(("arguments", "environment", "code", "message"), BAD.values(), ids=BAD)
def test_what_can_not_be_asked(hub, arguments, environment, code, message):
    """One message, the right exit code, no traceback."""
    found = stop(hub, *arguments, **environment)
    assert message in found.stderr
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr


def test_nothing_to_stop(hub):
    """A user without servers is no mistake."""
    found = stop(hub, "zoe")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == "zoe: no servers, and no containers that say that they are theirs\n\nnothing to stop\n"
