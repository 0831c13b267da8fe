"""The engine is restarted under running servers, with live-restore and without: on an engine of these tests alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.conftest import spawner_limits
from tests.e2e.conftest import eventually
from tests.e2e.faulty_hub import faulty_hub
from tests.e2e.test_oom_told import hog

POLICY = """\
version: 1
contact: help@example.org
defaults: {mem_limit: 256M, cpu_limit: 1, pids_limit: 200}
"""


@pytest.fixture(scope="module")
def engine(own_engine):
    """That engine, for this test and what it starts."""
    with own_engine.used():
        own_engine.start()
        yield own_engine
        own_engine.stop()


@pytest.fixture(scope="module")
def hub(engine, tmp_path_factory):
    """A hub on that engine; ben's container is kept at its end."""
    del engine  # it is in the environment
    people = {"users": ("ann", "ben", "cyd"), "groups": {"kept": ["ben"]}}
    with faulty_hub(tmp_path_factory.mktemp("hub"), POLICY, **people) as running:
        yield running


def test_without_live_restore(hub, engine):
    """The servers end with the engine; the hub lives, notices, says why, and starts them again."""
    with ThreadPoolExecutor(2) as aside:
        _, kept = aside.map(hub.runs, ("ann", "ben"))
    engine.stop()
    assert "The Docker engine does not answer" in hub.refused("cyd")
    engine.start("--live-restore")
    for user in ("ann", "ben"):
        eventually(lambda user=user: not hub.known(user))
        assert "Your server was stopped at" in hub.page(user)
        assert "container engine was" in hub.page(user)
        assert hub.container(user) is None or not hub.container(user)["State"]["Running"]
    assert "Out of memory" not in hub.said()
    assert "Traceback" not in hub.said()
    assert hub.runs("ben")["Id"] == kept["Id"]


def test_with_live_restore(hub, engine):
    """The servers go on inside their limits, and what happens to them is seen again.

    But engines before 24.0.8 kill what is to be removed at its end (github.com/moby/moby/issues/46308), and the hub
    says so.
    """
    before = hub.container("ben")["State"]["Pid"]
    hub.runs("ann")
    engine.stop()
    engine.start("--live-restore")
    assert hub.container("ben")["State"]["Pid"] == before
    assert "" in hub.known("ben")
    found = spawner_limits("ps", "ben", "--json")
    assert found.returncode == 0, found
    (ben,) = json.loads(found.stdout)["servers"]
    assert (ben["drift"], bool(ben["attested"])) == ([], True)
    with closing(engine.connect()) as client:
        hog(client, hub.container("ben"))
    eventually(lambda: "Out of memory in the server of ben" in hub.said())
    if engine.version >= (24, 0, 8):
        assert "" in hub.known("ann")
    else:
        eventually(lambda: not hub.known("ann"))
        assert "The server of ann ended: SIGKILL, and not by the OOM killer" in hub.said()
        assert "somebody or something ended it (SIGKILL), and not for its memory" in hub.page("ann")
    assert "Traceback" not in hub.said()
