"""A copy that waits, in one user's spawn, delays no other user's poll. The hub, the engine and the copies are real."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest
import requests

from tests.between import between
from tests.e2e.conftest import POLICY, own_hub

POLLS = 15
POLL_S = 0.5
PATIENCE_S = 3
USERS = ("amy", "ada", "new", "old")


@pytest.fixture(scope="module")
def engine():
    """The engine, by way of something that can hold back copies."""
    with between() as server:
        yield server


@pytest.fixture(scope="module")
def hub(engine, tmp_path_factory):
    """A hub of its own, on whose engine the servers of amy and ada run."""
    assert os.environ["DOCKER_HOST"] == engine.host
    with own_hub(tmp_path_factory.mktemp("held-hub"), POLICY, "held_config.py", users=USERS, groups={}) as running:
        started(running, "amy")
        started(running, "ada")
        yield running


def started(hub, user):
    """Start a user's server, and wait until it is up."""
    answer, events = hub.start(user)
    assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)


def poll(hub, user="amy", timeout=60):
    """Have the hub poll a user's server; how many seconds that took."""
    begin = time.monotonic()
    headers = {"Authorization": f"token {hub.token}"}
    answer = requests.post(f"{hub.api_url}/users/{user}/server", headers=headers, timeout=timeout)
    assert "is already running" in answer.text
    return time.monotonic() - begin


def test_a_copy_delays_no_poll_of_another_user(client, hub, engine):
    """All of many polls are answered while the copy still waits; then the server starts."""
    with ThreadPoolExecutor(1) as beside:
        with engine.holding():
            starting = beside.submit(started, hub, "new")
            engine.await_held(1)
            took = [poll(hub) for _ in range(POLLS)]
            assert engine.held == 1
        starting.result()
    assert median(took) < POLL_S
    stream, _ = client.get_archive(hub.container("new")["Id"], "/home/jovyan/work/mnist.ipynb")
    stream.close()


def test_on_the_stock_thread_the_same_copy_delays_it(hub, engine):
    """So the test above would see it. What is asked on a thread of our own is answered all the same."""
    with ThreadPoolExecutor(1) as beside:
        with engine.holding():
            starting = beside.submit(started, hub, "old")
            engine.await_held(1)
            with pytest.raises(requests.ReadTimeout):
                poll(hub, "ada", timeout=PATIENCE_S)
            took = [poll(hub) for _ in range(POLLS)]
            assert engine.held == 1
        starting.result()
    assert median(took) < POLL_S
    poll(hub, "ada")
