"""What in the hub's configuration can't be used, or would loosen a limit: told by the setting's name."""

from __future__ import annotations

import pytest

import docker
from spawner_limits.engines.docker import translate
from spawner_limits.limits import Limits
from spawner_limits.spawners import overrides
from spawner_limits.units import MIB

LIMITS = Limits(mem_limit=64 * MIB, memswap_limit=64 * MIB, cpu_limit=0.5, pids_limit=50)


@pytest.fixture
def client():
    """The SDK's, which asks nobody as long as its version is given."""
    found = docker.APIClient(base_url="tcp://127.0.0.1:1", version="1.41")
    yield found
    found.close()


UNUSABLE = {
    "nothing": ({"init": True, "shm_size": "64m"}, ""),
    "a size as Kubernetes writes it": ({"init": True, "shm_size": "1Gi"}, "extra_host_config has shm_size '1Gi' ("),
    "an option that there is not": ({"shm": 5}, "extra_host_config has shm 5 ("),
    "a value of another type": ({"devices": 5}, "extra_host_config has devices 5 ("),
}


@pytest.mark.parametrize(("configured", "told"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_the_sdk_does_not_take(client, configured, told):
    """By the option's name, and its value."""
    assert overrides.unusable(client, configured).startswith(
        f"The hub's configuration can't be used: {told}" if told else ""
    )
    assert bool(overrides.unusable(client, configured)) == bool(told)


def test_what_is_no_option_of_a_creation(client):
    """A limit that belongs to the host config, by its name; an option of a creation is none."""
    assert overrides.unknown_to_create(client, {"hostname": "lab"}) == ""
    assert overrides.unknown_to_create(client, {"cpu_shares": 512}) == (
        "The hub's configuration can't be used: extra_create_kwargs has cpu_shares, which is no option of a "
        "container's creation; options of its host belong into extra_host_config"
    )


TRAITS = {
    "none": ({"mem_limit": None, "cpu_limit": 0}, ""),
    "the same": ({"mem_limit": "64M", "cpu_limit": 0.5}, ""),
    "more": ({"mem_limit": "1G", "cpu_limit": 0.5}, "loosen a limit: mem_limit is 1.00 GiB, the policy says 64 MiB"),
    "less": (
        {"mem_limit": 64 * MIB, "cpu_limit": 0.25},
        "change a limit: cpu_limit is 0.25 cores, the policy says 0.50 cores",
    ),
}


@pytest.mark.parametrize(("configured", "told"), TRAITS.values(), ids=TRAITS)
def test_traits_that_say_otherwise(configured, told):
    """Loosened or only changed: by the trait's name, with both values."""
    expected = f"The hub's configuration would {told}" if told else ""
    assert overrides.by_traits(LIMITS, configured) == expected


HOST_CONFIGS = {
    "none": ({"Init": True}, ""),
    "the same": ({"Memory": 64 * MIB, "PidsLimit": 50}, ""),
    "no swap as anybody would write it": ({"MemorySwap": 64 * MIB}, ""),
    "more": ({"Memory": 128 * MIB}, "Memory is 128 MiB, the policy says 64 MiB"),
    "the same limit by another key": ({"NanoCpus": 2 * 10**9}, "NanoCpus is 2000000000"),
}


@pytest.mark.parametrize(("configured", "told"), HOST_CONFIGS.values(), ids=HOST_CONFIGS)
def test_host_configs_that_say_otherwise(configured, told):
    """By the API's key, with both values."""
    expected = f"extra_host_config would loosen or change a limit: {told}" if told else ""
    assert overrides.by_host_config(translate(LIMITS), LIMITS, configured) == expected
