"""The fixtures that dockerspawner's test suite asks for, and that its sdist leaves out.

JupyterHub's mock hub, beside an engine that is real. Loaded into both runs with `-p`.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
from unittest import mock

import dockerspawner
import pytest
from jupyterhub.tests.conftest import app as jupyterhub_app
from jupyterhub.tests.conftest import ssl_tmpdir, user
from jupyterhub.tests.mocking import MockHub

import docker

__all__ = ["jupyterhub_app", "ssl_tmpdir", "user"]

SETTINGS = json.loads(os.environ["SPAWNER_LIMITS_UPSTREAM"])
HUB = {
    "allow_named_servers": True,
    "named_server_limit_per_user": 2,
    # one of the tests takes a start that is slower for a failed one
    "slow_spawn_timeout": 60,
}
_numbers = itertools.count(1)

# where containers reach it
MockHub.hub_ip = "0.0.0.0"
MockHub.hub_connect_ip = SETTINGS["hub_ip"]


def pytest_configure():
    """Started where Ctrl-C is ignored, as by some CI, pytest would not clean up when it is told to end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def images():
    """The images that the suite names are there before each of its tests: one of them removes one."""
    client = docker.from_env()
    for name in SETTINGS["images"]:
        if not client.images.list(name=name):
            client.images.get(SETTINGS["image"]).tag(name)
    client.close()


@pytest.fixture
def app(jupyterhub_app):
    """The hub, whose containers are known by their names; a user's home on the host is a directory of ours."""
    jupyterhub_app.config.DockerSpawner.prefix = SETTINGS["prefix"]
    jupyterhub_app.config.SystemUserSpawner.host_homedir_format_string = f"{SETTINGS['homes']}/{{username}}"
    return jupyterhub_app


@pytest.fixture
def username():
    """A name that no other test uses."""
    return f"somebody-{next(_numbers)}"


def _with(app, spawner, **config):
    place = getattr(dockerspawner, spawner)
    with (
        mock.patch.dict(app.tornado_settings, HUB | {"spawner_class": place}),
        mock.patch.dict(app.config[spawner], config),
    ):
        yield app


@pytest.fixture
def dockerspawner_configured_app(app):
    """The hub with DockerSpawner, or what is in its place."""
    yield from _with(app, "DockerSpawner")


@pytest.fixture
def systemuserspawner_configured_app(app):
    """The hub with SystemUserSpawner, or what is in its place."""
    yield from _with(app, "SystemUserSpawner")


@pytest.fixture
def swarmspawner_configured_app(app):
    """The hub with SwarmSpawner."""
    yield from _with(app, "SwarmSpawner", network_name="bridge")
