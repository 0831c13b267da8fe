"""What goes wrong around a real hub: afterwards no server is without limits, none an orphan, and the hub is up."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from spawner_limits.engines import labels
from tests.conftest import MINIMAL
from tests.e2e.conftest import eventually
from tests.e2e.faulty_hub import faulty_hub

POLICY = """\
version: 1
contact: help@example.org
defaults: {mem_limit: 256M, cpu_limit: 1, pids_limit: 200}
"""
PEOPLE = ("ann", "ben", "cat", "eva", "fay", "gil", "hal", "ida")
GROUPS = {"kept": ["cat"], "broken-notebook": ["hal"]}
"""of jupyterhub_config.py: hal's work is in a volume of its own, here one without room"""


@pytest.fixture(scope="module")
def full_volume(client):
    """A volume that is smaller than the notebook."""
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k,uid=1000,gid=100"}
    volume = client.create_volume(f"test-full-{os.getpid()}", driver="local", driver_opts=options)["Name"]
    yield volume
    client.remove_volume(volume, force=True)


@pytest.fixture(scope="module")
def hub(full_volume, tmp_path_factory):
    """A hub for these tests alone: they kill it."""
    folder = tmp_path_factory.mktemp("faulty-hub")
    with faulty_hub(folder, POLICY, volume=full_volume, users=PEOPLE, groups=GROUPS) as running:
        yield running


# -- the hub is killed -------------------------------------------------------------------------------------------------

CUT_SHORT = "the hub ended while it was starting it"
LOST = "the hub's database has no such server"


def test_a_hub_that_is_killed(hub, client):
    """When it comes back it ends what it had not handed over, or has lost sight of, and nothing else.

    Not what it knows, nor what another hub has made; what is kept at its end is stopped, and kept.
    """
    with ThreadPoolExecutor(2) as aside:
        known, lost = aside.map(hub.runs, ("gil", "eva"))
    other = {**lost["Config"]["Labels"], labels.HUB: "another"}
    strange = client.create_container(MINIMAL, ["sleep", "300"], name=f"{hub.prefix}-strange", labels=other)["Id"]
    client.start(strange)
    assert hub.held("held-before-start", "ann")["State"]["Status"] == "created"
    assert hub.held("held-before-attest", "ben")["State"]["Status"] == "running"
    kept = hub.held("held-before-attest", "cat")
    hub.end(signal.SIGKILL)
    hub.database("UPDATE spawners SET server_id = NULL WHERE user_id = (SELECT id FROM users WHERE name = 'eva')")
    hub.launch()
    said = {
        f"{hub.prefix}-ann (server of ann: {CUT_SHORT}) is removed, as it was never started",
        f"{hub.prefix}-ben (server of ben: {CUT_SHORT}) is killed and removed",
        f"{hub.prefix}-cat (server of cat: {CUT_SHORT}) is killed and kept",
        f"{hub.prefix}-eva (server of eva: {LOST}) is stopped and removed",
    }
    eventually(lambda: all(f"The orphan {one}" in hub.said() for one in said))
    assert hub.said().count("The orphan ") == len(said)
    containers = {one["Id"]: one for one in client.containers(all=True, filters={"name": f"^/{hub.prefix}-"})}
    assert containers.keys() == {known["Id"], strange, kept["Id"]}
    assert [containers[one]["State"] for one in (known["Id"], strange, kept["Id"])] == ["running", "running", "exited"]
    assert client.inspect_container(known["Id"])["State"]["Pid"] == known["State"]["Pid"]
    for user in ("ann", "ben", "cat"):
        eventually(lambda user=user: not hub.known(user))
        assert "the hub was restarted while it was starting. You can start it again" in hub.page(user)
    client.remove_container(strange, force=True)
    assert hub.runs("cat")["Id"] == kept["Id"]


# -- something happens while a server is started -----------------------------------------------------------------------

REFUSED = {
    "its container is removed before the copy": ("removed-before-copy", "No such container"),
    "its container is removed during the copy": ("removed-during-copy", "No such container"),
    "its container is killed before it is attested": (
        "killed-before-attest",
        "The server's container ended as soon as it was started",  # and may be removed already
    ),
    "a limit is lifted behind the engine's back": (
        "limit-raised-before-attest",
        "The Linux kernel does not show the server's limits: pids_limit: pids.max is max, expected 200",
    ),
    "it is refused before its start": ("refused-before-start", "A test refuses this"),
}


@pytest.mark.parametrize(("fault", "message"), REFUSED.values(), ids=REFUSED)
def test_a_start_that_fails(hub, fault, message):
    """It is refused with a message and without a traceback, and leaves nothing; the hub is up."""
    before = len(hub.said())
    hub.arm(fault, "fay")
    assert message in hub.refused("fay")
    eventually(lambda: hub.container("fay") is None)
    assert "Traceback" not in hub.said()[before:]
    assert not hub.known("fay")


def test_a_refusal_before_there_is_a_container(hub):
    """Its page has the true reason alone, and not that a hub was restarted."""
    assert "expected a size" in hub.refused("ida", mem_limit="much")
    assert "the hub was restarted" not in hub.page("ida")
    assert "the hub was restarted" not in hub.said().rpartition("ida")[2]


def test_a_disk_that_is_full_at_the_copy(hub, client):
    """The server starts without the notebook, inside its limits, and its user and the log are told why."""
    with ThreadPoolExecutor(1) as aside:
        asked = aside.submit(hub.runs, "hal")
        eventually(lambda: hub.known("hal"))
        messages = [event["message"] for event in hub.progress("/users/hal/server")]
        container = asked.result()
    told = "The stress notebook was not copied, the server starts without it: "
    assert [one for one in messages if one.startswith(told) and "no space left on device" in one], messages
    assert "The stress notebook of hal was not copied" in hub.said()
    assert client.inspect_container(container["Id"])["State"]["Running"]
    hub.stop("hal")
