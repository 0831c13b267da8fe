"""Whoever calls our spawner's methods as DockerSpawner's gets DockerSpawner's errors. On the real engine."""

from __future__ import annotations

import asyncio

import pytest

import docker
from spawner_limits.spawners.docker import LimitedDockerSpawner

IMAGE = "spawner-limits/no-such-image:1"


def test_an_image_that_is_not_there_is_the_engines_error(client):
    """Of its own type, as dockerspawner's suite expects it; the note is what `start` refuses the spawn with."""
    client.ping()
    spawner = LimitedDockerSpawner(pull_policy="never")
    with pytest.raises(docker.errors.ImageNotFound) as raised:
        asyncio.run(spawner.pull_image(IMAGE))
    assert raised.value.__notes__ == [f"The image {IMAGE} is not on this machine, and can't be pulled"]
