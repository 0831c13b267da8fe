"""The demonstration hub, on the small image, with a group for each thing that somebody might do to its limits."""

import os
from pathlib import Path

c = get_config()
load_subconfig(str(Path(__file__).parents[2] / "demo" / "jupyterhub_config.py"))

c.DockerSpawner.image = "spawner-limits/singleuser:minimal"
c.JupyterHub.allow_named_servers = True
c.LimitedDockerSpawner.policy_file = os.environ["SPAWNER_LIMITS_TEST_POLICY"]


def _override(group, **traits):
    return {"groups": [group], "spawner_override": traits}


c.Spawner.group_overrides = {
    name: _override(name, **traits)
    for name, traits in {
        "loose-trait": {"mem_limit": "8G"},
        "loose-answer": {"mem_limit": lambda _spawner: "8G"},
        "tight-trait": {"mem_limit": "64M"},
        "loose-cores": {"cpu_limit": 2.0},
        "loose-host": {"extra_host_config": {"mem_limit": "8g"}},
        "loose-swap": {"extra_host_config": {"memswap_limit": -1}},
        "loose-nano": {"extra_host_config": {"nano_cpus": 2_000_000_000}},
        "loose-callable": {"extra_host_config": lambda _spawner: {"pids_limit": 100_000}},
        "loose-create": {"extra_create_kwargs": {"host_config": {"NanoCpus": 2_000_000_000}}},
        "same": {"extra_host_config": {"mem_limit": "256m", "memswap_limit": "256m"}, "cpu_limit": 1.0},
        "harmless": {"extra_host_config": {"shm_size": "128m"}, "extra_create_kwargs": {"labels": {"site": "here"}}},
        "tmpfs": {"extra_host_config": {"tmpfs": {"/home/jovyan/work": "uid=1000,gid=100"}}},
        "kept": {"remove": False},
        "no-image": {"image": "spawner-limits/no-such-image:1"},
        "no-policy": {"policy_file": os.environ["SPAWNER_LIMITS_TEST_POLICY"] + ".broken"},
        "no-notebook": {"copy_notebook": False},
        "broken-notebook": {"volumes": {os.environ["SPAWNER_LIMITS_TEST_VOLUME"]: "/home/jovyan/work"}},
    }.items()
}
