"""Hints for threads in real servers: what is there, seen from inside, and that nobody's own value is replaced."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spawner_limits.spawners.thread_env import JAVA, THREADS
from tests.conftest import MINIMAL
from tests.e2e.conftest import own_hub

HERE = Path(__file__).parent
POLICY = """\
version: 1
defaults:
  mem_limit: 256M
  cpu_limit: 0.8
  pids_limit: 200
groups:
  imaged: {}
  configured: {cpu_limit: 64}
users:
  off: {thread_hints: false}
"""
GROUPS = {"imaged": ["imaged"], "configured": ["configured"]}
USERS = ("usual", "off", *GROUPS)
OWN = {"OMP_NUM_THREADS": "7", "PYTHON_CPU_COUNT": ""}
"""what the image sets itself"""


@pytest.fixture(scope="module")
def image(client):
    """The small image, with variables of its own."""
    container = client.create_container(MINIMAL)["Id"]
    try:
        name = f"spawner-limits/test-hints:{os.getpid()}"
        client.commit(
            container, *name.split(":"), changes="\n".join(f"ENV {key}={value}" for key, value in OWN.items())
        )
    finally:
        client.remove_container(container)
    yield name
    client.remove_image(name)


@pytest.fixture(scope="module")
def hub(image, tmp_path_factory):
    """A hub with the configuration beside this file."""
    folder, environment = tmp_path_factory.mktemp("hints-hub"), {"SPAWNER_LIMITS_TEST_IMAGE": image}
    with own_hub(folder, POLICY, "hints_config.py", environment=environment, users=USERS, groups=GROUPS) as running:
        yield running


@pytest.fixture(scope="module")
def seen(client, hub):
    """User → what is seen of the hints in their server."""
    with ThreadPoolExecutor(len(USERS)) as crowd:
        return dict(zip(USERS, crowd.map(lambda user: inside(client, hub, user), USERS), strict=True))


def inside(client, hub, user):
    """The environment of what is started in a user's server, as far as it is about hints."""
    answer, events = hub.start(user)
    assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)
    container = hub.container(user)["Id"]
    show = ["python", "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    told = json.loads(client.exec_start(client.exec_create(container, show)["Id"]))
    hub.stop(user)
    return {name: told.get(name) for name in (*THREADS, JAVA)}


NOTHING = dict.fromkeys((*THREADS, JAVA))
ONE = dict.fromkeys(THREADS, "1") | {JAVA: "-XX:ActiveProcessorCount=1 -XX:MaxRAMPercentage=50.0"}
CPUS = "as many as the host has"
TOLD = {
    "usual": ONE,
    "off": NOTHING,
    "imaged": ONE | OWN | dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")),
    "configured": dict.fromkeys(THREADS, CPUS) | {"TF_NUM_INTRAOP_THREADS": "5", JAVA: ""},
}


@pytest.mark.parametrize(("user", "told"), TOLD.items(), ids=TOLD)
def test_what_a_server_is_told(client, seen, user, told):
    """By default what fits its CPU; nothing where the policy says so; never what the image or the hub sets itself."""
    cpus = str(client.info()["NCPU"])
    expected = {name: cpus if value == CPUS else value for name, value in told.items()}
    assert seen[user] == expected
