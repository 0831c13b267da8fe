"""Puts `LimitedDockerSpawner` in DockerSpawner's place, under a permissive policy. Loaded with `-p` into our run.

It bears the name DockerSpawner: a test compares a line of the log that has the class's own name, as any subclass fails.
SystemUserSpawner is put on top of it. SwarmSpawner stays the stock class.
"""

from __future__ import annotations

import json
import os

import dockerspawner
import pytest
from traitlets import Unicode

from spawner_limits.spawners.docker import LimitedDockerSpawner

SETTINGS = json.loads(os.environ["SPAWNER_LIMITS_UPSTREAM"])
STARTED = []


class DockerSpawner(LimitedDockerSpawner):
    """Ours, with the policy, and a cgroup above its containers that no other hub on this machine has."""

    policy_file = Unicode(SETTINGS["policy"], config=True)
    cgroup_parent = Unicode(SETTINGS["prefix"], config=True)

    async def start(self):
        """As ever, and counted."""
        started = await super().start()
        STARTED.append(self.container_name)
        return started


class SystemUserSpawner(DockerSpawner, dockerspawner.SystemUserSpawner):
    """The same, with the user's own home directory."""


dockerspawner.DockerSpawner = DockerSpawner
dockerspawner.SystemUserSpawner = SystemUserSpawner


@pytest.fixture(autouse=True, scope="session")
def told(record_testsuite_property):
    """The report says how many servers ours has started: none, if it was not in place."""
    yield
    record_testsuite_property("started", len(STARTED))
